//! A store with a public, a mesh and a private repository, which have the same history and files of
//! their own; and peers who ask.

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use libp2p::PeerId;
use mega_storage::object::hash_object;
use mega_storage::{
    ChunkSpan, Expect, FileId, IngestOptions, NoProgress, ObjectId, ObjectKind, PackInput,
    PeerIdBytes, RefEdit, RefName, RefTarget, RefTransaction, Repo, RepoId, RepoName,
    SettingChange, Store, StoreError, StoreOptions, Visibility,
};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::swarm::identity::Identity;
use crate::swarm::record::peer_bytes;
use crate::swarm::serve::{Answerer, Asker, Directory};
use crate::swarm::wire::{Answering, Frames, Reply, RepoKey, Request, RequestId, Side, Step};

/// A repository's key by a number.
pub(super) fn key(number: u8) -> RepoKey {
    RepoKey::from_bytes([number; 32])
}

fn peer(number: u8) -> PeerId {
    // The multihash of a short key is the key itself.
    let bytes = [&[0, 0x24, 8, 1, 0x12, 0x20][..], &[number; 32]].concat();
    PeerId::from_bytes(&bytes).expect("a peer's id")
}

/// Nobody in particular.
pub(super) fn stranger() -> Asker {
    Asker::new(&peer(1), false)
}

/// A peer of the mesh.
pub(super) fn mesh() -> Asker {
    Asker::new(&peer(2), true)
}

/// A peer that the private repository names as its reader.
pub(super) fn reader() -> Asker {
    Asker::new(&peer(3), false)
}

/// A peer that it names as its writer.
pub(super) fn writer() -> Asker {
    Asker::new(&peer(4), false)
}

/// Bytes that do not repeat.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// A table of keys, the copies that are served on, and who the store is.
pub(super) struct Table(
    pub(super) Mutex<HashMap<RepoKey, RepoId>>,
    pub(super) Mutex<Vec<RepoId>>,
    pub(super) Identity,
);

impl Directory for Table {
    fn repo(&self, key: &RepoKey) -> Result<Option<RepoId>, StoreError> {
        Ok(self.0.lock().get(key).copied())
    }

    fn record(&self, repo: &Repo) -> Result<Option<Bytes>, StoreError> {
        Ok(Some(format!("the record of {}", repo.name).into()))
    }

    fn identity(&self) -> &Identity {
        &self.2
    }

    fn serves_on(&self, repo: RepoId) -> bool {
        self.1.lock().contains(&repo)
    }
}

/// A file of a repository.
pub(super) struct Content {
    pub(super) file: FileId,
    pub(super) data: Vec<u8>,
    pub(super) spans: Vec<ChunkSpan>,
}

/// The store, and what is in it.
pub(super) struct Scene {
    pub(super) store: Store,
    pub(super) answerer: Answerer,
    pub(super) table: Arc<Table>,
    pub(super) blobs: Vec<ObjectId>,
    pub(super) below: ObjectId,
    pub(super) root: ObjectId,
    pub(super) first: ObjectId,
    pub(super) last: ObjectId,
    /// By repository: `open` 1, `meshed` 2, `secret` 3.
    pub(super) files: HashMap<&'static str, Content>,
    _dir: TempDir,
}

/// A pack of whole objects.
pub(crate) fn pack(objects: &[(ObjectKind, Vec<u8>)]) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend_from_slice(&u32::try_from(objects.len()).expect("few").to_be_bytes());
    for (kind, data) in objects {
        let code = match kind {
            ObjectKind::Commit => 1u8,
            ObjectKind::Tree => 2,
            ObjectKind::Blob => 3,
            ObjectKind::Tag => 4,
        };
        let (mut byte, mut rest) = (code << 4 | (data.len() & 15) as u8, data.len() >> 4);
        while rest > 0 {
            pack.push(byte | 0x80);
            (byte, rest) = ((rest & 0x7f) as u8, rest >> 7);
        }
        pack.push(byte);
        let mut zlib = flate2::write::ZlibEncoder::new(&mut pack, flate2::Compression::fast());
        zlib.write_all(data).and_then(|()| zlib.finish().map(|_| ())).expect("in memory");
    }
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().expect("no attack").as_slice());
    pack
}

/// Takes a pack in; the objects that the repository has then.
pub(crate) fn ingest(store: &Store, repo: RepoId, mut pack: &[u8]) -> Vec<ObjectId> {
    let input = PackInput::Stream(&mut pack);
    let options = IngestOptions::default();
    store.objects().ingest_pack(repo, input, &options, &NoProgress).expect("a good pack");
    store.objects().members(repo).map(|id| id.expect("read")).collect()
}

pub(crate) fn tree(entries: &[(&str, &str, ObjectId)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (mode, name, id) in entries {
        data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        data.extend_from_slice(id.as_bytes());
    }
    data
}

/// Objects with their ids.
#[derive(Default)]
struct Objects(Vec<(ObjectKind, Vec<u8>)>);

impl Objects {
    fn add(&mut self, kind: ObjectKind, data: Vec<u8>) -> ObjectId {
        let id = hash_object(kind, &data).expect("no attack");
        self.0.push((kind, data));
        id
    }

    fn commit(&mut self, tree: &ObjectId, parent: Option<&ObjectId>) -> ObjectId {
        let parent = parent.map(|id| format!("parent {id}\n")).unwrap_or_default();
        let who = "a <a@example.org> 1700000000 +0000";
        let text = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\nm\n");
        self.add(ObjectKind::Commit, text.into_bytes())
    }
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::with_seed(0)
    }

    /// With other files than those of another seed.
    pub(super) fn with_seed(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        let mut objects = Objects::default();
        let lens = [20, 2_000, 700_000];
        let blobs = lens.map(|len| objects.add(ObjectKind::Blob, noise(len as u64, len)));
        let below = objects.add(ObjectKind::Tree, tree(&[("100644", "c", blobs[1])]));
        let entries = [("100644", "a", blobs[0]), ("100644", "b", blobs[2]), ("40000", "d", below)];
        let root = objects.add(ObjectKind::Tree, tree(&entries));
        let first = objects.commit(&below, None);
        let last = objects.commit(&root, Some(&first));
        let identity = Identity::from_secret([1 + (seed % 250) as u8; 32]);
        let table = Arc::new(Table(Mutex::default(), Mutex::default(), identity));
        let answerer = Answerer::new(&store, table.clone());
        let (blobs, files) = (blobs.to_vec(), HashMap::new());
        let mut scene =
            Self { store, answerer, table, blobs, below, root, first, last, files, _dir: dir };
        for (number, name, visibility) in [
            (1, "open", Visibility::Public),
            (2, "meshed", Visibility::Mesh),
            (3, "secret", Visibility::Private),
        ] {
            let repo = scene.repo(number, name, visibility);
            ingest(&scene.store, repo.id, &pack(&objects.0));
            scene.point(&repo, "refs/heads/main", Some(last));
            scene.point_to(&repo, "HEAD", "refs/heads/main");
            let data = noise(seed + u64::from(number), 500_000);
            let content = scene.add_file(&repo, data);
            scene.files.insert(name, content);
        }
        for (setting, number) in [("swarm.allowRead", 3), ("swarm.allowWrite", 4)] {
            scene.set("secret", setting, &peer(number).to_base58());
        }
        scene
    }

    /// Makes a repository that peers know by this number.
    pub(super) fn repo(&self, number: u8, name: &str, visibility: Visibility) -> Repo {
        let name = RepoName::new(name).expect("a name");
        let repo = self.store.repos().create(&name, visibility).expect("made");
        self.table.0.lock().insert(key(number), repo.id);
        repo
    }

    /// Who the store is, as requests name it.
    pub(super) fn publisher(&self) -> PeerIdBytes {
        peer_bytes(&self.table.2.peer_id())
    }

    pub(super) fn get(&self, name: &str) -> Repo {
        self.store.repos().get(&RepoName::new(name).expect("a name")).expect("there")
    }

    pub(super) fn show(&self, name: &str, visibility: Visibility) {
        let name = RepoName::new(name).expect("a name");
        self.store.repos().set_visibility(&name, visibility).expect("set");
    }

    pub(super) fn set(&self, name: &str, setting: &str, value: &str) {
        let change = SettingChange::Add(value.to_owned());
        self.store.set_setting(self.get(name).id, setting, &change).expect("set");
    }

    pub(super) fn add_file(&self, repo: &Repo, data: Vec<u8>) -> Content {
        let files = self.store.files();
        let report = files.ingest(Some(repo.id), &mut &data[..], None, &NoProgress);
        let file = report.expect("taken in").id;
        let spans = files.chunk_spans(&file, 0, u64::MAX).expect("read");
        Content { file, data, spans }
    }

    fn edit(&self, repo: &Repo, name: &str, new: Option<RefTarget>) {
        let name = RefName::new(name.as_bytes()).expect("a name");
        let edits = vec![RefEdit { name, expect: Expect::Any, new }];
        self.store.refs().apply(repo.id, &RefTransaction { edits }).expect("applied");
    }

    pub(super) fn point(&self, repo: &Repo, name: &str, id: Option<ObjectId>) {
        self.edit(repo, name, id.map(RefTarget::Direct));
    }

    pub(super) fn point_to(&self, repo: &Repo, name: &str, target: &str) {
        let target = RefName::new(target.as_bytes()).expect("a name");
        self.edit(repo, name, Some(RefTarget::Symbolic(target)));
    }

    /// All answers to a request, as they come out on the other side, where they have to be right.
    pub(super) fn ask(&self, asker: &Asker, request: &Request) -> Vec<Reply> {
        let (mut bytes, id) = (Vec::new(), RequestId(1));
        let mut sink = |reply: Reply| {
            reply.encode(id, &mut bytes);
            ControlFlow::Continue(())
        };
        self.answerer.answer(asker, request, &NoProgress, &mut sink).expect("answered");
        let (mut frames, mut rest) = (Frames::new(Side::Answerer), &bytes[..]);
        let (mut answering, mut replies) = (Answering::new(request), Vec::new());
        while let Some(frame) = frames.next(&mut rest).expect("good frames") {
            let reply = Reply::decode(&frame).expect("a good answer");
            let step = answering.take(&reply).expect("an answer to what was asked");
            assert_eq!(step == Step::Last, rest.is_empty(), "one last answer, at the end");
            replies.push(reply);
        }
        replies
    }
}
