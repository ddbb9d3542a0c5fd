//! What is known of a peer: how fast it is, how much may be asked of it, whether it is to be asked.

use std::collections::BTreeSet;

use super::bucket::Bucket;
use super::chunks::Handle;
use super::event::{FileKey, Lane, RequestKey, Time};
use super::limits::{
    DRAIN_US_MAX, LAG_US, LOW_WATER_PART, MS, QUEUE_US_BOUND, QUEUE_US_MAX, QUEUE_US_MIN,
    RATE_GUESS, REQUESTS_MAX, RTT_GUESS, RTT_MAX, SILENCE_US, THINK_US_MAX, URGENT_LEN_MIN,
    WINDOW_LEN_MAX, WINDOW_LEN_MIN,
};
use super::meter::{Meter, per_second, scaled, time_of};
use super::progress::PeerCounts;
use super::queue::Start;

/// The usual length of a chunk: what silence is measured by.
const CHUNK_LEN_USUAL: u64 = 64 << 10;

/// Silence beyond a round trip that means nothing: a long chunk, a late wake.
const SILENCE_US_USUAL: Time = 50 * MS;

/// What is under way in one lane of a peer.
#[derive(Default, Debug)]
pub(super) struct Line {
    /// Open requests, in the order in which they were asked.
    pub requests: Vec<RequestKey>,
    /// Bytes of chunks in them that are not closed.
    pub len: u64,
    /// Since when something is waited for: the last chunk, or the first request after a pause.
    pub since: Time,
    /// Silent for too long. It gets no request until something comes of those that it has.
    pub is_stalled: bool,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub is_up: bool,
    pub is_relayed: bool,
    /// Round trip as the driver measures it, the shortest seen lately.
    pub rtt_us: Time,
    /// From a request to its first byte with nothing else under way, the shortest seen lately; 0
    /// while not known. The disk of the peer is in it, and its other readers are.
    lag_us: Time,
    /// When that was measured, or began to be.
    lag_at: Time,
    pub in_flight_len_max: u64,
    lines: [Line; 2],
    pub meter: Meter,
    pub bucket: Bucket,
    /// Asked for nothing until then: it is busy or has failed.
    pub paused_until: Time,
    /// Requests that failed since the last chunk.
    pub failures_in_row: u32,
    pub is_slow: bool,
    /// When a slow peer gets another try.
    pub slow_until: Time,
    pub banned_until: Time,
    /// When its timer rings.
    pub retry_at: Option<Time>,
    /// The queue's epoch at which nothing was found for it.
    pub idle_epoch: Option<u64>,
    /// Where the search goes on that became too long: in the queues of Soon and Background.
    pub resume: [Option<Start>; 2],
    /// Where it goes on in a file that is being completed.
    pub cursor: Option<Start>,
    /// What it is to bring next of that file, the last one first.
    pub choice: Vec<Handle>,
    /// When these were chosen.
    pub chosen_at: Time,
    /// Files of which it is a holder.
    pub files: BTreeSet<FileKey>,
    /// When it came or went last.
    pub seen_at: Time,
    pub counts: PeerCounts,
}

impl Peer {
    pub(super) fn new(rate_max: Option<u64>, now: Time) -> Self {
        Self {
            is_up: false,
            is_relayed: false,
            rtt_us: RTT_GUESS,
            lag_us: 0,
            lag_at: now,
            in_flight_len_max: WINDOW_LEN_MAX,
            lines: [Line::default(), Line::default()],
            meter: Meter::default(),
            bucket: Bucket::new(rate_max, now),
            paused_until: 0,
            failures_in_row: 0,
            is_slow: false,
            slow_until: 0,
            banned_until: 0,
            retry_at: None,
            idle_epoch: None,
            resume: [None, None],
            cursor: None,
            choice: Vec::new(),
            chosen_at: 0,
            files: BTreeSet::new(),
            seen_at: now,
            counts: PeerCounts::default(),
        }
    }

    pub(super) fn line(&self, lane: Lane) -> &Line {
        &self.lines[lane as usize]
    }

    pub(super) fn line_mut(&mut self, lane: Lane) -> &mut Line {
        &mut self.lines[lane as usize]
    }

    /// Bytes under way in both lanes.
    pub(super) fn in_flight_len(&self) -> u64 {
        self.lines.iter().map(|line| line.len).sum()
    }

    /// Takes a measured round trip: a shorter one at once, a longer one slowly, since it may have
    /// stood in a queue.
    pub(super) fn measured(&mut self, us: Time) {
        let us = us.clamp(1, RTT_MAX);
        if us < self.rtt_us {
            self.rtt_us = us;
        } else {
            self.rtt_us += (us - self.rtt_us) / 64;
        }
    }

    /// Whether nothing is under way: then the way to the first byte of what is asked for now is
    /// measured.
    pub(super) fn begins_alone(&mut self, now: Time) -> bool {
        let is_alone = self.in_flight_len() == 0;
        if is_alone {
            self.lag_at = now;
        }
        is_alone
    }

    /// Takes the time from a request, with nothing else under way, to its first chunk, which has
    /// `len` bytes.
    pub(super) fn lagged(&mut self, us: Time, len: u64, now: Time) {
        let us = us.saturating_sub(self.meter.rate().map_or(0, |rate| time_of(len, rate))).max(1);
        self.lag_at = now;
        if self.lag_us == 0 || us < self.lag_us {
            self.lag_us = us;
        } else {
            self.lag_us += (us - self.lag_us) / 2;
        }
    }

    /// How long the first byte takes that is asked for now, the link being free.
    fn first_byte_us(&self) -> Time {
        self.lag_us.clamp(self.rtt_us, self.rtt_us + THINK_US_MAX)
    }

    /// Whether bulk has to wait until what is under way has come, so that the way to the first byte
    /// can be measured again.
    pub(super) fn is_draining(&mut self, now: Time) -> bool {
        if self.in_flight_len() == 0 || now < self.lag_at.saturating_add(LAG_US) {
            return false;
        }
        if now >= self.lag_at.saturating_add(LAG_US + DRAIN_US_MAX) {
            // It does not come to an end: another time.
            self.lag_at = now;
        }
        self.lag_at < now
    }

    /// Whether it may be asked on `lane` at all.
    pub(super) fn is_usable(&self, lane: Lane, now: Time) -> bool {
        self.is_up && self.paused_until <= now && !self.line(lane).is_stalled
    }

    /// What may be in flight, in bytes.
    pub(super) fn window(&self) -> u64 {
        // Urgent chunks must always find room beside bulk.
        let max = self.in_flight_len_max.saturating_sub(URGENT_LEN_MIN).max(1);
        let Some(rate) = self.meter.rate() else { return WINDOW_LEN_MIN.min(max) };
        let queue_us = self.queue_us();
        let first_us = self.first_byte_us();
        let bound = scaled(rate, first_us + queue_us.max(QUEUE_US_BOUND)).max(1);
        scaled(rate, first_us + queue_us).max(WINDOW_LEN_MIN).min(bound).min(max)
    }

    /// How long what is in flight may take beyond a round trip. While the link's rate is being
    /// found, as long as that: only twice as much in flight shows twice the rate.
    fn queue_us(&self) -> Time {
        let most = if self.meter.is_growing() { RTT_MAX } else { QUEUE_US_MAX };
        self.first_byte_us().clamp(QUEUE_US_MIN, most)
    }

    /// Bytes that a bulk request may ask for now. One chunk may exceed it.
    pub(super) fn bulk_room(&self) -> u64 {
        // What a silent lane has asked for is not on the link.
        let lines = self.lines.iter().filter(|line| !line.is_stalled);
        let in_flight_len: u64 = lines.map(|line| line.len).sum();
        let window = self.window();
        let rate = self.meter.rate().unwrap_or(0);
        let low = scaled(rate, self.first_byte_us() + self.queue_us() / LOW_WATER_PART);
        let is_low = in_flight_len <= low.clamp(window / 8 * 5, window / 8 * 7);
        let may_ask = self.line(Lane::Bulk).requests.len() < REQUESTS_MAX;
        if is_low && may_ask { window - in_flight_len } else { 0 }
    }

    /// Bytes that may be asked for on the urgent lane when `planned_len` more are as good as asked
    /// for. One chunk may exceed it.
    pub(super) fn urgent_room(&self, planned_len: u64) -> u64 {
        if self.line(Lane::Urgent).requests.len() >= REQUESTS_MAX {
            return 0;
        }
        let window = self.window().max(URGENT_LEN_MIN);
        let room = window.saturating_sub(self.line(Lane::Urgent).len + planned_len);
        room.min(self.in_flight_len_max.saturating_sub(self.in_flight_len() + planned_len))
    }

    /// How long `lane` has been silent with something to say.
    pub(super) fn silence(&self, lane: Lane, now: Time) -> Time {
        let line = self.line(lane);
        if line.len == 0 { 0 } else { now.saturating_sub(line.since) }
    }

    /// Its rate, as measured or as its silence tells; `None` while nothing is known.
    pub(super) fn rate(&self, now: Time) -> Option<u64> {
        let silence = self.silence(Lane::Urgent, now).max(self.silence(Lane::Bulk, now));
        let measured = self.meter.rate();
        if silence <= SILENCE_US.max(self.first_byte_us() * 4) {
            return measured;
        }
        let bound = per_second(CHUNK_LEN_USUAL, silence);
        Some(measured.map_or(bound, |rate| rate.min(bound)))
    }

    /// How long `len` bytes would take that are asked for now, behind all that is under way.
    pub(super) fn finish_us(&self, len: u64, now: Time) -> Time {
        let rate = self.rate(now).unwrap_or(RATE_GUESS);
        let silence = self.silence(Lane::Urgent, now).max(self.silence(Lane::Bulk, now));
        // Who should have said something by now takes as long again.
        let first_us = self.first_byte_us();
        let overdue = silence.saturating_sub(first_us + SILENCE_US_USUAL);
        let us = time_of(self.in_flight_len() + len, rate).saturating_add(overdue);
        let us = first_us.saturating_add(us);
        // Others pay for a relay.
        if self.is_relayed { us.saturating_mul(2) } else { us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::schedule::limits::SECOND;

    /// A peer whose rate is measured.
    fn measured(rate: u64, rtt_us: Time) -> Peer {
        let mut peer = Peer::new(None, 2 * SECOND);
        peer.is_up = true;
        peer.rtt_us = rtt_us;
        peer.meter.came(0, 1, rtt_us);
        peer.meter.came(SECOND, rate, rtt_us);
        assert_eq!(peer.meter.rate(), Some(rate));
        peer
    }

    #[test]
    fn the_window_is_two_round_trips_within_its_bounds() {
        assert_eq!(Peer::new(None, 0).window(), WINDOW_LEN_MIN);
        assert_eq!(measured(12_500_000, 50 * MS).window(), 1_250_000);
        assert_eq!(measured(2_000_000, MS).window(), 202_000, "a tenth of a second of bulk");
        let mut far = measured(12_500_000, 200 * MS);
        assert_eq!(far.window(), 5_000_000, "its rate may be higher");
        for _ in 0..5 {
            far.meter.came(far.seen_at, 12_500_000, SECOND);
            far.seen_at += SECOND;
        }
        assert_eq!(far.window(), 3_500_000);
        assert_eq!(measured(1 << 40, 50 * MS).window(), WINDOW_LEN_MAX - URGENT_LEN_MIN);
        assert_eq!(measured(5, 50 * MS).window(), 1, "one chunk");
        let mut narrow = measured(12_500_000, 50 * MS);
        narrow.in_flight_len_max = 1;
        assert_eq!((narrow.window(), narrow.urgent_room(0)), (1, 1));
    }

    #[test]
    fn room_comes_in_pieces_for_bulk_and_at_once_for_who_waits() {
        let mut peer = measured(12_500_000, 50 * MS);
        assert_eq!(peer.bulk_room(), 1_250_000);
        peer.line_mut(Lane::Bulk).len = 781_250;
        assert_eq!(peer.bulk_room(), 468_750);
        peer.line_mut(Lane::Bulk).len = 781_251;
        assert_eq!(peer.bulk_room(), 0);
        assert_eq!(peer.urgent_room(0), 1_250_000);
        assert_eq!(peer.urgent_room(1_250_000), 0);
        peer.line_mut(Lane::Urgent).requests = vec![RequestKey(1); REQUESTS_MAX];
        assert_eq!(peer.urgent_room(0), 0);
    }

    #[test]
    fn what_a_peer_thinks_counts_as_its_way() {
        let mut peer = measured(12_500_000, MS);
        peer.lagged(41_000, 12_500, 5 * SECOND);
        assert_eq!(peer.window(), 12_500 * 80, "40 ms to the first byte, and as much again");
        peer.lagged(21_000, 12_500, 6 * SECOND);
        assert_eq!(peer.first_byte_us(), 20 * MS, "a shorter one at once");
        peer.lagged(61_000, 12_500, 6 * SECOND);
        assert_eq!(peer.first_byte_us(), 40 * MS, "a longer one by half");
        peer.lagged(100 * SECOND, 0, 6 * SECOND);
        assert_eq!(peer.first_byte_us(), MS + THINK_US_MAX);
        peer.lagged(1, 12_500, 7 * SECOND);
        assert_eq!(peer.first_byte_us(), MS, "never shorter than the round trip");
    }

    #[test]
    fn once_in_a_while_all_that_is_under_way_has_to_come() {
        let mut peer = measured(12_500_000, 50 * MS);
        peer.lagged(50_000, 1, 0);
        peer.line_mut(Lane::Bulk).len = 1;
        assert!(!peer.is_draining(LAG_US - 1) && peer.is_draining(LAG_US));
        assert!(peer.is_draining(LAG_US + DRAIN_US_MAX - 1));
        assert!(!peer.is_draining(LAG_US + DRAIN_US_MAX), "it took too long");
        assert!(!peer.is_draining(2 * LAG_US) && peer.is_draining(2 * LAG_US + DRAIN_US_MAX));
        peer.line_mut(Lane::Bulk).len = 0;
        assert!(!peer.is_draining(2 * LAG_US + DRAIN_US_MAX));
    }

    #[test]
    fn silence_tells_of_the_rate() {
        let mut peer = measured(12_500_000, 50 * MS);
        assert_eq!(peer.rate(100 * SECOND), Some(12_500_000), "nothing is asked of it");
        let line = peer.line_mut(Lane::Bulk);
        (line.len, line.since) = (1, 100 * SECOND);
        assert_eq!(peer.rate(101 * SECOND), Some(12_500_000));
        assert_eq!(peer.rate(102 * SECOND), Some(CHUNK_LEN_USUAL / 2));
        assert_eq!(Peer::new(None, 0).rate(SECOND), None);
    }

    #[test]
    fn a_short_round_trip_counts_at_once_and_a_long_one_slowly() {
        let mut peer = Peer::new(None, 0);
        peer.measured(10 * MS);
        assert_eq!(peer.rtt_us, 10 * MS);
        peer.measured(74 * MS);
        assert_eq!(peer.rtt_us, 11 * MS);
        peer.measured(u64::MAX);
        assert!(peer.rtt_us < SECOND);
        peer.measured(0);
        assert_eq!(peer.rtt_us, 1);
    }
}
