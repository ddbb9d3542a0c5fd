//! The objects of one repository, and which of them are reachable: nine bytes an object.

use std::collections::HashMap;

use crate::db::Snapshot;
use crate::error::Result;
use crate::id::{ObjectId, RepoId};
use crate::lease::short;

/// Members as they were when marking began, each marked or not; and objects that came since.
///
/// What is marked stays. What is followed is marked, and so is, or will be, all that it names: an
/// object that some tree takes for a file may be a directory all the same, and named as one by
/// another tree.
pub(super) struct Members {
    /// The first eight bytes of each, ascending.
    shorts: Vec<u64>,
    marks: Vec<u64>,
    follows: Vec<u64>,
    marked_count: u64,
    /// Members that share their first eight bytes with another: told apart by all of them, since
    /// what is taken for followed is not followed.
    twins: HashMap<ObjectId, State>,
    /// Objects that were no members then, and whether they were followed.
    fresh: HashMap<ObjectId, bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Marked,
    Followed,
}

/// Where an object is noted.
enum Place {
    Member(usize),
    Twin,
    Fresh,
}

impl Members {
    pub(super) fn load(snapshot: &Snapshot<'_>, repo: RepoId) -> Result<Self> {
        let mut shorts: Vec<u64> = Vec::new();
        let mut twins = HashMap::new();
        let mut last = None;
        for id in snapshot.members(repo) {
            let id = id?;
            let head = short(id.as_bytes());
            if shorts.last() == Some(&head) {
                twins.extend(last.into_iter().chain([id]).map(|id| (id, State::Open)));
            }
            shorts.push(head);
            last = Some(id);
        }
        let words = shorts.len().div_ceil(64);
        let (marks, follows) = (vec![0; words], vec![0; words]);
        Ok(Self { shorts, marks, follows, marked_count: 0, twins, fresh: HashMap::new() })
    }

    pub(super) fn count(&self) -> u64 {
        self.shorts.len() as u64
    }

    /// How many members have been marked.
    pub(super) fn marked_count(&self) -> u64 {
        self.marked_count
    }

    /// Members that nothing has reached.
    pub(super) fn dead_count(&self) -> u64 {
        self.count() - self.marked_count
    }

    fn place(&self, id: &ObjectId) -> Place {
        match self.shorts.binary_search(&short(id.as_bytes())) {
            Ok(index) if !self.is_twin(index) => Place::Member(index),
            Ok(_) if self.twins.contains_key(id) => Place::Twin,
            Ok(_) | Err(_) => Place::Fresh,
        }
    }

    fn is_twin(&self, index: usize) -> bool {
        let at = |index: usize| self.shorts.get(index);
        at(index) == at(index + 1) || index > 0 && at(index) == at(index - 1)
    }

    /// Whether it was a member when marking began.
    pub(super) fn has(&self, id: &ObjectId) -> bool {
        !matches!(self.place(id), Place::Fresh)
    }

    /// Marks an object.
    pub(super) fn mark(&mut self, id: &ObjectId) {
        match self.place(id) {
            Place::Member(index) => {
                self.marked_count += u64::from(set(&mut self.marks, index));
            }
            Place::Twin => {
                if let Some(state) = self.twins.get_mut(id).filter(|s| **s == State::Open) {
                    *state = State::Marked;
                    self.marked_count += 1;
                }
            }
            Place::Fresh => {
                self.fresh.entry(*id).or_default();
            }
        }
    }

    /// Marks an object and says whether the caller has to follow it: nobody has.
    pub(super) fn follow(&mut self, id: &ObjectId) -> bool {
        self.mark(id);
        match self.place(id) {
            Place::Member(index) => set(&mut self.follows, index),
            Place::Twin => self
                .twins
                .get_mut(id)
                .is_some_and(|state| std::mem::replace(state, State::Followed) != State::Followed),
            Place::Fresh => !self.fresh.insert(*id, true).unwrap_or(false),
        }
    }

    /// Whether an object has been marked.
    pub(super) fn is_marked(&self, id: &ObjectId) -> bool {
        match self.place(id) {
            Place::Member(index) => self.is_marked_at(index),
            Place::Twin => self.twins.get(id).is_some_and(|state| *state != State::Open),
            Place::Fresh => self.fresh.contains_key(id),
        }
    }

    /// Whether an object has been followed.
    pub(super) fn is_followed(&self, id: &ObjectId) -> bool {
        match self.place(id) {
            Place::Member(index) => self.follows[index / 64] & (1 << (index % 64)) != 0,
            Place::Twin => self.twins.get(id) == Some(&State::Followed),
            Place::Fresh => self.fresh.get(id) == Some(&true),
        }
    }

    fn is_marked_at(&self, index: usize) -> bool {
        self.marks[index / 64] & (1 << (index % 64)) != 0
    }

    /// Members that nothing has reached, ascending. The snapshot is the one that they were loaded
    /// from.
    pub(super) fn dead<'a>(
        &'a self,
        snapshot: &'a Snapshot<'_>,
        repo: RepoId,
    ) -> impl Iterator<Item = Result<ObjectId>> + 'a {
        let ids = snapshot.members(repo).zip(0usize..);
        ids.filter_map(|(id, index)| match id {
            Ok(id) if self.is_twin(index) => (!self.is_marked(&id)).then_some(Ok(id)),
            Ok(id) => (!self.is_marked_at(index)).then_some(Ok(id)),
            Err(error) => Some(Err(error)),
        })
    }
}

/// Sets a bit; whether it was not.
fn set(bits: &mut [u64], index: usize) -> bool {
    let (word, bit) = (&mut bits[index / 64], 1 << (index % 64));
    let is_new = *word & bit == 0;
    *word |= bit;
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDb;

    #[test]
    fn ids_with_the_same_front_are_told_apart() {
        let test = TestDb::new();
        let id = |front: u8, back: u8| {
            let mut bytes = [front; 20];
            bytes[19] = back;
            ObjectId::from_bytes(bytes)
        };
        let repo = RepoId(3);
        let ids = [id(1, 1), id(2, 1), id(2, 2), id(2, 3), id(4, 4), id(9, 9)];
        test.add_members(repo, &ids);
        let snapshot = test.db.snapshot();
        let mut members = Members::load(&snapshot, repo).expect("read");
        assert_eq!(members.count(), 6);
        for marked in [id(2, 2), id(4, 4), id(2, 7), id(8, 8)] {
            assert!(!members.is_marked(&marked));
            members.mark(&marked);
            assert!(members.is_marked(&marked) && !members.is_followed(&marked), "{marked}");
            assert!(members.follow(&marked) && !members.follow(&marked), "{marked}");
        }
        assert!(!members.has(&id(2, 7)) && members.has(&id(2, 3)));
        assert_eq!(members.dead_count(), 4);
        let dead: Vec<_> = members.dead(&snapshot, repo).map(|id| id.expect("read")).collect();
        assert_eq!(dead, [id(1, 1), id(2, 1), id(2, 3), id(9, 9)]);
    }
}
