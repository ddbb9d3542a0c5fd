//! What a client should not send, and what it gets.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use mega_storage::SettingChange;

use super::super::Limits;
use super::super::limits::{HEAD_LEN_MAX, HEADERS_MAX, PATH_LEN_MAX};
use super::world::{Person, Plan, World, git, read_all};

fn small(change: impl FnOnce(&mut Limits)) -> World {
    let mut plan = Plan::default();
    change(&mut plan.limits);
    World::new(plan)
}

fn assert_alive(world: &World) {
    assert_eq!(world.get("/healthz").status(), 200);
}

fn head(path: &str, host: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n").into_bytes()
}

#[test]
fn a_web_page_with_a_name_of_its_own_gets_nothing() {
    let world = World::with_repos();
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""] {
        let answer = world.raw(&head("/v1/repos", host, ""));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
        assert!(!answer.contains("secret"), "{host}");
    }
    let port = world.address.port();
    for host in ["localhost".to_owned(), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let answer = world.raw(&head("/v1/repos", &host, ""));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    let absolute = world.raw(&head("http://evil.example/v1/repos", "localhost", ""));
    assert!(absolute.starts_with("HTTP/1.1 403 "), "{absolute}");
}

#[test]
fn a_web_page_cannot_post_a_form() {
    let world = World::with_repos();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
    {
        for path in [
            "/secret.git/git-receive-pack",
            "/secret.git/git-upload-pack",
            "/secret.git/info/lfs/objects/batch",
            "/secret.git/info/lfs/locks",
        ] {
            let request = world.request("POST", path, &Person(None));
            let request = request.header("content-type", media_type).body("0000");
            let status = request.send().expect("an answer").status();
            assert_eq!(status, 415, "{media_type} to {path}");
        }
    }
    let asks = world.request("OPTIONS", "/secret.git/git-receive-pack", &Person(None));
    let asks = asks.header("origin", "http://evil.example").send().expect("an answer");
    assert_eq!(asks.status(), 405);
    assert!(asks.headers().get("access-control-allow-origin").is_none());
}

#[test]
fn no_name_leads_out_of_the_store() {
    let world = World::with_repos();
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/a/..%2f..%2fetc/info/refs",
        "/a%00.git/info/refs",
        "/..%5c..%5cx.git/info/refs",
        "//etc/passwd",
    ] {
        let answer = world.raw(&head(path, "localhost", ""));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    for path in
        ["/.git/info/refs", "/a.lock.git/info/refs?service=git-upload-pack", "/v1/x.git/HEAD"]
    {
        let answer = world.raw(&head(path, "localhost", ""));
        let status = answer.get(9..12).unwrap_or_default();
        assert!(["404", "403"].contains(&status), "{path}: {answer}");
    }
    assert_alive(&world);
}

#[test]
fn heads_have_limits() {
    let world = World::with_repos();
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    // Host and Connection are two of them.
    let most = world.raw(&head("/healthz", "localhost", &fields(HEADERS_MAX - 2)));
    assert!(most.starts_with("HTTP/1.1 200 "), "{most}");
    let more = world.raw(&head("/healthz", "localhost", &fields(HEADERS_MAX - 1)));
    assert!(more.starts_with("HTTP/1.1 431 "), "{more}");
    let long = format!("X: {}\r\n", "y".repeat(HEAD_LEN_MAX));
    let long = world.raw(&head("/healthz", "localhost", &long));
    assert!(long.starts_with("HTTP/1.1 431 ") || long.is_empty(), "{long}");
    let path = format!("/{}", "a".repeat(PATH_LEN_MAX));
    let long = world.raw(&head(&path, "localhost", ""));
    assert!(long.starts_with("HTTP/1.1 414 "), "{long}");
    assert_alive(&world);
}

#[test]
fn who_is_silent_is_sent_away() {
    let timeout = Duration::from_millis(200);
    let world = small(|limits| {
        limits.head_timeout = timeout;
        limits.body_timeout = timeout;
    });
    let started = Instant::now();
    for start in ["", "G", "PRI * HT", "GET /healthz HTTP/1.1\r\nHost: local"] {
        let mut stream = world.connect();
        stream.write_all(start.as_bytes()).expect("sent");
        let answer = read_all(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{start}: {answer}");
    }
    // A body that stops in its middle.
    world.push("a");
    let mut stream = world.connect();
    let begun = "POST /a.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/x-git-upload-pack-request\r\nContent-Length: 100\r\n\r\n0011";
    stream.write_all(begun.as_bytes()).expect("sent");
    let answer = read_all(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_alive(&world);
}

#[test]
fn a_small_body_does_not_grow_without_end() {
    let world = small(|limits| limits.git_request_len_max = 1 << 20);
    world.push("a");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(b"0011command=fetch0001").expect("in memory");
    let line = b"0031have 1111111111111111111111111111111111111111";
    for _ in 0..200_000 {
        encoder.write_all(line).expect("in memory");
    }
    let bomb = encoder.finish().expect("in memory");
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let post = |body: Vec<u8>, encoding: &'static str| {
        let request = world
            .request("POST", "/a.git/git-upload-pack", &Person(None))
            .header("content-type", "application/x-git-upload-pack-request")
            .header("content-encoding", encoding);
        let request = request.header("git-protocol", "version=2").body(body);
        let answer = request.send().expect("an answer");
        (answer.status().as_u16(), answer.text().expect("text"))
    };
    let (status, said) = post(bomb, "gzip");
    assert_eq!(status, 413, "{said}");
    assert_eq!(post(b"0000".to_vec(), "br").0, 415);
    assert_eq!(post(b"not gzip".to_vec(), "gzip").0, 400);
    assert_alive(&world);
}

#[test]
fn a_client_that_waits_for_leave_gets_it_only_when_it_may() {
    let world = World::with_repos();
    let post = |name: &str| {
        let mut stream = world.connect();
        let begun = format!(
            "POST /{name}.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/x-git-upload-pack-request\r\nContent-Length: 4\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        stream.write_all(begun.as_bytes()).expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("an answer");
        (stream, String::from_utf8_lossy(&first).into_owned())
    };
    let (mut stream, first) = post("secret");
    assert_eq!(first, "HTTP/1.1 100");
    stream.write_all(b"0000").expect("sent");
    assert!(read_all(&mut stream).contains("HTTP/1.1 200 OK"));
    assert_eq!(post("absent").1, "HTTP/1.1 404");
    world.people();
    assert_eq!(post("secret").1, "HTTP/1.1 401");
}

#[test]
fn too_many_are_told_to_come_back() {
    let world = small(|limits| {
        limits.connections_max = 2;
        limits.packs_max = 1;
        limits.pack_wait = Duration::from_millis(50);
    });
    let mut first = world.connect();
    // A fetch that holds the only place for packs: its body does not come.
    let held = "POST /a.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\
        Content-Type: application/x-git-receive-pack-request\r\n\r\n";
    first.write_all(held.as_bytes()).expect("sent");
    let wait = |word: &str| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let mut stream = world.connect();
            let _ = stream.write_all(&head("/metrics", "localhost", ""));
            if read_all(&mut stream).contains(word) {
                return true;
            }
        }
        false
    };
    assert!(wait("mega_store_packs 1"));
    let asked = "POST /a.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
        Content-Type: application/x-git-upload-pack-request\r\n\r\n0000";
    let ask = || {
        let mut second = world.connect();
        second.write_all(asked.as_bytes()).expect("sent");
        let mut answer = vec![0; 512];
        let len = second.read(&mut answer).unwrap_or(0);
        (second, String::from_utf8_lossy(&answer[..len]).into_owned())
    };
    // The place of the last look at the metrics may still be taken: that refusal closes.
    let (second, answer) = std::iter::repeat_with(ask)
        .take(200)
        .find(|(_, answer)| !answer.is_empty() && !answer.contains("Connection: close"))
        .expect("a connection of its own");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5"), "{answer}");
    // Both connections stay open, so a third is one too many.
    let third = world.raw(&head("/healthz", "localhost", ""));
    assert!(third.starts_with("HTTP/1.1 503 ") && third.contains("Retry-After: 5"), "{third}");
    drop((first, second));
    assert!(wait("mega_store_packs 0"));
}

#[test]
fn a_program_that_hangs_does_not_hold_a_push_for_ever() {
    let world = small(|limits| limits.push.program_time = Duration::from_millis(300));
    world.push("a");
    let script = world.dir.path().join("hang");
    std::fs::write(&script, "#!/bin/sh\necho begun\nsleep 600\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("set");
    let value = SettingChange::Set(script.to_str().expect("text").to_owned());
    world.store.set_setting(world.repo("a").id, "receive.postReceive", &value).expect("set");
    let work = world.dir.path().join("work-a");
    let (is_good, said) = git(&work, &["push", &world.url("/a.git"), "main:next"]);
    assert!(is_good, "{said}");
    for word in ["remote: begun", "took more than 300ms and was ended", "main -> next"] {
        assert!(said.contains(word), "'{word}' is not in {said}");
    }
    assert_alive(&world);
}

#[test]
fn errors_have_the_shape_of_their_protocol() {
    let world = World::with_repos();
    let body = |path: &str, agent: &str| {
        let request = world.request("GET", path, &Person(None)).header("user-agent", agent);
        let answer = request.send().expect("an answer");
        let media_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        (media_type, answer.text().expect("text"))
    };
    let api: serde_json::Value =
        serde_json::from_str(&body("/v1/none/objects", "x").1).expect("JSON");
    assert!(api["error"].is_string() && api["message"].is_string() && api["hint"].is_string());
    let (media_type, text) = body("/none.git/info/lfs/locks", "git-lfs/3.0");
    assert_eq!(media_type, "application/vnd.git-lfs+json");
    let lfs: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(lfs["message"].is_string());
    let (media_type, text) = body("/none.git/info/refs?service=git-upload-pack", "git/2.47");
    assert!(media_type.starts_with("text/plain") && text.contains("hint: "), "{text}");
    let dumb = body("/open.git/info/refs", "git/1.5");
    assert!(dumb.1.contains("smart protocol"), "{dumb:?}");
    assert_eq!(world.get("/nothing/of/the/kind").status(), 404);
}
