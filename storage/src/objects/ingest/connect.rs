//! Connectivity: every object that the pack's objects name is in the pack or in the repository, and
//! of the kind that it is named as. Submodule commits are another repository's and not looked for.
//!
//! Invariant: what is a member of a repository has all that it needs as members too, so only new
//! objects are looked at. Hence a pack that fails here must not be committed.

use std::collections::{BTreeSet, HashMap};

use super::PreparedPack;
use super::links::{bit, check_height};
use super::whole::PackReader;
use crate::error::{PackError, Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::object::{EntryKind, ObjectKind, tree_entries};
use crate::objects::ObjectStore;

/// The objects of a pack that name nothing outside of it: what its tips reach.
#[derive(Debug)]
pub struct ClosedPack {
    /// Objects that no other of the pack names; ascending.
    pub(crate) tips: Vec<ObjectId>,
    /// All objects; ascending, each once.
    pub(crate) ids: Vec<ObjectId>,
}

const KINDS: [ObjectKind; 4] =
    [ObjectKind::Commit, ObjectKind::Tree, ObjectKind::Blob, ObjectKind::Tag];

impl PreparedPack<'_> {
    /// Checks that nothing is missing: what the pack's objects name, and `extra_tips`, is in the
    /// pack or in the repository, kinds are right, no tree has more levels than git follows.
    ///
    /// The pack must have been prepared with [`super::IngestOptions::links`].
    ///
    /// # Errors
    /// [`PackError::MissingLink`], [`PackError::WrongLink`], [`PackError::TreeTooDeep`];
    /// [`StoreError::MissingObject`] for a tip; [`StoreError::MalformedObject`].
    pub fn check_connected(&mut self, extra_tips: &[ObjectId]) -> Result<()> {
        let links = self.resolved.links.take();
        let named =
            links.expect("the caller asked for links when it prepared the pack").finish()?;
        if let Some((id, reason)) = named.unreadable {
            return Err(StoreError::MalformedObject { id, reason: reason.to_owned() });
        }
        let own = self.own_kinds();
        let mut is_named = vec![false; own.len()];
        let mut outside = Vec::new();
        for (id, kinds) in named.ids {
            match find(&own, &id) {
                Some(index) => {
                    check_kind(&id, kinds, own[index].1)?;
                    is_named[index] = true;
                }
                None => outside.push((id, kinds)),
            }
        }
        // Before the look-up: from here on gc lets them be.
        let mut needed: Vec<ObjectId> = outside.iter().map(|(id, _)| *id).collect();
        self.lease.add(&needed);
        self.lease.add(extra_tips);
        self.check_outside(&outside)?;
        self.closed = outside.is_empty().then(|| closed(&own, &is_named));
        let tips = extra_tips.iter().filter(|tip| find(&own, tip).is_none());
        let tips: Vec<ObjectId> = tips.copied().collect();
        still_there(self.store, self.repo, &tips)?;
        needed.extend(tips);
        self.outside = needed;
        if named.tall.is_empty() { Ok(()) } else { self.check_depth(&named.tall) }
    }

    /// Those of `ids` that are neither in the pack nor in the repository.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>> {
        let members = self.store.are_members(self.repo, ids)?;
        let absent = ids.iter().zip(members).filter(|(_, member)| !member);
        let mut absent: BTreeSet<ObjectId> = absent.map(|(id, _)| *id).collect();
        if !absent.is_empty() {
            for object in &self.resolved.objects {
                absent.remove(&object.id);
            }
        }
        Ok(absent.into_iter().collect())
    }

    /// Ids and kinds of the pack's own objects, ascending, each once.
    fn own_kinds(&self) -> Vec<(ObjectId, ObjectKind)> {
        let objects = self.resolved.objects.iter().zip(&self.resolved.entries);
        let own = objects.filter(|(_, entry)| entry.outside.is_none());
        let mut own: Vec<_> = own.map(|(object, _)| (object.id, object.kind)).collect();
        own.sort_unstable_by_key(|(id, _)| *id);
        // Git takes a pack with an object in it twice.
        own.dedup_by_key(|(id, _)| *id);
        own
    }

    fn check_outside(&self, outside: &[(ObjectId, u8)]) -> Result<()> {
        const STEP: usize = 4_096;
        for part in outside.chunks(STEP) {
            let ids: Vec<ObjectId> = part.iter().map(|(id, _)| *id).collect();
            let members = self.store.are_members(self.repo, &ids)?;
            if let Some(((id, kinds), _)) = part.iter().zip(members).find(|(_, member)| !member) {
                let kind = KINDS.into_iter().find(|kind| kinds & bit(*kind) != 0);
                let kind = kind.map_or("object", ObjectKind::as_str);
                return Err(PackError::MissingLink { id: *id, kind }.into());
            }
            for ((id, kinds), kind) in part.iter().zip(self.store.kinds(&ids)?) {
                check_kind(id, *kinds, kind.ok_or(StoreError::MissingObject { id: *id })?)?;
            }
        }
        Ok(())
    }

    /// Counts the levels of trees exactly, those in the repository too. Only for packs that have
    /// many themselves: it reads every tree below.
    fn check_depth(&self, tall: &[ObjectId]) -> Result<()> {
        let reader = PackReader::new(&self.quarantine, &self.resolved)?;
        let objects = self.resolved.objects.iter().zip(0u32..);
        let trees = objects.filter(|(object, _)| object.kind == ObjectKind::Tree);
        let positions: HashMap<ObjectId, u32> = trees.map(|(tree, p)| (tree.id, p)).collect();
        let subtrees = |id: &ObjectId| -> Result<Vec<ObjectId>> {
            let data = match positions.get(id) {
                Some(&position) => reader.read(position)?,
                None => self.store.read(id)?.ok_or(StoreError::MissingObject { id: *id })?.data,
            };
            let entries = tree_entries(&data).filter_map(Result::ok);
            let entries = entries.filter(|entry| entry.kind() == EntryKind::Directory);
            Ok(entries.map(|entry| entry.id).collect())
        };
        let mut heights: HashMap<ObjectId, u64> = HashMap::new();
        for start in tall {
            // A tree on its way, those of its subtrees that are left, the height below it.
            let mut stack = vec![(*start, subtrees(start)?, 0)];
            while let Some((id, mut left, below)) = stack.pop() {
                check_height(below + 1)?;
                check_height(stack.len() as u64 + 1)?;
                let Some(next) = left.pop() else {
                    heights.insert(id, below + 1);
                    continue;
                };
                match heights.get(&next) {
                    Some(&height) => stack.push((id, left, height.max(below))),
                    None => {
                        left.push(next);
                        stack.push((id, left, below));
                        let below = subtrees(&next)?;
                        stack.push((next, below, 0));
                    }
                }
            }
        }
        Ok(())
    }
}

fn find(own: &[(ObjectId, ObjectKind)], id: &ObjectId) -> Option<usize> {
    own.binary_search_by_key(id, |(id, _)| *id).ok()
}

/// Names have no cycles, so whatever is named is reached from something that is not.
fn closed(own: &[(ObjectId, ObjectKind)], is_named: &[bool]) -> ClosedPack {
    let tips = own.iter().zip(is_named).filter(|(_, is_named)| !**is_named);
    let tips = tips.map(|((id, _), _)| *id).collect();
    ClosedPack { tips, ids: own.iter().map(|(id, _)| *id).collect() }
}

/// Whether an object is named as what it is, and as nothing else.
fn check_kind(id: &ObjectId, kinds: u8, actual: ObjectKind) -> Result<()> {
    match KINDS.into_iter().find(|kind| *kind != actual && kinds & bit(*kind) != 0) {
        None => Ok(()),
        Some(expected) => {
            let (expected, actual) = (expected.as_str(), actual.as_str());
            Err(PackError::WrongLink { id: *id, expected, actual }.into())
        }
    }
}

/// Checks that objects are in the repository.
pub(super) fn still_there(store: &ObjectStore, repo: RepoId, ids: &[ObjectId]) -> Result<()> {
    let members = store.are_members(repo, ids)?;
    match ids.iter().zip(members).find(|(_, member)| !member) {
        Some((id, _)) => Err(StoreError::MissingObject { id: *id }),
        None => Ok(()),
    }
}
