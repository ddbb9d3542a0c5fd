//! Imports from what git can fetch from: a URL, a bundle; run again as a mirror.

use crate::support::World;
use crate::support::repos;

#[test]
fn a_url_is_mirrored_and_only_new_objects_are_fetched() {
    let world = World::with_store();
    repos::history(&world, "source.git");
    let url = format!("file://{}", world.path("source.git").display());
    let report = &world.run(&["import", &url, "--json"]).json()[0];
    assert_eq!((&report["repo"], &report["created"]), (&"source".into(), &true.into()));
    world.ok(&["export", "source", "copy.git"]);
    // Over the wire symbolic references but HEAD come as what they lead to.
    let plain = |name| world.git(name, &["for-each-ref", "--format=%(refname) %(objectname)"]);
    assert_eq!(plain("source.git"), plain("copy.git"));
    assert_eq!(repos::fsck(&world, "source.git"), repos::fsck(&world, "copy.git"));

    let report = &world.run(&["import", &url, "--json"]).json()[0];
    assert_eq!(report["objects"], 0, "{report}");
    world.sh("git clone -q source.git work && cd work && echo new > new && git add new && \
        git commit -qm new && git push -q origin HEAD:main HEAD:refs/heads/next && \
        git push -q origin :side");
    let report = &world.run(&["import", &url, "--json"]).json()[0];
    assert!(report["objects"].as_u64() < Some(20), "only what is new is fetched: {report}");
    assert_eq!(report["new_objects"], 3, "{report}");
    assert_eq!(report["refs"]["kept"], 1, "{report}");
    let report = &world.run(&["import", "--prune", &url, "--json"]).json()[0];
    assert_eq!(report["refs"]["deleted"], 1, "{report}");
    assert_eq!(world.ok(&["cat", "source@next", "new"]), "new\n");
    let left = std::fs::read_dir(world.store().join("tmp")).expect("listed").count();
    assert_eq!(left, 0, "scratch directories are gone");
}

#[test]
fn heads_of_servers_are_kept() {
    let world = World::with_store();
    world.sh("git init -q -b trunk x && cd x && echo x > x && git add . && git commit -qm x");
    let url = format!("file://{}", world.path("x").display());
    world.ok(&["import", &url]);
    let shown = &world.run(&["repo", "show", "x", "--json"]).json()[0];
    assert_eq!(shown["head"], "refs/heads/trunk");
    world.git("x", &["checkout", "-q", "--detach"]);
    world.git("x", &["commit", "-q", "--allow-empty", "-m", "detached"]);
    world.ok(&["import", &url]);
    let shown = &world.run(&["repo", "show", "x", "--json"]).json()[0];
    assert_eq!(shown["head"], world.git("x", &["rev-parse", "HEAD"]).trim());
}

#[test]
fn a_bundle_is_a_source_too() {
    let world = World::with_store();
    repos::history(&world, "source.git");
    world.git("source.git", &["bundle", "create", "-q", "../source.bundle", "--all"]);
    world.ok(&["import", "source.bundle"]);
    world.ok(&["export", "source", "copy.git"]);
    let list = |name| world.git(name, &["rev-list", "--objects", "--all", "--no-object-names"]);
    assert_eq!(list("source.git").lines().count(), list("copy.git").lines().count());
}

#[test]
fn what_cannot_be_fetched_leaves_nothing_and_no_password() {
    let world = World::with_store();
    let url = format!("file://{}", world.path("absent.git").display());
    world.run(&["import", &url]).says(1, &["ls-remote", "hint: "]);
    let run = world.run(&["import", "http://user:hunter2@127.0.0.1:1/x.git"]);
    run.says(1, &["ls-remote"]);
    assert!(!run.words.contains("hunter2"), "{run:?}");
    assert_eq!(world.ok(&["repo", "list"]), "");
}
