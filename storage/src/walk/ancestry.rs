//! Questions about ancestors.

use std::collections::BinaryHeap;

use super::ids::{IdMap, IdSet, sorted};
use super::walker::Walker;
use crate::error::Result;
use crate::id::ObjectId;
use crate::object::parse::CommitInfo;

/// Commits as they are first seen.
struct Known<'a> {
    walker: &'a Walker<'a>,
    infos: IdMap<(CommitInfo, u8)>,
    queue: BinaryHeap<(i64, ObjectId)>,
    count: usize,
}

impl<'a> Known<'a> {
    fn new(walker: &'a Walker<'a>) -> Self {
        Self { walker, infos: IdMap::default(), queue: BinaryHeap::new(), count: 0 }
    }

    /// Adds marks to a commit; those that are new make it be looked at (again). Returns its marks.
    fn mark(&mut self, id: &ObjectId, marks: u8) -> Result<u8> {
        if let Some((info, old)) = self.infos.get_mut(id) {
            if *old | marks != *old {
                *old |= marks;
                self.queue.push((info.committer_time, *id));
            }
            return Ok(*old);
        }
        let mut found = None;
        self.walker.commits(&[*id], &mut |_, info| {
            found = Some(info);
            Ok(())
        })?;
        let info = found.expect("what is read is visited");
        self.queue.push((info.committer_time, *id));
        self.infos.insert(*id, (info, marks));
        self.count += 1;
        if self.count.is_multiple_of(1_024) {
            self.walker.advance(1_024)?;
        }
        Ok(marks)
    }

    /// The next commit by date, its parents and marks.
    fn pop(&mut self) -> Option<(ObjectId, Vec<ObjectId>, u8)> {
        let (_, id) = self.queue.pop()?;
        let (info, marks) = self.infos.get(&id)?;
        Some((id, info.parents.clone(), *marks))
    }
}

const OLD: u8 = 1;
const NEW: u8 = 2;

/// Whether `new` reaches `old`: both sides are painted by date until nothing is left that only one
/// of them has reached, so a rewind is known without walking all history. Dates only decide how
/// fast: a commit between the two is never reached from `old`, so it is never passed over.
pub(super) fn is_ancestor(walker: &Walker<'_>, old: &ObjectId, new: &ObjectId) -> Result<bool> {
    walker.must_be_members(&sorted([*old, *new]))?;
    let (old, new) = (walker.starts(&[*old])?, walker.starts(&[*new])?);
    let ([old], [new]) = (&old.commits[..], &new.commits[..]) else {
        return Ok(old.all().eq(new.all()));
    };
    let mut known = Known::new(walker);
    known.mark(old, OLD)?;
    known.mark(new, NEW)?;
    // Commits in the queue that only `new` has reached are what may still lead to `old`.
    while let Some((id, parents, marks)) = known.pop() {
        if id == *old && marks & NEW != 0 {
            return Ok(true);
        }
        for parent in parents {
            known.mark(&parent, marks)?;
        }
        let open = |(_, id): &(i64, ObjectId)| known.infos.get(id).is_some_and(|i| i.1 == NEW);
        if marks != NEW && !known.queue.iter().any(open) {
            return Ok(known.infos.get(old).is_some_and(|(_, marks)| marks & NEW != 0));
        }
    }
    Ok(false)
}

/// Whether every one of `wants` reaches one of `haves`. Commits older than all of the haves are not
/// looked into, as in git.
pub(super) fn can_reach_any(
    walker: &Walker<'_>,
    wants: &[ObjectId],
    haves: &[ObjectId],
) -> Result<bool> {
    let wants = walker.starts(&walker.members(wants)?)?.commits;
    let haves = walker.starts(&walker.members(haves)?)?.commits;
    let mut oldest = i64::MAX;
    walker.commits(&haves, &mut |_, info| {
        oldest = oldest.min(info.committer_time);
        Ok(())
    })?;
    let haves: IdSet = haves.into_iter().collect();
    let mut children: Vec<(ObjectId, ObjectId)> = Vec::new();
    let mut seen: IdSet = wants.iter().copied().collect();
    let mut found: Vec<ObjectId> = Vec::new();
    let mut level = wants.clone();
    while !level.is_empty() {
        level.sort_unstable();
        let mut next = Vec::new();
        walker.commits(&level, &mut |id, info| {
            if haves.contains(id) {
                found.push(*id);
            } else if info.committer_time >= oldest {
                for parent in info.parents {
                    children.push((parent, *id));
                    if seen.insert(parent) {
                        next.push(parent);
                    }
                }
            }
            Ok(())
        })?;
        walker.advance(level.len())?;
        level = next;
    }
    // From what was found back to who reaches it.
    children.sort_unstable();
    let mut good: IdSet = found.iter().copied().collect();
    while let Some(id) = found.pop() {
        let first = children.partition_point(|(parent, _)| *parent < id);
        for (_, child) in children[first..].iter().take_while(|(parent, _)| *parent == id) {
            if good.insert(*child) {
                found.push(*child);
            }
        }
    }
    Ok(wants.iter().all(|want| good.contains(want)))
}

/// Those of the commits `targets` that `tips` reach, tags peeled on the tips' side; ascending. A
/// `quick` answer leaves out what is found only below older commits, where clocks were wrong.
pub(super) fn reachable(
    walker: &Walker<'_>,
    tips: &[ObjectId],
    targets: &[ObjectId],
    quick: bool,
) -> Result<Vec<ObjectId>> {
    let mut oldest = i64::MIN;
    if quick {
        oldest = i64::MAX;
        walker.commits(targets, &mut |_, info| {
            oldest = oldest.min(info.committer_time);
            Ok(())
        })?;
    }
    let mut missing: IdSet = targets.iter().copied().collect();
    let mut found = Vec::new();
    let mut known = Known::new(walker);
    for tip in walker.starts(&walker.members(tips)?)?.commits {
        known.mark(&tip, NEW)?;
    }
    while !missing.is_empty() {
        if known.queue.peek().is_none_or(|(date, _)| *date < oldest) {
            break;
        }
        let Some((id, parents, _)) = known.pop() else { break };
        if missing.remove(&id) {
            found.push(id);
        }
        for parent in parents {
            known.mark(&parent, NEW)?;
        }
    }
    Ok(sorted(found))
}
