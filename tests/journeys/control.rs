//! Several processes, one store.

use std::fs;
use std::process::Stdio;
use std::thread;

use crate::support::repos;
use crate::support::world::has_fuse;
use crate::support::{Numbers, World};

#[test]
fn commands_at_the_same_time_all_get_their_turn() {
    let world = World::with_store();
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    world.ok(&["import", "x"]);
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| world.ok(&["cat", "x", "x"]))).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), "x\n");
        }
    });
}

#[test]
fn a_store_that_is_held_by_a_stranger_is_refused_with_its_name() {
    let world = World::with_store();
    let owner = fs::File::options().write(true).read(true).open(world.store().join("owner"));
    let owner = owner.expect("opened");
    fs::write(world.store().join("owner"), "process 4711 (something else)\n").expect("written");
    rustix::fs::flock(&owner, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let run = world.run(&["repo", "list"]);
    run.says(1, &["is in use by process 4711 (something else)", "hint: wait"]);
    drop(owner);
    world.ok(&["repo", "list"]);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let world = World::with_store();
    fs::write(world.store().join("FORMAT"), "mega-store 7\n").expect("written");
    let run = world.run(&["repo", "list"]);
    run.says(1, &["has format 7", "reads formats up to 1", "hint: use the newer"]);
}

#[test]
fn others_are_served_while_an_import_runs() {
    let world = World::with_store();
    fs::write(world.path("w.bin"), Numbers(1).weights(64 << 20)).expect("written");
    let mut child = world
        .mega()
        .args(["file", "add", "w.bin"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    // Either it is done by that process, or waits for its end: both are an answer.
    let status = &world.run(&["status", "--json"]).json()[0];
    assert!(status["holder"].is_null() || status["holder"]["keeps_mounts"] == false, "{status}");
    assert!(child.wait().expect("ended").success());
}

#[test]
fn a_long_answer_over_the_socket_streams_and_may_be_cut() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    let bytes = Numbers(2).weights(40 << 20);
    fs::write(world.path("w.bin"), &bytes).expect("written");
    let id = world.ok(&["file", "add", "w.bin"])[..64].to_owned();
    repos::weights(&world, "model");
    world.ok(&["import", "model"]);
    let _mounted = world.mount("model", "mnt", &[]);
    assert!(world.run(&["file", "cat", &id]).out == bytes);
    let program = env!("CARGO_BIN_EXE_mega-store");
    let store = world.store();
    let cat = format!("{program} --store {} file cat {id}", store.display());
    let out = world.sh(&format!("set -o pipefail; {cat} | head -c 100000 | wc -c"));
    assert_eq!(out.trim(), "100000", "a reader that has enough is no error");
    let out = world.sh(&format!("{cat} > /dev/full 2> words || true; cat words"));
    assert!(out.contains("error: the answer could not be written"), "{out}");
    // The process that serves the mount took no harm.
    assert_eq!(world.sh("cat mnt/config.json"), "{}\n");
    assert!(world.run(&["file", "cat", &id]).out == bytes);
    // An import through it uses the caller's surroundings: here, a helper that only the caller has.
    repos::history(&world, "h.git");
    let mut command = world.mega();
    command.args(["import", "ssh://nowhere/h.git"]);
    let script = format!("exec git-upload-pack {}", world.path("h.git").display());
    command.env("GIT_SSH_COMMAND", format!("sh -c '{script}'")).env("GIT_SSH_VARIANT", "simple");
    let output = command.output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(world.ok(&["repo", "list"]).contains("h\n"));
}
