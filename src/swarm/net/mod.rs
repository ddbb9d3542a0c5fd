//! The network under the swarm: connections, streams, the DHT. It knows peers, keys and bytes, and
//! nothing of repositories.
//!
//! One async task owns everything of libp2p. The rest of the program has a [`Net`], which can be
//! cloned, asks by messages and blocks where its documentation says so.
//!
//! Invariant: an address that reaches less far than the way on which it was heard is not kept, so
//! that a peer's own loopback or private network is never dialled from elsewhere (see [`scope`]).

mod announce;
mod behaviour;
mod dht;
mod limits;
mod peers;
pub mod scope;
mod task;
#[cfg(test)]
mod tests;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::kad::RecordKey;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use limits::{COMMANDS_MAX, FOUND_MAX};
pub use waits::Waits;

/// Why the network did not do what it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetError {
    /// It could not be started.
    #[error("the swarm cannot start: {reason}")]
    Start {
        /// What happened.
        reason: String,
    },
    /// It cannot listen there.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: Multiaddr,
        /// What happened.
        reason: String,
    },
    /// A peer cannot be reached.
    #[error("peer {peer} cannot be reached: {reason}")]
    Unreachable {
        /// Who.
        peer: PeerId,
        /// What was tried.
        reason: String,
    },
    /// The streams to a peer are not open, or not yet.
    #[error("peer {peer} is not connected")]
    NotReady {
        /// Who.
        peer: PeerId,
    },
    /// A peer was found to lie or to break the protocol, and is left alone.
    #[error("peer {peer} is banned")]
    Banned {
        /// Who.
        peer: PeerId,
    },
    /// The DHT did not take it.
    #[error("the DHT did not take it: {reason}")]
    Dht {
        /// What happened.
        reason: String,
    },
    /// The network's task has ended.
    #[error("the swarm has stopped")]
    Stopped,
}

/// How long announcements live, and how often they are repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// A site's own network: who has gone is forgotten within half an hour.
    #[default]
    Site,
    /// Nodes all over the world.
    World,
}

/// The times of a profile.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a provider record lives.
    pub life: Duration,
    /// How often a provider record is repeated.
    pub interval: Duration,
    /// How long a value lives.
    pub record_life: Duration,
    /// How often a value is repeated.
    pub record_interval: Duration,
}

impl Profile {
    /// Its times.
    pub fn times(self) -> Times {
        let (minutes, hours) = (|n: u64| Duration::from_secs(n * 60), |n: u64| n * 60);
        let (record_life, record_interval) = (minutes(hours(48)), minutes(hours(6)));
        match self {
            Self::Site => {
                Times { life: minutes(30), interval: minutes(12), record_life, record_interval }
            }
            Self::World => Times {
                life: minutes(hours(24)),
                interval: minutes(hours(10)),
                record_life,
                record_interval,
            },
        }
    }
}

/// Whether others can open connections to this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// Others are asked to try (AutoNAT v2); until one has, this node serves nobody in the DHT.
    #[default]
    Auto,
    /// They can, at the addresses that it listens on.
    Yes,
    /// They cannot.
    No,
}

/// Finds out whether a value that a peer wants kept may stand under a key.
pub trait ValueCheck: Send + Sync {
    /// Whether `new` may stand under `key`, where `old` stands now.
    fn is_good(&self, key: &[u8], new: &[u8], old: Option<&[u8]>) -> bool;
}

/// How the network is set up.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// Where to listen; nowhere when empty.
    pub listen: Vec<Multiaddr>,
    /// Nodes to know the network from.
    pub bootstrap: Vec<(PeerId, Multiaddr)>,
    /// Whether to look for nodes on the local network and be found there.
    pub mdns: bool,
    /// Whether to carry connections of others that cannot reach one another.
    pub relay: bool,
    /// Whether others can open connections to this node.
    pub reach: Reach,
    /// Times of announcements.
    pub profile: Profile,
}

impl Default for NetOptions {
    fn default() -> Self {
        let any = |text: &str| text.parse().expect("an address");
        let mut listen = vec![any("/ip4/0.0.0.0/tcp/0")];
        if cfg!(feature = "quic") {
            listen.push(any("/ip4/0.0.0.0/udp/0/quic-v1"));
        }
        let (reach, profile) = (Reach::Auto, Profile::Site);
        Self { listen, bootstrap: Vec::new(), mdns: true, relay: false, reach, profile }
    }
}

/// What the rooms above do with what comes.
pub struct NetUse {
    /// What values are right.
    pub check: Arc<dyn ValueCheck>,
    /// Protocols of streams that are accepted.
    pub accept: Vec<StreamProtocol>,
}

/// What happens on the network, for the rooms above.
pub enum NetEvent {
    /// The first connection with a peer stands.
    Up {
        /// Who.
        peer: PeerId,
        /// The other end's address.
        address: Multiaddr,
        /// Through a relay.
        is_relayed: bool,
    },
    /// A direct connection stands beside a relayed one, or the other way round.
    Way {
        /// Who.
        peer: PeerId,
        /// All its connections are through relays.
        is_relayed: bool,
    },
    /// The last connection with a peer has gone.
    Down {
        /// Who.
        peer: PeerId,
    },
    /// A round trip was measured.
    Rtt {
        /// Who.
        peer: PeerId,
        /// How long.
        time: Duration,
    },
    /// A peer opened a stream.
    Stream {
        /// Who.
        peer: PeerId,
        /// Which one of [`NetUse::accept`].
        protocol: StreamProtocol,
        /// The stream.
        stream: Stream,
    },
}

/// A peer as the network sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetPeer {
    /// Who.
    pub peer: PeerId,
    /// The other ends of its connections.
    pub addresses: Vec<Multiaddr>,
    /// All of them are through relays.
    pub is_relayed: bool,
    /// The last round trip.
    pub rtt: Option<Duration>,
    /// What it says that it is.
    pub agent: String,
}

/// What this node is to others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NetSelf {
    /// Where it listens.
    pub listening: Vec<Multiaddr>,
    /// Addresses at which others reached it.
    pub confirmed: Vec<Multiaddr>,
    /// It serves others in the DHT.
    pub is_server: bool,
    /// Nodes in its routing table.
    pub table_len: usize,
    /// Keys that it announces.
    pub announced_count: usize,
    /// Questions to the DHT so far.
    pub query_count: u64,
    /// Those that are under way.
    pub running_count: usize,
}

/// Lets this process have as many files open as it may: each connection is one, and the usual 1,024
/// are soon used up.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on open files stays");
    }
}

enum Command {
    Dial(PeerId, Vec<Multiaddr>, oneshot::Sender<Result<(), NetError>>),
    Provide(RecordKey),
    Unprovide(RecordKey),
    Providers(RecordKey, mpsc::Sender<PeerId>),
    Put(RecordKey, Vec<u8>, oneshot::Sender<Result<(), NetError>>),
    Unput(RecordKey),
    Get(RecordKey, mpsc::Sender<Vec<u8>>),
    Ban(PeerId, Duration),
    Peers(oneshot::Sender<Vec<NetPeer>>),
    Own(oneshot::Sender<NetSelf>),
    #[cfg(test)]
    Rows(oneshot::Sender<Vec<(Vec<u8>, Vec<u8>)>>),
}

/// The network, as the rest of the program holds it. The last clone that goes stops it.
#[derive(Clone)]
pub struct Net {
    own: PeerId,
    commands: mpsc::Sender<Command>,
    streams: libp2p_stream::Control,
    waits: Waits,
}

impl Net {
    /// Starts the network's task in `runtime`, and what comes from it.
    ///
    /// # Errors
    /// [`NetError::Start`], [`NetError::Listen`].
    pub fn start(
        key: &Keypair,
        options: NetOptions,
        used: NetUse,
        runtime: &Handle,
    ) -> Result<(Self, mpsc::UnboundedReceiver<NetEvent>), NetError> {
        raise_file_limit();
        let (commands, requests) = mpsc::channel(COMMANDS_MAX);
        let (events, happened) = mpsc::unbounded_channel();
        let (own, streams) = {
            let _inside = runtime.enter();
            let task = task::Task::new(key, options, used, events)?;
            let (own, streams) = (task.own(), task.streams());
            runtime.spawn(task.run(requests));
            (own, streams)
        };
        let waits = Waits::new(runtime);
        Ok((Self { own, commands, streams, waits }, happened))
    }

    /// Who we are.
    pub fn own(&self) -> PeerId {
        self.own
    }

    /// Where the task and what belongs to it run.
    pub fn runtime(&self) -> &Handle {
        self.waits.runtime()
    }

    /// Where threads wait for it.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// As [`Waits::block_on`].
    ///
    /// # Errors
    /// [`NetError::Stopped`].
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, NetError> {
        self.waits.block_on(work)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, NetError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| NetError::Stopped)?;
        answer.await.map_err(|_| NetError::Stopped)
    }

    /// Makes sure that a connection to `peer` stands: at `addresses`, at those that are known, or
    /// at those that the DHT knows.
    ///
    /// # Errors
    /// [`NetError::Unreachable`], [`NetError::Banned`], [`NetError::Stopped`].
    pub async fn connect(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), NetError> {
        self.ask(|reply| Command::Dial(peer, addresses, reply)).await?
    }

    /// Opens a stream to a peer that is connected.
    ///
    /// # Errors
    /// [`NetError::Unreachable`], also when the peer does not speak `protocol`.
    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> Result<Stream, NetError> {
        let opened = self.streams.clone().open_stream(peer, protocol).await;
        opened.map_err(|e| NetError::Unreachable { peer, reason: e.to_string() })
    }

    /// Announces that this node has what `key` stands for, now and again, until told otherwise.
    pub async fn provide(&self, key: RecordKey) {
        let _ = self.commands.send(Command::Provide(key)).await;
    }

    /// Ends that.
    pub async fn unprovide(&self, key: RecordKey) {
        let _ = self.commands.send(Command::Unprovide(key)).await;
    }

    /// Peers that say they have what `key` stands for, as they are found. They are being dialled
    /// when they come. The channel ends with the search.
    pub async fn providers(&self, key: RecordKey) -> mpsc::Receiver<PeerId> {
        let (found, peers) = mpsc::channel(FOUND_MAX);
        let _ = self.commands.send(Command::Providers(key, found)).await;
        peers
    }

    /// Puts a value into the DHT, and keeps it there until another one takes its place. When nobody
    /// takes it now, that is an error, and it is tried again all the same.
    ///
    /// # Errors
    /// [`NetError::Dht`], [`NetError::Stopped`].
    pub async fn put(&self, key: RecordKey, value: Vec<u8>) -> Result<(), NetError> {
        self.ask(|reply| Command::Put(key, value, reply)).await?
    }

    /// Puts it there no more. Other nodes have it until its life ends.
    pub async fn unput(&self, key: RecordKey) {
        let _ = self.commands.send(Command::Unput(key)).await;
    }

    /// All values under `key` that nodes have, as they come; not checked. The channel ends with
    /// the search.
    pub async fn get(&self, key: RecordKey) -> mpsc::Receiver<Vec<u8>> {
        let (found, values) = mpsc::channel(FOUND_MAX);
        let _ = self.commands.send(Command::Get(key, found)).await;
        values
    }

    /// Closes the connections with a peer and has none for `time`.
    pub async fn ban(&self, peer: PeerId, time: Duration) {
        let _ = self.commands.send(Command::Ban(peer, time)).await;
    }

    /// The peers that are connected.
    ///
    /// # Errors
    /// [`NetError::Stopped`].
    pub async fn peers(&self) -> Result<Vec<NetPeer>, NetError> {
        self.ask(Command::Peers).await
    }

    /// What this node is to others.
    ///
    /// # Errors
    /// [`NetError::Stopped`].
    pub async fn own_state(&self) -> Result<NetSelf, NetError> {
        self.ask(Command::Own).await
    }

    /// All that it keeps of the DHT, for itself and others: keys, each with a value, or with a
    /// provider and its addresses.
    #[cfg(test)]
    pub async fn rows(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, NetError> {
        self.ask(Command::Rows).await
    }
}
