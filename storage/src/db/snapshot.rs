//! One consistent view of the database, however long it is read.

use rocksdb::{Direction, IteratorMode, ReadOptions};

use super::{Db, Family, Pinned, keys, upper_bound};
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};

/// The database as it was when this was taken.
pub(crate) struct Snapshot<'a> {
    db: &'a Db,
    inner: rocksdb::Snapshot<'a>,
}

impl Db {
    /// Takes a snapshot. It keeps what is deleted later on the disk until it is dropped.
    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { db: self, inner: self.inner.snapshot() }
    }
}

impl Snapshot<'_> {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.inner);
        options
    }

    /// Rows of the family `object`, in the order of `keys`.
    pub(crate) fn get_objects<'k>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Pinned<'_>>>> {
        let family = self.db.handle(Family::Object);
        self.db
            .inner
            .batched_multi_get_cf_opt(family, keys, false, &self.options())
            .into_iter()
            .map(|value| value.map_err(|e| StoreError::db("reading", e)))
            .collect()
    }

    /// Objects of a repository, ascending.
    pub(crate) fn members(&self, repo: RepoId) -> impl Iterator<Item = Result<ObjectId>> + '_ {
        let prefix = keys::repo_prefixed(repo, &[]);
        let mut options = self.options();
        options.set_iterate_upper_bound(upper_bound(&prefix));
        options.set_readahead_size(1 << 20);
        options.fill_cache(false);
        let mode = IteratorMode::From(&prefix, Direction::Forward);
        let rows = self.db.inner.iterator_cf_opt(self.db.handle(Family::RepoObject), options, mode);
        rows.map(|row| {
            let (key, _) = row.map_err(|e| StoreError::db("scanning", e))?;
            let id = key.split_at_checked(4).and_then(|(_, id)| ObjectId::from_slice(id));
            id.ok_or_else(|| StoreError::DamagedRow {
                family: "repo_object",
                key: format!("{key:02x?}"),
                reason: "its key does not have 24 bytes",
            })
        })
    }
}
