//! Which repository has a right to which file, and how many bytes these are together.
//!
//! The sums are made when somebody asks for one and kept up to date from then on, in memory alone.

use std::collections::HashMap;

use parking_lot::{Mutex, RwLock};

use super::FileStore;
use crate::db::{Batch, Durability, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::{FileId, RepoId};

/// Locks that changes of rights are spread over.
const STRIPES: usize = 64;

/// The sums, and what keeps changes of one right apart.
pub(super) struct RightsBook {
    /// Bytes by repository. Held for writing while a sum is made, so that no change is missed by it
    /// or counted twice.
    pub(super) sums: RwLock<HashMap<RepoId, Mutex<u64>>>,
    stripes: [Mutex<()>; STRIPES],
}

impl Default for RightsBook {
    fn default() -> Self {
        Self { sums: RwLock::default(), stripes: std::array::from_fn(|_| Mutex::new(())) }
    }
}

impl RightsBook {
    /// The lock for changes around one file.
    pub(super) fn stripe(&self, id: &FileId) -> &Mutex<()> {
        let [first, ..] = id.as_bytes();
        &self.stripes[usize::from(*first) % STRIPES]
    }
}

/// Adds the right of `repo` to a file, and the row that leads back from the file.
pub(super) fn put(batch: &mut Batch<'_>, repo: RepoId, id: &FileId) {
    batch.put(Family::RepoFile, &keys::repo_file(repo, id), &[]);
    batch.put(Family::FileRepo, &keys::file_repo(id, repo), &[]);
}

impl FileStore {
    /// Whether `repo` has a right to the file.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn has(&self, repo: RepoId, id: &FileId) -> Result<bool> {
        self.inner.db.contains(Family::RepoFile, &keys::repo_file(repo, id))
    }

    /// For each repository, ascending, whether it has a right to the file.
    pub(crate) fn have(&self, repos: &[RepoId], id: &FileId) -> Result<Vec<bool>> {
        let keys: Vec<_> = repos.iter().map(|repo| keys::repo_file(*repo, id)).collect();
        let rows = self.inner.db.multi_get(Family::RepoFile, &keys, true)?;
        Ok(rows.iter().map(Option::is_some).collect())
    }

    /// Gives `repo` a right to a file that is here.
    ///
    /// # Errors
    /// [`StoreError::MissingFile`] when it is not.
    pub fn grant(&self, repo: RepoId, id: &FileId) -> Result<()> {
        let _stay = self.stay();
        let head = self.head(id)?.ok_or(StoreError::MissingFile { id: *id })?;
        if self.has(repo, id)? {
            return Ok(());
        }
        self.commit_right(repo, id, head.len, self.inner.db.batch())
    }

    /// Takes the right of `repo` away; says whether it had one. The bytes go with the next
    /// collection.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remove(&self, repo: RepoId, id: &FileId) -> Result<bool> {
        let book = &self.inner.rights;
        let sums = book.sums.read();
        let _alone = book.stripe(id).lock();
        if !self.has(repo, id)? {
            return Ok(false);
        }
        let len = self.head(id)?.map_or(0, |head| head.len);
        let mut batch = self.inner.db.batch();
        batch.delete(Family::RepoFile, &keys::repo_file(repo, id));
        batch.delete(Family::FileRepo, &keys::file_repo(id, repo));
        self.inner.db.commit(batch, Durability::Synced)?;
        if let Some(sum) = sums.get(&repo) {
            let mut sum = sum.lock();
            *sum = sum.saturating_sub(len);
        }
        Ok(true)
    }

    /// Commits `batch` together with the right of `repo` to a file of `len` bytes.
    pub(super) fn commit_right(
        &self,
        repo: RepoId,
        id: &FileId,
        len: u64,
        mut batch: Batch<'_>,
    ) -> Result<()> {
        let book = &self.inner.rights;
        let sums = book.sums.read();
        let _alone = book.stripe(id).lock();
        let is_new = !self.has(repo, id)?;
        put(&mut batch, repo, id);
        self.inner.db.commit_into_unlocked(repo, batch)?;
        if let Some(sum) = sums.get(&repo).filter(|_| is_new) {
            *sum.lock() += len;
        }
        Ok(())
    }

    /// Bytes of all files that `repo` has a right to. The first call for a repository reads a row
    /// per file.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn repo_len(&self, repo: RepoId) -> Result<u64> {
        if let Some(sum) = self.inner.rights.sums.read().get(&repo) {
            return Ok(*sum.lock());
        }
        let mut sums = self.inner.rights.sums.write();
        if let Some(sum) = sums.get(&repo) {
            return Ok(*sum.lock());
        }
        let mut sum = 0;
        for id in self.files(repo) {
            sum += self.head(&id?)?.map_or(0, |head| head.len);
        }
        sums.insert(repo, Mutex::new(sum));
        Ok(sum)
    }
}
