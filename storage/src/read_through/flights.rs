//! One fetch however many want it: who comes first fetches, the others wait for what comes of it.
//!
//! Unlike in a cache a failure is shared too: with a dead source, ten readers wait once and not ten
//! times. Nothing is remembered after the landing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// Why something did not come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// Every source says that it does not have it.
    Absent,
    /// What the sources said.
    Failed(Arc<str>),
}

/// A fetch under way.
pub(super) struct Flight<V> {
    outcome: Mutex<Option<Result<V, Failure>>>,
    landed: Condvar,
}

/// What others bring.
pub(super) type Others<K, V> = Vec<(K, Arc<Flight<V>>)>;

/// The fetches under way, by what they bring.
pub(super) struct Flights<K, V> {
    flying: Mutex<HashMap<K, Arc<Flight<V>>>>,
}

impl<V: Clone> Flight<V> {
    /// What comes of it; `None` when `deadline` passes first.
    pub(super) fn wait(&self, deadline: Instant) -> Option<Result<V, Failure>> {
        let mut outcome = self.outcome.lock();
        while outcome.is_none() {
            if self.landed.wait_until(&mut outcome, deadline).timed_out() {
                break;
            }
        }
        outcome.clone()
    }

    fn land(&self, outcome: Result<V, Failure>) {
        *self.outcome.lock() = Some(outcome);
        self.landed.notify_all();
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self { flying: Mutex::new(HashMap::new()) }
    }

    /// The flight for `key`, and whether the caller has to bring it to its end.
    pub(super) fn board(&self, key: K) -> (Arc<Flight<V>>, bool) {
        let mut flying = self.flying.lock();
        if let Some(flight) = flying.get(&key) {
            return (flight.clone(), false);
        }
        let flight = Arc::new(Flight { outcome: Mutex::new(None), landed: Condvar::new() });
        flying.insert(key, flight.clone());
        (flight, true)
    }

    /// Boards all of `keys`; those whose flights the caller has to end, and the flights of others.
    pub(super) fn board_all(&self, keys: &[K]) -> (Boarded<'_, K, V>, Others<K, V>) {
        let mut boarded = Boarded { flights: self, keys: Vec::new() };
        let mut others = Vec::new();
        for key in keys {
            match self.board(*key) {
                (_, true) => boarded.keys.push(*key),
                (flight, false) => others.push((*key, flight)),
            }
        }
        (boarded, others)
    }

    /// Ends the flight for `key` and tells those who wait.
    pub(super) fn land(&self, key: &K, outcome: Result<V, Failure>) {
        let Some(flight) = self.flying.lock().remove(key) else { return };
        flight.land(outcome);
    }

    /// Ends `flight` without an outcome, unless it has landed: `key` may fly again by now.
    pub(super) fn give_up(&self, key: &K, flight: &Arc<Flight<V>>) {
        let mut flying = self.flying.lock();
        if flying.get(key).is_some_and(|found| Arc::ptr_eq(found, flight)) {
            flying.remove(key);
            flight.land(Err(Failure::Failed("the fetch was given up".into())));
        }
    }
}

/// Flights that their owner has to end; those left when this goes fail.
pub(super) struct Boarded<'a, K: Copy + Eq + Hash, V: Clone> {
    flights: &'a Flights<K, V>,
    keys: Vec<K>,
}

impl<K: Copy + Eq + Hash, V: Clone> Boarded<'_, K, V> {
    /// What is to be fetched.
    pub(super) fn keys(&self) -> &[K] {
        &self.keys
    }

    /// Ends all flights, each with its own outcome.
    pub(super) fn land(mut self, mut outcome: impl FnMut(&K) -> Result<V, Failure>) {
        for key in std::mem::take(&mut self.keys) {
            self.flights.land(&key, outcome(&key));
        }
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Drop for Boarded<'_, K, V> {
    fn drop(&mut self) {
        for key in &self.keys {
            self.flights.land(key, Err(Failure::Failed("the fetch was given up".into())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_a_flight_that_landed_leaves_the_next_one_alone() {
        let flights = Flights::<u8, u8>::new();
        let (first, _) = flights.board(7);
        flights.land(&7, Ok(1));
        let (second, is_ours) = flights.board(7);
        assert!(is_ours);
        flights.give_up(&7, &first);
        assert!(!flights.board(7).1, "still flying");
        flights.give_up(&7, &second);
        let soon = Instant::now() + std::time::Duration::from_secs(20);
        assert!(matches!(second.wait(soon), Some(Err(Failure::Failed(_)))));
        assert_eq!(first.wait(soon), Some(Ok(1)));
    }
}
