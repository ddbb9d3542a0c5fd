//! What has no hash of its own is believed from its publisher alone: a reader among liars gets
//! right bytes or an error, and with the publisher gone followers prove what they pass on.

use mega_storage::object::hash_object;
use mega_storage::{
    Expect, NoProgress, ObjectId, ObjectKind, ObjectWant, PageSignature, RefEdit, RefName,
    RefTarget, RefTransaction, RepoKey, StoreError,
};

use super::liar::Liar;
use super::*;
use crate::swarm::exchange::Following;
use crate::swarm::serve::tests::scene::{ingest, noise, pack, tree};
use crate::swarm::vouch;
use crate::swarm::wire::{Kind, Reply};

/// A publisher, and a follower that serves its repository on.
struct Lies {
    origin: Peer,
    follower: Peer,
    repo: Repo,
    record: RepoRecord,
    copied: Repo,
}

/// A copy of the repository that is read.
pub(super) struct Reading {
    source: PeerSource,
    through: ReadThrough,
    repo: Repo,
}

pub(super) fn read_by(peer: &Peer, repo: &Repo, record: &RepoRecord) -> Reading {
    let claims = record.claims();
    let (publisher, rid) = (claims.publisher, claims.rid);
    let (shown, wait) = (claims.name.to_string(), Duration::from_secs(20));
    let source = PeerSource::new(&peer.store, &peer.swarm, publisher, rid, repo, shown, wait);
    let source = source.expect("opened");
    let sources = Sources { objects: source.objects(), chunks: vec![source.chunks()] };
    let options =
        ReadThroughOptions { rest: Duration::ZERO, wait, ..ReadThroughOptions::default() };
    let through = ReadThrough::new(&peer.store, repo, &sources, options).expect("opened");
    Reading { source, through, repo: repo.clone() }
}

impl Reading {
    pub(super) fn read(
        &self,
        file: FileId,
        offset: usize,
        len: usize,
    ) -> Result<Vec<u8>, StoreError> {
        let mut out = vec![0; len];
        let count = self.through.read_at(&Content::File(file), offset as u64, &mut out)?;
        out.truncate(count);
        Ok(out)
    }
}

/// Has a peer asked by another.
pub(super) fn ask(reader: &Peer, asked: &Peer, rid: RepoKey) -> Following {
    let (id, addresses) = (asked.swarm.identity().peer_id(), asked.swarm.addresses(LONG));
    reader.swarm.exchange().follow(rid, vec![(id, addresses)], false)
}

pub(super) fn bans(reader: &Peer, peer: PeerId) -> u32 {
    let (_, peers) = reader.swarm.exchange().status();
    peers.iter().find(|row| row.peer == peer).map_or(0, |row| row.bans)
}

impl Lies {
    /// A repository with these files; the follower has nothing of them yet.
    fn new() -> Self {
        let origin = peer(&[]);
        let repo = origin.store.repos().create(&name("a/b"), Visibility::Public).expect("made");
        let publisher = origin.swarm.identity().peer_id();
        let follower = peer(&[&origin]);
        let record = resolve(&follower.store, &follower.swarm, publisher, &name("a/b"));
        let record = record.expect("its record");
        let copied = copy(&follower, publisher, &record);
        follower.swarm.announce();
        until("it is served on", || follower.swarm.directory.serves_on(copied.id));
        Self { origin, follower, repo, record, copied }
    }

    fn rid(&self) -> RepoKey {
        self.record.claims().rid
    }

    fn add(&self, data: &[u8]) -> FileId {
        let files = self.origin.store.files();
        let taken = files.ingest(Some(self.repo.id), &mut &data[..], None, &NoProgress);
        taken.expect("taken in").id
    }

    /// Reads on the follower, so that it has what was read.
    fn follower_reads(&self, file: FileId, data: &[u8], offset: usize) {
        let reading = read_by(&self.follower, &self.copied, &self.record);
        let read = reading.read(file, offset, data.len()).expect("the origin is there");
        assert!(read == data[offset..]);
    }

    /// Another node that knows the repository, and nobody who has it.
    fn reader(&self) -> (Peer, Reading) {
        let reader = peer(&[]);
        let repo = bound(&reader, self.record.claims().publisher, &self.record);
        let reading = read_by(&reader, &repo, &self.record);
        (reader, reading)
    }

    /// The origin goes; the rest stays.
    fn without_origin(self) -> (Peer, RepoKey) {
        let rid = self.rid();
        drop(self.origin);
        (self.follower, rid)
    }
}

#[test]
fn a_part_of_a_large_file_is_read_from_a_follower_by_what_its_origin_signed() {
    let lies = Lies::new();
    // Three pages; the follower has read the end, and knows the first one by the file's length.
    let data = noise(3, 80 << 20);
    let file = lies.add(&data);
    let tail = data.len() - 100_000;
    lies.follower_reads(file, &data, tail);
    let (reader, reading) = lies.reader();
    let publisher = lies.record.claims().publisher;
    let (follower, rid) = lies.without_origin();
    let _asked = ask(&reader, &follower, rid);
    let read = reading.read(file, tail, 200_000).expect("the follower has it");
    assert!(read == data[tail..]);
    // Of the page between nothing was told to the follower: it says nothing of it.
    let error = reading.read(file, data.len() / 2, 10).expect_err("nobody has it");
    assert!(matches!(error, StoreError::MissingFile { .. }), "{error}");
    assert_eq!(bans(&reader, follower.swarm.identity().peer_id()), 0);
    // What the reader has learned, it passes on in turn.
    let held = reader.store.held_file(reading.repo.id, &file).expect("read").expect("told");
    let page = held.signed_manifest(tail as u64, 1).expect("read").expect("kept");
    assert!(vouch::is_vouched_for(&publisher, &file, &page));
}

/// Moves chunks to where they stand now.
fn settle(page: &mut ManifestPage) {
    let mut offset = 0;
    for span in &mut page.spans {
        span.offset = offset;
        offset += u64::from(span.chunk.len);
    }
}

type Change = Box<dyn Fn(&mut ManifestPage) + Send + Sync>;

/// Ways to lie about a file's chunks. Each page is well-formed, and all its chunks can be had.
fn changes(file: FileId, other: ManifestPage) -> Vec<Change> {
    let liar = Identity::from_secret([101; 32]);
    let of_other = other.clone();
    vec![
        Box::new(|page| {
            page.spans.swap(0, 1);
            settle(page);
        }),
        Box::new(|page| {
            page.spans[1] = page.spans[0];
            settle(page);
            page.len = page.spans.last().map_or(0, |s| s.offset + u64::from(s.chunk.len));
        }),
        Box::new(|page| page.len += 1),
        Box::new(|page| {
            page.spans.truncate(2);
            page.len = page.spans[1].offset + u64::from(page.spans[1].chunk.len);
        }),
        Box::new(|page| *page = ManifestPage::unsigned(0, Vec::new())),
        Box::new(|page| {
            let mut bytes = *page.signatures[0].as_bytes();
            bytes[17] ^= 4;
            page.signatures[0] = PageSignature::from_bytes(bytes);
        }),
        // What the origin signed of another file; and that, signed by the liar itself.
        Box::new(move |page| *page = of_other.clone()),
        Box::new(move |page| {
            *page = other.clone();
            vouch::sign(&liar, &file, page);
        }),
    ]
}

#[test]
fn a_follower_that_lies_about_chunks_is_banned_and_nobody_reads_a_wrong_byte() {
    let lies = Lies::new();
    let (data, other) = (noise(1, 900_000), noise(2, 900_000));
    let (file, another) = (lies.add(&data), lies.add(&other));
    lies.follower_reads(file, &data, 0);
    lies.follower_reads(another, &other, 0);
    let page_of = |file: &FileId| {
        let held = lies.follower.store.held_file(lies.copied.id, file).expect("read");
        held.expect("there").signed_manifest(0, 1).expect("read").expect("signed")
    };
    let (of_file, of_other) = (page_of(&file), page_of(&another));
    let other_spans = of_other.spans.clone();
    let (reader, reading) = lies.reader();
    let (follower, rid) = lies.without_origin();
    for (number, change) in (101..).zip(changes(file, of_other)) {
        let liar = Liar::new(&follower, number, move |_, reply| match reply {
            Reply::Manifest(mut page) => {
                change(&mut page);
                Reply::Manifest(page)
            }
            other => other,
        });
        liar.gives(file, &of_file.spans);
        liar.gives(another, &other_spans);
        let _asked = liar.is_asked_by(&reader, rid);
        let read = reading.read(file, 0, data.len());
        let error = read.map(|read| read == data).expect_err("it is not believed");
        assert!(matches!(error, StoreError::NotFetched { .. }), "{number}: {error}");
        assert!(liar.was_asked(Kind::Manifest), "{number}");
        until("it is banned", || bans(&reader, liar.peer()) == 1);
        let held = reader.store.held_file(reading.repo.id, &file).expect("read");
        assert!(held.is_none(), "{number}: nothing of it is kept");
    }
    let _asked = ask(&reader, &follower, rid);
    assert!(reading.read(file, 0, data.len()).expect("an honest one") == data);
    assert_eq!(bans(&reader, follower.swarm.identity().peer_id()), 0);
}

/// Blobs in one directory, in one commit, at HEAD; their ids, and that of the commit.
pub(super) fn commit(peer: &Peer, repo: &Repo, blobs: &[Vec<u8>]) -> (Vec<ObjectId>, ObjectId) {
    let mut objects = Vec::new();
    let mut add = |kind, data: Vec<u8>| {
        let id = hash_object(kind, &data).expect("no attack");
        objects.push((kind, data));
        id
    };
    let ids: Vec<ObjectId> = blobs.iter().map(|data| add(ObjectKind::Blob, data.clone())).collect();
    let names: Vec<String> = (0..ids.len()).map(|number| format!("f{number}")).collect();
    let entries: Vec<_> = names.iter().zip(&ids).map(|(n, id)| ("100644", &n[..], *id)).collect();
    let root = add(ObjectKind::Tree, tree(&entries));
    let who = "a <a@example.org> 1700000000 +0000";
    let text = format!("tree {root}\nauthor {who}\ncommitter {who}\n\nm\n");
    let tip = add(ObjectKind::Commit, text.into_bytes());
    ingest(&peer.store, repo.id, &pack(&objects));
    let new = Some(RefTarget::Direct(tip));
    let edits = vec![RefEdit { name: RefName::head(), expect: Expect::Any, new }];
    let refs = peer.store.refs();
    refs.apply(repo.id, &RefTransaction { edits }).expect("applied");
    (ids, tip)
}

#[test]
fn lengths_are_the_origins_or_those_of_the_blobs_themselves() {
    let lies = Lies::new();
    let lens = [5_000usize, 70_000, 300];
    let blobs: Vec<Vec<u8>> = lens.iter().map(|len| noise(*len as u64, *len)).collect();
    let (ids, _) = commit(&lies.origin, &lies.repo, &blobs);
    let follower = read_by(&lies.follower, &lies.copied, &lies.record);
    follower.through.fetch(&ObjectWant::exactly(&ids)).expect("brought");
    let liar = Liar::new(&lies.follower, 120, |_, reply| match reply {
        Reply::Headers(mut headers) => {
            headers.iter_mut().flatten().for_each(|header| header.len = 7);
            Reply::Headers(headers)
        }
        other => other,
    });
    let (reader, reading) = lies.reader();
    let rid = lies.rid();
    let _liar = liar.is_asked_by(&reader, rid);
    let len_of = |id: ObjectId| {
        let stat = reading.through.stat(&[id]).expect("read").remove(0);
        stat.map(|stat| stat.header.len)
    };
    let is_here = |id: ObjectId| {
        let members = reader.store.objects().are_members(reading.repo.id, &[id]);
        members.expect("read") == [true]
    };
    // With the origin there: its word, and no more than that travels.
    let origin = ask(&reader, &lies.origin, rid);
    let there = lies.origin.swarm.identity().peer_id();
    until("the origin is there", || reader.swarm.exchange().is_up(there));
    assert_eq!(len_of(ids[0]), Some(5_000));
    assert!(!is_here(ids[0]));
    drop(origin);
    // Without: the blob comes, and says it.
    let (_follower, _) = lies.without_origin();
    assert_eq!(len_of(ids[1]), Some(70_000));
    assert!(is_here(ids[1]));
    assert_eq!(len_of(ids[2]), Some(300));
    // Which of the two brings a blob is theirs to settle; a length is asked of neither.
    assert!(!liar.was_asked(Kind::Headers));
    for (id, blob) in ids.iter().zip(&blobs) {
        let mut out = vec![0; blob.len() + 1];
        let read = reading.through.read_at(&Content::Blob(*id), 0, &mut out).expect("read");
        assert!(out[..read] == blob[..]);
    }
}

#[test]
fn references_that_the_origin_did_not_sign_are_not_believed() {
    let mut lies = Lies::new();
    let (_, tip) = commit(&lies.origin, &lies.repo, &[noise(1, 2_000)]);
    let publisher = lies.record.claims().publisher;
    let newer = resolve(&lies.follower.store, &lies.follower.swarm, publisher, &name("a/b"));
    lies.record = newer.expect("its record");
    assert_eq!(lies.record.claims().head, Some(tip));
    let new = Some(RefTarget::Direct(tip));
    let edits = vec![RefEdit { name: RefName::head(), expect: Expect::Any, new }];
    let refs = lies.follower.store.refs();
    let through = read_by(&lies.follower, &lies.copied, &lies.record).through;
    through.fetch(&ObjectWant::exactly(&[tip])).expect("brought");
    refs.apply(lies.copied.id, &RefTransaction { edits }).expect("applied");
    let other = ObjectId::from_bytes([5; 20]);
    let liar = Liar::new(&lies.follower, 121, move |_, reply| match reply {
        Reply::Refs { mut refs, more } => {
            refs.iter_mut().for_each(|line| line.id = Some(other));
            Reply::Refs { refs, more }
        }
        reply => reply,
    });
    let (reader, reading) = lies.reader();
    let (_follower, rid) = lies.without_origin();
    let _liar = liar.is_asked_by(&reader, rid);
    let found = reading.source.refs(&[RefName::head()]).expect("the record names it");
    assert!(liar.was_asked(Kind::Refs));
    let ids: Vec<_> = found.into_iter().map(|line| line.id).collect();
    assert_eq!(ids, [Some(tip)]);
}
