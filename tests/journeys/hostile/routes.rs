//! Paths, header fields, ranges and LFS requests that nobody means well with.

use super::*;

const HELLO: &[u8] = b"Hello, World!\n";

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn put(server: &Server<'_>, repo: &str, oid: &str, body: &[u8]) -> Answer {
    let path = format!("/{repo}.git/info/lfs/objects/{oid}");
    let fields = [("Content-Type", "application/octet-stream")];
    raw::send(server, &raw::request("PUT", &path, &fields, body))
}

fn batch(server: &Server<'_>, repo: &str, json: &str) -> Answer {
    let path = format!("/{repo}.git/info/lfs/objects/batch");
    let media_type = "application/vnd.git-lfs+json";
    let fields = [("Content-Type", media_type), ("Accept", media_type)];
    raw::send(server, &raw::request("POST", &path, &fields, json.as_bytes()))
}

#[test]
fn no_path_leads_out() {
    let world = World::with_store();
    let server = started(&world);
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/a/../b.git/info/refs?service=git-upload-pack",
        "/..\\..\\x.git/info/refs",
        "/a%00.git/info/refs?service=git-receive-pack",
        "/%ff.git/info/refs",
        "/.git/info/refs?service=git-receive-pack",
        "/a.lock.git/info/refs?service=git-receive-pack",
        "/a..b.git/info/refs?service=git-receive-pack",
        "/-x.git/info/refs?service=git-receive-pack",
        "/a/b/c/d/e.git/info/refs?service=git-receive-pack",
        "/v1/object/../../../x",
        "/v1/file/%2e%2e%2fx",
        "/v1.git/info/refs?service=git-receive-pack",
        "/a.git/objects/../../../../etc/passwd",
        "/a.git/config",
        "/a.git/HEAD",
        "/a.git/info/lfs/objects/..%2f..%2fx",
        "/a.git/info/lfs/objects/x/y/z",
    ] {
        let answer = raw::get(&server, path, &[]);
        assert!([400, 403, 404, 405].contains(&answer.status), "{path}: {answer:?}");
        assert!(!answer.text().contains("root:"), "{path}");
    }
    let repos = raw::get(&server, "/v1/repos", &[]).text();
    assert!(!repos.contains("\"name\""), "{repos}");
    assert_well(&server);
}

#[test]
fn heads_that_break_the_rules() {
    let world = World::with_store();
    let server = started(&world);
    let (pack, id) = history(&[Entry::whole(3, b"x")]);
    assert_eq!(push(&server, "a", &id, &pack.write())[0], "unpack ok");
    let head = |more: &str| {
        let begin = "POST /a.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close";
        let media_type = "Content-Type: application/x-git-upload-pack-request";
        format!("{begin}\r\n{media_type}\r\n{more}\r\n").into_bytes()
    };
    let flood: String = (0..10_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let line = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(1 << 20));
    let field = format!("X: {}\r\n", "y".repeat(1 << 20));
    // One of two lengths is not believed, and nothing after it is a request.
    let smuggled = "POST /a.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/x-git-upload-pack-request\r\nContent-Length: 4\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\
        Host: localhost\r\n\r\n";
    for (name, request, good) in [
        ("flood", head(&flood), &[431, 0][..]),
        ("field", head(&field), &[431, 0]),
        ("line", line.into_bytes(), &[414, 431, 400, 0]),
        ("minus", head("Content-Length: -1\r\n"), &[400]),
        ("plus", head("Content-Length: +1\r\n"), &[400]),
        ("two lengths", head("Content-Length: 4\r\nContent-Length: 5\r\n"), &[400]),
        ("both", smuggled.as_bytes().to_vec(), &[200, 400]),
        ("coding", head("Transfer-Encoding: gzip\r\n"), &[400, 411, 501]),
        ("chunk", [head("Transfer-Encoding: chunked\r\n"), b"zz\r\n".to_vec()].concat(), &[400]),
        ("fold", head("X: a\r\n b\r\n"), &[400, 411]),
        ("nul", head("X: a\0b\r\n"), &[400]),
        ("no host", b"GET /v1/repos HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(), &[400, 403]),
        (
            "host",
            b"GET /v1/repos HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_vec(),
            &[403],
        ),
        ("noise", vec![0xff; 10_000], &[400, 0]),
        ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20), &[400, 0]),
        (
            "method",
            b"BREW / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
            &[404, 405],
        ),
    ] {
        let answer = raw::send(&server, &request);
        assert!(good.contains(&answer.status), "{name}: {answer:?}");
        assert!(!answer.text().contains("HTTP/1.1"), "{name}: a second answer: {answer:?}");
    }
    for path in ["/a.git/info/refs?service=git-evil", "/a.git/info/refs", "/a.git/git-evil"] {
        let status = raw::get(&server, path, &[]).status;
        assert!([400, 403, 404, 405].contains(&status), "{path}: {status}");
    }
    for (method, path) in [("DELETE", "/a.git/info/lfs/objects/batch"), ("PUT", "/healthz")] {
        let answer = raw::send(&server, &raw::request(method, path, &[], b""));
        assert!([404, 405].contains(&answer.status), "{method} {path}: {answer:?}");
    }
    assert_well(&server);
}

#[test]
fn ranges_never_grow() {
    let world = World::with_store();
    let server = started(&world);
    let content = crate::support::Numbers(3).bytes(1 << 20);
    let oid = sha256(&content);
    assert_eq!(put(&server, "a", &oid, &content).status, 200);
    for path in [format!("/v1/file/{oid}?repo=a"), format!("/a.git/info/lfs/objects/{oid}")] {
        let many = format!("bytes={}", vec!["0-"; 3_000].join(","));
        for (range, good) in [
            (many.as_str(), &[200, 206, 416][..]),
            ("bytes=0-0,1-1,2-2", &[200, 206]),
            ("bytes=5-1", &[200, 416]),
            ("bytes=1048576-", &[416]),
            ("bytes=-0", &[416]),
            ("bytes=18446744073709551615-", &[416]),
            ("bytes=0-99999999999999999999999", &[200, 206]),
            ("bytes=-99999999999999999999999", &[200, 206]),
            ("lines=0-1", &[200]),
            ("bytes=a-b", &[200]),
        ] {
            let answer = raw::get(&server, &path, &[("Range", range)]);
            let shown = &range[..range.len().min(40)];
            assert!(good.contains(&answer.status), "{path} {shown}: {}", answer.status);
            assert!(answer.body.len() <= content.len() + 4_096, "{shown}: {}", answer.body.len());
        }
    }
    assert_well(&server);
}

#[test]
fn lfs_takes_only_what_it_was_told() {
    let world = World::with_store();
    let server = started(&world);
    let oid = sha256(HELLO);
    // The wrong bytes, too few, too many, none: nothing is stored; then the right ones.
    for body in [&b"Hello, World?\n"[..], &HELLO[..5], b"Hello, World!\n.", b""] {
        let answer = put(&server, "a", &oid, body);
        assert!([400, 422].contains(&answer.status), "{answer:?}");
        let stored = raw::get(&server, &format!("/a.git/info/lfs/objects/{oid}"), &[]);
        assert_eq!(stored.status, 404);
    }
    for oid in ["x", &oid[1..], &format!("{oid}0"), "..%2fx"] {
        let status = put(&server, "a", oid, HELLO).status;
        assert!([400, 404, 422].contains(&status), "{oid}: {status}");
    }
    let huge = format!(
        "PUT /a.git/info/lfs/objects/{oid} HTTP/1.1\r\nHost: localhost\r\n\
        Connection: close\r\nContent-Type: application/octet-stream\r\n\
        Content-Length: 1000000000000000000\r\n\r\nx"
    );
    assert_eq!(raw::send(&server, huge.as_bytes()).status, 413);
    assert_eq!(put(&server, "a", &oid, HELLO).status, 200);
    // Another repository: neither there, nor there already.
    let of = |operation: &str, objects: &str| {
        format!("{{\"operation\":\"{operation}\",\"objects\":[{objects}]}}")
    };
    let object = format!("{{\"oid\":\"{oid}\",\"size\":14}}");
    let down = batch(&server, "b", &of("download", &object));
    assert!(down.status == 404 || down.text().contains("404"), "{down:?}");
    world.ok(&["repo", "create", "b"]);
    let down = batch(&server, "b", &of("download", &object));
    assert!(down.status == 200 && down.text().contains("404"), "{down:?}");
    let up = batch(&server, "b", &of("upload", &object));
    assert!(up.text().contains("\"upload\""), "it has to bring the bytes: {up:?}");
    let stored = raw::get(&server, &format!("/b.git/info/lfs/objects/{oid}"), &[]);
    assert_eq!(stored.status, 404);
    assert_well(&server);
}

#[test]
fn lfs_messages_that_are_too_much() {
    let world = World::with_store();
    let server = started(&world);
    world.ok(&["repo", "create", "a"]);
    let oid = sha256(HELLO);
    let object = |size: &str| format!("{{\"oid\":\"{oid}\",\"size\":{size}}}");
    let of = |objects: &str| format!("{{\"operation\":\"upload\",\"objects\":[{objects}]}}");
    let many = of(&vec![object("1"); 1_000_000].join(","));
    let deep = format!("{{\"operation\":{}", "[".repeat(200_000));
    for (name, json, good) in [
        ("many", many.as_str(), &[413][..]),
        ("deep", &deep, &[400, 422]),
        ("none", &of(""), &[200, 422]),
        ("twice", &of(&[object("14"), object("14")].join(",")), &[200]),
        ("huge", &of(&object("9223372036854775808")), &[200, 400, 422]),
        ("minus", &of(&object("-1")), &[200, 422]),
        ("text", "not json", &[400, 422]),
        ("empty", "", &[400, 422]),
        (
            "hash",
            "{\"operation\":\"upload\",\"hash_algo\":\"sha512\",\"objects\":[]}",
            &[200, 409, 422],
        ),
        ("operation", "{\"operation\":\"evil\",\"objects\":[]}", &[400, 422]),
    ] {
        let answer = batch(&server, "a", json);
        assert!(good.contains(&answer.status), "{name}: {answer:?}");
        assert!(!answer.text().contains("\"size\":-1,\"authenticated\""), "{name}: {answer:?}");
    }
    // Verify of what is not there; locks with impossible paths; a lock that is not there.
    let post = |path: &str, json: &str| {
        let media_type = "application/vnd.git-lfs+json";
        let fields = [("Content-Type", media_type), ("Accept", media_type)];
        raw::send(&server, &raw::request("POST", path, &fields, json.as_bytes())).status
    };
    assert_eq!(post("/a.git/info/lfs/objects/verify", &object("14")), 404);
    assert_eq!(post("/a.git/info/lfs/locks/nothing/unlock", "{\"force\":true}"), 404);
    let long = format!("{{\"path\":\"{}\"}}", "a".repeat(10 << 10));
    for json in [long.as_str(), "{\"path\":\"\"}", "{}", "{\"path\":5}"] {
        let status = post("/a.git/info/lfs/locks", json);
        assert!([400, 413, 422].contains(&status), "{status} for {}", &json[..json.len().min(40)]);
    }
    assert_well(&server);
}
