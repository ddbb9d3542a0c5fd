//! fsck and verify by the real program: damage on the disk, named with its path, and mended from a
//! second store or a clone.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::World;
use crate::support::repos::{history, oid, weights};
use crate::support::server::Server;

/// The largest of the database's files of values.
fn values(world: &World) -> PathBuf {
    let entries = fs::read_dir(world.store().join("db")).expect("listed");
    let files = entries.map(|entry| entry.expect("listed").path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "blob"));
    files.max_by_key(|path| fs::metadata(path).map_or(0, |m| m.len())).expect("a file of values")
}

/// Changes a bit in the middle of a file.
fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).expect("written");
}

fn json(world: &World, code: i32, args: &[&str]) -> Vec<Value> {
    let run = world.run(&[&["--json"], args].concat());
    run.says(code, &[]);
    run.json()
}

#[test]
fn a_byte_that_changes_on_the_disk_is_named_and_mended_from_a_second_store() {
    let (world, second) = (World::with_store(), World::with_store());
    weights(&world, "model");
    let source = world.path("model").display().to_string();
    for each in [&world, &second] {
        each.ok(&["import", &source, "team/model"]);
        each.ok(&["debug", "compact"]);
    }
    let sound = world.ok(&["verify"]);
    assert!(sound.contains("2 files") && sound.contains("no damage"), "{sound}");
    let clean = world.ok(&["fsck", "team/model"]);
    assert!(clean.contains("2 LFS files: sound"), "{clean}");
    flip(&values(&world));
    let found = world.run(&["verify"]);
    found.says(1, &["1 damaged thing found", "hint: 'mega-store verify --repair"]);
    let text = found.text();
    assert!(text.contains("chunk ") && text.contains("needed by team/model"), "{text}");
    assert!(text.contains("model.safetensors in "), "{text}");
    let report = json(&world, 1, &["verify"]).remove(0);
    let [damage] = &report["damages"].as_array().expect("a list")[..] else { panic!("{report}") };
    assert_eq!((&damage["kind"], &damage["mended"]), (&"chunk".into(), &false.into()));
    assert_eq!(damage["uses"][0]["path"], "model.safetensors");
    // Whose content cannot be had stays damaged, and is still named.
    let run = world.run(&["verify", "--repair", "--from", &source]);
    run.says(1, &["1 of 1 damaged thing not mended"]);
    assert!(run.text().contains("not mended: "), "{run:?}");
    let server = Server::start(&second);
    let url = server.repo("team/model");
    // The same while this store is served, too.
    let own = Server::start(&world);
    let mended = world.ok(&["verify", "--repair", "--from", &url, "--rate", "500"]);
    assert!(mended.contains(&format!("mended from {url}")), "{mended}");
    drop(own);
    assert!(world.ok(&["verify"]).contains("no damage"));
    let copy = world.path("copy").display().to_string();
    world.ok(&["export", "team/model", &copy, "--lfs"]);
    let id = oid(&world, "model", "main:model.safetensors");
    world.ok(&["file", "show", &id]);
}

#[test]
fn git_objects_are_mended_from_any_clone() {
    let world = World::with_store();
    history(&world, "source.git");
    world.ok(&["import", "source.git", "a/b"]);
    world.ok(&["repo", "fork", "a/b", "c"]);
    world.ok(&["debug", "compact"]);
    flip(&values(&world));
    let report = json(&world, 1, &["verify"]).remove(0);
    let [damage] = &report["damages"].as_array().expect("a list")[..] else { panic!("{report}") };
    assert_eq!(damage["kind"], "object");
    let uses: Vec<_> = damage["uses"].as_array().expect("a list").iter().collect();
    assert_eq!(uses.len(), 2, "{report}");
    assert!(uses.iter().all(|u| u["path"] == "large.bin"), "{report}");
    // git's own way reads no blob; ours neither.
    world.ok(&["fsck"]);
    let mended = world.ok(&["verify", "--repair", "--from", "source.git"]);
    assert!(mended.contains("mended from "), "{mended}");
    assert!(world.ok(&["verify"]).contains("no damage"));
    let copy = world.path("copy.git").display().to_string();
    world.ok(&["export", "c", &copy]);
    world.git("copy.git", &["fsck", "--full"]);
}

#[test]
fn fsck_says_what_git_says_and_where() {
    let world = World::with_store();
    world.sh("git init -q bad && cd bad && echo a > a && git add a && git commit -qm one \
         && blob=$(git rev-parse HEAD:a) \
         && hex=$(echo $blob | sed 's/../\\\\x&/g') \
         && printf \"100644 a\\0$hex\" > ../entry && cat ../entry ../entry > ../tree \
         && tree=$(git hash-object -w --literally -t tree --stdin < ../tree) \
         && top=$(printf \"40000 deep\\0$(echo $tree | sed 's/../\\\\x&/g')\" \
            | git hash-object -w --literally -t tree --stdin) \
         && tip=$(git commit-tree -m two -p HEAD $top) && git update-ref refs/heads/main $tip");
    let git = world.try_git("bad", &["fsck", "--full", "--strict", "--no-progress"]);
    assert!(git.code != 0 && git.words.contains("duplicateEntries"), "{git:?}");
    world.ok(&["import", "bad", "bad"]);
    history(&world, "good.git");
    world.ok(&["import", "good.git", "good"]);
    let run = world.run(&["fsck"]);
    run.says(1, &["error: 1 error in 1 repository"]);
    let text = run.text();
    assert!(text.contains("bad: error: tree ") && text.contains("duplicateEntries"), "{text}");
    assert!(text.contains("(deep in refs/heads/main)"), "{text}");
    assert!(text.contains("good: ") && text.contains(": sound\n"), "{text}");
    let lines = json(&world, 1, &["fsck", "bad"]);
    assert_eq!(
        (&lines[0]["check"], &lines[0]["path"]),
        (&"duplicateEntries".into(), &"deep".into())
    );
    assert_eq!((&lines[1]["repo"], &lines[1]["sound"]), (&"bad".into(), &false.into()));
    // As for pushes, a repository's settings say how bad it is.
    world.ok(&["repo", "config", "bad", "receive.fsck.duplicateEntries", "warn"]);
    assert!(world.ok(&["fsck", "bad"]).contains("sound, 1 warning"));
    world.run(&["fsck", "none"]).says(1, &["there is no repository 'none'"]);
}

#[test]
fn a_run_that_is_out_of_time_says_so_and_goes_on() {
    let world = World::with_store();
    history(&world, "source.git");
    world.ok(&["import", "source.git", "a"]);
    let run = world.run(&["verify", "--for", "0s"]);
    run.says(0, &["the next run goes on here"]);
    assert!(run.text().contains("verified so far"), "{run:?}");
    assert!(world.ok(&["verify"]).contains("went on where the last run ended"));
    world.run(&["verify", "--from", "x"]).says(2, &["--repair"]);
}
