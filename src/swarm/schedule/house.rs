//! The round that is made four times a second while anything is wanted: who has fallen silent, who
//! is slow, what has come to partial holders, whether more peers are needed.

use super::Schedule;
use super::event::{Action, FileKey, Lane, PeerKey, Urgency};
use super::limits::{
    HAVES_A_ROUND, HOUSE_US, SLOW_PART, SLOW_PART_OVER, SLOW_US, STALL_NOW_US, STALL_US,
};
use super::request::ItemState;
use super::timers::Timer;

const LANES: [Lane; 2] = [Lane::Urgent, Lane::Bulk];

impl Schedule {
    /// Makes sure that the next round comes.
    pub(super) fn plan_house(&mut self) {
        if !self.is_house_planned && !self.tickets.is_empty() {
            self.is_house_planned = true;
            self.timers.insert(self.now.saturating_add(HOUSE_US), Timer::House);
        }
    }

    /// Makes the round.
    pub(super) fn house(&mut self, out: &mut Vec<Action>) {
        self.is_house_planned = false;
        let up: Vec<PeerKey> = self.up.iter().copied().collect();
        self.measure_median();
        for key in &up {
            self.judge_silence(*key);
            self.judge_rate(*key);
        }
        let files: Vec<FileKey> = self.wanted_files.iter().copied().collect();
        let mut budget = HAVES_A_ROUND;
        for file in files {
            self.refresh(file, &mut budget, out);
            self.find(file, true, out);
        }
        self.dirty.extend(up);
    }

    /// The rate in the middle, of those that are known.
    fn measure_median(&mut self) {
        let peers = self.up.iter().filter_map(|key| self.peers.get(key));
        let mut rates: Vec<u64> = peers.filter_map(|peer| peer.meter.rate()).collect();
        let middle = rates.len() / 2;
        self.median_rate = match rates.is_empty() {
            true => 0,
            false => *rates.select_nth_unstable(middle).1,
        };
    }

    /// A lane that says nothing although it has something to say loses its chunks.
    fn judge_silence(&mut self, key: PeerKey) {
        let now = self.now;
        let mut is_any_stalled = false;
        for lane in LANES {
            let Some(peer) = self.peers.get(&key) else { return };
            let silence = peer.silence(lane, now);
            if peer.line(lane).is_stalled || silence < STALL_NOW_US {
                continue;
            }
            // Who is silent on one lane and not on the other has no urgent ones to send.
            let is_awaited = lane == Lane::Urgent || is_any_stalled || self.has_awaited(key, lane);
            if silence >= STALL_US || is_awaited {
                is_any_stalled = true;
                self.count(key, |counts| counts.stalls += 1);
                if let Some(peer) = self.peers.get_mut(&key) {
                    peer.line_mut(lane).is_stalled = true;
                }
                self.demote(key, lane, false);
                self.queue.touch();
            }
        }
    }

    /// Whether somebody waits for what a lane is to bring.
    fn has_awaited(&self, key: PeerKey, lane: Lane) -> bool {
        let flights = self.open_flights(key, lane, ItemState::Wanted);
        let mut wanted = flights.iter().filter_map(|(_, handle)| self.chunks.get(*handle));
        wanted.any(|wanted| wanted.urgency == Urgency::Now)
    }

    /// A peer far slower than the others loses what others have.
    fn judge_rate(&mut self, key: PeerKey) {
        let (now, median) = (self.now, self.median_rate);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let rate = peer.rate(now);
        if !peer.is_slow {
            if rate.is_none_or(|rate| rate >= median / SLOW_PART) {
                return;
            }
            peer.is_slow = true;
            peer.slow_until = now.saturating_add(SLOW_US);
            self.queue.touch();
        } else if rate.is_some_and(|rate| rate >= median / SLOW_PART_OVER) {
            self.trust_again(key);
            return;
        } else if peer.slow_until <= now {
            // It may have had a bad time: another try.
            peer.meter.reset();
            self.trust_again(key);
            return;
        }
        for lane in LANES {
            self.demote(key, lane, true);
        }
    }

    fn trust_again(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.is_slow = false;
        }
        self.queue.touch();
        for lane in LANES {
            if self.peers.get(&key).is_some_and(|peer| !peer.line(lane).is_stalled) {
                self.readopt(key, lane);
            }
        }
    }
}
