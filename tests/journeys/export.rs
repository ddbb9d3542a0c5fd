//! A repository comes out whole or not at all.

use std::fs;

use crate::support::World;
use crate::support::repos::{self, weights};

#[test]
fn lfs_content_goes_along_and_git_lfs_finds_it() {
    let world = World::with_store();
    let bytes = weights(&world, "model");
    world.ok(&["import", "model"]);
    let report = &world.run(&["export", "model", "out.git", "--lfs", "--json"]).json()[0];
    assert_eq!((&report["lfs_files"], &report["lfs_bytes"]), (&2.into(), &6_000_000.into()));
    // git-lfs copies from a remote on this machine and checks what it gets.
    let url = format!("file://{}", world.path("out.git").display());
    world.sh(&format!(
        "git clone -q {url} clone && cd clone && git lfs fetch --all >&2 && git lfs fsck >&2"
    ));
    assert!(fs::read(world.path("clone/model.safetensors")).expect("read") == bytes[1]);
    let mode = world.sh("stat -c %a out.git out.git/HEAD");
    assert_eq!(mode, "755\n644\n");
}

#[test]
fn content_that_is_not_here_is_listed() {
    let world = World::with_store();
    weights(&world, "full");
    world.sh(
        "GIT_LFS_SKIP_SMUDGE=1 git clone -q full model && cd model && git remote remove origin",
    );
    world.run(&["import", "model"]).says(1, &[]);
    let run = world.run(&["export", "model", "out.git", "--lfs"]);
    run.says(1, &["2 LFS files not in the store", "missing: ", "hint: "]);
    repos::assert_same(&world, "model", "out.git");
}

#[test]
fn what_is_there_is_not_touched() {
    let world = World::with_store();
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    world.ok(&["import", "x"]);
    world.make("full");
    fs::write(world.path("full/precious"), "1").expect("written");
    fs::write(world.path("file"), "1").expect("written");
    for dir in ["full", "file"] {
        world.run(&["export", "x", dir]).says(1, &["exists already and is not an empty directory"]);
    }
    world.run(&["export", "y", "out"]).says(1, &["there is no repository 'y'", "hint: "]);
    world.run(&["export", "x", "no/such/parent"]).says(1, &["error: writing"]);
    world.make("empty");
    world.ok(&["export", "x", "empty"]);
    world.git("empty", &["fsck", "--strict"]);
    // Nothing is left beside them.
    let hidden = world.sh("ls -A | grep export- || true");
    assert_eq!(hidden, "");
}
