//! Many threads at once: ingests of the same and of other files, reads of one file, one decoding
//! for all.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::ChunkId;
use crate::files::cache::ChunkCache;

#[test]
fn the_same_and_other_files_can_be_taken_in_at_once() {
    let (dir, store) = new_store();
    let shared = samples::bf16(6 << 20, 1);
    let inputs: Vec<Vec<u8>> = (0..6)
        .map(|index| match index {
            // Three times the same, two that share half of it, a small one.
            0..=2 => shared.clone(),
            3 | 4 => [&shared[..4 << 20], &samples::text(3 << 20, index)].concat(),
            _ => shared[..200_000].to_vec(),
        })
        .collect();
    let start = Barrier::new(inputs.len());
    thread::scope(|scope| {
        for bytes in &inputs {
            scope.spawn(|| {
                start.wait();
                ingest(&store, bytes);
                check_content(&store, bytes);
            });
        }
    });
    drop(store);
    let store = Store::open(&dir.path().join("s"), &options()).expect("opened");
    for bytes in &inputs {
        check_content(&store, bytes);
    }
    let all = store.stats().expect("counted").all;
    assert!(all.chunk_len < 14 << 20, "what is shared is stored once: {all:?}");
}

#[test]
fn many_threads_read_one_file() {
    let (_dir, store) = new_store();
    let bytes = samples::bf16(8 << 20, 1);
    let id = ingest(&store, &bytes).id;
    thread::scope(|scope| {
        for number in 0..8u64 {
            let (store, bytes) = (&store, &bytes);
            scope.spawn(move || {
                let mut numbers = samples::Numbers::new(number);
                let mut out = vec![0; 300_000];
                for _ in 0..60 {
                    let offset = (numbers.next() % bytes.len() as u64) as usize;
                    let len = 1 + (numbers.next() % 300_000) as usize;
                    let read = store.files().read_at(&id, offset as u64, &mut out[..len]);
                    let end = (offset + len).min(bytes.len());
                    assert_eq!(read.expect("readable"), end - offset);
                    assert!(out[..end - offset] == bytes[offset..end]);
                }
            });
        }
    });
}

fn chunk(number: u8) -> ChunkRef {
    ChunkRef { id: ChunkId::from_bytes([number; 32]), len: 100 }
}

fn plain(number: u8) -> Bytes {
    Bytes::from(vec![number; 100])
}

#[test]
fn one_decodes_for_all_that_wait() {
    let cache = ChunkCache::new(1000);
    let loads = AtomicUsize::new(0);
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let got = cache.get_or_load(&chunk(1), || {
                    loads.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                    Ok(plain(1))
                });
                assert_eq!(got.expect("loaded"), plain(1));
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);
}

#[test]
fn the_cache_keeps_what_was_used_last_within_its_bounds() {
    let cache = ChunkCache::new(350);
    let loads = AtomicUsize::new(0);
    let get = |number| {
        let before = loads.load(Ordering::Relaxed);
        let got = cache.get_or_load(&chunk(number), || {
            loads.fetch_add(1, Ordering::Relaxed);
            Ok(plain(number))
        });
        assert_eq!(got.expect("loaded"), plain(number));
        loads.load(Ordering::Relaxed) == before
    };
    assert!(!get(1) && !get(2) && !get(3));
    assert!(get(1) && get(2) && get(3));
    assert!(get(1));
    assert!(!get(4), "2 has to go: it was not used for longest");
    assert!(get(1) && get(3) && get(4) && !get(2));
    let none = ChunkCache::new(99);
    for _ in 0..2 {
        assert_eq!(none.get_or_load(&chunk(1), || Ok(plain(1))).expect("loaded"), plain(1));
    }
}

#[test]
fn a_failed_load_fails_its_reader_and_no_later_one() {
    let cache = ChunkCache::new(1000);
    let fail = || Err(StoreError::DamagedChunk { id: chunk(1).id, reason: "a test" });
    assert!(cache.get_or_load(&chunk(1), fail).is_err());
    assert_eq!(cache.get_or_load(&chunk(1), || Ok(plain(1))).expect("loaded"), plain(1));
    // A reader that dies while others wait does not leave them waiting.
    let start = Barrier::new(4);
    thread::scope(|scope| {
        let dying = scope.spawn(|| {
            cache.get_or_load(&chunk(2), || {
                start.wait();
                panic!("a test")
            })
        });
        for _ in 0..3 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(cache.get_or_load(&chunk(2), || Ok(plain(2))).expect("ok"), plain(2));
            });
        }
        assert!(dying.join().is_err());
    });
}
