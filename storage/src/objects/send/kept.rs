//! Packs kept as they went out: a clone that is asked for again is a copy of a file.
//!
//! A kept pack is named by the repository and the exact objects in it, so no push makes one wrong.
//! It may be lost, torn or damaged at any time: a damaged one is found out before its trailer goes
//! out, so that no client takes it, and is removed.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::out::write_error;
use super::{SendOptions, SendReport};
use crate::db::Db;
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::progress::{Progress, Unit};

/// Length of all kept packs together, in bytes.
const TOTAL_LEN_MAX: u64 = 2 << 30;
/// Length of one, in bytes.
const PACK_LEN_MAX: u64 = TOTAL_LEN_MAX / 4;
/// Space that stays free on the filesystem, in times of what kept packs may take.
const FREE_SHARE: u64 = 8;
/// Questions remembered: a pack is kept when it is asked for a second time.
const ASKED_COUNT: usize = 256;
/// A pack's trailing SHA-1.
const TRAILER_LEN: usize = 20;
/// A kept pack ends in the CRC-32 of all before.
const CHECKSUM_LEN: usize = 4;
/// Bytes read, checked and sent at once.
const PIECE_LEN: usize = 256 << 10;

type Key = [u8; 16];

/// The directory of kept packs.
pub(crate) struct KeptPacks {
    dir: PathBuf,
    tmp: PathBuf,
    asked: Mutex<VecDeque<Key>>,
    total_len_max: u64,
}

/// What is to be done for one question.
pub(super) enum Kept {
    /// The pack is here.
    Here(HerePack),
    /// It was asked for before: to be kept this time.
    Keep(KeyedPath),
    /// Asked for the first time.
    No,
}

/// A kept pack, opened.
pub(super) struct HerePack {
    file: File,
    path: PathBuf,
    /// Without the checksum.
    len: u64,
}

/// Where a pack will be kept.
pub(super) struct KeyedPath(PathBuf);

impl KeptPacks {
    pub(crate) fn new(db: &Db) -> Self {
        let dir = directory(db);
        let tmp = db.tmp().to_owned();
        Self { dir, tmp, asked: Mutex::default(), total_len_max: TOTAL_LEN_MAX }
    }

    /// Removes what is kept of a repository that is deleted.
    pub(crate) fn remove(db: &Db, repo: RepoId) {
        // What stays is never asked for: numbers are not reused.
        let _ = fs::remove_dir_all(directory(db).join(repo.to_string()));
    }

    /// Looks for the pack of `ids`.
    pub(super) fn find(&self, repo: RepoId, ids: &[ObjectId], options: &SendOptions<'_>) -> Kept {
        let key = key_of(ids, options.ofs_delta);
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.dir.join(repo.to_string()).join(name);
        if let Some(pack) = HerePack::open(&path) {
            return Kept::Here(pack);
        }
        let mut asked = self.asked.lock();
        if asked.contains(&key) {
            return Kept::Keep(KeyedPath(path));
        }
        asked.push_back(key);
        if asked.len() > ASKED_COUNT {
            asked.pop_front();
        }
        Kept::No
    }

    /// A writer that passes on what it gets and keeps a copy. Trouble with the copy is nobody's.
    pub(super) fn copy<'a>(&self, out: &'a mut dyn Write) -> Copying<'a> {
        let file = tempfile::Builder::new().prefix("pack-").tempfile_in(&self.tmp).ok();
        let file = file.map(|file| BufWriter::with_capacity(PIECE_LEN, file));
        let limit = PACK_LEN_MAX.min(self.total_len_max).min(self.room());
        Copying { out, file, len: 0, limit, checksum: crc32fast::Hasher::new() }
    }

    /// Bytes that one more pack may take.
    fn room(&self) -> u64 {
        rustix::fs::statvfs(&self.tmp).map_or(0, |fs| fs.f_bavail * fs.f_frsize / FREE_SHARE)
    }

    /// Makes room by the packs that were sent longest ago.
    fn prune(&self) {
        let mut packs = Vec::new();
        for dir in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            for pack in fs::read_dir(dir.path()).into_iter().flatten().flatten() {
                let Ok(meta) = pack.metadata() else { continue };
                let time = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                packs.push((time, meta.len(), pack.path()));
            }
        }
        packs.sort_unstable();
        let mut total: u64 = packs.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in packs {
            if total <= self.total_len_max {
                break;
            }
            total -= len;
            let _ = fs::remove_file(path);
        }
    }
}

impl HerePack {
    fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len().checked_sub(CHECKSUM_LEN as u64)?;
        (len >= TRAILER_LEN as u64).then(|| Self { file, path: path.to_owned(), len })
    }

    /// Copies the pack out. The trailer goes last, after all was checked.
    pub(super) fn send(
        mut self,
        count: u64,
        out: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<SendReport> {
        progress.start("writing the pack", Some(count), Unit::Objects);
        // Those sent last are kept longest.
        let _ = self.file.set_modified(SystemTime::now());
        let mut buffer = vec![0; PIECE_LEN];
        let mut checksum = crc32fast::Hasher::new();
        let mut left = self.len - TRAILER_LEN as u64;
        while left > 0 {
            let piece = &mut buffer[..left.min(PIECE_LEN as u64) as usize];
            self.file.read_exact(piece).map_err(|e| self.damaged(e))?;
            checksum.update(piece);
            out.write_all(piece).map_err(write_error)?;
            left -= piece.len() as u64;
            if progress.interrupted() {
                return Err(StoreError::Interrupted);
            }
        }
        let mut end = [0; TRAILER_LEN + CHECKSUM_LEN];
        self.file.read_exact(&mut end).map_err(|e| self.damaged(e))?;
        let (trailer, expected) = end.split_at(TRAILER_LEN);
        checksum.update(trailer);
        if checksum.finalize().to_be_bytes() != expected {
            return Err(self.damaged(io::Error::other("its checksum is wrong")));
        }
        out.write_all(trailer).map_err(write_error)?;
        progress.advance(count);
        Ok(SendReport { object_count: count, pack_len: self.len })
    }

    /// The next one who asks gets the pack from the store.
    fn damaged(&self, error: io::Error) -> StoreError {
        let _ = fs::remove_file(&self.path);
        StoreError::io(format!("reading the kept pack {}", self.path.display()), error)
    }
}

/// A pack on its way out and into a file.
pub(super) struct Copying<'a> {
    out: &'a mut dyn Write,
    file: Option<BufWriter<NamedTempFile>>,
    len: u64,
    limit: u64,
    checksum: crc32fast::Hasher,
}

impl Copying<'_> {
    /// The pack is whole: keeps it. It is not synced, its checksum finds a torn one.
    pub(super) fn keep(self, packs: &KeptPacks, path: &KeyedPath) {
        let Some(mut file) = self.file else { return };
        let keep = || -> io::Result<()> {
            file.write_all(&self.checksum.clone().finalize().to_be_bytes())?;
            let file = file.into_inner().map_err(|e| io::Error::other(e.to_string()))?;
            file.as_file().set_modified(SystemTime::now())?;
            if let Some(dir) = path.0.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            }
            file.persist(&path.0).map_err(|e| e.error)?;
            Ok(())
        };
        let _ = keep();
        packs.prune();
    }
}

impl Write for Copying<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.len += bytes.len() as u64;
        if let Some(file) = &mut self.file {
            self.checksum.update(bytes);
            if self.len > self.limit || file.write_all(bytes).is_err() {
                self.file = None;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Names the pack of these ids: the first half of a SHA-256.
fn key_of(ids: &[ObjectId], ofs_delta: bool) -> Key {
    let mut hasher = Sha256::new();
    hasher.update([u8::from(ofs_delta)]);
    ids.iter().for_each(|id| hasher.update(id.as_bytes()));
    let hash = hasher.finalize();
    let mut key = Key::default();
    key.copy_from_slice(&hash[..16]);
    key
}

fn directory(db: &Db) -> PathBuf {
    db.dir().join("cache/packs")
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
