//! How many bytes of objects a repository has, for its quota: its objects' streams as they came, an
//! object that others have too counted for each.
//!
//! A counter that every pack moves, in the batch that brings its members. A repository that had
//! objects before there was the counter is measured once, when somebody asks.

use super::ObjectStore;
use super::ROW_LOOKUP_COUNT;
use super::row::Row;
use crate::db::{Durability, Family, keys};
use crate::error::Result;
use crate::id::{ObjectId, RepoId};
use crate::outbox::damaged;

impl ObjectStore {
    /// Bytes of objects that the repository has.
    ///
    /// # Errors
    /// [`crate::StoreError::RepoGone`]; when the database fails.
    pub fn usage(&self, repo: RepoId) -> Result<u64> {
        if let Some(len) = self.counted(repo)? {
            return Ok(len);
        }
        let _lock = self.db.commit_lock();
        if let Some(len) = self.counted(repo)? {
            return Ok(len);
        }
        self.db.check_repo(repo)?;
        let len = self.measured(repo)?;
        let mut batch = self.db.batch();
        batch.put(Family::Repo, &keys::repo_usage(repo), &len.to_be_bytes());
        self.db.commit(batch, Durability::Synced)?;
        Ok(len)
    }

    /// The counter after `added` bytes more; `None` when it is not kept. The caller holds the
    /// commit lock.
    pub(super) fn usage_after(&self, repo: RepoId, added: u64) -> Result<Option<u64>> {
        match self.counted(repo)? {
            Some(len) => Ok(Some(len.saturating_add(added))),
            None if self.members(repo).next().transpose()?.is_some() => Ok(None),
            None => Ok(Some(added)),
        }
    }

    /// Takes bytes from the counter, where it is kept. The caller holds the commit lock.
    pub(crate) fn shrink_usage(&self, repo: RepoId, len: u64) -> Result<()> {
        let Some(counted) = self.counted(repo)? else { return Ok(()) };
        let mut batch = self.db.batch();
        let left = counted.saturating_sub(len);
        batch.put(Family::Repo, &keys::repo_usage(repo), &left.to_be_bytes());
        self.db.commit(batch, Durability::Logged)
    }

    /// Bytes of the objects' streams as stored; those that are not stored count for nothing.
    pub(crate) fn stored_len(&self, ids: &[ObjectId]) -> Result<u64> {
        let mut len = 0;
        for ids in ids.chunks(ROW_LOOKUP_COUNT) {
            let keys = ids.iter().map(ObjectId::as_bytes);
            for (id, value) in ids.iter().zip(self.db.multi_get(Family::Object, keys, true)?) {
                let Some(value) = value else { continue };
                len += Row::parse(id, &value)?.body.len();
            }
        }
        Ok(len)
    }

    fn counted(&self, repo: RepoId) -> Result<Option<u64>> {
        let key = keys::repo_usage(repo);
        let Some(row) = self.db.get(Family::Repo, &key)? else { return Ok(None) };
        let bytes = row.as_ref().try_into();
        let bytes = bytes.map_err(|_| damaged(Family::Repo, &key, "not a counter"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    fn measured(&self, repo: RepoId) -> Result<u64> {
        let mut len = 0;
        let mut members = self.members(repo);
        loop {
            let ids = members.by_ref().take(ROW_LOOKUP_COUNT).collect::<Result<Vec<_>>>()?;
            if ids.is_empty() {
                return Ok(len);
            }
            len += self.stored_len(&ids)?;
        }
    }
}
