//! What a client must not get away with: after each, the references are as they were and the next
//! push goes through.

use super::*;
use crate::git::limits::PUSH_SHALLOW_MAX;

/// The world with one branch at its first commit; the ids of that and of the next.
fn seeded() -> (World, String, String) {
    let world = World::new();
    let first = world.commit("a", "1");
    let answer = world.push(&[(ZERO, &first, "refs/heads/main")]);
    assert_eq!(answer.report, ["unpack ok", "ok refs/heads/main"]);
    let second = world.commit("a", "2");
    (world, first, second)
}

fn still_works(world: &World, first: &str, second: &str) {
    assert_eq!(world.refs()["refs/heads/main"], first, "nothing has moved");
    let left = std::fs::read_dir(world.store.tmp()).expect("listed").count();
    assert_eq!(left, 0, "nothing is left in tmp");
    let answer = world.push(&[(first, second, "refs/heads/main")]);
    assert_eq!(answer.report, ["unpack ok", "ok refs/heads/main"]);
}

#[test]
fn every_cut_and_every_damaged_pack_is_refused_whole() {
    let (world, first, second) = seeded();
    let front = request(CAPS, &[(&first, &second, "refs/heads/main")]);
    let pack = world.pack(&[&second], &[&first]);
    for len in 0..front.len() {
        let error = world.send(&front[..len]).map(drop).expect_err("no end of the commands");
        assert!(matches!(error, GitError::Wire(_)), "{len}: {error}");
    }
    for len in 0..pack.len() {
        let cut = [&front[..], &pack[..len]].concat();
        let answer = answer(&world.send(&cut).expect("answered"));
        assert!(answer.report[0].starts_with("unpack ") && answer.report[0] != "unpack ok");
        assert_eq!(answer.report[1], "ng refs/heads/main unpacker error", "{len}");
    }
    let mut wrong_sum = pack.clone();
    *wrong_sum.last_mut().expect("some") ^= 1;
    let report = answer(&world.send(&[&front[..], &wrong_sum].concat()).expect("answered")).report;
    assert_eq!(report[0], "unpack pack is corrupted (SHA1 mismatch)");
    let followed = [&front[..], &pack, b"x"].concat();
    assert_ne!(answer(&world.send(&followed).expect("answered")).report[0], "unpack ok");
    assert!(!world.has(&second));
    still_works(&world, &first, &second);
}

#[test]
fn lines_that_are_not_the_protocol_are_the_clients_fault() {
    let (world, first, second) = seeded();
    let line = |text: &str| -> Vec<u8> {
        let mut lines = PktWriter::new(Vec::new());
        lines.text(text).expect("written");
        lines.flush().expect("written");
        lines.into_inner()
    };
    let mut cases: Vec<Vec<u8>> = ["0003", "fff1", "zzzz", "0001x", "00"]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    for text in [
        "hello",
        &format!("{first} {second}"),
        &format!("{first} {second}refs/heads/main"),
        &format!("{} {second} refs/heads/main", "g".repeat(40)),
        "shallow xyz",
        &format!("shallow {first}x"),
    ] {
        cases.push(line(text));
    }
    for case in cases {
        let error = world.send(&case).map(drop);
        // A delimiter ends the list as a flush does; nothing was asked for then.
        if case.starts_with(b"0001") {
            assert!(error.is_ok());
            continue;
        }
        let error = error.expect_err("refused");
        assert!(matches!(error, GitError::Wire(_)), "{}: {error}", case.escape_ascii());
    }
    still_works(&world, &first, &second);
}

#[test]
fn a_probe_and_an_empty_list_get_no_answer() {
    let (world, first, second) = seeded();
    assert_eq!(world.send(b"0000").expect("answered"), b"");
    still_works(&world, &first, &second);
}

#[test]
fn signed_pushes_other_hashes_and_too_many_commands_are_told_no() {
    let (mut world, first, second) = seeded();
    let refused = |world: &World, bytes: &[u8]| -> (Vec<u8>, String) {
        let mut out = Vec::new();
        match serve(&world.service(), &mut &bytes[..], &mut out) {
            Err(GitError::Refused { reason }) => (out, reason),
            other => panic!("{other:?}"),
        }
    };
    let mut signed = PktWriter::new(Vec::new());
    signed.data(format!("push-cert\0 {CAPS}").as_bytes()).expect("written");
    signed.text("certificate version 0.1").expect("written");
    let (out, reason) = refused(&world, &signed.into_inner());
    assert!(reason.contains("signed"));
    assert_eq!(answer(&out).fatal, format!("{reason}\n"));
    let sha256 = CAPS.replace("sha1", "sha256");
    let front = request(&sha256, &[(&first, &second, "refs/heads/main")]);
    let (out, _) = refused(&world, &front);
    assert!(answer(&out).fatal.contains("unsupported object format 'sha256'"));
    let bare = request("object-format=x", &[(&first, &second, "refs/heads/main")]);
    let (out, _) = refused(&world, &bare);
    assert!(out.starts_with(b"0") && out[4..].starts_with(b"ERR "));
    world.set(&[("receive.maxRefs", "2")]);
    let names: Vec<String> = (0..3).map(|n| format!("refs/heads/b{n}")).collect();
    let commands: Vec<(&str, &str, &str)> =
        names.iter().map(|name| (ZERO, first.as_str(), name.as_str())).collect();
    let (out, _) = refused(&world, &request(CAPS, &commands));
    assert!(answer(&out).fatal.contains("at most 2 references"));
    assert_eq!(world.push(&commands[..2]).report.len(), 3, "as many as may be");
    // What holds where the repository says nothing.
    world.set(&[]);
    world.limits.commands_max = 2;
    let (out, _) = refused(&world, &request(CAPS, &commands));
    assert!(answer(&out).fatal.contains("at most 2 references: push them in parts"));
    let ids = [(first.as_str(), first.as_str()); 2];
    let same = [0, 1].map(|n| (ids[n].0, ids[n].1, names[n].as_str()));
    assert_eq!(world.push(&same).report.len(), 3);
    world.set(&[("receive.maxRefs", "3")]);
    assert_eq!(world.push(&commands).report.len(), 4, "the repository's own word counts");
    still_works(&world, &first, &second);
}

#[test]
fn names_have_a_length_together() {
    let (mut world, first, second) = seeded();
    world.limits.commands_max = 1_000;
    // A shallow client's boundary is not counted with them.
    let mut lines = PktWriter::new(Vec::new());
    for number in 0..PUSH_SHALLOW_MAX {
        lines.text(format!("shallow {number:040x}")).expect("written");
    }
    let shallow = lines.into_inner();
    let refused = |name_len: usize| {
        let names: Vec<String> = (0..1_000).map(|n| format!("refs/tags/{n:0name_len$}")).collect();
        let commands: Vec<(&str, &str, &str)> =
            names.iter().map(|name| (ZERO, first.as_str(), name.as_str())).collect();
        let mut bytes = [&shallow[..], &request(CAPS, &commands)].concat();
        bytes.extend(world.pack(&[&first], &[&first]));
        match serve(&world.service(), &mut &bytes[..], &mut Vec::new()) {
            Err(GitError::Refused { reason }) => reason,
            other => format!("{other:?}"),
        }
    };
    assert!(refused(90).contains("updated: 1000"), "{}", refused(90));
    let reason = refused(110);
    assert!(reason.contains("in at most 192000 bytes of lines: push them in parts"), "{reason}");
    assert!(!world.refs().keys().any(|name| name.len() > 110));
    still_works(&world, &first, &second);
}

#[test]
fn what_is_missing_is_named_and_nothing_is_kept() {
    let (world, first, second) = seeded();
    let third = world.commit("a", "3");
    // The pack of the last commit alone: its parent is missing.
    let mut bytes = request(CAPS, &[(&first, &third, "refs/heads/main")]);
    bytes.extend(world.pack(&[&third], &[&second]));
    let report = answer(&world.send(&bytes).expect("answered")).report;
    assert_eq!(report, ["unpack ok", "ng refs/heads/main missing necessary objects"]);
    assert!(!world.has(&third));
    // A tip that is nowhere, beside one that is there and a deletion.
    let nowhere = "1".repeat(40);
    let commands = [
        (first.as_str(), nowhere.as_str(), "refs/heads/main"),
        (ZERO, first.as_str(), "refs/heads/next"),
    ];
    let mut bytes = request(CAPS, &commands);
    bytes.extend(world.pack(&[], &[]));
    let report = answer(&world.send(&bytes).expect("answered")).report;
    assert_eq!(report[1..], ["ng refs/heads/main missing necessary objects", "ok refs/heads/next"]);
    // A shallow client whose boundary is not here.
    let mut lines = PktWriter::new(Vec::new());
    lines.text(format!("shallow {third}")).expect("written");
    let mut bytes = lines.into_inner();
    bytes.extend(request(CAPS, &[(&first, &third, "refs/heads/main")]));
    bytes.extend(world.pack(&[&third], &[&second]));
    let report = answer(&world.send(&bytes).expect("answered")).report;
    assert_eq!(report[1], "ng refs/heads/main shallow update not allowed");
    still_works(&world, &first, &second);
}

#[test]
fn what_another_repository_has_is_nothing_here() {
    let (world, first, second) = seeded();
    let other = RepoName::new("other").expect("valid");
    let other = world.store.repos().create(&other, Visibility::Private).expect("made");
    let elsewhere = World { repo: other, ..World::new() };
    let service = Service { repo: &elsewhere.repo, ..world.service() };
    let mut out = Vec::new();
    let mut bytes = request(CAPS, &[(ZERO, &second, "refs/heads/main")]);
    bytes.extend(world.pack(&[&second], &[&first]));
    serve(&service, &mut &bytes[..], &mut out).expect("answered");
    let report = answer(&out).report;
    assert!(report[1].starts_with("ng refs/heads/main "), "{report:?}");
    assert!(world.store.refs().list(elsewhere.repo.id, b"").expect("listed").is_empty());
    still_works(&world, &first, &second);
}

#[test]
fn bad_content_is_refused_unless_the_repository_takes_it() {
    let (mut world, first, second) = seeded();
    let blob = text_of(git(&world.work(), &["hash-object", "-w", "--stdin"], b"x"));
    let id: ObjectId = blob.parse().expect("an id");
    let tree = [&b"100644 .git\0"[..], id.as_bytes()].concat();
    let args = ["hash-object", "-w", "-t", "tree", "--literally", "--stdin"];
    let tree = text_of(git(&world.work(), &args, &tree));
    let commit = world.git(&["commit-tree", &tree, "-p", &first, "-m", "x"]);
    let command = [(first.as_str(), commit.as_str(), "refs/heads/main")];
    let answer = world.push(&command);
    assert!(answer.report[0].contains("hasDotgit") && answer.report[0].contains(&tree));
    assert_eq!(answer.report[1], "ng refs/heads/main unpacker error");
    world.set(&[("receive.fsck.hasDotgit", "warn")]);
    let answer = world.push(&[(ZERO, commit.as_str(), "refs/heads/warned")]);
    assert_eq!(answer.report[1], "ok refs/heads/warned");
    assert!(answer.words.contains("warning: object") && answer.words.contains("hasDotgit"));
    still_works(&world, &first, &second);
}

#[test]
fn limits_of_bytes_hold() {
    let (mut world, first, second) = seeded();
    let command = [(first.as_str(), second.as_str(), "refs/heads/main")];
    world.set(&[("receive.maxInputSize", "100")]);
    let report = world.push(&command).report;
    assert_eq!(report[0], "unpack pack exceeds maximum allowed size (100 bytes)");
    let usage = world.store.objects().usage(world.repo.id).expect("counted");
    let quota = (usage + 50).to_string();
    world.set(&[("receive.quota", &quota)]);
    let report = world.push(&command).report;
    assert_eq!(report[0], format!("unpack the repository would exceed its quota ({quota} bytes)"));
    assert!(!world.has(&second));
    world.set(&[("receive.quota", "1m")]);
    still_works(&world, &first, &second);
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.read(out)? {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                len => Ok(len),
            }
        }
    }
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (world, first, second) = seeded();
    let front = request(CAPS, &[(&first, &second, "refs/heads/main")]);
    let pack = world.pack(&[&second], &[&first]);
    for len in [0, 1, 11, 12, 40, pack.len() - 1] {
        let bytes = [&front[..], &pack[..len]].concat();
        let gone = serve(&world.service(), &mut Broken(&bytes), &mut Vec::new());
        assert!(matches!(gone, Err(GitError::ClientGone(_))), "{len}: {gone:?}");
    }
    assert!(!world.has(&second));
    // Gone before the answer: what was asked for is done.
    let whole = [&front[..], &pack].concat();
    let gone = serve(&world.service(), &mut &whole[..], &mut Full);
    assert!(matches!(gone, Err(GitError::ClientGone(_))), "{gone:?}");
    assert_eq!(world.refs()["refs/heads/main"], second);
}

#[test]
fn one_of_two_racing_pushes_wins() {
    let (world, first, second) = seeded();
    world.git(&["checkout", "-q", &first]);
    let other = world.commit("b", "other");
    for round in 0..8 {
        let name = format!("refs/heads/race{round}");
        assert_eq!(world.push(&[(ZERO, &first, &name)]).report[0], "unpack ok");
        let bytes = [&second, &other].map(|new| {
            let mut bytes = request(CAPS, &[(&first, new, &name)]);
            bytes.extend(world.pack(&[new], &[&first]));
            bytes
        });
        let reports = std::thread::scope(|scope| {
            let world = &world;
            let threads =
                bytes.map(|bytes| scope.spawn(move || answer(&world.send(&bytes).expect("sent"))));
            threads.map(|thread| thread.join().expect("ended").report[1].clone())
        });
        let won = reports.iter().filter(|line| line.starts_with("ok")).count();
        assert_eq!(won, 1, "{reports:?}");
        let expected = if reports[0].starts_with("ok") { &second } else { &other };
        assert_eq!(&world.refs()[&name], expected);
    }
}
