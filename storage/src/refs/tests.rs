//! Transactions: expectations, conflicts, targets, limits, and the bytes of the rows.

use super::*;
use crate::StoreError;
use crate::db::Durability;
use crate::repos::{RepoStore, Visibility};
use crate::testing::TestDb;

pub(super) fn name(text: &str) -> RefName {
    RefName::new(text.as_bytes()).expect("a valid name")
}

pub(super) fn id(byte: u8) -> ObjectId {
    ObjectId::from_bytes([byte; 20])
}

fn set(text: &str, byte: u8) -> RefEdit {
    RefEdit { name: name(text), expect: Expect::Any, new: Some(RefTarget::Direct(id(byte))) }
}

fn link(text: &str, to: &str) -> RefEdit {
    let target = RefTarget::Symbolic(name(to));
    RefEdit { name: name(text), expect: Expect::Any, new: Some(target) }
}

fn remove(text: &str) -> RefEdit {
    RefEdit { name: name(text), expect: Expect::Any, new: None }
}

pub(super) fn fixture() -> (TestDb, RefStore, RepoId) {
    let test = TestDb::new();
    let repos = RepoStore::new(test.db.clone());
    let repo_name = crate::RepoName::new("a").expect("a valid name");
    let repo = repos.create(&repo_name, Visibility::Private).expect("made").id;
    test.add_members(repo, &[id(1), id(2), id(3)]);
    let refs = RefStore::new(test.db.clone());
    (test, refs, repo)
}

fn apply(refs: &RefStore, repo: RepoId, edits: &[RefEdit]) -> Result<()> {
    refs.apply(repo, &RefTransaction { edits: edits.to_vec() })
}

#[test]
fn sets_lists_resolves_and_deletes() {
    let (_test, refs, repo) = fixture();
    let edits = [
        link("HEAD", "refs/heads/main"),
        set("refs/heads/main", 1),
        set("refs/tags/v1", 2),
        set("refs/heads/zz", 3),
    ];
    apply(&refs, repo, &edits).expect("applied");
    let names = |prefix: &[u8]| -> Vec<String> {
        let rows = refs.list(repo, prefix).expect("listed");
        rows.into_iter().map(|(n, _)| n.to_string()).collect()
    };
    assert_eq!(names(b""), ["HEAD", "refs/heads/main", "refs/heads/zz", "refs/tags/v1"]);
    assert_eq!(names(b"refs/heads/"), ["refs/heads/main", "refs/heads/zz"]);
    assert_eq!(refs.resolve(repo, &RefName::head()).expect("read"), Some(id(1)));
    assert_eq!(refs.list(RepoId(repo.0 + 1), b"").expect("listed"), []);
    apply(&refs, repo, &[remove("refs/heads/main"), remove("refs/heads/absent")]).expect("applied");
    assert_eq!(refs.resolve(repo, &RefName::head()).expect("read"), None, "unborn again");
    assert_eq!(names(b"refs/heads/"), ["refs/heads/zz"]);
}

#[test]
fn pages_go_on_after_a_name_that_may_have_gone() {
    let (_test, refs, repo) = fixture();
    let all = ["HEAD", "refs/heads/a", "refs/heads/b", "refs/tags/v"];
    let edits: Vec<RefEdit> = all.iter().map(|text| set(text, 1)).collect();
    apply(&refs, repo, &edits).expect("applied");
    let page = |after: &[u8], max: usize| -> Vec<String> {
        let rows = refs.list_after(repo, after, max).expect("listed");
        rows.into_iter().map(|(n, _)| n.to_string()).collect()
    };
    assert_eq!(page(b"", 9), all);
    assert_eq!(page(b"", 2), all[..2]);
    assert_eq!(page(b"refs/heads/a", 2), all[2..]);
    apply(&refs, repo, &[remove("refs/heads/a")]).expect("applied");
    assert_eq!(page(b"refs/heads/a", 1), all[2..3]);
    assert!(page(b"refs/tags/v", 9).is_empty());
    assert_eq!(refs.list_after(RepoId(repo.0 + 1), b"", 9).expect("listed"), []);
}

#[test]
fn symbolic_chains_end() {
    let (_test, refs, repo) = fixture();
    let mut edits = vec![set("refs/c/0", 1)];
    for hop in 1..=6 {
        edits.push(link(&format!("refs/c/{hop}"), &format!("refs/c/{}", hop - 1)));
    }
    edits.push(link("refs/loop", "refs/loop"));
    apply(&refs, repo, &edits).expect("applied");
    let resolve = |text| refs.resolve(repo, &name(text)).expect("read");
    assert_eq!(resolve("refs/c/5"), Some(id(1)), "five hops");
    assert_eq!(resolve("refs/c/6"), None, "six");
    assert_eq!(resolve("refs/loop"), None);
}

#[test]
fn expectations_hold_or_nothing_changes() {
    let (_test, refs, repo) = fixture();
    apply(&refs, repo, &[set("refs/heads/a", 1)]).expect("applied");
    let expect = |text, expect, byte| RefEdit { expect, ..set(text, byte) };
    let is = |byte| Expect::Is(RefTarget::Direct(id(byte)));
    for refused in [
        expect("refs/heads/a", Expect::Absent, 2),
        expect("refs/heads/a", is(2), 3),
        expect("refs/heads/b", is(1), 3),
        expect("refs/heads/a", Expect::Is(RefTarget::Symbolic(name("refs/heads/a"))), 3),
    ] {
        let result = apply(&refs, repo, &[set("refs/heads/new", 1), refused]);
        assert!(matches!(result, Err(StoreError::RefMoved { .. })), "{result:?}");
        assert_eq!(refs.get(repo, &name("refs/heads/new")).expect("read"), None);
    }
    let edits = [expect("refs/heads/a", is(1), 2), expect("refs/heads/b", Expect::Absent, 1)];
    apply(&refs, repo, &edits).expect("applied");
    assert_eq!(refs.resolve(repo, &name("refs/heads/a")).expect("read"), Some(id(2)));
}

#[test]
fn the_error_says_what_was_found() {
    let (_test, refs, repo) = fixture();
    apply(&refs, repo, &[set("refs/heads/a", 1)]).expect("applied");
    let edit = RefEdit { expect: Expect::Absent, ..set("refs/heads/a", 2) };
    let text = apply(&refs, repo, &[edit]).expect_err("refused").to_string();
    let actual = "01".repeat(20);
    assert_eq!(text, format!("reference refs/heads/a was expected at nothing, but is at {actual}"));
}

#[test]
fn a_target_must_be_an_object_of_the_repository() {
    let (test, refs, repo) = fixture();
    test.add_members(RepoId(repo.0 + 1), &[id(9)]);
    for byte in [9, 0] {
        let result = apply(&refs, repo, &[set("refs/heads/x", byte)]);
        assert!(matches!(result, Err(StoreError::MissingObject { id: i }) if i == id(byte)));
    }
    assert_eq!(refs.list(repo, b"").expect("listed"), []);
}

#[test]
fn a_name_is_not_a_directory_of_another() {
    let (_test, refs, repo) = fixture();
    apply(&refs, repo, &[set("refs/heads/a/b", 1), set("refs/heads/c", 1)]).expect("applied");
    for (edits, other) in [
        (vec![set("refs/heads/a", 1)], "refs/heads/a/b"),
        (vec![set("refs/heads/a/b/c", 1)], "refs/heads/a/b"),
        (vec![set("refs/heads/c/d/e", 1)], "refs/heads/c"),
        (vec![set("refs/x", 1), set("refs/x/y/z", 1)], "refs/x/y/z"),
        (vec![link("refs/heads", "HEAD")], "refs/heads/a/b"),
    ] {
        match apply(&refs, repo, &edits) {
            Err(StoreError::RefConflict { other: found, .. }) => assert_eq!(found, name(other)),
            result => panic!("{edits:?}: {result:?}"),
        }
    }
    // Names that only look alike.
    let alike = [set("refs/heads/a-b", 1), set("refs/heads/c.d", 1), set("refs/heads/cc/d", 1)];
    apply(&refs, repo, &alike).expect("applied");
    // What the same transaction deletes stands in nobody's way.
    let swap = [remove("refs/heads/a/b"), set("refs/heads/a", 2)];
    apply(&refs, repo, &swap).expect("applied");
    let back = [set("refs/heads/a/x/y", 3), remove("refs/heads/a")];
    apply(&refs, repo, &back).expect("applied");
}

#[test]
fn a_reference_stands_once_in_a_transaction() {
    let (_test, refs, repo) = fixture();
    let edits = [set("refs/heads/a", 1), set("refs/heads/b", 1), remove("refs/heads/a")];
    let result = apply(&refs, repo, &edits);
    assert!(matches!(result, Err(StoreError::RefRepeated { .. })), "{result:?}");
}

#[test]
fn a_deleted_repository_takes_no_references() {
    let (_test, refs, repo) = fixture();
    let gone = RepoId(repo.0 + 1);
    let result = apply(&refs, gone, &[link("HEAD", "refs/heads/main")]);
    assert!(matches!(result, Err(StoreError::RepoGone { id }) if id == gone));
}

#[test]
fn limits_at_and_one_past() {
    let long = format!("refs/{}", "a/".repeat(509) + "b");
    assert_eq!(name(&long).as_bytes().len(), crate::REF_NAME_LEN_MAX);
    let edits = vec![link(&long, &long); REF_EDITS_LEN_MAX / 2048];
    let sorted = |edits: Vec<RefEdit>| sorted_edits(&RefTransaction { edits }).map(|_| ());
    // At the limit it is looked at, and found to repeat itself.
    assert!(matches!(sorted(edits.clone()), Err(StoreError::RefRepeated { .. })));
    let mut edits = edits;
    edits.push(remove("HEAD"));
    assert!(matches!(sorted(edits), Err(StoreError::Limit { .. })));
    let edits = vec![remove("HEAD"); REF_EDITS_MAX];
    assert!(matches!(sorted(edits), Err(StoreError::RefRepeated { .. })));
    let edits = vec![remove("HEAD"); REF_EDITS_MAX + 1];
    assert!(matches!(sorted(edits), Err(StoreError::Limit { .. })));
}

#[test]
fn row_bytes_are_those_of_the_format() {
    let (test, refs, repo) = fixture();
    apply(&refs, repo, &[link("HEAD", "refs/heads/m"), set("refs/heads/m", 1)]).expect("applied");
    let expected = [
        ("0000000148454144", "02726566732f68656164732f6d"),
        ("00000001726566732f68656164732f6d", "010101010101010101010101010101010101010101"),
    ];
    let rows = test.rows(Family::Ref);
    let rows: Vec<_> = rows.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(rows, expected);
    for damaged in [&b""[..], b"\0", b"\x01\x01", b"\x02bad name", b"\x03"] {
        assert_eq!(RefTarget::decode(damaged), None);
    }
}

#[test]
fn a_damaged_row_is_named() {
    let (test, refs, repo) = fixture();
    let mut batch = test.db.batch();
    batch.put(Family::Ref, &keys::reference(repo, &name("refs/heads/x")), b"\x07");
    test.db.commit(batch, Durability::Synced).expect("written");
    let error = refs.get(repo, &name("refs/heads/x")).expect_err("damaged");
    assert!(error.to_string().starts_with("damaged row in 'ref' for 00000001"), "{error}");
    assert!(refs.list(repo, b"").is_err());
}

#[test]
fn of_racing_transactions_one_wins() {
    let (_test, refs, repo) = fixture();
    let create = |byte: u8| -> Result<()> {
        let lost = RefEdit { expect: Expect::Absent, ..set("refs/heads/one", 1 + byte % 3) };
        apply(&refs, repo, &[lost, set(&format!("refs/heads/of-{byte}"), 1)])
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|byte| {
                scope.spawn({
                    let create = &create;
                    move || create(byte)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(refs.list(repo, b"").expect("listed").len(), 2, "the losers changed nothing");
    let rows: Vec<_> = refs.outbox().rows_after(0).map(|row| row.expect("a row").seq).collect();
    assert_eq!(rows, [1]);
}

#[test]
fn what_changes_nothing_is_not_written() {
    let (_test, refs, repo) = fixture();
    let edits = [set("refs/heads/a", 1), remove("refs/heads/b")];
    apply(&refs, repo, &edits).expect("applied");
    apply(&refs, repo, &edits).expect("applied again");
    assert_eq!(refs.outbox().rows_after(0).count(), 1);
}
