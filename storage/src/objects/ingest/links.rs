//! What the objects of a pack name, collected in the one pass while their bytes are at hand: each
//! id once, with the kinds that it is named as; and how deep the trees are nested.
//!
//! Memory is bounded: some 50 bytes for each distinct id, whose number has a limit, and for trees
//! whose subtrees are not known yet four bytes a subtree, settled whenever there are many.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;

use super::limits::{LINKS_OUTSIDE_MAX, TREE_DEPTH_MAX, TREE_DEPTH_TRUSTED};
use crate::error::{PackError, Result, StoreError};
use crate::id::ObjectId;
use crate::object::ObjectKind;
use crate::object::{EntryKind, commit_info, tag_target, tree_entries};

/// Parts of the set, each with a lock of its own: by the first byte of the id.
const SHARD_COUNT: usize = 64;
/// Subtrees of trees that wait before those that can be settled are.
const WAITING_LEN: usize = 4 << 20;
/// The height of a tree whose subtrees are not all known.
const UNKNOWN: u16 = 0;

/// Ids that a pack's objects name.
pub(super) struct Links {
    shards: Vec<Mutex<HashMap<ObjectId, u8>>>,
    shard_len_max: usize,
    trees: Mutex<TreeHeights>,
    unreadable: Mutex<Option<(ObjectId, &'static str)>>,
}

/// What a pack needs: every id it names, ascending, and the kinds as which it is named, a bit a
/// kind.
pub(super) struct Named {
    pub(super) ids: Vec<(ObjectId, u8)>,
    /// Trees with many levels within the pack: what is below them in the repository counts too.
    pub(super) tall: Vec<ObjectId>,
    /// The first object that cannot be read.
    pub(super) unreadable: Option<(ObjectId, &'static str)>,
}

/// The bit of a kind.
pub(super) fn bit(kind: ObjectKind) -> u8 {
    1 << kind.code()
}

impl Links {
    /// For a pack of so many entries.
    pub(super) fn new(entry_count: u64) -> Self {
        let max = entry_count.saturating_add(LINKS_OUTSIDE_MAX);
        // Ids spread evenly; whoever makes them not do so gets fewer.
        let shard_len_max = usize::try_from(max / SHARD_COUNT as u64 * 2).unwrap_or(usize::MAX);
        Self {
            shards: (0..SHARD_COUNT).map(|_| Mutex::new(HashMap::new())).collect(),
            shard_len_max,
            trees: Mutex::new(TreeHeights::default()),
            unreadable: Mutex::new(None),
        }
    }

    /// Notes what an object names.
    pub(super) fn add(&self, kind: ObjectKind, id: &ObjectId, data: &[u8]) -> Result<()> {
        let added = match kind {
            ObjectKind::Blob => return Ok(()),
            ObjectKind::Commit => self.add_commit(data),
            ObjectKind::Tag => match tag_target(data) {
                Ok((target, kind)) => self.name(&target, kind).map(Ok),
                Err(reason) => Ok(Err(reason)),
            },
            ObjectKind::Tree => self.add_tree(id, data),
        };
        if let Err(reason) = added? {
            self.unreadable.lock().get_or_insert((*id, reason));
        }
        Ok(())
    }

    fn add_commit(&self, data: &[u8]) -> Result<Result<(), &'static str>> {
        let info = match commit_info(data) {
            Ok(info) => info,
            Err(reason) => return Ok(Err(reason)),
        };
        self.name(&info.tree, ObjectKind::Tree)?;
        for parent in &info.parents {
            self.name(parent, ObjectKind::Commit)?;
        }
        Ok(Ok(()))
    }

    fn add_tree(&self, id: &ObjectId, data: &[u8]) -> Result<Result<(), &'static str>> {
        let mut subtrees = Vec::new();
        for entry in tree_entries(data) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(reason) => return Ok(Err(reason)),
            };
            match entry.kind() {
                EntryKind::Directory => {
                    self.name(&entry.id, ObjectKind::Tree)?;
                    subtrees.push(entry.id);
                }
                EntryKind::File | EntryKind::Executable | EntryKind::Symlink => {
                    self.name(&entry.id, ObjectKind::Blob)?;
                }
                // Another repository's.
                EntryKind::Submodule => {}
            }
        }
        self.trees.lock().add(id, &subtrees)?;
        Ok(Ok(()))
    }

    fn name(&self, id: &ObjectId, kind: ObjectKind) -> Result<()> {
        let index = usize::from(id.as_bytes()[0]) * SHARD_COUNT / 256;
        let mut shard = self.shards[index].lock();
        let len = shard.len();
        match shard.entry(*id) {
            Entry::Occupied(mut kinds) => *kinds.get_mut() |= bit(kind),
            Entry::Vacant(_) if len >= self.shard_len_max => {
                return Err(StoreError::Limit {
                    what: "objects that a pack names",
                    limit: (self.shard_len_max * SHARD_COUNT / 2) as u64,
                    actual: (self.shard_len_max * SHARD_COUNT / 2) as u64 + 1,
                });
            }
            Entry::Vacant(free) => {
                free.insert(bit(kind));
            }
        }
        Ok(())
    }

    /// Ends the collection.
    pub(super) fn finish(self) -> Result<Named> {
        let mut ids = Vec::with_capacity(self.shards.iter().map(|s| s.lock().len()).sum());
        for shard in self.shards {
            let start = ids.len();
            ids.extend(shard.into_inner());
            ids[start..].sort_unstable();
        }
        let tall = self.trees.into_inner().finish()?;
        Ok(Named { ids, tall, unreadable: self.unreadable.into_inner() })
    }
}

/// How many levels each tree has, itself counted: what is outside the pack counts as none.
#[derive(Default)]
struct TreeHeights {
    numbers: HashMap<ObjectId, u32>,
    /// By number.
    heights: Vec<u16>,
    /// Trees with subtrees of unknown height, one after the other: number, height over those that
    /// are known, how many are not, their numbers.
    waiting: Vec<u32>,
    /// What `waiting` may hold before it is looked through.
    waiting_len_max: usize,
}

impl TreeHeights {
    fn number(&mut self, id: &ObjectId) -> u32 {
        let next = self.heights.len() as u32;
        match self.numbers.entry(*id) {
            Entry::Occupied(number) => *number.get(),
            Entry::Vacant(free) => {
                free.insert(next);
                self.heights.push(UNKNOWN);
                next
            }
        }
    }

    fn add(&mut self, id: &ObjectId, subtrees: &[ObjectId]) -> Result<()> {
        let number = self.number(id);
        if self.heights[number as usize] != UNKNOWN {
            return Ok(());
        }
        let mut open: Vec<u32> = subtrees.iter().map(|subtree| self.number(subtree)).collect();
        let height = self.close(&mut open)?;
        if open.is_empty() {
            self.heights[number as usize] = height;
            return Ok(());
        }
        self.waiting.extend([number, u32::from(height), open.len() as u32]);
        self.waiting.append(&mut open);
        if self.waiting.len() > self.waiting_len_max.max(WAITING_LEN) {
            self.settle(false)?;
            self.waiting_len_max = self.waiting.len() * 2;
        }
        Ok(())
    }

    /// Takes those of known height out; returns the height over them.
    fn close(&self, open: &mut Vec<u32>) -> Result<u16> {
        let mut below = 0;
        open.retain(|&number| {
            let height = self.heights[number as usize];
            below = below.max(height);
            height == UNKNOWN
        });
        check_height(u64::from(below) + 1)?;
        Ok(below + 1)
    }

    /// Settles every waiting tree whose subtrees are known; with `all`, as if what never came had
    /// no height. Depth first with a stack of its own.
    fn settle(&mut self, all: bool) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut places: HashMap<u32, usize> = HashMap::new();
        let mut at = 0;
        while at < waiting.len() {
            places.insert(waiting[at], at);
            at += 3 + waiting[at + 2] as usize;
        }
        let starts: Vec<usize> = places.values().copied().collect();
        let mut stack: Vec<(usize, usize, u16, bool)> = Vec::new();
        for start in starts {
            if places.remove(&waiting[start]).is_some() {
                stack.push((start, 0, 0, true));
            }
            while let Some((at, next, below, whole)) = stack.pop() {
                let number = waiting[at];
                let Some(&subtree) =
                    waiting.get(at + 3 + next).filter(|_| next < waiting[at + 2] as usize)
                else {
                    // Seen to its end: settled, or it waits on.
                    let height = (below + 1).max(waiting[at + 1] as u16);
                    check_height(u64::from(height))?;
                    if whole || all {
                        self.heights[number as usize] = height;
                    }
                    continue;
                };
                let height = self.heights[subtree as usize];
                if height != UNKNOWN {
                    stack.push((at, next + 1, below.max(height), whole));
                    continue;
                }
                match places.remove(&subtree) {
                    Some(below_at) => {
                        stack.push((at, next, below, whole));
                        stack.push((below_at, 0, 0, true));
                    }
                    None => stack.push((at, next + 1, below, false)),
                }
            }
        }
        if !all {
            self.keep_waiting(&waiting)?;
        }
        Ok(())
    }

    /// Puts back what could not be settled, without the subtrees that are known by now.
    fn keep_waiting(&mut self, waiting: &[u32]) -> Result<()> {
        let mut at = 0;
        while at < waiting.len() {
            let end = at + 3 + waiting[at + 2] as usize;
            if self.heights[waiting[at] as usize] == UNKNOWN {
                let mut open = waiting[at + 3..end].to_vec();
                let height = u32::from(self.close(&mut open)?).max(waiting[at + 1]);
                self.waiting.extend([waiting[at], height, open.len() as u32]);
                self.waiting.append(&mut open);
            }
            at = end;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<ObjectId>> {
        self.settle(true)?;
        let tall = self.numbers.into_iter();
        let tall = tall.filter(|(_, n)| self.heights[*n as usize] >= TREE_DEPTH_TRUSTED);
        Ok(tall.map(|(id, _)| id).collect())
    }
}

pub(super) fn check_height(height: u64) -> Result<()> {
    if height > u64::from(TREE_DEPTH_MAX) {
        return Err(PackError::TreeTooDeep { limit: TREE_DEPTH_MAX.into() }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ObjectId {
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        ObjectId::from_bytes(bytes)
    }

    /// Trees 0 to `len` - 1, each with the next and the one after it as subtrees, in the order
    /// `turn` makes, looked through each time that more than `step` words wait.
    fn heights(len: u32, step: usize, turn: u32) -> Result<TreeHeights> {
        let mut trees = TreeHeights::default();
        for index in 0..len {
            let tree = index * turn % len;
            let subtrees: Vec<ObjectId> =
                [tree + 1, tree + 2].into_iter().filter(|t| *t < len).map(id).collect();
            trees.add(&id(tree), &subtrees)?;
            if trees.waiting.len() > step {
                trees.settle(false)?;
            }
        }
        trees.settle(true)?;
        Ok(trees)
    }

    #[test]
    fn heights_are_the_same_whenever_they_are_settled() {
        for (step, turn) in [(usize::MAX, 1), (usize::MAX, 100), (0, 1), (0, 100), (50, 7)] {
            let trees = heights(101, step, turn).expect("shallow");
            for tree in 0..101u32 {
                let number = trees.numbers[&id(tree)] as usize;
                assert_eq!(u32::from(trees.heights[number]), 101 - tree, "{step} {turn}");
            }
            let deep = heights(u32::from(TREE_DEPTH_MAX) + 1, step.max(3_000), turn + 1);
            assert!(deep.is_err(), "{step} {turn}");
            heights(u32::from(TREE_DEPTH_MAX), step.max(3_000), 1).expect("at the limit");
        }
    }
}
