//! What nobody waits for: a peer that has room takes a batch of what it has, of read-ahead in its
//! order, of files that are being completed the rarest of a sample, and at the very end what
//! another peer seems to keep for too long.

use super::Schedule;
use super::chunks::{Handle, Wanted};
use super::event::{Action, FileKey, Lane, PeerKey, Urgency};
use super::files::Holder;
use super::limits::{
    BULK_CHUNKS_MAX, BULK_LEN_MAX, CHOICE_US, END_CHUNKS, HEDGE_US_MIN, LEAP_LEN_MIN, RARITY_MAX,
    SAMPLE_MAX, STEPS_MAX, TIE_SHIFT,
};
use super::queue::{Place, Start};
use super::random::mix;

/// What a search found.
#[derive(Default)]
struct Found {
    handles: Vec<Handle>,
    /// Where to go on, when it was too long.
    resume: Option<Start>,
}

/// A chunk that may be taken.
#[derive(Clone, Copy)]
struct Candidate {
    handle: Handle,
    offset: u64,
    len: u64,
}

impl Schedule {
    /// Asks a peer for one batch; says whether it did.
    pub(super) fn ask_bulk(&mut self, key: PeerKey, out: &mut Vec<Action>) -> bool {
        let now = self.now;
        self.bucket.fill(now);
        let epoch = self.queue.epoch();
        let is_held = self.held.contains(&key);
        let Some(peer) = self.peers.get_mut(&key).filter(|p| p.is_usable(Lane::Bulk, now)) else {
            return false;
        };
        peer.bucket.fill(now);
        let allowed = self.bucket.room().min(peer.bucket.room());
        let room = peer.bulk_room().min(BULK_LEN_MAX);
        if room == 0 || is_held || peer.is_draining(now) {
            return false;
        }
        let is_idle = peer.idle_epoch == Some(epoch);
        if allowed == 0 {
            let at = self.bucket.ready_at().max(peer.bucket.ready_at());
            if !is_idle {
                self.set_retry(key, at.max(now + 1));
            }
            return false;
        }
        let room = room.min(allowed);
        if !is_idle {
            let handles = self.pick(key, room);
            if !handles.is_empty() {
                self.ask(key, Lane::Bulk, handles, out);
                return true;
            }
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.meter.slack();
        }
        self.ask_last(key, room, out)
    }

    /// Takes the next batch for a peer. When there is none, the peer is idle until the queue
    /// changes, unless the search was too long: then the next one goes on from there.
    fn pick(&mut self, key: PeerKey, room: u64) -> Vec<Handle> {
        let epoch = self.queue.epoch();
        let resume = self.peers.get(&key).map_or([None; 2], |peer| peer.resume);
        let is_cut_off = self.peers.get(&key).is_some_and(|p| p.line(Lane::Urgent).is_stalled);
        if is_cut_off && !self.queue.is_empty(Urgency::Now) {
            // Who answers only here is asked here.
            let found = self.pick_in_order(key, Urgency::Now, room, Start::FIRST);
            if !found.handles.is_empty() {
                return found.handles;
            }
        }
        let mut is_all_seen = true;
        let mut next = [None; 2];
        let mut handles = Vec::new();
        for (index, urgency) in [Urgency::Soon, Urgency::Background].into_iter().enumerate() {
            let start = resume[index].unwrap_or(Start::FIRST);
            let found = match urgency {
                Urgency::Soon | Urgency::Now => self.pick_in_order(key, urgency, room, start),
                Urgency::Background => self.pick_rarest(key, room, start),
            };
            handles = found.handles;
            if !handles.is_empty() {
                break;
            }
            next[index] = found.resume;
            is_all_seen &= found.resume.is_none() && resume[index].is_none();
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.resume = next;
            peer.idle_epoch = (handles.is_empty() && is_all_seen).then_some(epoch);
        }
        handles
    }

    fn pick_in_order(&self, key: PeerKey, urgency: Urgency, room: u64, start: Start) -> Found {
        let mut steps = STEPS_MAX;
        let (mut handles, mut len) = (Vec::new(), 0);
        let mut file = None;
        let resume = self.walk(key, urgency, start, &mut steps, |place, wanted| {
            let fits = handles.is_empty() || len + wanted.len() <= room;
            if *file.get_or_insert(wanted.file) != wanted.file || !fits {
                return false;
            }
            handles.push(place.handle);
            len += wanted.len();
            handles.len() < BULK_CHUNKS_MAX
        });
        Found { handles, resume }
    }

    /// The rarest of a sample, as far as there is room; the rest of the choice is for the peer's
    /// next requests.
    fn pick_rarest(&mut self, key: PeerKey, room: u64, start: Start) -> Found {
        let now = self.now;
        let handles = self.take_chosen(key, room);
        if !handles.is_empty() {
            return Found { handles, resume: None };
        }
        let resume = self.choose_rarest(key, start);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.chosen_at = now;
        }
        Found { handles: self.take_chosen(key, room), resume }
    }

    /// Takes what was chosen for a peer and may still be taken.
    fn take_chosen(&mut self, key: PeerKey, room: u64) -> Vec<Handle> {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&key) else { return Vec::new() };
        let mut choice = std::mem::take(&mut peer.choice);
        if peer.chosen_at.saturating_add(CHOICE_US) < now {
            choice.clear();
        }
        let (mut handles, mut len, mut file) = (Vec::new(), 0, None);
        while let Some(handle) = choice.pop() {
            let Some(wanted) = self.chunks.get(handle) else { continue };
            let is_queued = wanted.place.is_some() && wanted.urgency == Urgency::Background;
            if !is_queued || !self.may_take(key, wanted) {
                continue;
            }
            let fits = handles.is_empty() || len + wanted.len() <= room;
            if !fits || *file.get_or_insert(wanted.file) != wanted.file {
                choice.push(handle);
                break;
            }
            len += wanted.len();
            handles.push(handle);
            if handles.len() >= BULK_CHUNKS_MAX {
                break;
            }
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.choice = choice;
        }
        handles
    }

    /// Whether a peer has a chunk and should bring it.
    fn may_take(&self, key: PeerKey, wanted: &Wanted) -> bool {
        let (file, offset, len) = (wanted.file, wanted.offset, wanted.len());
        let holder = self.files.get(&file).and_then(|state| state.holders.get(&key));
        let is_slow = self.peers.get(&key).is_some_and(|peer| peer.is_slow);
        holder.is_some_and(|holder| holder.has(offset, len))
            && !wanted.is_asked_of(key)
            && !(is_slow && self.is_elsewhere(file, offset, len, key))
    }

    /// Chooses for a peer: of chunks from where it is in the file and from a place by chance, the
    /// rarer half. When nobody has only a part of the file, all are equally rare.
    fn choose_rarest(&mut self, key: PeerKey, start: Start) -> Option<Start> {
        let mut steps = STEPS_MAX;
        let mut first: Option<(Place, FileKey, u64)> = None;
        let urgency = Urgency::Background;
        let resume = self.walk(key, urgency, start, &mut steps, |place, wanted| {
            first = Some((*place, wanted.file, wanted.len()));
            false
        });
        let Some((place, file, len)) = first else { return resume };
        let turn = place.turn;
        let last = self.queue.last_offset(urgency, turn).unwrap_or(place.offset);
        let span = last.saturating_sub(place.offset).saturating_add(1);
        let [chance, other] = [(); 2].map(|()| {
            let offset = place.offset.saturating_add(self.random.below(span));
            Start { turn, offset }
        });
        let cursor = self.peers.get(&key).and_then(|peer| peer.cursor);
        let mut cursor = cursor.filter(|cursor| cursor.turn == turn).unwrap_or(chance);
        let mut sample = Vec::new();
        let is_ranked = self.has_partial_holder(file);
        let count = if is_ranked { SAMPLE_MAX / 2 } else { BULK_CHUNKS_MAX };
        self.sample(key, cursor, count, &mut sample);
        if let Some(end) = sample.last() {
            cursor.offset = end.offset.saturating_add(1);
        }
        if is_ranked {
            self.sample(key, other, SAMPLE_MAX / 2, &mut sample);
            self.rank(file, &mut sample);
            sample.truncate((sample.len() / 2).max(BULK_CHUNKS_MAX));
        }
        if sample.is_empty() {
            sample.push(Candidate { handle: place.handle, offset: place.offset, len });
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.cursor = Some(cursor);
            peer.choice = sample.iter().rev().map(|candidate| candidate.handle).collect();
        }
        None
    }

    /// Adds up to `count` chunks of a turn that the peer may take, from `start` on and around.
    fn sample(&self, key: PeerKey, start: Start, count: usize, sample: &mut Vec<Candidate>) {
        let mut steps = STEPS_MAX / 4;
        let limit = sample.len() + count;
        let before = sample.len();
        let urgency = Urgency::Background;
        let mut add = |place: &Place, wanted: &Wanted, end: u64| {
            if place.turn != start.turn || place.offset >= end || sample.len() >= limit {
                return false;
            }
            let is_new = !sample[..before].iter().any(|other| other.handle == place.handle);
            if is_new {
                let (offset, len) = (wanted.offset, wanted.len());
                sample.push(Candidate { handle: place.handle, offset, len });
            }
            sample.len() < limit
        };
        self.walk(key, urgency, start, &mut steps, |p, w| add(p, w, u64::MAX));
        let around = Start { turn: start.turn, offset: 0 };
        self.walk(key, urgency, around, &mut steps, |p, w| add(p, w, start.offset));
    }

    fn has_partial_holder(&self, file: FileKey) -> bool {
        let state = self.files.get(&file);
        state.is_some_and(|state| state.holders.values().any(Holder::is_partial))
    }

    /// Sorts by how few have a chunk, then by chance, neighbours together.
    fn rank(&self, file: FileKey, sample: &mut [Candidate]) {
        let Some(state) = self.files.get(&file) else { return };
        let seed = self.seed;
        sample.sort_by_cached_key(|candidate| {
            let holders = state.holders.values().take(RARITY_MAX);
            let count = holders.filter(|h| h.has(candidate.offset, candidate.len)).count();
            (count, mix(seed ^ (candidate.offset >> TIE_SHIFT)), candidate.offset)
        });
    }

    /// Visits, in order from `start` on, the chunks that a peer has and should take, until `visit`
    /// says no or the steps run out: then it says where it stopped.
    fn walk(
        &self,
        key: PeerKey,
        urgency: Urgency,
        mut start: Start,
        steps: &mut usize,
        mut visit: impl FnMut(&Place, &Wanted) -> bool,
    ) -> Option<Start> {
        let is_slow = self.peers.get(&key).is_some_and(|peer| peer.is_slow);
        let mut known: Option<(FileKey, Option<&Holder>)> = None;
        'leap: loop {
            for place in self.queue.from(urgency, start) {
                let here = Start { turn: place.turn, offset: place.offset };
                *steps = steps.saturating_sub(1);
                if *steps == 0 {
                    return Some(here);
                }
                let Some(wanted) = self.chunks.get(place.handle) else { continue };
                let (file, offset, len) = (wanted.file, wanted.offset, wanted.len());
                let holder = match known {
                    Some((known_file, holder)) if known_file == file => holder,
                    _ => self.files.get(&file).and_then(|state| state.holders.get(&key)),
                };
                known = Some((file, holder));
                let Some(holder) = holder else {
                    start = Start::next_turn(place.turn);
                    continue 'leap;
                };
                if !holder.has(offset, len) {
                    match holder.next(offset) {
                        None => start = Start::next_turn(place.turn),
                        Some(next) if next <= offset.saturating_add(LEAP_LEN_MIN) => continue,
                        Some(next) => start = Start { turn: place.turn, offset: next },
                    }
                    continue 'leap;
                }
                // A slow peer takes only what nobody else could bring.
                let is_left = wanted.is_asked_of(key)
                    || (is_slow && self.is_elsewhere(file, offset, len, key));
                if !is_left && !visit(place, wanted) {
                    return Some(here);
                }
            }
            return None;
        }
    }

    /// With nothing else to do and a file's last chunks under way, a peer is asked for those that
    /// it will have brought far sooner than their owners.
    fn ask_last(&mut self, key: PeerKey, room: u64, out: &mut Vec<Action>) -> bool {
        // Only then are there few enough to look at.
        if self.flying.len() > 4 * END_CHUNKS || self.doubled.len() >= END_CHUNKS {
            return false;
        }
        let now = self.now;
        let Some(peer) = self.peers.get(&key).filter(|peer| !peer.is_slow) else { return false };
        let (mut handles, mut len, mut file) = (Vec::new(), 0, None);
        for handle in &self.flying {
            let Some(wanted) = self.chunks.get(*handle) else { continue };
            let Some(state) = self.files.get(&wanted.file) else { continue };
            let is_last = state.wanted <= END_CHUNKS && wanted.urgency != Urgency::Now;
            let has = |holder: &Holder| holder.has(wanted.offset, wanted.len());
            if !is_last || wanted.is_asked_of(key) || !state.holders.get(&key).is_some_and(has) {
                continue;
            }
            let mut owners = wanted.flights.iter().filter(|flight| self.is_prompt(flight));
            let (Some(flight), None) = (owners.next(), owners.next()) else { continue };
            let request = self.requests.get(flight.request);
            let item = request.and_then(|request| request.items.get(usize::from(flight.index)));
            let Some(item) = item else { continue };
            // What is overdue takes as long again as it has taken.
            let left_us = match item.due_at > now {
                true => item.due_at - now,
                false => now - item.asked_at,
            };
            let fits = handles.is_empty() || len + wanted.len() <= room;
            let us = peer.finish_us(len + wanted.len(), now);
            let is_worth_it = left_us / 2 > us && left_us > us + HEDGE_US_MIN;
            if fits && is_worth_it && *file.get_or_insert(wanted.file) == wanted.file {
                len += wanted.len();
                handles.push(*handle);
            }
            if handles.len() >= BULK_CHUNKS_MAX {
                break;
            }
        }
        if handles.is_empty() {
            return false;
        }
        self.totals.ends += handles.len() as u64;
        self.ask(key, Lane::Bulk, handles, out);
        true
    }
}
