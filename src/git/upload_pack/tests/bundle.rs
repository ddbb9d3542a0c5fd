//! Bundles: what git makes of them, what they have, and which there are not.

use super::*;

impl World {
    /// What is told of bundles, each line; the flush left out.
    fn told(&self) -> Vec<u8> {
        let (out, report) = self.serve(Protocol::V2, &command("bundle-uri", &[""; 0]));
        assert_eq!(report.expect("answered").command, Command::BundleUri);
        let advertised = String::from_utf8(self.advertise(Protocol::V2)).expect("text");
        assert_eq!(advertised.contains("bundle-uri\n"), out != b"0000", "both or none");
        out
    }

    /// The bundle that ends at `revision`.
    fn bundle(&self, revision: &str) -> Option<Vec<u8>> {
        let settings = self.settings();
        let service = self.service(Protocol::V2, &settings);
        let bundle = find_bundle(&service, &self.id(revision)).expect("read")?;
        let mut out = Vec::new();
        bundle.write(&service, &mut out).expect("written");
        Some(out)
    }

    fn assert_bundle(&self, revision: &str) {
        let bundle = self.bundle(revision).expect("there is one");
        let path = self.git_dir().join("made.bundle");
        std::fs::write(&path, &bundle).expect("written");
        let shown = path.to_str().expect("text");
        let heads = self.git(&["bundle", "list-heads", shown]);
        assert_eq!(heads, format!("{} refs/heads/main", self.id(revision)));
        let empty = tempfile::tempdir().expect("a directory");
        git_in(empty.path(), &["clone", "-q", "--mirror", shown, "c"]);
        let copy = empty.path().join("c");
        git_in(&copy, &["fsck", "--strict", "--no-dangling"]);
        let all = ["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"];
        let ids: BTreeSet<ObjectId> =
            git_in(&copy, &all).lines().map(|line| line.parse().expect("an id")).collect();
        assert_eq!(ids, self.reachable(&[revision]));
    }
}

#[test]
fn a_bundle_has_the_history_of_the_default_branch_or_of_an_older_commit() {
    let world = World::with_history(700, 21);
    let main = world.id("main");
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let expected = [
        line("bundle.version=1"),
        line("bundle.mode=all"),
        line(&format!("bundle.default.uri=info/bundle/{main}")),
        FLUSH.to_owned(),
    ];
    assert_eq!(String::from_utf8(world.told()).expect("text"), expected.concat());
    world.assert_bundle("main");
    // Beside the branch, before it, and with a push since.
    world.assert_bundle("old");
    world.assert_bundle("main~13");
    world.git(&["update-ref", "refs/heads/main", "main~1"]);
    world.sync();
    world.assert_bundle("main");
    assert!(world.bundle(&main.to_string()).is_none(), "it was force-pushed away");
}

#[test]
fn what_the_default_branch_does_not_reach_is_in_no_bundle() {
    let world = World::with_history(600, 22);
    world.git(&["branch", "aside", "main~9"]);
    let tree = world.id("main^{tree}");
    let aside = world.git(&["commit-tree", "-p", "aside", "-m", "aside", &tree.to_string()]);
    world.git(&["update-ref", "refs/heads/aside", &aside]);
    world.sync();
    let blob = "main:.gitmodules";
    for revision in ["aside", "main^{tree}", blob, "refs/tags/v1", &"12".repeat(20)] {
        assert!(world.bundle(revision).is_none(), "{revision}");
    }
    assert!(world.bundle("main").is_some());
}

#[test]
fn no_bundle_is_told_of_where_there_is_none_or_nobody_wants_it() {
    let world = World::new();
    assert_eq!(world.told(), b"0000", "nothing is there yet");
    world.commit("one");
    world.sync();
    assert_ne!(world.told(), b"0000");
    let set = |key: &str, value: &str| {
        let change = SettingChange::Set(value.to_owned());
        world.store.set_setting(world.repo.id, key, &change).expect("set");
    };
    set("uploadpack.advertiseBundleURIs", "false");
    assert_eq!(world.told(), b"0000");
    assert!(world.bundle("main").is_some(), "it is there for who knows of it");
    set("uploadpack.advertiseBundleURIs", "true");
    set("uploadpack.hideRefs", "refs/heads/main");
    assert_eq!(world.told(), b"0000", "the branch is hidden");
    assert!(world.bundle("main").is_none());
    set("uploadpack.hideRefs", "refs/x");
    assert!(world.bundle("main").is_some());
    world.git(&["checkout", "-q", "--detach"]);
    world.sync();
    assert_eq!(world.told(), b"0000", "HEAD is on no branch");
    let partial = Repo { partial: true, ..world.repo.clone() };
    let settings = world.settings();
    world.git(&["checkout", "-q", "main"]);
    world.sync();
    let service = Service { repo: &partial, ..world.service(Protocol::V2, &settings) };
    assert!(find_bundle(&service, &world.id("main")).expect("read").is_none(), "not all is here");
}
