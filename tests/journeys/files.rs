//! Files without a repository, and the plumbing that looks at them.

use std::fs;

use crate::support::{Numbers, World};

#[test]
fn a_file_goes_in_and_comes_out_by_its_hash() {
    let world = World::with_store();
    let bytes = Numbers(5).weights(2_000_001);
    fs::write(world.path("w.bin"), &bytes).expect("written");
    fs::write(world.path("empty"), b"").expect("written");
    let expected = world.sh(&format!("sha256sum {}", world.path("w.bin").display()));
    assert_eq!(world.ok(&["file", "add", "w.bin"]), expected);
    let id = &expected[..64];
    let report = &world.run(&["file", "add", "w.bin", "empty", "--json"]).json()[..];
    assert_eq!((&report[0]["sha256"], &report[0]["new_chunks"]), (&id.into(), &0.into()));
    assert_eq!(report[1]["size"], 0);
    assert!(world.run(&["file", "cat", id]).out == bytes);
    for (range, slice) in [
        ("0-0", &bytes[..1]),
        ("1000000-1999999", &bytes[1_000_000..2_000_000]),
        ("2000000-", &bytes[2_000_000..]),
        ("-3", &bytes[1_999_998..]),
        ("1999999-99999999", &bytes[1_999_999..]),
    ] {
        assert!(world.run(&["file", "cat", id, "--range", range]).out == slice, "{range}");
    }
    world.run(&["file", "cat", id, "--range", "2000001-"]).says(1, &["not in a file", "hint: "]);
    world.run(&["file", "cat", id, "--range", "9-1"]).says(2, &["hint: "]);
    let shown = &world.run(&["file", "show", id, "--json"]).json()[0];
    assert_eq!((&shown["size"], &shown["added"]), (&2_000_001.into(), &true.into()));
}

#[test]
fn manifests_cover_the_file_without_gaps() {
    let world = World::with_store();
    fs::write(world.path("w.bin"), Numbers(6).bytes(1_000_000)).expect("written");
    let id = world.ok(&["file", "add", "w.bin"])[..64].to_owned();
    let chunks = world.run(&["debug", "show-manifest", &id, "--json"]).json();
    let mut end = 0;
    for chunk in &chunks {
        assert_eq!(chunk["offset"], end);
        end += chunk["size"].as_u64().expect("a number");
    }
    assert_eq!(end, 1_000_000);
    let found = world.run(&["debug", "locate-chunk", &id, "999999", "--json"]).json();
    assert_eq!(found, chunks[chunks.len() - 1..]);
    world.run(&["debug", "locate-chunk", &id, "1000000"]).says(1, &["not in a file"]);
}

#[test]
fn what_is_not_there_is_said() {
    let world = World::with_store();
    let id = "00".repeat(32);
    for verb in ["show", "cat", "remove"] {
        world.run(&["file", verb, &id]).says(1, &["there is no file", "hint: "]);
    }
    world.run(&["file", "cat", "12"]).says(2, &["64 hexadecimal digits", "hint: "]);
    world.run(&["file", "add", "absent"]).says(1, &["absent", "No such file"]);
    world.run(&["file", "add", "home"]).says(1, &["home", "directory"]);
    fs::write(world.path("x"), "x").expect("written");
    let id = world.ok(&["file", "add", "x"])[..64].to_owned();
    world.ok(&["file", "remove", &id]);
    world.run(&["file", "remove", &id]).says(1, &["there is no file"]);
}

#[test]
fn objects_are_shown_as_git_shows_them() {
    let world = World::with_store();
    world.sh("git init -q x && cd x && echo x > x && git add . && git commit -qm x");
    world.ok(&["import", "x"]);
    for rev in ["HEAD", "HEAD^{tree}", "HEAD:x"] {
        let id = world.git("x", &["rev-parse", rev]).trim().to_owned();
        let kind = world.git("x", &["cat-file", "-t", &id]);
        let run = world.run(&["debug", "cat-object", &id]);
        assert_eq!(run.out, {
            let mut command = world.command("git");
            command.args(["-C", "x", "cat-file", kind.trim(), &id]);
            command.output().expect("started").stdout
        });
        let shown = &world.run(&["debug", "cat-object", &id, "--json"]).json()[0];
        assert_eq!(shown["kind"], kind.trim());
    }
    world.run(&["debug", "cat-object", &"0".repeat(40)]).says(1, &["is missing"]);
}
