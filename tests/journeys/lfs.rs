//! LFS content: from the source's own objects, from a server, or not at all.

use std::fs;

use crate::support::World;
use crate::support::lfs_server::{Fault, LfsServer};
use crate::support::repos::{oid, weights};
use crate::support::world::has_fuse;

/// A clone of `weights` without LFS content, with both oids.
fn without_content(world: &World) -> ([Vec<u8>; 2], [String; 2]) {
    let bytes = weights(world, "full");
    let oids = ["v1", "HEAD"].map(|rev| oid(world, "full", &format!("{rev}:model.safetensors")));
    world.sh("GIT_LFS_SKIP_SMUDGE=1 git clone -q full model && cd model && \
        git remote set-url origin https://127.0.0.1:1/none");
    (bytes, oids)
}

fn cat(world: &World, spec: &str) -> Vec<u8> {
    let run = world.run(&["cat", spec, "model.safetensors"]);
    run.says(0, &[]);
    run.out
}

#[test]
fn content_beside_the_repository_comes_along_once() {
    let world = World::with_store();
    let bytes = weights(&world, "model");
    let report = &world.run(&["import", "model", "--json"]).json()[0];
    let lfs = &report["lfs"];
    assert_eq!((&lfs["files"], &lfs["new_files"]), (&2.into(), &2.into()), "{report}");
    assert_eq!(lfs["new_bytes"], 6_000_000);
    let stored = lfs["stored_bytes"].as_u64().expect("a number");
    assert!(stored < 3_000_000, "the second version shares chunks: {stored}");
    assert!(cat(&world, "model@v1") == bytes[0] && cat(&world, "model") == bytes[1]);
    let row = world.ok(&["ls", "model", "model.safetensors"]);
    assert!(row.contains("lfs") && row.contains("3000000"), "{row}");
    let report = &world.run(&["import", "model", "--json"]).json()[0];
    assert_eq!(report["lfs"]["new_files"], 0);
}

#[test]
fn missing_content_is_listed_and_comes_with_a_later_import() {
    let world = World::with_store();
    let (bytes, oids) = without_content(&world);
    let run = world.run(&["import", "model", "--json"]);
    run.says(1, &["2 LFS files", "could not be had", &oids[0], &oids[1], "hint: import again"]);
    let report = &run.json()[0];
    assert_eq!(report["lfs"]["missing"].as_array().map(Vec::len), Some(2), "{report}");
    let run = world.run(&["cat", "model", "model.safetensors"]);
    run.says(1, &["is not in the store", &oids[1]]);
    assert!(world.ok(&["ls", "model"]).contains("lfs!"));
    if has_fuse() {
        let mounted = world.mount("model", "mnt", &[]);
        let text = fs::read_to_string(mounted.path.join("model.safetensors")).expect("read");
        assert_eq!(text, world.git("full", &["cat-file", "blob", "HEAD:model.safetensors"]));
    }
    // One comes back with other bytes of the same length, one as it should be.
    world.sh("mkdir -p model/.git/lfs && cp -r full/.git/lfs/objects model/.git/lfs/");
    let path =
        |oid: &str| world.path("model/.git/lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(oid);
    world.sh("chmod -R u+w model/.git/lfs");
    fs::write(path(&oids[0]), vec![0; 3_000_000]).expect("written");
    let run = world.run(&["import", "model"]);
    run.says(1, &["1 LFS file", &oids[0], "SHA-256"]);
    assert!(cat(&world, "model") == bytes[1]);
    world.run(&["cat", "model@v1", "model.safetensors"]).says(1, &["is not in the store"]);
    fs::write(path(&oids[0]), &bytes[0]).expect("written");
    world.run(&["import", "model"]).says(0, &["1 LFS file"]);
    assert!(cat(&world, "model@v1") == bytes[0]);
}

#[test]
fn a_server_has_what_the_source_has_not() {
    let world = World::with_store();
    let (bytes, oids) = without_content(&world);
    let server = LfsServer::start(Fault::None);
    let url = format!("{}/team/model", server.url);
    world.git("model", &["remote", "set-url", "origin", &url]);
    server.put(&oids[0], &bytes[0]);
    world.run(&["import", "model"]).says(1, &["not here (404)", &oids[1]]);
    assert_eq!(server.count("POST /team/model.git/info/lfs/objects/batch"), 1);
    assert!(cat(&world, "model@v1") == bytes[0]);
    server.put(&oids[1], &bytes[1]);
    world.run(&["import", "model"]).says(0, &[]);
    assert!(cat(&world, "model") == bytes[1]);
    assert_eq!(server.count(&format!("/content/{}", oids[0])), 1, "fetched once");
    let before = server.count("");
    world.run(&["import", "model"]).says(0, &["nothing new"]);
    assert_eq!(server.count(""), before, "nothing is asked when nothing is missing");
}

#[test]
fn the_repository_may_name_its_server_and_helpers_know_the_password() {
    let world = World::with_store();
    let (bytes, oids) = without_content(&world);
    let server = LfsServer::start(Fault::Login);
    oids.iter().zip(&bytes).for_each(|(oid, bytes)| server.put(oid, bytes));
    let lfsconfig = format!("[lfs]\n\turl = {}/lfs\n", server.url);
    fs::write(world.path("model/.lfsconfig"), &lfsconfig).expect("written");
    world.sh("cd model && git add .lfsconfig && git commit -qm lfsconfig");
    world.run(&["import", "model"]).says(1, &["wants a user name and password"]);
    let helper = "!f() { echo username=user; echo password=secret; }; f";
    world.sh(&format!("git config --global credential.helper '{helper}'"));
    let run = world.run(&["import", "model", "-vv"]);
    run.says(0, &[]);
    assert!(!run.words.contains("secret"), "{run:?}");
    assert!(cat(&world, "model") == bytes[1]);
    // The same from a URL: .lfsconfig is read from the commit.
    let url = format!("file://{}", world.path("model").display());
    server.take(&oids[0]);
    world.run(&["import", &url, "by-url"]).says(1, &[&oids[0], "not here (404)"]);
    // Nothing new in git, but what was missing is there now.
    server.put(&oids[0], &bytes[0]);
    world.ok(&["import", &url, "by-url"]);
    assert!(cat(&world, "by-url@v1") == bytes[0]);
}

#[test]
fn a_server_that_sends_other_bytes_is_not_believed() {
    let world = World::with_store();
    let (bytes, oids) = without_content(&world);
    let server = LfsServer::start(Fault::WrongBytes);
    oids.iter().zip(&bytes).for_each(|(oid, bytes)| server.put(oid, bytes));
    world.git("model", &["config", "lfs.url", &server.url]);
    let run = world.run(&["import", "model"]);
    run.says(1, &["2 LFS files", "the content's SHA-256 is"]);
    let stats = &world.run(&["stats", "model", "--json"]).json()[0];
    assert_eq!((&stats["lfs_files"], &stats["lfs_missing"]), (&0.into(), &2.into()));
}

#[test]
fn a_remote_on_this_machine_is_looked_into() {
    let world = World::with_store();
    let (bytes, _) = without_content(&world);
    let url = format!("file://{}", world.path("full").display());
    world.ok(&["import", &url, "by-url"]);
    assert!(cat(&world, "by-url") == bytes[1]);
    world.git("model", &["remote", "set-url", "origin", &url]);
    world.ok(&["import", "model"]);
    assert!(cat(&world, "model@v1") == bytes[0]);
}
