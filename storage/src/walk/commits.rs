//! Commits reachable from some and not from others.
//!
//! Without the others: level by level, so that many are read at once. With them: by date, newest
//! first, as git does, until only what the others reach is left to look at. Where clocks were wrong
//! a commit that the others reach may be found before that is known; what is known at the end
//! counts. So a few commits may be sent again, but none is left out that is needed.

use std::collections::BinaryHeap;

use super::ids::{IdMap, IdSet, sorted};
use super::walker::Walker;
use crate::error::Result;
use crate::id::ObjectId;
use crate::object::parse::CommitInfo;

/// How many steps to go on after all seems known, for clocks that were wrong; git's number.
const SLOP: u32 = 5;

/// What a walk of commits found.
#[derive(Default)]
pub(super) struct Commits {
    /// In no order, each once.
    pub(super) ids: Vec<ObjectId>,
    /// The root tree of each, each once.
    pub(super) trees: Vec<ObjectId>,
    /// Parents of `ids` that the others reach.
    pub(super) edge: Vec<ObjectId>,
    /// Their root trees.
    pub(super) edge_trees: Vec<ObjectId>,
}

/// Walks everything that `tips` reach; commits for which `stop` says so are left out, with what
/// they reach.
pub(super) fn all(
    walker: &Walker<'_>,
    tips: &[ObjectId],
    stop: &mut dyn FnMut(&ObjectId) -> bool,
) -> Result<Commits> {
    let mut seen = IdSet::default();
    let mut trees = IdSet::default();
    let mut level: Vec<ObjectId> = Vec::new();
    for tip in tips {
        if !stop(tip) && seen.insert(*tip) {
            level.push(*tip);
        }
    }
    while !level.is_empty() {
        level.sort_unstable();
        let mut next = Vec::new();
        walker.commits(&level, &mut |_, info| {
            trees.insert(info.tree);
            for parent in info.parents {
                if !seen.contains(&parent) && !stop(&parent) {
                    seen.insert(parent);
                    next.push(parent);
                }
            }
            Ok(())
        })?;
        walker.advance(level.len())?;
        level = next;
    }
    let (ids, trees) = (seen.into_iter().collect(), trees.into_iter().collect());
    Ok(Commits { ids, trees, ..Commits::default() })
}

/// A commit of a walk by date.
struct Node {
    id: ObjectId,
    info: CommitInfo,
    /// Positions of the parents, once it was taken from the queue.
    parents: Option<Vec<u32>>,
    uninteresting: bool,
    queued: bool,
}

/// A walk by date.
pub(super) struct ByDate<'a> {
    walker: &'a Walker<'a>,
    positions: IdMap<u32>,
    nodes: Vec<Node>,
    queue: BinaryHeap<(i64, u32)>,
    /// Commits in the queue that are interesting.
    interesting_count: usize,
    since: Option<i64>,
}

impl<'a> ByDate<'a> {
    /// Walks what `tips` reach and `others` do not; commits older than `since` count as others.
    pub(super) fn walk(
        walker: &'a Walker<'a>,
        tips: &[ObjectId],
        others: &[ObjectId],
        since: Option<i64>,
    ) -> Result<Self> {
        let mut walk = Self {
            walker,
            positions: IdMap::default(),
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            interesting_count: 0,
            since,
        };
        for id in others {
            let position = walk.add(id)?;
            walk.mark(position);
        }
        for id in tips {
            walk.add(id)?;
        }
        walk.run()?;
        Ok(walk)
    }

    /// Reads a commit and puts it into the queue, unless it is known.
    fn add(&mut self, id: &ObjectId) -> Result<u32> {
        if let Some(&position) = self.positions.get(id) {
            return Ok(position);
        }
        let position = self.nodes.len() as u32;
        let mut found = None;
        self.walker.commits(&[*id], &mut |_, info| {
            found = Some(info);
            Ok(())
        })?;
        let info = found.expect("what is read is visited");
        let date = info.committer_time;
        let uninteresting = self.since.is_some_and(|since| date < since);
        self.nodes.push(Node { id: *id, info, parents: None, uninteresting, queued: true });
        self.positions.insert(*id, position);
        self.queue.push((date, position));
        self.interesting_count += usize::from(!uninteresting);
        Ok(position)
    }

    /// Marks a commit, and what is known of its ancestors, as reached by the others.
    fn mark(&mut self, position: u32) {
        let mut stack = vec![position];
        while let Some(position) = stack.pop() {
            let node = &mut self.nodes[position as usize];
            if !node.uninteresting {
                node.uninteresting = true;
                self.interesting_count -= usize::from(node.queued);
                stack.extend(node.parents.iter().flatten());
            }
        }
    }

    fn run(&mut self) -> Result<()> {
        let mut slop = SLOP;
        let mut newest = i64::MAX;
        let mut count = 0usize;
        while let Some((date, position)) = self.queue.pop() {
            let node = &mut self.nodes[position as usize];
            node.queued = false;
            let uninteresting = node.uninteresting;
            self.interesting_count -= usize::from(!uninteresting);
            let ids = std::mem::take(&mut node.info.parents);
            let parents = ids.iter().map(|id| self.add(id)).collect::<Result<Vec<u32>>>()?;
            if uninteresting {
                parents.iter().for_each(|&parent| self.mark(parent));
            }
            self.nodes[position as usize].parents = Some(parents);
            count += 1;
            if count.is_multiple_of(1_024) {
                self.walker.advance(1_024)?;
            }
            if !uninteresting {
                newest = date;
                continue;
            }
            let Some(&(next, _)) = self.queue.peek() else { break };
            slop = if newest <= next || self.interesting_count > 0 { SLOP } else { slop - 1 };
            if slop == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Positions of what was found.
    fn interesting(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.uninteresting)
    }

    /// What was found, and its edge.
    pub(super) fn commits(&self) -> Commits {
        let mut edge = IdMap::default();
        for node in self.interesting() {
            for &parent in node.parents.iter().flatten() {
                let parent = &self.nodes[parent as usize];
                if parent.uninteresting {
                    edge.insert(parent.id, parent.info.tree);
                }
            }
        }
        Commits {
            ids: self.interesting().map(|node| node.id).collect(),
            trees: sorted(self.interesting().map(|node| node.info.tree)),
            edge_trees: sorted(edge.values().copied()),
            edge: edge.into_keys().collect(),
        }
    }

    /// What was found, each with whether all of its parents were found too.
    pub(super) fn with_border(&self) -> impl Iterator<Item = (ObjectId, bool)> + '_ {
        self.interesting().map(|node| {
            let parents = node.parents.iter().flatten();
            let mut parents = parents.map(|&parent| &self.nodes[parent as usize]);
            (node.id, parents.all(|parent| !parent.uninteresting))
        })
    }
}
