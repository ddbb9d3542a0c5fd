//! Swarms of real nodes in one process, over loopback.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use libp2p::futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::kad::RecordKey;
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::{Net, NetError, NetEvent, NetOptions, NetUse, Profile, Reach, ValueCheck};

const ECHO: StreamProtocol = StreamProtocol::new("/test/echo/1");
/// Longest that anything here may take on a busy machine; nothing waits for it when all is well.
const LONG: Duration = Duration::from_secs(60);

/// Values that begin with their key are good, and longer ones are newer.
struct Prefixed;

impl ValueCheck for Prefixed {
    fn is_good(&self, key: &[u8], new: &[u8], old: Option<&[u8]>) -> bool {
        new.starts_with(key) && old.is_none_or(|old| new.len() >= old.len())
    }
}

struct Node {
    net: Net,
    address: Multiaddr,
    _events: mpsc::UnboundedReceiver<NetEvent>,
}

fn runtime() -> Arc<Runtime> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    Arc::new(runtime.expect("a runtime"))
}

fn options(bootstrap: Vec<(PeerId, Multiaddr)>) -> NetOptions {
    NetOptions {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
        bootstrap,
        mdns: false,
        relay: false,
        reach: Reach::Yes,
        profile: Profile::Site,
    }
}

async fn node(runtime: &Arc<Runtime>, bootstrap: Vec<(PeerId, Multiaddr)>) -> Node {
    let key = Keypair::generate_ed25519();
    let used = NetUse { check: Arc::new(Prefixed), accept: vec![ECHO] };
    let started = Net::start(&key, options(bootstrap), used, runtime.handle());
    let (net, events) = started.expect("a node starts");
    until(|| async { !net.own_state().await.expect("it runs").listening.is_empty() }).await;
    let address = net.own_state().await.expect("it runs").listening.remove(0);
    Node { net, address, _events: events }
}

async fn swarm(runtime: &Arc<Runtime>, count: usize) -> Vec<Node> {
    let first = node(runtime, Vec::new()).await;
    let known = vec![(first.net.own(), first.address.clone())];
    let mut nodes = vec![first];
    for _ in 1..count {
        nodes.push(node(runtime, known.clone()).await);
    }
    let least = (count - 1).min(3);
    for node in &nodes {
        until(|| async { node.net.own_state().await.expect("it runs").table_len >= least }).await;
    }
    nodes
}

async fn until<F: Future<Output = bool>>(mut check: impl FnMut() -> F) {
    let patience = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !check().await {
            look.tick().await;
        }
    };
    tokio::time::timeout(LONG, patience).await.expect("it comes true");
}

/// Asks until a provider is found, as the program does: an answer may come too early.
async fn finds(node: &Node, key: &RecordKey, provider: PeerId) -> usize {
    for round in 1..=3 {
        let mut found = node.net.providers(key.clone()).await;
        let look = async {
            while let Some(peer) = found.recv().await {
                if peer == provider {
                    return true;
                }
            }
            false
        };
        if tokio::time::timeout(LONG, look).await.expect("a search ends") {
            return round;
        }
    }
    0
}

/// Whether all of `count` keys have been announced.
async fn has_announced(net: &Net, count: usize) -> bool {
    let own = net.own_state().await.expect("it runs");
    own.announced_count == count && own.query_count >= count as u64 && own.running_count == 0
}

fn key(number: usize) -> RecordKey {
    RecordKey::new(&format!("key {number}"))
}

fn lookups(count: usize, lookups: usize) {
    let runtime = runtime();
    runtime.clone().block_on(async {
        let nodes = swarm(&runtime, count).await;
        let provider = nodes.last().expect("nodes").net.own();
        for number in 0..lookups {
            nodes.last().expect("nodes").net.provide(key(number)).await;
        }
        let net = nodes.last().expect("nodes").net.clone();
        until(|| async { has_announced(&net, lookups).await }).await;
        for number in 0..lookups {
            let asker = &nodes[number % (count - 1)];
            assert!(finds(asker, &key(number), provider).await > 0, "{number} of {count} nodes");
        }
    });
}

#[test]
fn two_nodes_find_what_one_of_them_has() {
    lookups(2, 100);
}

#[test]
fn a_few_nodes_find_what_one_of_them_has() {
    lookups(3, 100);
    lookups(10, 100);
}

#[test]
fn thirty_nodes_find_it_also_when_nine_of_them_have_left() {
    let runtime = runtime();
    runtime.clone().block_on(async {
        let mut nodes = swarm(&runtime, 30).await;
        let provider = nodes[29].net.own();
        for number in 0..100 {
            nodes[29].net.provide(key(number)).await;
        }
        let net = nodes[29].net.clone();
        until(|| async { has_announced(&net, 100).await }).await;
        for number in 0..100 {
            assert!(finds(&nodes[number % 29], &key(number), provider).await > 0, "{number}");
        }
        nodes.drain(3..12);
        for number in 0..100 {
            let asker = &nodes[number % (nodes.len() - 1)];
            assert!(finds(asker, &key(number), provider).await > 0, "{number} after they left");
        }
    });
}

#[test]
fn a_value_that_is_not_right_is_not_kept_and_a_newer_one_is() {
    let runtime = runtime();
    runtime.clone().block_on(async {
        let nodes = swarm(&runtime, 4).await;
        let key = RecordKey::new(b"name");
        nodes[1].net.put(key.clone(), b"forged".to_vec()).await.expect("sent");
        nodes[2].net.put(key.clone(), b"name: 2nd".to_vec()).await.expect("sent");
        nodes[1].net.put(key.clone(), b"name: 1".to_vec()).await.expect("sent");
        let mut values = nodes[3].net.get(key.clone()).await;
        let mut seen = HashSet::new();
        while let Some(value) = values.recv().await {
            seen.insert(value);
        }
        assert!(seen.contains(b"name: 2nd".as_slice()), "{seen:?}");
        assert!(!seen.contains(b"forged".as_slice()), "{seen:?}");
    });
}

#[test]
fn streams_carry_both_ways_at_once_and_never_stand_still() {
    // Both ends write 8 MiB while they read: see rust-libp2p#5410.
    const LEN: usize = 8 << 20;
    let runtime = runtime();
    runtime.clone().block_on(async {
        let (first, second) = (node(&runtime, Vec::new()).await, node(&runtime, Vec::new()).await);
        let mut events = second._events;
        let swap = |stream: libp2p::Stream, fill: u8| async move {
            let (mut read, mut write) = stream.split();
            let send = async {
                let piece = vec![fill; 1 << 16];
                for _ in 0..LEN / piece.len() {
                    write.write_all(&piece).await.expect("written");
                }
                write.flush().await.expect("flushed");
            };
            let receive = async {
                let (mut buffer, mut len, mut sum) = (vec![0; 1 << 16], 0, 0u64);
                while len < LEN {
                    let count = read.read(&mut buffer).await.expect("read");
                    assert!(count > 0, "it ended early");
                    sum += buffer[..count].iter().map(|b| u64::from(*b)).sum::<u64>();
                    len += count;
                }
                sum
            };
            tokio::join!(send, receive).1
        };
        let serve = tokio::spawn(async move {
            loop {
                if let Some(NetEvent::Stream { stream, .. }) = events.recv().await {
                    return swap(stream, 2).await;
                }
            }
        });
        first.net.connect(second.net.own(), vec![second.address.clone()]).await.expect("dialled");
        let stream = first.net.open(second.net.own(), ECHO).await.expect("opened");
        let both = async { (swap(stream, 1).await, serve.await.expect("served")) };
        let (got, served) = tokio::time::timeout(LONG, both).await.expect("no deadlock");
        assert_eq!((got, served), (2 * LEN as u64, LEN as u64));
    });
}

#[test]
fn who_is_banned_is_not_connected_and_who_is_away_is_said_to_be() {
    let runtime = runtime();
    runtime.clone().block_on(async {
        let (first, second) = (node(&runtime, Vec::new()).await, node(&runtime, Vec::new()).await);
        let (peer, at) = (second.net.own(), vec![second.address.clone()]);
        first.net.connect(peer, at.clone()).await.expect("dialled");
        assert_eq!(first.net.peers().await.expect("it runs").len(), 1);
        first.net.ban(peer, Duration::from_secs(600)).await;
        until(|| async { first.net.peers().await.expect("it runs").is_empty() }).await;
        let again = first.net.connect(peer, at).await;
        assert_eq!(again, Err(NetError::Banned { peer }));
        let nobody = PeerId::random();
        let closed = "/ip4/127.0.0.1/tcp/1".parse().expect("an address");
        let failed = first.net.connect(nobody, vec![closed]).await;
        assert!(matches!(failed, Err(NetError::Unreachable { .. })), "{failed:?}");
    });
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let runtime = runtime();
    runtime.clone().block_on(async {
        let first = node(&runtime, Vec::new()).await;
        for _ in 0..50 {
            let other = node(&runtime, Vec::new()).await;
            other.net.connect(first.net.own(), vec![first.address.clone()]).await.expect("dialled");
        }
        until(|| async { first.net.peers().await.expect("it runs").is_empty() }).await;
    });
}

/// A peer that connects, is answered, and goes: another one each time.
async fn passes_by(peer: PeerId, at: Multiaddr) {
    let mut passer = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default(),
            libp2p::noise::Config::new,
            libp2p::yamux::Config::default,
        )
        .expect("a transport")
        .with_behaviour(|_| libp2p::swarm::dummy::Behaviour)
        .expect("a behaviour")
        .build();
    passer.dial(at.with_p2p(peer).expect("an address")).expect("dialled");
    while !passer.is_connected(&peer) {
        passer.next().await;
    }
}

/// What this process has in memory, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("a number") << 10
}

/// Whether this process runs one test only, so that its memory is that test's. If not, `test` runs
/// in such a process, and has to pass there.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "MEGA_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("this program");
    let mut alone = std::process::Command::new(program);
    let output = alone.args(["--exact", test]).env(ALONE, "1").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

#[test]
fn memory_is_flat_over_ten_thousand_connects() {
    const ROUNDS: [usize; 2] = [2_000, 8_000];
    const AT_ONCE: usize = 16;
    /// What the process may have grown by: less than 1 KiB for each peer that came by.
    const GROWTH_MAX: u64 = 6 << 20;
    if !is_alone("swarm::net::tests::memory_is_flat_over_ten_thousand_connects") {
        return;
    }
    let runtime = runtime();
    runtime.clone().block_on(async {
        let node = node(&runtime, Vec::new()).await;
        let mut held = Vec::new();
        for count in ROUNDS {
            for _ in 0..count / AT_ONCE {
                let mut passing = tokio::task::JoinSet::new();
                for _ in 0..AT_ONCE {
                    passing.spawn(passes_by(node.net.own(), node.address.clone()));
                }
                let all = async { while passing.join_next().await.is_some() {} };
                tokio::time::timeout(LONG, all).await.expect("they come and go");
            }
            until(|| async { node.net.peers().await.expect("it runs").is_empty() }).await;
            held.push(resident());
        }
        assert!(held[1] < held[0] + GROWTH_MAX, "{held:?} bytes after {ROUNDS:?} connects");
    });
}
