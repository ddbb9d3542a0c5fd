//! What all walks share: the repository, where commits end, and starting points sorted by kind.

use super::ids::{IdSet, sorted};
use crate::db::{Family, keys};
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::object::parse::{CommitInfo, commit_info, tag_target};
use crate::object::{ObjectHeader, ObjectKind};
use crate::progress::Progress;
use crate::revision::TAG_DEPTH_MAX;
use crate::store::Store;

/// Ids looked up in one go.
const LOOKUP_COUNT: usize = 1_024;
/// From one in so many of the members on, a pass over all of them is cheaper than looking up.
const SCAN_SHARE: u64 = 16;

/// One walk.
pub(super) struct Walker<'a> {
    pub(super) store: &'a Store,
    pub(super) repo: RepoId,
    /// Commits that have no parents for this walk.
    pub(super) cut: IdSet,
    pub(super) progress: &'a dyn Progress,
}

/// Where a walk starts, by kind; each list ascends, each id once. Tags have been followed.
#[derive(Default)]
pub(super) struct Starts {
    pub(super) commits: Vec<ObjectId>,
    pub(super) trees: Vec<ObjectId>,
    pub(super) blobs: Vec<ObjectId>,
    pub(super) tags: Vec<ObjectId>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(store: &'a Store, repo: RepoId, progress: &'a dyn Progress) -> Self {
        Self { store, repo, cut: IdSet::default(), progress }
    }

    /// Says that `count` more objects are done.
    pub(super) fn advance(&self, count: usize) -> Result<()> {
        self.progress.advance(count as u64);
        if self.progress.interrupted() { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    /// Sorts members by kind and follows tags; all that tags lead to are starts too.
    pub(super) fn starts(&self, ids: &[ObjectId]) -> Result<Starts> {
        let mut starts = Starts::default();
        let mut next = sorted(ids.iter().copied());
        for _ in 0..=TAG_DEPTH_MAX {
            if next.is_empty() {
                return Ok(starts.in_order());
            }
            let headers = self.store.objects().headers(&next)?;
            let mut tags = Vec::new();
            for (id, header) in next.iter().zip(headers) {
                let header: ObjectHeader = header.ok_or(StoreError::MissingObject { id: *id })?;
                match header.kind {
                    ObjectKind::Commit => starts.commits.push(*id),
                    ObjectKind::Tree => starts.trees.push(*id),
                    ObjectKind::Blob => starts.blobs.push(*id),
                    ObjectKind::Tag => tags.push(*id),
                }
            }
            next.clear();
            self.store.objects().read_each(&tags, &mut |index, _, data| {
                let target = tag_target(data).map_err(|e| malformed(&tags[index], e))?;
                next.push(target.0);
                Ok(())
            })?;
            next = sorted(next);
            starts.tags.extend(tags);
        }
        let (limit, actual) = (TAG_DEPTH_MAX as u64, TAG_DEPTH_MAX as u64 + 1);
        Err(StoreError::Limit { what: "tags that name each other", limit, actual })
    }

    /// Reads commits, which ascend by id; those that are cut have no parents.
    pub(super) fn commits(
        &self,
        ids: &[ObjectId],
        visit: &mut dyn FnMut(&ObjectId, CommitInfo) -> Result<()>,
    ) -> Result<()> {
        self.store.objects().read_each(ids, &mut |index, kind, data| {
            let id = &ids[index];
            expect_kind(id, kind, ObjectKind::Commit)?;
            let mut info = commit_info(data).map_err(|e| malformed(id, e))?;
            if !self.cut.is_empty() && self.cut.contains(id) {
                info.parents.clear();
            }
            visit(id, info)
        })
    }

    /// Those of `ids` that are members.
    pub(super) fn members(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>> {
        let members = self.store.objects().are_members(self.repo, ids)?;
        Ok(ids.iter().zip(members).filter(|(_, member)| *member).map(|(id, _)| *id).collect())
    }

    /// Fails when one of `ids`, which ascend, is not a member.
    pub(super) fn must_be_members(&self, ids: &[ObjectId]) -> Result<()> {
        let missing = |id: &ObjectId| Err(StoreError::MissingObject { id: *id });
        let db = self.store.db();
        if ids.len() as u64 >= db.row_count_estimate(Family::RepoObject)? / SCAN_SHARE {
            let snapshot = db.snapshot();
            let prefix = keys::repo_prefixed(self.repo, &[]);
            let mut cursor = snapshot.cursor(Family::RepoObject, &prefix);
            for id in ids {
                if cursor.find(&keys::repo_object(self.repo, id))?.is_none() {
                    return missing(id);
                }
            }
            return Ok(());
        }
        for ids in ids.chunks(LOOKUP_COUNT) {
            let keys: Vec<_> = ids.iter().map(|id| keys::repo_object(self.repo, id)).collect();
            let rows = db.multi_get(Family::RepoObject, &keys, true)?;
            if let Some((id, _)) = ids.iter().zip(rows).find(|(_, row)| row.is_none()) {
                return missing(id);
            }
        }
        Ok(())
    }
}

impl Starts {
    fn in_order(self) -> Self {
        Self {
            commits: sorted(self.commits),
            trees: sorted(self.trees),
            blobs: sorted(self.blobs),
            tags: sorted(self.tags),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = ObjectId> + '_ {
        [&self.commits, &self.trees, &self.blobs, &self.tags].into_iter().flatten().copied()
    }
}

pub(crate) fn malformed(id: &ObjectId, reason: &str) -> StoreError {
    StoreError::MalformedObject { id: *id, reason: reason.to_owned() }
}

pub(crate) fn expect_kind(id: &ObjectId, actual: ObjectKind, expected: ObjectKind) -> Result<()> {
    if actual == expected {
        return Ok(());
    }
    let (expected, actual) = (expected.as_str(), actual.as_str());
    Err(StoreError::WrongKind { id: *id, expected, actual })
}
