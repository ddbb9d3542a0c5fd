//! Rows that are not what they should be: an error that names them, never other bytes.

use crate::db::Durability;
use proptest::prelude::*;

use super::*;
use crate::manifest::{ManifestBuilder, SEGMENT_CHUNKS_MAX};

/// A store with one file of several chunks, and the spans of the file.
fn store_with_file() -> (TempDir, Store, Vec<u8>, Vec<ChunkSpan>) {
    let (dir, store) = new_store();
    let bytes = samples::bf16(2 << 20, 1);
    let id = ingest(&store, &bytes).id;
    let spans = store.files().chunk_spans(&id, 0, u64::MAX).expect("readable");
    (dir, store, bytes, spans)
}

fn put(store: &Store, family: Family, key: &[u8], value: Option<&[u8]>) {
    let db = &store.files().inner.db;
    let mut batch = db.batch();
    match value {
        Some(value) => batch.put(family, key, value),
        None => batch.delete(family, key),
    }
    db.commit(batch, Durability::Synced).expect("committed");
}

fn row(store: &Store, family: Family, key: &[u8]) -> Vec<u8> {
    store.files().inner.db.get(family, key).expect("readable").expect("there").to_vec()
}

#[test]
fn a_damaged_chunk_is_an_error_for_its_range_alone() {
    let (_dir, store, bytes, spans) = store_with_file();
    let id = file_id(&bytes);
    let victim = spans[spans.len() / 2];
    let key = victim.chunk.id.as_bytes();
    let good = row(&store, Family::Chunk, key);
    let other = row(&store, Family::Chunk, spans[0].chunk.id.as_bytes());
    let mut flipped = good.clone();
    let middle = good.len() / 2;
    flipped[middle] ^= 0x10;
    let len = victim.chunk.len as usize;
    let wrong_bytes = [vec![0], samples::random(len, 5)].concat();
    for bad in [&flipped, &good[..middle].to_vec(), &other, &wrong_bytes, &vec![], &vec![9; 100]] {
        put(&store, Family::Chunk, key, Some(bad));
        let start = victim.offset as usize;
        let mut out = vec![0; bytes.len()];
        let files = store.files();
        let error = files.read_at(&id, victim.offset, &mut out[..10]).expect_err("damaged");
        assert!(matches!(error, StoreError::DamagedChunk { id, .. } if id == victim.chunk.id));
        assert!(error.to_string().contains(&victim.chunk.id.to_string()));
        assert!(files.read_at(&id, 0, &mut out).is_err(), "a range that has it");
        assert_eq!(files.read_at(&id, 0, &mut out[..start]).expect("before"), start);
        assert!(out[..start] == bytes[..start]);
        let after = start + len;
        let count = files.read_at(&id, after as u64, &mut out[after..]).expect("after");
        assert!(count == bytes.len() - after && out[after..] == bytes[after..]);
        let mut read = Vec::new();
        let error = files.reader(&id).expect("there").read_to_end(&mut read);
        let error = error.expect_err("damaged");
        let cause = error.get_ref().and_then(|e| e.downcast_ref::<StoreError>());
        assert!(matches!(cause, Some(StoreError::DamagedChunk { .. })));
        assert!(read == bytes[..start], "what comes before it is right");
    }
    put(&store, Family::Chunk, key, None);
    let error = store.files().read_at(&id, victim.offset, &mut [0]).expect_err("missing");
    assert!(matches!(error, StoreError::MissingChunk { id: chunk, file }
        if chunk == victim.chunk.id && file == id));
    put(&store, Family::Chunk, key, Some(&good));
    check_content(&store, &bytes);
}

#[test]
fn a_bit_that_flips_on_the_disk_is_noticed() {
    let (dir, store) = new_store();
    let bytes = samples::random(6 << 20, 1);
    let id = ingest(&store, &bytes).id;
    drop(store);
    let db = dir.path().join("s/db");
    let entries =
        std::fs::read_dir(&db).expect("listed").map(|entry| entry.expect("listed").path());
    let blobs: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == "blob")).collect();
    assert!(!blobs.is_empty());
    for blob in blobs {
        let mut content = std::fs::read(&blob).expect("readable");
        let middle = content.len() / 2;
        content[middle] ^= 1;
        std::fs::write(&blob, content).expect("written");
    }
    let store = Store::open(&dir.path().join("s"), &options()).expect("opened");
    let mut damaged = 0;
    for span in store.files().chunk_spans(&id, 0, u64::MAX).expect("readable") {
        match store.files().chunk(&id, &span.chunk) {
            Ok(plain) => assert!(bytes[span.offset as usize..].starts_with(&plain)),
            Err(StoreError::DamagedChunk { id, .. }) if id == span.chunk.id => damaged += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(damaged > 0);
}

#[test]
fn a_damaged_segment_or_head_is_named() {
    let (dir, store, bytes, _) = store_with_file();
    let id = file_id(&bytes);
    let reopen = |store: Store| {
        drop(store);
        Store::open(&dir.path().join("s"), &options()).expect("opened")
    };
    let key = keys::file_segment(&id, 0);
    let good = row(&store, Family::FileSegment, &key);
    let mut store = store;
    for bad in [None, Some(&good[..good.len() - 1]), Some(&good[36..]), Some(&[][..])] {
        put(&store, Family::FileSegment, &key, bad);
        store = reopen(store);
        let error = store.files().read_at(&id, 5, &mut [0]).expect_err("damaged");
        assert!(matches!(error, StoreError::DamagedRow { family: "file_segment", .. }));
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
    put(&store, Family::FileSegment, &key, Some(&good));
    let head = row(&store, Family::File, id.as_bytes());
    put(&store, Family::File, id.as_bytes(), Some(&head[..18]));
    store = reopen(store);
    let error = store.files().head(&id).expect_err("damaged");
    assert!(matches!(error, StoreError::DamagedRow { family: "file", .. }));
    put(&store, Family::File, id.as_bytes(), Some(&head));
    put(&store, Family::ChunkMeta, &good[..32], Some(&[1, 2, 3]));
    store = reopen(store);
    check_content(&store, &bytes);
    let error = store.stats().expect_err("damaged");
    assert!(matches!(error, StoreError::DamagedRow { family: "chunk_meta", .. }));
}

#[test]
fn rows_of_newer_versions_are_refused() {
    let id = file_id(b"");
    let good = [&[1][..], &[0; 8], &[1, 1], &[0; 8]].concat();
    assert!(FileHead::decode(&id, &good).is_ok());
    for (at, value) in [(0, 2), (0, 0), (10, 2)] {
        let mut newer = good.clone();
        newer[at] = value;
        assert!(FileHead::decode(&id, &newer).is_err(), "byte {at}");
    }
}

/// A manifest of `count` chunks of lengths that repeat.
fn manifest(count: usize) -> (FileHead, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut builder = ManifestBuilder::new();
    for index in 0..count {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(index as u64).to_be_bytes());
        let len = 1 + (index % 1000) as u32;
        let chunk = ChunkRef { id: crate::ChunkId::from_bytes(id), len };
        builder.push(&chunk, dir.path()).expect("added");
    }
    let (head, rows) = builder.finish().expect("finished");
    (head, rows.collect::<Result<Vec<_>>>().expect("read back"))
}

#[test]
fn a_manifest_of_many_segments_finds_every_byte() {
    let id = file_id(b"");
    // More than stay in memory, and one that is not full.
    let count = 66 * SEGMENT_CHUNKS_MAX + 5;
    let (head, rows) = manifest(count);
    assert_eq!((head.chunk_count, rows.len()), (count as u64, 67));
    assert_eq!(head.segment_count(), 67);
    let row = head.encode();
    assert_eq!(row.len(), 19 + 67 * 8);
    let head = FileHead::decode(&id, &row).expect("decoded");
    let mut index = 0;
    let mut offset = 0;
    for (number, row) in (0..).zip(&rows) {
        let segment = Segment::decode(&id, &head, number, row).expect("decoded");
        let mut at = 0;
        while let Some(span) = segment.get(at) {
            assert_eq!(span.chunk.id.as_bytes()[..8], u64::to_be_bytes(index));
            assert_eq!(span.offset, offset);
            let last = offset + u64::from(span.chunk.len) - 1;
            for byte in [offset, last] {
                assert_eq!(head.segment_at(byte), number);
                assert_eq!(segment.index_at(byte), at);
            }
            offset = last + 1;
            index += 1;
            at += 1;
        }
    }
    assert_eq!((index, offset), (count as u64, head.len));
    // A row in another's place is refused.
    assert!(Segment::decode(&id, &head, 66, &rows[65]).is_err());
    assert!(Segment::decode(&id, &head, 67, &rows[66]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_head_and_segment_is_decoded_or_refused(
        row in prop::collection::vec(any::<u8>(), 0..120),
        count in 0usize..9,
        at in any::<prop::sample::Index>(),
        change in 1u8..,
    ) {
        let id = file_id(b"");
        let _ = FileHead::decode(&id, &row);
        let (head, rows) = manifest(count);
        let mut changed = head.encode();
        let index = at.index(changed.len());
        changed[index] ^= change;
        if let Ok(changed) = FileHead::decode(&id, &changed) {
            for number in 0..3 {
                let segment = rows.first().map_or(&row, |row| row);
                if let Ok(segment) = Segment::decode(&id, &changed, number, segment) {
                    prop_assert!(segment.get(0).is_some());
                }
            }
        }
        if let Some(segment) = rows.first() {
            let mut changed = segment.clone();
            let index = at.index(changed.len());
            changed[index] ^= change;
            if let Ok(segment) = Segment::decode(&id, &head, 0, &changed) {
                let last = segment.get(count - 1).expect("as many as before");
                prop_assert_eq!(last.offset + u64::from(last.chunk.len), head.len);
            }
        }
    }
}
