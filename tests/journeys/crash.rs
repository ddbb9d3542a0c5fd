//! What a crash, a full disk or an impatient person leaves behind: the old state or the new one,
//! and a way to go on.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::repos::{self, assert_same, weights};
use crate::support::world::is_root;
use crate::support::{Numbers, World};

/// Seeds of [`an_import_may_be_killed_anywhere`]; `MEGA_CRASH_SEEDS` asks for more.
const SEEDS: u64 = 20;

/// Waits until `child` ends, at most `limit`; kills it then. Whether it was killed.
fn kill_after(child: Child, limit: Duration) -> bool {
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, wait) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let mut child = child;
        let status = child.wait().expect("ended");
        let _ = ended.send(());
        status.success()
    });
    if wait.recv_timeout(limit).is_err() {
        // The process is still ours: nobody has waited for it.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    !waiter.join().expect("no panic")
}

#[test]
fn an_import_may_be_killed_anywhere() {
    let world = World::new();
    repos::history(&world, "source.git");
    weights(&world, "model");
    world.sh("cd model && git fetch -q ../source.git '+refs/*:refs/from/*' && git gc -q && \
        echo x > loose && git add loose && git commit -qm loose");
    let import = |store: &str| {
        let mut command = world.command(env!("CARGO_BIN_EXE_mega-store"));
        command.args(["--store", store, "import", "model"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let run = |args: &[&str]| {
        let output = world.command(env!("CARGO_BIN_EXE_mega-store")).args(args).output();
        let output = output.expect("started");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["--store", "whole", "init"]);
    let began = Instant::now();
    assert!(import("whole").status().expect("started").success());
    let whole = began.elapsed();
    let seeds =
        std::env::var("MEGA_CRASH_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let store = format!("store{seed}");
        let part = Numbers(seed).next() % 1000;
        let mut limit = whole.mul_f64(part as f64 / 1000.0);
        loop {
            run(&["--store", &store, "init"]);
            if kill_after(import(&store).spawn().expect("started"), limit) {
                break;
            }
            // It was quicker this time: earlier, then, and from the beginning.
            limit /= 2;
            fs::remove_dir_all(world.path(&store)).expect("removed");
        }
        run(&["--store", &store, "repo", "list"]);
        // Going on may be cut off too.
        kill_after(import(&store).spawn().expect("started"), limit / 2);
        run(&["--store", &store, "import", "model"]);
        let copy = format!("copy{seed}.git");
        run(&["--store", &store, "export", "model", &copy, "--lfs"]);
        assert_same(&world, "model/.git", &copy);
        let lfs = |dir: &str| {
            world.sh(&format!("cd {dir}/lfs/objects && find . -type f | sort | xargs sha256sum"))
        };
        assert_eq!(lfs("model/.git"), lfs(&copy), "seed {seed}");
        fs::remove_dir_all(world.path(&store)).expect("removed");
        fs::remove_dir_all(world.path(&copy)).expect("removed");
    }
}

#[test]
fn an_interrupted_import_says_so_and_goes_on_later() {
    let world = World::with_store();
    fs::write(world.path("w.bin"), Numbers(4).weights(200 << 20)).expect("written");
    let child = world
        .mega()
        .args(["file", "add", "w.bin"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let pid = child.id();
    // It listens once it is at work.
    while !world.store().join("control.sock").exists() {
        thread::yield_now();
    }
    world.sh(&format!("kill -INT {pid}"));
    let output = child.wait_with_output().expect("ended");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("interrupted") && words.contains("hint: run it again"), "{words}");
    world.ok(&["file", "add", "w.bin"]);
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let disk = world.make("disk");
    let mount = |options: &str| {
        world.sh(&format!("mount -t tmpfs -o {options} tmpfs {}", disk.display()));
    };
    mount("size=48m");
    let store = disk.join("store").to_string_lossy().into_owned();
    let run = |args: &[&str]| {
        let mut command = world.command(env!("CARGO_BIN_EXE_mega-store"));
        command.args([&["--store", store.as_str()], args].concat());
        let output = command.output().expect("started");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run(&["init"]).0, Some(0));
    weights(&world, "small");
    assert_eq!(run(&["import", "small"]).0, Some(0));
    world.sh("git init -q big && cd big && git lfs track '*.bin' >&2");
    fs::write(world.path("big/git.dat"), Numbers(8).bytes(30 << 20)).expect("written");
    fs::write(world.path("big/w.bin"), Numbers(9).bytes(60 << 20)).expect("written");
    world.sh("cd big && git add . && git commit -qm big");
    for _ in 0..2 {
        let (code, words) = run(&["import", "big"]);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains("no space left on the device"), "{words}");
        assert!(words.contains("hint: free some space"), "{words}");
        let (code, words) = run(&["export", "small", "check.git", "--lfs"]);
        assert_eq!(code, Some(0), "{words}");
        assert_same(&world, "small/.git", "check.git");
        world.sh("rm -r check.git");
    }
    mount("remount,size=400m");
    let (code, words) = run(&["import", "big"]);
    assert_eq!(code, Some(0), "{words}");
    let (code, words) = run(&["export", "big", "big.git", "--lfs"]);
    assert_eq!(code, Some(0), "{words}");
    assert_same(&world, "big/.git", "big.git");
}
