//! Bytes a second, over the last few.

use parking_lot::Mutex;

use crate::repos::now_unix;

/// Seconds that are remembered, with the one that is running.
const SLOTS: usize = 6;

/// Counts bytes by the second in which they came.
#[derive(Default)]
pub(super) struct Meter(Mutex<[(u64, u64); SLOTS]>);

impl Meter {
    pub(super) fn add(&self, len: u64) {
        self.add_at(now_unix(), len);
    }

    /// Bytes a second in the last full seconds.
    pub(super) fn rate(&self) -> u64 {
        self.rate_at(now_unix())
    }

    fn add_at(&self, now: u64, len: u64) {
        let mut slots = self.0.lock();
        let index = usize::try_from(now % SLOTS as u64).unwrap_or(0);
        let Some((second, sum)) = slots.get_mut(index) else { return };
        if *second != now {
            (*second, *sum) = (now, 0);
        }
        *sum += len;
    }

    fn rate_at(&self, now: u64) -> u64 {
        let full = SLOTS as u64 - 1;
        let slots = self.0.lock();
        let is_late = |second: u64| second < now && second + full >= now;
        slots.iter().filter(|(second, _)| is_late(*second)).map(|(_, sum)| sum).sum::<u64>() / full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_long_ago_counts_no_more() {
        let meter = Meter::default();
        for second in 100..105 {
            meter.add_at(second, 1000);
        }
        meter.add_at(105, 7);
        assert_eq!(meter.rate_at(105), 1000, "the second that runs is not over");
        assert_eq!(meter.rate_at(106), (4 * 1000 + 7) / 5);
        assert_eq!(meter.rate_at(111), 0);
        meter.add_at(111, 500);
        assert_eq!(meter.rate_at(112), 100);
    }
}
