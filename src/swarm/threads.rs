//! Threads of a node's part in the swarm: they are told to end by what they wait for, and then
//! waited for, so that none of them meets a store or a runtime that has gone.

use std::convert::Infallible;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use libp2p::PeerId;

/// Letters of a peer's id in the names of its threads; Linux shows 15 bytes of a name.
const TAIL_LEN: usize = 8;

/// What a thread of this peer is called, so that those of two nodes in one process are told apart.
pub fn name_of(what: &str, peer: &PeerId) -> String {
    let id = peer.to_base58();
    let tail = id.get(id.len().saturating_sub(TAIL_LEN)..).unwrap_or_default();
    format!("{what}-{tail}")
}

/// Some threads that end together.
pub struct Threads {
    /// Each thread has a clone: the channel ends with the last of them.
    running: Option<Sender<Infallible>>,
    over: Receiver<Infallible>,
    handles: Vec<JoinHandle<()>>,
}

impl Default for Threads {
    fn default() -> Self {
        let (running, over) = bounded(0);
        Self { running: Some(running), over, handles: Vec::new() }
    }
}

impl Threads {
    /// Starts one more.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn start(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let running = self.running.clone();
        let thread = thread::Builder::new().name(name).spawn(move || {
            let _running = running;
            run();
        });
        self.handles.push(thread?);
        Ok(())
    }

    /// Waits until all have ended, which somebody has told them to do; for `most` at the longest.
    /// Whether they have.
    pub fn join(&mut self, most: Duration) -> bool {
        self.running = None;
        if self.over.recv_timeout(most) == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        for handle in self.handles.drain(..) {
            // A panic was told where it happened.
            let _ = handle.join();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn they_are_waited_for_and_not_for_ever() {
        let (tell, told) = bounded::<()>(0);
        let mut threads = Threads::default();
        for number in 0..3 {
            let told = told.clone();
            let run = move || assert!(told.recv().is_err());
            let started = threads.start(format!("t{number}"), run);
            started.expect("started");
        }
        assert!(!threads.join(Duration::from_millis(20)), "nobody has told them");
        drop(tell);
        assert!(threads.join(Duration::from_secs(60)));
        let again = Instant::now();
        assert!(threads.join(Duration::from_secs(60)) && again.elapsed() < Duration::from_secs(9));
    }

    #[test]
    fn a_name_fits_what_the_system_shows() {
        let peer = PeerId::random();
        let name = name_of("follow", &peer);
        assert!(name.len() <= 15 && peer.to_base58().ends_with(&name["follow-".len()..]), "{name}");
    }
}
