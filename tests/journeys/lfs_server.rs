//! The LFS server with stock git-lfs.

use std::fs;

use serde_json::{Value, json};

use crate::support::Numbers;
use crate::support::World;
use crate::support::client::{git, gits};
use crate::support::large::{CUT, IN, LARGE, install_agent, read, to_download, upload_twice};
use crate::support::proxy::Way;
use crate::support::repos::{oid, weights};
use crate::support::server::{Server, client};

#[test]
fn git_lfs_pushes_clones_pulls_and_checks() {
    let world = World::with_store();
    let [first, second] = weights(&world, "model");
    world.sh("cd model && git lfs install --local >&2");
    let server = Server::start(&world);
    for git in gits(&world) {
        let (url, copy) = (server.repo(&format!("team/{}", git.label)), git.label.as_str());
        git.ok("model", &["push", "-q", &url, "main", "v1"]);
        git.ok("", &["clone", "-q", &url, copy]);
        assert!(read(&world, &format!("{copy}/model.safetensors")) == second, "{copy}");
        git.ok(copy, &["checkout", "-q", "v1"]);
        assert!(read(&world, &format!("{copy}/model.safetensors")) == first, "{copy}");
        let checked = git.ok(copy, &["lfs", "fsck"]);
        assert!(checked.contains("OK"), "{checked}");
        // The other clone changes it, this one pulls.
        let other = &format!("{copy}-other");
        git.ok("", &["clone", "-q", &url, other]);
        let third = [&first[..500_000], b"and more"].concat();
        fs::write(world.path(other).join("model.safetensors"), &third).expect("written");
        git.ok(other, &["commit", "-q", "-am", "three"]);
        git.ok(other, &["push", "-q"]);
        git.ok(copy, &["checkout", "-q", "main"]);
        git.ok(copy, &["pull", "-q"]);
        git.ok(copy, &["lfs", "pull"]);
        assert!(read(&world, &format!("{copy}/model.safetensors")) == third, "{copy}");
        git.ok(copy, &["lfs", "fetch", "--all"]);
        // Nothing goes up that is there.
        let before = server.metric(IN);
        git.ok(other, &["lfs", "push", "--all", "origin"]);
        assert!(server.metric(IN) - before < 10_000, "{copy}");
    }
}

#[test]
fn a_pointer_whose_content_never_came_is_said() {
    let world = World::with_store();
    weights(&world, "model");
    let server = Server::start(&world);
    let git = git(&world);
    let url = server.repo("r");
    // Without the hook nobody has sent the content.
    git.ok("model", &["push", "-q", "--no-verify", &url, "main"]);
    git.run("", &["clone", "-q", &url, "copy"]).says(128, &["404"]);
    git.run("copy", &["lfs", "fetch"]).says(2, &["404"]);
    git.ok("model", &["lfs", "push", "--all", &url]);
    git.ok("copy", &["lfs", "pull"]);
    git.ok("copy", &["restore", "--source=HEAD", ":/"]);
    git.ok("copy", &["lfs", "fsck"]);
}

#[test]
fn locks_are_seen_kept_and_broken() {
    let world = World::with_store();
    weights(&world, "model");
    world.sh("cd model && git lfs install --local >&2");
    let server = Server::start(&world);
    let url = server.repo("r");
    world.sh(&format!("cd model && git push -q {url} main"));
    let login = |who: &str| {
        let token = world.ok(&["token", "create", "--repo", "r", "--write", "--note", who]);
        url.replace("//", &format!("//{who}:{}@", token.trim()))
    };
    let git = git(&world);
    for who in ["ann", "ben"] {
        git.ok("", &["clone", "-q", &login(who), who]);
        git.ok(who, &["lfs", "install", "--local"]);
        git.ok(who, &["config", &format!("lfs.{url}/info/lfs.locksverify"), "true"]);
        git.ok(who, &["config", "lfs.locksverify", "true"]);
    }
    let file = "model.safetensors";
    git.ok("ann", &["lfs", "lock", file]);
    git.run("ben", &["lfs", "lock", file]).says(2, &["already created lock"]);
    assert!(git.ok("ann", &["lfs", "locks", "--verify"]).starts_with("O "), "it is ann's own");
    for who in ["ann", "ben"] {
        let rows: Value =
            serde_json::from_str(&git.ok(who, &["lfs", "locks", "--json"])).expect("JSON");
        let rows = rows.as_array().expect("a list");
        assert_eq!((rows.len(), rows[0]["path"].as_str()), (1, Some(file)), "{who}: {rows:?}");
    }
    // Whose it is decides who may push.
    fs::write(world.path("ben").join(file), "ben's\n").expect("written");
    git.ok("ben", &["commit", "-q", "-am", "ben's"]);
    git.run("ben", &["push", "-q"]).says(1, &["Cannot update locked files"]);
    fs::write(world.path("ann").join(file), "ann's\n").expect("written");
    git.ok("ann", &["commit", "-q", "-am", "ann's"]);
    git.ok("ann", &["push", "-q"]);
    git.run("ben", &["lfs", "unlock", file]).says(2, &[]);
    git.ok("ben", &["lfs", "unlock", "--force", file]);
    assert_eq!(git.ok("ann", &["lfs", "locks"]), "");
    git.ok("ben", &["lfs", "lock", file]);
    git.ok("ben", &["lfs", "lock", "config.json"]);
    assert_eq!(git.ok("ann", &["lfs", "locks"]).lines().count(), 2);
    git.ok("ben", &["lfs", "unlock", file]);
    assert_eq!(git.ok("ann", &["lfs", "locks"]).lines().count(), 1);
}

/// The batch API's answer for one object.
fn batch(url: &str, operation: &str, id: &str, size: usize) -> Value {
    let body = json!({"operation": operation, "transfers": ["basic"], "hash_algo": "sha256",
        "objects": [{"oid": id, "size": size}]});
    let kind = "application/vnd.git-lfs+json";
    let request = client().post(format!("{url}/info/lfs/objects/batch"));
    let request = request.header("Accept", kind).header("Content-Type", kind);
    let answer = request.body(body.to_string()).send().expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut answer: Value = answer.json().expect("JSON");
    answer["objects"][0].take()
}

#[test]
fn a_second_repository_has_to_bring_the_bytes_too() {
    let world = World::with_store();
    let [_, second] = weights(&world, "model");
    let id = oid(&world, "model", "main:model.safetensors");
    world.sh("cd model && git lfs install --local >&2");
    let server = Server::start(&world);
    let (one, two) = (server.repo("one"), server.repo("two"));
    let git = git(&world);
    git.ok("model", &["push", "-q", &one, "main"]);
    world.ok(&["repo", "create", "two"]);
    // That another repository has it opens nothing here.
    let object = batch(&two, "download", &id, second.len());
    assert_eq!(object["error"]["code"], 404, "{object}");
    let answer = client().get(format!("{two}/info/lfs/objects/{id}")).send();
    assert_eq!(answer.expect("an answer").status(), 404);
    let object = batch(&two, "upload", &id, second.len());
    let href = object["actions"]["upload"]["href"].as_str().expect("an upload").to_owned();
    // Other bytes do not do.
    let mut wrong = second.clone();
    wrong[7] ^= 1;
    for bad in [wrong, second[1..].to_vec(), Vec::new()] {
        let answer = client().put(&href).body(bad).send().expect("an answer");
        assert!(answer.status().is_client_error(), "{answer:?}");
        assert!(answer.json::<Value>().expect("JSON")["message"].is_string());
    }
    let object = batch(&two, "download", &id, second.len());
    assert_eq!(object["error"]["code"], 404, "{object}");
    // The stock client brings them, and so does the agent.
    let stored = server.metric("mega_store_store_bytes");
    for (name, agent) in [("two", false), ("three", true)] {
        if agent {
            install_agent(&world, "model");
        }
        let before = server.metric(IN);
        git.ok("model", &["push", "-q", &server.repo(name), "main"]);
        let came = server.metric(IN) - before;
        assert!(came > second.len() as u64, "{name}: only {came} bytes came");
        let object = batch(&server.repo(name), "download", &id, second.len());
        assert!(object["actions"]["download"]["href"].is_string(), "{object}");
        assert!(batch(&server.repo(name), "upload", &id, second.len())["actions"].is_null());
    }
    let more = server.metric("mega_store_store_bytes").saturating_sub(stored);
    assert!(more < second.len() as u64, "stored once: {more} bytes more");
}

#[test]
fn an_upload_that_was_killed_begins_anew_with_stock_git_lfs() {
    let sent = upload_twice(false);
    assert!(sent < LARGE as u64 + (1 << 20), "{sent} bytes");
}

#[test]
fn a_download_that_was_cut_off_goes_on_with_stock_git_lfs() {
    let world = World::with_store();
    let content = Numbers(41).bytes(LARGE);
    let (_server, proxy, git) = to_download(&world, &content);
    let before = proxy.count(Way::Down);
    proxy.cut_after(Way::Down, CUT);
    // It may try again by itself. (When it is killed, it loses what it has: that is its own.)
    git.run("down", &["lfs", "fetch"]);
    git.ok("down", &["lfs", "fetch"]);
    let came = proxy.count(Way::Down) - before;
    git.ok("down", &["checkout", "-q", "main"]);
    assert!(read(&world, "down/w.bin") == content);
    // What was on its way to its file comes again.
    assert!((LARGE as u64..LARGE as u64 + (4 << 20)).contains(&came), "{came} bytes");
}
