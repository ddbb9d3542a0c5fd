//! Threads that wait for the network, and how all of them are told at once that it ends.
//!
//! Invariant: after [`Waits::end`] nobody begins to wait. Who waits in a runtime while that is shut
//! down finds its timers gone, and panics: so it is shut down when nobody does any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::NetError;

/// Where to wait for the network: all clones are one.
#[derive(Clone)]
pub struct Waits {
    runtime: Handle,
    shared: Arc<Shared>,
}

struct Shared {
    ended: watch::Sender<bool>,
    waiting: Mutex<usize>,
    nobody: Condvar,
}

/// One that waits.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut count = self.0.waiting.lock();
        *count -= 1;
        if *count == 0 {
            self.0.nobody.notify_all();
        }
    }
}

impl Waits {
    pub(super) fn new(runtime: &Handle) -> Self {
        let (ended, waiting, nobody) = (watch::Sender::new(false), Mutex::new(0), Condvar::new());
        let shared = Arc::new(Shared { ended, waiting, nobody });
        Self { runtime: runtime.clone(), shared }
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Waits for some work of the network's. Blocks; not for tasks.
    ///
    /// # Errors
    /// [`NetError::Stopped`] at once when the network ends.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, NetError> {
        let _waiting = self.enter()?;
        let mut ended = self.shared.ended.subscribe();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => Err(NetError::Stopped),
                done = work => Ok(done),
            }
        })
    }

    fn enter(&self) -> Result<Waiting<'_>, NetError> {
        let mut count = self.shared.waiting.lock();
        if self.has_ended() {
            return Err(NetError::Stopped);
        }
        *count += 1;
        Ok(Waiting(&self.shared))
    }

    /// Whether the network has ended.
    pub fn has_ended(&self) -> bool {
        *self.shared.ended.borrow()
    }

    /// Ends all waiting, and waits until nobody does; for `most` at the longest. Whether nobody
    /// does.
    pub fn end(&self, most: Duration) -> bool {
        let deadline = Instant::now() + most;
        let mut count = self.shared.waiting.lock();
        self.shared.ended.send_replace(true);
        while *count > 0 {
            if self.shared.nobody.wait_until(&mut count, deadline).timed_out() {
                return *count == 0;
            }
        }
        true
    }

    /// How many wait now.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        *self.shared.waiting.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn who_waits_is_woken_and_the_runtime_may_go() {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let waits = Waits::new(runtime.handle());
        assert_eq!(waits.block_on(async { 7 }), Ok(7));
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let waits = waits.clone();
                // A timer of the runtime's, which panics when that goes under it.
                let long = async {
                    let never = std::future::pending::<()>();
                    let _ = tokio::time::timeout(Duration::from_secs(600), never).await;
                };
                thread::spawn(move || waits.block_on(long))
            })
            .collect();
        let asked = Instant::now();
        while waits.count() < 4 {
            assert!(asked.elapsed() < Duration::from_secs(60), "they do not wait");
            thread::yield_now();
        }
        let asked = Instant::now();
        assert!(waits.end(Duration::from_secs(60)));
        runtime.shutdown_timeout(Duration::from_secs(60));
        for thread in waiting {
            assert_eq!(thread.join().expect("no panic"), Err(NetError::Stopped));
        }
        assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
        assert_eq!(waits.block_on(async { 7 }), Err(NetError::Stopped));
    }

    #[test]
    fn who_does_not_give_up_is_not_waited_for_for_ever() {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let waits = Waits::new(runtime.handle());
        let _stays = waits.enter().expect("it has not ended");
        assert!(!waits.end(Duration::from_millis(20)));
        assert!(waits.has_ended());
    }
}
