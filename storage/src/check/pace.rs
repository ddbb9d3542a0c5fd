//! How fast and how long: a limit on bytes a second, a time to end, the person's wish to stop.

use std::thread;
use std::time::{Duration, Instant};

use super::VerifyOptions;
use crate::error::{Result, StoreError};
use crate::progress::Progress;

/// Longest pause between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// What was not used up is made up for in this time at most: after a slow stretch nothing runs at
/// many times the rate.
const CREDIT: Duration = Duration::from_secs(1);

/// Counts what is read and holds it back.
pub(super) struct Pace<'a> {
    progress: &'a dyn Progress,
    rate: Option<u64>,
    end: Option<Instant>,
    /// The next run will go on further than this one began: it may end for the time's sake.
    has_moved: bool,
    /// When the next byte may be read.
    ready: Instant,
    done: u64,
}

impl<'a> Pace<'a> {
    pub(super) fn new(options: &VerifyOptions, progress: &'a dyn Progress) -> Self {
        let now = Instant::now();
        let end = options.time.and_then(|time| now.checked_add(time));
        let rate = options.rate.filter(|rate| *rate > 0);
        Self { progress, rate, end, has_moved: false, ready: now, done: 0 }
    }

    /// Bytes that were read.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Says that the place has been moved on.
    pub(super) fn moved(&mut self) {
        self.has_moved = true;
    }

    /// Counts `len` bytes that were read, and waits until the next may be.
    ///
    /// # Errors
    /// [`StoreError::Interrupted`] when it is time to end.
    pub(super) fn spend(&mut self, len: u64) -> Result<()> {
        self.done += len;
        self.progress.advance(len);
        if let Some(rate) = self.rate {
            let now = Instant::now();
            let from = now.checked_sub(CREDIT).map_or(self.ready, |least| self.ready.max(least));
            self.ready = from + Duration::from_secs_f64(len as f64 / rate as f64);
        }
        loop {
            let now = Instant::now();
            let is_over = self.has_moved && self.end.is_some_and(|end| now >= end);
            if is_over || self.progress.interrupted() {
                return Err(StoreError::Interrupted);
            }
            let Some(wait) = self.ready.checked_duration_since(now).filter(|w| !w.is_zero()) else {
                return Ok(());
            };
            thread::park_timeout(wait.min(LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::NoProgress;

    #[test]
    fn no_more_a_second_than_was_said() {
        let options = VerifyOptions { rate: Some(1 << 20), ..VerifyOptions::default() };
        let mut pace = Pace::new(&options, &NoProgress);
        let began = Instant::now();
        for _ in 0..32 {
            pace.spend(8 << 10).expect("it goes on");
        }
        // A quarter of a second's bytes; the clock is not the test's to bound from above.
        assert!(began.elapsed() >= Duration::from_millis(240), "{:?}", began.elapsed());
        assert_eq!(pace.done(), 256 << 10);
    }

    #[test]
    fn it_ends_when_the_time_is_over() {
        let options = VerifyOptions { time: Some(Duration::ZERO), ..VerifyOptions::default() };
        let mut pace = Pace::new(&options, &NoProgress);
        pace.spend(1).expect("a run moves on at least once");
        pace.moved();
        assert!(matches!(pace.spend(1), Err(StoreError::Interrupted)));
    }
}
