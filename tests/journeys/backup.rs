//! Backups by the real program: made beside a running server, and the restore drill of the README
//! on a store that was damaged.

use std::fs;

use crate::support::World;
use crate::support::client::git;
use crate::support::large::read;
use crate::support::repos::weights;
use crate::support::server::Server;

#[test]
fn the_restore_drill_brings_a_damaged_store_back() {
    let world = World::with_store();
    let [_, second] = weights(&world, "model");
    world.sh("cd model && git lfs install --local >&2");
    {
        let server = Server::start(&world);
        let git = git(&world);
        let url = server.repo("team/model");
        git.ok("model", &["push", "-q", &url, "main", "v1"]);
        // Through the server's socket; then with one commit more.
        let first = world.ok(&["backup", "create", "backups"]);
        assert!(first.starts_with("backup 1: "), "{first}");
        world.sh("cd model && echo more > more && git add more && git commit -qm more");
        git.ok("model", &["push", "-q", &url, "main"]);
        let run = world.run(&["--json", "backup", "create", "backups"]);
        let made = run.says(0, &[]).json().remove(0);
        let [all, copied] = ["bytes", "copied_bytes"].map(|key| made[key].as_u64());
        assert!(copied.map(|len| len * 2) < all, "most is there already: {made}");
    }
    let listed = world.ok(&["backup", "list", "backups"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    world.run(&["backup", "verify", "backups"]).says(0, &["2 backups: no damage"]);
    // The disk takes a part of the store.
    for entry in fs::read_dir(world.store().join("db")).expect("listed") {
        let path = entry.expect("listed").path();
        if path.extension().is_some_and(|end| end == "sst" || end == "blob") {
            fs::remove_file(path).expect("removed");
        }
    }
    assert_ne!(world.run(&["verify"]).code, 0);
    // The drill.
    let target = world.path("again").display().to_string();
    world.run(&["backup", "restore", "backups", "model"]).says(1, &["exists already"]);
    world.ok(&["backup", "restore", "backups", &target]);
    fs::rename(world.store(), world.path("damaged")).expect("moved");
    fs::rename(world.path("again"), world.store()).expect("moved");
    assert!(world.ok(&["verify"]).contains("no damage"));
    assert!(world.ok(&["fsck"]).contains(": sound"));
    let server = Server::start(&world);
    let git = git(&world);
    git.ok("", &["clone", "-q", &server.repo("team/model"), "copy"]);
    git.assert_clean("copy");
    assert!(read(&world, "copy/model.safetensors") == second);
    assert!(read(&world, "copy/more") == b"more\n");
}

#[test]
fn what_is_no_backup_is_refused_and_a_damaged_store_is_mended_from_one() {
    let world = World::with_store();
    weights(&world, "model");
    world.ok(&["import", "model", "team/model"]);
    world.ok(&["debug", "compact"]);
    world.run(&["backup", "list", "model"]).says(1, &["has no backups of a store"]);
    world.run(&["backup", "create", "model"]).says(1, &["has no backups of a store"]);
    world.run(&["backup", "create", "store/inside"]).says(2, &["outside of the store"]);
    world.ok(&["backup", "create", "backups"]);
    let entries = fs::read_dir(world.store().join("db")).expect("listed");
    let blobs = entries.map(|entry| entry.expect("listed").path());
    let blob = blobs.filter(|path| path.extension().is_some_and(|end| end == "blob"));
    let blob = blob.max_by_key(|path| fs::metadata(path).map_or(0, |m| m.len())).expect("one");
    let mut bytes = fs::read(&blob).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).expect("written");
    assert_eq!(world.run(&["verify"]).code, 1);
    let mended = world.ok(&["verify", "--repair", "--from", "backups"]);
    assert!(mended.contains("mended from "), "{mended}");
    assert!(world.ok(&["verify"]).contains("no damage"));
}
