//! Lets so many through at once: what is done behind it holds megabytes for each.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long one waits before it looks about.
const WAIT: Duration = Duration::from_secs(1);

/// A counter of free places.
pub(super) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place; free again when this goes.
pub(super) struct Place<'a> {
    gate: &'a Gate,
}

impl Gate {
    /// A gate with so many places.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), freed: Condvar::new() }
    }

    /// Waits for a place, and asks `goes_on` every second; `None` when it says no.
    pub(super) fn enter(&self, goes_on: &dyn Fn() -> bool) -> Option<Place<'_>> {
        let mut free = self.free.lock();
        while *free == 0 {
            if self.freed.wait_for(&mut free, WAIT).timed_out() && *free == 0 && !goes_on() {
                return None;
            }
        }
        *free -= 1;
        Some(Place { gate: self })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.gate.free.lock() += 1;
        self.gate.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_and_no_more() {
        let gate = Gate::new(2);
        let first = gate.enter(&|| true).expect("free");
        let _second = gate.enter(&|| true).expect("free");
        assert!(gate.enter(&|| false).is_none(), "it gave up");
        drop(first);
        assert!(gate.enter(&|| false).is_some());
    }
}
