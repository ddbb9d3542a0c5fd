//! Settings, atomic pushes, the current branch, many references, the program after a push.

use super::*;

fn fill(world: &World) -> (String, String, String) {
    let first = world.commit("a", "1");
    let second = world.commit("a", "2");
    world.git(&["checkout", "-q", &first]);
    let aside = world.commit("b", "aside");
    let answer = world.push(&[
        (ZERO, &second, "refs/heads/main"),
        (ZERO, &second, "refs/heads/release/1"),
        (ZERO, &second, "refs/heads/free"),
        (ZERO, &aside, "refs/heads/aside"),
    ]);
    assert_eq!(answer.report.len(), 5);
    assert!(answer.report[1..].iter().all(|line| line.starts_with("ok ")), "{answer:?}");
    (first, second, aside)
}

#[test]
fn protected_branches_are_neither_rewound_nor_deleted() {
    let mut world = World::new();
    let (first, second, aside) = fill(&world);
    world.set(&[("receive.protect", "main"), ("receive.protect", "release/*")]);
    let answer = world.push(&[
        (&second, &first, "refs/heads/main"),
        (&second, &aside, "refs/heads/release/1"),
        (&second, &first, "refs/heads/free"),
    ]);
    assert_eq!(
        answer.report[1..],
        [
            "ng refs/heads/main non-fast-forward",
            "ng refs/heads/release/1 non-fast-forward",
            "ok refs/heads/free"
        ]
    );
    assert!(answer.words.contains("error: denying non-fast-forward refs/heads/main"));
    let answer =
        world.push(&[(&second, ZERO, "refs/heads/release/1"), (&first, ZERO, "refs/heads/free")]);
    assert_eq!(
        answer.report[1..],
        ["ng refs/heads/release/1 deletion prohibited", "ok refs/heads/free"]
    );
    world.git(&["checkout", "-q", &second]);
    let third = world.commit("a", "3");
    let answer = world.push(&[(&second, &third, "refs/heads/main")]);
    assert_eq!(answer.report[1], "ok refs/heads/main", "forward it goes");
    world.set(&[("receive.denyDeletes", "true"), ("receive.denyNonFastForwards", "true")]);
    let answer =
        world.push(&[(&aside, ZERO, "refs/heads/aside"), (&third, &first, "refs/heads/main")]);
    assert_eq!(
        answer.report[1..],
        ["ng refs/heads/aside deletion prohibited", "ng refs/heads/main non-fast-forward"]
    );
}

#[test]
fn the_current_branch_stays_unless_it_may_go() {
    let mut world = World::new();
    let (_, second, _) = fill(&world);
    assert_eq!(world.head(), "ref: refs/heads/main");
    let command = [(second.as_str(), ZERO, "refs/heads/main")];
    let answer = world.push(&command);
    assert_eq!(answer.report[1], "ng refs/heads/main deletion of the current branch prohibited");
    world.set(&[("receive.denyDeleteCurrent", "ignore")]);
    assert_eq!(world.push(&command).report[1], "ok refs/heads/main");
}

#[test]
fn head_goes_to_a_branch_of_the_first_push() {
    for (names, expected) in [
        (&["refs/heads/x", "refs/heads/master", "refs/heads/main"][..], "refs/heads/main"),
        (&["refs/heads/x", "refs/heads/master"], "refs/heads/master"),
        (&["refs/tags/v1", "refs/heads/trunk"], "refs/heads/trunk"),
    ] {
        let world = World::new();
        let id = world.commit("a", "1");
        let commands: Vec<(&str, &str, &str)> =
            names.iter().map(|name| (ZERO, id.as_str(), *name)).collect();
        world.push(&commands);
        assert_eq!(world.head(), format!("ref: {expected}"));
        world.push(&[(ZERO, &id, "refs/heads/later")]);
        assert_eq!(world.head(), format!("ref: {expected}"), "once is enough");
    }
}

#[test]
fn an_atomic_push_is_all_or_nothing() {
    let world = World::new();
    let (first, second, _) = fill(&world);
    let before = world.refs();
    let caps = format!("{CAPS} atomic");
    for bad in [
        (second.as_str(), ZERO, "refs/heads/main"),
        (first.as_str(), second.as_str(), "refs/heads/aside"),
        (ZERO, second.as_str(), "refs/heads/free/x"),
        (ZERO, second.as_str(), "refs/heads/-x"),
    ] {
        let answer = world.push_as(&caps, &[(&second, &first, "refs/heads/free"), bad]);
        assert!(answer.report[1..].iter().all(|line| line.starts_with("ng ")), "{answer:?}");
        assert_eq!(world.refs(), before);
    }
    let answer = world.push_as(
        &caps,
        &[(&second, &first, "refs/heads/free"), (&second, ZERO, "refs/heads/release/1")],
    );
    assert_eq!(answer.report[1..], ["ok refs/heads/free", "ok refs/heads/release/1"]);
}

#[test]
fn hidden_references_are_neither_shown_nor_changed() {
    let mut world = World::new();
    let (first, second, aside) = fill(&world);
    world.set(&[("transfer.hideRefs", "refs/heads/release")]);
    let answer = world.push(&[
        (&second, &first, "refs/heads/release/1"),
        (&second, ZERO, "refs/heads/release/1"),
        (ZERO, &first, "refs/heads/release/2"),
        (&aside, &first, "refs/heads/aside"),
    ]);
    assert_eq!(
        answer.report[1..],
        [
            "ng refs/heads/release/1 deny updating a hidden ref",
            "ng refs/heads/release/1 deny deleting a hidden ref",
            "ng refs/heads/release/2 deny updating a hidden ref",
            "ok refs/heads/aside"
        ]
    );
    let mut out = Vec::new();
    advertise(&world.service(), &mut out).expect("advertised");
    assert!(!String::from_utf8_lossy(&out).contains("release"));
}

#[test]
fn a_branch_is_a_commit_and_a_directory_gives_way_in_one_push() {
    let world = World::new();
    let (first, second, _) = fill(&world);
    let tree = world.git(&["rev-parse", &format!("{first}^{{tree}}")]);
    let answer = world.push(&[(ZERO, &tree, "refs/heads/tree"), (ZERO, &tree, "refs/tags/tree")]);
    assert_eq!(
        answer.report[1..],
        ["ng refs/heads/tree failed to update ref", "ok refs/tags/tree"]
    );
    let answer = world.push(&[
        (ZERO, &first, "refs/heads/free/one"),
        (&second, ZERO, "refs/heads/free"),
        (ZERO, &first, "refs/heads/free/one/two"),
        (ZERO, &first, "refs/heads/main/x"),
    ]);
    assert_eq!(
        answer.report[1..],
        [
            "ok refs/heads/free/one",
            "ok refs/heads/free",
            "ng refs/heads/free/one/two failed to update ref",
            "ng refs/heads/main/x failed to update ref"
        ]
    );
    let twice =
        world.push(&[(ZERO, &first, "refs/heads/twice"), (ZERO, &second, "refs/heads/twice")]);
    assert_eq!(twice.report[2], "ng refs/heads/twice multiple updates for one ref");
    assert_eq!(world.refs()["refs/heads/twice"], first);
    // What never was is gone when it is deleted.
    let gone = world.push(&[(&"2".repeat(40), ZERO, "refs/heads/nothing")]);
    assert_eq!(gone.report[1], "ok refs/heads/nothing");
    assert!(gone.words.contains("deleting a non-existent ref"));
}

#[test]
fn a_symbolic_reference_is_pushed_through() {
    let world = World::new();
    let (first, second, aside) = fill(&world);
    let name = |text: &str| RefName::new(text.as_bytes()).expect("valid");
    let link = mega_storage::RefEdit {
        name: name("refs/heads/link"),
        expect: mega_storage::Expect::Absent,
        new: Some(RefTarget::Symbolic(name("refs/heads/free"))),
    };
    let link = mega_storage::RefTransaction { edits: vec![link] };
    world.store.refs().apply(world.repo.id, &link).expect("made");
    assert_eq!(world.push(&[(&second, &first, "refs/heads/link")]).report[1], "ok refs/heads/link");
    assert_eq!(world.refs()["refs/heads/free"], first);
    assert_eq!(world.refs()["refs/heads/link"], "ref: refs/heads/free");
    let answer =
        world.push(&[(&first, &second, "refs/heads/link"), (&first, &second, "refs/heads/free")]);
    assert_eq!(answer.report[1..], ["ok refs/heads/link", "ok refs/heads/free"]);
    let answer =
        world.push(&[(&second, &first, "refs/heads/link"), (&second, &aside, "refs/heads/free")]);
    assert_eq!(answer.report[2], "ng refs/heads/free inconsistent aliased update");
}

#[test]
fn without_sidebands_or_reports_the_answer_is_bare() {
    let world = World::new();
    let first = world.commit("a", "1");
    let bare = world.push_as("report-status-v2", &[(ZERO, &first, "refs/heads/main")]);
    assert_eq!(bare.report, ["unpack ok", "ok refs/heads/main"]);
    let mut silent = request("delete-refs", &[(ZERO, &first, "refs/heads/next")]);
    silent.extend(world.pack(&[&first], &[&first]));
    assert_eq!(world.send(&silent).expect("answered"), b"");
    assert_eq!(world.refs().len(), 2);
}

#[test]
fn five_thousand_references_are_one_quick_push() {
    let world = World::new();
    let first = world.commit("a", "1");
    let names: Vec<String> = (0..5_000).map(|n| format!("refs/tags/v{n}")).collect();
    let mut commands: Vec<(&str, &str, &str)> =
        names.iter().map(|name| (ZERO, first.as_str(), name.as_str())).collect();
    let bad = "refs/tags/v7/x";
    commands.push((ZERO, &first, bad));
    let start = std::time::Instant::now();
    let answer = world.push(&commands);
    assert_eq!(answer.report.len(), 5_002);
    assert_eq!(answer.report[5_001], format!("ng {bad} failed to update ref"));
    assert_eq!(world.refs().len(), 5_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[cfg(unix)]
fn program(world: &World, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = world.dir.path().join("after");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    path.to_str().expect("text").to_owned()
}

#[test]
fn the_program_after_a_push_hears_of_it_and_cannot_undo_it() {
    let mut world = World::new();
    let first = world.commit("a", "1");
    let text = "cat; echo \"$MEGA_REPO $MEGA_ACTOR $GIT_DIR $GIT_PUSH_OPTION_COUNT \
                $GIT_PUSH_OPTION_0\"; printf 'a\\033[2Jb\\n' >&2; exit 3";
    let path = program(&world, text);
    world.set(&[("receive.postReceive", &path)]);
    let mut bytes = request(
        &format!("{CAPS} push-options"),
        &[(ZERO, &first, "refs/heads/main"), (ZERO, &first, "refs/heads/bad..x")],
    );
    bytes.extend(b"000aci=off0000");
    bytes.extend(world.pack(&[&first], &[]));
    let answer = answer(&world.send(&bytes).expect("answered"));
    assert_eq!(answer.report[..2], ["unpack ok", "ok refs/heads/main"]);
    let expected = format!("{ZERO} {first} refs/heads/main\nteam/one tester  1 ci=off\n");
    assert!(answer.words.contains(&expected), "{}", answer.words);
    assert!(answer.words.contains("a\\u{1b}[2Jb\n"), "{}", answer.words);
    assert!(answer.words.contains("ended with exit code 3"), "{}", answer.words);
    assert!(!answer.words.contains("bad..x"));
    // One that is not there, one that floods, one that never reads.
    world.set(&[("receive.postReceive", "/nonexistent/program")]);
    let answer = world.push(&[(ZERO, &first, "refs/heads/one")]);
    assert_eq!(answer.report[1], "ok refs/heads/one");
    assert!(answer.words.contains("could not be run"), "{}", answer.words);
    let path = program(&world, "exec head -c 3000000 /dev/zero | tr '\\0' x");
    world.set(&[("receive.postReceive", &path)]);
    let answer = world.push(&[(ZERO, &first, "refs/heads/two")]);
    assert!(answer.words.len() < (1 << 20) + 1_000, "{}", answer.words.len());
    assert!(answer.words.ends_with("... and more\n"));
}

#[test]
fn a_program_that_hangs_is_ended_and_the_push_stands() {
    use std::time::{Duration, Instant};
    let mut world = World::new();
    let first = world.commit("a", "1");
    let pids = world.dir.path().join("pids");
    let note = format!("sleep 600 & echo $$ $! >>'{}'", pids.display());
    let said = |world: &World, name: &str| {
        let began = Instant::now();
        let answer = world.push(&[(ZERO, &first, name)]);
        assert_eq!(answer.report, ["unpack ok", &format!("ok {name}")]);
        assert_eq!(world.refs()[name], first);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        answer.words
    };
    world.limits.program_time = Duration::from_millis(400);
    // Silent; talking; deaf to all but the last signal; with its output closed.
    for (index, text) in [
        "wait",
        "while :; do echo tick; sleep 0.05; done",
        "trap '' TERM INT HUP; wait; wait",
        "exec >&- 2>&-; wait",
    ]
    .iter()
    .enumerate()
    {
        let path = program(&world, &format!("{note}; {text}"));
        world.set(&[("receive.postReceive", &path)]);
        let words = said(&world, &format!("refs/heads/b{index}"));
        let note = "warning: the program after the push took more than 400ms and was ended\n";
        assert!(words.ends_with(note), "{text}: {words}");
    }
    // Neither they nor what they have started is left, but for a word in the table of processes.
    let pids = std::fs::read_to_string(&pids).expect("they ran");
    assert_eq!(pids.split_whitespace().count(), 8, "{pids}");
    for pid in pids.split_whitespace() {
        let is_there = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['R', 'S', 'D']))
        };
        let began = Instant::now();
        while is_there() {
            assert!(began.elapsed() < Duration::from_secs(30), "{pid} lives");
            std::thread::yield_now();
        }
    }
    // One that ends in time, though a child of its own holds its output.
    world.limits.program_time = Duration::from_secs(60);
    let path = program(&world, "sleep 5 & echo done");
    world.set(&[("receive.postReceive", &path)]);
    assert_eq!(said(&world, "refs/heads/quick"), "done\n");
}

#[test]
fn every_changed_reference_is_an_audit_line() {
    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let world = World::new();
    let first = world.commit("a", "1");
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        world.push(&[(ZERO, &first, "refs/heads/main"), (ZERO, &first, "refs/heads/a..b")]);
    });
    let text = String::from_utf8(log.0.lock().clone()).expect("text");
    assert_eq!(text.matches(" audit: ").count(), 1, "{text}");
    for part in ["repo=team/one", "actor=tester", "reference=refs/heads/main", &first, ZERO] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
