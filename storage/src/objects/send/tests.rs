//! Packs out, good and hostile: git reads every one.

use std::io;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::db::Durability;
use crate::object::{ObjectKind, hash_object};
use crate::objects::{IngestOptions, PackInput};
use crate::progress::NoProgress;
use crate::testing::{git, try_git};
use crate::{RepoName, Store, StoreError, StoreOptions, Visibility};

/// A store with two repositories, and a git repository to read packs with.
pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) repo: RepoId,
    other: RepoId,
    pub(super) dir: TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        let make = |name: &str| {
            let name = RepoName::new(name).expect("a good name");
            store.repos().create(&name, Visibility::Private).expect("made").id
        };
        let (repo, other) = (make("one"), make("two"));
        git(dir.path(), &["init", "-q", "--bare", "g"], b"");
        Self { store, repo, other, dir }
    }

    /// Whether git takes the bytes for a pack.
    pub(super) fn is_pack(&self, pack: &[u8]) -> bool {
        try_git(&self.git_dir(), &["index-pack", "--stdin"], pack).0
    }

    fn git_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("g")
    }

    /// Makes versions of a file in git, packed as deltas, and takes them in.
    pub(super) fn versions(&self, repo: RepoId, count: u32) -> Vec<ObjectId> {
        let mut ids = Vec::new();
        for version in 0..count {
            let text: String = (0..200)
                .map(|n| format!("line {n} {}\n", version * u32::from(n < version)))
                .collect();
            let id = git(&self.git_dir(), &["hash-object", "-w", "--stdin"], text.as_bytes());
            ids.push(String::from_utf8(id).expect("hex").trim().parse().expect("an id"));
        }
        self.push(repo, &self.pack(&ids));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn pack(&self, ids: &[ObjectId]) -> Vec<u8> {
        let list: String = ids.iter().map(|id| format!("{id}\n")).collect();
        git(&self.git_dir(), &["pack-objects", "--stdout", "-q", "--depth=20"], list.as_bytes())
    }

    fn push(&self, repo: RepoId, mut pack: &[u8]) {
        let (objects, options) = (self.store.objects(), IngestOptions::default());
        let input = PackInput::Stream(&mut pack);
        objects.ingest_pack(repo, input, &options, &NoProgress).expect("taken in");
    }

    fn send(&self, ids: &[ObjectId], options: &SendOptions<'_>) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let objects = self.store.objects();
        let report = objects.send_pack(self.repo, ids, options, &mut out, &NoProgress)?;
        assert_eq!((report.object_count, report.pack_len), (ids.len() as u64, out.len() as u64));
        Ok(out)
    }

    /// Reads a pack in an empty git repository and returns what it holds.
    fn read(&self, pack: &[u8], extra: &[&str]) -> Vec<ObjectId> {
        let dir = tempfile::tempdir_in(self.dir.path()).expect("a directory");
        git(dir.path(), &["init", "-q", "--bare", "."], b"");
        read_in(dir.path(), pack, extra)
    }

    fn depth(&self, id: &ObjectId) -> u8 {
        let db = &self.store.objects().db;
        let value = db.get(Family::Object, id.as_bytes()).expect("reads").expect("stored");
        Row::parse(id, &value).expect("a good row").encoding.depth()
    }
}

fn read_in(dir: &Path, pack: &[u8], extra: &[&str]) -> Vec<ObjectId> {
    let args = [&["index-pack", "--strict", "--stdin"], extra].concat();
    git(dir, &args, pack);
    let args = ["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"];
    let text = String::from_utf8(git(dir, &args, b"")).expect("hex");
    text.lines().map(|line| line.parse().expect("an id")).collect()
}

const OFS: SendOptions<'static> = SendOptions { ofs_delta: true, thin_bases: None, keep: false };
const REF: SendOptions<'static> = SendOptions { ofs_delta: false, thin_bases: None, keep: false };

#[test]
fn git_reads_what_is_sent_many_or_few_with_distances_or_ids() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.repo, 120);
    assert!(ids.iter().any(|id| fixture.depth(id) > 3), "deltas are stored");
    for options in [OFS, REF] {
        // All, half, one in ten (looked up, not scanned), one, none.
        for step in [1, 2, 10, 120] {
            let some: Vec<ObjectId> = ids.iter().copied().step_by(step).collect();
            let pack = fixture.send(&some, &options).expect("sent");
            assert_eq!(fixture.read(&pack, &[]), some);
        }
        let empty = fixture.send(&[], &options).expect("sent");
        assert_eq!(fixture.read(&empty, &[]), []);
    }
    let full = fixture.send(&ids, &OFS).expect("sent");
    assert!(full.len() < fixture.pack(&ids).len() * 11 / 10, "deltas go along");
}

#[test]
fn a_base_comes_before_its_deltas() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.repo, 150);
    let pack = fixture.send(&ids, &REF).expect("sent");
    let file = fixture.dir.path().join("p.pack");
    std::fs::write(&file, &pack).expect("written");
    git(fixture.dir.path(), &["index-pack", "p.pack"], b"");
    let text = git(fixture.dir.path(), &["verify-pack", "-v", "p.idx"], b"");
    let text = String::from_utf8(text).expect("text");
    let mut seen = std::collections::HashSet::new();
    let mut entries: Vec<Vec<&str>> = text.lines().map(|l| l.split(' ').collect()).collect();
    entries.retain(|words| words[0].len() == 40);
    let entries = entries.into_iter().map(|w| w.into_iter().filter(|w| !w.is_empty()).collect());
    let mut entries: Vec<Vec<&str>> = entries.collect();
    entries.sort_by_key(|words| words[4].parse::<u64>().expect("an offset"));
    let mut delta_count = 0;
    for words in entries {
        if let Some(base) = words.get(6) {
            assert!(seen.contains(base), "{base} comes later");
            delta_count += 1;
        }
        seen.insert(words[0]);
    }
    assert!(delta_count > 50);
}

#[test]
fn a_thin_pack_names_only_bases_that_the_client_has() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.repo, 60);
    let (client, wanted): (Vec<_>, Vec<_>) = ids.iter().partition(|id| fixture.depth(id) == 0);
    let has = |id: &ObjectId| client.contains(id);
    let thin = SendOptions { ofs_delta: true, thin_bases: Some(&has), keep: false };
    let pack = fixture.send(&wanted, &thin).expect("sent");
    let whole = fixture.send(&wanted, &OFS).expect("sent");
    assert!(pack.len() < whole.len());
    assert_eq!(fixture.read(&whole, &[]), wanted, "needs nothing from outside");
    let dir = tempfile::tempdir_in(fixture.dir.path()).expect("a directory");
    git(dir.path(), &["init", "-q", "--bare", "."], b"");
    assert!(!try_git(dir.path(), &["index-pack", "--stdin", "--fix-thin"], &pack).0);
    read_in(dir.path(), &fixture.pack(&client), &[]);
    assert_eq!(read_in(dir.path(), &pack, &["--fix-thin"]), ids);
}

#[test]
fn a_fork_whose_base_is_private_to_another_gets_the_object_whole() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.other, 40);
    let shared: Vec<ObjectId> = ids.iter().copied().filter(|id| fixture.depth(id) > 0).collect();
    // The same objects, pushed to the first repository without the bases.
    let list: String = shared.iter().map(|id| format!("{id}\n")).collect();
    let args = ["pack-objects", "--stdout", "-q", "--depth=0"];
    fixture.push(fixture.repo, &git(&fixture.git_dir(), &args, list.as_bytes()));
    assert!(shared.iter().all(|id| fixture.depth(id) > 0), "stored rows stay deltas");
    let everything = |_: &ObjectId| true;
    for thin_bases in [None, Some(&everything as &dyn Fn(&ObjectId) -> bool)] {
        let options = SendOptions { ofs_delta: true, thin_bases, keep: false };
        let pack = fixture.send(&shared, &options).expect("sent");
        assert_eq!(fixture.read(&pack, &[]), shared);
        for private in ids.iter().filter(|id| !shared.contains(id)) {
            let named = pack.windows(20).any(|bytes| bytes == private.as_bytes());
            assert!(!named, "a private base's id leaked");
        }
    }
}

#[test]
fn what_is_not_a_member_is_not_sent() {
    let fixture = Fixture::new();
    let private = fixture.versions(fixture.other, 3);
    for ids in [&private[..], &private[..1]] {
        let error = fixture.send(ids, &OFS).expect_err("not ours");
        assert!(matches!(error, StoreError::MissingObject { id } if id == private[0]));
    }
    let mut ids = fixture.versions(fixture.repo, 200);
    ids.retain(|id| {
        !private.contains(id) || fixture.store.objects().is_member(fixture.repo, id).expect("reads")
    });
    ids.push(ObjectId::from_bytes([0xff; 20]));
    let error = fixture.send(&ids, &OFS).expect_err("absent");
    assert!(matches!(error, StoreError::MissingObject { .. }));
}

#[test]
fn large_objects_go_by_parts() {
    let fixture = Fixture::new();
    let noise: Vec<u8> =
        (0..3_500_000u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect();
    let mut noise = noise;
    for index in 0..noise.len() - 8 {
        noise[index] ^= noise[index + 7].rotate_left(3) ^ (index >> 9) as u8;
    }
    let id = git(&fixture.git_dir(), &["hash-object", "-w", "--stdin"], &noise);
    let id: ObjectId = String::from_utf8(id).expect("hex").trim().parse().expect("an id");
    fixture.push(fixture.repo, &fixture.pack(&[id]));
    let pack = fixture.send(&[id], &OFS).expect("sent");
    assert!(pack.len() > 1 << 20, "{}", pack.len());
    assert_eq!(fixture.read(&pack, &[]), [id]);
}

/// Does something when the first bytes arrive.
struct Meddler<'a> {
    out: Vec<u8>,
    meddle: Option<Box<dyn FnOnce() + 'a>>,
}

impl io::Write for Meddler<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(meddle) = self.meddle.take() {
            meddle();
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn all_of_a_pack_is_of_one_moment() {
    let fixture = Fixture::new();
    // Incompressible, so that the first bytes leave long before the end.
    let mut ids = fixture.versions(fixture.repo, 80);
    for seed in 0..30u64 {
        let mut state = seed + 1;
        let mut roll = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        let data: Vec<u8> =
            (0..if seed == 7 { 2_500_000 } else { 20_000 }).map(|_| roll()).collect();
        let id = git(&fixture.git_dir(), &["hash-object", "-w", "--stdin"], &data);
        ids.push(String::from_utf8(id).expect("hex").trim().parse().expect("an id"));
    }
    fixture.push(fixture.repo, &fixture.pack(&ids));
    // Without the whole ones among the versions: their deltas are resolved while sending.
    ids.retain(|id| fixture.depth(id) != 1);
    ids.sort_unstable();
    let db = &fixture.store.objects().db;
    let erase = || {
        let name = RepoName::new("one").expect("a good name");
        fixture.store.repos().delete(&name).expect("deleted");
        let mut batch = db.batch();
        for family in [Family::Object, Family::ObjectPart] {
            batch.delete_prefix(family, &[]);
        }
        db.commit(batch, Durability::Synced).expect("written");
    };
    let mut out = Meddler { out: Vec::new(), meddle: Some(Box::new(erase)) };
    let objects = fixture.store.objects();
    objects.send_pack(fixture.repo, &ids, &OFS, &mut out, &NoProgress).expect("sent");
    assert!(out.meddle.is_none());
    assert_eq!(fixture.read(&out.out, &[]), ids);
    assert!(fixture.send(&ids, &OFS).is_err(), "afterwards it is gone");
}

#[test]
fn a_damaged_row_breaks_the_pack_off() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.repo, 100);
    let db = &fixture.store.objects().db;
    let middle = ids[ids.len() / 2];
    let whole = *ids.iter().rfind(|id| fixture.depth(id) == 0).expect("one is whole");
    let cut = |id: &ObjectId| {
        let mut value = db.get(Family::Object, id.as_bytes()).expect("reads").expect("is").to_vec();
        value[0] |= 0x80;
        value
    };
    for (id, value) in [(middle, cut(&middle)), (whole, Vec::new())] {
        let good = db.get(Family::Object, id.as_bytes()).expect("reads").expect("is").to_vec();
        let put = |value: &[u8]| {
            let mut batch = db.batch();
            batch.put(Family::Object, id.as_bytes(), value);
            db.commit(batch, Durability::Synced).expect("written");
        };
        put(&value);
        let mut out = Vec::new();
        let objects = fixture.store.objects();
        let sent = objects.send_pack(fixture.repo, &ids, &OFS, &mut out, &NoProgress);
        assert!(matches!(sent, Err(StoreError::DamagedRow { .. })), "{sent:?}");
        let (taken, _) = try_git(&fixture.git_dir(), &["index-pack", "--stdin"], &out);
        assert!(!taken, "what was sent until then is no pack");
        put(&good);
    }
    fixture.send(&ids, &OFS).expect("whole again");
}

#[test]
fn deltas_that_do_not_descend_break_the_pack_off() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.repo, 50);
    let db = &fixture.store.objects().db;
    let first = *ids.iter().find(|id| fixture.depth(id) == 1).expect("a delta");
    let value = db.get(Family::Object, first.as_bytes()).expect("reads").expect("is").to_vec();
    let row = Row::parse(&first, &value).expect("a good row");
    let Encoding::Delta { base, delta_len, .. } = row.encoding else { panic!("a delta") };
    // The base becomes a delta against its own delta.
    let encoding = Encoding::Delta { base: first, delta_len, depth: 1 };
    let mut cycle = Vec::new();
    Row { encoding, ..row }.encode(&mut cycle);
    let mut batch = db.batch();
    batch.put(Family::Object, base.as_bytes(), &cycle);
    db.commit(batch, Durability::Synced).expect("written");
    assert!(matches!(fixture.send(&ids, &OFS), Err(StoreError::DamagedRow { .. })));
}

/// A client that has gone away.
struct Closed(usize);

impl io::Write for Closed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += 1;
        if self.0 > 1 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_that_goes_away_ends_it() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.repo, 20);
    let objects = fixture.store.objects();
    let sent = objects.send_pack(fixture.repo, &ids, &OFS, &mut Closed(0), &NoProgress);
    let Err(StoreError::Io { source, .. }) = sent else { panic!("{sent:?}") };
    assert_eq!(source.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(std::fs::read_dir(fixture.store.tmp()).expect("reads").count(), 0);
}

#[test]
fn a_kind_is_that_of_the_object() {
    let fixture = Fixture::new();
    let tree = hash_object(ObjectKind::Tree, b"").expect("no attack");
    git(&fixture.git_dir(), &["hash-object", "-w", "-t", "tree", "--stdin"], b"");
    fixture.push(fixture.repo, &fixture.pack(&[tree]));
    assert_eq!(fixture.read(&fixture.send(&[tree], &OFS).expect("sent"), &[]), [tree]);
}

#[test]
fn distances_as_git_writes_them() {
    for distance in [1u64, 127, 128, 16_511, 16_512, 1 << 20, u64::from(u32::MAX), 1 << 40] {
        let mut out = Vec::new();
        push_distance(&mut out, distance);
        let mut read = u64::from(out[0] & 0x7f);
        for byte in &out[1..] {
            read = ((read + 1) << 7) | u64::from(byte & 0x7f);
        }
        assert_eq!(read, distance);
        assert!(out[..out.len() - 1].iter().all(|b| b & 0x80 != 0));
    }
}
