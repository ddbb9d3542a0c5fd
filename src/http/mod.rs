//! The store over HTTP: git's smart protocol, LFS, and routes of our own, from one table.
//!
//! Async only at the rim: a connection is a task, a request is one blocking call on a thread, and
//! bodies cross through bounded channels (`bridge`). What a route is, what it needs and who answers
//! it stands in one table (`routes`), from which the server, its OpenAPI document and the test that
//! walks every route as every kind of caller are made.
//!
//! Invariants: no handler runs before its caller was admitted (`call`); what a caller may not see
//! looks like what is not there; an answer that failed in the middle is broken off and never looks
//! whole; everything that a client can send or hold has a limit (`limits`).

mod access;
mod answer;
mod ask;
mod bridge;
mod call;
pub mod client;
mod error;
mod files;
mod git;
mod guard;
mod host;
mod lfs;
mod limits;
mod listen;
mod metrics;
mod multipart;
mod objects;
mod openapi;
mod ranges;
mod routes;
pub mod secret;
mod serve;
mod server;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mega_storage::Store;
use tokio::sync::Semaphore;

use crate::audit::Audit;
use crate::lfs::server::slices::SliceCache;
pub use limits::Limits;
pub use listen::Server;
pub use metrics::{MoreSeries, Series};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Certificate chain and key, both PEM; without them nothing is encrypted.
    pub tls: Option<TlsFiles>,
    /// Nothing may be changed.
    pub is_read_only: bool,
    /// Limits.
    pub limits: Limits,
}

/// Where the certificate is.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate and those that it was signed with, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others could reach it, and everything would be open to them.
    #[error("{address} can be reached from other machines, and there is no access token yet")]
    NoTokens {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate or its key is not good.
    #[error("{path}: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] mega_storage::StoreError),
}

/// What the server has for all requests.
pub struct Shared {
    store: Store,
    is_read_only: bool,
    limits: Limits,
    metrics: metrics::Metrics,
    more_series: OnceLock<Box<MoreSeries>>,
    audit: Arc<Audit>,
    slices: SliceCache,
    requests: Arc<Semaphore>,
    packs: Arc<Semaphore>,
    /// Work stops at its next safe point.
    ends_now: Arc<AtomicBool>,
    /// No more requests should come.
    is_ending: AtomicBool,
    started: Instant,
}

impl Shared {
    fn new(store: &Store, audit: &Arc<Audit>, options: &ServeOptions) -> Self {
        let limits = options.limits;
        Self {
            store: store.clone(),
            is_read_only: options.is_read_only,
            limits,
            metrics: metrics::Metrics::new(routes::ROUTES.len()),
            more_series: OnceLock::new(),
            audit: audit.clone(),
            slices: SliceCache::default(),
            requests: Arc::new(Semaphore::new(limits.requests_max)),
            packs: Arc::new(Semaphore::new(limits.packs_max)),
            ends_now: Arc::default(),
            is_ending: AtomicBool::new(false),
            started: Instant::now(),
        }
    }
}

/// Seconds since 1970.
fn now_unix() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
