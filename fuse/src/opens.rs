//! Which large files are open, and how: from our pages, or straight from a plain copy.
//!
//! Invariant: all descriptors of one inode are of the same kind. The kernel refuses to mix them
//! (`EIO`), so the kind is decided by the opening that finds none, and holds until the last is
//! closed. The kernel counts an inode's descriptors down before it tells us of it, so none here is
//! none there.
//!
//! `B` is what the kernel knows a copy by: one for all descriptors of an inode.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mega_storage::{FileId, ReadStore};
use parking_lot::Mutex;

use crate::plain::{OpenCopy, PlainCache};

/// A large file of the view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LargeFile {
    pub(crate) id: FileId,
    pub(crate) len: u64,
}

/// How a descriptor reads.
#[derive(Debug)]
pub(crate) enum Way<B> {
    /// By requests to us; the kernel keeps the pages.
    Cached,
    /// From the copy.
    Plain(Arc<B>),
}

/// An inode, and its content: a number may be given again before the last closing is told.
type Key = (u64, FileId);

struct Held<B> {
    count: usize,
    plain: Option<(Arc<B>, OpenCopy)>,
}

struct Table<B> {
    held: HashMap<Key, Held<B>>,
    handles: HashMap<u64, Key>,
    /// The last handle given; 0 is nobody's.
    last: u64,
}

/// The open large files of one mount.
pub(crate) struct Opens<B> {
    cache: Arc<PlainCache>,
    store: Arc<dyn ReadStore>,
    stop: Arc<AtomicBool>,
    table: Mutex<Table<B>>,
}

impl<B> Opens<B> {
    /// `stop` calls off what the mount wants of the cache.
    pub(crate) fn new(
        cache: Arc<PlainCache>,
        store: Arc<dyn ReadStore>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let table = Table { held: HashMap::new(), handles: HashMap::new(), last: 0 };
        Self { cache, store, stop, table: Mutex::new(table) }
    }

    pub(crate) fn cache(&self) -> &PlainCache {
        &self.cache
    }

    /// Opens an inode: its handle, which [`Self::release`] takes back, and the way. `register`
    /// makes a copy known to the kernel; when it cannot, the file is read as without one. Wants a
    /// copy when there is none.
    pub(crate) fn open(
        &self,
        ino: u64,
        file: LargeFile,
        register: impl FnOnce(&File) -> io::Result<B>,
    ) -> (u64, Way<B>) {
        let mut table = self.table.lock();
        table.last += 1;
        let (handle, key) = (table.last, (ino, file.id));
        table.handles.insert(handle, key);
        let held = table
            .held
            .entry(key)
            .or_insert_with(|| Held { count: 0, plain: self.plain(file, register) });
        held.count += 1;
        match &held.plain {
            Some((known, _)) => {
                self.cache.count_opened();
                (handle, Way::Plain(known.clone()))
            }
            None => {
                drop(table);
                self.cache.want(&self.store, &file.id, file.len, &self.stop);
                (handle, Way::Cached)
            }
        }
    }

    fn plain(
        &self,
        file: LargeFile,
        register: impl FnOnce(&File) -> io::Result<B>,
    ) -> Option<(Arc<B>, OpenCopy)> {
        let (copy, open) = self.cache.take(&file.id, file.len)?;
        register(&copy)
            .inspect_err(|error| {
                tracing::warn!(file = %file.id, %error, "the kernel does not take a plain copy");
            })
            .ok()
            .map(|known| (Arc::new(known), open))
    }

    /// Closes what [`Self::open`] gave. Unknown handles are of files that are not large.
    pub(crate) fn release(&self, handle: u64) {
        let mut table = self.table.lock();
        let Some(key) = table.handles.remove(&handle) else {
            return;
        };
        let Some(held) = table.held.get_mut(&key) else {
            return;
        };
        held.count -= 1;
        if held.count == 0 {
            let gone = table.held.remove(&key);
            drop(table);
            // Tells the kernel, which needs no lock of ours.
            drop(gone);
        }
    }
}

impl<B> Drop for Opens<B> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.cache.forget_stopped();
    }
}

#[cfg(test)]
#[path = "opens_tests.rs"]
mod tests;
