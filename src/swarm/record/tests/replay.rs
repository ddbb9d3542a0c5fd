//! Old records played back, also to a store that was closed, and the choice among answers.

use std::path::Path;

use mega_storage::{Store, StoreOptions};

use super::*;

fn numbered(seq: u64) -> RepoRecord {
    signed(&identity(7), |claims| claims.seq = seq)
}

/// Two records with one number; the second has the larger bytes.
fn twins(seq: u64) -> [RepoRecord; 2] {
    let mut twins = [1, 2].map(|n| {
        signed(&identity(7), |claims| {
            claims.seq = seq;
            claims.refs = RefsDigest::from_bytes([n; 32]);
        })
    });
    twins.sort_by(|a, b| a.bytes().cmp(b.bytes()));
    twins
}

fn slot() -> Slot {
    numbered(1).claims().slot()
}

fn open(path: &Path) -> Store {
    match path.join("FORMAT").exists() {
        true => Store::open(path, &StoreOptions::default()).expect("opened"),
        false => Store::create(path, &StoreOptions::default()).expect("made"),
    }
}

fn take(store: &Store, answers: &[&RepoRecord]) -> Choice {
    let answers = answers.iter().map(|record| record.bytes());
    take_in(store.swarm(), &slot(), answers, NOW, false).expect("the store works")
}

#[test]
fn a_lower_number_is_refused_and_the_same_record_is_not() {
    let (five, six) = (numbered(5), numbered(6));
    let key = slot().key();
    let taken = |record: &RepoRecord, seen: &RepoRecord| {
        accept(record.bytes(), &key, NOW, Some(seen.as_highest())).map(|_| ())
    };
    assert_eq!(taken(&six, &five), Ok(()));
    assert_eq!(taken(&five, &five), Ok(()));
    assert_eq!(taken(&five, &six), Err(RecordError::Replayed { seq: 5, highest: 6 }));
    let [small, large] = twins(5);
    assert_eq!(taken(&large, &small), Ok(()));
    assert_eq!(taken(&small, &large), Err(RecordError::Outranked { seq: 5 }));
}

#[test]
fn the_newest_of_many_answers_counts_in_any_order() {
    let [small, large] = twins(6);
    let (old, key) = (numbered(5), slot().key());
    let squatter = forged(&identity(8), |claims| claims.seq = 99);
    let answers = [old.bytes(), small.bytes(), large.bytes(), &squatter[..], b"junk"];
    for first in 0..answers.len() {
        for second in 0..answers.len() {
            let mut order = answers.to_vec();
            order.swap(0, first);
            order.swap(1, second);
            let choice = choose(order.iter().copied(), &key, NOW, None);
            assert_eq!(choice.record.as_ref(), Some(&large));
            assert!((2..=4).contains(&choice.refused.len()), "{:?}", choice.refused);
        }
    }
    let seen = numbered(7);
    let choice = choose(answers, &key, NOW, Some(seen.as_highest()));
    assert_eq!((choice.record, choice.refused.len()), (None, 5));
    assert_eq!(choose([], &key, NOW, None), Choice::default());
}

#[test]
fn an_old_record_is_refused_also_after_the_store_was_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let (old, new) = (numbered(5), numbered(6));
    let store = open(&path);
    assert_eq!(remembered(store.swarm(), &slot(), NOW).expect("read"), None);
    assert_eq!(take(&store, &[&old]).record.as_ref(), Some(&old));
    assert_eq!(take(&store, &[&new, &old]).record.as_ref(), Some(&new));
    let replayed = [RecordError::Replayed { seq: 5, highest: 6 }];
    let play_back = |store: &Store| {
        let choice = take(store, &[&old]);
        assert_eq!(choice.refused, replayed);
        assert_eq!(choice.record.as_ref(), Some(&new), "what was seen still counts");
        assert_eq!(take(store, &[]).record.as_ref(), Some(&new));
    };
    play_back(&store);
    drop(store);
    play_back(&open(&path));
}

#[test]
fn one_that_has_ended_no_longer_counts_but_still_bars_what_is_older() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("s"));
    let new = numbered(6);
    take(&store, &[&new]);
    let later = new.claims().eol_unix;
    assert_eq!(remembered(store.swarm(), &slot(), later).expect("read"), None);
    let old = signed(&identity(7), |claims| {
        claims.seq = 5;
        claims.eol_unix += 100;
    });
    let choice = take_in(store.swarm(), &slot(), [old.bytes()], later, false).expect("works");
    assert_eq!(choice.record, None);
    assert_eq!(choice.refused, [RecordError::Replayed { seq: 5, highest: 6 }]);
}

#[test]
fn ours_are_numbered_upwards_also_when_the_store_comes_from_a_backup() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("s"));
    let one = identity(7);
    let publish = |issued_unix| {
        let claims = RecordClaims { issued_unix, seq: 0, ..claims(&one, &one) };
        publish(store.swarm(), &one, claims).expect("signed").claims().seq
    };
    assert_eq!(publish(NOW), NOW);
    assert_eq!(publish(NOW), NOW + 1);
    assert_eq!(publish(NOW - 100), NOW + 2, "a clock that goes back lowers nothing");
    // A store that knows nothing of these goes on above them once a second has passed for each.
    assert_eq!(publish(NOW + 3), NOW + 3);
    let seen = store.swarm().seen(&slot().rid, &peer_bytes(&one.peer_id())).expect("read");
    assert!(seen.is_some_and(|seen| seen.is_pinned && seen.seq == NOW + 3));
    let last = numbered(u64::MAX);
    take(&store, &[&last]);
    let claims = claims(&one, &one);
    let past = super::publish(store.swarm(), &one, claims);
    let error = past.expect_err("no number is left");
    assert!(matches!(error, PublishError::Record(RecordError::Outranked { seq: u64::MAX })));
}
