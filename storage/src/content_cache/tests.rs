//! Removing content of files that are whole, in parts, shared and in use.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::EvictReport;
use crate::db::{Durability, Family};
use crate::id::FileId;
use crate::name::RepoName;
use crate::progress::NoProgress;
use crate::read::{ChunkSpan, Content, ReadStore};
use crate::repos::{Repo, Visibility};
use crate::store::{Store, StoreOptions};

const LEN: usize = 1 << 20;

struct World {
    store: Store,
    dir: TempDir,
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(step).take(len).collect()
}

fn options() -> StoreOptions {
    StoreOptions { block_cache_len: 8 << 20, base_cache_len: 1 << 20, chunk_cache_len: 1 << 20 }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &options()).expect("made");
        Self { store, dir }
    }

    fn partial(&self, name: &str) -> Repo {
        let name = RepoName::new(name).expect("a name");
        self.store.repos().create_partial(&name, "http://there/x.git").expect("made")
    }

    fn whole(&self, name: &str) -> Repo {
        let name = RepoName::new(name).expect("a name");
        self.store.repos().create(&name, Visibility::Private).expect("made")
    }

    fn file(&self, repo: &Repo, bytes: &[u8], used_unix: u64) -> FileId {
        let files = self.store.files();
        let taken = files.ingest(Some(repo.id), &mut &bytes[..], None, &NoProgress);
        let file = taken.expect("taken in").id;
        self.store.partial(repo.id).put_use(&file, used_unix).expect("written");
        file
    }

    fn evict(&self, limit: u64) -> EvictReport {
        self.store.set_cache_limit(Some(limit)).expect("written");
        self.store.evict(&NoProgress).expect("evicted")
    }

    /// Bytes of the file's chunks that are stored.
    fn stored_len(&self, spans: &[ChunkSpan]) -> u64 {
        let ids: Vec<_> = spans.iter().map(|span| span.chunk.id).collect();
        let stored = self.store.files().stored_chunks(&ids).expect("read");
        let stored = spans.iter().zip(stored).filter(|(_, is_stored)| *is_stored);
        stored.map(|(span, _)| u64::from(span.chunk.len)).sum()
    }

    fn spans(&self, file: &FileId) -> Vec<ChunkSpan> {
        self.store.files().spans_of(file).expect("there").map(|s| s.expect("read")).collect()
    }

    fn read(&self, repo: &Repo, file: &FileId) -> Vec<u8> {
        let mut out = vec![0; LEN];
        let content = Content::File(*file);
        let len = self.store.view(repo.id).read_at(&content, 0, &mut out).expect("read");
        out.truncate(len);
        out
    }
}

#[test]
fn the_least_recently_used_file_goes_first_and_no_more_than_must() {
    let world = World::new();
    let repo = world.partial("lazy");
    let data = [1, 2, 3].map(|seed| noise(seed, LEN));
    let uses = [300, 100, 200];
    let files = [0, 1, 2].map(|i: usize| world.file(&repo, &data[i], uses[i]));
    let spans = files.map(|file| world.spans(&file));
    assert_eq!(world.store.cache_use().expect("counted").len, 3 * LEN as u64);
    assert!(!world.store.is_cache_over().expect("no limit"));
    let report = world.evict(2 * LEN as u64 + LEN as u64 / 2);
    assert!(report.left_len > 2 * LEN as u64, "no more than must: {report:?}");
    assert!(!report.is_short && report.left_len <= 2 * LEN as u64 + LEN as u64 / 2, "{report:?}");
    assert_eq!(world.store.cache_use().expect("counted").len, report.left_len);
    let left = [0, 1, 2].map(|i: usize| world.stored_len(&spans[i]));
    assert_eq!((left[0], left[2]), (LEN as u64, LEN as u64), "used later");
    assert!(left[1] < LEN as u64 / 2 + LEN as u64 / 4, "{left:?}");
    assert_eq!(world.read(&repo, &files[0]), data[0]);
    assert!(!world.store.files().has(repo.id, &files[1]).expect("read"));
    // What is left of it is told by the same rows as of a file that was never whole.
    let held = world.store.held_file(repo.id, &files[1]).expect("read").expect("parts are here");
    assert!(!held.is_whole());
    for span in &spans[1] {
        let is_stored = world.stored_len(&[*span]) > 0;
        assert_eq!(held.chunk(span).expect("read").is_some(), is_stored);
    }
    // Nothing is left of it after the next one but its chunk list.
    world.evict(0);
    assert_eq!(spans.iter().map(|spans| world.stored_len(spans)).sum::<u64>(), 0);
    assert_eq!(world.store.cache_use().expect("counted").len, 0);
    assert_eq!(world.store.partial(repo.id).uses().count(), 0);
    let told = world.store.partial(repo.id).file_len(&files[0]).expect("read");
    assert_eq!(told, Some(LEN as u64));
}

#[test]
fn what_a_whole_a_pinned_or_no_repository_has_stays() {
    let world = World::new();
    let (lazy, pinned) = (world.partial("lazy"), world.partial("pinned"));
    let whole = world.whole("whole");
    let data = noise(4, LEN);
    // The front of it is a file of the whole repository, too: chunks are shared.
    let shared = noise(4, LEN / 2);
    let (both, kept, own) = (noise(5, LEN), noise(6, LEN), noise(7, LEN));
    let file = world.file(&lazy, &data, 1);
    world.file(&whole, &shared, 1);
    world.file(&lazy, &both, 1);
    let both_file = world.file(&whole, &both, 1);
    let kept_file = world.file(&pinned, &kept, 1);
    world.store.set_pinned(pinned.id, true).expect("written");
    let taken = world.store.files().ingest(None, &mut &own[..], None, &NoProgress);
    let own_file = taken.expect("taken in").id;
    let spans = world.spans(&file);
    assert_eq!(world.store.cache_use().expect("counted").len, LEN as u64, "only one may go");
    let report = world.evict(0);
    assert_eq!((report.len, report.file_count, report.left_len), (LEN as u64, 1, 0));
    let left = world.stored_len(&spans);
    assert!(left > LEN as u64 / 4 && left < LEN as u64 * 3 / 4, "the shared half: {left}");
    assert_eq!(world.read(&whole, &both_file), both);
    assert_eq!(world.read(&pinned, &kept_file), kept);
    let mut out = vec![0; LEN];
    world.store.files().read_at(&own_file, 0, &mut out).expect("read");
    assert!(out == own);
    // No longer pinned, it goes.
    world.store.set_pinned(pinned.id, false).expect("written");
    assert!(world.store.is_cache_over().expect("counted"));
    assert_eq!(world.evict(0).len, LEN as u64);
}

#[test]
fn what_came_for_an_import_that_is_not_done_stays() {
    let world = World::new();
    let (lazy, whole) = (world.partial("lazy"), world.whole("whole"));
    let file = world.file(&lazy, &noise(11, LEN), 1);
    let spans = world.spans(&file);
    let (kept, going) = spans.split_at(spans.len() / 2);
    world.store.partial(whole.id).put_page_that_came(&file, kept, true).expect("written");
    assert_eq!(world.evict(0).left_len, 0);
    let kept_len: u64 = kept.iter().map(|span| u64::from(span.chunk.len)).sum();
    assert_eq!((world.stored_len(kept), world.stored_len(going)), (kept_len, 0));
}

#[test]
fn a_chunk_that_was_read_a_moment_ago_stays_until_it_is_not_in_use() {
    let world = World::new();
    let repo = world.partial("lazy");
    let file = world.file(&repo, &noise(8, LEN), 1);
    let spans = world.spans(&file);
    let used = spans[spans.len() / 2];
    world.store.cache_state().touch(&used.chunk.id);
    let report = world.evict(0);
    assert!(report.is_short && report.left_len == u64::from(used.chunk.len), "{report:?}");
    assert_eq!(world.stored_len(&spans), u64::from(used.chunk.len));
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.evict(0).is_short {
        assert!(Instant::now() < deadline, "it never goes");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(world.stored_len(&spans), 0);
}

#[test]
fn nothing_goes_while_content_is_taken_in() {
    struct Slow<'a>(&'a World, &'a [u8], bool);
    impl std::io::Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if !std::mem::replace(&mut self.2, true) {
                let report = self.0.evict(0);
                assert!(report.is_short && report.len == 0, "{report:?}");
            }
            std::io::Read::read(&mut self.1, out)
        }
    }
    let world = World::new();
    let (lazy, whole) = (world.partial("lazy"), world.whole("whole"));
    let data = noise(9, LEN);
    let file = world.file(&lazy, &data, 1);
    let mut slow = Slow(&world, &data, false);
    world.store.files().ingest(Some(whole.id), &mut slow, None, &NoProgress).expect("taken in");
    assert_eq!(world.evict(0).len, 0, "the whole repository has it now");
    assert_eq!(world.read(&whole, &file), data);
}

#[test]
fn rows_that_a_crash_left_beside_a_whole_file_count_for_nothing() {
    let world = World::new();
    let repo = world.partial("lazy");
    let data = noise(10, LEN);
    let file = world.file(&repo, &data, 1);
    let spans = world.spans(&file);
    // Cut off before the file was given up: all is told twice.
    world.store.partial(repo.id).put_page_that_came(&file, &spans, true).expect("written");
    assert_eq!(world.store.cache_use().expect("counted").len, LEN as u64);
    assert_eq!(world.read(&repo, &file), data);
    // Cut off after it: its segments are left, and nobody takes them for a manifest.
    let db = world.store.db();
    let rows: Vec<_> = [Family::FileSegment, Family::ChunkFile]
        .into_iter()
        .flat_map(|f| db.scan(f, b"").map(move |row| (f, row.expect("read"))).collect::<Vec<_>>())
        .collect();
    assert_eq!(world.evict(0).len, LEN as u64);
    let mut batch = db.batch();
    for (family, (key, value)) in &rows {
        batch.put(*family, key, value);
    }
    db.commit(batch, Durability::Synced).expect("written");
    let World { store, dir } = world;
    drop(store);
    let store = Store::open(&dir.path().join("s"), &options()).expect("opened");
    let world = World { store, dir };
    assert!(world.store.files().head(&file).expect("read").is_none());
    assert_eq!(world.stored_len(&spans), 0);
    assert_eq!(world.file(&repo, &data, 1), file);
    assert_eq!(world.read(&repo, &file), data, "taken in anew");
}
