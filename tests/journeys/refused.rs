//! What cannot be imported is refused by name, and nothing of it stays.

use std::fs;

use crate::support::World;
use crate::support::repos;

fn plain(world: &World, name: &str) {
    world.sh(&format!(
        "git init -q {name} && cd {name} && echo 1 > x && git add . && git commit -qm 1 && \
         echo 2 > x && git commit -qam 2"
    ));
}

/// No repository was left by what failed.
fn assert_none(world: &World) {
    assert_eq!(world.ok(&["repo", "list"]), "");
}

#[test]
fn sources_that_cannot_be_whole_are_refused() {
    let world = World::with_store();
    plain(&world, "full");
    let url = format!("file://{}", world.path("full").display());
    world.sh(&format!("git clone -q --depth 1 {url} shallow"));
    world.run(&["import", "shallow"]).says(1, &["shallow clone", "hint: ", "fetch --unshallow"]);
    world.git("full", &["config", "uploadpack.allowFilter", "true"]);
    world.sh(&format!("git clone -q --no-checkout --filter=blob:none {url} partial"));
    world.run(&["import", "partial"]).says(1, &["partial clone: 2 objects are missing", "hint: "]);
    world.sh("git init -q --object-format=sha256 sha256");
    world.run(&["import", "sha256"]).says(1, &["sha256", "only SHA-1"]);
    world.make("nothing");
    world.run(&["import", "nothing"]).says(1, &["is not a git repository", "hint: "]);
    world.run(&["import", "absent"]).says(1, &["is not a git repository"]);
    world.run(&["import", "full", "a b"]).says(2, &["cannot be a repository's name", "hint: "]);
    world.sh("cp -r full 'a b'");
    world.run(&["import", "a b"]).says(1, &["no name for the repository", "import SOURCE NAME"]);
    assert_none(&world);
}

#[test]
fn damaged_sources_are_refused_and_the_old_state_stays() {
    let world = World::with_store();
    repos::history(&world, "source.git");
    world.ok(&["import", "source.git", "kept"]);
    let before = world.ok(&["repo", "show", "kept", "--json"]);
    let packs = fs::read_dir(world.path("source.git/objects/pack")).expect("listed");
    let pack = packs
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|e| e == "pack"))
        .expect("a pack");
    let whole = fs::read(&pack).expect("read");
    world.sh(&format!("chmod u+w {}", pack.display()));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x40;
    // The trailer stays, so that only the content is wrong; the name is new, so that it is looked
    // at.
    for (bytes, name) in [(&whole[..whole.len() - 3000], "cut"), (&flipped[..], "flipped")] {
        fs::write(&pack, bytes).expect("written");
        let run = world.run(&["import", "source.git", name]);
        run.says(1, &["error: ", "hint: "]);
        assert!(!world.ok(&["repo", "list"]).contains(name));
    }
    fs::remove_file(&pack).expect("removed");
    world.run(&["import", "source.git", "gone"]).says(1, &["error: "]);
    fs::write(&pack, &whole).expect("written");
    assert_eq!(world.ok(&["repo", "show", "kept", "--json"]), before);
    world.ok(&["import", "source.git", "again"]);
}

#[test]
fn two_sources_of_one_name_are_not_mixed_by_accident() {
    let world = World::with_store();
    plain(&world, "one");
    world.make("elsewhere");
    plain(&world, "elsewhere/one");
    world.ok(&["import", "one"]);
    let run = world.run(&["import", "elsewhere/one"]);
    run.says(1, &["was not imported from", "hint: to import into it all the same"]);
    world.ok(&["import", "elsewhere/one", "one"]);
    world.ok(&["import", "elsewhere/one", "other"]);
}

#[test]
fn a_loose_object_that_is_damaged_is_named() {
    let world = World::with_store();
    plain(&world, "loose");
    let id = world.git("loose", &["rev-parse", "HEAD:x"]);
    let path = world.path("loose/.git/objects").join(&id[..2]).join(id[2..].trim());
    world.sh(&format!("chmod u+w {}", path.display()));
    fs::write(&path, b"rubbish").expect("written");
    world.run(&["import", "loose"]).says(1, &["pack-objects", "hint: 'git fsck'"]);
    assert_none(&world);
}
