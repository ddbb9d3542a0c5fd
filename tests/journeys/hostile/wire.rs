//! Lines, commands and names that break the protocol's rules.

use super::*;
use crate::support::raw::line;

#[test]
fn lines_of_impossible_lengths_are_the_clients_fault() {
    let world = World::with_store();
    let server = started(&world);
    let (pack, id) = history(&[Entry::whole(3, b"x")]);
    assert_eq!(push(&server, "a", &id, &pack.write())[0], "unpack ok");
    for length in ["0001", "0002", "0003", "fff1", "ffff", "00g0", "-001", " 12 "] {
        let body = [length.as_bytes(), &[b'x'; 70_000]].concat();
        for (service, version) in [
            ("git-upload-pack", "version=0"),
            ("git-upload-pack", "version=1"),
            ("git-upload-pack", "version=2"),
            ("git-receive-pack", "version=1"),
        ] {
            let answer = raw::git(&server, "a", service, version, &body);
            let said = answer.text();
            let is_told =
                answer.status == 400 || (answer.status == 200 && said.get(4..8) == Some("ERR "));
            // To git's own receive-pack too these end an empty list of commands.
            let is_nothing = service == "git-receive-pack" && ["0001", "0002"].contains(&length);
            let is_told = is_told || (is_nothing && answer.status == 200 && said.is_empty());
            assert!(is_told, "{length} to {service} {version}: {answer:?}");
        }
    }
    // A line that is cut off, and nothing at all.
    for body in [&b"0032want"[..], b"00", b""] {
        let answer = raw::git(&server, "a", "git-upload-pack", "version=2", body);
        assert!([200, 400].contains(&answer.status), "{answer:?}");
    }
    assert_well(&server);
}

#[test]
fn names_that_are_none_are_refused_one_by_one() {
    let world = World::with_store();
    let server = started(&world);
    let (pack, id) = history(&[Entry::whole(3, b"x")]);
    assert_eq!(push(&server, "names", &id, &pack.write())[0], "unpack ok");
    let long = format!("refs/heads/{}", "a".repeat(5 << 10));
    let names: Vec<Vec<u8>> = [
        "refs/heads/../x",
        "refs/heads/..",
        "refs/heads/a@{b",
        "refs/heads/a b",
        "refs/heads/a.lock",
        &long,
        "HEAD",
        "FETCH_HEAD",
        "refs/heads/.a",
        "refs/heads/a~b",
        "refs/heads/a^",
        "refs/heads/a:b",
        "refs/heads/a?",
        "refs/heads/*",
        "refs/heads/[a",
        "refs/heads/a\\b",
        "refs/heads/a/",
        "refs/heads//a",
        "@",
        "refs/heads/a\x7f",
        "refs/heads/-x",
        "refs/heads/HEAD",
        "refs/heads/main/below",
        "../../etc/passwd",
        "refs/../../x",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .chain([b"refs/heads/a\xff\x01".to_vec()])
    .collect();
    for name in &names {
        let mut command = format!("{ZERO} {id} ").into_bytes();
        command.extend(name);
        command.extend(b"\0 report-status");
        let pack = Pack::new(Vec::new()).write();
        let body = [&line(&command), &b"0000"[..], &pack].concat();
        let answer = push_raw(&server, "names", &body);
        let said = answer.text();
        let is_refused = answer.status == 400 || said.contains("ng ") || said.contains("ERR ");
        assert!(is_refused && !said.contains("ok refs"), "{name:?}: {answer:?}");
    }
    let refs = raw::get(&server, "/names.git/info/refs?service=git-upload-pack", &[]).text();
    assert_eq!(refs.matches("refs/").count(), 2, "main and HEAD's target: {refs}");
    assert_well(&server);
}

#[test]
fn commands_that_ask_for_what_is_not_there() {
    let world = World::with_store();
    let server = started(&world);
    let (pack, id) = history(&[Entry::whole(3, b"x")]);
    let absent = "1".repeat(40);
    let report = push(&server, "absent", &absent, &Pack::new(Vec::new()).write());
    assert_eq!(report.last().map(|l| l.starts_with("ng refs/heads/main ")), Some(true));
    assert_no_refs(&server, "absent");
    // Of two in one atomic push the second is bad: neither moves.
    let commands = [
        format!("{ZERO} {id} refs/heads/a\0 report-status atomic"),
        format!("{ZERO} {absent} refs/heads/b"),
    ];
    let report = push_lines(&server, "atomic", &commands, &pack.write());
    assert!(report.iter().filter(|line| line.starts_with("ng ")).count() == 2, "{report:?}");
    assert_no_refs(&server, "atomic");
    // The same name twice: the second finds what the first made.
    let commands = [
        format!("{ZERO} {id} refs/heads/a\0 report-status"),
        format!("{ZERO} {absent} refs/heads/a"),
    ];
    let report = push_lines(&server, "twice", &commands, &pack.write());
    assert_eq!(report.iter().filter(|line| line.starts_with("ng ")).count(), 1, "{report:?}");
    // A wrong old id, another hash, a certificate that was never asked for.
    assert_eq!(push(&server, "a", &id, &pack.write())[0], "unpack ok");
    let stale = [format!("{absent} {id} refs/heads/main\0 report-status")];
    let report = push_lines(&server, "a", &stale, &pack.write());
    assert!(report.last().is_some_and(|line| line.starts_with("ng ")), "{report:?}");
    for body in [
        line(format!("{ZERO} {id} refs/heads/x\0 report-status object-format=sha256")),
        line("push-cert\0 report-status"),
    ] {
        let body = [&body[..], b"0000", &pack.write()].concat();
        let answer = push_raw(&server, "a", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.text().contains("ERR "), "the client hears why: {answer:?}");
    }
    assert_well(&server);
}

#[test]
fn a_client_that_goes_away_in_its_pack_leaves_nothing() {
    let world = World::with_store();
    let server = started(&world);
    let (pack, id) = history(&[Entry::whole(3, &crate::support::Numbers(1).bytes(100_000))]);
    let command = line(format!("{ZERO} {id} refs/heads/main\0 report-status"));
    let body = [&command[..], b"0000", &pack.write()].concat();
    let fields = [("Content-Type", "application/x-git-receive-pack-request")];
    let whole = raw::request("POST", "/gone.git/git-receive-pack", &fields, &body);
    for len in [whole.len() - 1, whole.len() - 30, whole.len() / 2, 400] {
        let mut stream = raw::connect(&server);
        std::io::Write::write_all(&mut stream, &whole[..len]).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("ended");
        // It may answer, or just end; it must not hang.
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("ok refs"), "{len}");
    }
    assert_no_refs(&server, "gone");
    assert_eq!(push(&server, "gone", &id, &pack.write())[0], "unpack ok");
    let left = std::fs::read_dir(world.store().join("tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "quarantine files");
    assert_well(&server);
}
