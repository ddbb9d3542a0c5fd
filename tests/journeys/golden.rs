//! Stores that earlier programs wrote, as their disks have them. Each opens with this program, has
//! what it had, and takes more. `tests/golden/make` made them, one for each format of the store.

use std::fs;

use mega_storage::FileId;
use sha2::{Digest, Sha256};

use crate::support::World;

const FORMAT_1: &[u8] = include_bytes!("../golden/format-1.tar.gz");

/// What the repository had when the store was written.
const REFS: &str = "\
7752312788c075a75b6b2b496ca5819c19a39750 refs/heads/main
f09e5ec663be8ce8f9106d40a69b2baa34150e56 refs/heads/side
21d7fd916307614c63668b4d80d62da4844164d1 refs/tags/v1
69e7fb2de0fa45dcf7baacff298ad7084daa5b95 refs/tags/v2
b8224e7e15272286d1cad33aca296d43eca7df7c refs/tags/v3
29ac79d075981c8c38388a987fc393f7bc687db2 refs/tags/v4
";
/// LFS content: what `file add` took, and the newest of the repository's.
const FILES: [(&str, usize); 2] = [
    ("c23858e0598e30bbafa2b4db4b98a13f54ff630c54dd83b7cf5c69b58e9541cd", 20_000),
    ("6c34083bc7e2c78a3c8d0453cfe923c2703cd77b9492e64803f4b5a8a9fd274f", 9_000),
];

fn unpacked(archive: &[u8]) -> World {
    let world = World::new();
    fs::write(world.path("store.tar.gz"), archive).expect("written");
    world.sh("mkdir store && tar -xzf store.tar.gz -C store");
    world
}

fn has_what_it_had(world: &World) {
    for name in ["team/model", "team/fork"] {
        let copy = world.path("copy").display().to_string();
        world.ok(&["export", name, &copy, "--lfs"]);
        let format = "--format=%(objectname) %(refname)";
        assert_eq!(world.git("copy", &["for-each-ref", format, "refs/heads", "refs/tags"]), REFS);
        world.git("copy", &["fsck", "--full", "--strict"]);
        world.sh("rm -r copy");
    }
    for (id, len) in FILES {
        let bytes = world.mega().args(["file", "cat", id]).output().expect("it runs").stdout;
        assert_eq!(
            (FileId::from_bytes(Sha256::digest(&bytes).into()).to_string(), bytes.len()),
            (id.to_owned(), len)
        );
    }
    let listed = world.ok(&["ls", "team/model"]);
    assert!(listed.contains("link") && listed.contains("model.bin"), "{listed}");
    assert!(!world.ok(&["repo", "list"]).contains("gone"));
    let settings = world.ok(&["repo", "config", "team/model"]);
    assert!(settings.contains("receive.denyDeletes"), "{settings}");
    assert!(world.ok(&["repo", "config", "team/fork"]).contains("never"));
    assert!(world.ok(&["token", "list"]).contains("team/model"));
}

#[test]
fn a_store_of_format_1_opens_and_has_what_it_had() {
    let world = unpacked(FORMAT_1);
    has_what_it_had(&world);
    assert!(world.ok(&["verify"]).contains("no damage"));
    world.ok(&["fsck"]);
    // Its rows can be collected, changed and added to.
    world.ok(&["gc", "--grace", "0"]);
    world.sh("git init -q -b main more && cd more && echo more > more && git add more \
              && git -c user.name=A -c user.email=a@example.org commit -qm more");
    world.ok(&["import", "more", "more"]);
    has_what_it_had(&world);
    assert!(world.ok(&["verify"]).contains("no damage"));
}
