//! Requests: how they are sent, what comes of them, and how their chunks go back into the queue.

use super::Schedule;
use super::chunks::{Flight, Handle, Wanted};
use super::event::{Action, BanReason, Lane, PeerKey, RequestKey, Time, Urgency};
use super::limits::{BAN_US, BUSY_US_MIN, FAILURE_US_MIN, HEDGE_US_MIN, PAUSE_US_MAX};
use super::request::{Item, ItemState, Request};
use super::timers::Timer;

/// A chunk of a request that has just been closed.
struct Closed {
    item: Item,
    lane: Lane,
}

impl Schedule {
    /// Asks a peer for chunks of one file that it has. Those that would overlap with another of
    /// them (two manifests, one of which lies) wait for the next request.
    pub(super) fn ask(
        &mut self,
        key: PeerKey,
        lane: Lane,
        mut handles: Vec<Handle>,
        out: &mut Vec<Action>,
    ) {
        let now = self.now;
        handles.sort_by_key(|handle| self.chunks.get(*handle).map(|wanted| wanted.offset));
        let Some(file) = handles.iter().find_map(|handle| Some(self.chunks.get(*handle)?.file))
        else {
            return;
        };
        let (mut items, mut spans) = (Vec::new(), Vec::new());
        let (mut urgency, mut end) = (Urgency::Background, 0);
        for handle in handles {
            let Some(wanted) = self.chunks.get(handle) else { continue };
            if wanted.offset < end {
                self.requeue(handle);
                continue;
            }
            end = wanted.offset.saturating_add(wanted.len());
            urgency = urgency.min(wanted.urgency);
            spans.push(wanted.span());
            let (offset, len) = (wanted.offset, wanted.chunk.len);
            let Some(peer) = self.peers.get_mut(&key) else { return };
            let due_at = now.saturating_add(peer.finish_us(u64::from(len), now));
            let is_alone = peer.begins_alone(now);
            let line = peer.line_mut(lane);
            if line.len == 0 {
                line.since = now;
            }
            line.len += u64::from(len);
            peer.bucket.charge(u64::from(len));
            self.bucket.charge(u64::from(len));
            let state = ItemState::Wanted;
            items.push(Item { handle, offset, len, state, asked_at: now, due_at, is_alone });
        }
        if items.is_empty() {
            return;
        }
        let handles: Vec<Handle> = items.iter().map(|item| item.handle).collect();
        let request = self.requests.add(Request::new(key, lane, file, items));
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.line_mut(lane).requests.push(request);
        }
        for (index, handle) in (0..).zip(handles) {
            let state = ItemState::Wanted;
            self.launch(handle, Flight { request, peer: key, index, state }, out);
        }
        self.count(key, |counts| counts.requests += 1);
        out.push(Action::Ask { peer: key, lane, request, file, spans, urgency });
    }

    /// A request brings the chunk from now on: those that are late lose it.
    fn launch(&mut self, handle: Handle, flight: Flight, out: &mut Vec<Action>) {
        self.unqueue(handle);
        let Some(wanted) = self.chunks.get_mut(handle) else { return };
        if wanted.is_flying() {
            self.doubled.insert(handle);
        }
        let late = wanted.flights.iter().filter(|flight| flight.state == ItemState::Late);
        let late: Vec<Flight> = late.copied().collect();
        wanted.flights.push(flight);
        self.flying.insert(handle);
        for flight in late {
            self.mark(handle, &flight, ItemState::Lost);
            self.cancel_if_useless(flight.request, out);
        }
        self.set_hedge(handle);
    }

    /// Sets the time at which another peer is asked for a chunk that somebody waits for.
    pub(super) fn set_hedge(&mut self, handle: Handle) {
        let now = self.now;
        let Some(wanted) = self.chunks.get_mut(handle) else { return };
        if let Some(at) = wanted.hedge_at.take() {
            self.timers.remove(at, Timer::Hedge(handle));
        }
        if wanted.urgency != Urgency::Now || !wanted.is_flying() {
            return;
        }
        let dues = wanted.flights.iter().filter_map(|flight| {
            let request = self.requests.get(flight.request)?;
            let item = request.items.get(usize::from(flight.index))?;
            (item.state == ItemState::Wanted).then_some(item.due_at)
        });
        let expected = dues.min().unwrap_or(now).saturating_sub(now);
        let at = now.saturating_add(expected.saturating_mul(2).max(HEDGE_US_MIN));
        wanted.hedge_at = Some(at);
        self.timers.insert(at, Timer::Hedge(handle));
    }

    /// Cancels a request of which nothing is needed any more. From then on nothing hangs on it:
    /// its peer may be asked for the same chunks again.
    pub(super) fn cancel_if_useless(&mut self, key: RequestKey, out: &mut Vec<Action>) {
        let Some(request) = self.requests.get_mut(key) else { return };
        if !request.is_useless() || request.is_cancelled {
            return;
        }
        request.is_cancelled = true;
        let peer = request.peer;
        let handles: Vec<Handle> = request.open_items().map(|(_, item)| item.handle).collect();
        for handle in handles {
            let Some(wanted) = self.chunks.get_mut(handle) else { continue };
            wanted.flights.retain(|flight| flight.request != key);
            self.forget_if_idle(handle);
        }
        out.push(Action::Cancel { peer, request: key });
        self.count(peer, |counts| counts.cancels += 1);
    }

    /// Forgets a chunk that nobody wants and nobody brings.
    pub(super) fn forget_if_idle(&mut self, handle: Handle) {
        let wanted = self.chunks.get(handle);
        if wanted.is_some_and(|wanted| !wanted.is_wanted() && wanted.flights.is_empty()) {
            self.chunks.remove(handle);
        }
    }

    /// A chunk came.
    pub(super) fn came(
        &mut self,
        key: PeerKey,
        request: RequestKey,
        arrival: Arrival,
        out: &mut Vec<Action>,
    ) {
        let now = self.now;
        let Arrival { index, wire_len, is_good } = arrival;
        let Some(Closed { item, lane }) = self.close(key, request, index) else { return };
        let surplus = i64::from(item.len) - i64::from(wire_len);
        self.bucket.give_back(surplus);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.bucket.give_back(surplus);
        if !is_good {
            self.requeue(item.handle);
            self.ban(key, BanReason::WrongBytes, out);
            return;
        }
        peer.failures_in_row = 0;
        let len = u64::from(item.len);
        peer.meter.came(now, len, peer.rtt_us);
        if item.is_alone {
            peer.lagged(now - item.asked_at, len, now);
        }
        if peer.in_flight_len() == 0 {
            peer.meter.dry(now);
        }
        self.heard(key, lane);
        let wire_len = u64::from(wire_len);
        if self.chunks.get(item.handle).is_some_and(Wanted::is_wanted) {
            self.count(key, |counts| {
                counts.good += 1;
                counts.good_len += wire_len;
            });
            self.deliver(key, item.handle, out);
        } else if item.state == ItemState::Unwanted {
            self.count(key, |counts| counts.unwanted_len += wire_len);
        } else {
            self.count(key, |counts| counts.duplicate_len += wire_len);
        }
    }

    /// Something came on a lane: it is not silent, and has room perhaps.
    fn heard(&mut self, key: PeerKey, lane: Lane) {
        self.dirty.insert(key);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let line = peer.line_mut(lane);
        line.since = self.now;
        if std::mem::take(&mut line.is_stalled) {
            self.queue.touch();
            self.readopt(key, lane);
        }
    }

    /// Gives a chunk to all who want it.
    fn deliver(&mut self, peer: PeerKey, handle: Handle, out: &mut Vec<Action>) {
        let Some(wanted) = self.chunks.get_mut(handle) else { return };
        let chunk = wanted.chunk;
        let waiters = std::mem::take(&mut wanted.waiters);
        self.set_aside(handle, ItemState::Lost, out);
        for key in &waiters {
            self.waits -= 1;
            let Some(ticket) = self.tickets.get_mut(key) else { continue };
            out.push(Action::Deliver { ticket: *key, chunk, peer });
            ticket.remaining -= 1;
            ticket.came_len += u64::from(chunk.len);
            if ticket.remaining == 0 {
                self.timers.remove(ticket.deadline, Timer::Deadline(*key));
                self.tickets.remove(key);
                out.push(Action::Done { ticket: *key });
            }
        }
    }

    /// A request has come to its end: what did not come does not come.
    pub(super) fn ended(&mut self, key: PeerKey, request_key: RequestKey, absent: &[u16]) {
        let Some(request) = self.requests.get(request_key).filter(|r| r.peer == key) else {
            return;
        };
        let (file, lane, is_cancelled) = (request.file, request.lane, request.is_cancelled);
        let rest: Vec<(u16, Item)> = request.open_items().map(|(i, item)| (i, *item)).collect();
        for (index, item) in rest {
            // Left out without a word is as good as denied, or it would be asked again at once.
            if absent.contains(&index) || !is_cancelled {
                self.denied(key, file, item.offset);
            }
        }
        self.abandon(request_key);
        self.heard(key, lane);
    }

    /// A request broke off.
    pub(super) fn failed(&mut self, key: PeerKey, request: RequestKey) {
        let now = self.now;
        if self.requests.get(request).is_none_or(|request| request.peer != key) {
            return;
        }
        self.abandon(request);
        self.count(key, |counts| counts.failures += 1);
        let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.paused_until <= now) else {
            return; // One break of the line fails all that was under way.
        };
        let doublings = peer.failures_in_row.min(16);
        peer.failures_in_row += 1;
        self.pause(key, FAILURE_US_MIN << doublings);
    }

    /// A request was refused.
    pub(super) fn busy(&mut self, key: PeerKey, request: RequestKey, retry_us: Time) {
        if self.requests.get(request).is_none_or(|request| request.peer != key) {
            return;
        }
        self.abandon(request);
        self.count(key, |counts| counts.busy += 1);
        self.pause(key, retry_us);
    }

    fn pause(&mut self, key: PeerKey, us: Time) {
        let until = self.now.saturating_add(us.clamp(BUSY_US_MIN, PAUSE_US_MAX));
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.paused_until = peer.paused_until.max(until);
            let at = peer.paused_until;
            self.set_retry(key, at);
        }
    }

    /// Lets a peer's timer ring at `at`, or before.
    pub(super) fn set_retry(&mut self, key: PeerKey, at: Time) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.retry_at.is_some_and(|before| before <= at) {
            return;
        }
        if let Some(before) = peer.retry_at.replace(at) {
            self.timers.remove(before, Timer::Retry(key));
        }
        self.timers.insert(at, Timer::Retry(key));
    }

    /// Closes all that is open of a request; what is wanted of it is asked of others.
    pub(super) fn abandon(&mut self, request_key: RequestKey) {
        let Some(request) = self.requests.get(request_key) else { return };
        let peer = request.peer;
        let open: Vec<u16> = request.open_items().map(|(index, _)| index).collect();
        for index in open {
            let Some(Closed { item, .. }) = self.close(peer, request_key, index) else { continue };
            self.bucket.give_back(i64::from(item.len));
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.bucket.give_back(i64::from(item.len));
            }
            self.requeue(item.handle);
        }
    }

    /// Closes all requests to a peer.
    pub(super) fn abandon_all(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get(&key) else { return };
        let lines = [Lane::Urgent, Lane::Bulk].map(|lane| peer.line(lane).requests.clone());
        for request in lines.concat() {
            self.abandon(request);
        }
    }

    /// Closes one chunk of a request, and the request with its last one. `None` when it is not
    /// open: such news is old.
    fn close(&mut self, key: PeerKey, request_key: RequestKey, index: u16) -> Option<Closed> {
        let request = self.requests.get_mut(request_key).filter(|r| r.peer == key)?;
        let item = *request.items.get(usize::from(index))?;
        if item.state == ItemState::Closed {
            return None;
        }
        request.set(index, ItemState::Closed);
        let (lane, is_over) = (request.lane, request.is_over());
        let peer = self.peers.get_mut(&key)?;
        let line = peer.line_mut(lane);
        line.len -= u64::from(item.len);
        if is_over {
            line.requests.retain(|open| *open != request_key);
            line.is_stalled &= !line.requests.is_empty();
            self.requests.remove(request_key);
        }
        if let Some(wanted) = self.chunks.get_mut(item.handle) {
            wanted.flights.retain(|f| (f.request, f.index) != (request_key, index));
            let owners = wanted.owners();
            if owners < 2 {
                self.doubled.remove(&item.handle);
            }
            if owners < 1 {
                self.flying.remove(&item.handle);
            }
            self.forget_if_idle(item.handle);
        }
        Some(Closed { item, lane })
    }

    /// Counts on whoever was asked for a wanted chunk and can be expected to bring it; with nobody
    /// like that it waits in the queue.
    pub(super) fn settle(&mut self, handle: Handle) {
        let Some(wanted) = self.chunks.get(handle) else { return };
        for flight in wanted.flights.clone() {
            let is_prompt = self.is_prompt(&flight);
            let state = if is_prompt { ItemState::Wanted } else { ItemState::Late };
            self.mark(handle, &flight, state);
        }
        let owners = self.chunks.get(handle).map_or(0, Wanted::owners);
        if owners > 1 {
            self.doubled.insert(handle);
        }
        if owners > 0 {
            self.flying.insert(handle);
            self.set_hedge(handle);
        } else {
            self.enqueue(handle);
        }
    }

    /// Whether a chunk can be expected from a request, by its peer: also when another was asked
    /// while the peer was silent.
    pub(super) fn is_prompt(&self, flight: &Flight) -> bool {
        let lane = self.requests.get(flight.request).map(|request| request.lane);
        let peer = self.peers.get(&flight.peer).filter(|peer| !peer.is_slow);
        peer.zip(lane).is_some_and(|(peer, lane)| !peer.line(lane).is_stalled)
    }

    /// Puts a chunk back into the queue unless a request brings it that is counted on.
    pub(super) fn requeue(&mut self, handle: Handle) {
        let Some(wanted) = self.chunks.get(handle) else { return };
        if !wanted.is_wanted() || wanted.is_flying() {
            return;
        }
        self.flying.remove(&handle);
        self.settle(handle);
    }

    /// Counts no more on what a peer was asked for in a lane: others may be asked. What comes is
    /// welcome all the same. With `is_elsewhere`, only what others have.
    pub(super) fn demote(&mut self, key: PeerKey, lane: Lane, is_elsewhere: bool) {
        for (flight, handle) in self.open_flights(key, lane, ItemState::Wanted) {
            let Some(wanted) = self.chunks.get(handle) else { continue };
            let (file, offset, len) = (wanted.file, wanted.offset, wanted.len());
            if is_elsewhere && !self.is_elsewhere(file, offset, len, key) {
                continue;
            }
            self.mark(handle, &flight, ItemState::Late);
            if self.chunks.get(handle).is_some_and(|wanted| wanted.owners() < 2) {
                self.doubled.remove(&handle);
            }
            self.requeue(handle);
        }
    }

    /// Counts again on what a peer was asked for and nobody else has been since.
    pub(super) fn readopt(&mut self, key: PeerKey, lane: Lane) {
        for (flight, handle) in self.open_flights(key, lane, ItemState::Late) {
            if self.chunks.get(handle).is_none_or(|wanted| wanted.is_flying()) {
                continue;
            }
            self.mark(handle, &flight, ItemState::Wanted);
            self.unqueue(handle);
            self.flying.insert(handle);
            self.set_hedge(handle);
        }
    }

    /// Changes what is to be made of a chunk of a request.
    pub(super) fn mark(&mut self, handle: Handle, changed: &Flight, state: ItemState) {
        if let Some(request) = self.requests.get_mut(changed.request) {
            request.set(changed.index, state);
        }
        let Some(wanted) = self.chunks.get_mut(handle) else { return };
        for flight in &mut wanted.flights {
            if (flight.request, flight.index) == (changed.request, changed.index) {
                flight.state = state;
            }
        }
    }

    /// What is open in a lane of a peer and in `state`.
    pub(super) fn open_flights(
        &self,
        peer: PeerKey,
        lane: Lane,
        state: ItemState,
    ) -> Vec<(Flight, Handle)> {
        let requests = self.peers.get(&peer).map_or(&[][..], |peer| &peer.line(lane).requests);
        let requests = requests.iter().filter_map(|key| Some((*key, self.requests.get(*key)?)));
        let flights = requests.flat_map(|(request, state_of)| {
            state_of.open_items().map(move |(index, item)| {
                (Flight { request, peer, index, state: item.state }, item.handle)
            })
        });
        flights.filter(|(flight, _)| flight.state == state).collect()
    }

    /// Leaves a peer that sent what it must not, and asks others for all that it was asked for.
    fn ban(&mut self, key: PeerKey, why: BanReason, out: &mut Vec<Action>) {
        let until = self.now.saturating_add(BAN_US);
        self.count(key, |counts| counts.bad += 1);
        self.leave(key);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.banned_until = until;
        }
        out.push(Action::Ban { peer: key, for_us: BAN_US, why });
    }

    /// A peer is not there any more.
    pub(super) fn leave(&mut self, key: PeerKey) {
        self.abandon_all(key);
        self.serves_nothing(key);
        self.up.remove(&key);
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.is_up = false;
        peer.is_slow = false;
        peer.seen_at = now;
        peer.meter.dry(now);
        if let Some(at) = peer.retry_at.take() {
            self.timers.remove(at, Timer::Retry(key));
        }
        self.queue.touch();
    }
}

/// What came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Index in the request.
    pub index: u16,
    pub wire_len: u32,
    pub is_good: bool,
}
