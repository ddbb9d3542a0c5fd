//! A repository's objects as one pack with its index, in a directory, as git has them.
//!
//! All members from one snapshot; an error leaves no pack behind.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::ObjectStore;
use super::pack_index::write_index;
use super::send::SendOptions;
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::progress::Progress;

const BUFFER_LEN: usize = 256 << 10;

/// What an export wrote.
#[derive(Debug)]
pub struct ExportReport {
    /// The pack file; its index stands beside it.
    pub pack: PathBuf,
    /// Objects in the pack.
    pub object_count: u64,
    /// Length of the pack, in bytes.
    pub pack_len: u64,
}

impl ObjectStore {
    /// Writes all objects of the repository into `dir` as `pack-<sha1>.pack` with its `.idx`,
    /// synced. `None` for a repository without objects.
    ///
    /// # Errors
    /// When an object cannot be read or the files not be written; nothing with a final name is left
    /// then.
    pub fn export_pack(
        &self,
        repo: RepoId,
        dir: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<ExportReport>> {
        let snapshot = self.db.snapshot();
        let ids = snapshot.members(repo).collect::<Result<Vec<ObjectId>>>()?;
        if ids.is_empty() {
            return Ok(None);
        }
        let io = |e| StoreError::io(format!("writing a pack into {}", dir.display()), e);
        let file = tempfile::Builder::new().prefix("tmp_pack_").tempfile_in(dir).map_err(io)?;
        let options = SendOptions { ofs_delta: true, ..SendOptions::default() };
        let mut out = file.as_file();
        let sent = self.send(&snapshot, repo, &ids, &options, &mut out, true, progress).map_err(
            |error| match error {
                StoreError::Io { source, .. } => io(source),
                other => other,
            },
        )?;
        let index = tempfile::Builder::new().prefix("tmp_idx_").tempfile_in(dir).map_err(io)?;
        let mut out = BufWriter::with_capacity(BUFFER_LEN, index.as_file());
        write_index(&mut out, &sent.index, &sent.pack_id).and_then(|()| out.flush()).map_err(io)?;
        drop(out);
        let name = ObjectId::from_bytes(sent.pack_id);
        let pack = dir.join(format!("pack-{name}.pack"));
        for (file, path) in [(file, pack.clone()), (index, dir.join(format!("pack-{name}.idx")))] {
            file.as_file().sync_all().map_err(io)?;
            read_only(file.as_file()).map_err(io)?;
            file.persist(path).map_err(|e| io(e.error))?;
        }
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        let object_count = ids.len() as u64;
        Ok(Some(ExportReport { pack, object_count, pack_len: sent.pack_len }))
    }
}

/// As git leaves its packs.
fn read_only(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o444))
}
