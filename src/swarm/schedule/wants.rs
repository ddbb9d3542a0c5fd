//! Tickets: how wants begin, and the three ways in which they end.

use mega_storage::ChunkSpan;

use super::Schedule;
use super::chunks::Handle;
use super::event::{Action, FailReason, FileKey, TicketKey, Time, Urgency};
use super::limits::{CHUNKS_MAX, TICKETS_MAX, WAITS_MAX};
use super::queue::Place;
use super::request::ItemState;
use super::timers::Timer;

/// A want.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Its turn: lower numbers came first.
    pub turn: u64,
    pub file: FileKey,
    pub urgency: Urgency,
    pub deadline: Time,
    /// Its chunks, also those that came.
    pub handles: Vec<Handle>,
    /// Chunks that have not come.
    pub remaining: usize,
    /// Plain bytes wanted.
    pub len: u64,
    /// Plain bytes that came.
    pub came_len: u64,
}

impl Schedule {
    /// Takes a want.
    pub(super) fn want(&mut self, key: TicketKey, want: NewWant<'_>, out: &mut Vec<Action>) {
        if self.tickets.contains_key(&key) {
            return;
        }
        let NewWant { file, spans, urgency, deadline } = want;
        if deadline <= self.now {
            let reason = self.reason(file, key);
            out.push(Action::Fail { ticket: key, reason });
            return;
        }
        let count = spans.len();
        if self.tickets.len() >= TICKETS_MAX
            || self.chunks.len() + count > CHUNKS_MAX
            || self.waits + count > WAITS_MAX
        {
            out.push(Action::Fail { ticket: key, reason: FailReason::TooMuch });
            return;
        }
        self.turn += 1;
        let turn = self.turn;
        let mut handles = Vec::with_capacity(count);
        let mut len = 0;
        for span in spans {
            let (handle, _) = self.chunks.intern(file, span, urgency, turn);
            let Some(wanted) = self.chunks.get_mut(handle) else { continue };
            let was_wanted = wanted.is_wanted();
            if wanted.waiters.last() == Some(&key) {
                continue; // Twice in this want.
            }
            wanted.waiters.push(key);
            handles.push(handle);
            len += u64::from(span.chunk.len);
            if !was_wanted {
                self.files.entry(file).or_default().wanted += 1;
                self.wanted += 1;
                (wanted.urgency, wanted.turn) = (urgency, turn);
                self.settle(handle);
            } else if urgency < wanted.urgency {
                self.reclass(handle, urgency, turn);
            }
        }
        if handles.is_empty() {
            out.push(Action::Done { ticket: key });
            return;
        }
        self.waits += handles.len();
        self.wanted_files.insert(file);
        if deadline != Time::MAX {
            self.timers.insert(deadline, Timer::Deadline(key));
        }
        let remaining = handles.len();
        let ticket = Ticket { turn, file, urgency, deadline, handles, remaining, len, came_len: 0 };
        self.tickets.insert(key, ticket);
        self.find(file, false, out);
    }

    /// The ticket is not wanted any more.
    pub(super) fn unwant(&mut self, key: TicketKey, out: &mut Vec<Action>) {
        let Some(ticket) = self.tickets.remove(&key) else { return };
        self.timers.remove(ticket.deadline, Timer::Deadline(key));
        for handle in ticket.handles {
            let Some(wanted) = self.chunks.get_mut(handle) else { continue };
            let Some(index) = wanted.waiters.iter().position(|waiter| *waiter == key) else {
                continue; // It came.
            };
            wanted.waiters.swap_remove(index);
            self.waits -= 1;
            if wanted.waiters.is_empty() {
                self.set_aside(handle, ItemState::Unwanted, out);
            } else {
                self.reclass_by_waiters(handle);
            }
        }
    }

    /// The ticket's deadline has come.
    pub(super) fn expire(&mut self, key: TicketKey, out: &mut Vec<Action>) {
        let Some(ticket) = self.tickets.get(&key) else { return };
        let reason = self.reason(ticket.file, key);
        self.unwant(key, out);
        out.push(Action::Fail { ticket: key, reason });
    }

    fn reason(&self, file: FileKey, key: TicketKey) -> FailReason {
        let holders = self.files.get(&file).map(|state| &state.holders);
        if holders.is_none_or(|holders| holders.is_empty()) {
            return FailReason::NoPeer;
        }
        let handles = self.tickets.get(&key).map_or(&[][..], |ticket| &ticket.handles);
        let known = handles.iter().filter_map(|handle| self.chunks.get(*handle));
        let mut open = known.filter(|wanted| wanted.waiters.contains(&key));
        let is_held = |offset, len| {
            holders.is_some_and(|holders| holders.values().any(|h| h.has(offset, len)))
        };
        match open.all(|wanted| is_held(wanted.offset, wanted.len())) {
            true => FailReason::TooSlow,
            false => FailReason::NobodyHas,
        }
    }

    /// Puts a chunk that no request brings into the queue.
    pub(super) fn enqueue(&mut self, handle: Handle) {
        let Some(wanted) = self.chunks.get_mut(handle) else { return };
        if wanted.place.is_some() {
            return;
        }
        let place = Place { turn: wanted.turn, offset: wanted.offset, handle };
        wanted.place = Some(place);
        if let Some(at) = wanted.hedge_at.take() {
            self.timers.remove(at, Timer::Hedge(handle));
        }
        self.queue.insert(wanted.urgency, place);
        if let Some(state) = self.files.get_mut(&wanted.file) {
            state.queued += 1;
        }
    }

    /// Takes a chunk out of the queue.
    pub(super) fn unqueue(&mut self, handle: Handle) {
        let Some(wanted) = self.chunks.get_mut(handle) else { return };
        let Some(place) = wanted.place.take() else { return };
        self.queue.remove(wanted.urgency, &place);
        if let Some(state) = self.files.get_mut(&wanted.file) {
            state.queued -= 1;
        }
    }

    fn reclass_by_waiters(&mut self, handle: Handle) {
        let Some(wanted) = self.chunks.get(handle) else { return };
        let tickets = wanted.waiters.iter().filter_map(|key| self.tickets.get(key));
        let Some((urgency, turn)) = tickets.map(|ticket| (ticket.urgency, ticket.turn)).min()
        else {
            return;
        };
        self.reclass(handle, urgency, turn);
    }

    /// Gives a chunk another urgency and turn, in the queue or under way.
    fn reclass(&mut self, handle: Handle, urgency: Urgency, turn: u64) {
        let Some(wanted) = self.chunks.get(handle) else { return };
        if (wanted.urgency, wanted.turn) == (urgency, turn) {
            return;
        }
        let is_queued = wanted.place.is_some();
        self.unqueue(handle);
        let Some(wanted) = self.chunks.get_mut(handle) else { return };
        wanted.urgency = urgency;
        wanted.turn = turn;
        if is_queued {
            self.enqueue(handle);
        } else {
            self.set_hedge(handle);
        }
    }

    /// Nobody wants the chunk any more, or all who did have it: what is under way of it becomes
    /// `state`. It stays known while a request may bring it that brings others too, so that it is
    /// not asked for again when it is wanted again.
    pub(super) fn set_aside(&mut self, handle: Handle, state: ItemState, out: &mut Vec<Action>) {
        self.uncount(handle);
        let flights = self.chunks.get(handle).map_or(Vec::new(), |wanted| wanted.flights.clone());
        for flight in flights {
            self.mark(handle, &flight, state);
            self.cancel_if_useless(flight.request, out);
        }
        self.forget_if_idle(handle);
    }

    /// Takes a chunk out of everything that counts what is wanted.
    fn uncount(&mut self, handle: Handle) {
        self.unqueue(handle);
        self.flying.remove(&handle);
        self.doubled.remove(&handle);
        let Some(wanted) = self.chunks.get_mut(handle) else { return };
        let file = wanted.file;
        if let Some(at) = wanted.hedge_at.take() {
            self.timers.remove(at, Timer::Hedge(handle));
        }
        self.wanted -= 1;
        if let Some(state) = self.files.get_mut(&file) {
            state.wanted -= 1;
        }
        self.forget_file(file);
    }
}

/// What is wanted.
pub(super) struct NewWant<'a> {
    pub file: FileKey,
    pub spans: &'a [ChunkSpan],
    pub urgency: Urgency,
    pub deadline: Time,
}
