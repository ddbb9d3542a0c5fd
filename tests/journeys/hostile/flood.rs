//! Too much of everything: references, wants, haves, depth, filters, connections, compressed bytes.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::support::raw::line;

fn with_commit(server: &Server<'_>) -> String {
    let (pack, id) = history(&[Entry::whole(3, b"x")]);
    assert_eq!(push(server, "a", &id, &pack.write())[0], "unpack ok");
    id
}

fn fetch(server: &Server<'_>, lines: &[String]) -> Answer {
    let mut body = [&line("command=fetch")[..], b"0001"].concat();
    lines.iter().for_each(|text| body.extend(line(text)));
    body.extend(b"0000");
    raw::git(server, "a", "git-upload-pack", "version=2", &body)
}

fn ids(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("{number:040x}"))
}

/// A push of `count` new references to `id`, each named so long.
fn commands(id: &str, capabilities: &str, start: &str, count: usize, name_len: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for number in 0..count {
        let name = format!("refs/heads/{start}{number:07x}");
        let end = if number == 0 { format!("\0{capabilities}") } else { String::new() };
        body.extend(line(format!("{ZERO} {id} {name:x<name_len$}{end}")));
    }
    body.extend(b"0000");
    body.extend(Pack::new(Vec::new()).write());
    body
}

#[test]
fn more_commands_than_may_be_are_refused_before_they_are_held() {
    const COUNT_MAX: usize = 100_000;
    let world = World::with_store();
    let server = started(&world);
    let id = with_commit(&server);
    let bare = " report-status";
    let band = " report-status side-band-64k";
    for (capabilities, count, name_len, told) in [
        (bare, COUNT_MAX + 1, 0, "ERR a push may change at most 100000 references: push them"),
        (bare, 1_000_000, 0, "ERR a push may change at most 100000 references: push them"),
        (band, 1_000_000, 0, "\u{3}a push may change at most 100000 references: push them"),
        (bare, 100_000, 1_000, "ERR a push may name references in at most 19200000 bytes"),
    ] {
        let answer = push_raw(&server, "a", &commands(&id, capabilities, "no", count, name_len));
        assert_eq!(answer.status, 200, "{count}");
        let lines = raw::lines(&answer.body);
        assert!(lines.len() == 1 && lines[0].starts_with(told), "{count}: {lines:?}");
        let peak = server.memory_peak();
        assert!(peak < 128 << 20, "{count} of {name_len}: {} MiB", peak >> 20);
    }
    // As many as may be, and as long as they may be together.
    for (start, count, name_len) in [("yes", COUNT_MAX, 0), ("long", 17_000, 1_000)] {
        let answer = push_raw(&server, "a", &commands(&id, bare, start, count, name_len));
        let lines = raw::lines(&answer.body);
        let done = lines.iter().filter(|line| line.starts_with("ok refs/heads/")).count();
        assert_eq!((lines.len(), done), (count + 1, count), "{:?}", lines.first());
        let peak = server.memory_peak();
        assert!(peak < 192 << 20, "{count} of {name_len}: {} MiB", peak >> 20);
    }
    let listed = world.git("", &["ls-remote", "--heads", &server.repo("a")]);
    assert!(listed.lines().count() == COUNT_MAX + 17_000 + 1 && !listed.contains("/no"));
    assert_well(&server);
}

#[test]
fn floods_of_haves_and_wants_end() {
    let world = World::with_store();
    let server = started(&world);
    let id = with_commit(&server);
    let want = format!("want {id}");
    let haves = ids(300_000).map(|id| format!("have {id}"));
    let lines: Vec<String> = std::iter::once(want.clone()).chain(haves).collect();
    let answer = fetch(&server, &lines);
    assert!(answer.status == 400 || answer.text().contains("ERR "), "{}", answer.status);
    let wants: Vec<String> = ids(1_100_000).map(|id| format!("want {id}")).collect();
    let answer = fetch(&server, &wants);
    assert!(answer.status == 400 || answer.text().contains("ERR "), "{}", answer.status);
    let shallow = ids(300_000).map(|id| format!("shallow {id}"));
    let lines: Vec<String> = std::iter::once(want).chain(shallow).collect();
    let answer = fetch(&server, &lines);
    assert!(answer.status == 400 || answer.text().contains("ERR "), "{}", answer.status);
    assert_well(&server);
}

#[test]
fn depths_and_filters_have_bounds() {
    let world = World::with_store();
    let server = started(&world);
    let want = format!("want {}", with_commit(&server));
    for depth in ["deepen 2147483647", "deepen 99999999999999999999", "deepen 2147483648"] {
        let answer = fetch(&server, &[want.clone(), depth.to_owned(), "done".to_owned()]);
        let said = answer.text();
        assert!(said.contains("PACK") || said.contains("ERR "), "{depth}: {said}");
    }
    for depth in ["deepen 0", "deepen -1", "deepen x", "deepen-since x", "deepen-not absent"] {
        let answer = fetch(&server, &[want.clone(), depth.to_owned(), "done".to_owned()]);
        assert!(answer.text().contains("ERR ") || answer.status == 400, "{depth}: {answer:?}");
    }
    let mut nested = "blob:none".to_owned();
    for _ in 0..10 {
        nested = format!("combine:{}+tree:1", nested.replace('%', "%25").replace('+', "%2b"));
    }
    let wide = format!("combine:{}", vec!["tree:1"; 5_000].join("+"));
    let sparse = format!("sparse:oid={}", "1".repeat(40));
    for filter in [&nested, &wide, &sparse, "tree:-1", "blob:limit=99999999999999999999g", "x"] {
        let filter = format!("filter {filter}");
        let answer = fetch(&server, &[want.clone(), filter.clone(), "done".to_owned()]);
        let is_told = answer.text().contains("ERR ") || answer.status == 400;
        assert!(is_told, "{}: {answer:?}", &filter[..filter.len().min(60)]);
    }
    assert_well(&server);
}

#[test]
fn compressed_requests_do_not_grow_without_end() {
    let world = World::with_store();
    let server = started(&world);
    let id = with_commit(&server);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&line("command=fetch")).expect("memory");
    encoder.write_all(b"0001").expect("memory");
    let have = line(format!("have {id}"));
    let block = have.repeat(1_000);
    for _ in 0..20_000 {
        encoder.write_all(&block).expect("memory");
    }
    // A gigabyte of lines.
    let bomb = encoder.finish().expect("memory");
    assert!(bomb.len() < 16 << 20, "{}", bomb.len());
    for service in ["git-upload-pack", "git-receive-pack"] {
        let media_type = format!("application/x-{service}-request");
        let fields = [
            ("Content-Type", media_type.as_str()),
            ("Content-Encoding", "gzip"),
            ("Git-Protocol", "version=2"),
        ];
        let path = format!("/a.git/{service}");
        let answer = raw::send(&server, &raw::request("POST", &path, &fields, &bomb));
        let is_told = [400, 413].contains(&answer.status) || answer.text().contains("ERR ");
        assert!(is_told, "{service}: {answer:?}");
    }
    assert_well(&server);
}

#[test]
fn connections_that_dribble_leave_room_for_others() {
    let world = World::with_store();
    let server = started(&world);
    with_commit(&server);
    let starts =
        ["", "G", "GET /healthz HTTP/1.1\r\nHost: local", "POST /a.git/git-upload-pack HT"];
    let held: Vec<_> = (0..500)
        .map(|index| {
            let mut stream = raw::connect(&server);
            stream.write_all(starts[index % starts.len()].as_bytes()).expect("sent");
            stream
        })
        .collect();
    world.git("", &["clone", "-q", &server.repo("a"), "clone"]);
    assert_well(&server);
    drop(held);
    assert_well(&server);
}

#[test]
fn streams_that_are_reset_at_once_end_their_connection() {
    let world = World::with_store();
    let server = started(&world);
    let frame = |kind: u8, flags: u8, stream: u32, data: &[u8]| {
        let len = (data.len() as u32).to_be_bytes();
        [&len[1..], &[kind, flags], &stream.to_be_bytes(), data].concat()
    };
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, b""));
    // GET / of http://localhost by HPACK's static table; END_STREAM and END_HEADERS; then a reset.
    let head = [&[0x82, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat();
    for number in 0..10_000u32 {
        bytes.extend(frame(1, 5, number * 2 + 1, &head));
        bytes.extend(frame(3, 0, number * 2 + 1, &8u32.to_be_bytes()));
    }
    let mut stream = raw::connect(&server);
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut said = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut said);
    assert!(said.len() < 4 << 20, "{} bytes", said.len());
    assert_well(&server);
}

#[test]
fn a_repository_has_limits_of_its_own() {
    let world = World::with_store();
    let server = started(&world);
    let noise = Entry::whole(3, &crate::support::Numbers(9).bytes(50_000));
    let (pack, id) = history(&[noise]);
    for (key, value, reason) in [
        ("receive.maxInputSize", "1000", "exceeds maximum allowed size"),
        ("receive.quota", "1000", "quota"),
        ("receive.maxRefs", "1", "at most 1 reference"),
    ] {
        world.ok(&["repo", "create", "limited"]);
        world.ok(&["repo", "config", "limited", key, value]);
        let commands = [
            line(format!("{ZERO} {id} refs/heads/main\0 report-status")),
            line(format!("{ZERO} {id} refs/heads/b")),
        ];
        let body = [&commands.concat()[..], b"0000", &pack.write()].concat();
        let answer = push_raw(&server, "limited", &body);
        assert!(answer.text().contains(reason), "{key}: {answer:?}");
        assert!(!answer.text().contains("ok refs/"), "{key}: {answer:?}");
        assert_no_refs(&server, "limited");
        world.ok(&["repo", "delete", "limited"]);
    }
    assert_well(&server);
}

#[test]
fn a_program_that_talks_without_end_is_cut_off() {
    let world = World::with_store();
    let server = started(&world);
    with_commit(&server);
    let script = world.path("talk");
    let text = "#!/bin/sh\nhead -c 100000000 /dev/zero | tr '\\0' 'x'\nprintf '\\033[2J'\n";
    std::fs::write(&script, text).expect("written");
    world.sh("chmod +x talk");
    world.ok(&["repo", "config", "a", "receive.postReceive", script.to_str().expect("text")]);
    let (pack, id) = history(&[Entry::whole(3, b"another")]);
    let command = format!("{ZERO} {id} refs/heads/b\0 report-status side-band-64k");
    let body = [&line(command)[..], b"0000", &pack.write()].concat();
    let answer = push_raw(&server, "a", &body);
    assert!(answer.text().contains("ok refs/heads/b"), "{}", answer.body.len());
    assert!(answer.body.len() < 4 << 20, "{} bytes of talk", answer.body.len());
    assert!(!answer.body.contains(&0x1b), "no escape gets to a terminal");
    assert_well(&server);
}
