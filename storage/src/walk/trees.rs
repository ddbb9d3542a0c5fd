//! Trees and blobs below commits' root trees, level by level.
//!
//! What the client has is found as git's sparse algorithm does: along the paths at which both sides
//! have trees, so that one new commit costs the trees along what it changed and not all of its
//! files. What moved from one path to another may be sent again. Blobs are known by the modes of
//! entries and never read.

use std::collections::HashMap;

use super::TREE_DEPTH_MAX;
use super::entries::{Starts, new_entries};
use super::filter::Rules;
use super::ids::IdSet;
use super::walker::{Walker, expect_kind, malformed};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::object::ObjectKind;
use crate::object::parse::{EntryKind, tree_entries};

/// A path at which the other side has no tree.
const NOWHERE: u32 = 0;
/// The path of root trees.
const ROOT: u32 = 1;

/// A tree at a path.
type Place = (ObjectId, u32);

/// Trees and blobs: those to send, and those that the other side has.
#[derive(Default)]
pub(super) struct Below {
    pub(super) trees: IdSet,
    pub(super) blobs: IdSet,
    pub(super) theirs: IdSet,
}

/// Where the other side has directories, by number.
#[derive(Default)]
struct Paths {
    children: HashMap<u32, HashMap<Box<[u8]>, u32>>,
    count: u32,
}

impl Paths {
    fn find(&self, parent: u32, name: &[u8]) -> u32 {
        let children = self.children.get(&parent);
        children.and_then(|children| children.get(name)).copied().unwrap_or(NOWHERE)
    }

    fn find_or_make(&mut self, parent: u32, name: &[u8]) -> u32 {
        let children = self.children.entry(parent).or_default();
        if let Some(&path) = children.get(name) {
            return path;
        }
        self.count += 1;
        let path = ROOT + self.count;
        children.insert(name.into(), path);
        path
    }
}

/// A walk of trees.
pub(super) struct TreeWalk<'a> {
    pub(super) walker: &'a Walker<'a>,
    pub(super) rules: &'a Rules,
    /// Trees and blobs for which it says so are left out, with what they reach.
    pub(super) stop: &'a mut dyn FnMut(&ObjectId) -> bool,
}

impl TreeWalk<'_> {
    /// Walks `named` (whose entries have depth 0) and `roots` (which have depth 0 themselves)
    /// against the other side's `their_roots`.
    pub(super) fn run(
        mut self,
        named: &[ObjectId],
        roots: &[ObjectId],
        their_roots: &[ObjectId],
        below: &mut Below,
    ) -> Result<()> {
        let mut paths = Paths::default();
        let mut level = Vec::new();
        for tree in named {
            self.enter(*tree, NOWHERE, below, &mut level);
        }
        level = self.level(level, 0, &paths, below)?;
        if !self.rules.needs_trees() {
            return Ok(());
        }
        below.theirs.extend(their_roots);
        let mut their_level: Vec<Place> = their_roots.iter().map(|id| (*id, ROOT)).collect();
        let root = if their_roots.is_empty() { NOWHERE } else { ROOT };
        for tree in roots {
            self.enter(*tree, root, below, &mut level);
        }
        for depth in 1.. {
            if level.is_empty() {
                break;
            }
            if depth > TREE_DEPTH_MAX {
                let what = "depth of directories";
                return Err(StoreError::Limit { what, limit: TREE_DEPTH_MAX, actual: depth });
            }
            their_level = self.their_level(their_level, &level, &mut paths, below)?;
            level = self.level(level, depth, &paths, below)?;
        }
        Ok(())
    }

    /// Notes a tree that is to be sent and read.
    fn enter(&mut self, id: ObjectId, path: u32, below: &mut Below, level: &mut Vec<Place>) {
        if !below.trees.contains(&id) && !below.theirs.contains(&id) && !(self.stop)(&id) {
            below.trees.insert(id);
            level.push((id, path));
        }
    }

    /// Reads the trees of a level, whose entries have depth `depth`; returns the next level.
    fn level(
        &mut self,
        mut level: Vec<Place>,
        depth: u64,
        paths: &Paths,
        below: &mut Below,
    ) -> Result<Vec<Place>> {
        if level.is_empty() || !self.rules.reaches(depth) {
            return Ok(Vec::new());
        }
        level.retain(|(id, _)| !below.theirs.contains(id));
        level.sort_unstable();
        let ids: Vec<ObjectId> = level.iter().map(|(id, _)| *id).collect();
        let with_blobs = self.rules.sends_blobs();
        let mut next = Vec::new();
        let walker = self.walker;
        walker.store.objects().read_noting::<Starts>(&ids, &mut |seen| {
            let (id, path) = level[seen.index];
            expect_kind(&id, seen.kind, ObjectKind::Tree)?;
            let made_from = seen.made_from;
            new_entries(&id, seen.data, made_from, |entry| {
                match entry.kind() {
                    EntryKind::Directory => {
                        let path = match path {
                            NOWHERE => NOWHERE,
                            path => paths.find(path, entry.name),
                        };
                        self.enter(entry.id, path, below, &mut next);
                    }
                    EntryKind::Submodule => {}
                    _ => {
                        if with_blobs && !below.blobs.contains(&entry.id) && !(self.stop)(&entry.id)
                        {
                            below.blobs.insert(entry.id);
                        }
                    }
                }
                Ok(())
            })
        })?;
        walker.advance(ids.len())?;
        Ok(next)
    }

    /// Reads those of their trees at whose path this side has one too.
    fn their_level(
        &self,
        level: Vec<Place>,
        ours: &[Place],
        paths: &mut Paths,
        below: &mut Below,
    ) -> Result<Vec<Place>> {
        let mut wanted: Vec<u32> = ours.iter().map(|(_, path)| *path).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut level: Vec<Place> =
            level.into_iter().filter(|(_, path)| wanted.binary_search(path).is_ok()).collect();
        level.sort_unstable();
        level.dedup();
        let mut ids: Vec<ObjectId> = level.iter().map(|(id, _)| *id).collect();
        ids.dedup();
        let mut next = Vec::new();
        self.walker.store.objects().read_each(&ids, &mut |index, kind, data| {
            let id = ids[index];
            expect_kind(&id, kind, ObjectKind::Tree)?;
            let places = &level[level.partition_point(|place| place.0 < id)..];
            let places = places.iter().take_while(|place| place.0 == id);
            for entry in tree_entries(data) {
                let entry = entry.map_err(|e| malformed(&id, e))?;
                match entry.kind() {
                    EntryKind::Submodule => continue,
                    EntryKind::Directory => {
                        for (_, path) in places.clone() {
                            next.push((entry.id, paths.find_or_make(*path, entry.name)));
                        }
                    }
                    _ => {}
                }
                below.theirs.insert(entry.id);
            }
            Ok(())
        })?;
        Ok(next)
    }
}

/// Everything below `trees`, into `theirs`: for trees that the other side named itself.
pub(super) fn mark_all(walker: &Walker<'_>, trees: &[ObjectId], theirs: &mut IdSet) -> Result<()> {
    let mut level: Vec<ObjectId> = trees.to_vec();
    theirs.extend(trees);
    for _ in 0..=TREE_DEPTH_MAX {
        if level.is_empty() {
            return Ok(());
        }
        level.sort_unstable();
        let mut next = Vec::new();
        walker.store.objects().read_noting::<Starts>(&level, &mut |seen| {
            let id = &level[seen.index];
            expect_kind(id, seen.kind, ObjectKind::Tree)?;
            new_entries(id, seen.data, seen.made_from, |entry| {
                let kind = entry.kind();
                let is_new = kind != EntryKind::Submodule && theirs.insert(entry.id);
                if is_new && kind == EntryKind::Directory {
                    next.push(entry.id);
                }
                Ok(())
            })
        })?;
        walker.advance(level.len())?;
        level = next;
    }
    let (limit, actual) = (TREE_DEPTH_MAX, TREE_DEPTH_MAX + 1);
    Err(StoreError::Limit { what: "depth of directories", limit, actual })
}
