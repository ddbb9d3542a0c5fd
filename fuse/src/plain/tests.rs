//! [`PlainCache`] in a directory, over stores that are whole and stores that mean harm.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use mega_storage::{ChunkRef, ChunkSpan, Content, Object, ObjectId, ObjectStat, StoreError};
use tempfile::TempDir;

use super::*;
use crate::testing::MemStore;

/// Longer than a chunk, and than a piece, so that a copy takes several.
const LEN: u64 = (4 << 20) + 300_000;

fn content(seed: u8) -> Vec<u8> {
    (0..LEN).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8 ^ seed).collect()
}

struct Bench {
    dir: TempDir,
    cache: PlainCache,
    store: Arc<dyn ReadStore>,
    ids: Vec<FileId>,
    stop: Arc<AtomicBool>,
}

fn open_in(dir: &TempDir) -> PlainCache {
    let tmp = dir.path().join("tmp");
    fs::create_dir_all(&tmp).expect("made");
    PlainCache::open(&dir.path().join("cache/plain"), &tmp).expect("opened")
}

impl Bench {
    /// Files 0 to 3 and a cache with room for `room` of them.
    fn new(room: u64) -> Self {
        let mut store = MemStore::default();
        let ids = (0..4).map(|seed| store.pointer(&content(seed), true).1).collect();
        let dir = tempfile::tempdir().expect("a directory");
        let cache = open_in(&dir);
        cache.set_limit(room * LEN);
        Self { dir, cache, store: Arc::new(store), ids, stop: Arc::default() }
    }

    fn want(&self, index: usize) {
        self.cache.want(&self.store, &self.ids[index], LEN, &self.stop);
        self.cache.settle();
    }

    /// The content of a copy, and what keeps it.
    fn take(&self, index: usize) -> Option<(Vec<u8>, OpenCopy)> {
        let (mut file, open) = self.cache.take(&self.ids[index], LEN)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("read");
        assert!(bytes == content(index as u8), "never other bytes");
        Some((bytes, open))
    }

    fn path(&self, index: usize) -> PathBuf {
        self.dir.path().join("cache/plain").join(self.ids[index].to_string())
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(dir)).expect("listed");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// As if the process had ended and another begun.
    fn again(self, room: u64) -> Self {
        let Self { dir, cache, store, ids, stop } = self;
        drop(cache);
        let cache = open_in(&dir);
        cache.set_limit(room * LEN);
        Self { dir, cache, store, ids, stop }
    }
}

#[test]
fn a_copy_is_private_whole_and_found_again() {
    let bench = Bench::new(2);
    assert!(bench.take(0).is_none());
    bench.want(0);
    assert!(bench.take(0).is_some());
    let facts = fs::metadata(bench.path(0)).expect("there");
    assert_eq!((facts.mode() & 0o7777, facts.len()), (0o600, LEN));
    let dir = fs::metadata(bench.dir.path().join("cache/plain")).expect("there");
    assert_eq!(dir.mode() & 0o7777, 0o700);
    assert!(bench.names("tmp").is_empty());
    bench.want(0);
    assert_eq!(bench.cache.counts().written, 1, "once is enough");
    let bench = bench.again(2);
    assert!(bench.take(0).is_some());
    let counts = bench.cache.counts();
    assert_eq!((counts.copies, counts.len, counts.written), (1, LEN, 0));
}

#[test]
fn those_opened_longest_ago_go_first_and_open_ones_never() {
    let bench = Bench::new(2);
    bench.want(0);
    bench.want(1);
    drop(bench.take(0));
    bench.want(2);
    assert!(bench.take(1).is_none(), "0 was opened later than 1 was written");
    let (zero, two) = (bench.take(0).expect("kept"), bench.take(2).expect("written"));
    bench.want(3);
    assert!(bench.take(3).is_none(), "both others are open");
    bench.cache.set_limit(0);
    assert_eq!(bench.cache.counts().copies, 2, "they stay even so");
    bench.cache.set_limit(2 * LEN);
    drop(zero);
    bench.want(3);
    assert!(bench.take(3).is_some(), "that it did not fit once is not the last word");
    assert!(bench.take(0).is_none());
    assert_eq!(bench.names("cache/plain").len(), 2);
    drop(two);
    bench.cache.set_limit(LEN);
    let counts = bench.cache.counts();
    assert_eq!((counts.copies, counts.len, counts.removed), (1, LEN, 3));
    assert!(bench.take(3).is_some(), "the one opened last");
    let bench = bench.again(0);
    assert!(bench.names("cache/plain").is_empty());
    bench.want(1);
    assert_eq!(bench.cache.counts().written, 0, "larger than everything may be");
}

#[test]
fn the_order_of_openings_outlives_the_process() {
    let bench = Bench::new(3);
    for index in [0, 1, 2] {
        bench.want(index);
    }
    // Access times are as coarse as the kernel's tick: 0 is set back instead of waiting for it.
    let (old, omit) = (rustix::fs::Timespec { tv_sec: 5, tv_nsec: 0 }, rustix::fs::UTIME_OMIT);
    let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: omit };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: omit };
    for index in [0, 1] {
        let file = File::open(bench.path(index)).expect("there");
        rustix::fs::futimens(&file, &times).expect("set");
    }
    drop(bench.take(0));
    let bench = bench.again(3);
    bench.want(3);
    assert!(bench.take(1).is_none());
    assert!(bench.take(0).is_some() && bench.take(2).is_some() && bench.take(3).is_some());
}

#[test]
fn leftovers_and_strangers_are_removed() {
    let bench = Bench::new(4);
    bench.want(0);
    let copies = bench.dir.path().join("cache/plain");
    // Under another's name; without a mark; by another's hand; a link; no id at all.
    fs::hard_link(bench.path(0), copies.join("hard")).expect("linked");
    fs::rename(copies.join("hard"), bench.path(1)).expect("renamed");
    fs::write(bench.path(2), content(2)).expect("written");
    std::os::unix::fs::symlink(bench.path(0), bench.path(3)).expect("linked");
    fs::write(copies.join("notes"), "x").expect("written");
    let bench = bench.again(4);
    // The link made the copy one that others may hold: it goes as well.
    assert!(bench.names("cache/plain").is_empty(), "{:?}", bench.names("cache/plain"));
    for index in 0..4 {
        assert!(bench.take(index).is_none());
        bench.want(index);
        assert!(bench.take(index).is_some());
    }
}

#[test]
fn a_copy_that_was_touched_is_made_anew() {
    type Harm = fn(&mut File);
    let harms: [Harm; 3] = [
        |file| file.write_all(b"other").expect("written"),
        |file| file.set_len(LEN - 1).expect("cut"),
        |file| file.set_permissions(fs::Permissions::from_mode(0o644)).expect("set"),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        for is_alive in [true, false] {
            let mut bench = Bench::new(2);
            bench.want(0);
            harm(&mut OpenOptions::new().write(true).open(bench.path(0)).expect("there"));
            if !is_alive {
                bench = bench.again(2);
            }
            assert!(bench.take(0).is_none(), "harm {number}");
            bench.want(0);
            assert!(bench.take(0).is_some(), "harm {number}");
        }
    }
    let bench = Bench::new(2);
    bench.want(0);
    fs::remove_file(bench.path(0)).expect("there");
    assert!(bench.take(0).is_none());
    assert_eq!(bench.cache.counts().copies, 0);
}

/// A store that gives other bytes than the id says, or fewer, or says that some are elsewhere, or
/// waits for the word.
struct Odd {
    inner: Arc<dyn ReadStore>,
    kind: &'static str,
    asked: AtomicUsize,
    stop: Arc<AtomicBool>,
}

type Result<T> = std::result::Result<T, StoreError>;

impl ReadStore for Odd {
    fn stat(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectStat>>> {
        self.inner.stat(ids)
    }

    fn object(&self, id: &ObjectId) -> Result<Object> {
        self.inner.object(id)
    }

    fn file_len(&self, id: &FileId) -> Result<Option<u64>> {
        self.inner.file_len(id)
    }

    fn chunk_spans(&self, id: &FileId, offset: u64, len: u64) -> Result<Vec<ChunkSpan>> {
        let mut spans = self.inner.chunk_spans(id, offset, len)?;
        if self.kind == "gap" {
            spans.remove(1);
        }
        if self.kind == "end" {
            spans.truncate(if offset == 0 { 1 } else { 0 });
        }
        Ok(spans)
    }

    fn chunk(&self, file: &FileId, chunk: &ChunkRef) -> Result<Bytes> {
        let bytes = self.inner.chunk(file, chunk)?;
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        match self.kind {
            "bytes" if asked == 1 => Ok(bytes.iter().map(|b| b ^ 1).collect::<Vec<_>>().into()),
            "long" => Ok([&bytes[..], b"more"].concat().into()),
            "fails" => Err(StoreError::MissingChunk { id: chunk.id, file: *file }),
            "panics" => panic!("on purpose"),
            "stops" => {
                self.stop.store(true, Ordering::Relaxed);
                Ok(bytes)
            }
            _ => Ok(bytes),
        }
    }

    fn read_at(&self, content: &Content, offset: u64, out: &mut [u8]) -> Result<usize> {
        self.inner.read_at(content, offset, out)
    }

    fn resident(&self, _: &Content) -> Result<u64> {
        Ok(if self.kind == "elsewhere" { LEN - 1 } else { LEN })
    }
}

#[test]
fn what_is_not_the_file_never_becomes_a_copy() {
    for (kind, is_final) in [
        ("bytes", true),
        ("gap", true),
        ("end", true),
        ("long", true),
        ("fails", true),
        ("panics", true),
        ("elsewhere", false),
        ("stops", false),
    ] {
        let mut bench = Bench::new(1);
        let good = bench.store.clone();
        let (asked, stop) = (AtomicUsize::new(0), bench.stop.clone());
        bench.store = Arc::new(Odd { inner: good.clone(), kind, asked, stop });
        bench.want(0);
        assert!(bench.take(0).is_none(), "{kind}");
        assert!(bench.names("tmp").is_empty() && bench.names("cache/plain").is_empty(), "{kind}");
        assert_eq!(bench.cache.counts().len, 0, "{kind}");
        // A file that cannot be right is not tried at every opening.
        bench.store = good;
        bench.stop = Arc::default();
        bench.want(0);
        assert_eq!(bench.take(0).is_none(), is_final, "{kind}");
        bench.want(1);
        assert!(bench.take(1).is_some(), "{kind}: the writer lives");
    }
}

#[test]
fn a_disk_that_refuses_costs_the_copy_alone() {
    let bench = Bench::new(1);
    fs::remove_dir(bench.dir.path().join("tmp")).expect("empty");
    bench.want(0);
    assert!(bench.take(0).is_none());
    let bench = Bench::new(1);
    // Far beyond the disk, and never to be read.
    bench.cache.set_limit(u64::MAX);
    let everything: Arc<dyn ReadStore> = Arc::new(Odd {
        inner: bench.store.clone(),
        kind: "panics",
        asked: AtomicUsize::new(0),
        stop: Arc::default(),
    });
    let error = copy::write(
        &Job { store: everything, id: bench.ids[0], len: 1 << 60, stop: Arc::default() },
        &bench.path(0),
        &bench.dir.path().join("tmp"),
        &|| false,
    );
    assert!(matches!(error, Err(NoCopy::NoSpace { .. })), "{error:?}");
}

#[test]
fn what_a_gone_mount_wanted_is_dropped() {
    let bench = Bench::new(4);
    let stores = Arc::strong_count(&bench.store);
    bench.stop.store(true, Ordering::Relaxed);
    bench.want(0);
    bench.cache.forget_stopped();
    assert!(bench.take(0).is_none());
    assert_eq!(Arc::strong_count(&bench.store), stores, "nothing holds the store any more");
}
