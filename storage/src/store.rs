//! A store on the disk: one directory, one owner process, the four stores inside.
//!
//! Layout of the directory: `FORMAT` (written last when a store is made: without it there is no
//! store), `owner` (locked by the process that has the store open), `db/` (RocksDB), `tmp/`
//! (emptied at every open), `cache/` (losable), `ballast` (space for removals on a full disk).

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::content_cache::CacheState;
use crate::db::{Db, Durability, Family, OpenMode};
use crate::error::{Result, StoreError};
use crate::files::FileStore;
use crate::id::{ObjectId, RepoId};
use crate::lease::Lease;
use crate::locks::LockStore;
use crate::objects::ObjectStore;
use crate::owner::OwnerLock;
use crate::partial::PartialStore;
use crate::refs::RefStore;
use crate::repos::RepoStore;
use crate::swarm::SwarmStore;
use crate::tokens::TokenStore;
use crate::walk::ClosureCache;

/// The format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Sizes of what the store keeps in memory.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// RocksDB's block cache, in bytes: keys, filters, small values.
    pub block_cache_len: usize,
    /// Inflated delta bases kept for the next object that needs them, in bytes. Git keeps as much.
    pub base_cache_len: usize,
    /// Decoded chunks kept for the next read nearby, in bytes.
    pub chunk_cache_len: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { block_cache_len: 64 << 20, base_cache_len: 96 << 20, chunk_cache_len: 32 << 20 }
    }
}

/// An open store. Clones share it; it closes when the last one goes.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    repos: RepoStore,
    refs: RefStore,
    objects: ObjectStore,
    files: FileStore,
    closures: ClosureCache,
    locks: LockStore,
    tokens: TokenStore,
    swarm: SwarmStore,
    cache: CacheState,
    /// One gc at a time.
    gc: Mutex<()>,
    db: Arc<Db>,
}

impl Store {
    /// Makes a store in `path`, which must be absent or an empty directory, and opens it.
    ///
    /// # Errors
    /// [`StoreError::StoreExists`] when something is there; [`StoreError::DamagedFormat`]: it is a
    /// store that lost its `FORMAT`.
    pub fn create(path: &Path, options: &StoreOptions) -> Result<Self> {
        if path.join("FORMAT").exists() {
            return Err(StoreError::StoreExists { path: path.to_owned() });
        }
        if let Ok(mut entries) = fs::read_dir(path)
            && entries.any(|entry| entry.is_ok_and(|e| !is_leftover(&e.file_name())))
        {
            return Err(StoreError::StoreExists { path: path.to_owned() });
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| StoreError::io(format!("creating {}", path.display()), e))?;
        let owner = OwnerLock::take(path)?;
        if path.join("FORMAT").exists() {
            // Made, and closed again, by another process since the first look: its rows are not
            // ours to clear away.
            return Err(StoreError::StoreExists { path: path.to_owned() });
        }
        if has_rows(path) {
            return Err(StoreError::DamagedFormat { path: path.join("FORMAT") });
        }
        // A making that was interrupted before FORMAT left nothing that anyone was told of.
        let _ = fs::remove_dir_all(path.join("db"));
        let store = Self::open_owned(path, owner, OpenMode::Create, options)?;
        let mut batch = store.inner.db.batch();
        batch.put(Family::Store, b"format", &FORMAT_VERSION.to_be_bytes());
        store.inner.db.commit(batch, Durability::Synced)?;
        write_format(path)?;
        Ok(store)
    }

    /// Opens the store in `path`.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`], [`StoreError::FormatNewer`], or [`StoreError::Held`] naming the
    /// owner.
    pub fn open(path: &Path, options: &StoreOptions) -> Result<Self> {
        Self::open_in(path, OpenMode::Write, options)
    }

    /// Opens the store in `path` to read what is there and no more: nothing in it changes, and what
    /// would write fails. Several times cheaper than [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`]; also for a store without a family that this program knows.
    pub fn open_to_read(path: &Path, options: &StoreOptions) -> Result<Self> {
        Self::open_in(path, OpenMode::Read, options)
    }

    fn open_in(path: &Path, mode: OpenMode, options: &StoreOptions) -> Result<Self> {
        read_format(path)?;
        let owner = OwnerLock::take(path)?;
        let store = Self::open_owned(path, owner, mode, options)?;
        let row = store.inner.db.get(Family::Store, b"format")?;
        if row.as_deref() != Some(&FORMAT_VERSION.to_be_bytes()[..]) {
            return Err(StoreError::DamagedRow {
                family: "store",
                key: "format".to_owned(),
                reason: "it does not say what the file FORMAT says",
            });
        }
        drop(row);
        Ok(store)
    }

    fn open_owned(
        path: &Path,
        owner: OwnerLock,
        mode: OpenMode,
        options: &StoreOptions,
    ) -> Result<Self> {
        let tmp = path.join("tmp");
        if mode != OpenMode::Read {
            clear_tmp(&tmp)
                .map_err(|e| StoreError::io(format!("opening {} to write", path.display()), e))?;
        }
        let db_path = path.join("db");
        if mode == OpenMode::Create {
            // RocksDB would make it readable for everyone, and the directory around it may be the
            // user's own.
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&db_path)
                .map_err(|e| StoreError::io(format!("creating {}", db_path.display()), e))?;
        }
        let db = Arc::new(Db::open(&db_path, &tmp, mode, options.block_cache_len)?);
        db.keep(owner);
        let inner = Inner {
            path: path.to_owned(),
            repos: RepoStore::new(db.clone()),
            refs: RefStore::new(db.clone()),
            objects: ObjectStore::new(db.clone(), options.base_cache_len),
            files: FileStore::new(db.clone(), options.chunk_cache_len),
            closures: ClosureCache::new(&db),
            locks: LockStore::new(db.clone()),
            tokens: TokenStore::new(db.clone())?,
            swarm: SwarmStore::new(db.clone()),
            cache: CacheState::default(),
            gc: Mutex::default(),
            db,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// A directory for temporary files on the same filesystem, emptied at the next open; the
    /// system's own when the store is open to read.
    pub fn tmp(&self) -> &Path {
        self.inner.db.tmp()
    }

    /// What the disk said when it failed a write: nothing is written after that until the store is
    /// opened again. Reads go on.
    pub fn stopped(&self) -> Option<&str> {
        self.inner.db.stopped()
    }

    /// Repositories: names, visibility.
    pub fn repos(&self) -> &RepoStore {
        &self.inner.repos
    }

    /// References of all repositories.
    pub fn refs(&self) -> &RefStore {
        &self.inner.refs
    }

    /// Git objects.
    pub fn objects(&self) -> &ObjectStore {
        &self.inner.objects
    }

    /// LFS content.
    pub fn files(&self) -> &FileStore {
        &self.inner.files
    }

    /// What sources have told of a repository's content that is not here.
    pub(crate) fn partial(&self, repo: RepoId) -> PartialStore {
        PartialStore::new(self.inner.db.clone(), repo)
    }

    /// What is known of content that may go.
    pub(crate) fn cache_state(&self) -> &CacheState {
        &self.inner.cache
    }

    /// Whose turn it is to collect.
    pub(crate) fn gc_turn(&self) -> &Mutex<()> {
        &self.inner.gc
    }

    /// Keeps everything that a repository has from gc, for what brings content in several steps and
    /// counts on what is there.
    pub fn lease(&self, repo: RepoId) -> Lease {
        self.inner.db.leases().begin_whole(repo)
    }

    /// Keeps objects of a repository, with all that they reach, from gc: for who reads them.
    ///
    /// # Errors
    /// [`StoreError::MissingObject`] for one that is not an object of the repository, or no more.
    pub fn hold(&self, repo: RepoId, ids: &[ObjectId]) -> Result<Lease> {
        // Entered before it is looked for: see the invariants of leases.
        let lease = self.inner.db.leases().begin(repo, ids);
        let members = self.inner.objects.are_members(repo, ids)?;
        match ids.iter().zip(members).find(|(_, is_member)| !is_member) {
            Some((id, _)) => Err(StoreError::MissingObject { id: *id }),
            None => Ok(lease),
        }
    }

    /// Access tokens.
    pub fn tokens(&self) -> &TokenStore {
        &self.inner.tokens
    }

    /// What is remembered of peers, and kept for them.
    pub fn swarm(&self) -> &SwarmStore {
        &self.inner.swarm
    }

    /// What references reach, kept beside the database.
    pub(crate) fn closures(&self) -> &ClosureCache {
        &self.inner.closures
    }

    /// The database.
    pub(crate) fn db(&self) -> &Arc<Db> {
        &self.inner.db
    }

    /// Locks that users hold on paths.
    pub fn locks(&self) -> &LockStore {
        &self.inner.locks
    }

    /// Rewrites what RocksDB holds so that each key is stored once: for measuring, and after much
    /// was deleted.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn compact(&self) -> Result<()> {
        self.inner.db.compact(&Family::ALL)
    }

    /// Bytes on the disk by column family.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn family_lens(&self) -> Result<Vec<(&'static str, u64)>> {
        Family::ALL.iter().map(|&f| Ok((f.name(), self.inner.db.family_len(f)?))).collect()
    }
}

/// Makes the directory for temporary files, or takes away what the last owner left there: all but
/// what opening the database may need.
fn clear_tmp(tmp: &Path) -> std::io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(tmp) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    rustix::fs::access(tmp, rustix::fs::Access::WRITE_OK)?;
    for entry in fs::read_dir(tmp)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false if Db::is_kept(&entry.path()) => {}
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn is_leftover(name: &std::ffi::OsStr) -> bool {
    ["owner", "db", "tmp", "cache", "ballast", "FORMAT.tmp"].iter().any(|known| name == *known)
}

fn write_format(path: &Path) -> Result<()> {
    let io = |e| StoreError::io(format!("writing {}", path.join("FORMAT").display()), e);
    let draft = path.join("FORMAT.tmp");
    let mut file = File::create(&draft).map_err(io)?;
    file.write_all(format!("mega-store {FORMAT_VERSION}\n").as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&draft, path.join("FORMAT")).map_err(io)?;
    File::open(path).and_then(|dir| dir.sync_all()).map_err(io)
}

fn read_format(path: &Path) -> Result<()> {
    let text = match fs::read(path.join("FORMAT")) {
        Ok(text) => text,
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Vec::new()
        }
        Err(e) => return Err(StoreError::io(format!("reading {}/FORMAT", path.display()), e)),
    };
    let number = |text: &str| text.strip_prefix("mega-store ")?.strip_suffix('\n')?.parse().ok();
    match std::str::from_utf8(&text).ok().and_then(number) {
        Some(1..=FORMAT_VERSION) => Ok(()),
        Some(found) if found > FORMAT_VERSION => {
            Err(StoreError::FormatNewer { path: path.to_owned(), found, supported: FORMAT_VERSION })
        }
        _ if has_rows(path) => Err(StoreError::DamagedFormat { path: path.join("FORMAT") }),
        _ => Err(StoreError::NotAStore { path: path.to_owned() }),
    }
}

/// Whether there is a database with files of rows: one whose making was interrupted has none.
fn has_rows(path: &Path) -> bool {
    let is_of_rows = |entry: fs::DirEntry| {
        let path = entry.path();
        path.extension().is_some_and(|end| end == "sst" || end == "blob")
    };
    fs::read_dir(path.join("db")).is_ok_and(|mut all| all.any(|entry| entry.is_ok_and(is_of_rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_owner_and_says_who() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let store = Store::create(&path, &StoreOptions::default()).expect("made");
        match Store::open(&path, &StoreOptions::default()).map(|_| ()) {
            Err(StoreError::Held { holder, .. }) => {
                assert!(holder.contains(&std::process::id().to_string()), "{holder}");
            }
            other => panic!("expected Held, not {other:?}"),
        }
        assert!(matches!(
            Store::create(&path, &StoreOptions::default()).map(|_| ()),
            Err(StoreError::StoreExists { .. })
        ));
        drop(store);
        Store::open(&path, &StoreOptions::default()).expect("free again");
    }

    #[test]
    fn the_owner_stays_while_anything_of_the_store_is_in_use() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let store = Store::create(&path, &StoreOptions::default()).expect("made");
        let files = store.files().clone();
        drop(store);
        let open = || Store::open(&path, &StoreOptions::default()).map(|_| ());
        assert!(matches!(open(), Err(StoreError::Held { .. })), "{:?}", open());
        drop(files);
        open().expect("free again");
    }

    #[test]
    fn reading_changes_nothing_and_sees_what_only_the_log_has() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let name = crate::RepoName::new("a/b").expect("a name");
        let store = Store::create(&path, &StoreOptions::default()).expect("made");
        store.repos().create(&name, crate::Visibility::Private).expect("made");
        drop(store);
        let files = || {
            let names = ["db", "tmp"].map(|name| fs::read_dir(path.join(name)).expect("listed"));
            let files = names.into_iter().flatten().map(|entry| entry.expect("a file"));
            let state = files.map(|file| {
                let meta = file.metadata().expect("is there");
                (file.path(), meta.len(), meta.modified().expect("a time"))
            });
            let mut all: Vec<_> = state.collect();
            all.sort();
            all
        };
        let before = files();
        let store = Store::open_to_read(&path, &StoreOptions::default()).expect("opened");
        assert!(store.repos().find(&name).expect("readable").is_some());
        store.repos().delete(&name).expect_err("nothing can be written");
        assert!(matches!(
            Store::open(&path, &StoreOptions::default()).map(|_| ()),
            Err(StoreError::Held { .. })
        ));
        drop(store);
        assert_eq!(files(), before);
        // As a process leaves it that is killed while it opens the store.
        fs::remove_dir(path.join("tmp")).expect("empty");
        let store = Store::open_to_read(&path, &StoreOptions::default()).expect("opened");
        assert!(store.tmp().is_dir(), "{}", store.tmp().display());
        drop(store);
        let store = Store::open(&path, &StoreOptions::default()).expect("free again");
        assert!(store.repos().find(&name).expect("readable").is_some());
    }

    #[test]
    fn nobody_else_reads_a_store_in_a_directory_that_was_there() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let open_to_all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.path(), open_to_all).expect("changed");
        drop(Store::create(dir.path(), &StoreOptions::default()).expect("made"));
        for name in ["db", "tmp", "owner"] {
            let mode = fs::metadata(dir.path().join(name)).expect("is there").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(Store::create(dir.path(), &StoreOptions::default()).expect("made"));
        fs::write(dir.path().join("FORMAT"), "mega-store 2\n").expect("written");
        let error =
            Store::open(dir.path(), &StoreOptions::default()).map(|_| ()).expect_err("refused");
        assert!(matches!(error, StoreError::FormatNewer { found: 2, supported: 1, .. }));
        assert!(error.to_string().contains("has format 2"));
    }

    #[test]
    fn a_database_without_its_format_is_no_place_for_a_new_store() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(dir.path(), &StoreOptions::default()).expect("made");
        store.compact().expect("compacted");
        drop(store);
        let format = dir.path().join("FORMAT");
        let open = || Store::open(dir.path(), &StoreOptions::default()).map(|_| ());
        for text in ["mega-store 0\n", "mega-stor\u{fffd} 1\n", "mega-store 1", ""] {
            fs::write(&format, text).expect("written");
            assert!(matches!(open(), Err(StoreError::DamagedFormat { .. })), "{text}");
        }
        fs::remove_file(&format).expect("removed");
        assert!(matches!(open(), Err(StoreError::DamagedFormat { .. })));
        let made = Store::create(dir.path(), &StoreOptions::default()).map(|_| ());
        assert!(matches!(made, Err(StoreError::DamagedFormat { .. })));
        fs::write(&format, "mega-store 1\n").expect("written");
        open().expect("all of it is there");
    }

    #[test]
    fn absent_and_foreign_directories_are_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |p: &Path| Store::open(p, &StoreOptions::default()).map(|_| ());
        assert!(matches!(open(&dir.path().join("x")), Err(StoreError::NotAStore { .. })));
        fs::write(dir.path().join("FORMAT"), "something else").expect("written");
        assert!(matches!(open(dir.path()), Err(StoreError::NotAStore { .. })));
        assert!(matches!(
            Store::create(dir.path(), &StoreOptions::default()).map(|_| ()),
            Err(StoreError::StoreExists { .. })
        ));
    }
}
