//! The database as it is at one moment, in a directory of its own.

use std::path::Path;

use rocksdb::checkpoint::Checkpoint;

use super::Db;
use crate::error::{Result, StoreError};

impl Db {
    /// Makes `path`, which must be absent and on the same filesystem, a copy of the database: links
    /// to the files that never change, copies of the others.
    ///
    /// It has everything that was written before, past the log too, and nothing else: no write is
    /// under way meanwhile. So it is what a crash at this moment would leave. Without that it could
    /// have a batch from the log whose sorted file came a moment too late.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<()> {
        let failed = |e| StoreError::db("making a checkpoint", e);
        let checkpoint = Checkpoint::new(&self.inner).map_err(failed)?;
        let _alone = self.writes.write();
        checkpoint.create_checkpoint(path).map_err(failed)
    }
}
