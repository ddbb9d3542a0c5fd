//! The server's own routes, as curl would ask, and how it begins and ends.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;

use reqwest::blocking::Response;
use serde_json::Value;

use crate::support::client::{git, gits};
use crate::support::repos::{history, oid, weights};
use crate::support::server::{HELLO, Server, bytes, client};
use crate::support::{Numbers, World};

fn field<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[test]
fn an_object_is_answered_by_its_id() {
    let world = World::with_store();
    let server = Server::start(&world);
    let git = git(&world);
    git.ok("", &["init", "-q", "r"]);
    git.commit("r", "hello.txt", "Hello, World!\n");
    git.ok("r", &["push", "-q", &server.repo("team/r"), "main"]);
    assert_eq!(git.id("r", "HEAD:hello.txt"), HELLO);
    let path = format!("/v1/object/{HELLO}");
    let answer = server.get(&path);
    assert_eq!(answer.status(), 200);
    assert_eq!(field(&answer, "x-git-object-type"), "blob");
    assert_eq!(field(&answer, "content-length"), "14");
    assert!(field(&answer, "cache-control").contains("immutable"), "{answer:?}");
    let etag = field(&answer, "etag").to_owned();
    assert_eq!(bytes(answer), b"Hello, World!\n");
    // What is known is not sent again.
    let get = || client().get(format!("{}{path}", server.url));
    let answer = get().header("If-None-Match", etag).send().expect("an answer");
    assert_eq!(answer.status(), 304);
    // As a file of git's own.
    let answer = get().header("Accept", "application/x-git-loose-object").send();
    let loose = bytes(answer.expect("an answer"));
    git.ok("", &["init", "-q", "other"]);
    let folder = world.make(&format!("other/.git/objects/{}", &HELLO[..2]));
    fs::write(folder.join(&HELLO[2..]), loose).expect("written");
    assert_eq!(git.ok("other", &["cat-file", "-p", HELLO]), "Hello, World!\n");
    for rev in ["HEAD", "HEAD^{tree}"] {
        let id = git.id("r", rev);
        let kind = git.ok("r", &["cat-file", "-t", &id]);
        let content = git.command("r").args(["cat-file", kind.trim(), &id]).output();
        let answer = server.get(&format!("/v1/object/{id}?repo=team/r"));
        assert_eq!(field(&answer, "x-git-object-type"), kind.trim());
        assert_eq!(bytes(answer), content.expect("started").stdout);
    }
    for (path, status) in [
        (format!("/v1/object/{}", "1".repeat(40)), 404),
        (format!("/v1/object/{HELLO}?repo=team/none"), 404),
        ("/v1/object/8ab686".to_owned(), 400),
        ("/v1/nothing".to_owned(), 404),
    ] {
        let answer = server.get(&path);
        assert_eq!(answer.status(), status, "{path}");
        let shape: Value = answer.json().expect("JSON");
        assert!(shape["error"].is_string() && shape["message"].is_string(), "{shape}");
    }
}

#[test]
fn a_repository_is_answered_as_one_pack() {
    let world = World::with_store();
    history(&world, "source.git");
    let server = Server::start(&world);
    let git = git(&world);
    git.ok("source.git", &["push", "-q", "--mirror", &server.repo("team/r")]);
    let pack = bytes(server.get("/v1/team/r/objects"));
    assert_eq!(&pack[..8], b"PACK\0\0\0\x02");
    for git in gits(&world) {
        let dir = format!("{}.git", git.label);
        git.ok("", &["init", "-q", "--bare", &dir]);
        let mut command = git.command(&dir);
        command.args(["index-pack", "--stdin", "--strict"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().expect("started");
        child.stdin.take().expect("a pipe").write_all(&pack).expect("written");
        assert!(child.wait().expect("ended").success(), "{}", git.label);
    }
    let first = format!("{}.git", git.label);
    let objects = git.objects(&first);
    assert_eq!(objects, git.objects("source.git"));
    let list = server.text("/v1/team/r/objects?list");
    let mut listed: Vec<String> = list
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| row[key].as_str().expect("text").to_owned();
            format!("{} {} {}", text("oid"), text("type"), row["size"])
        })
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, objects);
}

#[test]
fn a_file_is_answered_whole_in_ranges_and_in_chunks() {
    let world = World::with_store();
    let [first, _] = weights(&world, "model");
    let id = oid(&world, "model", "v1:model.safetensors");
    let server = Server::start(&world);
    let url = server.repo("team/model");
    world.sh(&format!("cd model && git lfs push --all {url} && git push -q {url} main"));
    let path = format!("/v1/file/{id}");
    let answer = server.get(&path);
    assert_eq!(field(&answer, "content-length"), "3000000");
    let etag = field(&answer, "etag").to_owned();
    assert!(bytes(answer) == first);
    let get = |path: &str, range: &str| {
        let request = client().get(format!("{}{path}", server.url)).header("Range", range);
        request.send().expect("an answer")
    };
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-1999999", 100, 2_000_000),
        ("bytes=2999999-", 2_999_999, 3_000_000),
        ("bytes=-5", 2_999_995, 3_000_000),
        ("bytes=2999000-9999999", 2_999_000, 3_000_000),
    ] {
        let answer = get(&path, range);
        assert_eq!(answer.status(), 206, "{range}");
        let expected = format!("bytes {start}-{}/3000000", end - 1);
        assert_eq!(field(&answer, "content-range"), expected);
        assert!(bytes(answer) == first[start..end], "{range}");
    }
    let answer = get(&path, "bytes=3000000-");
    assert_eq!(
        (answer.status().as_u16(), field(&answer, "content-range")),
        (416, "bytes */3000000")
    );
    let answer = client().head(format!("{}{path}", server.url)).send().expect("an answer");
    assert_eq!((answer.status().as_u16(), field(&answer, "etag")), (200, etag.as_str()));
    // The chunks, a page at a time, are the file.
    let mut whole = Vec::new();
    let mut next = Some(0);
    while let Some(from) = next {
        let page = format!("{path}/chunks?repo=team/model&from={from}&limit=7");
        let page: Value = serde_json::from_str(&server.text(&page)).expect("JSON");
        assert_eq!((page["oid"].as_str(), page["size"].as_u64()), (Some(&*id), Some(3_000_000)));
        for chunk in page["chunks"].as_array().expect("a list") {
            let chunk_id = chunk["id"].as_str().expect("an id");
            let path = format!("/v1/file/chunks/{chunk_id}?repo=team/model&file={id}");
            let content = bytes(server.get(&path));
            assert_eq!(chunk["offset"].as_u64(), Some(whole.len() as u64));
            assert_eq!(chunk["size"].as_u64(), Some(content.len() as u64));
            whole.extend(content);
        }
        next = page["next"].as_u64();
    }
    assert!(whole == first);
}

#[test]
fn asked_to_end_it_lets_transfers_end() {
    let world = World::with_store();
    let content = Numbers(6).bytes(40 << 20);
    fs::write(world.path("large.bin"), &content).expect("written");
    let id = world.ok(&["file", "add", "large.bin"]);
    let id = id.split_whitespace().next().expect("an id");
    let mut server = Server::start(&world);
    let mut answer = server.get(&format!("/v1/file/{id}"));
    let mut received = vec![0];
    answer.read_exact(&mut received).expect("a byte");
    server.terminate();
    while TcpStream::connect(server.address()).is_ok() {
        thread::yield_now();
    }
    answer.read_to_end(&mut received).expect("the rest");
    assert!(received == content);
    assert_eq!(server.wait(), Some(0));
    // Nothing is left that the next would trip over.
    server.restart();
    assert_eq!(bytes(server.get(&format!("/v1/file/{id}"))).len(), content.len());
}

#[test]
fn other_commands_work_while_it_serves() {
    let world = World::with_store();
    let mut server = Server::start(&world);
    assert_eq!(server.text("/healthz").trim(), "ok");
    assert_eq!(server.get("/readyz").status(), 200);
    let git = git(&world);
    git.ok("", &["init", "-q", "r"]);
    git.commit("r", "a.txt", "one\n");
    git.ok("r", &["push", "-q", &server.repo("team/r"), "main"]);
    assert_eq!(world.ok(&["cat", "team/r", "a.txt"]), "one\n");
    let status = &world.run(&["status", "--json"]).json()[0];
    assert_eq!(status["holder"]["keeps_mounts"], true);
    let second = world.run(&["serve", "--listen", "127.0.0.1:0"]);
    second.says(1, &["is in use by process"]);
    world.ok(&["export", "team/r", "out.git"]);
    git.assert_clean("out.git");
    world.ok(&["repo", "fork", "team/r", "fork"]);
    world.ok(&["repo", "rename", "team/r", "moved"]);
    let repos: Value = serde_json::from_str(&server.text("/v1/repos")).expect("JSON");
    let names: Vec<&str> = repos["repos"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert_eq!(names, ["fork", "moved"]);
    git.ok("", &["clone", "-q", &server.repo("fork"), "fork"]);
    world.ok(&["repo", "delete", "fork"]);
    git.run("", &["ls-remote", &server.repo("fork")]).says(128, &["not found"]);
    let status: Value = serde_json::from_str(&server.text("/v1/status")).expect("JSON");
    assert_eq!(status["caller"], "owner");
    let document: Value = serde_json::from_str(&server.text("/v1/openapi.json")).expect("JSON");
    assert!(document["paths"]["/v1/object/{oid}"]["get"].is_object());
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    assert_eq!(world.ok(&["cat", "moved", "a.txt"]), "one\n");
}
