//! Which objects of a repository may be read by their ids by somebody who may read the repository.
//!
//! The rule is that of a fetch's wants: an object that a reference which fetches see reaches. What
//! was force-pushed away, and what only hidden references have, has an id like all else, and is not
//! given for it. A repository that is filled as it is read cannot be walked; all that it has was
//! shown to it by its source, so there membership decides, unless references of it are hidden:
//! then no object is given by id.

use std::sync::Arc;

use crate::error::Result;
use crate::id::{ObjectId, RepoId};
use crate::progress::Progress;
use crate::refs::RefTarget;
use crate::repos::Repo;
use crate::settings::RepoSettings;
use crate::store::Store;
use crate::walk::Reach;

/// The objects of one repository that may be read by id, as its references stood when this was
/// made.
#[derive(Clone)]
pub struct ReadableObjects {
    store: Store,
    repo: RepoId,
    rule: Rule,
}

#[derive(Clone)]
enum Rule {
    Nothing,
    Members,
    Reached(Arc<Reach>),
}

impl Store {
    /// Finds out which objects of `repo` may be read by id. The first call after a reference has
    /// moved walks what is new.
    ///
    /// # Errors
    /// As [`Self::closure`].
    pub fn readable_objects(
        &self,
        repo: &Repo,
        settings: &RepoSettings,
        progress: &dyn Progress,
    ) -> Result<ReadableObjects> {
        let rule = match (repo.partial, settings.hides_any_from_fetch()) {
            (true, true) => Rule::Nothing,
            (true, false) => Rule::Members,
            (false, _) => {
                let tips = self.shown_tips(repo.id, settings)?;
                Rule::Reached(self.closure(repo.id, &tips, progress)?)
            }
        };
        Ok(ReadableObjects { store: self.clone(), repo: repo.id, rule })
    }

    /// The objects at the references that fetches see.
    fn shown_tips(&self, repo: RepoId, settings: &RepoSettings) -> Result<Vec<ObjectId>> {
        let mut tips = Vec::new();
        for (name, target) in self.refs().list(repo, b"")? {
            if settings.hides_from_fetch(&name) {
                continue;
            }
            match target {
                RefTarget::Direct(id) => tips.push(id),
                RefTarget::Symbolic(_) => tips.extend(self.refs().resolve(repo, &name)?),
            }
        }
        Ok(tips)
    }
}

impl ReadableObjects {
    /// The repository.
    pub fn repo(&self) -> RepoId {
        self.repo
    }

    /// For each id, whether its object is here and may be read.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn are_readable(&self, ids: &[ObjectId]) -> Result<Vec<bool>> {
        match &self.rule {
            Rule::Nothing => Ok(vec![false; ids.len()]),
            Rule::Members => self.store.objects().are_members(self.repo, ids),
            Rule::Reached(reach) => {
                Ok(ids.iter().map(|id| reach.ids.binary_search(id).is_ok()).collect())
            }
        }
    }

    /// Those of `ids` that are here and may be read, in their order.
    pub(crate) fn keep_readable(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>> {
        let readable = self.are_readable(ids)?;
        Ok(ids.iter().zip(readable).filter(|(_, is)| *is).map(|(id, _)| *id).collect())
    }
}
