//! A repository that is here in parts, because it is mounted from another server: read, and
//! otherwise refused with the address of the whole.

use crate::support::World;
use crate::support::client::gits;
use crate::support::repos::weights;
use crate::support::server::{Server, client};
use crate::support::world::has_fuse;

#[test]
fn whoever_needs_the_whole_is_sent_to_its_origin() {
    if !has_fuse() {
        return;
    }
    let origin_world = World::with_store();
    weights(&origin_world, "model");
    let origin = Server::start(&origin_world);
    let from = origin.repo("team/model");
    origin_world.sh(&format!("cd model && git lfs push --all {from} && git push -q {from} main"));

    let world = World::with_store();
    let mounted = world.mount(&from, "mnt", &[]);
    assert_eq!(std::fs::read(mounted.path.join("config.json")).expect("read"), b"{}\n");
    drop(mounted);
    let name = world.ok(&["repo", "list"]).trim().to_owned();
    let told = ["is filled as it is read: the whole of it is at", from.as_str()];
    world.run(&["export", &name, "out.git"]).says(1, &told);
    world.run(&["repo", "fork", &name, "fork"]).says(1, &told).says(1, &["hint: take the whole"]);
    world.run(&["import", &from, &name]).says(1, &told);
    assert_eq!(world.ok(&["repo", "list"]).trim(), name);

    // The same over the network.
    let server = Server::start(&world);
    let here = server.repo(&name);
    for git in gits(&world) {
        let dir = &git.label;
        git.run("", &["clone", "-q", &here, "none"]).says(128, &told).says(128, &["409"]);
        git.run("", &["clone", "-q", "--filter=blob:none", &here, "none"]).says(128, &told);
        git.run("", &["ls-remote", &here]).says(128, &told);
        git.ok("", &["clone", "-q", &from, dir]);
        git.ok(dir, &["remote", "set-url", "origin", &here]);
        git.run(dir, &["fetch"]).says(128, &told);
        git.ok(dir, &["commit", "-q", "--allow-empty", "-m", "new"]);
        git.run(dir, &["push", "origin", "main"]).says(128, &told);
        git.run(dir, &["push", "origin", ":main"]).says(128, &told);
        git.run(dir, &["lfs", "fetch", "--all"]).says(2, &told);
        let run = git.run(dir, &["lfs", "lock", "model.safetensors"]);
        assert!(run.code != 0 && run.words.contains(&from), "{run:?}");
    }
    for path in ["objects", "objects?list"] {
        let answer = server.get(&format!("/v1/{name}/{path}"));
        assert_eq!(answer.status(), 409);
        let said: serde_json::Value = answer.json().expect("JSON");
        assert_eq!(said["error"], "partial");
        assert!(said["message"].as_str().is_some_and(|words| words.contains(&from)), "{said}");
    }
    // Whoever does not ask first hears it too.
    for service in ["git-upload-pack", "git-receive-pack"] {
        let request = client().post(format!("{here}/{service}")).body("0000");
        let request = request.header("Content-Type", format!("application/x-{service}-request"));
        let answer = request.send().expect("an answer");
        assert_eq!(answer.status(), 409, "{service}");
    }
    // Nor does a third store take it for the whole.
    let third = World::with_store();
    third.make("mnt");
    third.run(&["mount", &here, "mnt"]).says(1, &told);
    third.run(&["import", &here, "copy"]).says(1, &told);
    assert_eq!(third.ok(&["repo", "list"]), "");
    // What is here is still readable.
    drop(server);
    drop(origin);
    assert_eq!(world.ok(&["cat", &name, "config.json"]), "{}\n");
}
