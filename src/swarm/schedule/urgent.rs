//! Chunks that somebody waits for: each goes to the peer that will have brought it first, and to
//! another one when it does not come.

use std::collections::{BTreeMap, BTreeSet};

use super::Schedule;
use super::chunks::{Handle, Wanted};
use super::event::{Action, FileKey, Lane, PeerKey, Time, Urgency};
use super::limits::{HEDGE_US_MIN, HEDGES_MAX, LEFT_MAX, OWNERS_MAX, STEPS_MAX, URGENT_CHUNKS_MAX};
use super::queue::Start;
use super::timers::Timer;

/// What one peer is about to be asked for.
#[derive(Default)]
struct Plan {
    file: Option<FileKey>,
    handles: Vec<Handle>,
    /// Bytes of these.
    len: u64,
    /// Bytes that wait for room at this peer.
    left_len: u64,
}

type Plans = BTreeMap<PeerKey, Plan>;

/// Who is to bring a chunk.
enum Choice {
    /// Nobody who serves the file can be asked for anything.
    NoPeer,
    /// Nobody who can be asked has it.
    NoHolder,
    /// This peer, as soon as it has room: any other would take longer still.
    Later(PeerKey),
    /// This peer.
    Now(PeerKey),
}

impl Schedule {
    /// Asks for what somebody waits for, in order, as far as there is room.
    pub(super) fn ask_urgent(&mut self, out: &mut Vec<Action>) {
        self.held.clear();
        if self.queue.is_empty(Urgency::Now) {
            return;
        }
        self.fill_buckets();
        let mut plans = Plans::new();
        let (mut start, mut left) = (Start::FIRST, 0);
        for _ in 0..STEPS_MAX {
            let Some(place) = self.queue.from(Urgency::Now, start).next().copied() else { break };
            let Some(wanted) = self.chunks.get(place.handle) else { break };
            let after = Start { turn: place.turn, offset: place.offset.saturating_add(1) };
            let (file, len) = (wanted.file, wanted.len());
            match self.choose(wanted, &plans) {
                Choice::NoPeer => start = Start::next_turn(place.turn),
                Choice::NoHolder => start = after,
                Choice::Later(key) => {
                    self.held.insert(key);
                    plans.entry(key).or_default().left_len += len;
                    start = after;
                    left += 1;
                    if left >= LEFT_MAX || self.held.len() == self.up.len() {
                        break;
                    }
                }
                Choice::Now(key) => {
                    self.unqueue(place.handle);
                    let plan = plans.entry(key).or_default();
                    if plan.file != Some(file) || plan.handles.len() >= URGENT_CHUNKS_MAX {
                        let handles = std::mem::take(&mut plan.handles);
                        (plan.file, plan.len) = (Some(file), 0);
                        self.ask(key, Lane::Urgent, handles, out);
                    }
                    let plan = plans.entry(key).or_default();
                    plan.handles.push(place.handle);
                    plan.len += len;
                }
            }
        }
        for (key, plan) in plans {
            self.ask(key, Lane::Urgent, plan.handles, out);
        }
        self.wake_held();
    }

    fn choose(&self, wanted: &Wanted, plans: &Plans) -> Choice {
        let now = self.now;
        let Some(state) = self.files.get(&wanted.file) else { return Choice::NoPeer };
        let mut is_served = false;
        let mut best: Option<(bool, Time, PeerKey)> = None;
        for (key, holder) in &state.holders {
            let Some(peer) = self.peers.get(key).filter(|p| p.is_usable(Lane::Urgent, now)) else {
                continue;
            };
            is_served = true;
            if !holder.has(wanted.offset, wanted.len()) || wanted.is_asked_of(*key) {
                continue;
            }
            let planned_len = plans.get(key).map_or(0, |plan| plan.len + plan.left_len);
            let rank = (peer.is_slow, peer.finish_us(planned_len + wanted.len(), now), *key);
            best = Some(best.map_or(rank, |best| best.min(rank)));
        }
        match best {
            None if is_served => Choice::NoHolder,
            None => Choice::NoPeer,
            Some((_, _, key)) => {
                let plan = plans.get(&key);
                let has_left = plan.is_some_and(|plan| plan.left_len > 0);
                let planned_len = plan.map_or(0, |plan| plan.len);
                match !has_left && self.has_urgent_room(key, planned_len) {
                    true => Choice::Now(key),
                    false => Choice::Later(key),
                }
            }
        }
    }

    fn has_urgent_room(&self, key: PeerKey, planned_len: u64) -> bool {
        let Some(peer) = self.peers.get(&key) else { return false };
        let allowed = self.bucket.urgent_room().min(peer.bucket.urgent_room());
        peer.urgent_room(planned_len) > 0 && allowed > planned_len
    }

    /// Peers that only the rate keeps from being asked are looked at again when it allows.
    fn wake_held(&mut self) {
        let held: BTreeSet<PeerKey> = self.held.clone();
        for key in held {
            let Some(peer) = self.peers.get(&key) else { continue };
            if self.bucket.urgent_room().min(peer.bucket.urgent_room()) == 0 {
                let at = self.bucket.ready_at().max(peer.bucket.ready_at());
                self.set_retry(key, at.max(self.now + 1));
            }
        }
    }

    /// Lets all buckets fill.
    pub(super) fn fill_buckets(&mut self) {
        let now = self.now;
        self.bucket.fill(now);
        for key in &self.up {
            if let Some(peer) = self.peers.get_mut(key) {
                peer.bucket.fill(now);
            }
        }
    }

    /// A chunk that somebody waits for has not come in time: another peer is asked too.
    pub(super) fn hedge(&mut self, handle: Handle, out: &mut Vec<Action>) {
        let now = self.now;
        let Some(wanted) = self.chunks.get_mut(handle) else { return };
        wanted.hedge_at = None;
        let Some(wanted) = self.chunks.get(handle) else { return };
        let owners = wanted.flights.iter().filter(|flight| self.is_prompt(flight)).count();
        if wanted.is_flying() && owners < OWNERS_MAX && self.doubled.len() < HEDGES_MAX {
            self.fill_buckets();
            if let Some(wanted) = self.chunks.get(handle)
                && let Choice::Now(key) = self.choose(wanted, &Plans::new())
                && self.peers.get(&key).is_some_and(|peer| !peer.is_slow)
            {
                self.totals.hedges += 1;
                self.ask(key, Lane::Urgent, vec![handle], out);
                return;
            }
        }
        let at = now.saturating_add(HEDGE_US_MIN);
        if let Some(wanted) = self.chunks.get_mut(handle) {
            wanted.hedge_at = Some(at);
            self.timers.insert(at, Timer::Hedge(handle));
        }
    }
}
