//! Made-up content, written row by row: a store of millions of objects and chunks in a minute, for
//! measuring what gc costs.
//!
//! The rows are those of real content but for their size: a chunk has a few bytes, since gc never
//! reads more of it.

use sha2::{Digest, Sha256};

use crate::db::{Durability, Family, keys};
use crate::error::Result;
use crate::id::{ChunkId, FileId, ObjectId, RepoId};
use crate::lease::short;
use crate::manifest::{ChunkRef, ManifestBuilder};
use crate::object::{Object, ObjectKind, hash_object};
use crate::repos::Visibility;
use crate::store::Store;
use crate::{Expect, RefEdit, RefName, RefTarget, RefTransaction, RepoName};

/// Directories of the made-up history, and files of each.
const DIRECTORIES: usize = 16;
const FILES: usize = 16;
/// Objects that a commit brings: itself, a root, a directory, two files.
const PER_COMMIT: u64 = 5;
/// Chunks of one file.
const FILE_CHUNKS: u64 = 20_000;
/// Rows are written in batches of this many bytes.
const BATCH_LEN: usize = 4 << 20;

/// What to make up.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    /// Git objects.
    pub objects: u64,
    /// Chunks.
    pub chunks: u64,
    /// One in so many of each is dead.
    pub dead_share: u64,
}

struct Writer<'a> {
    store: &'a Store,
    batch: crate::db::Batch<'a>,
}

impl<'a> Writer<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, batch: store.db().batch() }
    }

    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.put(family, key, value);
        if self.batch.len() < BATCH_LEN {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.batch, self.store.db().batch());
        self.store.db().commit(full, Durability::Logged)
    }

    fn object(&mut self, repo: RepoId, kind: ObjectKind, data: Vec<u8>) -> Result<ObjectId> {
        let id = hash_object(kind, &data).expect("no attack");
        let (row, _) = self.store.objects().whole_row(&id, &Object { kind, data: data.into() })?;
        self.put(Family::Object, id.as_bytes(), &row)?;
        self.put(Family::RepoObject, &keys::repo_object(repo, &id), &[])?;
        Ok(id)
    }

    fn end(self) -> Result<()> {
        self.store.db().commit(self.batch, Durability::Synced)
    }
}

impl Synthetic {
    /// Fills a store: a repository `made/up` with a branch, and files of the owner's own.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn fill(&self, store: &Store) -> Result<()> {
        let name = RepoName::new("made/up")?;
        let repo = store.repos().create(&name, Visibility::Private)?.id;
        let dead = self.objects / self.dead_share;
        let tip = history(store, repo, (self.objects - dead) / PER_COMMIT, 1)?;
        history(store, repo, dead / PER_COMMIT, 2)?;
        let edit = RefEdit {
            name: RefName::new(b"refs/heads/main")?,
            expect: Expect::Any,
            new: Some(RefTarget::Direct(tip)),
        };
        store.refs().apply(repo, &RefTransaction { edits: vec![edit] })?;
        let files = self.chunks.div_ceil(FILE_CHUNKS);
        let mut left = self.chunks;
        for number in 0..files {
            let count = left.min(FILE_CHUNKS);
            left -= count;
            file(store, number, count, number % self.dead_share != self.dead_share - 1)?;
        }
        Ok(())
    }
}

/// A line of commits, each with a new version of two files; returns the last.
fn history(store: &Store, repo: RepoId, commits: u64, seed: u64) -> Result<ObjectId> {
    let mut writer = Writer::new(store);
    let mut files = vec![vec![ObjectId::NULL; FILES]; DIRECTORIES];
    let mut directories = vec![ObjectId::NULL; DIRECTORIES];
    let mut parent = None::<ObjectId>;
    for (number, (files, directory)) in files.iter_mut().zip(&mut directories).enumerate() {
        for (index, file) in files.iter_mut().enumerate() {
            let data = format!("{seed} {number} {index}\n").into_bytes();
            *file = writer.object(repo, ObjectKind::Blob, data)?;
        }
        *directory = writer.object(repo, ObjectKind::Tree, tree("100644 file", files))?;
    }
    for number in 0..commits.max(1) {
        let directory = (number as usize * 7) % DIRECTORIES;
        for step in 0..2 {
            let file = (number as usize * 3 + step * 5) % FILES;
            let data = format!("{seed} {number} {step}: a line of some text\n").into_bytes();
            files[directory][file] = writer.object(repo, ObjectKind::Blob, data)?;
        }
        let data = tree("100644 file", &files[directory]);
        directories[directory] = writer.object(repo, ObjectKind::Tree, data)?;
        let root = writer.object(repo, ObjectKind::Tree, tree("40000 dir", &directories))?;
        let mut text = format!("tree {root}\n");
        if let Some(parent) = parent {
            text += &format!("parent {parent}\n");
        }
        text += &format!("author a <a@b> {number} +0000\ncommitter a <a@b> {number} +0000\n\nm\n");
        parent = Some(writer.object(repo, ObjectKind::Commit, text.into_bytes())?);
    }
    writer.end()?;
    Ok(parent.expect("at least one commit"))
}

fn tree(entry: &str, ids: &[ObjectId]) -> Vec<u8> {
    let mut data = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        data.extend_from_slice(format!("{entry}{number:02}\0").as_bytes());
        data.extend_from_slice(id.as_bytes());
    }
    data
}

/// A file of so many chunks; with `is_held` the owner's.
fn file(store: &Store, number: u64, chunks: u64, is_held: bool) -> Result<()> {
    let mut writer = Writer::new(store);
    let id = FileId::from_bytes(Sha256::digest(number.to_be_bytes()).into());
    let mut manifest = ManifestBuilder::new();
    for index in 0..chunks {
        let name = [number.to_be_bytes(), index.to_be_bytes()].concat();
        let chunk = ChunkId::from_bytes(Sha256::digest(name).into());
        let meta = [65_536u32.to_be_bytes(), 9u32.to_be_bytes(), [0; 4], [0; 4]].concat();
        writer.put(Family::Chunk, chunk.as_bytes(), &short(chunk.as_bytes()).to_be_bytes())?;
        writer.put(Family::ChunkMeta, chunk.as_bytes(), &meta)?;
        writer.put(
            Family::ChunkFile,
            &keys::chunk_file(&chunk, &id),
            &((index / 4_096) as u32).to_be_bytes(),
        )?;
        manifest.push(&ChunkRef { id: chunk, len: 65_536 }, store.tmp())?;
    }
    let (head, segments) = manifest.finish()?;
    for (index, row) in (0u32..).zip(segments) {
        writer.put(Family::FileSegment, &keys::file_segment(&id, index), &row?)?;
    }
    writer.put(Family::File, id.as_bytes(), &head.encode())?;
    if is_held {
        writer.put(Family::RepoFile, &keys::repo_file(crate::NO_REPO, &id), &[])?;
        writer.put(Family::FileRepo, &keys::file_repo(&id, crate::NO_REPO), &[])?;
    }
    writer.end()
}
