//! A node that goes while others keep silent: all of it goes, and at once.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::lies::read_by;
use super::*;
use crate::swarm::net::NetError;
use crate::swarm::record::name_key;

/// Longest that the end may take on a busy machine: less than any search or handshake is given.
const AT_ONCE: Duration = Duration::from_secs(8);

/// The threads of this process that are a peer's own, by their names.
fn threads_of(peer: PeerId) -> usize {
    let id = peer.to_base58();
    let tail = &id[id.len() - 8..];
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").filter_map(Result::ok);
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
    let names = tasks.filter_map(|task| name(task).ok());
    names.filter(|name| name.trim_end().ends_with(tail)).count()
}

#[test]
fn a_node_that_goes_while_its_peers_keep_silent_leaves_no_thread() {
    // Takes connections, and says nothing on them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    silent.set_nonblocking(true).expect("set");
    let port = silent.local_addr().expect("bound").port();
    let at: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address");
    let here = peer(&[]);
    let own = here.swarm.identity().peer_id();
    let origin = Identity::from_secret([7; 32]);
    let note = |known: &mut mega_storage::SwarmPeer| {
        known.add_address(&at.to_vec());
    };
    here.store.swarm().update_peer(&peer_bytes(&origin.peer_id()), note).expect("noted");
    let record = signed(&here, &origin, name("model"));
    let repo = copy(&here, origin.peer_id(), &record);
    let mut connections: Vec<TcpStream> = Vec::new();
    until("its keeper asks the publisher", || {
        connections.extend(silent.accept().ok().map(|(stream, _)| stream));
        !connections.is_empty()
    });
    let reading = read_by(&here, &repo, &record);
    let file = FileId::from_bytes([1; 32]);
    let reader = thread::spawn(move || reading.read(file, 0, 10));
    let (store, exchange) = (here.store.clone(), here.swarm.exchange().clone());
    let key = name_key(&origin.peer_id(), &name("model"));
    let waits = here.swarm.exchange().net().waits().clone();
    let searcher = thread::spawn(move || {
        loop {
            match lookup::search(&store, &exchange, &key) {
                Ok(None) => {}
                other => return other,
            }
        }
    });
    until("the keeper, a reader and a search wait", || waits.count() >= 3);
    assert!(threads_of(own) >= 5, "{}", threads_of(own));
    let Peer { swarm, store, _dir: dir } = here;
    let asked = Instant::now();
    drop(swarm);
    reader.join().expect("no panic").expect_err("nobody has it");
    let searched = searcher.join().expect("no panic");
    assert!(matches!(searched, Err(NodeError::Net(NetError::Stopped))), "{searched:?}");
    // The system lists a thread for a moment after it was waited for.
    until("its threads have gone", || threads_of(own) == 0);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    // Nor does anything hold the store.
    drop(store);
    Store::open(&dir.path().join("s"), &StoreOptions::default()).expect("opened again");
}
