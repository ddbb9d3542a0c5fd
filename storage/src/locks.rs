//! Locks that users hold on paths of a repository, for the LFS locking API.
//!
//! A path has at most one lock in a repository. Locks are numbered from 1 in the order in which
//! they are made, and numbers are not used again: a list that goes on from a number misses none
//! that was there when it began. Every change is one synced batch under the store's commit lock.

#![deny(clippy::indexing_slicing)]

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::db::{Db, Durability, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::RepoId;
use crate::outbox::damaged;
use crate::repos::now_unix;
use crate::row::{RowReader, put_counted};

/// Locks that a repository may have.
pub const LOCKS_MAX: u64 = 1_000_000;
/// Longest path that can be locked, in bytes: Linux's own limit.
const PATH_LEN_MAX: usize = 4096;
/// Longest name of an owner, in bytes.
const OWNER_LEN_MAX: usize = 1024;

const RECORD_VERSION: u8 = 1;

/// A lock's number in its repository, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LockId(u64);

/// A lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileLock {
    /// Its number.
    pub id: LockId,
    /// The path from the root of the repository.
    pub path: String,
    /// Who made it.
    pub owner: String,
    /// When, in seconds since 1970.
    pub created_unix: u64,
}

/// Which locks are wanted: those that fit all that is given.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LockFilter {
    /// The lock of this path.
    pub path: Option<String>,
    /// The lock with this number.
    pub id: Option<LockId>,
}

/// Why a lock could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The path is locked.
    #[error("'{}' is locked by {}", .0.path, .0.owner)]
    Exists(Box<FileLock>),
    /// No file can have this path.
    #[error("the path cannot be locked: {0}")]
    Path(&'static str),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LockId {
    /// Before all locks.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for LockId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The locks of all repositories.
pub struct LockStore {
    db: Arc<Db>,
}

/// A repository's counters.
#[derive(Clone, Copy)]
struct Counters {
    next: u64,
    count: u64,
}

impl LockStore {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        Self { db }
    }

    /// Locks a path for `owner`.
    ///
    /// # Errors
    /// [`LockError::Exists`] with the lock that is there; [`StoreError::Limit`] past
    /// [`LOCKS_MAX`], [`StoreError::RepoGone`].
    pub fn create(&self, repo: RepoId, path: &str, owner: &str) -> Result<FileLock, LockError> {
        check_path(path).map_err(LockError::Path)?;
        let owner = owner.get(..owner.floor_char_boundary(OWNER_LEN_MAX)).unwrap_or_default();
        let _guard = self.db.commit_lock();
        self.db.check_repo(repo)?;
        if let Some(lock) = self.of_path(repo, path)? {
            return Err(LockError::Exists(Box::new(lock)));
        }
        let Counters { next, count } = self.counters(repo)?;
        if count >= LOCKS_MAX {
            let (limit, actual) = (LOCKS_MAX, count.saturating_add(1));
            return Err(StoreError::Limit { what: "locks of a repository", limit, actual }.into());
        }
        let lock = FileLock {
            id: LockId(next),
            path: path.to_owned(),
            owner: owner.to_owned(),
            created_unix: now_unix(),
        };
        let mut batch = self.db.batch();
        let counters = Counters { next: next + 1, count: count + 1 };
        batch.put(Family::Repo, &keys::repo_locks(repo), &counters.encode());
        batch.put(Family::Repo, &keys::repo_lock(repo, next), &encode(&lock));
        let path_key = keys::repo_locked_path(repo, path.as_bytes());
        batch.put(Family::Repo, &path_key, &next.to_be_bytes());
        self.db.commit_into(repo, batch)?;
        Ok(lock)
    }

    /// The lock with this number, if there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn get(&self, repo: RepoId, id: LockId) -> Result<Option<FileLock>> {
        let key = keys::repo_lock(repo, id.0);
        let row = self.db.get(Family::Repo, &key)?;
        row.map(|row| decode(&key, &row)).transpose()
    }

    /// Deletes a lock and returns it; `None` when there is none.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn delete(&self, repo: RepoId, id: LockId) -> Result<Option<FileLock>> {
        let _guard = self.db.commit_lock();
        let Some(lock) = self.get(repo, id)? else { return Ok(None) };
        let Counters { next, count } = self.counters(repo)?;
        let mut batch = self.db.batch();
        let counters = Counters { next, count: count.saturating_sub(1) };
        batch.put(Family::Repo, &keys::repo_locks(repo), &counters.encode());
        batch.delete(Family::Repo, &keys::repo_lock(repo, id.0));
        batch.delete(Family::Repo, &keys::repo_locked_path(repo, lock.path.as_bytes()));
        self.db.commit(batch, Durability::Synced)?;
        Ok(Some(lock))
    }

    /// At most `limit` locks that fit `filter`, from number `from` on in the order of numbers; and
    /// the number of the next one, if there are more.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(
        &self,
        repo: RepoId,
        filter: &LockFilter,
        from: LockId,
        limit: u64,
    ) -> Result<(Vec<FileLock>, Option<LockId>)> {
        let single = match filter {
            LockFilter { path: None, id: None } => None,
            LockFilter { path: Some(path), .. } => Some(self.of_path(repo, path)?),
            LockFilter { id: Some(id), .. } => Some(self.get(repo, *id)?),
        };
        if let Some(found) = single {
            let fits = |lock: &FileLock| {
                lock.id >= from && filter.id.is_none_or(|id| id == lock.id) && limit > 0
            };
            return Ok((found.filter(fits).into_iter().collect(), None));
        }
        let mut locks = Vec::new();
        let prefix = keys::repo_locks(repo);
        // The counters' row is the prefix itself and sorts before number 0.
        for row in self.db.scan_from(Family::Repo, &prefix, &keys::repo_lock(repo, from.0)) {
            let (key, value) = row?;
            let lock = decode(&key, &value)?;
            if locks.len() as u64 == limit {
                return Ok((locks, Some(lock.id)));
            }
            locks.push(lock);
        }
        Ok((locks, None))
    }

    fn of_path(&self, repo: RepoId, path: &str) -> Result<Option<FileLock>> {
        if path.len() > PATH_LEN_MAX {
            return Ok(None);
        }
        let key = keys::repo_locked_path(repo, path.as_bytes());
        let Some(row) = self.db.get(Family::Repo, &key)? else { return Ok(None) };
        let number = row.as_ref().try_into().map(u64::from_be_bytes);
        let number = number.map_err(|_| damaged(Family::Repo, &key, "not a lock's number"))?;
        // Deleted between the two reads: then there is none.
        Ok(self.get(repo, LockId(number))?.filter(|lock| lock.path == path))
    }

    fn counters(&self, repo: RepoId) -> Result<Counters> {
        let key = keys::repo_locks(repo);
        let Some(row) = self.db.get(Family::Repo, &key)? else {
            return Ok(Counters { next: 1, count: 0 });
        };
        let read = || {
            let mut row = RowReader::new(&row);
            let counters = Counters { next: row.u64()?, count: row.u64()? };
            row.rest().is_empty().then_some(counters)
        };
        read().ok_or_else(|| damaged(Family::Repo, &key, "not a repository's lock counters"))
    }
}

impl Counters {
    fn encode(self) -> Vec<u8> {
        [self.next.to_be_bytes(), self.count.to_be_bytes()].concat()
    }
}

/// The rule that a path breaks, if it breaks one. Paths are relative and stay in the repository.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("it is empty");
    }
    if path.len() > PATH_LEN_MAX {
        return Err("it is too long");
    }
    if path.contains('\0') {
        return Err("it has a zero byte");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("a part of it is empty, '.' or '..'");
    }
    Ok(())
}

fn encode(lock: &FileLock) -> Vec<u8> {
    let mut value = vec![RECORD_VERSION];
    value.extend_from_slice(&lock.created_unix.to_be_bytes());
    put_counted(&mut value, lock.path.as_bytes());
    put_counted(&mut value, lock.owner.as_bytes());
    value
}

fn decode(key: &[u8], value: &[u8]) -> Result<FileLock> {
    let read = || {
        let number = key.get(5..)?.try_into().ok()?;
        let mut row = RowReader::new(value);
        if row.u8()? != RECORD_VERSION {
            return None;
        }
        let created_unix = row.u64()?;
        let path = std::str::from_utf8(row.counted()?).ok()?.to_owned();
        let owner = std::str::from_utf8(row.counted()?).ok()?.to_owned();
        let id = LockId(u64::from_be_bytes(number));
        row.rest().is_empty().then_some(FileLock { id, path, owner, created_unix })
    };
    read().ok_or_else(|| damaged(Family::Repo, key, "not a lock"))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
#[path = "locks_tests.rs"]
mod tests;
