//! A node that is started again is who it was, knows whom it knew, and goes on where it stopped.

use std::thread;

use mega_storage::{Held, NoProgress};

use super::lies::read_by;
use super::*;
use crate::swarm::serve::tests::scene::noise;

/// Length of the file, in bytes.
const LEN: usize = 32 << 20;
/// So many bytes a second come at first: it takes seconds, and is stopped after a part of one.
const SLOW: u64 = 3 << 20;
/// What has come by then.
const FIRST_LEN: u64 = 2 << 20;

fn good_len(peer: &Peer) -> u64 {
    let (all, _) = peer.swarm.exchange().status();
    all.progress.counts.good_len
}

fn held(peer: &Peer, repo: &Repo, file: &FileId) -> Held {
    let held = peer.store.held_file(repo.id, file).expect("read").expect("a part of it");
    held.parts().expect("read")
}

/// Bytes of these runs.
fn len_of(held: &Held) -> u64 {
    match held {
        Held::Runs(runs) => runs.iter().map(|run| run.len).sum(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_is_started_again_goes_on_with_what_it_has_and_whom_it_knows() {
    let origin = peer(&[]);
    let repo = origin.store.repos().create(&name("a/b"), Visibility::Public).expect("made");
    let data = noise(5, LEN);
    let taken = origin.store.files().ingest(Some(repo.id), &mut &data[..], None, &NoProgress);
    let file = taken.expect("taken in").id;
    let publisher = origin.swarm.identity().peer_id();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let store = Store::create(&path, &StoreOptions::default()).expect("made");
    let here = started(dir, store, &[&origin], Some(SLOW));
    let own = here.swarm.identity().peer_id();
    let record = resolve(&here.store, &here.swarm, publisher, &name("a/b")).expect("its record");
    let copied = bound(&here, publisher, &record);
    let reading = read_by(&here, &copied, &record);
    let reader = thread::spawn(move || {
        let pieces = (0..LEN).step_by(1 << 20);
        pieces.map(|offset| reading.read(file, offset, 1 << 20)).find_map(Result::err)
    });
    until("a part has come", || good_len(&here) > FIRST_LEN);
    let Peer { swarm, store, _dir: dir } = here;
    drop(swarm);
    assert!(reader.join().expect("no panic").is_some(), "it is stopped in the middle");
    drop(store);
    // Nothing is left of it but its directory.
    let store = Store::open(&path, &StoreOptions::default()).expect("opened");
    let again = started(dir, store, &[], None);
    assert_eq!(again.swarm.identity().peer_id(), own);
    let before = held(&again, &copied, &file);
    let has_len = len_of(&before);
    assert!(has_len >= FIRST_LEN / 2, "{has_len} bytes were kept");
    // Others are told of these parts, and of no more.
    let asked = again.store.held_file(copied.id, &file).expect("read").expect("there");
    assert!(!asked.is_whole() && asked.file_len() == LEN as u64);
    let net = again.swarm.exchange().net();
    until("it finds its peer by itself", || {
        let peers = net.block_on(net.peers()).flatten().expect("it runs");
        peers.iter().any(|known| known.peer == publisher)
    });
    assert_eq!(repo_seen(&again, &copied).bytes(), record.bytes());
    let reading = read_by(&again, &copied, &record);
    for offset in (0..LEN).step_by(1 << 20) {
        let read = reading.read(file, offset, 1 << 20).expect("it goes on");
        assert!(read == data[offset..][..1 << 20]);
    }
    let came_len = good_len(&again);
    let missing_len = LEN as u64 - has_len;
    assert!(came_len >= missing_len * 99 / 100, "{came_len} bytes for {missing_len}");
    assert!(came_len <= missing_len * 101 / 100, "{came_len} bytes for {missing_len}");
}
