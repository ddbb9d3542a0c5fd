//! Who has what of which file: the have-lists, their refreshing, and the search for more holders.

use std::collections::{BTreeMap, BTreeSet};

use super::Schedule;
use super::event::{Action, FileKey, PeerKey, Time};
use super::have::Have;
use super::limits::{
    DENIALS_MAX, DENIALS_US, FIND_US_MAX, FIND_US_MIN, FIND_US_STARVED, HAVE_US_MAX, HAVE_US_MIN,
    HAVES_LEN_MAX, HOLDERS_ENOUGH, HOLDERS_MAX, HOLDINGS_MAX,
};

/// A peer as holder of a file.
#[derive(Debug)]
pub(super) struct Holder {
    have: Have,
    /// Offsets that it denied since it told its list.
    denied: BTreeSet<u64>,
    /// Chunks that it denied in all.
    denials: u32,
    /// When it is asked again what it has.
    refresh_at: Time,
    refresh_us: Time,
}

impl Holder {
    /// Whether it has a chunk, by what it says and what it denied.
    pub(super) fn has(&self, offset: u64, len: u64) -> bool {
        self.have.covers(offset, len) && !self.denied.contains(&offset)
    }

    /// The first offset after `offset`, whose chunk it has not, at which a chunk may begin that it
    /// has.
    pub(super) fn next(&self, offset: u64) -> Option<u64> {
        self.have.next(offset.checked_add(1)?)
    }

    /// Whether another look could show more.
    pub(super) fn is_partial(&self) -> bool {
        self.have.is_partial() || !self.denied.is_empty()
    }
}

/// A file that is wanted, or of which there are holders.
#[derive(Default, Debug)]
pub(super) struct FileState {
    pub holders: BTreeMap<PeerKey, Holder>,
    /// Chunks wanted that have not come.
    pub wanted: usize,
    /// Those of them that wait to be asked for.
    pub queued: usize,
    /// When a search for holders may be sent.
    find_at: Time,
    find_us: Time,
}

impl Schedule {
    /// A peer tells what it has of a file.
    pub(super) fn serves(&mut self, key: PeerKey, file: FileKey, mut have: Have) {
        let now = self.now;
        if !self.peers.get(&key).is_some_and(|peer| peer.is_up) || !self.make_room(key, file) {
            return;
        }
        let state = self.files.entry(file).or_default();
        let before = state.holders.remove(&key);
        let before_size = before.as_ref().map_or(0, |holder| holder.have.size());
        if self.haves_len - before_size + have.size() > HAVES_LEN_MAX {
            have = Have::None;
        }
        self.haves_len = self.haves_len - before_size + have.size();
        let denials = before.as_ref().map_or(0, |holder| holder.denials);
        let mut refresh_us = match before {
            Some(old) if old.have == have => old.refresh_us.saturating_mul(2).min(HAVE_US_MAX),
            Some(_) | None => HAVE_US_MIN,
        };
        if denials >= DENIALS_MAX {
            // It says that it has what it has not, again and again.
            self.haves_len -= have.size();
            (have, refresh_us) = (Have::None, DENIALS_US);
        }
        let refresh_at = now.saturating_add(self.random.about(refresh_us));
        let denials = if refresh_us == DENIALS_US { 0 } else { denials };
        let holder = Holder { have, denied: BTreeSet::new(), denials, refresh_at, refresh_us };
        state.holders.insert(key, holder);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.files.insert(file);
            peer.idle_epoch = None;
            peer.choice.clear();
        }
        self.dirty.insert(key);
    }

    /// Whether another pair of file and holder may be kept; what nobody wants makes room.
    fn make_room(&mut self, key: PeerKey, file: FileKey) -> bool {
        let holders = self.files.get(&file).map(|state| &state.holders);
        if holders.is_some_and(|holders| holders.contains_key(&key)) {
            return true;
        }
        if holders.is_some_and(|holders| holders.len() >= HOLDERS_MAX) {
            return false;
        }
        if self.holdings < HOLDINGS_MAX {
            self.holdings += 1;
            return true;
        }
        let unwanted = self.files.iter().find(|(_, state)| state.wanted == 0);
        let Some((other, peer)) =
            unwanted.and_then(|(other, state)| Some((*other, *state.holders.keys().next()?)))
        else {
            return false;
        };
        self.serves_not(peer, other);
        self.holdings += 1;
        true
    }

    /// A peer is no holder of a file any more.
    pub(super) fn serves_not(&mut self, key: PeerKey, file: FileKey) {
        if let Some(state) = self.files.get_mut(&file)
            && let Some(holder) = state.holders.remove(&key)
        {
            self.holdings -= 1;
            self.haves_len -= holder.have.size();
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.files.remove(&file);
        }
        self.forget_file(file);
    }

    /// A peer is no holder of anything any more.
    pub(super) fn serves_nothing(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        for file in std::mem::take(&mut peer.files) {
            self.serves_not(key, file);
        }
    }

    /// Forgets a file that nobody wants and nobody has.
    pub(super) fn forget_file(&mut self, file: FileKey) {
        let Some(state) = self.files.get(&file) else { return };
        if state.wanted == 0 {
            self.wanted_files.remove(&file);
            if state.holders.is_empty() {
                self.files.remove(&file);
            }
        }
    }

    /// A holder denied the chunk at `offset`.
    pub(super) fn denied(&mut self, key: PeerKey, file: FileKey, offset: u64) {
        let now = self.now;
        let Some(state) = self.files.get_mut(&file) else { return };
        let Some(holder) = state.holders.get_mut(&key) else { return };
        holder.denials = holder.denials.saturating_add(1);
        holder.refresh_at = holder.refresh_at.min(now.saturating_add(HAVE_US_MIN));
        if holder.denied.len() < DENIALS_MAX as usize {
            holder.denied.insert(offset);
        } else {
            self.haves_len -= holder.have.size();
            holder.have = Have::None;
        }
        self.count(key, |counts| counts.denials += 1);
    }

    /// Whether a peer other than `but` could bring the chunk without being slow or silent.
    pub(super) fn is_elsewhere(&self, file: FileKey, offset: u64, len: u64, but: PeerKey) -> bool {
        let Some(state) = self.files.get(&file) else { return false };
        state
            .holders
            .iter()
            .any(|(key, holder)| *key != but && self.is_good(*key) && holder.has(offset, len))
    }

    fn is_good(&self, key: PeerKey) -> bool {
        use super::event::Lane::{Bulk, Urgent};
        let is_good = |peer: &super::peer::Peer| {
            let is_silent = peer.line(Urgent).is_stalled || peer.line(Bulk).is_stalled;
            peer.is_up && !peer.is_slow && !is_silent
        };
        self.peers.get(&key).is_some_and(is_good)
    }

    /// Asks partial holders again what they have, while chunks of the file wait.
    pub(super) fn refresh(&mut self, file: FileKey, budget: &mut usize, out: &mut Vec<Action>) {
        let now = self.now;
        let Some(state) = self.files.get_mut(&file).filter(|state| state.queued > 0) else {
            return;
        };
        for (key, holder) in &mut state.holders {
            if *budget == 0 {
                return;
            }
            if holder.is_partial() && holder.refresh_at <= now {
                *budget -= 1;
                holder.refresh_at = now.saturating_add(self.random.about(holder.refresh_us));
                out.push(Action::AskHave { peer: *key, file });
            }
        }
    }

    /// Looks for more holders when there are few, ever more rarely. `is_settled`: what could be
    /// asked for has been.
    pub(super) fn find(&mut self, file: FileKey, is_settled: bool, out: &mut Vec<Action>) {
        let Some(state) = self.files.get(&file) else { return };
        let is_something = |holder: &Holder| holder.have != Have::None;
        let holders = state.holders.iter().filter(|(_, holder)| is_something(holder));
        let good = holders.filter(|(key, _)| self.is_good(**key)).count();
        // Nothing is under way although something is wanted: nobody has the rest.
        let is_stuck = is_settled && state.queued > 0 && state.queued == state.wanted;
        let is_starved = good == 0 || is_stuck;
        let now = self.now;
        let Some(state) = self.files.get_mut(&file) else { return };
        if is_starved {
            let latest = now.saturating_add(FIND_US_STARVED);
            state.find_us = state.find_us.min(FIND_US_STARVED);
            state.find_at = state.find_at.min(latest);
        }
        if state.wanted == 0 || now < state.find_at || (good >= HOLDERS_ENOUGH && !is_starved) {
            return;
        }
        let limit = if is_starved { FIND_US_STARVED } else { FIND_US_MAX };
        state.find_us = state.find_us.saturating_mul(2).clamp(FIND_US_MIN, limit);
        state.find_at = now.saturating_add(self.random.about(state.find_us));
        out.push(Action::FindPeers { file });
    }
}
