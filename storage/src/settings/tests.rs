//! Settings: what is understood, what is kept, what a name is matched by.

use super::*;
use crate::name::RepoName;
use crate::repos::Visibility;
use crate::store::StoreOptions;

fn settings(entries: &[(&str, &str)]) -> Result<RepoSettings> {
    RepoSettings::new(entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

fn name(text: &str) -> RefName {
    RefName::new(text.as_bytes()).expect("a valid name")
}

#[test]
fn keys_and_values_are_understood_as_git_does() {
    let all = settings(&[
        ("receive.fsckobjects", "no"),
        ("Receive.Fsck.zeroPaddedFilemode", "Ignore"),
        ("receive.protect", "main"),
        ("receive.protect", "release/*"),
        ("receive.quota", "2g"),
        ("receive.maxInputSize", "10M"),
        ("receive.maxRefs", "7"),
        ("receive.postReceive", "/bin/true"),
        ("receive.denyDeletes", "true"),
        ("receive.denyNonFastForwards", "off"),
    ])
    .expect("understood");
    assert!(!all.checks_objects());
    assert_eq!(all.fsck_level("ZEROPADDEDFILEMODE"), Some(FsckLevel::Ignore));
    assert_eq!(all.fsck_level("badDate"), None);
    assert_eq!((all.quota_len(), all.max_input_len()), (Some(2 << 30), Some(10 << 20)));
    assert_eq!((all.max_refs(), all.post_receive()), (Some(7), Some("/bin/true")));
    assert!(all.denies_deletes() && !all.denies_rewinds());
    assert_eq!(all.entries()[0].0, "receive.fsckObjects", "keys are shown in one way");
    for (branch, expected) in
        [("main", true), ("main2", false), ("release/1", true), ("release/1/2", false)]
    {
        assert_eq!(all.is_protected(&name(&format!("refs/heads/{branch}"))), expected, "{branch}");
    }
    assert!(RepoSettings::default().checks_objects(), "checks are on by default");
    for (key, value) in [
        ("receive.quota", "-1"),
        ("receive.quota", "99999999999g"),
        ("receive.quota", ""),
        ("receive.fsckObjects", "maybe"),
        ("receive.fsck.badDate", "fatal"),
        ("receive.fsck.", "warn"),
        ("receive.fsck.a b", "warn"),
        ("receive.postReceive", "rm -rf"),
        ("receive.protect", ""),
        ("receive.hideRefs", "heads"),
        ("core.bare", "true"),
        ("", ""),
    ] {
        assert!(matches!(settings(&[(key, value)]), Err(StoreError::Setting { .. })), "{key}");
    }
}

#[test]
fn globs() {
    let cases = [
        ("refs/heads/**", "refs/heads/a/b", true),
        ("refs/heads/*", "refs/heads/a/b", false),
        ("refs/heads/*", "refs/heads/", true),
        ("refs/heads/v?.x", "refs/heads/v1.x", true),
        ("refs/heads/v?.x", "refs/heads/v/.x", false),
        ("refs/**/x", "refs/a/b/x", true),
        ("refs/*a*a*a*a*a*a*b", &format!("refs/{}", "a".repeat(1000)), false),
    ];
    for (glob, text, expected) in cases {
        assert_eq!(pattern::matches(glob.as_bytes(), text.as_bytes()), expected, "{glob} {text}");
    }
}

#[test]
fn hidden_references_follow_gits_rules() {
    let all = settings(&[
        ("transfer.hideRefs", "refs/internal/"),
        ("receive.hideRefs", "refs/pull"),
        ("uploadpack.hideRefs", "!refs/internal/shown"),
        ("uploadpack.hideRefs", "^refs/one"),
        ("transfer.hideRefs", "refs/internal/shown/not"),
    ])
    .expect("understood");
    let fetch = |text: &str| all.hides_from_fetch(&name(text));
    let push = |text: &str| all.hides_from_push(&name(text));
    assert!(fetch("refs/internal/x") && push("refs/internal/x"));
    assert!(!fetch("refs/internals/x") && !push("refs/internals/x"));
    assert!(!fetch("refs/internal/shown/x") && push("refs/internal/shown/x"));
    assert!(fetch("refs/internal/shown/not/x"), "the last one that fits decides");
    assert!(!fetch("refs/pull/1") && push("refs/pull/1"));
    assert!(fetch("refs/one") && fetch("refs/one/two"));
    let bundles = |value| settings(&[("uploadPack.advertiseBundleURIs", value)]);
    assert!(all.advertises_bundles() && bundles("yes").expect("understood").advertises_bundles());
    assert!(!bundles("false").expect("understood").advertises_bundles());
    assert!(bundles("perhaps").is_err());
    assert!(all.hides_any_from_fetch() && !RepoSettings::default().hides_any_from_fetch());
}

#[test]
fn peers_are_let_in_by_their_ids() {
    let [reader, writer, stranger] = [
        "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "16Uiu2HAmUdq3ZnGH2UEjSTMFhqTEEDJg8aNMtjXbYpYTpXQkpBWq",
    ];
    let all = settings(&[("swarm.allowread", reader), ("swarm.allowWrite", writer)]);
    let all = all.expect("understood");
    assert!(all.lets_peer_read(reader) && !all.lets_peer_write(reader));
    assert!(all.lets_peer_read(writer) && all.lets_peer_write(writer), "who writes may read");
    assert!(!all.lets_peer_read(stranger) && !all.lets_peer_write(stranger));
    assert!(!all.lets_peer_read("") && !all.lets_peer_read(&reader[..51]));
    let (long, spaced) = (format!("{reader}123456789"), format!("{} ", &reader[..51]));
    for wrong in ["", "*", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5", &long, &spaced] {
        assert!(settings(&[("swarm.allowRead", wrong)]).is_err(), "{wrong}");
    }
    assert!(settings(&[("swarm.allowRead", &reader.replace('E', "0"))]).is_err());
}

#[test]
fn a_copy_is_served_on_while_it_is_mounted_unless_it_is_said_otherwise() {
    assert_eq!(RepoSettings::default().seed(), SeedPolicy::Mounted);
    for (text, policy) in [
        ("always", SeedPolicy::Always),
        ("Mounted", SeedPolicy::Mounted),
        ("never", SeedPolicy::Never),
    ] {
        let set = settings(&[("Swarm.Seed", text)]).expect("understood");
        assert_eq!(set.seed(), policy);
    }
    for wrong in ["", "yes", "sometimes"] {
        assert!(settings(&[("swarm.seed", wrong)]).is_err(), "{wrong}");
    }
}

#[test]
fn an_upstream_is_an_address_that_may_be_shown() {
    assert_eq!(RepoSettings::default().upstream(), None);
    for url in ["http://h/a.git", "https://h.example:8417/team/model.git", "http://[::1]:1/a.git"] {
        let set = settings(&[("Swarm.Upstream", url)]).expect("understood");
        assert_eq!(set.upstream(), Some(url));
    }
    let long = format!("http://h/{}.git", "x".repeat(2048));
    for wrong in [
        "",
        "h/a.git",
        "ftp://h/a.git",
        "http:///a.git",
        "http://h/a",
        "http://h/.git",
        "http://me:secret@h/a.git",
        "http://me@h/a.git",
        "http://h/a.git?x",
        "http://h/a%20b.git",
        "http://h/a b.git",
        "http://h/a\n.git",
        &long,
    ] {
        assert!(settings(&[("swarm.upstream", wrong)]).is_err(), "{wrong}");
    }
}

#[test]
fn settings_are_kept_copied_and_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let store = Store::create(&path, &StoreOptions::default()).expect("made");
    let repo_name = RepoName::new("a").expect("valid");
    let repo = store.repos().create(&repo_name, Visibility::Private).expect("made");
    let change = |key: &str, change: SettingChange| store.set_setting(repo.id, key, &change);
    let set = |text: &str| SettingChange::Set(text.to_owned());
    let add = |text: &str| SettingChange::Add(text.to_owned());
    assert_eq!(store.settings(repo.id).expect("read"), RepoSettings::default());
    change("receive.protect", set("main")).expect("set");
    change("RECEIVE.PROTECT", add("next")).expect("added");
    change("receive.quota", set("1k")).expect("set");
    change("receive.quota", set("2k")).expect("replaced");
    let expected = settings(&[
        ("receive.protect", "main"),
        ("receive.protect", "next"),
        ("receive.quota", "2k"),
    ]);
    let expected = expected.expect("understood");
    assert_eq!(store.settings(repo.id).expect("read"), expected);
    let fork = store.repos().fork(&repo_name, &RepoName::new("b").expect("valid")).expect("made");
    assert_eq!(store.settings(fork.id).expect("read"), expected);
    change("receive.protect", SettingChange::Unset).expect("unset");
    assert_eq!(store.settings(repo.id).expect("read").entries().len(), 1);
    assert!(matches!(change("core.bare", set("x")), Err(StoreError::Setting { .. })));
    let long = "/".to_owned() + &"x".repeat(4000);
    let over = (0..20).find_map(|_| change("transfer.hideRefs", add("refs/y")).err());
    assert!(over.is_none());
    for index in 0..70 {
        let hidden = format!("refs/{index}/{}", "x".repeat(1000));
        if let Err(error) = change("transfer.hideRefs", add(&hidden)) {
            assert!(matches!(error, StoreError::Limit { .. }));
            assert!(index > 55);
            break;
        }
        assert!(index < 69, "there is a limit");
    }
    assert!(matches!(change("receive.postReceive", set(&long)), Err(StoreError::Limit { .. })));
    store.repos().delete(&repo_name).expect("deleted");
    assert_eq!(store.settings(repo.id).expect("read"), RepoSettings::default());
    assert!(matches!(change("receive.quota", set("1")), Err(StoreError::RepoGone { .. })));
}

#[test]
fn golden_row_and_what_is_not_understood() {
    let row = settings(&[("receive.quota", "1")]).expect("understood").encode();
    assert_eq!(row, b"\x01\x01\x0dreceive.quota\x011");
    assert_eq!(RepoSettings::decode(&row).expect("reads").quota_len(), Some(1));
    for len in 0..row.len() {
        assert_eq!(RepoSettings::decode(&row[..len]), None);
    }
    let newer = b"\x01\x02\x03new\x01x\x0dreceive.quota\x01?";
    let read = RepoSettings::decode(newer).expect("reads");
    assert_eq!((read.entries().len(), read.quota_len()), (2, None));
}
