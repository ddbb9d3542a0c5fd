//! Whether a client may know of an object: only when the references that it may see reach it.

use std::cell::OnceCell;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use mega_storage::object::commit_info;
use mega_storage::{ObjectId, ObjectKind, Reach, StoreError};

use super::limits::NEWEST_COMMITS_MAX;
use super::refs::VisibleRefs;
use crate::git::Service;

/// What the visible references reach, asked for only when tips do not decide.
pub(super) struct Reachable<'a> {
    service: &'a Service<'a>,
    tips: Vec<ObjectId>,
    closure: OnceCell<Arc<Reach>>,
}

impl<'a> Reachable<'a> {
    pub(super) fn new(service: &'a Service<'a>, refs: &VisibleRefs) -> Self {
        Self { service, tips: refs.tips(), closure: OnceCell::new() }
    }

    /// The objects at the visible references, sorted, each once.
    pub(super) fn tips(&self) -> &[ObjectId] {
        &self.tips
    }

    /// For each id, whether the visible references reach it.
    ///
    /// # Errors
    /// As [`mega_storage::Store::closure`].
    pub(super) fn are_reachable(&self, ids: &[ObjectId]) -> Result<Vec<bool>, StoreError> {
        self.are_reachable_near(ids, &[])
    }

    /// The same, for ids of which many stand close below `near`, objects known to be reachable, or
    /// below ids that are tips: as haves do below wants. Then the closure is not needed.
    ///
    /// # Errors
    /// As [`mega_storage::Store::closure`].
    pub(super) fn are_reachable_near(
        &self,
        ids: &[ObjectId],
        near: &[ObjectId],
    ) -> Result<Vec<bool>, StoreError> {
        let mut answers: Vec<bool> =
            ids.iter().map(|id| self.tips.binary_search(id).is_ok()).collect();
        let mut open: Vec<usize> = (0..ids.len()).filter(|&i| !answers[i]).collect();
        let open_ids: Vec<ObjectId> = open.iter().map(|&i| ids[i]).collect();
        // Most ids that are no tips are not here at all: commits of the client's own.
        let members = self.service.store.objects().are_members(self.service.repo.id, &open_ids)?;
        let mut members = members.into_iter();
        open.retain(|_| members.next() == Some(true));
        if !near.is_empty() && !open.is_empty() {
            let tips = ids.iter().zip(&answers).filter(|(_, is_tip)| **is_tip);
            let starts = near.iter().chain(tips.map(|(id, _)| id)).copied();
            let found = self.newest(starts, open.iter().map(|&i| ids[i]).collect())?;
            open.iter().for_each(|&i| answers[i] = found.contains(&ids[i]));
            open.retain(|&i| !answers[i]);
        }
        for i in open {
            answers[i] = self.closure()?.ids.binary_search(&ids[i]).is_ok();
        }
        Ok(answers)
    }

    /// Those of `missing` that are among the newest commits that `starts` reach.
    fn newest(
        &self,
        starts: impl Iterator<Item = ObjectId>,
        mut missing: HashSet<ObjectId>,
    ) -> Result<HashSet<ObjectId>, StoreError> {
        let mut queue: BinaryHeap<(i64, ObjectId, Vec<ObjectId>)> = BinaryHeap::new();
        let mut seen: HashSet<ObjectId> = HashSet::new();
        let mut found: HashSet<ObjectId> = HashSet::new();
        let mut next: Vec<ObjectId> = starts.collect();
        while !missing.is_empty() {
            for id in next {
                if seen.len() == NEWEST_COMMITS_MAX || !seen.insert(id) {
                    continue;
                }
                if missing.remove(&id) {
                    found.insert(id);
                }
                let object = self.service.store.objects().read(&id)?;
                let commit = object.filter(|object| object.kind == ObjectKind::Commit);
                if let Some(info) = commit.and_then(|object| commit_info(&object.data).ok()) {
                    queue.push((info.committer_time, id, info.parents));
                }
            }
            let Some((_, _, parents)) = queue.pop() else { break };
            next = parents;
        }
        Ok(found)
    }

    fn closure(&self) -> Result<&Reach, StoreError> {
        if let Some(closure) = self.closure.get() {
            return Ok(closure);
        }
        let Service { store, repo, stop, .. } = self.service;
        let closure = store.closure(repo.id, &self.tips, *stop)?;
        Ok(self.closure.get_or_init(|| closure))
    }
}
