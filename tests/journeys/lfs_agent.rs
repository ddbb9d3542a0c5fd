//! Stock git-lfs against `serve`: push, clone, locks; and with the transfer agent.

use std::fs;

use crate::support::wire::{Serving, Wire};
use crate::support::{Numbers, World};

/// Length of the large file, in bytes.
const LEN: usize = 24_000_000;

/// A repository `name` with git-lfs's hooks and a large file, whose remote is `host`.
fn repository(world: &World, name: &str, host: &str) -> Vec<u8> {
    let content = Numbers(1).bytes(LEN);
    world.sh(&format!(
        "git init -q {name} && cd {name} && git lfs install --local && git lfs track '*.bin' && \
         git remote add origin http://{host}/team/model.git"
    ));
    commit(world, name, &content);
    content
}

fn commit(world: &World, name: &str, content: &[u8]) {
    fs::write(world.path(name).join("model.bin"), content).expect("written");
    world.sh(&format!("cd {name} && git add -A && git commit -qm change"));
}

/// Where git-lfs finds our program.
fn with_agent() -> String {
    let program = env!("CARGO_BIN_EXE_mega-store");
    format!("-c lfs.customtransfer.mega.path={program} -c lfs.customtransfer.mega.args=lfs-agent")
}

#[test]
fn git_lfs_pushes_clones_and_locks() {
    let world = World::with_store();
    let server = Serving::start(&world);
    let content = repository(&world, "ours", &server.host);
    world.sh("cd ours && git push -q origin main && git lfs fsck");
    world.sh(&format!("git clone -q http://{}/team/model.git theirs", server.host));
    assert!(fs::read(world.path("theirs/model.bin")).expect("there") == content);
    world.sh("cd theirs && git lfs lock model.bin");
    let listed = world.sh("cd ours && git lfs locks --json");
    let locks: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(locks[0]["path"], "model.bin", "{listed}");
    let again = world.command("git").args(["-C", "ours", "lfs", "lock", "model.bin"]).output();
    let words = String::from_utf8_lossy(&again.expect("started").stderr).into_owned();
    assert!(words.contains("already created lock"), "{words}");
    world.sh("cd ours && git lfs locks --verify && git lfs unlock --force model.bin");
    assert_eq!(world.sh("cd theirs && git lfs locks"), "");
}

#[test]
fn the_agent_moves_what_changed_and_is_set_up_by_one_command() {
    let world = World::with_store();
    let server = Serving::start(&world);
    let wire = Wire::to(&server);
    let mut content = repository(&world, "ours", &wire.host);
    let agent = |verb: &str| {
        let mut command = world.mega();
        command.args(["lfs-agent", verb]).current_dir(world.path("ours"));
        assert!(command.output().expect("started").status.success());
        world.sh("cd ours && git config --get-regexp customtransfer || true")
    };
    assert!(agent("--install").contains("lfs.customtransfer.mega.args lfs-agent"));
    wire.allow(i64::MAX);
    world.sh("cd ours && git push -q origin main");
    assert!(wire.passed(i64::MAX) > LEN as i64, "the first time all of it goes");
    let clone = format!("git {} clone -q http://{}/team/model.git theirs", with_agent(), wire.host);
    world.sh(&clone);

    content[5_000_000..5_000_000 + LEN / 10].copy_from_slice(&Numbers(2).bytes(LEN / 10));
    commit(&world, "ours", &content);
    wire.allow(i64::MAX);
    world.sh("cd ours && git push -q origin main");
    let moved = wire.passed(i64::MAX);
    assert!(moved <= LEN as i64 * 15 / 100, "{moved} bytes went up");
    wire.allow(i64::MAX);
    world.sh(&format!("cd theirs && git {} pull -q", with_agent()));
    let moved = wire.passed(i64::MAX);
    assert!(moved <= LEN as i64 * 15 / 100, "{moved} bytes came down");
    assert!(fs::read(world.path("theirs/model.bin")).expect("there") == content);

    assert_eq!(agent("--uninstall"), "");
    assert_eq!(agent("--uninstall"), "", "once more does no harm");
    content[0] ^= 1;
    commit(&world, "ours", &content);
    world.sh("cd ours && git push -q origin main");
}

#[test]
fn what_was_cut_off_goes_on() {
    let world = World::with_store();
    let mut server = Serving::start(&world);
    let mut wire = Wire::to(&server);
    let content = repository(&world, "ours", &wire.host);
    let push = format!("cd ours && git {} push -q origin main", with_agent());
    let fetch = format!("cd theirs && git {} lfs fetch origin origin/main", with_agent());
    // Cut, with the server killed before the next try; then whole.
    let cut = LEN as i64 * 2 / 3;
    wire.allow(cut);
    let run = world.command("bash").args(["-c", &push]).output().expect("started");
    assert!(!run.status.success());
    server.kill();
    server = Serving::start(&world);
    wire = Wire::to(&server);
    world.sh(&format!("cd ours && git remote set-url origin http://{}/team/model.git", wire.host));
    wire.allow(i64::MAX);
    world.sh(&push);
    let moved = wire.passed(i64::MAX);
    assert!(moved < LEN as i64 * 2 / 3, "{moved} bytes went up the second time");

    world.sh(&format!(
        "git init -q theirs && cd theirs && git remote add origin http://{}/team/model.git && \
         git fetch -q origin",
        wire.host
    ));
    wire.allow(cut);
    let run = world.command("bash").args(["-c", &fetch]).output().expect("started");
    assert!(!run.status.success());
    wire.allow(i64::MAX);
    world.sh(&fetch);
    let moved = wire.passed(i64::MAX);
    assert!(moved < LEN as i64 * 2 / 3, "{moved} bytes came down the second time");
    world.sh("cd theirs && git lfs install --local && git checkout -q main");
    assert!(fs::read(world.path("theirs/model.bin")).expect("there") == content);
    server.kill();
}
