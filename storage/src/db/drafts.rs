//! Repositories that have a number and no record yet, because nothing stands in them: this process
//! alone knows them. The first batch that puts something lasting into one brings its record.
//!
//! Invariant: a number is a draft's from its beginning to its record or to its last holder's end,
//! and never again.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::{Batch, Db, Durability, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::RepoId;
use crate::name::RepoName;

/// All drafts.
#[derive(Default)]
pub(crate) struct Drafts {
    by_id: Mutex<BTreeMap<RepoId, Draft>>,
}

struct Draft {
    name: RepoName,
    /// Its row in `repo`, as it will be.
    record: Vec<u8>,
    /// Those who may put something in.
    holder_count: usize,
    /// It has its record, and is a repository like others.
    is_made: bool,
    /// Somebody has been told that it was made.
    is_told: bool,
}

impl Drafts {
    /// Holds the draft of this name, if there is one; its number and record.
    pub(crate) fn join(&self, name: &RepoName) -> Option<(RepoId, Vec<u8>)> {
        let mut drafts = self.by_id.lock();
        let is_it = |draft: &Draft| draft.name == *name && !draft.is_made;
        let (id, draft) = drafts.iter_mut().find(|(_, draft)| is_it(draft))?;
        draft.holder_count += 1;
        Some((*id, draft.record.clone()))
    }

    /// Begins a draft with one holder. The number is spent already, and nobody else's.
    pub(crate) fn begin(&self, id: RepoId, name: RepoName, record: Vec<u8>) {
        let draft = Draft { name, record, holder_count: 1, is_made: false, is_told: false };
        self.by_id.lock().insert(id, draft);
    }

    /// Ends the holding of one; whether that was the last of what never got its record.
    pub(crate) fn leave(&self, id: RepoId) -> bool {
        let mut drafts = self.by_id.lock();
        let Some(draft) = drafts.get_mut(&id) else { return false };
        draft.holder_count -= 1;
        if draft.holder_count > 0 {
            return false;
        }
        let is_made = draft.is_made;
        drafts.remove(&id);
        !is_made
    }

    /// Whether it has its record by now; `true` once only, whoever asks.
    pub(crate) fn tell_made(&self, id: RepoId) -> bool {
        let mut drafts = self.by_id.lock();
        let Some(draft) = drafts.get_mut(&id) else { return false };
        draft.is_made && !std::mem::replace(&mut draft.is_told, true)
    }

    /// The numbers of all that have no record yet.
    pub(crate) fn ids(&self) -> Vec<RepoId> {
        let drafts = self.by_id.lock();
        drafts.iter().filter(|(_, draft)| !draft.is_made).map(|(id, _)| *id).collect()
    }

    fn is_draft(&self, id: RepoId) -> bool {
        self.by_id.lock().get(&id).is_some_and(|draft| !draft.is_made)
    }

    /// Name and record of what has none yet.
    fn unmade(&self, id: RepoId) -> Option<(RepoName, Vec<u8>)> {
        let drafts = self.by_id.lock();
        let draft = drafts.get(&id).filter(|draft| !draft.is_made)?;
        Some((draft.name.clone(), draft.record.clone()))
    }

    fn made(&self, id: RepoId) {
        if let Some(draft) = self.by_id.lock().get_mut(&id) {
            draft.is_made = true;
        }
    }
}

impl Db {
    /// Repositories without a record.
    pub(crate) fn drafts(&self) -> &Drafts {
        &self.drafts
    }

    /// Refuses a number that is neither a repository's nor a draft's.
    pub(crate) fn check_repo(&self, repo: RepoId) -> Result<()> {
        // In this order: a draft that gets its record meanwhile is found by one of the two.
        let is_there =
            self.drafts.is_draft(repo) || self.contains(Family::Repo, &keys::repo_record(repo))?;
        if is_there { Ok(()) } else { Err(StoreError::RepoGone { id: repo }) }
    }

    /// Writes a batch, durably, that puts something lasting into `repo`: with the record, where
    /// that is a draft. Call with the commit lock held.
    ///
    /// # Errors
    /// [`StoreError::RepoExists`] when another repository has got the draft's name meanwhile.
    pub(crate) fn commit_into(&self, repo: RepoId, mut batch: Batch<'_>) -> Result<()> {
        let Some((name, record)) = self.drafts.unmade(repo) else {
            return self.commit(batch, Durability::Synced);
        };
        let name_key = keys::repo_name(&name);
        if self.contains(Family::Repo, &name_key)? {
            return Err(StoreError::RepoExists { name });
        }
        batch.put(Family::Repo, &name_key, &repo.0.to_be_bytes());
        batch.put(Family::Repo, &keys::repo_record(repo), &record);
        self.commit(batch, Durability::Synced)?;
        self.drafts.made(repo);
        Ok(())
    }

    /// As [`Self::commit_into`], for what needs the commit lock only where `repo` is a draft.
    pub(crate) fn commit_into_unlocked(&self, repo: RepoId, batch: Batch<'_>) -> Result<()> {
        let _lock = self.drafts.is_draft(repo).then(|| self.commit_lock());
        self.commit_into(repo, batch)
    }
}
