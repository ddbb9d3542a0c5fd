//! Disks that fail: a write that the disk refuses, no room left, a medium that cannot be written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::client::git;
use crate::support::repos::{self, assert_same, weights};
use crate::support::server::Server;
use crate::support::world::is_root;
use crate::support::{Numbers, World};

/// A library that makes one sync fail, when the file that `FAIL_SYNC` names is there; it is removed
/// with that.
const FAILING_SYNC: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(void) {
    const char *path = getenv("FAIL_SYNC");
    if (!path || unlink(path) != 0) return 0;
    errno = EIO;
    return 1;
}
int fdatasync(int fd) {
    return fails() ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
int fsync(int fd) {
    return fails() ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
"#;

/// A world whose store is on a disk of its own.
fn on_a_disk() -> (World, PathBuf) {
    let world = World::new();
    let disk = world.make("store");
    world.sh(&format!("mount -t tmpfs -o size=256m tmpfs {}", disk.display()));
    world.ok(&["init"]);
    (world, disk)
}

#[test]
fn after_a_failed_sync_nothing_is_written_until_the_store_is_opened_again() {
    let world = World::with_store();
    fs::write(world.path("fail.c"), FAILING_SYNC).expect("written");
    world.sh("cc -shared -fPIC -o fail.so fail.c");
    let [preload, trigger] = ["fail.so", "fail"].map(|name| world.path(name));
    let env = [("LD_PRELOAD", preload.as_path()), ("FAIL_SYNC", trigger.as_path())];
    repos::history(&world, "source.git");
    let mut server = Server::start_in(&world, &env);
    let git = git(&world);
    let url = server.repo("a");
    git.ok("source.git", &["push", "-q", "--mirror", &url]);
    assert_eq!(server.get("/readyz").status(), 200);

    fs::write(&trigger, "").expect("written");
    // A reference is one synced batch.
    let refused = git.run("source.git", &["push", &url, "main:refs/heads/other"]);
    assert!(refused.code != 0 && !trigger.exists(), "{refused:?}");
    // The disk works again; but what the log has is not known any more.
    for branch in ["other", "third"] {
        let refused = git.run("source.git", &["push", &url, &format!("main:refs/heads/{branch}")]);
        refused.says(1, &["the server's disk failed"]);
    }
    world.run(&["repo", "create", "b"]).says(1, &["the disk failed", "hint: look at the disk"]);
    assert_eq!(server.get("/readyz").status(), 503);
    assert_eq!(server.get("/healthz").status(), 200);
    git.ok("", &["clone", "-q", "--mirror", &url, "copy"]);
    git.assert_clean("copy");

    server.kill();
    server.restart();
    assert_eq!(server.get("/readyz").status(), 200);
    git.ok("source.git", &["push", "-q", &url, "main:refs/heads/third"]);
    git.ok("", &["clone", "-q", "--mirror", &url, "again"]);
    git.assert_clean("again");
    assert_eq!(git.id("again", "third"), git.id("source.git", "main"));
}

#[test]
fn a_full_disk_is_read_from_and_emptied_by_gc() {
    if !is_root() {
        return;
    }
    let (world, disk) = on_a_disk();
    world.sh("git init -q work && cd work && git lfs install --local >&2 && \
        git lfs track '*.bin' >&2");
    fs::write(world.path("work/w.bin"), Numbers(1).bytes(40 << 20)).expect("written");
    world.sh("cd work && git add . && git commit -qm one && git checkout -q -b side");
    fs::write(world.path("work/w.bin"), Numbers(2).bytes(40 << 20)).expect("written");
    world.sh("cd work && git commit -qam two");
    let mut server = Server::start(&world);
    let git = git(&world);
    let url = server.repo("a");
    git.ok("work", &["push", "-q", &url, "main", "side"]);

    // Somebody else fills the disk to its last byte.
    world.sh(&format!("head -c 1G /dev/zero >{}/other 2>/dev/null || true", disk.display()));
    world.sh("cd work && head -c 3000000 /dev/urandom >blob && git add . && git commit -qm three");
    let refused = git.run("work", &["push", &url, "side"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.words.contains("disk is full"), "{refused:?}");
    git.ok("", &["clone", "-q", &url, "copy"]);
    git.assert_clean("copy");
    git.ok("work", &["push", "-q", &url, ":side"]);

    // A crash does not shut the store in: it opens, reads, and gives space back.
    server.kill();
    server.restart();
    git.ok("", &["clone", "-q", &url, "after"]);
    let before = free_len(&world, &disk);
    world.ok(&["gc", "--grace", "0"]);
    let after = free_len(&world, &disk);
    assert!(after > before + (30 << 20), "{before} {after}");
    // What is left of the other's file is not ours to give; the reserve is made first.
    world.sh(&format!("rm {}/other", disk.display()));
    git.ok("work", &["push", "-q", &url, "side"]);
    git.ok("", &["clone", "-q", "-b", "side", &url, "whole"]);
    git.assert_clean("whole");
    assert!(disk.join("ballast").exists());
}

/// Bytes that are free on the filesystem of `dir`.
fn free_len(world: &World, dir: &Path) -> u64 {
    let text = world.sh(&format!("stat -f -c '%a %S' {}", dir.display()));
    text.split_whitespace().map(|n| n.parse::<u64>().expect("a number")).product()
}

#[test]
fn a_store_is_read_from_a_medium_that_cannot_be_written() {
    if !is_root() {
        return;
    }
    let (world, disk) = on_a_disk();
    weights(&world, "model");
    world.ok(&["import", "model"]);
    world.sh(&format!("mount -o remount,ro {}", disk.display()));
    assert!(world.ok(&["ls", "model"]).contains("model.safetensors"));
    world.ok(&["stats"]);
    world.run(&["repo", "create", "b"]).says(1, &["Read-only file system"]);
    world.ok(&["export", "model", "copy.git", "--lfs"]);
    assert_same(&world, "model/.git", "copy.git");
}
