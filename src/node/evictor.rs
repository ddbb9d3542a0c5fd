//! Keeps content of repositories that are filled as they are read within its limit, in the
//! background: looks now and then, removes in small steps.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use mega_storage::{Progress, Store, StoreError, Unit};

use super::NodeError;

/// How often it looks: a few numbers are compared.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How long it waits when what would have to go is in use.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// The thread. It ends with this, between two steps.
pub(super) struct Evictor {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Evictor {
    /// Starts to look.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(store: &Store) -> Result<Self, NodeError> {
        let (stop, stopped) = bounded(0);
        let store = store.clone();
        let thread = thread::Builder::new()
            .name("evictor".to_owned())
            .spawn(move || run(&store, &stopped))
            .map_err(|e| NodeError::io("starting a thread", e))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Evictor {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that removes content panicked: a bug");
        }
    }
}

fn run(store: &Store, stopped: &Receiver<()>) {
    let mut pause = LOOK_PAUSE;
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
        pause = LOOK_PAUSE;
        let looked = store.is_cache_over().and_then(|is_over| match is_over {
            true => store.evict(&UntilStopped(stopped)).map(Some),
            false => Ok(None),
        });
        match looked {
            Ok(None) => {}
            Ok(Some(report)) => {
                tracing::info!(bytes = report.len, files = report.file_count, "content removed");
                if report.is_short {
                    pause = SHORT_PAUSE;
                }
            }
            Err(StoreError::Interrupted) => return,
            Err(error) => {
                tracing::warn!(%error, "content over the limit is not removed");
                pause = SHORT_PAUSE;
            }
        }
    }
}

struct UntilStopped<'a>(&'a Receiver<()>);

impl Progress for UntilStopped<'_> {
    fn start(&self, _: &'static str, _: Option<u64>, _: Unit) {}

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Disconnected))
    }
}
