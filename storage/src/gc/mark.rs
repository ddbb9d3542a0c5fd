//! Marking: everything that some objects of a repository reach.
//!
//! Commits level by level, then trees level by level, each object once; blobs are known by the
//! entries that name them and never read. In memory are the marks and one level.

use super::members::Members;
use super::step;
use crate::error::{Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::object::ObjectKind;
use crate::object::parse::{EntryKind, commit_info, tag_target};
use crate::progress::Progress;
use crate::revision::TAG_DEPTH_MAX;
use crate::store::Store;
use crate::walk::{Starts, TREE_DEPTH_MAX, expect_kind, malformed, new_entries};

/// Marks what is reachable in one repository.
pub(super) struct Marker<'a> {
    pub(super) store: &'a Store,
    pub(super) repo: RepoId,
    pub(super) members: Members,
    pub(super) progress: &'a dyn Progress,
}

impl Marker<'_> {
    /// Marks what `roots` reach. Objects that were marked before are not followed again.
    ///
    /// # Errors
    /// [`StoreError::MissingObject`] and others when something on the way cannot be read: then
    /// nothing may be taken for unreachable.
    pub(super) fn mark(&mut self, roots: &[ObjectId]) -> Result<()> {
        let mut next: Vec<ObjectId> = roots.to_vec();
        next.sort_unstable();
        next.dedup();
        let (mut commits, mut trees) = (Vec::new(), Vec::new());
        for _ in 0..=TAG_DEPTH_MAX {
            next.retain(|id| self.members.follow(id));
            if next.is_empty() {
                self.commits(commits, &mut trees)?;
                return self.trees(trees);
            }
            let headers = self.store.objects().headers(&next)?;
            let mut tags = Vec::new();
            for (id, header) in next.iter().zip(headers) {
                match header.ok_or(StoreError::MissingObject { id: *id })?.kind {
                    ObjectKind::Commit => commits.push(*id),
                    ObjectKind::Tree => trees.push(*id),
                    ObjectKind::Blob => {}
                    ObjectKind::Tag => tags.push(*id),
                }
            }
            next.clear();
            self.store.objects().read_each(&tags, &mut |index, _, data| {
                let target = tag_target(data).map_err(|e| malformed(&tags[index], e))?;
                next.push(target.0);
                Ok(())
            })?;
            next.sort_unstable();
            next.dedup();
        }
        let (limit, actual) = (TAG_DEPTH_MAX as u64, TAG_DEPTH_MAX as u64 + 1);
        Err(StoreError::Limit { what: "tags that name each other", limit, actual })
    }

    /// Marks some that came while the repository was marked, and what they reach: those that are
    /// objects of the repository.
    pub(super) fn mark_touched(&mut self, mut ids: Vec<ObjectId>) -> Result<()> {
        ids.retain(|id| !self.members.is_followed(id));
        ids.sort_unstable();
        ids.dedup();
        let members = self.store.objects().are_members(self.repo, &ids)?;
        let ids: Vec<ObjectId> =
            ids.into_iter().zip(members).filter(|(_, is)| *is).map(|(id, _)| id).collect();
        self.mark(&ids)
    }

    fn commits(&mut self, mut level: Vec<ObjectId>, trees: &mut Vec<ObjectId>) -> Result<()> {
        let Self { store, members, progress, .. } = self;
        let mut unsaid = 0;
        while !level.is_empty() {
            level.sort_unstable();
            let mut next = Vec::new();
            store.objects().read_each(&level, &mut |index, kind, data| {
                let id = &level[index];
                expect_kind(id, kind, ObjectKind::Commit)?;
                let info = commit_info(data).map_err(|e| malformed(id, e))?;
                if members.follow(&info.tree) {
                    trees.push(info.tree);
                }
                next.extend(info.parents.into_iter().filter(|parent| members.follow(parent)));
                Ok(())
            })?;
            unsaid += level.len();
            if unsaid >= 1_024 {
                step(*progress, std::mem::take(&mut unsaid))?;
            }
            level = next;
        }
        step(self.progress, unsaid)
    }

    fn trees(&mut self, mut level: Vec<ObjectId>) -> Result<()> {
        for _ in 0..=TREE_DEPTH_MAX {
            if level.is_empty() {
                return Ok(());
            }
            level.sort_unstable();
            let mut next = Vec::new();
            let Self { store, members, .. } = self;
            store.objects().read_noting::<Starts>(&level, &mut |seen| {
                let id = &level[seen.index];
                expect_kind(id, seen.kind, ObjectKind::Tree)?;
                new_entries(id, seen.data, seen.made_from, |entry| {
                    // Another repository's commit is none of this one's objects.
                    match entry.kind() {
                        EntryKind::Submodule => {}
                        EntryKind::Directory if members.follow(&entry.id) => next.push(entry.id),
                        EntryKind::Directory => {}
                        _ => members.mark(&entry.id),
                    }
                    Ok(())
                })
            })?;
            step(self.progress, level.len())?;
            level = next;
        }
        let (limit, actual) = (TREE_DEPTH_MAX, TREE_DEPTH_MAX + 1);
        Err(StoreError::Limit { what: "depth of directories", limit, actual })
    }
}
