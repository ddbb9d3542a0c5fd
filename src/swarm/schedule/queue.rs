//! Chunks that are wanted and not under way, in the order of service.
//!
//! A place is the ticket's turn, then the offset: who came first is served first, and a file in
//! its order. A ticket has one file, so the places of one turn ascend through one file, and a
//! search for what a peer has can leap over what it has not.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::chunks::Handle;
use super::event::Urgency;

/// Where a chunk waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    /// The ticket's turn.
    pub turn: u64,
    /// The chunk's offset.
    pub offset: u64,
    /// The chunk.
    pub handle: Handle,
}

/// Where a search begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Start {
    /// The ticket's turn.
    pub turn: u64,
    /// The first offset.
    pub offset: u64,
}

impl Start {
    pub(super) const FIRST: Self = Self { turn: 0, offset: 0 };

    /// The beginning of the next turn.
    pub(super) fn next_turn(turn: u64) -> Self {
        Self { turn: turn.saturating_add(1), offset: 0 }
    }
}

/// Three queues, one an urgency.
#[derive(Default, Debug)]
pub(super) struct Queue {
    places: [BTreeSet<Place>; 3],
    epoch: u64,
}

impl Queue {
    /// A number that changes whenever a peer that found nothing should look again.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Makes every peer look again.
    pub(super) fn touch(&mut self) {
        self.epoch += 1;
    }

    pub(super) fn insert(&mut self, urgency: Urgency, place: Place) {
        self.places[urgency as usize].insert(place);
        self.epoch += 1;
    }

    pub(super) fn remove(&mut self, urgency: Urgency, place: &Place) {
        self.places[urgency as usize].remove(place);
    }

    pub(super) fn is_empty(&self, urgency: Urgency) -> bool {
        self.places[urgency as usize].is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.iter().map(BTreeSet::len).sum()
    }

    /// The places from `start` on.
    pub(super) fn from(&self, urgency: Urgency, start: Start) -> impl Iterator<Item = &Place> {
        let first = Place { turn: start.turn, offset: start.offset, handle: Handle::FIRST };
        self.places[urgency as usize].range((Bound::Included(first), Bound::Unbounded))
    }

    /// The last offset that waits in `turn`.
    pub(super) fn last_offset(&self, urgency: Urgency, turn: u64) -> Option<u64> {
        let next = Start::next_turn(turn);
        let end = Place { turn: next.turn, offset: next.offset, handle: Handle::FIRST };
        let mut before = self.places[urgency as usize].range(..end);
        before.next_back().filter(|place| place.turn == turn).map(|place| place.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(turn: u64, offset: u64) -> Place {
        Place { turn, offset, handle: Handle::FIRST }
    }

    #[test]
    fn places_are_served_by_turn_and_offset() {
        let mut queue = Queue::default();
        for (turn, offset) in [(2, 0), (1, 30), (1, 10), (3, 5)] {
            queue.insert(Urgency::Soon, place(turn, offset));
        }
        let offsets = |queue: &Queue, start| -> Vec<(u64, u64)> {
            let places = queue.from(Urgency::Soon, start);
            places.map(|place| (place.turn, place.offset)).collect()
        };
        assert_eq!(offsets(&queue, Start::FIRST), [(1, 10), (1, 30), (2, 0), (3, 5)]);
        assert_eq!(offsets(&queue, Start { turn: 1, offset: 11 }), [(1, 30), (2, 0), (3, 5)]);
        assert_eq!(offsets(&queue, Start::next_turn(1)), [(2, 0), (3, 5)]);
        assert_eq!(queue.last_offset(Urgency::Soon, 1), Some(30));
        assert_eq!(queue.last_offset(Urgency::Soon, 4), None);
        assert!(queue.is_empty(Urgency::Now));
        queue.remove(Urgency::Soon, &place(2, 0));
        assert_eq!((queue.len(), queue.epoch()), (3, 4));
    }
}
