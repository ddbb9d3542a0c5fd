//! A peer's repository, taken in whole.

use std::fs;

use crate::support::repos::{self, weights};
use crate::support::server::Server;
use crate::support::{Numbers, World};

const SWARM: [&str; 4] = ["--swarm", "--swarm-listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"];

fn url(world: &World, name: &str) -> String {
    format!("p2p://{}/repo/{name}", world.ok(&["peer", "id"]).trim())
}

/// Everything that git says of a repository of the world, as it is exported.
fn exported(world: &World, name: &str, dir: &str) -> String {
    world.ok(&["export", name, dir]);
    world.git(dir, &["fsck", "--strict", "--connectivity-only"]);
    let refs = world.git(dir, &["for-each-ref", "--format=%(refname) %(objectname) %(symref)"]);
    let head = world.git(dir, &["rev-parse", "--symbolic-full-name", "HEAD"]);
    let objects = world.git(dir, &["rev-list", "--all", "--objects", "--no-object-names"]);
    let mut objects: Vec<&str> = objects.lines().collect();
    objects.sort_unstable();
    format!("{refs}{head}{}", objects.join("\n"))
}

#[test]
fn all_of_it_comes_and_then_only_what_is_new() {
    let (there, here) = (World::with_store(), World::with_store());
    repos::history(&there, "source.git");
    there.ok(&["import", "source.git"]);
    there.ok(&["repo", "visibility", "source", "public"]);
    let server = Server::start_with(&there, &SWARM);
    here.ok(&["peer", "add", &server.line("peer ")]);
    let url = url(&there, "source");
    let row = &here.run(&["import", &url, "--json"]).json()[0];
    assert_eq!((&row["repo"], &row["created"]), (&"source".into(), &true.into()), "{row}");
    assert_eq!(exported(&here, "source", "out1"), exported(&there, "source", "out1"));
    here.run(&["import", &url]).says(0, &["nothing new"]);
    // One commit more there is one commit more here.
    there.sh("git clone -q source.git work && cd work && echo new > new && git add new");
    there.sh("cd work && git commit -qm new && git push -q origin HEAD");
    there.ok(&["import", "source.git"]);
    let row = &here.run(&["import", &url, "--json"]).json()[0];
    assert_eq!(row["new_objects"], 3, "a commit, a tree, a blob: {row}");
    assert_eq!(exported(&here, "source", "out2"), exported(&there, "source", "out2"));
    let absent = url.replace("source", "absent");
    here.run(&["import", &absent]).says(1, &["no such repository", "hint: "]);
    here.run(&["repo", "show", "absent"]).says(1, &["absent"]);
}

#[test]
fn large_files_come_too_and_what_cannot_be_had_is_listed() {
    let (there, here) = (World::with_store(), World::with_store());
    let [first, second] = weights(&there, "model");
    there.sh("cd model && git lfs track '*.bin' >&2");
    fs::write(there.path("model/more.bin"), Numbers(7).bytes(9_000_000)).expect("written");
    there.sh("cd model && git add . && git commit -qm more");
    there.ok(&["import", "model"]);
    there.ok(&["repo", "visibility", "model", "public"]);
    let mut server = Server::start_with(&there, &SWARM);
    here.ok(&["peer", "add", &server.line("peer ")]);
    let url = url(&there, "model");
    // One tag first, under a name of its own; then all of it.
    let row = &here.run(&["import", &format!("{url}@v1"), "copy", "--json"]).json()[0];
    assert_eq!(row["lfs"]["missing"].as_array().map(Vec::len), Some(0), "{row}");
    let read = |rev: &str| here.run(&["cat", &format!("copy@{rev}"), "model.safetensors"]).out;
    assert!(read("v1") == first, "the tag's");
    here.ok(&["import", &url, "copy"]);
    assert!(read("main") == second, "the branch's");
    here.run(&["import", &format!("{url}@nope"), "copy"]).says(1, &["nope"]);
    // Who served it says so.
    assert!(server.metric("mega_store_swarm_out_bytes_total") > 9_000_000);
    assert_eq!(server.metric("mega_store_swarm_bans_total"), 0);
    let row = &there.run(&["status", "--json"]).json()[0]["peers"][0];
    assert_eq!(row["peer"], here.ok(&["peer", "id"]).trim(), "{row}");
    assert!(row["sent"].as_u64().is_some_and(|len| len > 9_000_000), "{row}");
    // A pointer whose file nobody has.
    let lost =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{:064}\nsize 5\n", 7);
    fs::write(there.path("model/lost.bin"), lost).expect("written");
    there.sh("cd model && id=$(git hash-object -w --no-filters lost.bin) && \
         git update-index --add --cacheinfo 100644,$id,lost.bin && git commit -qm lost");
    assert_eq!(there.run(&["import", "model"]).code, 1);
    let run = here.run(&["import", &url, "copy", "--json"]);
    run.says(1, &["missing: 00000", "1 LFS file", "hint: "]);
    assert_eq!(run.json()[0]["lfs"]["missing"].as_array().map(Vec::len), Some(1));
    server.kill();
    let out = exported(&here, "copy", "out");
    assert_eq!(out, exported(&there, "model", "out"));
    assert_eq!(here.run(&["cat", "copy", "more.bin"]).out.len(), 9_000_000);
}
