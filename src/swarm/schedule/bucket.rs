//! A token bucket: how much may be asked for now so that a rate holds in the long run.
//!
//! What is asked for is charged; what then does not come, or comes shorter, is given back. The
//! level may fall below zero by one chunk, and by as much as the bucket holds for chunks that
//! somebody waits for: bulk pays for these later.

use super::event::Time;
use super::limits::CHUNK_LEN_MAX;
use super::meter::{scaled, time_of};

/// A quarter of a second may come in one go, if that is a chunk at least ...
const BURST_PART: u64 = 4;
/// ... and not more than this.
const BURST_LEN_MAX: u64 = 16 << 20;

/// One bucket; without a rate it never runs dry.
#[derive(Clone, Default, Debug)]
pub(super) struct Bucket {
    rate: Option<u64>,
    level: i64,
    filled_at: Time,
}

impl Bucket {
    pub(super) fn new(rate: Option<u64>, now: Time) -> Self {
        let mut bucket = Self { rate: rate.map(|rate| rate.max(1)), level: 0, filled_at: now };
        bucket.level = bucket.burst();
        bucket
    }

    /// Changes the rate; what was charged stays charged.
    pub(super) fn set_rate(&mut self, rate: Option<u64>, now: Time) {
        self.fill(now);
        let had_rate = self.rate.is_some();
        self.rate = rate.map(|rate| rate.max(1));
        let burst = self.burst();
        self.level = if had_rate { self.level.min(burst) } else { burst };
    }

    /// Bytes that bulk may ask for, as of the last filling.
    pub(super) fn room(&self) -> u64 {
        if self.rate.is_none() { u64::MAX } else { self.level.max(0).unsigned_abs() }
    }

    /// Bytes that may be asked for when somebody waits, as of the last filling.
    pub(super) fn urgent_room(&self) -> u64 {
        match self.rate {
            None => u64::MAX,
            Some(_) => (self.level + self.burst()).max(0).unsigned_abs(),
        }
    }

    /// When a chunk's worth is there for bulk.
    pub(super) fn ready_at(&self) -> Time {
        let Some(rate) = self.rate else { return self.filled_at };
        let missing = (CHUNK_LEN_MAX as i64 - self.level).max(0).unsigned_abs();
        self.filled_at.saturating_add(time_of(missing, rate)).saturating_add(1)
    }

    /// Charges `len` bytes.
    pub(super) fn charge(&mut self, len: u64) {
        if self.rate.is_some() {
            self.level = self.level.saturating_sub_unsigned(len);
        }
    }

    /// Gives back `len` bytes, or charges that many more when it is negative.
    pub(super) fn give_back(&mut self, len: i64) {
        if self.rate.is_some() {
            self.level = self.level.saturating_add(len).min(self.burst());
        }
    }

    fn burst(&self) -> i64 {
        let burst = self.rate.unwrap_or(0) / BURST_PART;
        burst.clamp(CHUNK_LEN_MAX, BURST_LEN_MAX).cast_signed()
    }

    /// Adds what has dripped in until now.
    pub(super) fn fill(&mut self, now: Time) {
        let us = now.saturating_sub(self.filled_at);
        let Some(rate) = self.rate else {
            self.filled_at = now;
            return;
        };
        let gained = scaled(rate, us);
        if gained > 0 {
            // Less than a byte's time stays to be counted.
            self.filled_at = (self.filled_at + time_of(gained, rate)).min(now);
            self.level = self.level.saturating_add_unsigned(gained).min(self.burst());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::schedule::limits::SECOND;

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut bucket = Bucket::new(None, 0);
        bucket.charge(u64::MAX);
        assert_eq!(bucket.room(), u64::MAX);
        assert_eq!(bucket.urgent_room(), u64::MAX);
        assert_eq!(bucket.ready_at(), 0);
    }

    #[test]
    fn the_rate_holds_in_the_long_run() {
        let rate = 1 << 20;
        let (mut bucket, mut now, mut len) = (Bucket::new(Some(rate), 0), 0, 0u64);
        while now < 100 * SECOND {
            while bucket.room() > 0 {
                bucket.charge(100_000);
                bucket.give_back(30_000);
                len += 70_000;
            }
            let ready_at = bucket.ready_at();
            assert!(ready_at > now);
            now = ready_at;
            bucket.fill(now);
            assert!(bucket.room() >= CHUNK_LEN_MAX);
        }
        let wanted = 100 * rate;
        assert!(len > wanted * 99 / 100 && len < wanted * 101 / 100 + CHUNK_LEN_MAX, "{len}");
    }

    #[test]
    fn who_waits_may_borrow_a_burst() {
        let mut bucket = Bucket::new(Some(1 << 20), 0);
        bucket.charge(bucket.room());
        assert_eq!(bucket.room(), 0);
        assert_eq!(bucket.urgent_room(), CHUNK_LEN_MAX);
        bucket.charge(CHUNK_LEN_MAX);
        assert_eq!(bucket.urgent_room(), 0);
        assert_eq!(bucket.ready_at(), SECOND / 2 + 1);
    }

    #[test]
    fn a_rate_may_change() {
        let mut bucket = Bucket::new(None, 0);
        bucket.set_rate(Some(8 << 20), 5);
        assert_eq!(bucket.room(), 2 << 20);
        bucket.set_rate(Some(1), 5);
        assert_eq!(bucket.room(), CHUNK_LEN_MAX);
        bucket.set_rate(None, 5);
        assert_eq!(bucket.room(), u64::MAX);
    }
}
