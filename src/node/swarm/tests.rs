//! What a node tells others of its repositories: two nodes in one process, over loopback.

mod ending;
mod liar;
mod lies;
mod restart;
mod stranger;
mod upstream;

use std::ops::ControlFlow;
use std::time::Instant;

use libp2p::PeerId;
use mega_storage::{
    ChunkBytes, ChunkId, ChunkRef, ChunkSource, ChunkSpan, ChunkTake, Content, FileId,
    ManifestPage, Pointer, ReadStore, ReadThrough, ReadThroughOptions, RepoId, RepoName,
    SettingChange, SourceResult, Sources, StoreOptions, Urgency, Visibility,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::swarm::net::Reach;
use crate::swarm::record::{RecordClaims, RefsHasher, file_key, peer_bytes, publish, repo_key};
use crate::swarm::serve::Directory;

/// Longest that anything here may take on a busy machine; nothing waits for it when all is well.
const LONG: Duration = Duration::from_secs(60);
/// A model of 70 billion parameters: 30 files of 4.7 GB.
const SHARDS: u64 = 30;
const SHARD_LEN: u64 = 4_700_000_000;
const CHUNK_LEN: u32 = 64 << 10;

struct Peer {
    store: Store,
    swarm: NodeSwarm,
    _dir: TempDir,
}

fn peer(through: &[&Peer]) -> Peer {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
    started(dir, store, through, None)
}

/// The peer whose store that is; `download` bytes a second come at most.
fn started(dir: TempDir, store: Store, through: &[&Peer], download: Option<u64>) -> Peer {
    let bootstrap = through.iter().flat_map(|peer| {
        let id = peer.swarm.identity().peer_id();
        peer.swarm.addresses(LONG).into_iter().map(move |address| (id, address))
    });
    let net = NetOptions {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
        bootstrap: bootstrap.collect(),
        mdns: false,
        reach: Reach::Yes,
        ..Default::default()
    };
    let options = SwarmOptions { net, download, upload: None };
    let audit = Arc::new(Audit::new(store.path()));
    let swarm = NodeSwarm::start(&store, &audit, &options).expect("started");
    assert_eq!(swarm.addresses(LONG).len(), 1);
    Peer { store, swarm, _dir: dir }
}

#[track_caller]
fn until(what: &str, mut check: impl FnMut() -> bool) {
    let started = Instant::now();
    while !check() {
        assert!(started.elapsed() < LONG, "in vain: {what}");
        std::thread::yield_now();
    }
}

fn name(text: &str) -> RepoName {
    RepoName::new(text).expect("a name")
}

fn own_state(peer: &Peer) -> crate::swarm::net::NetSelf {
    let net = peer.swarm.exchange().net();
    net.runtime().block_on(net.own_state()).expect("it runs")
}

/// A copy of `publisher`'s public repository, to be served on always.
fn copy(peer: &Peer, publisher: PeerId, record: &RepoRecord) -> Repo {
    let repo = bound(peer, publisher, record);
    let always = SettingChange::Set("always".to_owned());
    peer.store.set_setting(repo.id, "swarm.seed", &always).expect("set");
    repo
}

/// A copy of `publisher`'s repository.
fn bound(peer: &Peer, publisher: PeerId, record: &RepoRecord) -> Repo {
    let url = record::P2pUrl::repo(publisher, record.claims().current_name().clone());
    let local = local_name(&publisher, record.claims().current_name()).expect("a name");
    let repo = peer.store.repos().create_partial(&local, &url.to_string()).expect("made");
    bind(&peer.store, &repo, record).expect("bound");
    repo
}

/// A record that `origin` signed of its public repository, as `peer` has seen it.
fn signed(peer: &Peer, origin: &Identity, called: RepoName) -> RepoRecord {
    let (nonce, now) = (record::RepoNonce::from_bytes([9; 16]), unix_now());
    let claims = RecordClaims {
        rid: repo_key(&origin.peer_id(), &nonce, &called),
        origin: origin.peer_id(),
        nonce,
        name: called,
        called: None,
        publisher: origin.peer_id(),
        refs: RefsHasher::default().finish(),
        head: None,
        seq: 0,
        issued_unix: now,
        eol_unix: now + 1000,
        is_public: true,
        addresses: Vec::new(),
        forks: Vec::new(),
    };
    publish(peer.store.swarm(), origin, claims).expect("signed")
}

/// The first chunk of every shard is here, the lists of all others are made up.
struct Model;

fn first_chunk(file: &FileId) -> Vec<u8> {
    let byte = file.as_bytes().first().copied().unwrap_or(0);
    vec![byte; CHUNK_LEN as usize]
}

impl ChunkSource for Model {
    fn name(&self) -> String {
        "made up".to_owned()
    }

    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>> {
        Ok(vec![Some(SHARD_LEN); files.len()])
    }

    fn manifest(&self, file: &FileId, offset: u64) -> SourceResult<Option<ManifestPage>> {
        let start = offset / u64::from(CHUNK_LEN) * u64::from(CHUNK_LEN);
        let span = |number: u64| {
            let offset = start + number * u64::from(CHUNK_LEN);
            let len = u32::try_from(SHARD_LEN - offset).unwrap_or(CHUNK_LEN).min(CHUNK_LEN);
            let id = match offset {
                0 => Sha256::digest(first_chunk(file)).into(),
                _ => Sha256::digest([file.as_bytes(), &offset.to_be_bytes()[..]].concat()).into(),
            };
            ChunkSpan { chunk: ChunkRef { id: ChunkId::from_bytes(id), len }, offset }
        };
        let count = (SHARD_LEN - start).div_ceil(u64::from(CHUNK_LEN)).min(4096);
        Ok(Some(ManifestPage::unsigned(SHARD_LEN, (0..count).map(span).collect())))
    }

    fn chunks(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        _: Urgency,
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<()> {
        for span in spans.iter().filter(|span| span.offset == 0) {
            let bytes = ChunkBytes::Plain(first_chunk(file).into());
            if take(span, bytes) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

#[test]
fn a_model_of_140_gb_is_announced_in_seconds_by_its_files() {
    let other = peer(&[]);
    let here = peer(&[&other]);
    let origin = Identity::from_secret([7; 32]);
    let record = signed(&here, &origin, name("model"));
    let repo = copy(&here, origin.peer_id(), &record);
    let sources = Sources { objects: Vec::new(), chunks: vec![Arc::new(Model)] };
    let options = ReadThroughOptions { rest: Duration::ZERO, ..ReadThroughOptions::default() };
    let reader = ReadThrough::new(&here.store, &repo, &sources, options).expect("opened");
    let file = |number: u64| FileId::from_bytes([number as u8 + 1; 32]);
    for number in 0..SHARDS {
        let mut out = [0; 10];
        let read = reader.read_at(&Content::File(file(number)), 0, &mut out).expect("read");
        assert_eq!((read, out), (10, [number as u8 + 1; 10]));
    }
    drop(reader);
    until("the other is known", || own_state(&here).table_len > 0);
    let started = Instant::now();
    here.swarm.announce();
    // One for the repository, one a file; its record at two places.
    let (keys, values) = (SHARDS as usize + 1, 2);
    until("it is announced", || {
        let own = own_state(&here);
        own.announced_count == keys
            && own.running_count == 0
            && own.query_count >= (keys + values) as u64
    });
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    let net = other.swarm.exchange().net();
    let found = net.runtime().block_on(async {
        let mut found = net.providers(key_of(&file_key(&file(SHARDS - 1)))).await;
        found.recv().await
    });
    assert_eq!(found, Some(here.swarm.identity().peer_id()));
}

#[test]
fn a_copy_is_served_on_while_it_is_public_where_it_comes_from() {
    let there = peer(&[]);
    let here = peer(&[&there]);
    let publisher = there.swarm.identity().peer_id();
    there.store.repos().create(&name("a/b"), Visibility::Public).expect("made");
    there.swarm.announce();
    let record = resolve(&here.store, &here.swarm, publisher, &name("a/b")).expect("its record");
    let repo = copy(&here, publisher, &record);
    here.swarm.announce();
    let keeper = Upkeep {
        store: here.store.clone(),
        swarm: here.swarm.exchange().clone(),
        directory: here.swarm.directory.clone(),
        follows: here.swarm.follows.clone(),
    };
    let serves = |repo: RepoId| here.swarm.directory.serves_on(repo);
    let keys = || own_state(&here).announced_count;
    until("it is served on", || serves(repo.id) && keys() == 1);
    let show = |visibility| {
        there.store.repos().set_visibility(&name("a/b"), visibility).expect("set");
        keeper.look_after(&repo, None).expect("answered");
    };
    show(Visibility::Private);
    until("it is withdrawn", || !serves(repo.id) && keys() == 0);
    show(Visibility::Public);
    until("it is served on again", || serves(repo.id) && keys() == 1);
    // Of the mesh, and we are in it: it is read, and not passed on.
    let update = |known: &mut mega_storage::SwarmPeer| known.is_allowed = true;
    let own = peer_bytes(&here.swarm.identity().peer_id());
    there.store.swarm().update_peer(&own, update).expect("noted");
    show(Visibility::Mesh);
    until("it is withdrawn", || !serves(repo.id) && keys() == 0);
    let seen = repo_seen(&here, &repo);
    assert!(!seen.claims().is_public && seen.claims().seq > record.claims().seq);
}

fn repo_seen(peer: &Peer, repo: &Repo) -> RepoRecord {
    peer.swarm.directory.followed_record(repo).expect("read").expect("seen")
}
