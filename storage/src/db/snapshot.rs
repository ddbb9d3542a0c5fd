//! One consistent view of the database, however long it is read.

use rocksdb::{DBRawIterator, ReadOptions};

use super::{Db, Family, OwnedRow, Pinned, keys, upper_bound};
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};

/// Rows that a cursor steps over one by one before it seeks: a step costs a tenth of a seek.
const STEP_COUNT: usize = 12;
/// Bytes read ahead of a cursor.
const READAHEAD_LEN: usize = 1 << 20;

/// Somewhere that rows can be read: the database as it is, or as it was.
pub(crate) trait Rows {
    /// One value, borrowed.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Pinned<'_>>>;
}

impl Rows for Db {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Pinned<'_>>> {
        Self::get(self, family, key)
    }
}

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

    /// About how many rows a family has.
    pub(crate) fn row_count_estimate(&self, family: Family) -> Result<u64> {
        self.property(family, "rocksdb.estimate-num-keys")
    }
}

impl Rows for Snapshot<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Pinned<'_>>> {
        let family = self.db.handle(family);
        let value = self.db.inner.get_pinned_cf_opt(family, key, &self.options());
        value.map_err(|e| StoreError::db("reading", e))
    }
}

impl Snapshot<'_> {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.inner);
        options
    }

    /// Many values in the order of `keys`, which ascend.
    pub(crate) fn multi_get<'k, K: AsRef<[u8]> + 'k + ?Sized>(
        &self,
        family: Family,
        keys: impl IntoIterator<Item = &'k K>,
    ) -> Result<Vec<Option<Pinned<'_>>>> {
        self.db
            .inner
            .batched_multi_get_cf_opt(self.db.handle(family), keys, true, &self.options())
            .into_iter()
            .map(|value| value.map_err(|e| StoreError::db("reading", e)))
            .collect()
    }

    /// A cursor over the rows whose key starts with `prefix`.
    pub(crate) fn cursor(&self, family: Family, prefix: &[u8]) -> Cursor<'_> {
        let mut options = self.options();
        options.set_iterate_upper_bound(upper_bound(prefix));
        options.set_readahead_size(READAHEAD_LEN);
        options.fill_cache(false);
        let mut inner = self.db.inner.raw_iterator_cf_opt(self.db.handle(family), options);
        inner.seek(prefix);
        Cursor { inner }
    }

    /// Rows whose key starts with `prefix`, ascending.
    pub(crate) fn scan(
        &self,
        family: Family,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<OwnedRow>> + '_ {
        let mut cursor = self.cursor(family, prefix);
        std::iter::from_fn(move || cursor.take().transpose())
    }

    /// Objects of a repository, ascending.
    pub(crate) fn members(&self, repo: RepoId) -> impl Iterator<Item = Result<ObjectId>> + '_ {
        let mut cursor = self.cursor(Family::RepoObject, &keys::repo_prefixed(repo, &[]));
        std::iter::from_fn(move || {
            let key = match cursor.key() {
                Ok(key) => key?,
                Err(error) => return Some(Err(error)),
            };
            let id = key.split_at_checked(4).and_then(|(_, id)| ObjectId::from_slice(id));
            let id = id.ok_or_else(|| StoreError::DamagedRow {
                family: "repo_object",
                key: format!("{key:02x?}"),
                reason: "its key does not have 24 bytes",
            });
            cursor.inner.next();
            Some(id)
        })
    }
}

/// Goes through rows in the order of their keys, forwards.
pub(crate) struct Cursor<'a> {
    inner: DBRawIterator<'a>,
}

impl Cursor<'_> {
    /// Key and value of the row that the cursor is at, which then goes on to the next.
    pub(crate) fn take(&mut self) -> Result<Option<OwnedRow>> {
        let Some((key, value)) = self.at()? else { return Ok(None) };
        let row = (key.into(), value.into());
        self.advance();
        Ok(Some(row))
    }

    /// Key and value of the row that the cursor is at; `None` after the last.
    pub(crate) fn at(&self) -> Result<Option<(&[u8], &[u8])>> {
        match self.inner.item() {
            Some(row) => Ok(Some(row)),
            None => self.inner.status().map(|()| None).map_err(|e| StoreError::db("scanning", e)),
        }
    }

    /// Goes on to the next row.
    pub(crate) fn advance(&mut self) {
        self.inner.next();
    }

    /// Goes on to the first row at or above `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.inner.seek(key);
    }

    /// The key of the row that the cursor is at; `None` after the last.
    fn key(&self) -> Result<Option<&[u8]>> {
        match self.inner.key() {
            Some(key) => Ok(Some(key)),
            None => self.inner.status().map(|()| None).map_err(|e| StoreError::db("scanning", e)),
        }
    }

    /// The value at `key`, which is above the one asked for before; `None` when there is none.
    pub(crate) fn find(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        for _ in 0..STEP_COUNT {
            match self.inner.key() {
                Some(at) if at < key => self.inner.next(),
                _ => break,
            }
        }
        if self.key()?.is_some_and(|at| at < key) {
            self.inner.seek(key);
        }
        if self.key()? != Some(key) {
            return Ok(None);
        }
        Ok(self.inner.value())
    }
}
