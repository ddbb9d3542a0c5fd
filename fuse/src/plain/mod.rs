//! Plain copies of large files in a directory of their own, which the kernel can read by itself.
//!
//! One cache a directory, shared by the mounts of a process; one thread writes, one copy at a time,
//! at the lowest priority. What a copy is made from and checked against is in `copy.rs`; which
//! descriptors read one is in `opens.rs`.
//!
//! Promises: a name in the directory is a whole file that was verified before it got the name;
//! copies and the one being written take no more than the limit; what is open is never removed; no
//! failure here is a failure of a read.
//!
//! Invariant: the lock is never held while a copy is written or removed.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use lru::LruCache;
use mega_storage::{FileId, ReadStore};
use parking_lot::{Condvar, Mutex};

use self::copy::NoCopy;

mod copy;

/// Shortest file that gets a plain copy, in bytes: below, the kernel's small pages cost less than
/// a copy does.
pub const PLAIN_LEN_MIN: u64 = 16 << 20;

/// Copies that may wait to be written; what comes beyond waits for its next opening.
const JOBS_MAX: usize = 256;

/// Files whose failure is remembered.
const FAILED_MAX: usize = 1024;

/// The weakest claim on the processor.
const NICE: i32 = 19;

/// What a [`PlainCache`] holds and has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PlainCounts {
    /// Most bytes of all copies.
    pub limit_len: u64,
    /// Copies there are.
    pub copies: u64,
    /// Their bytes.
    pub len: u64,
    /// Copies written by this process.
    pub written: u64,
    /// Copies removed for others by this process.
    pub removed: u64,
    /// Openings that the kernel was given a copy for.
    pub opened: u64,
}

/// The copies of one directory. Dropping it ends the writing.
pub struct PlainCache {
    inner: Arc<Inner>,
    writer: Option<JoinHandle<()>>,
}

struct Inner {
    dir: PathBuf,
    tmp: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    is_ended: AtomicBool,
    opened: AtomicU64,
}

struct State {
    limit_len: u64,
    copies: HashMap<FileId, Held>,
    /// What the copy being written will take.
    reserved_len: u64,
    jobs: VecDeque<Job>,
    current: Option<FileId>,
    /// Files without a copy whose reason was logged, and whether that is the last word.
    failed: LruCache<FileId, bool>,
    /// Counts openings: the time of [`Held::opened_at`].
    clock: u64,
    written: u64,
    removed: u64,
}

struct Held {
    len: u64,
    opened_at: u64,
    /// Shared with every [`OpenCopy`].
    opens: Arc<()>,
}

impl Held {
    fn is_open(&self) -> bool {
        Arc::strong_count(&self.opens) > 1
    }
}

impl State {
    fn len(&self) -> u64 {
        self.copies.values().map(|held| held.len).sum()
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The copies that have to go so that `len` more bytes fit, those opened longest ago first, and
    /// whether they fit then: what is open stays.
    fn victims(&self, len: u64) -> (Vec<FileId>, bool) {
        let mut excess = (self.len() + self.reserved_len + len).saturating_sub(self.limit_len);
        let mut idle: Vec<_> = self.copies.iter().filter(|(_, held)| !held.is_open()).collect();
        idle.sort_by_key(|(_, held)| held.opened_at);
        let mut victims = Vec::new();
        for (id, held) in idle {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(held.len);
            victims.push(*id);
        }
        (victims, excess == 0)
    }

    fn remove(&mut self, victims: &[FileId]) {
        for id in victims {
            self.copies.remove(id);
        }
        self.removed += victims.len() as u64;
    }
}

/// A copy that is wanted.
struct Job {
    store: Arc<dyn ReadStore>,
    id: FileId,
    len: u64,
    /// The mount that wants it has gone.
    stop: Arc<AtomicBool>,
}

/// Keeps a copy from being removed while it lives.
#[derive(Debug)]
pub(crate) struct OpenCopy {
    _opens: Arc<()>,
}

impl PlainCache {
    /// Takes over the copies in `dir`, which is made when there is none, and removes what is no
    /// whole copy of ours. Copies are written in `tmp`, on the same filesystem, which somebody else
    /// empties. Until [`Self::set_limit`] the limit is 0: no copy is made and none removed.
    ///
    /// # Errors
    /// When the directory cannot be made or listed.
    pub fn open(dir: &Path, tmp: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse::<FileId>().ok());
            let facts = entry.metadata()?;
            match id {
                Some(id) if copy::is_ours(&id, &facts) => {
                    found.push((facts.atime(), facts.atime_nsec(), id, facts.len()));
                }
                _ => {
                    tracing::warn!(path = %entry.path().display(), "no whole copy: removed");
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        found.sort_unstable();
        let clock = found.len() as u64;
        let copies = (1..)
            .zip(found)
            .map(|(opened_at, (_, _, id, len))| {
                (id, Held { len, opened_at, opens: Arc::default() })
            })
            .collect();
        let failed_max = NonZeroUsize::new(FAILED_MAX).expect("the constant is not zero");
        let state = State {
            limit_len: 0,
            copies,
            reserved_len: 0,
            jobs: VecDeque::new(),
            current: None,
            failed: LruCache::new(failed_max),
            clock,
            written: 0,
            removed: 0,
        };
        let inner = Arc::new(Inner {
            dir: dir.to_owned(),
            tmp: tmp.to_owned(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            is_ended: AtomicBool::new(false),
            opened: AtomicU64::new(0),
        });
        let shared = inner.clone();
        let writer = std::thread::Builder::new()
            .name("mega-plain".to_owned())
            .spawn(move || shared.work())?;
        Ok(Self { inner, writer: Some(writer) })
    }

    /// Sets the most bytes of all copies, and removes what is too much now, unless it is open.
    pub fn set_limit(&self, limit_len: u64) {
        let victims = {
            let mut state = self.inner.state.lock();
            state.limit_len = limit_len;
            let (victims, _) = state.victims(0);
            state.remove(&victims);
            victims
        };
        self.inner.unlink(&victims);
    }

    /// What is there, and what was done so far.
    pub fn counts(&self) -> PlainCounts {
        let state = self.inner.state.lock();
        PlainCounts {
            limit_len: state.limit_len,
            copies: state.copies.len() as u64,
            len: state.len(),
            written: state.written,
            removed: state.removed,
            opened: self.inner.opened.load(Ordering::Relaxed),
        }
    }

    /// An empty file without a name where the copies are, to ask the kernel whether it would take
    /// one.
    pub(crate) fn probe(&self) -> io::Result<File> {
        let path = self.inner.dir.join("probe");
        let file = copy::create(&path)?;
        fs::remove_file(path)?;
        Ok(file)
    }

    /// Opens the copy of a file of `len` bytes; `None` when there is none that can be trusted.
    pub(crate) fn take(&self, id: &FileId, len: u64) -> Option<(File, OpenCopy)> {
        let mut state = self.inner.state.lock();
        let now = state.tick();
        let held = state.copies.get_mut(id)?;
        match copy::open(&self.inner.path(id), id, len) {
            Ok(file) => {
                held.opened_at = now;
                Some((file, OpenCopy { _opens: held.opens.clone() }))
            }
            Err(error) => {
                state.copies.remove(id);
                drop(state);
                tracing::warn!(file = %id, %error, "a plain copy is not used");
                self.inner.unlink(&[*id]);
                None
            }
        }
    }

    /// Counts an opening that the kernel was given a copy for.
    pub(crate) fn count_opened(&self) {
        self.inner.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks for a copy, unless there is one, it is on its way, or it failed for good. Returns at
    /// once. `stop` calls it off.
    pub(crate) fn want(
        &self,
        store: &Arc<dyn ReadStore>,
        id: &FileId,
        len: u64,
        stop: &Arc<AtomicBool>,
    ) {
        let mut state = self.inner.state.lock();
        if state.copies.contains_key(id)
            || state.current == Some(*id)
            || state.jobs.len() >= JOBS_MAX
            || state.jobs.iter().any(|job| job.id == *id)
            || state.failed.peek(id) == Some(&true)
            || stop.load(Ordering::Relaxed)
        {
            return;
        }
        state.jobs.push_back(Job { store: store.clone(), id: *id, len, stop: stop.clone() });
        self.inner.changed.notify_all();
    }

    /// Lets go of the jobs that were called off.
    pub(crate) fn forget_stopped(&self) {
        self.inner.state.lock().jobs.retain(|job| !job.stop.load(Ordering::Relaxed));
    }

    /// Waits until nothing is left to write.
    #[cfg(test)]
    pub(crate) fn settle(&self) {
        let mut state = self.inner.state.lock();
        while state.current.is_some() || !state.jobs.is_empty() {
            self.inner.changed.wait(&mut state);
        }
    }
}

impl Drop for PlainCache {
    fn drop(&mut self) {
        self.inner.is_ended.store(true, Ordering::Relaxed);
        {
            // Under the lock: the writer is either before its look at the flag, or waits already.
            let _state = self.inner.state.lock();
            self.inner.changed.notify_all();
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Inner {
    fn path(&self, id: &FileId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    fn unlink(&self, ids: &[FileId]) {
        for id in ids {
            let path = self.path(id);
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!(file = %id, "a plain copy was removed"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(file = %id, %error, "a plain copy stays"),
            }
        }
    }

    /// The writer's life.
    fn work(&self) {
        // A thread's own, on Linux.
        let _ = rustix::process::setpriority_process(None, NICE);
        while let Some(job) = self.next() {
            let written = catch_unwind(AssertUnwindSafe(|| self.write(&job)))
                .unwrap_or(Err(NoCopy::Panicked));
            let id = job.id;
            // The store goes before anybody hears that the work is done.
            drop(job);
            self.finish(id, written);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if self.is_ended.load(Ordering::Relaxed) {
                state.jobs.clear();
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                state.current = Some(job.id);
                return Some(job);
            }
            self.changed.wait(&mut state);
        }
    }

    fn is_stopped(&self, job: &Job) -> bool {
        self.is_ended.load(Ordering::Relaxed) || job.stop.load(Ordering::Relaxed)
    }

    fn write(&self, job: &Job) -> Result<u64, NoCopy> {
        copy::check_complete(job)?;
        let victims = {
            let mut state = self.state.lock();
            let (victims, fits) = state.victims(job.len);
            if !fits {
                return Err(NoCopy::NoRoom { limit_len: state.limit_len });
            }
            state.remove(&victims);
            state.reserved_len = job.len;
            victims
        };
        self.unlink(&victims);
        copy::write(job, &self.path(&job.id), &self.tmp, &|| self.is_stopped(job))?;
        Ok(job.len)
    }

    fn finish(&self, id: FileId, written: Result<u64, NoCopy>) {
        let mut state = self.state.lock();
        state.reserved_len = 0;
        let mut victims = Vec::new();
        match written {
            Ok(len) => {
                let opened_at = state.tick();
                state.copies.insert(id, Held { len, opened_at, opens: Arc::default() });
                state.failed.pop(&id);
                state.written += 1;
                tracing::info!(file = %id, len, "a plain copy was written");
                // The limit may have fallen meanwhile.
                victims = state.victims(0).0;
                state.remove(&victims);
            }
            Err(NoCopy::Stopped | NoCopy::Incomplete) => {}
            Err(error) => {
                if state.failed.put(id, error.is_final()).is_none() {
                    tracing::warn!(file = %id, %error, "no plain copy");
                }
            }
        }
        drop(state);
        self.unlink(&victims);
        self.state.lock().current = None;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
