//! Peers that are silent, wrong or away, and the server that the user named beside them.

use std::io::{Cursor, Read};
use std::thread;

use crossbeam_channel::Receiver;
use mega_storage::{
    NoProgress, ObjectHeader, ObjectId, ObjectSource, ObjectWant, SourceError, StoreError,
};
use parking_lot::Mutex;

use super::liar::Liar;
use super::lies::{ask, bans, commit, read_by};
use super::*;
use crate::swarm::fetcher::{Fetcher, FurtherPeers};
use crate::swarm::hedge::{Hedge, Upstream};
use crate::swarm::serve::tests::scene::{noise, pack};
use crate::swarm::wire::Kind;

const LEN: usize = 900_000;
const BLOB_LEN: usize = 70_000;

#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// All that has a hash is something else.
    Lies,
    Fails,
}

/// A server in this process that has what the origin has.
struct Server {
    store: Store,
    repo: RepoId,
    manner: Manner,
    asked: Mutex<Vec<&'static str>>,
}

impl Server {
    fn asked(&self, what: &'static str) -> SourceResult<()> {
        self.asked.lock().push(what);
        match self.manner {
            Manner::Fails => Err(SourceError::Unreachable { reason: "it is down".to_owned() }),
            Manner::Honest | Manner::Lies => Ok(()),
        }
    }

    fn was_asked(&self, what: &'static str) -> bool {
        self.asked.lock().contains(&what)
    }
}

impl ObjectSource for Server {
    fn name(&self) -> String {
        "https://h/a.git".to_owned()
    }

    fn headers(&self, ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>> {
        self.asked("headers")?;
        let stats = self.store.view(self.repo).stat(ids).expect("read");
        Ok(stats.into_iter().map(|stat| stat.map(|stat| stat.header)).collect())
    }

    fn objects<'a>(
        &'a self,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>> {
        self.asked("objects")?;
        let read = |id| self.store.objects().read(id).expect("read");
        let found = want.ids.iter().filter_map(read);
        let objects: Vec<_> = found.map(|object| (object.kind, object.data.to_vec())).collect();
        let mut bytes = pack(&objects);
        if self.manner == Manner::Lies {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Ok(Some(Box::new(Cursor::new(bytes))))
    }
}

impl ChunkSource for Server {
    fn name(&self) -> String {
        ObjectSource::name(self)
    }

    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>> {
        self.asked("files")?;
        Ok(files.iter().map(|pointer| Some(pointer.len)).collect())
    }

    fn manifest(&self, file: &FileId, offset: u64) -> SourceResult<Option<ManifestPage>> {
        self.asked("manifest")?;
        let held = self.store.held_file(self.repo, file).expect("read").expect("there");
        Ok(held.manifest(offset, 1).expect("read"))
    }

    fn chunks(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        _: Urgency,
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<()> {
        self.asked("chunks")?;
        for span in spans {
            let mut bytes = vec![0; span.chunk.len as usize];
            let content = Content::File(*file);
            self.store.view(self.repo).read_at(&content, span.offset, &mut bytes).expect("read");
            bytes[0] ^= u8::from(self.manner == Manner::Lies);
            if take(span, bytes.into()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// An origin, a store that reads from it, and a server beside it.
struct World {
    origin: Peer,
    reader: Peer,
    record: RepoRecord,
    copied: Repo,
    data: Vec<u8>,
    file: FileId,
    blob: ObjectId,
    server: Arc<Server>,
}

/// The reader's door.
struct Reading {
    fetcher: Arc<Fetcher>,
    upstream: Arc<Upstream>,
    hedge: Arc<Hedge>,
    through: ReadThrough,
}

impl World {
    fn new(manner: Manner) -> Self {
        let origin = peer(&[]);
        let repo = origin.store.repos().create(&name("a/b"), Visibility::Public).expect("made");
        let data = noise(1, LEN);
        let files = origin.store.files();
        let taken = files.ingest(Some(repo.id), &mut &data[..], None, &NoProgress);
        let file = taken.expect("taken in").id;
        let (blobs, _) = commit(&origin, &repo, &[noise(2, BLOB_LEN)]);
        let reader = peer(&[&origin]);
        let publisher = origin.swarm.identity().peer_id();
        let record = resolve(&reader.store, &reader.swarm, publisher, &name("a/b"));
        let record = record.expect("its record");
        let copied = copy(&reader, publisher, &record);
        let (store, asked) = (origin.store.clone(), Mutex::default());
        let server = Arc::new(Server { store, repo: repo.id, manner, asked });
        Self { origin, reader, record, copied, data, file, blob: blobs[0], server }
    }

    fn rid(&self) -> mega_storage::RepoKey {
        self.record.claims().rid
    }

    /// Reads from peers, which are waited for that long, and from the server `after` some time.
    fn reading(&self, after: Duration, wait: Duration) -> Reading {
        let exchange = self.reader.swarm.exchange();
        let publisher = self.record.claims().publisher;
        let fetcher = Fetcher::new(exchange, self.rid(), publisher, "peers".to_owned(), wait);
        let fetcher = Arc::new(fetcher);
        let upstream = Arc::new(Upstream::new(&self.server, &Arc::default()));
        let hedge = Arc::new(Hedge::new(&fetcher, &upstream, after));
        let further = Arc::new(FurtherPeers::new(&fetcher, 0));
        let sources =
            Sources { objects: vec![hedge.clone(), further], chunks: vec![hedge.clone()] };
        let (rest, wait) = (Duration::ZERO, LONG);
        let options = ReadThroughOptions { rest, wait, ..ReadThroughOptions::default() };
        let through = ReadThrough::new(&self.reader.store, &self.copied, &sources, options);
        Reading { fetcher, upstream, hedge, through: through.expect("opened") }
    }

    /// A peer that has what the origin has, and says nothing before `word`.
    fn silent(&self, number: u8, word: Receiver<()>) -> Liar {
        Liar::new(&self.origin, number, move |_, reply| {
            let _ = word.recv();
            reply
        })
    }
}

impl Reading {
    fn file(&self, file: FileId) -> Result<Vec<u8>, StoreError> {
        self.read(&Content::File(file), LEN)
    }

    fn blob(&self, blob: ObjectId) -> Result<Vec<u8>, StoreError> {
        self.read(&Content::Blob(blob), BLOB_LEN)
    }

    fn read(&self, content: &Content, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut out = vec![0; len];
        let count = self.through.read_at(content, 0, &mut out)?;
        out.truncate(count);
        Ok(out)
    }

    fn peers_are_there(&self) {
        assert!(!self.fetcher.ready(LONG).is_empty());
    }
}

#[test]
fn what_silent_peers_do_not_answer_comes_from_the_upstream_and_is_not_passed_on_as_signed() {
    let world = World::new(Manner::Honest);
    let (speaks, word) = bounded(0);
    let (liar, rid) = (world.silent(131, word), world.rid());
    let _asked = liar.is_asked_by(&world.reader, rid);
    let after = Duration::from_millis(50);
    let reading = world.reading(after, LONG);
    reading.peers_are_there();
    let started = Instant::now();
    assert!(reading.file(world.file).expect("the server has it") == world.data);
    assert!(started.elapsed() >= after);
    assert!(world.server.was_asked("manifest") && world.server.was_asked("chunks"));
    assert_eq!(reading.upstream.used_len(), LEN as u64);
    assert!(reading.blob(world.blob).expect("the server has it") == noise(2, BLOB_LEN));
    until("the peer hears of it", || liar.was_asked(Kind::Manifest));
    let used = reading.upstream.used_len() - LEN as u64;
    let blob_len = BLOB_LEN as u64;
    assert!((blob_len..blob_len * 3 / 2).contains(&used), "{used} bytes of a pack");
    // What a server said of the file's chunks is for this reader alone.
    assert!(reading.through.complete(&world.file).expect("read"));
    let held = world.reader.store.held_file(world.copied.id, &world.file).expect("read");
    let held = held.expect("all of it is here");
    assert!(held.manifest(0, 1).expect("read").is_some());
    assert!(held.signed_manifest(0, 1).expect("read").is_none());
    world.reader.swarm.announce();
    until("it is served on", || world.reader.swarm.directory.serves_on(world.copied.id));
    let other = peer(&[]);
    let repo = bound(&other, world.record.claims().publisher, &world.record);
    let elsewhere = read_by(&other, &repo, &world.record);
    // The origin, which would sign it, goes.
    drop(world.origin.swarm);
    let _asked = ask(&other, &world.reader, rid);
    let error = elsewhere.read(world.file, 0, 10).expect_err("nobody signed it");
    assert!(matches!(error, StoreError::MissingFile { .. }), "{error}");
    assert_eq!(bans(&other, world.reader.swarm.identity().peer_id()), 0);
    drop(speaks);
}

#[test]
fn what_peers_answer_in_time_is_not_asked_of_the_upstream() {
    let world = World::new(Manner::Honest);
    let _asked = ask(&world.reader, &world.origin, world.rid());
    let reading = world.reading(LONG, LONG);
    reading.peers_are_there();
    let lens = reading.through.file_lens(&[Pointer { file: world.file, len: LEN as u64 }]);
    assert_eq!(lens.expect("read"), [Some(LEN as u64)]);
    assert!(reading.file(world.file).expect("it is there") == world.data);
    let stat = reading.through.stat(&[world.blob]).expect("read").remove(0).expect("there");
    assert_eq!(stat.header.len, BLOB_LEN as u64);
    assert!(reading.blob(world.blob).expect("it is there") == noise(2, BLOB_LEN));
    assert!(world.server.asked.lock().is_empty(), "{:?}", world.server.asked.lock());
    assert_eq!(reading.upstream.used_len(), 0);
    // Signed as ever, so that it may be passed on.
    let held = world.reader.store.held_file(world.copied.id, &world.file).expect("read");
    assert!(held.expect("told").signed_manifest(0, 1).expect("read").is_some());
}

#[test]
fn where_no_peer_is_there_the_upstream_is_asked_at_once() {
    let world = World::new(Manner::Honest);
    let reading = world.reading(LONG, LONG);
    let started = Instant::now();
    let stat = reading.through.stat(&[world.blob]).expect("read").remove(0).expect("there");
    assert_eq!(stat.header.len, BLOB_LEN as u64);
    assert_eq!(reading.through.counts().packs, 0, "its length was told");
    assert!(reading.file(world.file).expect("the server has it") == world.data);
    assert!(reading.blob(world.blob).expect("the server has it") == noise(2, BLOB_LEN));
    assert!(started.elapsed() < LONG, "nobody was waited for");
}

/// Reads from a server that is of no use, and from a peer that is silent until the server has been
/// asked for what is there at that `moment`.
fn peers_are_waited_for(manner: Manner, moment: &'static str, read: fn(&World, &Reading)) {
    let world = World::new(manner);
    let (speaks, word) = bounded(0);
    let liar = world.silent(132, word);
    let _asked = liar.is_asked_by(&world.reader, world.rid());
    let reading = world.reading(Duration::ZERO, LONG);
    reading.peers_are_there();
    thread::scope(|scope| {
        let reader = scope.spawn(|| read(&world, &reading));
        until("the upstream is asked", || world.server.was_asked(moment));
        drop(speaks);
        reader.join().expect("no panic");
    });
}

#[test]
fn wrong_bytes_of_an_upstream_are_not_believed_and_peers_are_waited_for() {
    let world = World::new(Manner::Lies);
    let reading = world.reading(Duration::ZERO, Duration::from_millis(400));
    reading.blob(world.blob).expect_err("a broken pack, and nobody else");
    let error = reading.file(world.file).expect_err("wrong bytes, and nobody else");
    let told = error.to_string();
    assert!(matches!(error, StoreError::NotFetched { .. }) && told.contains("hash"), "{told}");
    assert_eq!(reading.through.counts().chunks, 0);
    peers_are_waited_for(Manner::Lies, "chunks", |world, reading| {
        assert!(reading.file(world.file).expect("the peer has it") == world.data);
        assert_eq!(reading.upstream.used_len(), 0);
    });
    peers_are_waited_for(Manner::Lies, "objects", |world, reading| {
        assert!(reading.blob(world.blob).expect("the peer has it") == noise(2, BLOB_LEN));
    });
}

#[test]
fn an_upstream_that_is_down_fails_nothing_that_peers_answer() {
    let world = World::new(Manner::Fails);
    let reading = world.reading(Duration::ZERO, Duration::from_millis(400));
    let error = reading.file(world.file).expect_err("nobody answers");
    let told = error.to_string();
    assert!(
        matches!(error, StoreError::NotFetched { .. }) && told.contains("it is down"),
        "{told}"
    );
    peers_are_waited_for(Manner::Fails, "manifest", |world, reading| {
        assert!(reading.file(world.file).expect("the peer has it") == world.data);
        assert!(reading.blob(world.blob).expect("the peer has it") == noise(2, BLOB_LEN));
    });
}

#[test]
fn a_question_goes_to_both_and_ends_with_the_first_answer() {
    let world = World::new(Manner::Honest);
    let hedge = world.reading(Duration::ZERO, LONG).hedge;
    let (speaks, word) = bounded::<()>(0);
    let (hears, gone) = bounded::<()>(0);
    let silent = move || {
        let _ = word.recv();
        drop::<crossbeam_channel::Sender<()>>(hears);
        Ok(1)
    };
    assert_eq!(hedge.ask_one(silent, || Ok(2)), Ok(2));
    drop(speaks);
    assert!(gone.recv().is_err(), "who was late has ended");
    let away = |reason: &str| SourceError::Unreachable { reason: reason.to_owned() };
    assert_eq!(hedge.ask_one(|| Ok(1), move || Err(away("b"))), Ok(1));
    let (one, other) = (away("a"), away("b"));
    let neither = hedge.ask_one::<u8>(move || Err(one), move || Err(other));
    assert_eq!(neither, Err(away("a; its upstream: b")));
}
