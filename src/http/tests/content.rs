//! Content by its hash: what comes, with what head, and whose it is.

use flate2::read::ZlibDecoder;
use mega_tools::random::Random;
use std::io::Read;

use mega_storage::Visibility;

use super::world::{HELLO, Person, World};

fn header(answer: &reqwest::blocking::Response, name: &str) -> String {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("text")).to_owned()
}

#[test]
fn an_object_comes_as_the_slides_say() {
    let world = World::with_repos();
    let path = format!("/v1/object/{HELLO}");
    let answer = world.get(&path);
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "x-git-object-type"), "blob");
    assert_eq!(header(&answer, "content-length"), "14");
    assert_eq!(header(&answer, "etag"), format!("\"{HELLO}\""));
    assert!(header(&answer, "cache-control").ends_with("immutable"));
    assert_eq!(answer.text().expect("text"), "Hello, World!\n");
    let head = world.request("HEAD", &path, &Person(None)).send().expect("an answer");
    assert_eq!(header(&head, "content-length"), "14");
    let loose = world
        .request("GET", &path, &Person(None))
        .header("accept", "application/x-git-loose-object")
        .send()
        .expect("an answer");
    assert_eq!(header(&loose, "content-type"), "application/x-git-loose-object");
    let mut plain = Vec::new();
    ZlibDecoder::new(&loose.bytes().expect("bytes")[..]).read_to_end(&mut plain).expect("zlib");
    assert_eq!(plain, b"blob 14\0Hello, World!\n");
    let known =
        world.request("GET", &path, &Person(None)).header("if-none-match", format!("\"{HELLO}\""));
    assert_eq!(known.send().expect("an answer").status(), 304);
    assert_eq!(world.get(&format!("/v1/object/{}", "0".repeat(40))).status(), 404);
    assert_eq!(world.get("/v1/object/xyz").status(), 400);
}

#[test]
fn who_may_keep_a_copy_depends_on_who_may_see_it() {
    let world = World::with_repos();
    let people = world.people();
    let kept = |person: &Person, repo: &str| {
        let answer = world.get_as(&format!("/v1/object/{HELLO}?repo={repo}"), person);
        (header(&answer, "cache-control"), header(&answer, "vary"))
    };
    let (kept_by, vary) = kept(&people.reader, "secret");
    assert!(kept_by.starts_with("private,") && vary.contains("Authorization"), "{kept_by} {vary}");
    let (kept_by, vary) = kept(&people.anonymous, "open");
    assert!(kept_by.starts_with("public,") && !vary.contains("Authorization"), "{kept_by} {vary}");
}

#[test]
fn a_hash_is_no_key_to_what_is_private() {
    let world = World::with_repos();
    let secret = world.add_file("secret", b"a secret");
    let shared = world.add_file("open", b"for all");
    let people = world.people();
    for person in [&people.anonymous, &people.stranger, &people.reader, &people.operator] {
        let unnamed = world.get_as(&format!("/v1/file/{secret}"), person);
        assert_eq!(unnamed.status(), 404, "unnamed is public, whoever asks");
        assert_eq!(world.get_as(&format!("/v1/file/{shared}"), person).status(), 200);
        let wrong = world.get_as(&format!("/v1/file/{secret}?repo=open"), person);
        assert_eq!(wrong.status(), 404, "a repository that does not have it");
    }
    let named = format!("/v1/file/{secret}?repo=secret");
    assert_eq!(world.get_as(&named, &people.reader).text().expect("text"), "a secret");
    // The chunk: caller, repository, file and chunk are each a link.
    let chunk = world.store.files().chunk_spans(&secret, 0, 1).expect("read")[0].chunk.id;
    let ask = |query: &str| {
        let path = format!("/v1/file/chunks/{chunk}?{query}");
        world.get_as(&path, &people.reader).status().as_u16()
    };
    assert_eq!(ask(&format!("repo=secret&file={secret}")), 200);
    assert_eq!(ask(&format!("repo=secret&file={secret}&offset=0")), 200);
    assert_eq!(ask(&format!("repo=secret&file={secret}&offset=8")), 404);
    assert_eq!(ask("repo=secret"), 404);
    assert_eq!(ask(&format!("file={secret}")), 404);
    assert_eq!(ask(&format!("repo=open&file={shared}")), 404);
    assert_eq!(ask(&format!("repo=other&file={secret}")), 404);
}

#[test]
fn a_chunk_without_a_name_is_answered_for_public_files_alone() {
    let world = World::with_repos();
    let mut content = vec![0; 300_000];
    Random::new(9).fill(&mut content);
    let private = world.add_file("secret", &content);
    let people = world.people();
    let chunk = world.store.files().chunk_spans(&private, 0, 1).expect("read")[0].chunk;
    let ask = |id: &str, person: &Person| {
        let answer = world.get_as(&format!("/v1/file/chunks/{id}"), person);
        let status = answer.status().as_u16();
        let mut headers = answer.headers().clone();
        headers.remove("date");
        (status, headers, answer.bytes().expect("a body"))
    };
    let everybody = [&people.anonymous, &people.stranger, &people.reader, &people.operator];
    let [id, absent] = [chunk.id.to_string(), "ab".repeat(32)];
    let hidden = || {
        for person in everybody {
            let answer = ask(&id, person);
            assert_eq!(answer.0, 404, "unnamed is public, whoever asks");
            assert!(answer == ask(&absent, person), "as what is not there");
        }
    };
    hidden();
    // The same chunk in a file of everybody's, which is another file.
    let public = world.add_file("open", &[&content[..], b"more"].concat());
    assert_ne!(private, public);
    for person in everybody {
        let (status, headers, body) = ask(&id, person);
        assert_eq!((status, body.len()), (200, chunk.len as usize));
        assert!(body == content[..body.len()]);
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
    }
    let in_private = format!("/v1/file/chunks/{id}?file={private}");
    assert_eq!(world.get_as(&in_private, &people.anonymous).status(), 404);
    world.set_visibility("open", Visibility::Private);
    hidden();
    let named = format!("{in_private}&repo=secret");
    assert_eq!(world.get_as(&named, &people.reader).status(), 200);
}

#[test]
fn ranges_are_slices() {
    let world = World::with_repos();
    let mut content = vec![0; 700_001];
    let mut random = Random::new(7);
    random.fill(&mut content);
    let id = world.add_file("open", &content);
    let len = content.len() as u64;
    let ask = |range: &str| {
        let path = format!("/v1/file/{id}");
        let request = world.request("GET", &path, &Person(None)).header("range", range);
        request.send().expect("an answer")
    };
    for round in 0..60 {
        let bound = content.len() + 1_000;
        let (a, b) = (random.below(bound) as u64, random.below(bound) as u64);
        let (first, last) = (a.min(b), a.max(b));
        let (field, start, end) = match round % 3 {
            0 => (format!("bytes={first}-{last}"), first, (last + 1).min(len)),
            1 => (format!("bytes={first}-"), first, len),
            _ => (format!("bytes=-{last}"), len.saturating_sub(last), len),
        };
        let answer = ask(&field);
        if start >= end {
            assert_eq!(answer.status(), 416, "{field}");
            assert_eq!(header(&answer, "content-range"), format!("bytes */{len}"));
            continue;
        }
        assert_eq!(answer.status(), 206, "{field}");
        let range = format!("bytes {start}-{}/{len}", end - 1);
        assert_eq!(header(&answer, "content-range"), range);
        assert_eq!(header(&answer, "content-length"), (end - start).to_string());
        let (start, end) = (start as usize, end as usize);
        assert!(answer.bytes().expect("bytes")[..] == content[start..end], "{field}");
    }
    let both = ask("bytes=0-1,699999-");
    assert_eq!(both.status(), 206);
    let media_type = header(&both, "content-type");
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").expect("multipart");
    let announced = header(&both, "content-length");
    let body = both.bytes().expect("bytes");
    assert_eq!(announced, body.len().to_string());
    let end = format!("\r\n--{boundary}--\r\n");
    assert!(body.ends_with(end.as_bytes()));
    assert!(body.windows(2).any(|two| *two == content[..2]));
    assert_eq!(ask("lines=1-2").bytes().expect("bytes")[..], content[..]);
}

#[test]
fn a_condition_decides_whether_a_range_counts() {
    let world = World::with_repos();
    let id = world.add_file("open", b"0123456789");
    let ask = |fields: &[(&str, &str)]| {
        let mut request = world.request("GET", &format!("/v1/file/{id}"), &Person(None));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = request.send().expect("an answer");
        (answer.status().as_u16(), answer.text().expect("text"))
    };
    let tag = format!("\"{id}\"");
    let part = (206, "01".to_owned());
    let whole = (200, "0123456789".to_owned());
    assert_eq!(ask(&[("range", "bytes=0-1"), ("if-range", &tag)]), part);
    assert_eq!(ask(&[("range", "bytes=0-1"), ("if-range", "\"other\"")]), whole);
    assert_eq!(ask(&[("range", "bytes=0-1"), ("if-none-match", &tag)]).0, 304);
    assert_eq!(ask(&[("if-none-match", &format!("\"a\", W/{tag}"))]).0, 304);
    assert_eq!(ask(&[("if-none-match", "\"a\"")]), whole);
    let empty = world.add_file("open", b"");
    let answer = world.get(&format!("/v1/file/{empty}"));
    assert_eq!((answer.status().as_u16(), header(&answer, "content-length")), (200, "0".into()));
}

#[test]
fn chunks_are_listed_in_pages_that_meet() {
    let world = World::with_repos();
    let mut content = vec![0; 2 << 20];
    Random::new(9).fill(&mut content);
    let id = world.add_file("open", &content);
    let (mut from, mut pages) = (Some(0), 0);
    let mut bytes = Vec::new();
    while let Some(offset) = from {
        let path = format!("/v1/file/{id}/chunks?from={offset}&limit=3");
        let page: serde_json::Value = world.get(&path).json().expect("JSON");
        assert_eq!(page["size"], content.len());
        let chunks = page["chunks"].as_array().expect("chunks");
        assert!((1..=3).contains(&chunks.len()));
        for chunk in chunks {
            assert_eq!(chunk["offset"], bytes.len());
            let path = format!("/v1/file/chunks/{}?file={id}", chunk["id"].as_str().expect("text"));
            bytes.extend_from_slice(&world.get(&path).bytes().expect("bytes"));
        }
        from = page["next"].as_u64();
        pages += 1;
    }
    assert!(bytes == content && pages > 3, "{pages}");
    let inside: serde_json::Value =
        world.get(&format!("/v1/file/{id}/chunks?from=1000000&limit=1")).json().expect("JSON");
    let chunk = &inside["chunks"][0];
    let start = chunk["offset"].as_u64().expect("a number");
    let end = start + chunk["size"].as_u64().expect("a number");
    assert!((start..end).contains(&1_000_000));
}

#[test]
fn a_repositorys_objects_are_a_pack_that_git_reads() {
    let world = World::with_repos();
    let pack = world.get("/v1/open/objects").bytes().expect("bytes");
    assert_eq!(&pack[..8], b"PACK\0\0\0\x02");
    let path = world.dir.path().join("all.pack");
    std::fs::write(&path, &pack).expect("written");
    let name = path.to_str().expect("text");
    let (is_good, said) = super::world::git(world.dir.path(), &["index-pack", "--strict", name]);
    assert!(is_good, "{said}");
    let list = world.get("/v1/open/objects?list").text().expect("text");
    let lines: Vec<serde_json::Value> =
        list.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    let hello = lines.iter().find(|line| line["oid"] == HELLO).expect("is listed");
    assert_eq!((&hello["type"], &hello["size"]), (&"blob".into(), &14.into()));
}

#[test]
fn a_bundle_may_be_kept_by_whoever_may_see_it() {
    let world = World::with_repos();
    world.push_more("secret");
    let people = world.people();
    let path = |repo: &str| format!("/{repo}.git/info/bundle/{}", world.tip(repo));
    let answer = world.get_as(&path("open"), &people.anonymous);
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "content-type"), "application/x-git-bundle");
    assert_eq!(header(&answer, "cache-control"), "public, max-age=31536000, immutable");
    let etag = header(&answer, "etag");
    assert_eq!(etag, format!("W/\"{}\"", world.tip("open")));
    let head = format!("# v2 git bundle\n{} refs/heads/main\n\nPACK", world.tip("open"));
    assert!(answer.bytes().expect("bytes").starts_with(head.as_bytes()));
    let ask = |method: &str| world.request(method, &path("open"), &people.anonymous);
    let known = ask("GET").header("if-none-match", etag).send().expect("an answer");
    assert_eq!(known.status(), 304);
    let head = ask("HEAD").send().expect("an answer");
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, String::new()));

    let answer = world.get_as(&path("secret"), &people.reader);
    assert!(header(&answer, "cache-control").starts_with("private,"));
    assert_eq!(header(&answer, "vary"), "Authorization");
    let asked = world.get_as(&path("secret"), &people.anonymous);
    assert_eq!(asked.status(), 401, "git looks for a password then");
    let other = format!("/open.git/info/bundle/{}", world.tip("secret"));
    assert_eq!(world.get_as(&other, &people.reader).status(), 404, "another repository's");
    assert_eq!(world.get_as("/open.git/info/bundle/x", &people.reader).status(), 400);
}
