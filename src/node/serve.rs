//! The server of the node: its runtime, its start, its end.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select};
use mega_storage::Store;
use tokio::runtime::{Builder, Runtime};

use super::{NodeError, NodeSwarm};
use crate::audit::Audit;
use crate::http::{ServeOptions, Server};

/// How long threads that were told to stop may take after the end.
const STOP_WAIT: Duration = Duration::from_millis(500);

/// A running server.
pub struct Serving {
    runtime: Runtime,
    server: Server,
}

impl Serving {
    /// Makes the runtime, listens, and begins to answer. Writes are noted in `audit`.
    ///
    /// # Errors
    /// [`NodeError::Serve`].
    pub fn start(
        store: &Store,
        audit: &Arc<Audit>,
        options: &ServeOptions,
    ) -> Result<Self, NodeError> {
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .thread_name("http")
            // One for each request that is admitted, and some for names and the like.
            .max_blocking_threads(options.limits.requests_max + 8)
            .build()
            .map_err(|error| NodeError::io("starting threads for the server", error))?;
        let server = runtime.block_on(Server::start(store, audit, options))?;
        Ok(Self { runtime, server })
    }

    /// Shows how the swarm does at `/metrics`.
    pub fn show_swarm(&self, swarm: Arc<NodeSwarm>) {
        self.server.show_more(Box::new(move || swarm.series()));
    }

    /// Where clients find it, without a slash at the end.
    pub fn urls(&self) -> Vec<String> {
        self.server.urls()
    }

    /// Takes no more requests and waits for those that run; a word from `at_once` ends them too.
    pub fn end<T>(self, at_once: &Receiver<T>) {
        let Self { runtime, server } = self;
        let end_now = server.end_now();
        let (send, ended) = bounded(1);
        runtime.spawn(async move {
            server.end().await;
            // Whoever waited may have been told to wait no longer.
            let _ = send.send(());
        });
        select! {
            recv(ended) -> _ => {}
            recv(at_once) -> _ => tracing::warn!("running transfers are broken off"),
        }
        end_now();
        runtime.shutdown_timeout(STOP_WAIT);
    }
}
