//! A whole repository to fetch from, and an empty one to fetch into.

use std::collections::HashSet;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::chunks::StoredChunk;
use crate::id::{FileId, ObjectId};
use crate::name::RepoName;
use crate::object::{EntryKind, ObjectKind, hash_object, tree_entries};
use crate::objects::{IngestOptions, PackInput};
use crate::progress::NoProgress;
use crate::read::{ChunkSpan, Pointer};
use crate::repos::{Repo, Visibility};
use crate::source::ObjectWant;
use crate::store::{Store, StoreOptions};
use crate::view::View;

/// A repository that has everything.
pub(super) struct World {
    store: Store,
    repo: Repo,
    pub(super) root: ObjectId,
    pub(super) trees: Vec<ObjectId>,
    /// All blobs, pointers too.
    pub(super) blobs: Vec<ObjectId>,
    pub(super) pointers: Vec<Pointer>,
    _dir: TempDir,
}

/// An empty partial repository in a store of its own.
pub(super) struct Target {
    pub(super) store: Store,
    pub(super) repo: Repo,
    dir: TempDir,
}

fn small() -> StoreOptions {
    StoreOptions { block_cache_len: 8 << 20, base_cache_len: 1 << 20, chunk_cache_len: 1 << 20 }
}

/// Bytes that do not repeat.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
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

/// A pack of whole objects.
pub(super) fn pack(objects: &[(ObjectKind, Bytes)]) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend_from_slice(&u32::try_from(objects.len()).expect("few").to_be_bytes());
    for (kind, data) in objects {
        let code = match kind {
            ObjectKind::Commit => 1u8,
            ObjectKind::Tree => 2,
            ObjectKind::Blob => 3,
            ObjectKind::Tag => 4,
        };
        let mut len = data.len();
        let mut byte = code << 4 | (len & 15) as u8;
        len >>= 4;
        while len > 0 {
            pack.push(byte | 0x80);
            byte = (len & 0x7f) as u8;
            len >>= 7;
        }
        pack.push(byte);
        use std::io::Write;
        let mut zlib = flate2::write::ZlibEncoder::new(&mut pack, flate2::Compression::fast());
        zlib.write_all(data).and_then(|()| zlib.finish().map(|_| ())).expect("in memory");
    }
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
    hasher.update(&pack);
    let trailer = hasher.try_finalize().expect("no attack");
    pack.extend_from_slice(trailer.as_slice());
    pack
}

struct Builder {
    objects: Vec<(ObjectKind, Bytes)>,
    trees: Vec<ObjectId>,
    blobs: Vec<ObjectId>,
    pointers: Vec<Pointer>,
    files: Vec<Vec<u8>>,
    seed: u64,
}

impl Builder {
    fn put(&mut self, kind: ObjectKind, data: Vec<u8>) -> ObjectId {
        let id = hash_object(kind, &data).expect("no attack");
        match kind {
            ObjectKind::Tree => self.trees.push(id),
            _ => self.blobs.push(id),
        }
        self.objects.push((kind, data.into()));
        id
    }

    /// A directory with `width` directories at each of `depth` levels, four blobs and a pointer.
    fn dir(&mut self, depth: usize, width: usize, file_len: usize) -> ObjectId {
        let mut entries: Vec<(String, &str, ObjectId)> = Vec::new();
        for (index, len) in [0, 200, 1024, 5_000].into_iter().enumerate() {
            self.seed += 1;
            let id = self.put(ObjectKind::Blob, noise(self.seed, len));
            entries.push((format!("b{index}"), "100644", id));
        }
        if file_len > 0 {
            self.seed += 1;
            let data = noise(self.seed, file_len);
            let file = FileId::from_bytes(Sha256::digest(&data).into());
            let text = format!(
                "version https://git-lfs.github.com/spec/v1\noid sha256:{file}\nsize {file_len}\n"
            );
            self.pointers.push(Pointer { file, len: file_len as u64 });
            self.files.push(data);
            let id = self.put(ObjectKind::Blob, text.into_bytes());
            entries.push(("c.bin".to_owned(), "100644", id));
        }
        if depth > 0 {
            for index in 0..width {
                let id = self.dir(depth - 1, width, 0);
                entries.push((format!("d{index:02}"), "40000", id));
            }
        }
        let mut data = Vec::new();
        for (name, mode, id) in &entries {
            data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            data.extend_from_slice(id.as_bytes());
        }
        self.put(ObjectKind::Tree, data)
    }
}

impl World {
    /// `width` directories at each of `depth` levels; the root has a file of `file_len` bytes.
    pub(super) fn new(seed: u64, depth: usize, width: usize, file_len: usize) -> Self {
        let target = Target::new();
        let Target { store, repo, dir } = target;
        let (objects, trees, blobs, pointers, files) = Default::default();
        let seed = seed << 32;
        let mut builder = Builder { objects, trees, blobs, pointers, files, seed };
        let root = builder.dir(depth, width, file_len);
        let Builder { objects, trees, blobs, pointers, files, .. } = builder;
        ingest(&store, &repo, &objects);
        for data in files {
            let files = store.files();
            files.ingest(Some(repo.id), &mut &data[..], None, &NoProgress).expect("taken in");
        }
        Self { store, repo, root, trees, blobs, pointers, _dir: dir }
    }

    pub(super) fn view(&self) -> View {
        self.store.view(self.repo.id)
    }

    pub(super) fn object(&self, id: &ObjectId) -> (ObjectKind, Bytes) {
        let object = self.store.objects().read(id).expect("read").expect("is there");
        (object.kind, object.data)
    }

    /// A chunk as it is stored.
    pub(super) fn stored(&self, file: &FileId, span: &ChunkSpan) -> StoredChunk {
        let held = self.store.held_file(self.repo.id, file).expect("read").expect("is there");
        held.chunk(span).expect("read").expect("is there")
    }

    /// What a server sends for a want.
    pub(super) fn pack_for(&self, want: &ObjectWant<'_>) -> Vec<u8> {
        let members = self.store.objects().are_members(self.repo.id, want.ids).expect("read");
        let ids: Vec<ObjectId> =
            want.ids.iter().zip(members).filter(|(_, is)| *is).map(|(id, _)| *id).collect();
        let mut sent: HashSet<ObjectId> = ids.iter().copied().collect();
        let mut objects: Vec<_> = ids.iter().map(|id| self.object(id)).collect();
        let mut level = ids;
        for _ in 1..want.levels {
            let mut below = Vec::new();
            for id in level {
                let (kind, data) = self.object(&id);
                if kind != ObjectKind::Tree {
                    continue;
                }
                for entry in tree_entries(&data).map(|e| e.expect("readable")) {
                    let object = self.object(&entry.id);
                    let is_dir = entry.kind() == EntryKind::Directory;
                    let is_small =
                        want.blob_len_max > 0 && object.1.len() as u64 <= want.blob_len_max;
                    if (is_dir || is_small) && sent.insert(entry.id) {
                        objects.push(object);
                        below.push(entry.id);
                    }
                }
            }
            level = below;
        }
        pack(&objects)
    }
}

/// Makes objects those of a repository.
pub(super) fn ingest(store: &Store, repo: &Repo, objects: &[(ObjectKind, Bytes)]) {
    let bytes = pack(objects);
    let input = PackInput::Stream(&mut &bytes[..]);
    let options = IngestOptions::default();
    store.objects().ingest_pack(repo.id, input, &options, &NoProgress).expect("taken in");
}

impl Target {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &small()).expect("made");
        let name = RepoName::new("there/x").expect("a name");
        let repo = store.repos().create_partial(&name, "http://there/x.git").expect("made");
        assert_eq!((repo.partial, repo.visibility), (true, Visibility::Private));
        Self { store, repo, dir }
    }

    /// Closes the store and opens it again, as after the process was killed.
    pub(super) fn reopen(self) -> Self {
        let Self { store, repo, dir } = self;
        drop(store);
        let path = dir.path().join("s");
        // Threads of the last reader end on their own.
        let store = loop {
            match Store::open(&path, &small()) {
                Ok(store) => break store,
                Err(crate::StoreError::Held { .. }) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        let repo = store.repos().get(&repo.name).expect("is there");
        Self { store, repo, dir }
    }
}
