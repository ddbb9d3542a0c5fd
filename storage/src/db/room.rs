//! Room on the disk: a reserve that only removals may use.
//!
//! On a full disk RocksDB cannot even be opened to write, and then nothing could be removed either.
//! So the file `ballast` of the store's directory holds a reserve of space. Whoever opens a store
//! on a full disk gives it up, and so does gc; it is made again once there is room for it. Content
//! is taken in only while as much again is free: RocksDB, which writes in the background, does not
//! run into the end of the disk by what this program does.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::error::{Result, StoreError};

/// The file in a store's directory.
pub(crate) const BALLAST: &str = "ballast";
/// The reserve, in bytes, on a disk that is large enough.
const RESERVE_LEN: u64 = 64 << 20;
/// On a small one it is this part of it.
const RESERVE_SHARE: u64 = 64;

/// The space of the disk that a store is on.
pub(crate) struct Room {
    dir: PathBuf,
    reserve_len: u64,
    has_ballast: AtomicBool,
    /// The filesystem can set space aside.
    can_reserve: AtomicBool,
    /// Held while the ballast is made or given up.
    changing: Mutex<()>,
}

impl Room {
    /// The disk on which the store in `dir` is.
    pub(super) fn new(dir: &Path) -> Self {
        let total = statvfs(dir).map_or(u64::MAX, |fs| fs.f_blocks.saturating_mul(fs.f_frsize));
        Self::with_reserve(dir, RESERVE_LEN.min(total / RESERVE_SHARE))
    }

    fn with_reserve(dir: &Path, reserve_len: u64) -> Self {
        // One that a crash left while it was made holds less.
        let is_whole = fs::metadata(ballast(dir)).is_ok_and(|meta| meta.len() >= reserve_len);
        let has_ballast = AtomicBool::new(is_whole);
        let can_reserve = AtomicBool::new(true);
        Self {
            dir: dir.to_owned(),
            reserve_len,
            has_ballast,
            can_reserve,
            changing: Mutex::default(),
        }
    }

    /// Bytes that are free; without an answer there is no reason to refuse anything.
    fn free_len(&self) -> u64 {
        statvfs(&self.dir).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
    }

    /// Fails when content must not be added any more.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`].
    pub(crate) fn check(&self, action: &'static str) -> Result<()> {
        let free = self.free_len();
        let is_missing =
            !self.has_ballast.load(Ordering::Relaxed) && self.can_reserve.load(Ordering::Relaxed);
        let wanted = self.reserve_len.saturating_mul(if is_missing { 2 } else { 1 });
        if free < wanted {
            return Err(StoreError::DiskFull { action });
        }
        if is_missing {
            self.restore();
        }
        Ok(())
    }

    /// Gives the ballast up when less than the reserve is free, so that what removes can write.
    pub(crate) fn release(&self) {
        let _changing = self.changing.lock();
        if self.free_len() < self.reserve_len && fs::remove_file(ballast(&self.dir)).is_ok() {
            self.has_ballast.store(false, Ordering::Relaxed);
        }
    }

    /// Makes the ballast again when there is room for it and as much again.
    pub(crate) fn restore(&self) {
        let Some(_changing) = self.changing.try_lock() else { return };
        let is_there = self.has_ballast.load(Ordering::Relaxed);
        let is_there = is_there || !self.can_reserve.load(Ordering::Relaxed);
        if is_there || self.free_len() < self.reserve_len.saturating_mul(2) {
            return;
        }
        match make(&ballast(&self.dir), self.reserve_len) {
            Ok(()) => self.has_ballast.store(true, Ordering::Relaxed),
            Err(error) => {
                let _ = fs::remove_file(ballast(&self.dir));
                if error.kind() != io::ErrorKind::StorageFull {
                    self.can_reserve.store(false, Ordering::Relaxed);
                }
            }
        }
    }
}

fn ballast(dir: &Path) -> PathBuf {
    dir.join(BALLAST)
}

/// A file whose blocks are taken. Only they matter: what is in them is never read.
fn make(path: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(fallocate(&file, FallocateFlags::empty(), 0, len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_refused_while_the_reserve_is_all_there_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let free = Room::with_reserve(dir.path(), 0).free_len();
        assert!(Room::with_reserve(dir.path(), 4096).check("x").is_ok());
        assert!(ballast(dir.path()).exists(), "made by the way");
        // Somebody else fills the disk: less than the reserve is left.
        let mut full = Room::with_reserve(dir.path(), 4096);
        full.reserve_len = free.saturating_mul(2);
        assert!(matches!(full.check("x"), Err(StoreError::DiskFull { action: "x" })));
        full.release();
        assert!(!ballast(dir.path()).exists(), "removals have it now");
        assert!(full.check("x").is_err(), "and nobody else");
        full.restore();
        assert!(!ballast(dir.path()).exists(), "there is no room for it");
        let again = Room::with_reserve(dir.path(), 8192);
        again.restore();
        assert_eq!(fs::metadata(ballast(dir.path())).expect("is there").len(), 8192);
        again.release();
        assert!(ballast(dir.path()).exists(), "kept while there is room");
        fs::write(ballast(dir.path()), "").expect("written");
        Room::with_reserve(dir.path(), 8192).check("x").expect("there is room");
        assert_eq!(fs::metadata(ballast(dir.path())).expect("is there").len(), 8192);
    }

    #[test]
    fn what_is_given_up_is_enough_only_for_removals() {
        let dir = tempfile::tempdir().expect("a directory");
        let free = Room::with_reserve(dir.path(), 0).free_len();
        // Room for the reserve, but not for the ballast beside it.
        let room = Room::with_reserve(dir.path(), free / 3 * 2);
        assert!(room.check("x").is_err());
        assert!(!ballast(dir.path()).exists());
    }
}
