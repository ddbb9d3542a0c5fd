//! Imports from another mega-store: git's objects by git, LFS content by the chunks that are
//! lacking.

use std::fs;

use crate::support::proxy::{Proxy, Way};
use crate::support::repos::{self, oid};
use crate::support::server::Server;
use crate::support::{Numbers, World};

/// Length of the large file, in bytes.
const LEN: usize = 24_000_000;
/// What may travel for a version of which a tenth changed.
const PART: u64 = LEN as u64 * 15 / 100;

/// A repository `name` with a large file under LFS; its content.
fn repository(world: &World, name: &str) -> Vec<u8> {
    world.sh(&format!("git init -q {name} && cd {name} && git lfs track '*.bin' >&2"));
    let content = Numbers(41).weights(LEN);
    commit(world, name, &content);
    content
}

/// Changes a tenth of the file.
fn change(world: &World, name: &str, content: &mut [u8], seed: u64) {
    let at = (seed as usize * 3_000_000) % (LEN - LEN / 10);
    content[at..at + LEN / 10].copy_from_slice(&Numbers(seed).weights(LEN / 10));
    commit(world, name, content);
}

fn commit(world: &World, name: &str, content: &[u8]) {
    fs::write(world.path(name).join("model.bin"), content).expect("written");
    fs::write(world.path(name).join("small.bin"), &content[..5_000]).expect("written");
    world.sh(&format!("cd {name} && git add -A && git commit -qm change"));
}

fn cat(world: &World, spec: &str) -> Vec<u8> {
    let run = world.run(&["cat", spec, "model.bin"]);
    run.says(0, &[]);
    run.out
}

#[test]
fn each_version_brings_what_changed() {
    let (there, here) = (World::with_store(), World::with_store());
    let first = repository(&there, "model");
    let mut content = first.clone();
    change(&there, "model", &mut content, 1);
    there.ok(&["import", "model"]);
    let server = Server::start(&there);
    let url = server.repo("model");
    let sent = || server.metric("mega_store_body_out_bytes_total");

    // Two versions at once: the second one takes from the first.
    let before = sent();
    let report = &here.run(&["import", &url, "--json"]).json()[0];
    assert_eq!(report["lfs"]["new_files"], 3, "{report}");
    let moved = sent() - before;
    assert!(moved >= LEN as u64 && moved < LEN as u64 + PART, "{moved} bytes for two versions");
    assert!(cat(&here, "model@HEAD~1") == first && cat(&here, "model") == content);

    change(&there, "model", &mut content, 2);
    there.ok(&["import", "model"]);
    let before = sent();
    let report = &here.run(&["import", &url, "--json"]).json()[0];
    assert_eq!(report["lfs"]["new_bytes"], LEN as u64, "{report}");
    let moved = sent() - before;
    assert!(moved <= PART, "{moved} bytes for a tenth of {LEN}");
    assert!(cat(&here, "model") == content);
    here.ok(&["export", "model", "copy.git", "--lfs"]);
    let oid = oid(&there, "model", "HEAD:model.bin");
    let kept = here.path("copy.git/lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(&oid);
    assert!(fs::read(kept).expect("exported") == content);

    let before = sent();
    let run = here.run(&["import", &url]);
    run.says(0, &["nothing new"]);
    assert!(sent() - before < 50_000);
    // The same content under another name is here, whatever it is called.
    let before = sent();
    here.ok(&["import", &url, "again"]);
    let moved = sent() - before;
    assert!(moved < PART, "{moved} bytes for what is here");
    assert!(cat(&here, "again") == content);
}

#[test]
fn a_private_repository_is_imported_with_a_token() {
    let (there, here) = (World::with_store(), World::with_store());
    let bytes = repos::weights(&there, "model");
    there.ok(&["import", "model"]);
    let token = there.ok(&["token", "create", "--repo", "model"]).trim().to_owned();
    let server = Server::start(&there);
    here.run(&["import", &server.repo("model")]).says(1, &["could not read Username"]);
    let url = format!("http://x:{token}@{}/model.git", server.address());
    let run = here.run(&["import", &url, "--json"]);
    assert_eq!(run.json()[0]["lfs"]["new_files"], 2, "{run:?}");
    for (spec, content) in [("model@v1", &bytes[0]), ("model", &bytes[1])] {
        let run = here.run(&["cat", spec, "model.safetensors"]);
        assert!(run.says(0, &[]).out == *content);
    }
    let shown = here.ok(&["repo", "show", "model", "--json"]);
    assert!(!shown.contains(&token), "{shown}");
}

#[test]
fn what_was_cut_off_goes_on() {
    let (there, here) = (World::with_store(), World::with_store());
    let content = repository(&there, "model");
    there.ok(&["import", "model"]);
    let server = Server::start(&there);
    let proxy = Proxy::start(server.address());
    let url = format!("{}/model.git", proxy.url);
    // Enough for git's part and two thirds of the file.
    proxy.cut_after(Way::Down, LEN as u64 * 2 / 3);
    let run = here.run(&["import", &url]);
    if run.code == 1 {
        run.says(1, &["1 LFS file", "could not be had", "hint: import again"]);
        here.run(&["import", &url]).says(0, &["1 LFS file"]);
    }
    let moved = proxy.count(Way::Down);
    assert!(moved < LEN as u64 * 5 / 4, "{moved} bytes for a file of {LEN}");
    assert!(cat(&here, "model") == content);
}
