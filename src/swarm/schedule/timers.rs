//! What has to happen at some time, whatever else happens.

use std::collections::BTreeSet;

use super::chunks::Handle;
use super::event::{PeerKey, TicketKey, Time};

/// What has to happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// The ticket fails.
    Deadline(TicketKey),
    /// Another peer is asked too.
    Hedge(Handle),
    /// The peer may be asked again.
    Retry(PeerKey),
    /// The round of [`super::limits::HOUSE_US`].
    House,
}

/// All of it, in order.
#[derive(Default, Debug)]
pub(super) struct Timers {
    due: BTreeSet<(Time, Timer)>,
}

impl Timers {
    pub(super) fn insert(&mut self, at: Time, timer: Timer) {
        self.due.insert((at, timer));
    }

    pub(super) fn remove(&mut self, at: Time, timer: Timer) {
        self.due.remove(&(at, timer));
    }

    pub(super) fn first(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the first one that is due.
    pub(super) fn pop(&mut self, now: Time) -> Option<Timer> {
        if self.first()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }
}
