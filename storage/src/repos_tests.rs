//! Repositories: names, numbers, deletion, forks, and the bytes of the rows.

use super::*;
use crate::id::{FileId, ObjectId};
use crate::refs::{Expect, RefEdit, RefStore, RefTransaction};
use crate::testing::TestDb;

fn name(text: &str) -> RepoName {
    RepoName::new(text).expect("a valid name")
}

fn fixture() -> (TestDb, RepoStore) {
    let test = TestDb::new();
    let repos = RepoStore::new(test.db.clone());
    (test, repos)
}

fn create(repos: &RepoStore, text: &str) -> Repo {
    repos.create(&name(text), Visibility::Private).expect("made")
}

#[test]
fn create_find_list_rename() {
    let (_test, repos) = fixture();
    let b = create(&repos, "team/b");
    let a = create(&repos, "a");
    assert_eq!((b.id, a.id), (RepoId(1), RepoId(2)));
    assert_eq!(repos.list().expect("listed"), [a.clone(), b.clone()]);
    assert_eq!(repos.find(&name("team/b")).expect("read"), Some(b.clone()));
    assert_eq!(repos.find(&name("c")).expect("read"), None);
    let error = repos.get(&name("c")).expect_err("absent");
    assert_eq!(error.to_string(), "there is no repository 'c'");
    let taken = repos.create(&name("a"), Visibility::Public);
    assert!(matches!(taken, Err(StoreError::RepoExists { .. })));
    assert!(matches!(
        repos.rename(&name("a"), &name("team/b")),
        Err(StoreError::RepoExists { .. })
    ));
    assert!(matches!(repos.rename(&name("a"), &name("a")), Err(StoreError::RepoExists { .. })));
    assert!(matches!(repos.rename(&name("x"), &name("y")), Err(StoreError::NoRepo { .. })));
    repos.rename(&name("a"), &name("z/z")).expect("renamed");
    assert_eq!(repos.find(&name("a")).expect("read"), None);
    assert_eq!(repos.get(&name("z/z")).expect("read"), Repo { name: name("z/z"), ..a });
}

#[test]
fn visibility_and_origin_are_kept() {
    let (test, repos) = fixture();
    let repo = create(&repos, "a");
    repos.set_visibility(&name("a"), Visibility::Mesh).expect("set");
    repos.set_origin(repo.id, "https://example.org/a.git").expect("set");
    let long = "x".repeat(ORIGIN_LEN_MAX);
    repos.set_origin(create(&repos, "b").id, &long).expect("at the limit");
    let past = repos.set_origin(repo.id, &format!("{long}x"));
    assert!(matches!(past, Err(StoreError::Limit { limit: 4096, actual: 4097, .. })));
    assert!(matches!(repos.set_origin(RepoId(9), "x"), Err(StoreError::RepoGone { .. })));
    drop(repos);
    let test = test.reopen();
    let found = RepoStore::new(test.db.clone()).get(&name("a")).expect("kept");
    assert_eq!(found.visibility, Visibility::Mesh);
    assert_eq!(found.origin.as_deref(), Some("https://example.org/a.git"));
    assert_eq!(found.created_unix, repo.created_unix);
}

/// Gives a repository one row of each family that belongs to repositories.
fn fill(test: &TestDb, repos: &RepoStore, repo: RepoId) {
    let object = ObjectId::from_bytes([5; 20]);
    test.add_members(repo, &[object, ObjectId::from_bytes([0xff; 20])]);
    let mut batch = test.db.batch();
    let file = FileId::from_bytes([6; 32]);
    batch.put(Family::RepoFile, &keys::repo_file(repo, &file), b"");
    test.db.commit(batch, Durability::Synced).expect("written");
    repos.add_packs(repo, &[[7; 20]]).expect("noted");
    let branch = RefName::new(b"refs/heads/main").expect("valid");
    let edit = |name, new| RefEdit { name, expect: Expect::Absent, new: Some(new) };
    let edits = vec![
        edit(RefName::head(), RefTarget::Symbolic(branch.clone())),
        edit(branch, RefTarget::Direct(object)),
    ];
    let refs = RefStore::new(test.db.clone());
    refs.apply(repo, &RefTransaction { edits }).expect("applied");
}

/// How many rows of each family belong to the repository: objects, files, packs, references.
fn counts(test: &TestDb, repo: RepoId) -> [usize; 4] {
    let rows = keys::repo_prefixed(repo, b"");
    [
        test.db.scan(Family::RepoObject, &rows).count(),
        test.db.scan(Family::RepoFile, &rows).count(),
        test.db.scan(Family::Repo, &pack_prefix(repo)).count(),
        test.db.scan(Family::Ref, &rows).count(),
    ]
}

#[test]
fn delete_takes_only_its_own_and_the_number_is_not_reused() {
    let (test, repos) = fixture();
    let ids = ["a", "b", "c"].map(|text| create(&repos, text).id);
    for id in ids {
        fill(&test, &repos, id);
    }
    repos.delete(&name("b")).expect("deleted");
    assert_eq!(
        ids.map(|id| counts(&test, id)),
        [[2, 1, 1, 2], [2, 1, 0, 0], [2, 1, 1, 2]],
        "for the grace"
    );
    let gone = test.rows(Family::Gone);
    let [(key, value)] = &gone[..] else { panic!("one row: {gone:?}") };
    assert_eq!((key.as_str(), &value[16..]), ("6400000002", "62"));
    assert!(matches!(repos.delete(&name("b")), Err(StoreError::NoRepo { .. })));
    assert!(matches!(repos.add_packs(ids[1], &[[1; 20]]), Err(StoreError::RepoGone { .. })));
    repos.delete(&name("c")).expect("deleted");
    drop(repos);
    let test = test.reopen();
    let repos = RepoStore::new(test.db.clone());
    assert_eq!(create(&repos, "c").id, RepoId(4));
    assert_eq!(repos.list().expect("listed").len(), 2);
}

#[test]
fn a_fork_has_everything_and_goes_its_own_way() {
    let (test, repos) = fixture();
    let source = create(&repos, "a");
    fill(&test, &repos, source.id);
    repos.set_visibility(&name("a"), Visibility::Public).expect("set");
    repos.set_origin(source.id, "/srv/a").expect("set");
    let seq = RefStore::new(test.db.clone()).outbox().rows_after(0).count() as u64;
    let fork = repos.fork(&name("a"), &name("me/a")).expect("forked");
    assert_eq!(counts(&test, fork.id), [2, 1, 1, 2]);
    assert_eq!(fork.visibility, Visibility::Public);
    assert_eq!(fork.origin.as_deref(), Some("/srv/a"));
    assert_eq!(repos.get(&name("me/a")).expect("there"), fork);
    assert!(repos.has_pack(fork.id, &[7; 20]).expect("read"));
    assert!(!repos.has_pack(fork.id, &[8; 20]).expect("read"));
    let refs = RefStore::new(test.db.clone());
    let listed = |id| refs.list(id, b"").expect("listed");
    assert_eq!(listed(fork.id), listed(source.id));
    let row = refs.outbox().rows_after(seq).next().expect("a row").expect("readable");
    assert_eq!((row.repo, row.edits.len()), (fork.id, 2));
    repos.delete(&name("a")).expect("deleted");
    assert_eq!(counts(&test, fork.id), [2, 1, 1, 2]);
    let empty = create(&repos, "empty");
    let again = repos.fork(&name("empty"), &name("empty2")).expect("forked");
    assert_eq!(counts(&test, again.id), counts(&test, empty.id));
    assert!(matches!(
        repos.fork(&name("me/a"), &name("empty")),
        Err(StoreError::RepoExists { .. })
    ));
    assert!(matches!(repos.fork(&name("x"), &name("y")), Err(StoreError::NoRepo { .. })));
}

#[test]
fn row_bytes_are_those_of_the_format() {
    let (test, _) = fixture();
    let mut batch = test.db.batch();
    let repo = Repo {
        id: RepoId(258),
        name: name("a/b"),
        visibility: Visibility::Public,
        created_unix: 0x0102_0304_0506,
        origin: Some("x:y".to_owned()),
        partial: false,
    };
    put_repo(&mut batch, &repo);
    batch.put(Family::Store, NEXT_KEY, &successor(repo.id).expect("a number"));
    batch.put(Family::Repo, &keys::repo_pack(repo.id, &[9; 20]), b"");
    test.db.commit(batch, Durability::Synced).expect("written");
    let pack = format!("7000000102{}", "09".repeat(20));
    let expected = [
        ("6e612f62", "00000102"),
        (pack.as_str(), ""),
        ("7200000102", "0102000001020304050603612f6203783a79"),
    ];
    let rows = test.rows(Family::Repo);
    let rows: Vec<_> = rows.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(rows, expected);
    let counter = [("7265706f5f6e657874".to_owned(), "00000103".to_owned())];
    assert_eq!(test.rows(Family::Store), counter);
    let record = encode_record(&repo);
    assert_eq!(decode_record(repo.id, &record).expect("readable"), repo);
    let partial = Repo { partial: true, ..repo.clone() };
    let flagged = encode_record(&partial);
    assert_eq!((&flagged[..3], &flagged[3..]), (&[2, 2, 1][..], &record[2..]));
    assert_eq!(decode_record(repo.id, &flagged).expect("readable"), partial);
    for record in [record, flagged] {
        for len in 0..record.len() {
            assert!(decode_record(repo.id, &record[..len]).is_err());
        }
    }
}

#[test]
fn the_last_number_is_a_limit() {
    let (test, repos) = fixture();
    let mut batch = test.db.batch();
    batch.put(Family::Store, NEXT_KEY, &(u32::MAX - 1).to_be_bytes());
    test.db.commit(batch, Durability::Synced).expect("written");
    assert_eq!(create(&repos, "last").id, RepoId(u32::MAX - 1));
    let past = repos.create(&name("past"), Visibility::Private);
    assert!(matches!(past, Err(StoreError::Limit { .. })), "{past:?}");
}

#[test]
fn a_repository_in_parts_is_not_forked() {
    let (_test, repos) = fixture();
    repos.create_partial(&name("a"), "https://example.org/a.git").expect("made");
    let error = repos.fork(&name("a"), &name("b")).expect_err("refused");
    assert!(matches!(error, StoreError::Partial { .. }), "{error:?}");
    assert!(error.to_string().ends_with("the whole of it is at https://example.org/a.git"));
    assert_eq!(repos.list().expect("listed").len(), 1);
}

fn main_at(id: ObjectId) -> RefTransaction {
    let name = RefName::new(b"refs/heads/main").expect("a name");
    let new = Some(RefTarget::Direct(id));
    RefTransaction { edits: vec![RefEdit { name, expect: Expect::Absent, new }] }
}

#[test]
fn a_draft_is_made_by_the_first_that_is_put_into_it() {
    let (test, repos) = fixture();
    let refs = RefStore::new(test.db.clone());
    let (first, second) = (repos.draft(&name("a")).expect("held"), repos.draft(&name("a")));
    let second = second.expect("held by two");
    assert_eq!(first.repo(), second.repo());
    let id = first.repo().id;
    assert_eq!(repos.find(&name("a")).expect("read"), None);
    assert_eq!(repos.list().expect("listed"), []);
    refs.apply(id, &RefTransaction::default()).expect("nothing to do");
    assert!(!first.tell_made());
    let object = ObjectId::from_bytes([7; 20]);
    test.add_members(id, &[object]);
    refs.apply(id, &main_at(object)).expect("changed");
    assert_eq!(repos.get(&name("a")).expect("made"), *first.repo());
    assert_eq!((second.tell_made(), first.tell_made(), second.tell_made()), (true, false, false));
    // Who begins now finds the repository.
    assert!(matches!(repos.draft(&name("a")), Err(StoreError::RepoExists { .. })));
    drop(first);
    repos.delete(&name("a")).expect("deleted");
    let gone = refs.apply(id, &main_at(object));
    assert!(matches!(gone, Err(StoreError::RepoGone { .. })), "{gone:?}");
    // The name is free again, but not for the number that it had.
    let next = repos.draft(&name("a")).expect("held");
    assert_eq!(next.repo().id, RepoId(id.0 + 1));
    drop((second, next));
    assert_eq!(repos.list().expect("listed"), []);
}

#[test]
fn a_draft_that_nothing_came_to_leaves_nothing() {
    let (test, repos) = fixture();
    let (first, second) = (repos.draft(&name("a")), repos.draft(&name("a")));
    let (first, second) = (first.expect("held"), second.expect("held"));
    let id = first.repo().id;
    let object = ObjectId::from_bytes([7; 20]);
    test.add_members(id, &[object]);
    drop(first);
    assert_eq!(test.rows(Family::RepoObject).len(), 1, "the other may need it");
    drop(second);
    assert_eq!(test.rows(Family::RepoObject), []);
    assert_eq!(test.rows(Family::Repo), []);
    let refs = RefStore::new(test.db.clone());
    let gone = refs.apply(id, &main_at(object));
    assert!(matches!(gone, Err(StoreError::RepoGone { .. })), "{gone:?}");
    assert_eq!(create(&repos, "a").id, RepoId(id.0 + 1), "its number is spent");
}

#[test]
fn a_draft_whose_name_is_taken_meanwhile_is_not_made() {
    let (test, repos) = fixture();
    let refs = RefStore::new(test.db.clone());
    let draft = repos.draft(&name("a")).expect("held");
    let taken = create(&repos, "a");
    let object = ObjectId::from_bytes([7; 20]);
    test.add_members(draft.repo().id, &[object]);
    let late = refs.apply(draft.repo().id, &main_at(object));
    assert!(matches!(late, Err(StoreError::RepoExists { .. })), "{late:?}");
    drop(draft);
    assert_eq!(repos.list().expect("listed"), [taken]);
    assert_eq!(test.rows(Family::Ref), []);
}

#[test]
fn a_crash_leaves_no_draft() {
    let (test, repos) = fixture();
    let draft = repos.draft(&name("a")).expect("held");
    let id = draft.repo().id;
    drop((draft, repos));
    // What a pack had brought, and nobody got to clear away.
    test.add_members(id, &[ObjectId::from_bytes([7; 20])]);
    let test = test.reopen();
    let repos = RepoStore::new(test.db.clone());
    assert_eq!(repos.list().expect("listed"), []);
    assert_eq!(create(&repos, "a").id, RepoId(id.0 + 1), "what it left belongs to nobody");
}

#[test]
fn a_lock_makes_a_draft_a_repository() {
    let (test, repos) = fixture();
    let locks = crate::locks::LockStore::new(test.db.clone());
    let draft = repos.draft(&name("a")).expect("held");
    locks.create(draft.repo().id, "path", "me").expect("locked");
    assert_eq!(repos.get(&name("a")).expect("made"), *draft.repo());
}
