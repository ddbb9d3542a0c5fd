//! Tests of files end to end.

mod damage;
mod model;
mod parallel;
mod partial;

use std::io::{self, Read};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::chunk::chunker::{CHUNK_LEN_MAX, CHUNK_LEN_MIN, RUN_LEN};
use crate::chunk::samples;
use crate::db::Durability;
use crate::manifest::FILE_LEN_MAX;
use crate::name::RepoName;
use crate::progress::{NoProgress, Progress, Unit};
use crate::read::Pointer;
use crate::store::{Store, StoreOptions};

const MIN: usize = CHUNK_LEN_MIN as usize;
const MAX: usize = CHUNK_LEN_MAX as usize;
const REPO: RepoId = RepoId(7);

fn options() -> StoreOptions {
    StoreOptions { block_cache_len: 8 << 20, base_cache_len: 1 << 20, chunk_cache_len: 2 << 20 }
}

fn new_store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::create(&dir.path().join("s"), &options()).expect("made");
    (dir, store)
}

fn file_id(bytes: &[u8]) -> FileId {
    FileId::from_bytes(Sha256::digest(bytes).into())
}

fn pointer(bytes: &[u8]) -> Pointer {
    Pointer { file: file_id(bytes), len: bytes.len() as u64 }
}

fn ingest(store: &Store, bytes: &[u8]) -> FileReport {
    let report = store.files().ingest(Some(REPO), &mut &bytes[..], None, &NoProgress);
    let report = report.expect("taken in");
    assert_eq!((report.id, report.len), (file_id(bytes), bytes.len() as u64));
    report
}

fn read_all(store: &Store, id: &FileId) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.files().reader(id).expect("there").read_to_end(&mut bytes).expect("readable");
    bytes
}

/// Reads the file in every way; each must give `bytes`.
fn check_content(store: &Store, bytes: &[u8]) {
    let id = file_id(bytes);
    let files = store.files();
    let head = files.head(&id).expect("readable").expect("there");
    assert_eq!(head.len, bytes.len() as u64);
    assert!(read_all(store, &id) == bytes, "through the reader");
    let mut whole = vec![0; bytes.len() + 10];
    assert_eq!(files.read_at(&id, 0, &mut whole).expect("readable"), bytes.len());
    assert!(whole[..bytes.len()] == *bytes, "at once");
    let spans = files.chunk_spans(&id, 0, u64::MAX).expect("readable");
    assert_eq!(spans.len() as u64, head.chunk_count);
    let mut joined = Vec::new();
    for span in &spans {
        assert_eq!(span.offset, joined.len() as u64);
        joined.extend_from_slice(&files.chunk(&id, &span.chunk).expect("readable"));
    }
    assert!(joined == bytes, "by chunk");
    assert_eq!(files.read_at(&id, bytes.len() as u64, &mut [0; 9]).expect("readable"), 0);
    assert_eq!(files.read_at(&id, u64::MAX, &mut [0; 9]).expect("readable"), 0);
}

/// Nothing of the file can be seen.
fn check_absent(store: &Store, id: &FileId) {
    let files = store.files();
    assert_eq!(files.head(id).expect("readable"), None);
    assert!(!files.has(REPO, id).expect("readable"));
    assert!(matches!(files.reader(id).map(|_| ()), Err(StoreError::MissingFile { .. })));
    assert!(matches!(files.read_at(id, 0, &mut [0]), Err(StoreError::MissingFile { .. })));
    assert!(matches!(files.grant(REPO, id), Err(StoreError::MissingFile { .. })));
    assert_eq!(store.files().inner.db.scan(Family::File, &[]).count(), 0);
    assert_eq!(store.files().inner.db.scan(Family::FileSegment, &[]).count(), 0);
    assert_eq!(store.files().inner.db.scan(Family::ChunkFile, &[]).count(), 0);
    assert_eq!(store.files().inner.db.scan(Family::RepoFile, &[]).count(), 0);
    assert_eq!(store.files().inner.db.scan(Family::FileRepo, &[]).count(), 0);
}

#[test]
fn files_of_every_length_come_back() {
    let (dir, store) = new_store();
    let around = [MIN, MAX, RUN_LEN, RUN_LEN + MAX];
    let lens = [0, 1, 2, 3, 1000, 5 * RUN_LEN + 12_345];
    let lens: Vec<usize> =
        lens.into_iter().chain(around.into_iter().flat_map(|n| n - 1..=n + 1)).collect();
    for &len in &lens {
        let bytes = samples::random(len, len as u64);
        ingest(&store, &bytes);
        check_content(&store, &bytes);
    }
    drop(store);
    let store = Store::open(&dir.path().join("s"), &options()).expect("opened");
    for &len in &lens {
        check_content(&store, &samples::random(len, len as u64));
    }
}

#[test]
fn every_kind_of_content_comes_back() {
    let (_dir, store) = new_store();
    let len = (6 << 20) + 77;
    let kinds = [
        samples::text(len, 1),
        samples::bf16(len, 2),
        samples::fp16(len, 3),
        samples::fp32(len, 4),
        vec![0; len],
        [samples::text(len / 2, 5), samples::bf16(len / 2, 6)].concat(),
    ];
    for bytes in &kinds {
        ingest(&store, bytes);
        check_content(&store, bytes);
    }
    let stored = ingest(&store, &samples::bf16(8 << 20, 9));
    let ratio = stored.stored_len as f64 / stored.new_len as f64;
    assert!(ratio < 0.69, "bf16 is stored at {ratio}");
}

#[test]
fn a_file_is_stored_once() {
    let (_dir, store) = new_store();
    let bytes = samples::bf16(8 << 20, 1);
    let first = ingest(&store, &bytes);
    assert_eq!((first.new_chunk_count, first.new_len), (first.chunk_count, first.len));
    let all = store.stats().expect("counted").all;
    assert_eq!((all.chunk_count, all.chunk_len), (first.chunk_count, first.len));
    assert_eq!(all.chunk_stored_len, first.stored_len);

    let again = ingest(&store, &bytes);
    assert_eq!((again.new_chunk_count, again.new_len, again.stored_len), (0, 0, 0));

    let shifted = [&samples::random(1000, 2), &bytes[..]].concat();
    let report = ingest(&store, &shifted);
    assert!(report.new_len < 600 << 10, "{} of 8 MiB are new", report.new_len);
    check_content(&store, &shifted);
    check_content(&store, &bytes);
}

/// Counts what is read from it.
struct Counted<'a> {
    rest: &'a [u8],
    read_len: usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(out)?;
        self.read_len += count;
        Ok(count)
    }
}

#[test]
fn other_bytes_than_announced_leave_no_trace() {
    let (_dir, store) = new_store();
    for len in [100, 3 * RUN_LEN, 9 << 20] {
        let bytes = samples::random(len, 1);
        let right = pointer(&bytes);
        let take = |bytes: &[u8], expect| {
            let mut input = Counted { rest: bytes, read_len: 0 };
            let result = store.files().ingest(Some(REPO), &mut input, Some(expect), &NoProgress);
            (result.expect_err("refused"), input.read_len)
        };
        let mut wrong = bytes.clone();
        wrong[len / 2] ^= 1;
        let (error, _) = take(&wrong, right);
        let actual = file_id(&wrong);
        assert!(matches!(error, StoreError::FileHashMismatch { expected, actual: a }
            if expected == right.file && a == actual));
        let (error, _) = take(&bytes[..len - 1], right);
        assert!(matches!(error, StoreError::FileLenMismatch { expected, actual, .. }
            if expected == len as u64 && actual == len as u64 - 1));
        let longer = [&bytes[..], &bytes[..]].concat();
        let (error, read_len) = take(&longer, right);
        assert!(matches!(error, StoreError::FileLenMismatch { .. }));
        assert_eq!(read_len, len + 1, "no more is read than shows that it is too long");
        for id in [right.file, actual, file_id(&longer)] {
            check_absent(&store, &id);
        }
    }
    let bytes = samples::random(9 << 20, 1);
    let expect = Some(pointer(&bytes));
    store.files().ingest(Some(REPO), &mut &bytes[..], expect, &NoProgress).expect("right at last");
    check_content(&store, &bytes);
}

/// Stops at the byte given, and counts what it is told.
struct StopAt {
    at: u64,
    told: std::sync::atomic::AtomicU64,
}

impl Progress for StopAt {
    fn start(&self, _what: &'static str, _total: Option<u64>, _unit: Unit) {}

    fn advance(&self, count: u64) {
        self.told.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
    }

    fn interrupted(&self) -> bool {
        self.told.load(std::sync::atomic::Ordering::Relaxed) >= self.at
    }
}

#[test]
fn an_interrupted_ingest_leaves_no_trace_and_can_go_on() {
    let (_dir, store) = new_store();
    let bytes = samples::random(16 << 20, 1);
    for at in [0, 1, 5 << 20, 15 << 20] {
        let progress = StopAt { at, told: 0.into() };
        let result = store.files().ingest(Some(REPO), &mut &bytes[..], None, &progress);
        assert!(matches!(result, Err(StoreError::Interrupted)), "at {at}");
        check_absent(&store, &file_id(&bytes));
    }
    let progress = StopAt { at: u64::MAX, told: 0.into() };
    let report = store.files().ingest(Some(REPO), &mut &bytes[..], None, &progress);
    let report = report.expect("taken in");
    assert_eq!(progress.told.into_inner(), 16 << 20);
    assert!(report.new_len < 8 << 20, "what was there before is found: {}", report.new_len);
    check_content(&store, &bytes);
}

#[test]
fn a_stream_that_breaks_leaves_no_trace() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _out: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let (_dir, store) = new_store();
    let bytes = samples::bf16(12 << 20, 1);
    for at in [0, 1, RUN_LEN, 11 << 20] {
        let mut input = (&bytes[..at]).chain(Broken);
        let result = store.files().ingest(None, &mut input, None, &NoProgress);
        assert!(matches!(result, Err(StoreError::Io { .. })), "at {at}");
        check_absent(&store, &file_id(&bytes));
    }
    ingest(&store, &bytes);
    check_content(&store, &bytes);
}

#[test]
fn a_file_as_long_as_allowed_is_taken_and_one_byte_more_is_not() {
    let (_dir, store) = new_store();
    let limit = 2 * RUN_LEN as u64 + 7;
    let limits =
        ingest::IngestLimits { file_len: limit, write: Default::default(), is_for_push: false };
    let take = |len: u64, expect| {
        let bytes = samples::random(len as usize, 1);
        store.files().ingest_limited(None, &mut &bytes[..], expect, &NoProgress, limits)
    };
    assert_eq!(take(limit, None).expect("at the limit").len, limit);
    assert!(matches!(take(limit + 1, None),
        Err(StoreError::Limit { limit: l, actual, .. }) if l == limit && actual == limit + 1));
    let announced = Pointer { file: file_id(b""), len: FILE_LEN_MAX + 1 };
    let result = store.files().ingest(None, &mut io::empty(), Some(announced), &NoProgress);
    assert!(matches!(result, Err(StoreError::Limit { actual, .. }) if actual == FILE_LEN_MAX + 1));
    let announced = Pointer { len: FILE_LEN_MAX, ..announced };
    let result = store.files().ingest(None, &mut io::empty(), Some(announced), &NoProgress);
    assert!(matches!(result, Err(StoreError::FileLenMismatch { actual: 0, .. })));
}

#[test]
fn a_file_makes_the_repository_that_it_comes_into() {
    let (_dir, store) = new_store();
    let name = RepoName::new("a").expect("a name");
    let draft = store.repos().draft(&name).expect("held");
    let (repo, bytes) = (draft.repo().id, samples::text(50_000, 1));
    let other = Some(pointer(b"something else"));
    store.files().ingest(Some(repo), &mut &bytes[..], other, &NoProgress).expect_err("not it");
    assert_eq!(store.repos().list().expect("listed"), []);
    store.files().ingest(Some(repo), &mut &bytes[..], None, &NoProgress).expect("taken in");
    assert_eq!(store.repos().get(&name).expect("made"), *draft.repo());
    drop(draft);
    assert!(store.files().has(repo, &file_id(&bytes)).expect("read"));
}

#[test]
fn rights_are_each_repositorys_own() {
    let (_dir, store) = new_store();
    let files = store.files();
    let (a, b) = (ingest(&store, b"a").id, ingest(&store, b"b").id);
    let nobody = files.ingest(None, &mut &b"c"[..], None, &NoProgress).expect("taken in").id;
    let listed = |repo| files.files(repo).collect::<Result<Vec<_>>>().expect("listed");
    let mut both = vec![a, b];
    both.sort();
    assert_eq!(listed(REPO), both);
    assert_eq!(listed(NO_REPO), [nobody]);
    assert_eq!(listed(RepoId(8)), []);
    assert!(files.has(REPO, &a).expect("readable") && !files.has(RepoId(8), &a).expect("readable"));
    files.grant(RepoId(8), &a).expect("granted");
    files.grant(RepoId(8), &a).expect("granted twice");
    assert_eq!(listed(RepoId(8)), [a]);
    assert!(files.remove(REPO, &a).expect("removed"));
    assert!(!files.remove(REPO, &a).expect("it was not there"));
    assert_eq!(listed(REPO), [b]);
    check_content(&store, b"a");
    // With the bytes, the right comes back.
    ingest(&store, b"a");
    assert_eq!(listed(REPO), both);
}

#[test]
fn any_part_can_be_read_in_order() {
    let (_dir, store) = new_store();
    let bytes = samples::text(3 << 20, 1);
    let id = ingest(&store, &bytes).id;
    let len = bytes.len() as u64;
    let offsets = [0, 1, 70_000, 1 << 20, len - 300_000, len - 1, len, len + 1, u64::MAX];
    for offset in offsets {
        for part in [0, 1, 100_000, 300_000, 2 << 20, u64::MAX] {
            let mut reader = store.files().reader_range(&id, offset, part).expect("there");
            let start = offset.min(len) as usize;
            let end = offset.saturating_add(part).min(len).max(start as u64) as usize;
            assert_eq!(reader.left(), (end - start) as u64);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).expect("readable");
            assert!(read == bytes[start..end], "{offset} + {part}");
            assert_eq!(reader.left(), 0);
        }
    }
    // One that is dropped in between ends its threads.
    let mut reader = store.files().reader(&id).expect("there");
    assert!(!reader.next_bytes().expect("readable").is_empty());
    drop(reader);
}

#[test]
fn golden_rows() {
    let (_dir, store) = new_store();
    let id = ingest(&store, b"hello").id;
    let db = &store.files().inner.db;
    let rows = |family| -> Vec<(String, String)> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let rows = db.scan(family, &[]).map(|row| row.expect("readable"));
        rows.map(|(key, value)| (hex(&key), hex(&value))).collect()
    };
    let sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(id.to_string(), sha);
    let head = "01 0000000000000005 01 01 0000000000000001 0000000000000000".replace(' ', "");
    assert_eq!(rows(Family::File), [(sha.to_owned(), head)]);
    let segment = (format!("{sha}00000000"), format!("{sha}00000005"));
    assert_eq!(rows(Family::FileSegment), [segment]);
    assert_eq!(rows(Family::RepoFile), [(format!("00000007{sha}"), String::new())]);
    assert_eq!(rows(Family::FileRepo), [(format!("{sha}00000007"), String::new())]);
    // The only chunk is the whole file, so that both halves are the same.
    let half = &sha[..32];
    assert_eq!(rows(Family::ChunkFile), [(format!("{half}{half}"), "00000000".to_owned())]);
    let empty = ingest(&store, b"").id;
    let head = db.get(Family::File, empty.as_bytes()).expect("readable").expect("there");
    assert_eq!(*head, [&[1][..], &[0; 8], &[1, 1], &[0; 8]].concat());
}
