//! How fast a peer delivers, measured over stretches of about a round trip.
//!
//! The clock starts with the first chunk after a pause and counts what comes after it, so that the
//! wait for the first one is not taken for slowness. A peer that was not asked for all that it
//! could have sent proves no more than what it sent: such a stretch may raise the rate, not lower
//! it.

use super::event::Time;
use super::limits::{METER_US_MAX, METER_US_MIN, MS, SECOND};

/// Shortest stretch that counts when the peer has run dry.
const DRY_US_MIN: Time = 2 * MS;

/// So many stretches without growth say that the link's rate is found.
const FLAT_ENOUGH: u8 = 3;

/// Measures one peer.
#[derive(Clone, Default, Debug)]
pub(super) struct Meter {
    /// Bytes a second; 0 while nothing is known.
    rate: u64,
    since: Option<Time>,
    len: u64,
    has_slack: bool,
    /// Full stretches in a row that were not much faster than the rate.
    flat: u8,
}

impl Meter {
    /// Bytes a second; `None` while nothing is known.
    pub(super) fn rate(&self) -> Option<u64> {
        (self.rate > 0).then_some(self.rate)
    }

    /// Whether the rate may be far from what the link can do: what is in flight has limited it.
    pub(super) fn is_growing(&self) -> bool {
        self.flat < FLAT_ENOUGH
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// `len` bytes came.
    pub(super) fn came(&mut self, now: Time, len: u64, rtt_us: Time) {
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };
        self.len += len;
        let us = now.saturating_sub(since);
        if us >= rtt_us.clamp(METER_US_MIN, METER_US_MAX) {
            self.sample(us);
            self.since = Some(now);
        }
    }

    /// More could have been asked for, had there been more to ask for.
    pub(super) fn slack(&mut self) {
        self.has_slack = true;
    }

    /// All that was asked for has come.
    pub(super) fn dry(&mut self, now: Time) {
        let us = now.saturating_sub(self.since.unwrap_or(now));
        self.has_slack = true;
        if us >= DRY_US_MIN && self.len > 0 {
            self.sample(us);
        }
        self.since = None;
        self.len = 0;
    }

    fn sample(&mut self, us: Time) {
        let sample = per_second(self.len, us).max(1);
        let is_flat = sample < self.rate.saturating_add(self.rate / 4);
        if is_flat && !self.has_slack {
            self.flat = self.flat.saturating_add(1).min(FLAT_ENOUGH);
        } else if !is_flat && self.is_growing() {
            self.flat = 0;
        }
        if self.rate == 0 || (!is_flat && self.is_growing()) {
            self.rate = sample;
        } else if sample >= self.rate {
            self.rate += (sample - self.rate) / 2;
        } else if !self.has_slack {
            // A longer stretch weighs more.
            let weight = us.clamp(SECOND / 8, SECOND / 2);
            self.rate -= scaled(self.rate - sample, weight);
        }
        self.len = 0;
        self.has_slack = false;
    }
}

/// `len` bytes in `us` as bytes a second.
pub(super) fn per_second(len: u64, us: Time) -> u64 {
    clipped(u128::from(len) * u128::from(SECOND) / u128::from(us.max(1)))
}

/// What comes in `us` at `rate` bytes a second.
pub(super) fn scaled(rate: u64, us: Time) -> u64 {
    clipped(u128::from(rate) * u128::from(us) / u128::from(SECOND))
}

/// How long `len` bytes take at `rate` bytes a second.
pub(super) fn time_of(len: u64, rate: u64) -> Time {
    clipped(u128::from(len) * u128::from(SECOND) / u128::from(rate.max(1)))
}

fn clipped(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Time = 50 * MS;

    /// Chunks of 64 KiB, one every `us`.
    fn feed(meter: &mut Meter, now: &mut Time, us: Time, count: usize) {
        for _ in 0..count {
            *now += us;
            meter.came(*now, 64 << 10, RTT);
        }
    }

    #[test]
    fn a_rate_is_found_and_followed() {
        let (mut meter, mut now) = (Meter::default(), 0);
        assert_eq!(meter.rate(), None);
        feed(&mut meter, &mut now, 5_000, 200);
        let fast = meter.rate().unwrap();
        assert!((12_900_000..13_300_000).contains(&fast), "{fast}");
        feed(&mut meter, &mut now, 50_000, 200);
        let slow = meter.rate().unwrap();
        assert!((1_300_000..1_400_000).contains(&slow), "{slow}");
        feed(&mut meter, &mut now, 5_000, 200);
        assert!(meter.rate().unwrap() > 12_000_000);
    }

    #[test]
    fn light_use_does_not_look_slow() {
        let (mut meter, mut now) = (Meter::default(), 0);
        feed(&mut meter, &mut now, 5_000, 200);
        let fast = meter.rate().unwrap();
        for _ in 0..100 {
            meter.slack();
            feed(&mut meter, &mut now, 60_000, 1);
        }
        assert_eq!(meter.rate(), Some(fast));
        meter.dry(now);
        feed(&mut meter, &mut now, 5_000_000, 1);
        assert_eq!(meter.rate(), Some(fast), "the pause is no stretch");
    }

    #[test]
    fn a_short_burst_is_enough_to_begin_with() {
        let (mut meter, mut now) = (Meter::default(), 0);
        feed(&mut meter, &mut now, 5_000, 2);
        assert_eq!(meter.rate(), None);
        meter.dry(now);
        assert_eq!(meter.rate(), Some(per_second(64 << 10, 5_000)));
    }

    #[test]
    fn arithmetic_holds_at_the_ends() {
        assert_eq!(per_second(u64::MAX, 0), u64::MAX);
        assert_eq!(scaled(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(time_of(u64::MAX, 0), u64::MAX);
        assert_eq!(time_of(1 << 20, 1 << 20), SECOND);
        assert_eq!(scaled(1 << 20, SECOND), 1 << 20);
    }
}
