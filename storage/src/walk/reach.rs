//! One walk from wants, without haves, filtered.

use super::commits::{self, ByDate, Commits};
use super::filter::Rules;
use super::ids::{IdSet, sorted};
use super::trees::{Below, TreeWalk, mark_all};
use super::walker::{Starts, Walker};
use super::{Reach, WalkRequest};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::object::ObjectKind;
use crate::progress::{Progress, Unit};
use crate::store::Store;

/// Does the walk of [`Store::reach`].
pub(super) fn reach(
    store: &Store,
    request: &WalkRequest<'_>,
    progress: &dyn Progress,
) -> Result<Reach> {
    progress.start("walking", None, Unit::Objects);
    let mut walker = Walker::new(store, request.repo, progress);
    walker.cut.extend(request.shallow.boundary.iter().chain(request.shallow.client));
    let wants = sorted(request.wants.iter().copied());
    walker.must_be_members(&wants)?;
    let ours = walker.starts(&wants)?;
    let theirs = walker.starts(&walker.members(request.haves)?)?;
    let commits = match theirs.commits.is_empty() {
        true => commits::all(&walker, &ours.commits, &mut |_| false)?,
        false => ByDate::walk(&walker, &ours.commits, &theirs.commits, None)?.commits(),
    };
    let rules = Rules::new(&request.filter);
    let mut below = Below::default();
    mark_all(&walker, &theirs.trees, &mut below.theirs)?;
    below.theirs.extend(theirs.blobs.iter().chain(&theirs.tags));
    let walk = TreeWalk { walker: &walker, rules: &rules, stop: &mut |_| false };
    walk.run(&ours.trees, &commits.trees, &commits.edge_trees, &mut below)?;
    let ids = Answer { ours: &ours, rules: &rules, commits: &commits, below: &below }.ids(store)?;
    walker.must_be_members(&ids)?;
    let edge = match rules.filters {
        true => Vec::new(),
        false => walker.members(&sorted(below.theirs.iter().chain(&commits.edge).copied()))?,
    };
    Ok(Reach { ids, edge })
}

/// Everything that `tips` reach and for which `stop` does not say that it is known; sorted.
pub(super) fn all_new(
    walker: &Walker<'_>,
    tips: &[ObjectId],
    stop: &mut dyn FnMut(&ObjectId) -> bool,
) -> Result<Vec<ObjectId>> {
    walker.must_be_members(tips)?;
    let ours = walker.starts(tips)?;
    let commits = commits::all(walker, &ours.commits, stop)?;
    let rules = Rules::new(&super::Filter::None);
    let mut below = Below::default();
    let walk = TreeWalk { walker, rules: &rules, stop };
    walk.run(&ours.trees, &commits.trees, &[], &mut below)?;
    let answer = Answer { ours: &ours, rules: &rules, commits: &commits, below: &below };
    let mut ids = answer.ids(walker.store)?;
    ids.retain(|id| !stop(id));
    walker.must_be_members(&ids)?;
    Ok(ids)
}

struct Answer<'a> {
    ours: &'a Starts,
    rules: &'a Rules,
    commits: &'a Commits,
    below: &'a Below,
}

impl Answer<'_> {
    /// What is sent, sorted.
    fn ids(&self, store: &Store) -> Result<Vec<ObjectId>> {
        let (rules, below) = (self.rules, self.below);
        let reached: IdSet;
        let mut ids: Vec<ObjectId> = Vec::new();
        if rules.sends(ObjectKind::Commit) {
            ids.extend(&self.commits.ids);
        } else {
            reached = self.commits.ids.iter().copied().collect();
            ids.extend(self.ours.commits.iter().filter(|id| reached.contains(*id)));
        }
        let named = [&self.ours.trees, &self.ours.blobs, &self.ours.tags];
        ids.extend(named.into_iter().flatten());
        if rules.sends(ObjectKind::Tree) {
            ids.extend(&below.trees);
        }
        match rules.blob_limit {
            None => ids.extend(&below.blobs),
            Some(limit) => {
                let blobs = sorted(below.blobs.iter().copied());
                for (id, header) in blobs.iter().zip(store.objects().headers(&blobs)?) {
                    let header = header.ok_or(StoreError::MissingObject { id: *id })?;
                    if header.len < limit {
                        ids.push(*id);
                    }
                }
            }
        }
        let mut ids = sorted(ids);
        if !below.theirs.is_empty() {
            ids.retain(|id| !below.theirs.contains(id));
        }
        Ok(ids)
    }
}
