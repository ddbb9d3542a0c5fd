//! One plain copy: written, verified whole, named; known again by its mark.
//!
//! The mark is the time of last modification, a moment made of the file's id: writing to a copy
//! moves it to now, a copy under another's name has the other's. It is given before the name, so
//! what has both was whole and verified. What it trusts is written in `fuse/README.md`.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use mega_storage::{Content, FileId, StoreError};
use rustix::fs::{FallocateFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use sha2::{Digest, Sha256};

use super::Job;

/// Seconds of every mark: in 2001, when nothing of ours was written.
const MARK_SECONDS: i64 = 1_000_000_000;

/// Bytes that stay free on the disk beside a new copy.
const FREE_LEN_MIN: u64 = 256 << 20;

/// Chunks are looked up by regions of this length.
const REGION_LEN: u64 = 16 << 20;

/// A copy is written in pieces of this length: the pages that the kernel keeps of it are as large
/// as the writes that made them, and small ones made a warm map three times as slow.
const PIECE_LEN: usize = 4 << 20;

/// Written bytes that may wait for the disk: others that sync do not wait for all of a copy.
const SYNC_LEN: u64 = 64 << 20;

/// Numbers the drafts of this process.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoCopy {
    #[error("called off")]
    Stopped,
    #[error("not all of the file is here")]
    Incomplete,
    #[error("the copies that are open leave no room for it in {limit_len} bytes")]
    NoRoom { limit_len: u64 },
    #[error("the disk has {free_len} bytes left, it needs {len}")]
    NoSpace { free_len: u64, len: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its chunks end at {offset}")]
    Short { offset: u64 },
    #[error("its content is {found}")]
    WrongContent { found: FileId },
    #[error("the filesystem does not keep its mark")]
    NoMark,
    #[error("{action} it: {source}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("a panic")]
    Panicked,
}

impl NoCopy {
    fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// Whether trying again would end in the same way.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Stopped | Self::Incomplete | Self::NoRoom { .. } | Self::NoSpace { .. } => false,
            Self::Io { source, .. } => source.kind() != io::ErrorKind::StorageFull,
            Self::Store(_)
            | Self::Short { .. }
            | Self::WrongContent { .. }
            | Self::NoMark
            | Self::Panicked => true,
        }
    }
}

/// Nanoseconds of a file's mark.
fn mark_nanoseconds(id: &FileId) -> i64 {
    let mut word = [0; 8];
    word[..4].copy_from_slice(&id.as_bytes()[..4]);
    (u64::from_le_bytes(word) % 1_000_000_000) as i64
}

/// Whether a file is a copy that this user wrote whole, as its mark says.
pub(super) fn is_ours(id: &FileId, facts: &Metadata) -> bool {
    facts.is_file()
        && facts.mtime() == MARK_SECONDS
        && facts.mtime_nsec() == mark_nanoseconds(id)
        && facts.uid() == rustix::process::geteuid().as_raw()
        && facts.nlink() == 1
        && facts.mode() & 0o7777 == 0o600
}

/// Opens a copy to read it, when it is one of `len` bytes; notes the time.
pub(super) fn open(path: &Path, id: &FileId, len: u64) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
    let facts = file.metadata()?;
    if !is_ours(id, &facts) || facts.len() != len {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not as it was written"));
    }
    let time = |nanoseconds| Timespec { tv_sec: 0, tv_nsec: nanoseconds };
    // For the order in which copies go, after this process.
    let _ = rustix::fs::futimens(
        &file,
        &Timestamps { last_access: time(UTIME_NOW), last_modification: time(UTIME_OMIT) },
    );
    Ok(file)
}

/// Makes a new file for its owner alone.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A copy without a name, which goes when it never gets one.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing to find any more when it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

/// # Errors
/// [`NoCopy::Incomplete`] when bytes are elsewhere: a copy is no reason to fetch them.
pub(super) fn check_complete(job: &Job) -> Result<(), NoCopy> {
    let is_complete = job.store.resident(&Content::File(job.id))? >= job.len;
    if is_complete { Ok(()) } else { Err(NoCopy::Incomplete) }
}

/// Writes a copy to `tmp`, verifies it as a whole, syncs it and renames it to `path`.
pub(super) fn write(
    job: &Job,
    path: &Path,
    tmp: &Path,
    is_stopped: &dyn Fn() -> bool,
) -> Result<(), NoCopy> {
    let io = NoCopy::io;
    let stat = rustix::fs::statvfs(tmp).map_err(io::Error::from).map_err(io("looking at"))?;
    let free_len = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed_len = job.len.saturating_add(FREE_LEN_MIN);
    if free_len < needed_len {
        return Err(NoCopy::NoSpace { free_len, len: needed_len });
    }
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = tmp.join(format!("plain-{}-{number}", std::process::id()));
    let mut draft = Draft { file: create(&draft).map_err(io("making"))?, path: draft };
    // In one piece, where the filesystem can.
    let _ = rustix::fs::fallocate(&draft.file, FallocateFlags::empty(), 0, job.len);
    fill(job, &mut draft.file, is_stopped)?;
    let mark = Timespec { tv_sec: MARK_SECONDS, tv_nsec: mark_nanoseconds(&job.id) };
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    rustix::fs::futimens(&draft.file, &Timestamps { last_access: now, last_modification: mark })
        .map_err(io::Error::from)
        .map_err(io("marking"))?;
    if !is_ours(&job.id, &draft.file.metadata().map_err(io("looking at"))?) {
        return Err(NoCopy::NoMark);
    }
    draft.file.sync_all().map_err(io("syncing"))?;
    fs::rename(&draft.path, path).map_err(io("naming"))?;
    let dir = path.parent().unwrap_or(path);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("syncing"))
}

/// Writes in pieces that are aligned and of one length, but for the last.
struct Pieces<'a> {
    out: &'a mut File,
    piece: Vec<u8>,
}

impl Pieces<'_> {
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), NoCopy> {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(PIECE_LEN - self.piece.len()));
            self.piece.extend_from_slice(part);
            bytes = rest;
            if self.piece.len() == PIECE_LEN {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), NoCopy> {
        self.out.write_all(&self.piece).map_err(NoCopy::io("writing"))?;
        self.piece.clear();
        Ok(())
    }
}

/// Writes the file's chunks, which the store verifies one by one, and checks the whole.
fn fill(job: &Job, out: &mut File, is_stopped: &dyn Fn() -> bool) -> Result<(), NoCopy> {
    let mut hasher = Sha256::new();
    let mut pieces = Pieces { out, piece: Vec::with_capacity(PIECE_LEN) };
    let (mut at, mut synced) = (0, 0);
    while at < job.len {
        let before = at;
        for span in job.store.chunk_spans(&job.id, at, REGION_LEN)? {
            if is_stopped() {
                return Err(NoCopy::Stopped);
            }
            if span.offset != at {
                return Err(NoCopy::Short { offset: at });
            }
            let bytes = job.store.chunk(&job.id, &span.chunk)?;
            hasher.update(&bytes);
            pieces.push(&bytes)?;
            at += bytes.len() as u64;
        }
        if at == before {
            return Err(NoCopy::Short { offset: at });
        }
        if at - synced >= SYNC_LEN {
            pieces.out.sync_data().map_err(NoCopy::io("syncing"))?;
            synced = at;
        }
    }
    pieces.flush()?;
    let found = FileId::from_bytes(hasher.finalize().into());
    if found != job.id || at != job.len {
        return Err(NoCopy::WrongContent { found });
    }
    Ok(())
}
