//! What was asked and has not come to its end.

use std::collections::BTreeMap;

use super::chunks::Handle;
use super::event::{FileKey, Lane, PeerKey, RequestKey, Time};

/// What is to be made of a chunk of a request when it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ItemState {
    /// It is counted on.
    Wanted,
    /// It is welcome, but waits in the queue for somebody quicker.
    Late,
    /// Another peer was asked for it, or has brought it.
    Lost,
    /// Nobody wants it any more.
    Unwanted,
    /// It came, or the peer said that it does not.
    Closed,
}

impl ItemState {
    fn is_needed(self) -> bool {
        matches!(self, Self::Wanted | Self::Late)
    }
}

/// A chunk of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub handle: Handle,
    pub offset: u64,
    pub len: u32,
    pub state: ItemState,
    /// When it was asked for.
    pub asked_at: Time,
    /// When it should come.
    pub due_at: Time,
    /// Whether nothing else was under way from the peer when it was asked for.
    pub is_alone: bool,
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub peer: PeerKey,
    pub lane: Lane,
    pub file: FileKey,
    pub items: Vec<Item>,
    pub is_cancelled: bool,
    /// Items that are not closed.
    open: usize,
    /// Items that are wanted or late.
    needed: usize,
}

impl Request {
    /// Items must be wanted.
    pub(super) fn new(peer: PeerKey, lane: Lane, file: FileKey, items: Vec<Item>) -> Self {
        let count = items.len();
        Self { peer, lane, file, items, is_cancelled: false, open: count, needed: count }
    }

    /// Changes an item's state; gives the one before.
    pub(super) fn set(&mut self, index: u16, state: ItemState) -> Option<ItemState> {
        let item = self.items.get_mut(usize::from(index))?;
        let before = std::mem::replace(&mut item.state, state);
        self.needed += usize::from(state.is_needed());
        self.needed -= usize::from(before.is_needed());
        self.open += usize::from(state != ItemState::Closed);
        self.open -= usize::from(before != ItemState::Closed);
        Some(before)
    }

    pub(super) fn is_over(&self) -> bool {
        self.open == 0
    }

    /// Whether the rest of it is good for nothing.
    pub(super) fn is_useless(&self) -> bool {
        self.needed == 0 && self.open > 0
    }

    /// Items that are not closed, with their indexes.
    pub(super) fn open_items(&self) -> impl Iterator<Item = (u16, &Item)> {
        let open = self.items.iter().enumerate();
        let open = open.filter(|(_, item)| item.state != ItemState::Closed);
        open.filter_map(|(index, item)| Some((u16::try_from(index).ok()?, item)))
    }
}

/// All requests that are open.
#[derive(Default, Debug)]
pub(super) struct Requests {
    by_key: BTreeMap<RequestKey, Request>,
    last: u32,
}

impl Requests {
    /// Keeps a request under a number that no open one has.
    pub(super) fn add(&mut self, request: Request) -> RequestKey {
        loop {
            self.last = self.last.wrapping_add(1);
            let key = RequestKey(self.last);
            if self.last != 0 && !self.by_key.contains_key(&key) {
                self.by_key.insert(key, request);
                return key;
            }
        }
    }

    pub(super) fn get(&self, key: RequestKey) -> Option<&Request> {
        self.by_key.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: RequestKey) -> Option<&mut Request> {
        self.by_key.get_mut(&key)
    }

    pub(super) fn remove(&mut self, key: RequestKey) -> Option<Request> {
        self.by_key.remove(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(count: usize) -> Request {
        let item = Item {
            handle: Handle::FIRST,
            offset: 0,
            len: 1,
            state: ItemState::Wanted,
            asked_at: 0,
            due_at: 0,
            is_alone: false,
        };
        Request::new(PeerKey(1), Lane::Bulk, FileKey(1), vec![item; count])
    }

    #[test]
    fn a_request_is_useless_when_nothing_of_it_is_needed_and_over_when_all_is_closed() {
        let mut request = request(2);
        assert_eq!(request.set(0, ItemState::Lost), Some(ItemState::Wanted));
        assert!(!request.is_useless());
        request.set(1, ItemState::Late);
        assert!(!request.is_useless());
        request.set(1, ItemState::Unwanted);
        assert!(request.is_useless() && !request.is_over());
        request.set(0, ItemState::Closed);
        request.set(1, ItemState::Closed);
        assert!(!request.is_useless() && request.is_over());
        assert_eq!(request.set(2, ItemState::Closed), None);
    }

    #[test]
    fn numbers_wrap_around_what_is_open_and_are_never_zero() {
        let mut requests = Requests::default();
        assert_eq!(requests.add(request(1)), RequestKey(1));
        requests.last = u32::MAX - 1;
        assert_eq!(requests.add(request(1)), RequestKey(u32::MAX));
        assert_eq!(requests.add(request(1)), RequestKey(2));
    }
}
