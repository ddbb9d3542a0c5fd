//! Who reads a public repository from peers serves it on: three stores on this machine, and the
//! first of them goes.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::repos::{self, weights};
use crate::support::server::Server;
use crate::support::world::has_fuse;
use crate::support::{Numbers, World};

/// What comes true in seconds does so within this on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store that is a peer on this machine and knows the network through others.
fn peer<'w>(world: &'w World, through: &[&str]) -> Server<'w> {
    let mut args = vec!["--swarm", "--swarm-listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"];
    args.extend(["--reachable", "yes"]);
    for address in through {
        args.extend(["--bootstrap", address]);
    }
    Server::start_with(world, &args)
}

fn address(server: &Server<'_>) -> String {
    server.line("peer ")
}

fn id(world: &World) -> String {
    world.ok(&["peer", "id"]).trim().to_owned()
}

/// Asks again and again until it is so.
#[track_caller]
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "in vain: {what}");
    }
}

/// What `discover` says of a repository; `None` when it finds nothing.
fn discover(world: &World, repo: &str) -> Option<Value> {
    let run = world.run(&["discover", repo, "--json"]);
    (run.code == 0).then(|| run.json().remove(0))
}

fn serves(found: &Value, peer: &str) -> bool {
    let serving = found["serving"].as_array().expect("a list");
    serving.iter().any(|row| row["peer"] == peer)
}

fn head_of(world: &World, name: &str) -> String {
    world.git(name, &["rev-parse", "HEAD"]).trim().to_owned()
}

fn record(world: &World, repo: &str) -> Value {
    world.run(&["peer", "record", repo]).json().remove(0)
}

#[test]
fn what_was_fetched_is_found_and_read_when_its_origin_has_gone() {
    if !has_fuse() {
        return;
    }
    let worlds = [World::with_store(), World::with_store(), World::with_store()];
    let [there, between, here] = &worlds;
    let [first, second] = weights(there, "model");
    there.ok(&["import", "model"]);
    there.ok(&["repo", "visibility", "model", "public"]);
    let mut origin = peer(there, &[]);
    let follower = peer(between, &[&address(&origin)]);
    let _reader = peer(here, &[&address(&follower)]);
    let (url, sought) = (format!("p2p://{}/repo/model", id(there)), format!("model@{}", id(there)));
    let copy = between.mount(&url, "mnt", &[]);
    let old = between.mount(&format!("{url}@v1"), "old", &[]);
    for (mounted, bytes) in [(&copy, &second), (&old, &first)] {
        let came = fs::read(mounted.path.join("model.safetensors")).expect("read");
        assert!(came == *bytes, "every byte");
    }
    let local = format!("{}/model", id(there));
    until("the follower has the tag", || {
        let shown = between.run(&["repo", "show", &local, "--json"]).json().remove(0);
        let refs = shown["refs"].as_array().expect("a list").clone();
        refs.iter().any(|row| row["name"] == "refs/tags/v1").then_some(())
    });
    let found = until("the follower is known to serve it", || {
        discover(here, &sought).filter(|found| serves(found, &id(between)))
    });
    assert!(serves(&found, &id(there)), "{found}");
    assert_eq!((&found["origin"], &found["name"]), (&id(there).into(), &"model".into()));
    assert_eq!(found["head"], head_of(there, "model").as_str());
    assert_eq!(found["repo"], record(there, "model")["repo"]);
    assert_eq!(found["seq"], record(between, &local)["seq"], "the origin's record");
    origin.kill();
    let again = until("its record is found without it", || discover(here, &sought));
    assert_eq!(again["seq"], found["seq"]);
    let path = "model.safetensors";
    let head = here.mount(&url, "head", &[]);
    assert!(fs::read(head.path.join(path)).expect("read") == second, "every byte");
    // The name of a tag comes from a peer that is not asked to be believed.
    let tagged = here.mount(&format!("{url}@v1"), "v1", &[]);
    assert!(fs::read(tagged.path.join(path)).expect("read") == first, "every byte");
    here.make("no");
    here.run(&["mount", &format!("{url}@nope"), "no"]).says(1, &["names no revision"]);
}

#[test]
fn a_copy_is_served_on_as_its_owner_says() {
    if !has_fuse() {
        return;
    }
    let worlds = [World::with_store(), World::with_store(), World::with_store()];
    let [there, between, here] = &worlds;
    repos::history(there, "source.git");
    there.ok(&["import", "source.git"]);
    there.ok(&["repo", "visibility", "source", "public"]);
    let mut origin = peer(there, &[]);
    let follower = peer(between, &[&address(&origin)]);
    let _reader = peer(here, &[&address(&follower)]);
    let url = format!("p2p://{}/repo/source", id(there));
    let copy = between.mount(&url, "mnt", &[]);
    between.sh(&format!("cat '{}'/* > /dev/null 2>&1 || true", copy.path.display()));
    let sought = format!("source@{}", id(there));
    until("the follower is known to serve it", || {
        discover(here, &sought).filter(|found| serves(found, &id(between)))
    });
    origin.kill();
    let local = format!("{}/source", id(there));
    let policy = |value: &str| between.ok(&["repo", "config", &local, "swarm.seed", value]);
    let dir = here.make("mnt").display().to_string();
    let mounts = || here.run(&["mount", &url, &dir]).code == 0;
    policy("never");
    assert!(!mounts(), "it is asked and does not answer");
    assert!(here.run(&["repo", "list"]).text().is_empty(), "nothing is left of it");
    policy("always");
    drop(copy);
    until("it is served without being mounted", || mounts().then_some(()));
    here.ok(&["unmount", &dir]);
}

#[test]
fn changes_of_a_public_repository_are_told_and_others_nothing() {
    let (there, here) = (World::with_store(), World::with_store());
    weights(&there, "model");
    let bytes = Numbers(5).bytes(20_000_000);
    fs::write(there.path("model/big.safetensors"), &bytes).expect("written");
    there.sh("cd model && git add . && git commit -qm big");
    for name in ["model", "hidden", "meshed"] {
        there.ok(&["import", "model", name]);
    }
    there.ok(&["repo", "visibility", "meshed", "mesh"]);
    let server = peer(&there, &[]);
    let _other = peer(&here, &[&address(&server)]);
    let of = |name: &str| record(&there, name)["repo"].as_str().expect("an id").to_owned();
    let (rid, secrets) = (of("model"), [of("hidden"), of("meshed")]);
    assert_eq!(record(&there, "model")["public"], false);
    assert!(discover(&here, &rid).is_none(), "it is private");
    there.ok(&["repo", "visibility", "model", "public"]);
    let found = until("it is announced", || discover(&here, &rid).filter(|f| !f["seq"].is_null()));
    assert!(serves(&found, &id(&there)), "{found}");
    let slides = there.ok(&["peer", "record", &rid, "--format", "slides"]);
    let slides: Value = serde_json::from_str(&slides).expect("JSON");
    assert_eq!((&slides["name"], &slides["latest"]), (&"model".into(), &found["head"]));
    // A reference moves.
    there.sh("cd model && git commit -q --allow-empty -m more");
    there.ok(&["import", "model"]);
    let head = head_of(&there, "model");
    assert_ne!(found["head"], head.as_str());
    let newer = until("the new head is told", || {
        discover(&here, &rid).filter(|found| found["head"] == head.as_str())
    });
    assert!(newer["seq"].as_u64() > found["seq"].as_u64(), "{newer}");
    // Nothing is signed anew for what stays the same.
    assert_eq!(record(&there, "model")["seq"], newer["seq"]);
    for secret in &secrets {
        assert!(discover(&here, secret).is_none(), "{secret}");
    }
    // It becomes private: whoever asks gets the answer that there is no such repository.
    there.ok(&["repo", "visibility", "model", "private"]);
    let gone = format!("model@{}", id(&there));
    here.run(&["discover", &gone]).says(1, &["no such repository", "hint: "]);
    here.run(&["discover", "model"]).says(2, &["NAME@PEER"]);
    here.run(&["peer", "record", "model"]).says(1, &["model"]);
}
