//! A closure's file (see `storage/README.md`, "cache/"): it may be lost, torn or damaged at any
//! time, and then counts as absent.

#![deny(clippy::indexing_slicing)]

use std::fs::{DirBuilder, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::SystemTime;

use crate::id::{ObjectId, RepoId};
use crate::row::RowReader;

/// Says what the file is, and its layout.
const MAGIC: &[u8; 8] = b"mgclos\0\x01";
/// Magic, repository, number of tips, number of ids.
const HEAD_LEN: usize = 20;
/// Tips and ids in a file at most: what is larger than any repository is damage.
const COUNT_MAX: u32 = 1 << 28;

/// A file whose tips have been read.
pub(super) struct Kept {
    pub(super) tips: Vec<ObjectId>,
    file: File,
    id_count: u32,
    hasher: crc32fast::Hasher,
}

impl Kept {
    /// Opens a file; `None` when it is not a closure of this repository.
    pub(super) fn open(path: &Path, repo: RepoId) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let mut head = [0; HEAD_LEN];
        file.read_exact(&mut head).ok()?;
        let mut reader = RowReader::new(&head);
        let magic = reader.bytes(MAGIC.len())?;
        let (number, tip_count, id_count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let len = HEAD_LEN as u64 + (u64::from(tip_count) + u64::from(id_count)) * 20 + 4;
        if magic != MAGIC
            || number != repo.0
            || tip_count.max(id_count) > COUNT_MAX
            || file.metadata().ok()?.len() != len
        {
            return None;
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head);
        let tips = read_ids(&mut file, tip_count, &mut hasher)?;
        Some(Self { tips, file, id_count, hasher })
    }

    /// The ids, ascending; `None` when the file is damaged.
    pub(super) fn ids(mut self) -> Option<Vec<ObjectId>> {
        let ids = read_ids(&mut self.file, self.id_count, &mut self.hasher)?;
        let mut checksum = [0; 4];
        self.file.read_exact(&mut checksum).ok()?;
        if u32::from_be_bytes(checksum) != self.hasher.finalize() {
            return None;
        }
        // Those used last are kept longest.
        let _ = self.file.set_modified(SystemTime::now());
        ids.is_sorted_by(|a, b| a < b).then_some(ids)
    }
}

/// Reads ids piece by piece, so that no second copy of them is in memory.
fn read_ids(file: &mut File, count: u32, hasher: &mut crc32fast::Hasher) -> Option<Vec<ObjectId>> {
    let mut ids = Vec::with_capacity(count as usize);
    let mut buffer = vec![0; 3_200 * ObjectId::LEN];
    let mut left = count as usize * ObjectId::LEN;
    while left > 0 {
        let piece = buffer.get_mut(..left.min(3_200 * ObjectId::LEN))?;
        file.read_exact(piece).ok()?;
        hasher.update(piece);
        left -= piece.len();
        ids.extend(piece.as_chunks::<20>().0.iter().map(|id| ObjectId::from_bytes(*id)));
    }
    Some(ids)
}

/// Writes a file and gives it its name when it is whole. It is not synced: one that a crash tears
/// is found out by its checksum.
pub(super) fn write(
    tmp: &Path,
    path: &Path,
    repo: RepoId,
    tips: &[ObjectId],
    ids: &[ObjectId],
) -> io::Result<()> {
    let count = |ids: &[ObjectId]| {
        u32::try_from(ids.len())
            .ok()
            .filter(|count| *count <= COUNT_MAX)
            .ok_or_else(|| io::Error::other("a closure of more ids than any repository has"))
    };
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&repo.0.to_be_bytes());
    head.extend_from_slice(&count(tips)?.to_be_bytes());
    head.extend_from_slice(&count(ids)?.to_be_bytes());
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let file = tempfile::Builder::new().prefix("closure-").tempfile_in(tmp)?;
    let mut out = BufWriter::with_capacity(64 << 10, file.as_file());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    out.write_all(&head)?;
    for id in tips.iter().chain(ids) {
        hasher.update(id.as_bytes());
        out.write_all(id.as_bytes())?;
    }
    out.write_all(&hasher.finalize().to_be_bytes())?;
    out.flush()?;
    drop(out);
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}
