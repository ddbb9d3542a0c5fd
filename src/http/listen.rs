//! Listeners and their connections, until the server ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use mega_storage::Store;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::guard::Guarded;
use super::limits::{HEAD_LEN_MAX, HEADERS_MAX, STREAMS_MAX};
use super::metrics::{Entered, Gauge};
use super::serve::{self, Connection};
use super::{MoreSeries, ServeError, ServeOptions, Shared, now_unix, tls};
use crate::audit::Audit;

/// Pause after a connection could not be taken: out of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a connection gets that is one too many.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    is_tls: bool,
    accepting: Vec<JoinHandle<()>>,
    connections: Arc<GracefulShutdown>,
}

impl Server {
    /// Listens and begins to answer; writes are noted in `audit`. Call it on the runtime that shall
    /// do the work; it reads the store, so nothing else should wait for that thread.
    ///
    /// # Errors
    /// [`ServeError::NoTokens`] for an address that others can reach while nobody has a token that
    /// is live; [`ServeError::Listen`], [`ServeError::Tls`].
    pub async fn start(
        store: &Store,
        audit: &Arc<Audit>,
        options: &ServeOptions,
    ) -> Result<Self, ServeError> {
        check_tokens(store, &options.listen)?;
        let acceptor = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let mut server = Self {
            shared: Arc::new(Shared::new(store, audit, options)),
            addresses: Vec::new(),
            is_tls: acceptor.is_some(),
            accepting: Vec::new(),
            connections: Arc::default(),
        };
        let mut listeners = Vec::new();
        for &address in &options.listen {
            let failed = |source| ServeError::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            server.addresses.push(listener.local_addr().map_err(failed)?);
            listeners.push(listener);
        }
        for (listener, address) in listeners.into_iter().zip(server.addresses.clone()) {
            let door = Door {
                shared: server.shared.clone(),
                acceptor: acceptor.clone(),
                is_loopback: address.ip().is_loopback(),
            };
            let accepting = accept_all(listener, Arc::new(door), server.connections.clone());
            server.accepting.push(tokio::spawn(accepting));
        }
        Ok(server)
    }

    /// Shows more numbers at `/metrics`; those that were given first stay.
    pub fn show_more(&self, more: Box<MoreSeries>) {
        let _ = self.shared.more_series.set(more);
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The URLs that clients use, without a slash at the end.
    pub fn urls(&self) -> Vec<String> {
        let scheme = if self.is_tls { "https" } else { "http" };
        self.addresses.iter().map(|address| format!("{scheme}://{address}")).collect()
    }

    /// Makes running work stop at its next safe point, and answers nothing more.
    pub fn end_now(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = self.shared.clone();
        move || shared.ends_now.store(true, Ordering::Relaxed)
    }

    /// Takes no more connections and no more requests; returns when the running ones have ended.
    pub async fn end(self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        for task in self.accepting {
            task.abort();
            // Gone before the next listener of this address comes.
            let _ = task.await;
        }
        if let Some(connections) = Arc::into_inner(self.connections) {
            connections.shutdown().await;
        }
    }
}

fn check_tokens(store: &Store, listen: &[SocketAddr]) -> Result<(), ServeError> {
    let Some(&address) = listen.iter().find(|address| !address.ip().is_loopback()) else {
        return Ok(());
    };
    let now = now_unix();
    match store.tokens().list()?.iter().any(|token| token.is_live(now)) {
        true => Ok(()),
        false => Err(ServeError::NoTokens { address }),
    }
}

/// What one listener has.
struct Door {
    shared: Arc<Shared>,
    acceptor: Option<TlsAcceptor>,
    is_loopback: bool,
}

async fn accept_all(listener: TcpListener, door: Arc<Door>, connections: Arc<GracefulShutdown>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => take(&door, stream, from, connections.watcher()),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                let _ = tokio::time::timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
            }
        }
    }
}

/// Starts the task of a connection, unless there are too many.
fn take(door: &Arc<Door>, stream: TcpStream, from: SocketAddr, watcher: Watcher) {
    let metrics = &door.shared.metrics;
    metrics.connections.fetch_add(1, Ordering::Relaxed);
    if metrics.connections_open.count() >= door.shared.limits.connections_max as u64 {
        metrics.connections_refused.fetch_add(1, Ordering::Relaxed);
        if door.acceptor.is_none() {
            tokio::spawn(send_away(stream));
        }
        return;
    }
    let entered = metrics.connections_open.enter();
    // Small answers should not wait for more bytes.
    let _ = stream.set_nodelay(true);
    tokio::spawn(run(door.clone(), stream, from, watcher, entered));
}

async fn send_away(mut stream: TcpStream) {
    let sent = async {
        let _ = stream.write_all(TOO_MANY).await;
        let _ = stream.shutdown().await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), sent).await;
}

async fn run(
    door: Arc<Door>,
    stream: TcpStream,
    from: SocketAddr,
    watcher: Watcher,
    entered: Entered,
) {
    let limits = &door.shared.limits;
    let open = Gauge::default();
    let (idle_max, stall_max) = (limits.head_timeout, limits.answer_timeout);
    let stream = Guarded::new(stream, open.clone(), idle_max, stall_max);
    let is_tls = door.acceptor.is_some();
    let connection = Connection { from, is_tls, is_loopback: door.is_loopback, open };
    match &door.acceptor {
        None => speak(&door, stream, connection, watcher).await,
        Some(acceptor) => match tokio::time::timeout(idle_max, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => speak(&door, stream, connection, watcher).await,
            Ok(Err(error)) => tracing::debug!(%from, %error, "no TLS"),
            Err(_) => tracing::debug!(%from, "no TLS in time"),
        },
    }
    drop(entered);
}

/// Speaks HTTP until the connection or the server ends.
async fn speak<S>(door: &Door, stream: S, connection: Connection, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &door.shared.limits;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_LEN_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_LEN_MAX as u32)
        .keep_alive_interval(limits.head_timeout)
        .keep_alive_timeout(limits.head_timeout);
    let from = connection.from;
    let (shared, connection) = (door.shared.clone(), Arc::new(connection));
    let service = service_fn(move |request| {
        let answer = serve::answer(shared.clone(), connection.clone(), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let spoken = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(spoken).await {
        tracing::debug!(%from, error, "a connection broke");
    }
}
