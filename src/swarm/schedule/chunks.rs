//! The chunks that somebody wants, each once however many tickets want it.

use std::collections::HashMap;

use mega_storage::{ChunkId, ChunkRef, ChunkSpan};

use super::event::{FileKey, PeerKey, RequestKey, TicketKey, Time, Urgency};
use super::queue::Place;
use super::request::ItemState;

/// Names a wanted chunk. Once the chunk has come, or is neither wanted nor under way any more, it
/// names nothing: it is never given to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Handle {
    slot: u32,
    stamp: u32,
}

impl Handle {
    /// Before every other.
    pub(super) const FIRST: Self = Self { slot: 0, stamp: 0 };
}

/// A request that is to bring a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flight {
    pub request: RequestKey,
    pub peer: PeerKey,
    /// Index in the request.
    pub index: u16,
    /// As the request has it; never closed.
    pub state: ItemState,
}

/// A chunk that somebody wants.
#[derive(Debug)]
pub(super) struct Wanted {
    pub file: FileKey,
    pub chunk: ChunkRef,
    pub offset: u64,
    /// The most urgent of its tickets', ...
    pub urgency: Urgency,
    /// ... and the first turn among these.
    pub turn: u64,
    /// Where it waits, unless a request that is counted on brings it.
    pub place: Option<Place>,
    /// Requests that may bring it, cancelled ones aside.
    pub flights: Vec<Flight>,
    /// Its tickets, each once.
    pub waiters: Vec<TicketKey>,
    /// When another peer is asked too.
    pub hedge_at: Option<Time>,
}

impl Wanted {
    pub(super) fn len(&self) -> u64 {
        u64::from(self.chunk.len)
    }

    pub(super) fn span(&self) -> ChunkSpan {
        ChunkSpan { chunk: self.chunk, offset: self.offset }
    }

    /// How many requests bring it that are counted on.
    pub(super) fn owners(&self) -> usize {
        self.flights.iter().filter(|flight| flight.state == ItemState::Wanted).count()
    }

    /// Whether a request brings it that is counted on.
    pub(super) fn is_flying(&self) -> bool {
        self.owners() > 0
    }

    /// Whether anybody wants it. What nobody wants stays known while a request may bring it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Whether a peer was asked for it and may still bring it.
    pub(super) fn is_asked_of(&self, peer: PeerKey) -> bool {
        self.flights.iter().any(|flight| flight.peer == peer)
    }
}

/// What makes two wants the same. The length is part of it: a manifest that lies about one must
/// not spoil the want of another that does not.
type ChunkKey = (FileKey, ChunkId, u32);

#[derive(Debug)]
struct Slot {
    stamp: u32,
    wanted: Option<Wanted>,
}

/// All wanted chunks.
#[derive(Default, Debug)]
pub(super) struct Chunks {
    /// Only looked up, never walked: its order is not the seed's.
    by_key: HashMap<ChunkKey, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    stamp: u32,
}

impl Chunks {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The chunk, and whether it was known before.
    pub(super) fn intern(
        &mut self,
        file: FileKey,
        span: &ChunkSpan,
        urgency: Urgency,
        turn: u64,
    ) -> (Handle, bool) {
        let key = (file, span.chunk.id, span.chunk.len);
        if let Some(&slot) = self.by_key.get(&key) {
            return (Handle { slot, stamp: self.slots[slot as usize].stamp }, true);
        }
        self.stamp = self.stamp.wrapping_add(1);
        let wanted = Wanted {
            file,
            chunk: span.chunk,
            offset: span.offset,
            urgency,
            turn,
            place: None,
            flights: Vec::new(),
            waiters: Vec::new(),
            hedge_at: None,
        };
        let filled = Slot { stamp: self.stamp, wanted: Some(wanted) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = filled;
                slot
            }
            None => {
                self.slots.push(filled);
                u32::try_from(self.slots.len() - 1).expect("CHUNKS_MAX is below 2^32")
            }
        };
        self.by_key.insert(key, slot);
        (Handle { slot, stamp: self.stamp }, false)
    }

    /// The chunk, while it is wanted.
    pub(super) fn get(&self, handle: Handle) -> Option<&Wanted> {
        let slot = self.slots.get(handle.slot as usize)?;
        slot.wanted.as_ref().filter(|_| slot.stamp == handle.stamp)
    }

    /// The chunk, while it is wanted.
    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Wanted> {
        let slot = self.slots.get_mut(handle.slot as usize)?;
        slot.wanted.as_mut().filter(|_| slot.stamp == handle.stamp)
    }

    /// Forgets the chunk.
    pub(super) fn remove(&mut self, handle: Handle) -> Option<Wanted> {
        self.get(handle)?;
        let wanted = self.slots[handle.slot as usize].wanted.take()?;
        self.by_key.remove(&(wanted.file, wanted.chunk.id, wanted.chunk.len));
        self.free.push(handle.slot);
        if self.by_key.is_empty() {
            // A big want must not be paid for ever after.
            self.by_key = HashMap::new();
            self.slots = Vec::new();
            self.free = Vec::new();
        }
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(number: u8) -> ChunkSpan {
        let chunk = ChunkRef { id: ChunkId::from_bytes([number; 32]), len: 1000 };
        ChunkSpan { chunk, offset: u64::from(number) * 1000 }
    }

    #[test]
    fn a_handle_names_one_chunk_for_ever() {
        let mut chunks = Chunks::default();
        let (a, was_wanted) = chunks.intern(FileKey(1), &span(1), Urgency::Now, 1);
        assert!(!was_wanted);
        assert_eq!(chunks.intern(FileKey(1), &span(1), Urgency::Now, 1), (a, true));
        let (other_file, was_wanted) = chunks.intern(FileKey(2), &span(1), Urgency::Now, 1);
        assert!(!was_wanted && other_file != a);
        let mut longer = span(1);
        longer.chunk.len += 1;
        assert!(!chunks.intern(FileKey(1), &longer, Urgency::Now, 1).1, "another length");
        assert!(chunks.remove(a).is_some());
        let (b, _) = chunks.intern(FileKey(1), &span(2), Urgency::Now, 1);
        assert!(chunks.get(a).is_none() && chunks.remove(a).is_none());
        assert_eq!(chunks.get(b).unwrap().offset, 2000);
        assert_eq!(chunks.len(), 3);
    }

    #[test]
    fn memory_goes_with_the_last_chunk() {
        let mut chunks = Chunks::default();
        let (a, _) = chunks.intern(FileKey(1), &span(1), Urgency::Now, 1);
        chunks.remove(a);
        assert_eq!(chunks.slots.capacity(), 0);
        let (b, _) = chunks.intern(FileKey(1), &span(1), Urgency::Now, 1);
        assert_ne!(a, b);
    }
}
