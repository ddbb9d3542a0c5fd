//! The only room that names RocksDB: opens it, its column families and options, batches, sorted
//! files.
//!
//! Promises: [`Db::commit`] with [`Durability::Synced`] returns after the log is on the disk;
//! [`Db::ingest`] after the sorted file and its directory are. What came of a write that the disk
//! failed is not known, so nothing is written after it until the store is opened again.
//! Invariant: every change of objects or references is made while holding the guard of
//! [`Db::commit_lock`], one for the whole store.

mod checkpoint;
mod drafts;
mod family;
pub(crate) mod keys;
mod room;
mod snapshot;
mod sorted;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBPinnableSlice, Direction,
    ErrorKind, FlushOptions, IteratorMode, Options, ReadOptions, WaitForCompactOptions, WriteBatch,
    WriteOptions,
};

use crate::error::{Result, StoreError};
use crate::lease::ObjectLeases;
use crate::owner::OwnerLock;
pub(crate) use drafts::Drafts;
pub(crate) use family::Family;
pub(crate) use room::{BALLAST, Room};
pub(crate) use snapshot::{Cursor, Rows, Snapshot};
pub(crate) use sorted::SortedFile;

/// Log files of rarely written families are flushed away at this size, so that the log cannot grow
/// without end.
const WAL_LEN_MAX: u64 = 128 << 20;

/// How long a write that was told to wait does so before it asks again: one buffer's flush takes
/// longer, all of them several times that.
const STALL_WAIT_US: u64 = 5_000;

/// Files of values are rewritten from this share of garbage on.
pub(crate) const GARBAGE_SHARE_MAX: f64 = 0.05;

/// Whether a batch has to be on the disk when [`Db::commit`] returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Durability {
    /// In the log, which is synced.
    Synced,
    /// In the log, which is not synced: it survives the process, and is durable with the next
    /// synced batch.
    Logged,
    /// Past the log: durable only after [`Db::flush`] of its families.
    Unlogged,
}

/// What a database is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OpenMode {
    /// To make what is missing, then to read and to write.
    Create,
    /// To read and to write.
    Write,
    /// To read: nothing in the directory changes, and every write fails.
    Read,
}

/// A pinned value: borrowed from the block cache or memtable, not copied.
pub(crate) type Pinned<'a> = DBPinnableSlice<'a>;

/// Key and value.
pub(crate) type OwnedRow = (Box<[u8]>, Box<[u8]>);

/// Counts changes of references in all stores of the process.
static REFS_VERSION: AtomicU64 = AtomicU64::new(1);

/// An open database.
pub(crate) struct Db {
    inner: DB,
    /// The store's directory.
    dir: PathBuf,
    tmp: PathBuf,
    room: Room,
    /// What the disk said when it failed a write.
    stopped: OnceLock<String>,
    commit: Mutex<()>,
    /// Held for reading by each write, for writing where there must be none.
    writes: RwLock<()>,
    generation: AtomicU64,
    swept: AtomicU64,
    leases: ObjectLeases,
    refs_version: AtomicU64,
    drafts: Drafts,
    /// The owner's lock. Last, so that it is released after the database has closed.
    owner: OnceLock<OwnerLock>,
}

/// A set of changes that becomes visible all at once.
pub(crate) struct Batch<'a> {
    db: &'a Db,
    inner: WriteBatch,
    has_refs: bool,
    /// It adds content: that needs room on the disk.
    needs_room: bool,
}

impl Db {
    /// Opens the database in `path`. `block_cache_len` is in bytes.
    pub(crate) fn open(
        path: &Path,
        tmp: &Path,
        mode: OpenMode,
        block_cache_len: usize,
    ) -> Result<Self> {
        let dir = tmp.parent().unwrap_or(tmp).to_owned();
        let room = Room::new(&dir);
        if mode != OpenMode::Read {
            room.release();
        }
        let cache = Cache::new_hyper_clock_cache(block_cache_len, 0);
        let plain = Options::default();
        let mut options = plain.clone();
        options.create_if_missing(mode == OpenMode::Create);
        // A store that is older than a family gets it when it is opened.
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        options.set_max_total_wal_size(WAL_LEN_MAX);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        options.set_max_background_jobs(2);
        options.set_max_open_files(512);
        // Sixteen threads a family, started and joined at every opening, cost more than the few
        // files that are opened then.
        options.set_max_file_opening_threads(1);
        // The first statistics would be written right away, by every short command.
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_bytes_per_sync(1 << 20);
        let family = |(name, options)| ColumnFamilyDescriptor::new(name, options);
        let families = || {
            let ours = Family::ALL.iter().map(|f| (f.name(), f.options(&plain, &cache)));
            ours.chain([("default", small_family(&plain, &cache))]).map(family)
        };
        let opened = match mode {
            OpenMode::Read => DB::open_cf_descriptors_read_only(&options, path, families(), false),
            OpenMode::Write | OpenMode::Create => sorted::open_with_kept(path, tmp, || {
                DB::open_cf_descriptors(&options, path, families())
            }),
        };
        let inner = opened.map_err(|e| StoreError::db("opening it", e))?;
        if mode != OpenMode::Read {
            room.restore();
        }
        Ok(Self {
            inner,
            dir,
            tmp: if mode == OpenMode::Read { std::env::temp_dir() } else { tmp.to_owned() },
            room,
            stopped: OnceLock::new(),
            commit: Mutex::new(()),
            writes: RwLock::new(()),
            generation: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            leases: ObjectLeases::default(),
            refs_version: AtomicU64::new(REFS_VERSION.fetch_add(1, Ordering::Relaxed)),
            drafts: Drafts::default(),
            owner: OnceLock::new(),
        })
    }

    /// Keeps the store's lock for as long as the database is open: parts of it are shared, and
    /// outlive the store.
    pub(crate) fn keep(&self, owner: OwnerLock) {
        let _ = self.owner.set(owner);
    }

    fn handle(&self, family: Family) -> &ColumnFamily {
        self.inner.cf_handle(family.name()).expect("every family is opened in Db::open")
    }

    /// The store's directory, in which other rooms have files beside the database.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory for temporary files, on the same filesystem as the database; the system's when
    /// it is open to read, since then nothing of the store changes.
    pub(crate) fn tmp(&self) -> &Path {
        &self.tmp
    }

    /// The disk's space.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// What the disk said when it failed a write: nothing is written after that.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Fails when nothing is written any more.
    fn may_write(&self) -> Result<()> {
        match self.stopped() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Stopped { reason: reason.to_owned() }),
        }
    }

    /// The error of a write. One that the disk failed stops all that would follow: whether it is in
    /// the log, and what the log has after it, only opening the store again will tell.
    fn failed(&self, action: &'static str, source: rocksdb::Error) -> StoreError {
        let by_disk = matches!(source.kind(), ErrorKind::IOError | ErrorKind::Corruption);
        let error = StoreError::db(action, source);
        match error {
            StoreError::Db { source, .. } if by_disk => {
                let reason = self.stopped.get_or_init(|| source.to_string());
                StoreError::Stopped { reason: reason.clone() }
            }
            error => error,
        }
    }

    /// Takes the store-wide commit lock: held from the last filter against what is stored until the
    /// references' batch.
    pub(crate) fn commit_lock(&self) -> MutexGuard<'_, ()> {
        self.commit.lock()
    }

    /// Counts ingestions of objects: if it is unchanged, what was absent still is.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Counts removals of objects and memberships by gc: if it is unchanged, what was here is.
    pub(crate) fn swept(&self) -> u64 {
        self.swept.load(Ordering::Acquire)
    }

    /// Says that objects or memberships have gone. Call with the commit lock held.
    pub(crate) fn bump_swept(&self) {
        self.swept.fetch_add(1, Ordering::AcqRel);
    }

    /// What transfers of git objects count on.
    pub(crate) fn leases(&self) -> &ObjectLeases {
        &self.leases
    }

    /// Changes with every change of a reference, before that is acknowledged, and is the same in no
    /// two stores of the process. What was read after it was asked for holds while it stays.
    pub(crate) fn refs_version(&self) -> u64 {
        self.refs_version.load(Ordering::Acquire)
    }

    /// Says that objects have landed. Call with the commit lock held.
    pub(crate) fn bump_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// One value, borrowed.
    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Pinned<'_>>> {
        self.inner.get_pinned_cf(self.handle(family), key).map_err(|e| StoreError::db("reading", e))
    }

    /// Whether a row is there.
    pub(crate) fn contains(&self, family: Family, key: &[u8]) -> Result<bool> {
        Ok(self.get(family, key)?.is_some())
    }

    /// Many values in the order of `keys`. `sorted` says that the keys ascend, which is faster.
    pub(crate) fn multi_get<'a, K: AsRef<[u8]> + 'a + ?Sized>(
        &'a self,
        family: Family,
        keys: impl IntoIterator<Item = &'a K>,
        sorted: bool,
    ) -> Result<Vec<Option<Pinned<'a>>>> {
        self.inner
            .batched_multi_get_cf(self.handle(family), keys, sorted)
            .into_iter()
            .map(|value| value.map_err(|e| StoreError::db("reading", e)))
            .collect()
    }

    /// Rows whose key starts with `prefix`, ascending, from one consistent view.
    pub(crate) fn scan<'a>(
        &'a self,
        family: Family,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<OwnedRow>> + use<'a> {
        self.scan_from(family, prefix, prefix)
    }

    /// Rows whose key starts with `prefix` and is not below `from`, ascending, from one consistent
    /// view.
    pub(crate) fn scan_from<'a>(
        &'a self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
    ) -> impl Iterator<Item = Result<OwnedRow>> + use<'a> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(upper_bound(prefix));
        options.set_readahead_size(1 << 20);
        options.fill_cache(false);
        let mode = IteratorMode::From(from, Direction::Forward);
        self.inner
            .iterator_cf_opt(self.handle(family), options, mode)
            .map(|row| row.map_err(|e| StoreError::db("scanning", e)))
    }

    /// As [`Self::scan`], for rows of which only the first few are wanted: nothing is read ahead.
    pub(crate) fn scan_few<'a>(
        &'a self,
        family: Family,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<OwnedRow>> + use<'a> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(upper_bound(prefix));
        let mode = IteratorMode::From(prefix, Direction::Forward);
        let rows = self.inner.iterator_cf_opt(self.handle(family), options, mode);
        rows.map(|row| row.map_err(|e| StoreError::db("scanning", e)))
    }

    /// The last row whose key starts with `prefix` and is not above `key`.
    pub(crate) fn last_up_to(
        &self,
        family: Family,
        prefix: &[u8],
        key: &[u8],
    ) -> Result<Option<OwnedRow>> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(prefix.to_vec());
        let mode = IteratorMode::From(key, Direction::Reverse);
        let mut rows = self.inner.iterator_cf_opt(self.handle(family), options, mode);
        rows.next().transpose().map_err(|e| StoreError::db("scanning", e))
    }

    /// Starts a batch.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { db: self, inner: WriteBatch::default(), has_refs: false, needs_room: false }
    }

    /// Writes a batch, all or nothing.
    pub(crate) fn commit(&self, batch: Batch<'_>, durability: Durability) -> Result<()> {
        loop {
            let copy = WriteBatch::from_data(batch.inner.data());
            let Batch { has_refs, needs_room, .. } = batch;
            let copy = Batch { db: self, inner: copy, has_refs, needs_room };
            if self.try_commit(copy, durability)? {
                return Ok(());
            }
        }
    }

    /// Writes a batch, all or nothing; `false` when RocksDB was behind and has been waited for:
    /// nothing is written then, and the caller makes the batch again.
    ///
    /// The wait is here and not inside RocksDB: with a full disk its recovery needs the place in
    /// the queue that a waiting write holds, and neither would ever end.
    pub(crate) fn try_commit(&self, batch: Batch<'_>, durability: Durability) -> Result<bool> {
        self.may_write()?;
        if batch.needs_room {
            self.room.check("writing")?;
        }
        let mut options = WriteOptions::default();
        options.set_no_slowdown(true);
        match durability {
            Durability::Synced => options.set_sync(true),
            Durability::Logged => {}
            Durability::Unlogged => options.disable_wal(true),
        }
        let written = {
            let _write = self.writes.read();
            self.inner.write_opt(batch.inner, &options)
        };
        if batch.has_refs {
            // Whatever came of it: one that failed may be in the log.
            let version = REFS_VERSION.fetch_add(1, Ordering::Relaxed);
            self.refs_version.store(version, Ordering::Release);
        }
        match written {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::Incomplete && e.as_ref().contains("stall") => {
                self.wait_for_room()?;
                Ok(false)
            }
            Err(e) => Err(self.failed("writing", e)),
        }
    }

    /// Waits until background work is done, or for [`STALL_WAIT_US`].
    ///
    /// # Errors
    /// What stopped the background work, as a full disk.
    fn wait_for_room(&self) -> Result<()> {
        let mut options = WaitForCompactOptions::default();
        options.set_timeout(STALL_WAIT_US);
        match self.inner.wait_for_compact(&options) {
            Err(e) if e.kind() == ErrorKind::TimedOut => Ok(()),
            waited => waited.map_err(|e| self.failed("writing", e)),
        }
    }

    /// Brings everything written to `families` to the disk, log or no log.
    pub(crate) fn flush(&self, families: &[Family]) -> Result<()> {
        self.may_write()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let handles: Vec<&ColumnFamily> = families.iter().map(|&f| self.handle(f)).collect();
        self.inner.flush_cfs_opt(&handles, &options).map_err(|e| self.failed("flushing", e))
    }

    /// Rewrites `families` so that each key is stored once and space of deleted rows returns: see
    /// [`Self::compact_family`].
    pub(crate) fn compact(&self, families: &[Family]) -> Result<()> {
        families.iter().try_for_each(|&family| self.compact_family(family).map(|_| ()))
    }

    /// Rewrites a family's keys. Files of values are rewritten only when more than a twentieth of
    /// them is garbage; that needs room for the values once more, and without that room it is left
    /// for another time: the answer says so.
    pub(crate) fn compact_family(&self, family: Family) -> Result<Option<String>> {
        self.flush(&[family])?;
        // The garbage in files of values is known only after the keys have been compacted.
        self.compact_keys(family);
        if !family.has_value_files() || self.garbage_share(family)? < GARBAGE_SHARE_MAX {
            return Ok(None);
        }
        let len = self.property(family, "rocksdb.live-blob-file-size")?;
        let room = rustix::fs::statvfs(&self.dir).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        let living = len - self.property(family, "rocksdb.live-blob-file-garbage-size")?.min(len);
        if room < living {
            return Ok(Some(format!(
                "files of '{}' were not rewritten: that needs {living} free bytes for a while",
                family.name()
            )));
        }
        self.collect_values(family, true)?;
        self.compact_keys(family);
        self.collect_values(family, false)?;
        Ok(None)
    }

    /// How much of a family's files of values is known to be garbage: from 0 to 1.
    pub(crate) fn garbage_share(&self, family: Family) -> Result<f64> {
        if !family.has_value_files() {
            return Ok(0.0);
        }
        let garbage = self.property(family, "rocksdb.live-blob-file-garbage-size")?;
        let len = self.property(family, "rocksdb.live-blob-file-size")?;
        Ok(garbage as f64 / len.max(1) as f64)
    }

    /// Gives the place of files of values back in which nothing lives any more: cheaper than
    /// [`Self::compact`], since values are neither read nor written.
    pub(crate) fn drop_dead_values(&self, family: Family) -> Result<()> {
        self.flush(&[family])?;
        self.compact_keys(family);
        Ok(())
    }

    fn compact_keys(&self, family: Family) {
        let mut options = rocksdb::CompactOptions::default();
        // Those that writes need go on beside it.
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        let all = None::<&[u8]>;
        self.inner.compact_range_cf_opt(self.handle(family), all, all, &options);
    }

    fn collect_values(&self, family: Family, on: bool) -> Result<()> {
        let value = if on { "true" } else { "false" };
        self.inner
            .set_options_cf(self.handle(family), &[("enable_blob_garbage_collection", value)])
            .map_err(|e| StoreError::db("changing an option", e))
    }

    fn property(&self, family: Family, name: &str) -> Result<u64> {
        let value = self.inner.property_int_value_cf(self.handle(family), name);
        Ok(value.map_err(|e| StoreError::db("measuring", e))?.unwrap_or(0))
    }

    /// Bytes that a family's live files take on the disk, values apart from keys included.
    pub(crate) fn family_len(&self, family: Family) -> Result<u64> {
        let mut len = 0;
        for property in ["rocksdb.total-sst-files-size", "rocksdb.live-blob-file-size"] {
            len += self.property(family, property)?;
        }
        Ok(len)
    }
}

impl Batch<'_> {
    /// Adds or replaces a row.
    pub(crate) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.needs_room |= family.has_content();
        self.has_refs |= family == Family::Ref;
        self.inner.put_cf(self.db.handle(family), key, value);
    }

    /// Removes a row.
    pub(crate) fn delete(&mut self, family: Family, key: &[u8]) {
        self.has_refs |= family == Family::Ref;
        self.inner.delete_cf(self.db.handle(family), key);
    }

    /// Removes all rows whose key starts with `prefix`.
    pub(crate) fn delete_prefix(&mut self, family: Family, prefix: &[u8]) {
        self.has_refs |= family == Family::Ref;
        self.inner.delete_range_cf(self.db.handle(family), prefix, &upper_bound(prefix));
    }

    /// Lets it use the reserve: it is needed so that something can be removed.
    pub(crate) fn use_reserve(&mut self) {
        self.needs_room = false;
    }

    /// Bytes that the batch holds.
    pub(crate) fn len(&self) -> usize {
        self.inner.size_in_bytes()
    }
}

/// The smallest key above all that start with `prefix`; without one (all 0xff), a key above any we
/// write.
fn upper_bound(prefix: &[u8]) -> Vec<u8> {
    let mut bound = prefix.to_vec();
    while let Some(last) = bound.last_mut() {
        if *last < 0xff {
            *last += 1;
            return bound;
        }
        bound.pop();
    }
    vec![0xff; 64]
}

fn small_family(plain: &Options, cache: &Cache) -> Options {
    let mut options = plain.clone();
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(1 << 20);
    options
}

#[cfg(test)]
mod tests {
    use super::{Db, Durability, Family, OpenMode, upper_bound};

    #[test]
    fn a_store_that_is_older_than_a_family_gets_it_when_it_is_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |mode| Db::open(dir.path(), dir.path(), mode, 8 << 20);
        let mut db = open(OpenMode::Create).expect("made");
        let mut batch = db.batch();
        batch.put(Family::Store, b"a", b"b");
        db.commit(batch, Durability::Synced).expect("written");
        db.inner.drop_cf(Family::Swarm.name()).expect("dropped");
        drop(db);
        assert!(open(OpenMode::Read).is_err(), "nothing is made when only reading");
        let db = open(OpenMode::Write).expect("opened");
        assert_eq!(db.get(Family::Store, b"a").expect("read").as_deref(), Some(&b"b"[..]));
        assert!(!db.contains(Family::Swarm, b"a").expect("read"));
        drop(db);
        open(OpenMode::Read).expect("it is there now");
    }

    #[test]
    fn upper_bound_is_above_the_prefix_and_below_its_successor() {
        assert_eq!(upper_bound(b"ab"), b"ac");
        assert_eq!(upper_bound(b"a\xff"), b"b");
        assert_eq!(upper_bound(b""), vec![0xff; 64]);
    }
}
