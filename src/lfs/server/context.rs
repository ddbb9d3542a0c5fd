//! Who asks, of which repository, and where answers point to.

use mega_storage::{Progress, Repo, Store};

use super::LfsError;
use super::slices::SliceCache;

/// What the caller may do in the repository. Who may do nothing does not get here: 404.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rights {
    /// Read files and locks.
    Read,
    /// Also upload and lock.
    Write,
    /// Everything.
    Owner,
}

/// One request's surroundings.
#[derive(Clone, Copy)]
pub struct LfsContext<'a> {
    /// The store.
    pub store: &'a Store,
    /// The repository that the URL names.
    pub repo: &'a Repo,
    /// What the caller may do in it.
    pub rights: Rights,
    /// The caller's name: the owner of locks that are made.
    pub actor: &'a str,
    /// Bytes that the repository may have, LFS files and git objects together; none for no limit.
    pub quota: Option<u64>,
    /// Slices that were hashed before: one cache for the whole process.
    pub slices: &'a SliceCache,
    /// Whether the work should stop.
    pub stop: &'a dyn Progress,
}

/// Where the actions of an answer point to.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    /// The LFS server's own URL without a slash at its end, as `https://host/a.git/info/lfs`.
    pub base_url: &'a str,
    /// The request's `Authorization`, handed back for the transfers.
    pub authorization: Option<&'a str>,
    /// Seconds until that authorization ends.
    pub expires_in_s: Option<u64>,
}

impl LfsContext<'_> {
    /// Refuses callers that may only read.
    ///
    /// # Errors
    /// [`LfsError::ReadOnly`].
    pub(super) fn must_write(&self) -> Result<(), LfsError> {
        match self.rights {
            Rights::Read => Err(LfsError::ReadOnly),
            Rights::Write | Rights::Owner => Ok(()),
        }
    }
}
