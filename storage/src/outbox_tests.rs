//! The queue: numbering, splitting, dropping, and the bytes of its rows.

use super::*;
use crate::id::ObjectId;
use crate::testing::TestDb;

fn edit(text: &str) -> OutboxEdit {
    let new = Some(RefTarget::Direct(ObjectId::from_bytes([1; 20])));
    OutboxEdit { name: RefName::new(text.as_bytes()).expect("valid"), old: None, new }
}

fn push(test: &TestDb, edits: &[OutboxEdit]) {
    let mut batch = test.db.batch();
    append(&test.db, &mut batch, RepoId(7), edits).expect("appended");
    test.db.commit(batch, Durability::Synced).expect("written");
}

fn seqs(test: &TestDb, after: u64) -> Vec<u64> {
    let outbox = Outbox::new(test.db.clone());
    outbox.rows_after(after).map(|row| row.expect("a row").seq).collect()
}

#[test]
fn row_bytes_are_those_of_the_format() {
    let test = TestDb::new();
    let old = Some(RefTarget::Symbolic(RefName::head()));
    push(&test, &[edit("refs/a"), OutboxEdit { old, new: None, ..edit("refs/b") }]);
    let value = [
        "01",
        "00",
        "00000007",
        "02",
        "06",
        "726566732f61",
        "00",
        "15",
        "010101010101010101010101010101010101010101",
        "06",
        "726566732f62",
        "05",
        "0248454144",
        "00",
    ]
    .concat();
    assert_eq!(test.rows(Family::Outbox), [("0000000000000001".to_owned(), value)]);
    let counter = ("6f7574626f785f6e657874".to_owned(), "0000000000000002".to_owned());
    assert_eq!(test.rows(Family::Store), [counter]);
}

#[test]
fn a_long_transaction_takes_several_rows() {
    let test = TestDb::new();
    let edits: Vec<_> =
        (0..=EDITS_PER_ROW_MAX).map(|index| edit(&format!("refs/x{index}"))).collect();
    push(&test, &edits[1..]);
    push(&test, &edits);
    let rows: Vec<_> = Outbox::new(test.db.clone())
        .rows_after(0)
        .map(|row| row.expect("a row"))
        .map(|row| (row.seq, row.more, row.edits.len()))
        .collect();
    let max = EDITS_PER_ROW_MAX;
    assert_eq!(rows, [(1, false, max), (2, true, max), (3, false, 1)]);
}

#[test]
fn numbers_are_never_reused() {
    let test = TestDb::new();
    for _ in 0..3 {
        push(&test, &[edit("refs/a")]);
    }
    assert_eq!(seqs(&test, 1), [2, 3]);
    Outbox::new(test.db.clone()).drop_through(2).expect("dropped");
    assert_eq!(seqs(&test, 0), [3]);
    Outbox::new(test.db.clone()).drop_through(u64::MAX).expect("dropped");
    let test = test.reopen();
    push(&test, &[edit("refs/a")]);
    assert_eq!(seqs(&test, 0), [4]);
    assert_eq!(seqs(&test, u64::MAX), [] as [u64; 0]);
}

#[test]
fn a_damaged_row_is_an_error_not_a_panic() {
    let good = encode(RepoId(7), false, &[edit("refs/a")]);
    let key = 1u64.to_be_bytes();
    assert!(decode(&key, &good).is_some());
    for len in 0..good.len() {
        assert!(decode(&key, &good[..len]).is_none());
    }
    assert!(decode(&key, &[&good[..], b"x"].concat()).is_none());
    assert!(decode(b"short", &good).is_none());
    let test = TestDb::new();
    let mut batch = test.db.batch();
    batch.put(Family::Outbox, &key, &good[1..]);
    test.db.commit(batch, Durability::Synced).expect("written");
    let outbox = Outbox::new(test.db.clone());
    assert!(outbox.rows_after(0).next().expect("a row").is_err());
}
