//! Locks: one a path, pages that miss none, durability, and the bytes of the rows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::name::RepoName;
use crate::repos::{RepoStore, Visibility};
use crate::testing::TestDb;

fn fixture() -> (TestDb, LockStore, RepoId) {
    let test = TestDb::new();
    let repo = make_repo(&test, "a");
    let locks = LockStore::new(test.db.clone());
    (test, locks, repo)
}

fn make_repo(test: &TestDb, name: &str) -> RepoId {
    let name = RepoName::new(name).expect("a name");
    RepoStore::new(test.db.clone()).create(&name, Visibility::Private).expect("made").id
}

fn all(locks: &LockStore, repo: RepoId) -> Vec<FileLock> {
    let listed = locks.list(repo, &LockFilter::default(), LockId::FIRST, 1000);
    listed.expect("listed").0
}

#[test]
fn a_path_has_one_lock_and_the_second_is_told_whose() {
    let (test, locks, repo) = fixture();
    let other = make_repo(&test, "b");
    let first = locks.create(repo, "model/x.bin", "ada").expect("made");
    match locks.create(repo, "model/x.bin", "bob") {
        Err(LockError::Exists(lock)) => assert_eq!(*lock, first),
        made => panic!("expected a conflict, not {made:?}"),
    }
    assert_eq!(locks.create(other, "model/x.bin", "bob").expect("another repository").id, first.id);
    assert_eq!(locks.get(repo, first.id).expect("read"), Some(first.clone()));
    assert_eq!(locks.delete(repo, first.id).expect("deleted"), Some(first.clone()));
    assert_eq!(locks.delete(repo, first.id).expect("none left"), None);
    let again = locks.create(repo, "model/x.bin", "bob").expect("free again");
    assert!(again.id > first.id, "numbers are not used again");
}

#[test]
fn locks_survive_and_go_with_their_repository() {
    let (test, locks, repo) = fixture();
    locks.create(repo, "x", "ada").expect("made");
    drop(locks);
    let test = test.reopen();
    let locks = LockStore::new(test.db.clone());
    assert_eq!(all(&locks, repo).len(), 1);
    let name = RepoName::new("a").expect("a name");
    RepoStore::new(test.db.clone()).delete(&name).expect("deleted");
    assert_eq!(all(&locks, repo), []);
    assert_eq!(test.rows(Family::Repo), [], "nothing is left of it");
    let gone = locks.create(repo, "y", "ada");
    assert!(matches!(gone, Err(LockError::Store(StoreError::RepoGone { .. }))), "{gone:?}");
}

#[test]
fn impossible_paths_are_refused() {
    let (_test, locks, repo) = fixture();
    let long = "x".repeat(PATH_LEN_MAX);
    locks.create(repo, &long, "ada").expect("at the limit");
    let past = format!("{long}x");
    for path in ["", "/", "/x", "x/", "a//b", ".", "..", "a/../b", "./a", "a\0b", &past] {
        let made = locks.create(repo, path, "ada");
        assert!(matches!(made, Err(LockError::Path(_))), "{path:?}: {made:?}");
    }
    let filter = LockFilter { path: Some(past), id: None };
    assert_eq!(locks.list(repo, &filter, LockId::FIRST, 9).expect("listed").0, []);
    let owner = "ö".repeat(OWNER_LEN_MAX);
    let lock = locks.create(repo, "x", &owner).expect("made");
    assert_eq!(lock.owner.len(), OWNER_LEN_MAX, "a long name is cut between letters");
}

#[test]
fn a_repository_has_so_many_locks_and_no_more() {
    let (test, locks, repo) = fixture();
    locks.create(repo, "a", "ada").expect("made");
    let counters = Counters { next: LOCKS_MAX, count: LOCKS_MAX - 1 };
    let mut batch = test.db.batch();
    batch.put(Family::Repo, &keys::repo_locks(repo), &counters.encode());
    test.db.commit(batch, Durability::Synced).expect("written");
    let last = locks.create(repo, "b", "ada").expect("at the limit");
    let past = locks.create(repo, "c", "ada");
    assert!(matches!(past, Err(LockError::Store(StoreError::Limit { .. }))), "{past:?}");
    locks.delete(repo, last.id).expect("deleted");
    locks.create(repo, "c", "ada").expect("there is room again");
}

#[test]
fn filters_go_together() {
    let (_test, locks, repo) = fixture();
    let [x, y] = ["x", "y"].map(|path| locks.create(repo, path, "ada").expect("made"));
    let list = |path: Option<&str>, id: Option<LockId>, from| {
        let filter = LockFilter { path: path.map(str::to_owned), id };
        locks.list(repo, &filter, from, 10).expect("listed").0
    };
    assert_eq!(list(Some("x"), None, LockId::FIRST), std::slice::from_ref(&x));
    assert_eq!(list(None, Some(y.id), LockId::FIRST), std::slice::from_ref(&y));
    assert_eq!(list(Some("x"), Some(y.id), LockId::FIRST), []);
    assert_eq!(list(Some("x"), None, y.id), [], "it came before the cursor");
    assert_eq!(list(None, None, y.id), [y]);
}

/// One step of a history of locks.
#[derive(Clone, Debug)]
enum Step {
    Create { path: u8, owner: u8 },
    Delete { id: u64 },
    List { from: u64, limit: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0u8..20, 0u8..3).prop_map(|(path, owner)| Step::Create { path, owner }),
        3 => (0u64..40).prop_map(|id| Step::Delete { id }),
        2 => (0u64..40, 1u64..8).prop_map(|(from, limit)| Step::List { from, limit }),
    ]
}

#[test]
fn any_history_is_that_of_a_map() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(24));
    let steps = proptest::collection::vec(step(), 0..60);
    let outcome = runner.run(&steps, |steps| {
        let (_test, locks, repo) = fixture();
        let mut model: BTreeMap<u64, (String, String)> = BTreeMap::new();
        let mut next = 1;
        for step in steps {
            match step {
                Step::Create { path, owner } => {
                    let (path, owner) = (format!("dir/{path}"), format!("user{owner}"));
                    let made = locks.create(repo, &path, &owner);
                    match model.iter().find(|(_, (locked, _))| *locked == path) {
                        Some((id, _)) => match made {
                            Err(LockError::Exists(lock)) => prop_assert_eq!(lock.id, LockId(*id)),
                            made => prop_assert!(false, "{:?}", made),
                        },
                        None => {
                            prop_assert_eq!(made.expect("made").id, LockId(next));
                            model.insert(next, (path, owner));
                            next += 1;
                        }
                    }
                }
                Step::Delete { id } => {
                    let deleted = locks.delete(repo, LockId(id)).expect("asked");
                    let expected = model.remove(&id);
                    prop_assert_eq!(deleted.map(|lock| (lock.path, lock.owner)), expected);
                }
                Step::List { from, limit } => {
                    check_pages(&locks, repo, from, limit, &model)?;
                }
            }
        }
        check_pages(&locks, repo, 0, 3, &model)
    });
    outcome.expect("every history agrees");
}

/// Page after page, every lock from `from` on comes once and in order.
fn check_pages(
    locks: &LockStore,
    repo: RepoId,
    from: u64,
    limit: u64,
    model: &BTreeMap<u64, (String, String)>,
) -> Result<(), TestCaseError> {
    let mut found = Vec::new();
    let mut cursor = Some(LockId(from));
    while let Some(from) = cursor {
        let (page, next) = locks.list(repo, &LockFilter::default(), from, limit).expect("listed");
        prop_assert!(page.len() as u64 == limit || next.is_none());
        found.extend(page.into_iter().map(|lock| (lock.id.0, (lock.path, lock.owner))));
        cursor = next;
    }
    let expected: Vec<_> = model.range(from..).map(|(id, lock)| (*id, lock.clone())).collect();
    prop_assert_eq!(found, expected);
    Ok(())
}

#[test]
fn rows_are_as_the_format_says() {
    let (test, locks, repo) = fixture();
    let made = locks.create(repo, "a/b", "ada").expect("made");
    let mut rows: BTreeMap<String, String> = test.rows(Family::Repo).into_iter().collect();
    rows.retain(|key, _| key.starts_with("6c") || key.starts_with("6b"));
    let time = format!("{:016x}", made.created_unix);
    let expected = [
        ("6b00000001612f62".to_owned(), "0000000000000001".to_owned()),
        ("6c00000001".to_owned(), "00000000000000020000000000000001".to_owned()),
        ("6c000000010000000000000001".to_owned(), format!("01{time}03612f6203616461")),
    ];
    assert_eq!(rows, BTreeMap::from(expected));
}

#[test]
fn damaged_rows_are_errors() {
    for (key, value) in [
        (keys::repo_lock(RepoId(1), 1).to_vec(), vec![2; 30]),
        (keys::repo_lock(RepoId(1), 1).to_vec(), vec![1, 0]),
        (keys::repo_locks(RepoId(1)).to_vec(), vec![0; 15]),
        (keys::repo_locked_path(RepoId(1), b"x"), vec![0; 7]),
    ] {
        let (test, locks, repo) = fixture();
        let mut batch = test.db.batch();
        batch.put(Family::Repo, &key, &value);
        test.db.commit(batch, Durability::Synced).expect("written");
        let listed = locks.list(repo, &LockFilter::default(), LockId::FIRST, 9).map(|_| ());
        let made = locks.create(repo, "x", "ada").map(|_| ());
        let is_damage = |e: &StoreError| matches!(e, StoreError::DamagedRow { .. });
        let told = listed.as_ref().is_err_and(is_damage)
            || matches!(&made, Err(LockError::Store(e)) if is_damage(e));
        assert!(told, "{key:02x?}: {listed:?} {made:?}");
    }
}
