//! A repository in a directory comes in whole, and comes out the same.

use crate::support::repos::{self, assert_same};
use crate::support::{Numbers, World};

#[test]
fn a_repository_with_everything_comes_out_the_same() {
    let world = World::with_store();
    repos::history(&world, "source.git");
    let run = world.run(&["import", "source.git", "--json"]);
    run.says(0, &[]);
    let report = &run.json()[0];
    assert_eq!(report["repo"], "source");
    assert_eq!(report["created"], true);
    assert!(report["objects"].as_u64() > Some(2_000), "{report}");
    assert_eq!(report["problems"], 0, "{report}");
    world.ok(&["export", "source", "copy.git"]);
    assert_same(&world, "source.git", "copy.git");
    let run = world.try_git("copy.git", &["show-ref", "--verify", "refs/remotes/origin/HEAD"]);
    run.says(0, &[]);
    let shown = world.ok(&["repo", "list", "--json"]);
    assert!(shown.contains("\"visibility\":\"private\""), "{shown}");
}

#[test]
fn a_second_import_takes_nothing_and_a_later_one_what_is_new() {
    let world = World::with_store();
    repos::history(&world, "source.git");
    world.ok(&["import", "source.git"]);
    let before = world.ok(&["--json", "stats", "source"]);
    let files = || {
        let dir = std::fs::read_dir(world.path("store/db")).expect("listed");
        let mut names: Vec<_> = dir.map(|entry| entry.expect("a file").file_name()).collect();
        names.sort();
        names
    };
    let database = files();
    let run = world.run(&["import", "source.git", "--json"]);
    assert_eq!(files(), database, "the store was opened to read only");
    let report = &run.json()[0];
    for (field, value) in [("packs", 0), ("objects", 0), ("new_objects", 0)] {
        assert_eq!(report[field], value, "{report}");
    }
    let refs = serde_json::json!({"created": 0, "updated": 0, "deleted": 0, "kept": 0});
    assert_eq!(report["refs"], refs);
    run.says(0, &["source: nothing new"]);
    assert_eq!(world.ok(&["--json", "stats", "source"]), before);
    // New loose objects and a repack of everything.
    world.sh("git clone -q source.git work && cd work && echo new > new && git add new && \
        git commit -qm new && git push -q");
    let report = &world.run(&["import", "source.git", "--json"]).json()[0];
    assert_eq!(report["new_objects"], 3, "{report}");
    assert_eq!(report["refs"]["updated"], 1, "{report}");
    world.git("source.git", &["repack", "-adq"]);
    let report = &world.run(&["import", "source.git", "--json"]).json()[0];
    assert_eq!((&report["packs"], &report["new_objects"]), (&1.into(), &0.into()), "{report}");
    world.ok(&["export", "source", "copy.git"]);
    assert_same(&world, "source.git", "copy.git");
}

#[test]
fn references_that_are_gone_stay_until_they_are_pruned() {
    let world = World::with_store();
    repos::history(&world, "source.git");
    world.ok(&["import", "source.git"]);
    world.sh("cd source.git && git branch -D side -q && git tag -d light");
    // A directory where a branch was: that one has to go.
    world.sh("cd source.git && git update-ref -d refs/odd/x/y && git update-ref refs/odd/x main");
    let run = world.run(&["import", "source.git", "--json"]);
    let refs = serde_json::json!({"created": 1, "updated": 0, "deleted": 1, "kept": 2});
    assert_eq!(run.json()[0]["refs"], refs);
    run.says(0, &["2 refs gone from the source stayed"]);
    let shown = world.ok(&["repo", "show", "source"]);
    assert!(shown.contains("refs/heads/side") && !shown.contains("refs/odd/x/y"), "{shown}");
    let report = &world.run(&["import", "source.git", "--prune", "--json"]).json()[0];
    assert_eq!(report["refs"]["deleted"], 2, "{report}");
    world.ok(&["export", "source", "copy.git"]);
    assert_eq!(repos::refs(&world, "source.git"), repos::refs(&world, "copy.git"));
}

#[test]
fn alternates_worktrees_subdirectories_and_loose_objects_are_found() {
    let world = World::with_store();
    repos::history(&world, "base.git");
    world.sh("git clone -q --shared base.git shared && cd shared && mkdir -p a/b && \
        echo loose > a/b/c && git add . && git commit -qm loose && \
        git worktree add -q ../linked HEAD~1");
    world.sh("git clone -q --bare --shared shared second.git");
    for (source, name, head) in [
        ("shared/a/b", "shared", "refs/heads/main"),
        ("shared/.git", "from-git-dir", "refs/heads/main"),
        ("second.git", "second", "refs/heads/main"),
    ] {
        let args: &[&str] = if name == "from-git-dir" { &[name] } else { &[] };
        world.ok(&[&["import", source], args].concat());
        let list = world.ok(&["repo", "list", "--json"]);
        assert!(list.contains(&format!("\"name\":\"{name}\"")) && list.contains(head), "{list}");
        assert_eq!(world.ok(&["cat", name, "a/b/c"]), "loose\n");
    }
    // A detached HEAD is kept as it is.
    world.ok(&["import", "linked"]);
    let id = world.git("linked", &["rev-parse", "HEAD"]);
    let shown = &world.run(&["repo", "show", "linked", "--json"]).json()[0];
    assert_eq!(shown["head"], id.trim());
    world.ok(&["export", "second", "copy.git"]);
    assert_same(&world, "second.git", "copy.git");
}

#[test]
fn an_empty_repository_and_odd_surroundings_do_not_matter() {
    let world = World::with_store();
    world.sh("git init -q empty && git init -q -b trunk unborn");
    world.ok(&["import", "empty"]);
    world.ok(&["import", "unborn"]);
    world.ok(&["import", "unborn"]);
    let shown = &world.run(&["repo", "show", "unborn", "--json"]).json()[0];
    assert_eq!(shown["head"], "refs/heads/trunk");
    world.ok(&["export", "unborn", "unborn.git"]);
    assert_eq!(world.git("unborn.git", &["symbolic-ref", "HEAD"]), "refs/heads/trunk\n");
    // Variables that point git elsewhere.
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    let mut command = world.mega();
    command.args(["import", "x"]).env("GIT_DIR", world.path("empty/.git"));
    command.env("GIT_OBJECT_DIRECTORY", "/nowhere").env("GIT_INDEX_FILE", "/nowhere");
    assert!(command.status().expect("started").success());
    assert_eq!(world.ok(&["cat", "x", "x"]), "x\n");
}

#[test]
fn old_mistakes_in_the_history_are_listed_and_come_along() {
    let world = World::with_store();
    world.sh("git init -q --bare odd.git");
    // A zero-padded mode and a missing space before the date, as real old histories have.
    world.sh("cd odd.git && blob=$(echo x | git hash-object -w --stdin) && \
         raw=$(echo $blob | sed 's/../\\\\x&/g') && \
         tree=$(printf \"0100644 x\\0$raw\" | git hash-object -w -t tree --stdin --literally) && \
         who='a <a@b>' && \
         commit=$(printf \"tree $tree\\nauthor ${who}1 +0000\\ncommitter $who 1 +0000\\n\\nm\\n\" \
             | git hash-object -w -t commit --stdin --literally) && \
         git update-ref refs/heads/main $commit");
    let run = world.run(&["import", "odd.git", "--json"]);
    run.says(0, &["warning: object", "zeroPaddedFilemode", "missingSpaceBeforeDate"]);
    assert_eq!(run.json()[0]["problems"], 2);
    world.ok(&["export", "odd", "copy.git"]);
    assert_same(&world, "odd.git", "copy.git");
}

#[test]
fn packs_that_move_and_many_loose_objects_are_no_trouble() {
    let world = World::with_store();
    let mut numbers = Numbers(3);
    world.sh("git init -q loose");
    for index in 0..300 {
        let path = world.path("loose").join(format!("f{index}"));
        std::fs::write(path, numbers.bytes(200)).expect("written");
    }
    world.sh("cd loose && git add . && git commit -qm all && test ! -e .git/objects/pack/*.pack");
    // Rubbish beside the objects is not taken for objects.
    world.sh("cd loose/.git/objects && touch ab pack/pack-x.idx && mkdir -p zz && touch zz/x");
    world.ok(&["import", "loose"]);
    let report = &world.run(&["import", "loose", "--json"]).json()[0];
    assert_eq!(report["objects"], 0);
    let stats = &world.run(&["stats", "loose", "--json"]).json()[0];
    assert_eq!(stats["objects"], 302);
}

#[test]
fn the_default_store_makes_itself_and_a_named_one_does_not() {
    let world = World::new();
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    let plain = || world.command(env!("CARGO_BIN_EXE_mega-store"));
    let output = plain().args(["import", "x"]).output().expect("started");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.contains("made a store in"), "{words}");
    assert!(world.path("home/data/mega-store/FORMAT").exists());
    world.run(&["import", "x"]).says(1, &["there is no store at", "hint: make one with", "init"]);
    let output = plain().args(["ls", "x"]).output().expect("started");
    assert!(output.status.success());
    let mut other = plain();
    other.env("MEGA_STORE", world.path("other")).args(["import", "x"]);
    assert_eq!(other.status().expect("started").code(), Some(1));
}
