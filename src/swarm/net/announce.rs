//! When which key is announced again: spread over the interval, so that the network sees a trickle.
//!
//! Kademlia's own job repeats all keys of a node at once. Here each key has its own time, and with
//! more keys than the interval has room for, the interval grows: never more than one question in
//! [`GAP`] once everything has been announced the first time.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use libp2p::kad::RecordKey;

use super::limits::OWN_KEYS_MAX;

/// Shortest time between two announcements that only repeat.
const GAP: Duration = Duration::from_millis(1250);
/// How far from its interval a key's time may be, of 256.
const JITTER: u32 = 51;

/// The keys that this node announces.
#[derive(Default)]
pub(super) struct Announcements {
    due: BTreeMap<(Instant, u64), RecordKey>,
    known: HashMap<RecordKey, (Instant, u64)>,
    next_number: u64,
    last_repeat: Option<Instant>,
}

impl Announcements {
    /// Adds a key; whether it is new. The first announcement is due at once.
    pub(super) fn add(&mut self, key: RecordKey, now: Instant) -> bool {
        if self.known.contains_key(&key) || self.known.len() >= OWN_KEYS_MAX {
            return false;
        }
        self.set(key, now);
        true
    }

    /// Takes a key out; whether it was there.
    pub(super) fn remove(&mut self, key: &RecordKey) -> bool {
        let Some(place) = self.known.remove(key) else { return false };
        self.due.remove(&place);
        true
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    fn set(&mut self, key: RecordKey, due: Instant) {
        self.next_number += 1;
        let place = (due, self.next_number);
        self.due.insert(place, key.clone());
        self.known.insert(key, place);
    }

    /// The next key that is due, which counts as announced now. `is_first` says whether it has
    /// never been: those go as fast as the network takes them, repeats keep their distance.
    pub(super) fn take(
        &mut self,
        now: Instant,
        interval: Duration,
        is_first: impl Fn(&RecordKey) -> bool,
    ) -> Option<RecordKey> {
        let (&place, key) = self.due.first_key_value()?;
        if place.0 > now {
            return None;
        }
        let key = key.clone();
        if !is_first(&key) {
            if self.last_repeat.is_some_and(|last| now < last + GAP) {
                return None;
            }
            self.last_repeat = Some(now);
        }
        self.due.remove(&place);
        let jitter = u32::from(key.as_ref().last().copied().unwrap_or(0)) * 2 * JITTER / 255;
        let interval = interval * (256 - JITTER + jitter) / 256;
        self.set(key.clone(), now + interval);
        Some(key)
    }

    /// Announces a key again as soon as it can be: its announcement failed.
    pub(super) fn again(&mut self, key: &RecordKey, at: Instant) {
        if self.remove(key) {
            self.set(key.clone(), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_first_go_at_once_and_repeats_trickle() {
        let (mut keys, start) = (Announcements::default(), Instant::now());
        for number in 0..2000u32 {
            assert!(keys.add(RecordKey::new(&number.to_be_bytes()), start));
            assert!(!keys.add(RecordKey::new(&number.to_be_bytes()), start));
        }
        let (mut seen, mut times) = (HashSet::new(), Vec::new());
        let interval = Duration::from_secs(600);
        while let Some(key) = keys.take(start, interval, |key| !seen.contains(key)) {
            seen.insert(key);
        }
        assert_eq!(seen.len(), 2000);
        let mut repeated = HashSet::new();
        for step in 0..30_000u64 {
            let now = start + Duration::from_millis(step * 100);
            while let Some(key) = keys.take(now, interval, |_| false) {
                times.push(now);
                repeated.insert(key);
            }
        }
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= GAP), "less than one a second");
        assert!(repeated.len() > 1900, "{} of 2000 came again", repeated.len());
    }

    #[test]
    fn a_key_that_went_is_not_announced() {
        let (mut keys, now) = (Announcements::default(), Instant::now());
        let key = RecordKey::new(b"key");
        keys.add(key.clone(), now);
        assert!(keys.remove(&key));
        assert!(!keys.remove(&key));
        assert_eq!(keys.take(now, Duration::from_secs(1), |_| true), None);
        keys.again(&key, now);
        assert_eq!(keys.len(), 0);
    }
}
