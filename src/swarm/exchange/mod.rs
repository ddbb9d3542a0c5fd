//! Talking to peers: asking them, answering them. [`Swarm`] is what the rest of the program holds.
//!
//! ```text
//! readers ── Fetcher ── Swarm ─┐                    ┌─ net ── streams, DHT
//!                              ├─ conductor (task) ─┤
//!                    schedule ─┘                    └─ lane (asks), serving (answers), verify
//! ```
//!
//! Each end opens two streams for what it asks, one for what somebody waits for and one for the
//! rest, and keeps them. A private repository's content is asked for and served by the same rules.

mod conductor;
mod git_stream;
mod lane;
mod limits;
mod message;
mod peers;
mod serving;
mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use mega_storage::{ChunkSpan, FileId, RepoKey};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use conductor::{Conductor, Parts};
pub use git_stream::{GitServer, GitStream};
use limits::CALL_TIME;
pub use limits::GIT_STREAMS_MAX;
pub(in crate::swarm) use message::Told;
use message::{Message, Want};
use serving::Serving;
use verify::Checks;

use super::net::{Net, NetError, NetEvent};
use super::schedule::{PeerProgress, Progress, Rates, Schedule, TicketKey, Urgency};
use super::serve::{Answerer, Uplink, UplinkLimits};
use super::threads::Threads;
use super::wire::{BULK_PROTOCOL, GIT_PROTOCOL, Open, Reply, Request, URGENT_PROTOCOL};

/// The stream for what somebody waits for.
pub const URGENT: StreamProtocol = StreamProtocol::new(URGENT_PROTOCOL);
/// The stream for everything else.
pub const BULK: StreamProtocol = StreamProtocol::new(BULK_PROTOCOL);
/// Git's own protocol.
pub const GIT: StreamProtocol = StreamProtocol::new(GIT_PROTOCOL);

/// Where peers are noted for the next start. Blocking.
pub trait Book: Send + Sync {
    /// A connection with a peer stood, at these addresses.
    fn met(&self, peer: &PeerId, addresses: &[Multiaddr]);

    /// A peer is not talked to for `time`.
    fn banned(&self, peer: &PeerId, time: Duration);

    /// Whether a peer belongs to the mesh.
    fn is_mesh(&self, peer: &PeerId) -> bool;
}

/// What peers are answered with, and what they may take.
pub struct ExchangeOptions {
    /// Answers; nothing is served without.
    pub answerer: Option<Arc<Answerer>>,
    /// Serves git; nothing is cloned from here without.
    pub git: Option<Arc<dyn GitServer>>,
    /// Notes peers.
    pub book: Arc<dyn Book>,
    /// How fast bytes may come.
    pub download: Rates,
    /// How fast content may go.
    pub upload: UplinkLimits,
}

/// How a peer has done.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerId,
    /// Addresses at which it was met, the last one first.
    pub addresses: Vec<Multiaddr>,
    /// A connection stands.
    pub is_connected: bool,
    /// All connections are through relays.
    pub is_relayed: bool,
    /// The last round trip.
    pub rtt: Option<Duration>,
    /// Streams and connections that failed.
    pub failures: u64,
    /// How often it was banned.
    pub bans: u32,
    /// What came of asking it; `None` when nothing was asked.
    pub progress: Option<PeerProgress>,
    /// Bytes of content that went to it.
    pub sent_len: u64,
}

/// How the exchange as a whole does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SwarmStatus {
    /// Repositories that are read from peers.
    pub followed: usize,
    /// What was asked and what came.
    pub progress: Progress,
}

/// The exchange, as the rest of the program holds it. It ends with its last clone.
#[derive(Clone)]
pub struct Swarm {
    net: Net,
    shared: Arc<Shared>,
    /// Set once whoever waits through this clone does not need it any more.
    given_up: Option<watch::Receiver<bool>>,
}

struct Shared {
    messages: mpsc::UnboundedSender<Message>,
    next_ticket: AtomicU64,
    checkers: Mutex<Threads>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
    }
}

impl Swarm {
    /// Starts the exchange on a network.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn start(
        net: Net,
        mut events: mpsc::UnboundedReceiver<NetEvent>,
        options: ExchangeOptions,
    ) -> Result<Self, NetError> {
        let failed = |e: std::io::Error| NetError::Start { reason: e.to_string() };
        let (messages, inbox) = mpsc::unbounded_channel();
        let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        let (checks, checkers) = Checks::start(threads, &net.own(), &messages).map_err(failed)?;
        let uplink = Uplink::new(options.upload, 0);
        let book = options.book.clone();
        let waits = net.waits().clone();
        let serving = options.answerer.map(|answerer| {
            Serving::new(answerer, Arc::new(move |p| book.is_mesh(p)), uplink, waits)
        });
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|e| failed(std::io::Error::other(e)))?;
        let parts = Parts {
            net: net.clone(),
            schedule: Schedule::new(u64::from_be_bytes(seed), options.download),
            messages: messages.clone(),
            checks,
            serving,
            git: options.git,
            book: options.book,
        };
        let runtime = net.runtime().clone();
        let forward = messages.clone();
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                if forward.send(Message::Net(event)).is_err() {
                    return;
                }
            }
        });
        runtime.spawn(Conductor::new(parts).run(inbox));
        let (next_ticket, checkers) = (AtomicU64::new(1), Mutex::new(checkers));
        let shared = Shared { messages, next_ticket, checkers };
        Ok(Self { net, shared: Arc::new(shared), given_up: None })
    }

    /// The network under it.
    pub fn net(&self) -> &Net {
        &self.net
    }

    fn tell(&self, message: Message) {
        let _ = self.shared.messages.send(message);
    }

    /// The same, with its waiting ended as soon as `given_up` says so.
    pub(super) fn until(&self, given_up: watch::Receiver<bool>) -> Self {
        Self { given_up: Some(given_up), ..self.clone() }
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, NetError> {
        let Some(mut given_up) = self.given_up.clone() else { return self.net.block_on(work) };
        let word = async move {
            if given_up.wait_for(|given_up| *given_up).await.is_err() {
                // Who could have given up has gone and has not.
                std::future::pending::<()>().await;
            }
        };
        let work = async {
            tokio::select! {
                biased;
                () = word => Err(NetError::Stopped),
                done = work => Ok(done),
            }
        };
        self.net.block_on(work).flatten()
    }

    /// Ends the exchange and all waiting for it or its network, in all clones: who waits gets an
    /// error at once. Waits until nobody waits, for `most` at the longest; whether nobody does. The
    /// runtime may be shut down after it.
    pub fn end(&self, most: Duration) -> bool {
        self.tell(Message::Stop);
        self.net.waits().end(most)
    }

    /// Waits for the exchange's own threads, which end with the tasks of an exchange that was
    /// ended; for `most` at the longest. Whether they have ended.
    pub fn join(&self, most: Duration) -> bool {
        self.shared.checkers.lock().join(most)
    }

    /// Reads a repository from peers, until the guard goes: from these and, of one that is public,
    /// from those that the DHT knows now and later. Of others the DHT is asked nothing.
    pub fn follow(
        &self,
        repo: RepoKey,
        peers: Vec<(PeerId, Vec<Multiaddr>)>,
        is_public: bool,
    ) -> Following {
        self.tell(Message::Follow { repo, peers, is_public });
        Following { swarm: self.clone(), repo }
    }

    /// Peers that are connected and may have a repository, nearest first; waits up to `wait` for
    /// the first one. Blocks.
    pub fn peers_of(&self, repo: RepoKey, wait: Duration) -> Vec<PeerId> {
        let (answer, answered) = oneshot::channel();
        self.tell(Message::PeersOf { repo, answer });
        let first = async { tokio::time::timeout(wait, answered).await };
        let first = self.block_on(first).ok().and_then(Result::ok).and_then(Result::ok);
        first.unwrap_or_default()
    }

    /// Asks a peer something that is answered in one piece. Blocks.
    ///
    /// # Errors
    /// [`NetError::NotReady`] when its streams do not open; [`NetError::Unreachable`] when it
    /// breaks off or keeps silent.
    pub fn call(&self, peer: PeerId, request: Request) -> Result<Reply, NetError> {
        let silent = |reason: &str| NetError::Unreachable { peer, reason: reason.to_owned() };
        let mut answers = self.ask(peer, request)?;
        let first = async { tokio::time::timeout(CALL_TIME, answers.recv()).await };
        match self.block_on(first)? {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(silent("the connection broke")),
            Err(_) => Err(silent("it kept silent for too long")),
        }
    }

    /// Asks a peer something that is answered piece by piece. Blocks until it is on its way.
    ///
    /// # Errors
    /// [`NetError::NotReady`], [`NetError::Stopped`].
    pub(super) fn ask(
        &self,
        peer: PeerId,
        request: Request,
    ) -> Result<mpsc::Receiver<Reply>, NetError> {
        let (answers, answered) = oneshot::channel();
        self.tell(Message::Call { peer, request, answers });
        let open = async { tokio::time::timeout(CALL_TIME, answered).await };
        let opened = self.block_on(open)?.ok().and_then(Result::ok).flatten();
        opened.ok_or(NetError::NotReady { peer })
    }

    /// The next piece of an answer; `None` at its end. Blocks.
    pub(super) fn next(&self, answers: &mut mpsc::Receiver<Reply>) -> Option<Reply> {
        let next = async { tokio::time::timeout(CALL_TIME, answers.recv()).await };
        self.block_on(next).ok().and_then(Result::ok).flatten()
    }

    /// Wants chunks; what comes is told. The want ends with the guard.
    pub(super) fn want(
        &self,
        repo: RepoKey,
        file: FileId,
        spans: &[ChunkSpan],
        urgency: Urgency,
        wait: Duration,
    ) -> Wanting {
        let ticket = TicketKey(self.shared.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (sink, told) = unbounded();
        let spans = spans.to_vec();
        self.tell(Message::Want(Want { repo, file, spans, urgency, wait, sink, ticket }));
        Wanting { swarm: self.clone(), ticket, told }
    }

    /// Notes that a publisher gave the manifest of a file, so that it has all of it.
    pub(super) fn has_all(&self, peer: PeerId, repo: RepoKey, file: FileId) {
        self.tell(Message::HasAll { peer, repo, file });
    }

    /// Notes that a peer's answer broke the protocol.
    pub(super) fn wrong(&self, peer: PeerId, reason: &str) {
        self.tell(Message::Wrong { peer, reason: reason.to_owned() });
    }

    /// Notes that a peer told what is not so. It is banned like one that sends wrong bytes.
    pub(super) fn lied(&self, peer: PeerId, reason: &str) {
        self.tell(Message::Lied { peer, reason: reason.to_owned() });
    }

    /// Whether a connection with a peer stands. Blocks for a moment.
    pub(crate) fn is_up(&self, peer: PeerId) -> bool {
        let (answer, answered) = oneshot::channel();
        self.tell(Message::IsUp { peer, answer });
        self.block_on(answered).ok().and_then(Result::ok).unwrap_or(false)
    }

    /// Whether a peer that may have a repository can be asked now. Blocks for a moment.
    pub(super) fn is_served(&self, repo: RepoKey) -> bool {
        let (answer, answered) = oneshot::channel();
        self.tell(Message::IsServed { repo, answer });
        self.block_on(answered).ok().and_then(Result::ok).unwrap_or(false)
    }

    /// Opens git's protocol with a peer; `None` when it does not serve that. Blocks.
    ///
    /// # Errors
    /// [`NetError::Unreachable`].
    pub fn git(&self, peer: PeerId, open: &Open) -> Result<Option<GitStream>, NetError> {
        self.block_on(async {
            let stream = self.net.open(peer, GIT).await?;
            let opening = git_stream::open(stream, open, self.net.waits());
            let opened = tokio::time::timeout(CALL_TIME, opening).await;
            let failed = |reason: String| NetError::Unreachable { peer, reason };
            opened
                .map_err(|_| failed("it kept silent for too long".to_owned()))?
                .map_err(|e| failed(e.to_string()))
        })
        .flatten()
    }

    /// How the exchange and its peers do. Blocks for a moment.
    pub fn status(&self) -> (SwarmStatus, Vec<PeerStatus>) {
        let (answer, answered) = oneshot::channel();
        self.tell(Message::Status(answer));
        self.block_on(answered).ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// A repository that is read from peers: until this goes.
pub struct Following {
    swarm: Swarm,
    repo: RepoKey,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.swarm.tell(Message::Unfollow { repo: self.repo });
    }
}

/// Chunks that are wanted: until this goes.
pub(super) struct Wanting {
    swarm: Swarm,
    ticket: TicketKey,
    pub(super) told: Receiver<Told>,
}

impl Drop for Wanting {
    fn drop(&mut self) {
        self.swarm.tell(Message::Unwant(self.ticket));
    }
}
