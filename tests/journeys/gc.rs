//! gc by the real program, while a server serves real git and git-lfs.

use serde_json::Value;

use crate::support::World;
use crate::support::client::git;
use crate::support::large::read;
use crate::support::repos::{history, weights};
use crate::support::server::Server;

fn gc(world: &World, args: &[&str]) -> Value {
    let run = world.run(&[&["--json", "gc"], args].concat());
    run.says(0, &[]);
    run.json().remove(0)
}

#[test]
fn what_was_pushed_and_deleted_goes_and_the_rest_stays_whole() {
    let world = World::with_store();
    let [first, second] = weights(&world, "model");
    world.sh("cd model && git lfs install --local >&2");
    let server = Server::start(&world);
    let git = git(&world);
    let url = server.repo("team/model");
    git.ok("model", &["push", "-q", &url, "main", "v1"]);
    // A branch with a file of its own, pushed and deleted.
    world.sh(
        "cd model && git checkout -q -b side && head -c 3000000 /dev/urandom > model.safetensors \
         && git commit -q -am side",
    );
    git.ok("model", &["push", "-q", &url, "side"]);
    let kept = gc(&world, &["--grace", "0"]);
    assert_eq!((&kept["objects"], &kept["files"]), (&0.into(), &0.into()), "{kept}");
    git.ok("model", &["push", "-q", &url, ":side"]);
    let within = gc(&world, &[]);
    assert_eq!((&within["objects"], &within["chunks"]), (&0.into(), &0.into()), "{within}");
    let plan = gc(&world, &["--dry-run", "--grace", "0"]);
    let went = gc(&world, &["--grace", "0"]);
    for key in ["objects", "files", "file_bytes", "chunks", "chunk_bytes"] {
        assert_eq!(plan[key], went[key], "{key}: {plan} {went}");
    }
    assert_eq!((&went["objects"], &went["files"]), (&3.into(), &1.into()), "{went}");
    let repo = &went["repos"][0];
    assert_eq!((&repo["repo"], &repo["why"]), (&"team/model".into(), &"unreachable".into()));
    assert_eq!(repo["refs"][0]["ref"], "refs/heads/side");
    let [before, after] = ["bytes_before", "bytes_after"].map(|key| went[key].as_u64());
    assert!(before > after, "{went}");
    // A clone is whole, and what went can be pushed again.
    git.ok("", &["clone", "-q", &url, "copy"]);
    git.assert_clean("copy");
    assert!(read(&world, "copy/model.safetensors") == second);
    git.ok("copy", &["checkout", "-q", "v1"]);
    assert!(read(&world, "copy/model.safetensors") == first);
    git.ok("model", &["push", "-q", &url, "side"]);
    gc(&world, &["--grace", "0"]);
    git.ok("copy", &["fetch", "-q"]);
    git.ok("copy", &["checkout", "-q", "side"]);
    assert!(read(&world, "copy/model.safetensors") == read(&world, "model/model.safetensors"));
    drop(server);
    // Without a server, the text.
    let text = world.ok(&["gc", "--dry-run"]);
    assert!(text.contains("would go: 0 objects"), "{text}");
}

#[test]
fn what_was_imported_before_comes_again_after_it_went() {
    let world = World::with_store();
    history(&world, "source.git");
    world.ok(&["import", "source.git", "a"]);
    world.ok(&["repo", "fork", "a", "b"]);
    // As git counts: every object's length, once for each repository.
    let lens = world.sh("cd source.git && git rev-list --objects --no-object-names --all \
         | git cat-file --batch-check='%(objectsize)'");
    let len: u64 = lens.lines().map(|len| len.parse::<u64>().expect("a number")).sum();
    let stats = |name: &[&str]| world.run(&[&["--json", "stats"], name].concat()).json().remove(0);
    let all = stats(&[]);
    assert_eq!((&all["logical_bytes"], &all["unique_bytes"]), (&(2 * len).into(), &len.into()));
    assert_eq!((&all["dedup_ratio"], &all["garbage"]["objects"]), (&2.0.into(), &0.into()));
    let one = stats(&["b"]);
    assert_eq!((&one["object_bytes"], &one["objects"]), (&len.into(), &all["objects"]));
    world.ok(&["repo", "delete", "a"]);
    let went = gc(&world, &["--grace", "0"]);
    assert_eq!(
        (&went["objects"], &went["repos"][0]["why"]),
        (&0.into(), &"deleted".into()),
        "{went}"
    );
    let copy = world.path("b.git");
    world.ok(&["export", "b", &copy.display().to_string()]);
    world.git("b.git", &["fsck", "--full"]);
    // A source whose branches went, and came back.
    world.sh("git clone -q --mirror source.git work.git");
    world.ok(&["import", "work.git", "c"]);
    world.sh("cd work.git && git for-each-ref --format='delete %(refname)' refs/heads refs/tags \
         > ../gone && git update-ref --stdin < ../gone && git symbolic-ref HEAD refs/heads/none");
    world.ok(&["import", "work.git", "c", "--prune"]);
    world.ok(&["repo", "delete", "b"]);
    let went = gc(&world, &["--grace", "0"]);
    assert!(went["objects"].as_u64() > Some(10), "{went}");
    world.sh("rm -rf work.git && git clone -q --mirror source.git work.git");
    world.ok(&["import", "work.git", "c"]);
    let copy = world.path("c.git");
    world.ok(&["export", "c", &copy.display().to_string()]);
    world.git("c.git", &["fsck", "--full"]);
}
