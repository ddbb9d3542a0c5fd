//! What everyone may see by its hash alone: content that a public repository has.
//!
//! Invariant: no answer of yes rests on what was true before: the repository's record is read again
//! for it. A hash is no key to what only private repositories have.

use crate::error::Result;
use crate::id::{ChunkId, FileId, ObjectId, RepoId};
use crate::manifest::ChunkRef;
use crate::partial::were_told;
use crate::store::Store;

/// Repositories that are asked at once.
const ASKED_COUNT: usize = 256;

/// Which of some repositories have something.
type Ask<'a> = dyn Fn(&[RepoId]) -> Result<Vec<bool>> + 'a;

impl Store {
    /// Whether a public repository has the object. Asks each of them, many at once.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_public_object(&self, id: &ObjectId) -> Result<bool> {
        self.has_any_public(&|repos| self.objects().have(repos, id))
    }

    /// Whether a public repository has a right to the file. Asks each of them, many at once.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_public_file(&self, id: &FileId) -> Result<bool> {
        self.has_any_public(&|repos| self.files().have(repos, id))
    }

    /// A file of a public repository that has the chunk, and the chunk as that names it. Looks at a
    /// limited number of files; those that were taken in before there were rows for this are not
    /// found.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn public_chunk(&self, id: &ChunkId) -> Result<Option<(FileId, ChunkRef)>> {
        let public = self.repos().public_ids()?;
        let is_open =
            |repo: RepoId| Ok(public.binary_search(&repo).is_ok() && self.repos().is_public(repo)?);
        self.files().find_open_file(id, &is_open)
    }

    /// The first public repository that has a right to the file.
    pub(crate) fn first_public_of_file(&self, id: &FileId) -> Result<Option<RepoId>> {
        self.first_public(&|repos| self.files().have(repos, id))
    }

    /// The first public repository that was told of the file by a source and does not have it
    /// whole.
    pub(crate) fn first_public_told_of(&self, id: &FileId) -> Result<Option<RepoId>> {
        self.first_public(&|repos| were_told(self.db(), repos, id))
    }

    fn has_any_public(&self, ask: &Ask<'_>) -> Result<bool> {
        Ok(self.first_public(ask)?.is_some())
    }

    fn first_public(&self, ask: &Ask<'_>) -> Result<Option<RepoId>> {
        let public = self.repos().public_ids()?;
        for repos in public.chunks(ASKED_COUNT) {
            for (repo, has) in repos.iter().zip(ask(repos)?) {
                if has && self.repos().is_public(*repo)? {
                    return Ok(Some(*repo));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[path = "public_tests.rs"]
mod tests;
