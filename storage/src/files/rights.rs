//! Which repository has a right to which file, and how many bytes these are together.
//!
//! The sums are made when somebody asks for one and kept up to date from then on, in memory alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};

use super::FileStore;
use crate::db::{Batch, Durability, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::{FileId, RepoId};
use crate::repos::now_unix;

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

/// How long a file stays in a repository in which nothing names it yet, in seconds: a push uploads
/// the files first, and what names them comes last.
pub const UNNAMED_TIME_S: u64 = 24 * 3600;

/// A right that was renewed so lately is not written again, in seconds.
const RENEW_TIME_S: u64 = 3600;

/// Adds the right of `repo` to a file, and the row that leads back from the file. `since_unix`: a
/// push is going to name it.
pub(super) fn put(batch: &mut Batch<'_>, repo: RepoId, id: &FileId, since_unix: Option<u64>) {
    let since = since_unix.map(u64::to_be_bytes);
    let value = since.as_ref().map_or(&[][..], |since| &since[..]);
    batch.put(Family::RepoFile, &keys::repo_file(repo, id), value);
    batch.put(Family::FileRepo, &keys::file_repo(id, repo), &[]);
}

/// Since when a right waits for something to name its file; `None` when something has.
pub(crate) fn since(row: &[u8]) -> Option<u64> {
    row.try_into().ok().map(u64::from_be_bytes)
}

/// The value of a right whose file something names: never the same twice, so that gc, which removes
/// rights that are as they were, sees that it was given anew.
fn named_now() -> [u8; 9] {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since_epoch.map_or(0, |since| since.as_nanos() as u64);
    static LAST: AtomicU64 = AtomicU64::new(0);
    let last = LAST.fetch_max(nanos, Ordering::Relaxed);
    let nanos = if last >= nanos { LAST.fetch_add(1, Ordering::Relaxed) + 1 } else { nanos };
    let mut value = [0; 9];
    value[..8].copy_from_slice(&nanos.to_be_bytes());
    value
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
        let lease = self.inner.chunks.leases().begin();
        lease.rely_on_file(id);
        let head = self.head(id)?.ok_or(StoreError::MissingFile { id: *id })?;
        if self.has(repo, id)? {
            return Ok(());
        }
        self.commit_right(repo, id, head.len, false, self.inner.db.batch())
    }

    /// Whether `repo` has a right to the file; from now on it then stays for [`UNNAMED_TIME_S`], as
    /// one that was just uploaded: for who tells somebody that it need not be.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_for_push(&self, repo: RepoId, id: &FileId) -> Result<bool> {
        let db = &self.inner.db;
        let _alone = self.inner.rights.stripe(id).lock();
        let Some(row) = db.get(Family::RepoFile, &keys::repo_file(repo, id))? else {
            return Ok(false);
        };
        let now = now_unix();
        if since(&row).is_none_or(|since| since.abs_diff(now) >= RENEW_TIME_S) {
            let mut batch = db.batch();
            put(&mut batch, repo, id, Some(now));
            db.commit(batch, Durability::Logged)?;
        }
        Ok(true)
    }

    /// Notes that something in the repository names the files: from now on each stays for as long
    /// as that does. Before that is so, [`Self::has_for_push`] keeps it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn note_named<'a>(
        &self,
        repo: RepoId,
        ids: impl IntoIterator<Item = &'a FileId>,
    ) -> Result<()> {
        let db = &self.inner.db;
        for id in ids {
            let key = keys::repo_file(repo, id);
            let _alone = self.inner.rights.stripe(id).lock();
            if db.contains(Family::RepoFile, &key)? {
                let mut batch = db.batch();
                batch.put(Family::RepoFile, &key, &named_now());
                db.commit(batch, Durability::Logged)?;
            }
        }
        Ok(())
    }

    /// Takes the right of `repo` away; says whether it had one. The bytes go with gc, when that is
    /// long enough ago.
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
        batch.put(Family::Gone, &keys::gone_file(repo, now_unix(), id), &[]);
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
        is_for_push: bool,
        mut batch: Batch<'_>,
    ) -> Result<()> {
        let book = &self.inner.rights;
        let sums = book.sums.read();
        let _alone = book.stripe(id).lock();
        let is_new = !self.has(repo, id)?;
        put(&mut batch, repo, id, is_for_push.then(now_unix));
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
