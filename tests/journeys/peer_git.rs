//! Stock git with a repository at a peer: `git-remote-p2p`.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::peers::{address, id, peer};
use crate::support::large::{checkout, commit, read, tenth_changed};
use crate::support::repos;
use crate::support::world::Run;
use crate::support::{Numbers, World};

/// Has git find the helper.
fn with_helper(world: &World) {
    let bin = world.make("bin");
    symlink(env!("CARGO_BIN_EXE_mega-store"), bin.join("git-remote-p2p")).expect("linked");
    world.sh("git config --global user.name me; git config --global user.email me@example.org");
}

/// Waits for a line of the store's audit log: its route and its repository, by that peer.
#[track_caller]
fn is_noted(world: &World, peer: &str, route: &str) {
    let (path, started) = (world.store().join("log/audit.log"), Instant::now());
    let is_it = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let good = line["status"] == 200 && line["bytes_in"].as_u64() > Some(0);
        let of = (&line["who"], &line["route"], &line["repo"]);
        good && of == (&format!("peer {peer}").into(), &route.into(), &"source".into())
    };
    loop {
        // The line is written when the answer is out.
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        if log.split_inclusive('\n').any(|line| line.ends_with('\n') && is_it(line)) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "no {route} in {log}");
    }
}

/// Runs git where the helper is found, with the world's store.
fn git(world: &World, args: &[&str]) -> Run {
    let mut command = world.command("git");
    let path = std::env::var("PATH").expect("a path");
    command.env("PATH", format!("{}:{path}", world.path("bin").display()));
    command.env("MEGA_STORE", world.store()).args(args);
    Run::of(command.output().expect("started"))
}

#[track_caller]
fn well(run: Run) -> String {
    assert_eq!(run.code, 0, "{run:?}");
    String::from_utf8_lossy(&run.out).into_owned()
}

#[test]
fn git_clones_fetches_and_pushes_over_peers() {
    let (there, here) = (World::with_store(), World::with_store());
    with_helper(&here);
    repos::history(&there, "source.git");
    there.ok(&["import", "source.git"]);
    there.ok(&["repo", "visibility", "source", "public"]);
    let server = peer(&there);
    here.ok(&["peer", "add", &address(&server)]);
    let url = format!("p2p://{}/repo/source", id(&there));

    well(git(&here, &["clone", "-q", "--mirror", &url, "mirror.git"]));
    let refs = |world: &World, dir: &str| {
        world.git(dir, &["for-each-ref", "--format=%(refname) %(objectname)"])
    };
    assert_eq!(refs(&here, "mirror.git"), refs(&there, "source.git"));
    let objects = |world: &World, dir: &str| world.git(dir, &["rev-list", "--objects", "--all"]);
    assert_eq!(objects(&here, "mirror.git"), objects(&there, "source.git"));
    here.git("mirror.git", &["fsck", "--full", "--strict"]);

    // As deep as asked for, and more of it later; what came since; only what is new travels.
    well(git(&here, &["clone", "-q", "--depth", "3", &url, "shallow"]));
    assert_eq!(here.git("shallow", &["rev-list", "--count", "HEAD"]).trim(), "3");
    well(git(&here, &["-C", "shallow", "fetch", "-q", "--deepen", "2"]));
    assert_eq!(here.git("shallow", &["rev-list", "--count", "HEAD"]).trim(), "5");
    well(git(&here, &["clone", "-q", &url, "work"]));

    // A stranger does not push; who is let does, and what git refuses is refused.
    here.sh("cd work && echo new > new-file && git add . && git commit -qm new");
    let refused = git(&here, &["-C", "work", "push", "-q", "origin", "HEAD:refs/heads/topic"]);
    assert_ne!(refused.code, 0);
    assert!(refused.words.contains("does not let this store push"), "{refused:?}");
    let log = there.store().join("log/audit.log");
    assert!(!log.exists(), "who only asks writes nothing");
    there.ok(&["repo", "config", "source", "swarm.allowWrite", &id(&here)]);
    well(git(&here, &["-C", "work", "push", "-q", "origin", "HEAD:refs/heads/topic"]));
    is_noted(&there, &id(&here), "p2p git-receive-pack");
    let pushed = here.git("work", &["rev-parse", "HEAD"]);
    let shown = there.ok(&["repo", "show", "source", "--json"]);
    assert!(shown.contains(pushed.trim()), "{shown}");
    let stale = git(&here, &["-C", "work", "push", "origin", "HEAD~5:refs/heads/topic"]);
    assert!(stale.code != 0 && stale.words.contains("non-fast-forward"), "{stale:?}");
    well(git(&here, &["-C", "mirror.git", "fetch", "-q"]));
    assert_eq!(here.git("mirror.git", &["rev-parse", "refs/heads/topic"]), pushed);

    // With the store open elsewhere the same is done by the process that has it.
    let holding = peer(&here);
    well(git(&here, &["clone", "-q", &url, "again"]));
    drop(holding);
    there.ok(&["repo", "visibility", "source", "private"]);
    there.ok(&["repo", "config", "source", "--unset", "swarm.allowWrite"]);
    let gone = git(&here, &["clone", "-q", &url, "gone"]);
    assert!(gone.code != 0 && gone.words.contains("no such repository"), "{gone:?}");
    let absent = git(&here, &["clone", "-q", &format!("p2p://{}/repo/x", id(&there)), "gone"]);
    assert_eq!(absent.words.replace("repo/x", "repo/source"), gone.words);
    let odd = git(&here, &["clone", "-q", "p2p://nobody/repo/x", "gone"]);
    assert!(odd.code != 0 && odd.words.contains("p2p://PEER/repo/NAME"), "{odd:?}");
}

#[test]
fn lfs_files_come_and_go_over_peers() {
    let (there, here) = (World::with_store(), World::with_store());
    with_helper(&here);
    let mut numbers = Numbers(77);
    let first = numbers.bytes(12 << 20);
    checkout(&there, "source", &first);
    for index in 0..40 {
        let path = there.path(format!("source/small-{index}.bin"));
        std::fs::write(path, format!("a little {index}")).expect("written");
    }
    there.sh("cd source && git add . && git commit -qm small");
    there.ok(&["import", "source"]);
    there.ok(&["repo", "visibility", "source", "public"]);
    there.ok(&["repo", "config", "source", "swarm.allowWrite", &id(&here)]);
    let server = peer(&there);
    here.ok(&["peer", "add", &address(&server)]);
    let url = format!("p2p://{}/repo/source", id(&there));
    here.sh("git lfs install >&2");
    here.ok(&["lfs-agent", "--install", "--global"]);

    well(git(&here, &["clone", "-q", &url, "down"]));
    assert!(read(&here, "down/w.bin") == first);
    assert_eq!(read(&here, "down/small-39.bin"), b"a little 39");
    here.git("down", &["lfs", "fsck"]);

    // What is new in a file goes up, and is there for the next.
    let second = tenth_changed(&first, &mut numbers);
    commit(&here, "down", &second);
    well(git(&here, &["-C", "down", "push", "-q", "origin", "HEAD"]));
    for route in ["p2p lfs send", "p2p lfs finish", "p2p git-receive-pack"] {
        is_noted(&there, &id(&here), route);
    }
    let stored: u64 = {
        let stats = there.ok(&["stats", "--json"]);
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
        stats["chunk_bytes"].as_u64().expect("a number")
    };
    assert!(stored < first.len() as u64 * 12 / 10, "{stored} bytes of chunks");
    well(git(&here, &["clone", "-q", &url, "again"]));
    assert!(read(&here, "again/w.bin") == second);

    // Who may only read sends nothing, and is told so.
    there.ok(&["repo", "config", "source", "--unset", "swarm.allowWrite"]);
    commit(&here, "down", &numbers.bytes(3 << 20));
    let refused = git(&here, &["-C", "down", "lfs", "push", "origin", "HEAD"]);
    assert!(refused.code != 0 && refused.words.contains("push access"), "{refused:?}");
    // Where git-lfs has a server the agent is not asked for peers.
    here.ok(&["lfs-agent", "--uninstall", "--global"]);
    assert_eq!(here.sh("git config --global --get-regexp p2p || true").trim(), "");
}
