//! Contents under their SHA-256: `data/ab/<sha-256>`, each once, whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{io, sync_dir};
use crate::error::{Result, StoreError};
use crate::id::FileId;
use crate::progress::Progress;

/// Where contents are.
pub(super) const DATA: &str = "data";
/// Bytes that are read at a time.
const PIECE_LEN: usize = 1 << 20;

/// The contents of a directory of backups.
pub(super) struct Data {
    dir: PathBuf,
    /// Directories with new names in them.
    unsynced: Mutex<BTreeSet<PathBuf>>,
}

/// Where a content is, relative to the directory of backups.
pub(super) fn path_of(id: &FileId) -> String {
    let name = id.to_string();
    format!("{DATA}/{}/{name}", &name[..2])
}

/// How files are made: for their owner alone.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

/// Writes a small file, durably, whole or not at all.
pub(super) fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let draft = dir.join(format!("{name}.new"));
    let mut file =
        private().write(true).truncate(true).open(&draft).map_err(io("creating", &draft))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("writing", &draft))?;
    let path = dir.join(name);
    fs::rename(&draft, &path).map_err(io("renaming", &draft))?;
    sync_dir(dir)
}

/// Copies and hashes; the hash and the length.
pub(super) fn copy(
    mut from: impl Read,
    to: &mut dyn Write,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(FileId, u64)> {
    let (mut hasher, mut len) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE_LEN];
    loop {
        let read = from.read(&mut piece).map_err(io("reading", path))?;
        if read == 0 {
            return Ok((FileId::from_bytes(hasher.finalize().into()), len));
        }
        hasher.update(&piece[..read]);
        to.write_all(&piece[..read]).map_err(io("copying", path))?;
        len += read as u64;
        progress.advance(read as u64);
        if progress.interrupted() {
            return Err(StoreError::Interrupted);
        }
    }
}

impl Data {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), unsynced: Mutex::default() }
    }

    /// Where a content is.
    pub(super) fn path(&self, id: &FileId) -> PathBuf {
        self.dir.join(path_of(id))
    }

    /// Whether a content is there, as far as its length tells.
    pub(super) fn has(&self, id: &FileId, len: u64) -> bool {
        fs::metadata(self.path(id)).is_ok_and(|meta| meta.is_file() && meta.len() == len)
    }

    /// Takes a file in; its hash and length, and whether its content was not there.
    pub(super) fn take_in(
        &self,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<(FileId, u64, bool)> {
        let from = File::open(path).map_err(io("opening", path))?;
        let dir = self.dir.join(DATA);
        let draft = tempfile::Builder::new().prefix(".new-").tempfile_in(&dir);
        let mut draft = draft.map_err(io("creating a file in", &dir))?;
        let (id, len) = copy(from, draft.as_file_mut(), path, progress)?;
        if self.has(&id, len) {
            return Ok((id, len, false));
        }
        draft.as_file().sync_all().map_err(io("syncing a file in", &dir))?;
        let target = self.path(&id);
        let parent = target.parent().unwrap_or(&dir).to_owned();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&parent);
        made.map_err(io("creating", &parent))?;
        draft.persist(&target).map_err(|e| io("renaming to", &target)(e.error))?;
        self.unsynced.lock().extend([parent, dir]);
        Ok((id, len, true))
    }

    /// Makes the names of what was taken in durable.
    pub(super) fn sync(&self) -> Result<()> {
        std::mem::take(&mut *self.unsynced.lock()).iter().try_for_each(|dir| sync_dir(dir))
    }

    /// What is wrong with a content.
    pub(super) fn problem(
        &self,
        id: &FileId,
        len: u64,
        progress: &dyn Progress,
    ) -> Result<Option<String>> {
        let path = self.path(id);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Some("it is missing".to_owned()));
            }
            Err(e) => return Ok(Some(e.to_string())),
        };
        match copy(file, &mut std::io::sink(), &path, progress) {
            Ok((actual, _)) if actual == *id => Ok(None),
            Ok((_, actual)) if actual != len => {
                Ok(Some(format!("it has {actual} bytes, not {len}")))
            }
            Ok(_) => Ok(Some("its bytes do not have its hash".to_owned())),
            Err(StoreError::Interrupted) => Err(StoreError::Interrupted),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    /// Bytes of all contents.
    pub(super) fn stored_len(&self) -> u64 {
        let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
        let files = entries(self.dir.join(DATA)).flat_map(|dir| entries(dir.path()));
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    }
}
