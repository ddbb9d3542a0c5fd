//! Directories and blobs through sources.

use std::sync::Arc;
use std::time::Duration;

use super::world::{Target, World};
use super::{Fake, Mode, open, open_with};
use crate::error::StoreError;
use crate::id::ObjectId;
use crate::object::{EntryKind, tree_entries};
use crate::read::{Content, ReadStore};
use crate::source::ObjectWant;

/// Lists directories depth first, with the lengths of all blobs, as `find -size` does; how many.
fn find(reader: &dyn ReadStore, tree: &ObjectId, want: &World) -> usize {
    let object = reader.object(tree).expect("a directory");
    assert_eq!((object.kind, &object.data), (want.object(tree).0, &want.object(tree).1));
    let entries: Vec<_> = tree_entries(&object.data).map(|e| e.expect("readable")).collect();
    let blobs = entries.iter().filter(|e| e.kind() != EntryKind::Directory);
    let ids: Vec<ObjectId> = blobs.map(|e| e.id).collect();
    assert_eq!(reader.stat(&ids).expect("read"), want.view().stat(&ids).expect("read"));
    let dirs = entries.iter().filter(|e| e.kind() == EntryKind::Directory);
    1 + dirs.map(|dir| find(reader, &dir.id, want)).sum::<usize>()
}

#[test]
fn a_walk_asks_few_questions_and_a_second_one_none() {
    let world = Arc::new(World::new(1, 3, 7, 0));
    let fake = Fake::new(&world, Mode::Good);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    let count = find(&reader, &world.root, &world);
    assert_eq!(count, 1 + 7 + 49 + 343);
    let asked = reader.counts().requests;
    assert!(asked <= 12, "{asked} questions for {count} directories");
    assert_eq!(find(&reader, &world.root, &world), count);
    assert_eq!(reader.counts().requests, asked);
    // After the process was killed, and with the source gone.
    drop(reader);
    let target = target.reopen();
    fake.turn(Mode::Failing);
    let reader = open(&target, &[&fake]);
    assert_eq!(find(&reader, &world.root, &world), count);
    assert_eq!(reader.counts().requests, 0);
}

#[test]
fn a_walk_goes_on_after_a_restart() {
    let world = Arc::new(World::new(12, 3, 7, 0));
    let fake = Fake::new(&world, Mode::Good);
    let target = Target::new();
    open(&target, &[&fake]).object(&world.root).expect("there");
    let reader = open(&target, &[&fake]);
    find(&reader, &world.root, &world);
    let asked = reader.counts().requests;
    assert!(asked <= 16, "{asked} questions");
}

#[test]
fn lengths_are_found_without_being_asked_for() {
    let world = Arc::new(World::new(2, 1, 2, 0));
    let fake = Fake::new(&world, Mode::NoLens);
    let target = Target::new();
    assert_eq!(find(&open(&target, &[&fake]), &world.root, &world), 3);
}

#[test]
fn one_fetch_however_many_readers_wait() {
    let world = Arc::new(World::new(3, 0, 0, 0));
    let fake = Fake::new(&world, Mode::Gated);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    let blob = world.blobs[3];
    std::thread::scope(|scope| {
        let read = || {
            let mut out = vec![0; 5_000];
            let len = reader.read_at(&Content::Blob(blob), 0, &mut out).expect("read");
            assert_eq!(out[..len], world.object(&blob).1);
        };
        let readers: Vec<_> = (0..8).map(|_| scope.spawn(read)).collect();
        // The first has asked; the others come or have come while the answer waits.
        while Fake::count(&fake.packs) == 0 {
            std::thread::yield_now();
        }
        fake.open_gate();
        readers.into_iter().for_each(|reader| reader.join().expect("read"));
    });
    assert_eq!(Fake::count(&fake.packs), 1);
}

#[test]
fn who_lies_or_fails_is_passed_over() {
    let world = Arc::new(World::new(4, 1, 3, 0));
    let good = Fake::new(&world, Mode::Good);
    for mode in [Mode::Lying, Mode::Failing, Mode::Empty, Mode::Breaking] {
        let bad = Fake::new(&world, mode);
        let target = Target::new();
        let reader = open(&target, &[&bad, &good]);
        let id = world.trees[0];
        let object = reader.object(&id).expect("from the other");
        assert_eq!(object.data, world.object(&id).1, "{mode:?}");
        let counts = reader.counts();
        assert_eq!(counts.wrong, u64::from(mode == Mode::Lying), "{mode:?}");
        let fails = matches!(mode, Mode::Failing | Mode::Breaking);
        assert_eq!(counts.failed > 0, fails, "{mode:?} {counts:?}");
    }
}

#[test]
fn absent_and_failed_are_two_things() {
    let world = Arc::new(World::new(5, 0, 0, 0));
    let fake = Fake::new(&world, Mode::Failing);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    let failed = reader.object(&world.root).expect_err("no answer");
    assert!(matches!(failed, StoreError::NotFetched { .. }), "{failed}");
    assert_eq!(reader.stat(&[world.blobs[3]]).expect("read"), [None]);
    fake.turn(Mode::Empty);
    let absent = reader.object(&world.root).expect_err("absent");
    assert!(matches!(absent, StoreError::MissingObject { .. }), "{absent}");
    let nothing = ObjectWant::exactly(&[ObjectId::NULL]);
    assert!(matches!(reader.fetch(&nothing), Err(StoreError::MissingObject { .. })));
    // Nothing remembers a failure.
    fake.turn(Mode::Good);
    reader.object(&world.root).expect("there");
    assert!(reader.stat(&[world.blobs[3]]).expect("read")[0].is_some());
}

#[test]
fn a_blob_of_another_length_than_told_is_refused() {
    let world = Arc::new(World::new(6, 0, 0, 0));
    let fake = Fake::new(&world, Mode::Lying);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    let blob = world.blobs[3];
    let told = reader.stat(&[blob]).expect("read")[0].expect("told");
    assert_eq!(told.header.len, 5_001);
    fake.turn(Mode::Good);
    for _ in 0..2 {
        let error = reader.read_at(&Content::Blob(blob), 0, &mut [0; 10]).expect_err("refused");
        assert!(matches!(error, StoreError::NotFetched { .. }), "{error}");
    }
    drop(reader);
    let reader = open(&target, &[&fake]);
    assert_eq!(reader.stat(&[blob]).expect("read")[0].expect("here").header.len, 5_000);
    assert_eq!(reader.read_at(&Content::Blob(blob), 0, &mut [0; 10]).expect("read"), 10);
}

#[test]
fn a_silent_source_is_an_error_in_time() {
    let world = Arc::new(World::new(7, 0, 0, 0));
    let fake = Fake::new(&world, Mode::Gated);
    let target = Target::new();
    let reader = open_with(&target, &[&fake], Duration::from_millis(20));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| reader.object(&world.root).map(|_| ()));
        while Fake::count(&fake.packs) == 0 {
            std::thread::yield_now();
        }
        // Waits for the other's question no longer than it may.
        let late = reader.object(&world.root).expect_err("too late");
        assert!(late.to_string().contains("nothing came"), "{late}");
        fake.open_gate();
        first.join().expect("no panic").expect("it came in the end");
    });
}

#[test]
fn reading_file_after_file_brings_the_next_ones_along() {
    let world = Arc::new(World::new(8, 2, 6, 0));
    let fake = Fake::new(&world, Mode::Good);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    find(&reader, &world.root, &world);
    let before = Fake::count(&fake.packs);
    let mut read = 0;
    for blob in &world.blobs {
        let want = world.object(blob).1;
        let mut out = vec![0; want.len()];
        assert_eq!(reader.read_at(&Content::Blob(*blob), 0, &mut out).expect("read"), want.len());
        assert_eq!(out, want);
        read += 1;
    }
    let asked = Fake::count(&fake.packs) - before;
    assert!(read > 150 && asked < 20, "{asked} questions for {read} blobs");
}
