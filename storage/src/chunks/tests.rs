//! Tests of what is on the disk when a write breaks off.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::chunk::chunker::{BufferPool, Chunker};
use crate::chunk::samples;
use crate::db::{Durability, OpenMode};

const LIMITS: WriteLimits = WriteLimits { held_len: 1 << 20, flush_len: 2 << 20 };

fn open(path: &Path) -> ChunkStore {
    fs::create_dir_all(path.join("tmp")).expect("a directory");
    let mode = OpenMode::Create;
    let db = Db::open(&path.join("db"), &path.join("tmp"), mode, 8 << 20).expect("opened");
    ChunkStore::new(Arc::new(db))
}

/// Opens a copy of the files as they are now, as after the process was killed. RocksDB's own
/// threads may be at work and take files away: then once more, until they are done.
fn open_killed(path: &Path, copy: &Path) -> ChunkStore {
    loop {
        let _ = fs::remove_dir_all(copy);
        fs::create_dir_all(copy.join("db")).expect("a directory");
        fs::create_dir_all(copy.join("tmp")).expect("a directory");
        let copied = fs::read_dir(path.join("db")).expect("listed").try_for_each(|entry| {
            let entry = entry?;
            fs::copy(entry.path(), copy.join("db").join(entry.file_name())).map(|_| ())
        });
        if copied.is_ok()
            && let Ok(db) = Db::open(&copy.join("db"), &copy.join("tmp"), OpenMode::Write, 8 << 20)
        {
            return ChunkStore::new(Arc::new(db));
        }
    }
}

/// Counts the metas; each must have its chunk.
fn count_whole(store: &ChunkStore) -> u64 {
    let mut count = 0;
    for row in store.db.scan(Family::ChunkMeta, &[]) {
        let (key, value) = row.expect("a row");
        let meta = ChunkMeta::decode(&key, &value).expect("a meta");
        let chunk = ChunkRef { id: ChunkId::from_slice(&key).expect("32 bytes"), len: meta.len };
        assert!(store.get(&chunk).expect("readable").is_some(), "{} has no bytes", chunk.id);
        count += 1;
    }
    count
}

/// Gives the runs of `bytes` to `writer`; returns the number of chunks.
fn add_all(writer: &ChunkWriter<'_>, bytes: &[u8]) -> u64 {
    let mut chunker = Chunker::new(bytes, &Arc::<BufferPool>::default());
    let mut rows = Rows::default();
    let mut count = 0;
    while let Some(run) = chunker.next_run().expect("readable") {
        count += writer.add(&run, &mut rows).expect("written").len() as u64;
    }
    count
}

#[test]
fn a_meta_is_never_there_without_its_chunk() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("a"));
    let writer = ChunkWriter::new(&store, LIMITS);
    let bytes = samples::random(9 << 20, 1);
    let mut seen = Vec::new();
    let mut chunk_count = 0;
    for (index, part) in bytes.chunks(1 << 20).enumerate() {
        chunk_count += add_all(&writer, part);
        let killed = open_killed(&dir.path().join("a"), &dir.path().join(format!("k{index}")));
        seen.push(count_whole(&killed));
    }
    assert_eq!(seen[0], 0, "what is held is not on the disk");
    assert!(seen.is_sorted() && *seen.last().expect("nine") > 0, "{seen:?}");
    let mut batch = store.db.batch();
    let new = writer.finish(&mut batch).expect("finished");
    assert_eq!((new.count, new.len), (chunk_count, 9 << 20));
    store.db.commit(batch, Durability::Synced).expect("committed");
    let killed = open_killed(&dir.path().join("a"), &dir.path().join("end"));
    assert_eq!(count_whole(&killed), chunk_count);
}

#[test]
fn what_was_abandoned_is_found_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("a"));
    let few = ChunkWriter::new(&store, LIMITS);
    add_all(&few, &samples::random(500 << 10, 1));
    few.abandon();
    assert_eq!(count_whole(&store), 0);

    let bytes = samples::random(3 << 20, 2);
    let many = ChunkWriter::new(&store, LIMITS);
    let chunk_count = add_all(&many, &bytes);
    many.abandon();
    let killed = open_killed(&dir.path().join("a"), &dir.path().join("k"));
    assert_eq!(count_whole(&killed), chunk_count);

    let again = ChunkWriter::new(&store, LIMITS);
    assert_eq!(add_all(&again, &bytes), chunk_count);
    let new = again.finish(&mut store.db.batch()).expect("finished");
    assert_eq!(new.count, 0);
}

#[test]
fn a_chunk_that_occurs_often_is_written_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("a"));
    let writer = ChunkWriter::new(&store, LIMITS);
    let zeros = vec![0; 8 << 20];
    assert_eq!(add_all(&writer, &zeros), 32);
    let mut batch = store.db.batch();
    let new = writer.finish(&mut batch).expect("finished");
    assert_eq!((new.count, new.len), (1, 256 << 10));
}

#[test]
fn golden_rows() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("a"));
    let writer = ChunkWriter::new(&store, LIMITS);
    add_all(&writer, b"hello");
    let mut batch = store.db.batch();
    writer.finish(&mut batch).expect("finished");
    store.db.commit(batch, Durability::Synced).expect("committed");
    let id = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let id: ChunkId = id.parse().expect("an id");
    let row = |family| {
        let row = store.db.get(family, id.as_bytes()).expect("readable").expect("there");
        row.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(row(Family::Chunk), "0068656c6c6f");
    let meta = row(Family::ChunkMeta);
    let (lens, written) = meta.split_at(16);
    assert_eq!(lens, "0000000500000006");
    let written = u64::from_str_radix(written, 16).expect("a number");
    assert!(crate::repos::now_unix().abs_diff(written) < 600, "{written}");
}

/// Rows as version 1 of the codecs wrote them, with their plain bytes: every later version must
/// read them. What is written may become smaller with another zstd.
fn golden_payloads() -> [(Vec<u8>, &'static str); 5] {
    [
        (
            samples::text(160, 1),
            "0128b52ffd20a03d030032061416a0a70d8d1a0113dbbec5ef7f3b5adad99614fcc133043f82 \
             af08b0b136a0926840d76a2d816f6890641e63dfa68a4c12c46e2e5831a9aaba587ded9f0c70 \
             8a9e73ad6e9f8edbe247f07dad12a463100700491000203ea090ff15a6a1c2f94cb0b4d309",
        ),
        (
            (0..32).map(|i| if i % 2 == 0 { i / 2 } else { 0x3c }).collect(),
            "02 02 000102030405060708090a0b0c0d0e0f 0000000a 28b52ffd 20 10 830000 3c",
        ),
        (
            samples::fp32(340, 1),
            "03080bd6508ed6e7384c3ab463b9b3257ae5f47906df93710d9bd0e203c38e8e1a44fa805dcf \
             128c7f4cb75512b5ade2caac0e1d0d9d5deb2c96dbdab1c72c99f6daf9243193f0a553cf5fad \
             654b4df6dc112b8fc84ded386f4d5e06214cf45998ae2e49e725e778fafbef92840e9e47a244 \
             5433727871886022e3e5aef3c27ade70c71676391688be925efec5baa47c7b2d64de3ea53c45 \
             59ca005b65b91845240719aa964bcd81200baf1537b7d7b00416ba605223c7b6865db598e3e2 \
             4c0b8010cb6475133cfd198f13a90cc30c5077112b93bc083903dacac4b8c2e00e8535c42f25 \
             4e79898bae997fda04a5352ac289392d5ede3f28909d2b8418019223840000003628b52ffd20 \
             556d010052450a0cd0153a69010000683b39809e29c7c0c6737888e26d1a031e8a6df8520f83 \
             b79ed97f4b50caff830400",
        ),
        // Rotated, from the second byte on, the last number cut off.
        (
            [&[9][..], &[0x81, 0x3f].repeat(16), &[7]].concat(),
            "02 32 09 02020202020202020202020202020202 07 0000000a 28b52ffd 20 10 830000 7f",
        ),
        (
            vec![1, 2, 3, 0x00, 0x00, 0x80, 0xbf, 0x81, 0x01, 0x80, 0x3e, 4, 5],
            "03 70 010203 01 02 04 00 03 05 00 00 7f 7d",
        ),
    ]
}

#[test]
fn rows_of_version_1_can_be_read() {
    for (index, (plain, row)) in golden_payloads().iter().enumerate() {
        let digits: Vec<u8> = row.bytes().filter(|byte| *byte != b' ').collect();
        let row: Vec<u8> = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).expect("text"))
            .map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
            .collect();
        assert_eq!(row[0], [1, 2, 3, 2, 3][index]);
        assert_eq!(codec::decode(&row, plain.len() as u32).expect("decoded"), plain);
    }
}
