//! gc against a store of a few repositories: each interleaving at the points where it matters, each
//! crash, and a model of the protocol.

mod crash;
mod interleavings;
mod live;
mod load;
mod model;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::db::{Family, keys};
use crate::manifest::ChunkRef;
use crate::object::ObjectKind;
use crate::object::parse::{EntryKind, commit_info, tree_entries};
use crate::objects::packs_for_tests::{PackBuilder, delta, noise};
use crate::objects::row::{Encoding, Row};
use crate::objects::{IngestOptions, IngestReport, PackInput};
use crate::read::Pointer;
use crate::refs::{Expect, RefEdit, RefTarget, RefTransaction};
use crate::repos::{Repo, Visibility};
use crate::{NoProgress, StoreOptions};

/// Nothing that was given up stays.
pub(crate) const NOW: GcOptions = GcOptions { grace_s: 0, dry_run: false };
/// Content of the chunker's usual mean and more: a few chunks.
const FILE_LEN: usize = 400_000;

/// A store, and the repositories' names.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) path: PathBuf,
    _dir: Option<TempDir>,
}

/// Objects that a push brings.
#[derive(Clone, Default)]
pub(crate) struct Objects(pub(crate) Vec<(ObjectKind, Vec<u8>)>);

impl Objects {
    pub(crate) fn add(&mut self, kind: ObjectKind, data: Vec<u8>) -> ObjectId {
        let id = crate::object::hash_object(kind, &data).expect("no attack");
        self.0.push((kind, data));
        id
    }

    pub(crate) fn blob(&mut self, data: &[u8]) -> ObjectId {
        self.add(ObjectKind::Blob, data.to_vec())
    }

    /// A directory of files with these names.
    pub(crate) fn tree(&mut self, entries: &[(&str, ObjectId)]) -> ObjectId {
        let mut data = Vec::new();
        for (name, id) in entries {
            data.extend_from_slice(format!("100644 {name}\0").as_bytes());
            data.extend_from_slice(id.as_bytes());
        }
        self.add(ObjectKind::Tree, data)
    }

    pub(crate) fn commit(&mut self, tree: ObjectId, parents: &[ObjectId]) -> ObjectId {
        let mut text = format!("tree {tree}\n");
        parents.iter().for_each(|parent| text += &format!("parent {parent}\n"));
        text += "author a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nm\n";
        self.add(ObjectKind::Commit, text.into_bytes())
    }

    /// A commit with one file of this content.
    pub(crate) fn simple(&mut self, content: &[u8], parents: &[ObjectId]) -> ObjectId {
        let blob = self.blob(content);
        let tree = self.tree(&[("file", blob)]);
        self.commit(tree, parents)
    }

    pub(crate) fn ids(&self) -> Vec<ObjectId> {
        let id = |(kind, data): &(ObjectKind, Vec<u8>)| {
            crate::object::hash_object(*kind, data).expect("no attack")
        };
        self.0.iter().map(id).collect()
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut pack = PackBuilder::new();
        for (kind, data) in &self.0 {
            pack.object(*kind, data);
        }
        pack.finish()
    }
}

pub(crate) fn name(text: &str) -> crate::RepoName {
    crate::RepoName::new(text).expect("a good name")
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let store = Store::create(&path, &StoreOptions::default()).expect("made");
        Self { store, path, _dir: Some(dir) }
    }

    /// The store as a crash at this moment would leave it, opened.
    pub(crate) fn crashed(&self) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        copy(&self.path, &path);
        let store = Store::open(&path, &StoreOptions::default()).expect("opened");
        Self { store, path, _dir: Some(dir) }
    }

    pub(crate) fn repo(&self, text: &str) -> Repo {
        self.store.repos().create(&name(text), Visibility::Private).expect("made")
    }

    /// Takes a pack in as a push does, up to where references would change.
    pub(crate) fn bring(&self, repo: RepoId, pack: &[u8]) -> Result<IngestReport> {
        self.prepared(repo, pack)?.commit()
    }

    pub(crate) fn prepared<'a>(
        &'a self,
        repo: RepoId,
        mut pack: &[u8],
    ) -> Result<crate::PreparedPack<'a>> {
        let options = IngestOptions { links: true, ..IngestOptions::default() };
        let input = PackInput::Stream(&mut pack);
        let mut prepared = self.store.objects().prepare_pack(repo, input, &options, &NoProgress)?;
        prepared.check_connected(&[])?;
        Ok(prepared)
    }

    pub(crate) fn set(&self, repo: RepoId, branch: &str, to: Option<ObjectId>) -> Result<()> {
        let name = RefName::new(format!("refs/heads/{branch}").as_bytes()).expect("a good name");
        let new = to.map(RefTarget::Direct);
        let edit = RefEdit { name, expect: Expect::Any, new };
        self.store.refs().apply(repo, &RefTransaction { edits: vec![edit] })
    }

    pub(crate) fn push(&self, repo: RepoId, objects: &Objects, branch: &str, tip: ObjectId) {
        let _report = self.bring(repo, &objects.pack()).expect("taken");
        self.set(repo, branch, Some(tip)).expect("set");
    }

    /// Uploads a file as a push does, and gives its pointer's text.
    pub(crate) fn upload(&self, repo: RepoId, seed: u64) -> (FileId, Vec<u8>) {
        let content = noise(seed, FILE_LEN);
        let file = file_id(&content);
        let pointer = Pointer { file, len: content.len() as u64 };
        let files = self.store.files();
        files.ingest_for_push(repo, &mut &content[..], pointer, &NoProgress).expect("taken");
        (file, pointer_text(&file))
    }

    /// A branch with a file: uploaded, pushed.
    pub(crate) fn push_file(&self, repo: RepoId, seed: u64, branch: &str) -> (FileId, Objects) {
        let (file, text) = self.upload(repo, seed);
        let mut objects = Objects::default();
        let tip = objects.simple(&text, &[]);
        let report = self.bring(repo, &objects.pack()).expect("taken");
        let named: Vec<FileId> = report.pointers.iter().map(|pointer| pointer.file).collect();
        assert_eq!(named, [file]);
        self.set(repo, branch, Some(tip)).expect("set");
        self.store.files().note_named(repo, &named).expect("noted");
        (file, objects)
    }

    pub(crate) fn gc(&self) -> GcReport {
        let report = self.store.gc(&NOW, &NoProgress).expect("collected");
        self.check();
        report
    }

    /// Runs gc; at the `turn`-th time that it is at the point, `then` is done.
    pub(crate) fn gc_with(&self, point: Point, then: impl FnMut()) -> GcReport {
        let then = RefCell::new((Some(()), then));
        let watch = |at: Point| {
            let mut then = then.borrow_mut();
            if at == point && then.0.take().is_some() {
                (then.1)();
            }
            Ok(())
        };
        let report = self.store.gc_watched(&NOW, &NoProgress, &watch).expect("collected");
        self.check();
        report
    }

    pub(crate) fn has_rows(&self, ids: &[ObjectId]) -> Vec<bool> {
        let stored = self.store.objects().kinds(ids).expect("read");
        stored.iter().map(Option::is_some).collect()
    }

    pub(crate) fn has_all(&self, ids: &[ObjectId]) -> bool {
        self.has_rows(ids).iter().all(|stored| *stored)
    }

    pub(crate) fn has_none(&self, ids: &[ObjectId]) -> bool {
        self.has_rows(ids).iter().all(|stored| !*stored)
    }

    pub(crate) fn count(&self, family: Family) -> usize {
        let rows: Result<Vec<_>> = self.store.db().scan(family, &[]).collect();
        rows.expect("read").len()
    }

    /// Checks everything that must hold at any time.
    pub(crate) fn check(&self) {
        let db = self.store.db();
        let mut rows = BTreeMap::new();
        for row in db.scan(Family::Object, &[]) {
            let (key, value) = row.expect("read");
            let id = ObjectId::from_slice(&key).expect("an id");
            let row = Row::parse(&id, &value).expect("a row");
            rows.insert(id, row.encoding);
        }
        for (id, encoding) in &rows {
            if let Encoding::Delta { base, depth, .. } = encoding {
                let base = rows.get(base).unwrap_or_else(|| panic!("{id} has lost its base"));
                assert!(base.depth() < *depth, "{id}");
            }
            let read = self.store.objects().read_verified(id).expect("read");
            assert!(read.is_some(), "{id}");
        }
        for repo in self.store.repos().list().expect("listed") {
            self.check_repo(repo.id);
        }
        let mut chunks = BTreeSet::new();
        for row in db.scan(Family::ChunkMeta, &[]) {
            let (key, _) = row.expect("read");
            assert!(db.contains(Family::Chunk, &key).expect("read"), "a meta without its chunk");
            chunks.insert(key);
        }
        for row in db.scan(Family::File, &[]) {
            let file = FileId::from_slice(&row.expect("read").0).expect("an id");
            let mut whole = Vec::new();
            for span in self.store.files().spans_of(&file).expect("a file") {
                let ChunkRef { id, .. } = span.as_ref().expect("a span").chunk;
                assert!(chunks.contains(&id.as_bytes()[..]), "{file} has lost {id}");
                let chunk = self.store.files().chunk(&file, &span.expect("a span").chunk);
                whole.extend_from_slice(&chunk.expect("a chunk"));
            }
            assert_eq!(file_id(&whole), file);
        }
        for row in db.scan(Family::RepoFile, &[]) {
            let (key, _) = row.expect("read");
            let file = FileId::from_slice(&key[4..]).expect("an id");
            assert!(
                db.contains(Family::File, file.as_bytes()).expect("read"),
                "a right to nothing"
            );
            let repo = RepoId(u32::from_be_bytes(key[..4].try_into().expect("four bytes")));
            assert!(db.contains(Family::FileRepo, &keys::file_repo(&file, repo)).expect("read"));
        }
    }

    /// What the references reach is there, and every member has what it names.
    fn check_repo(&self, repo: RepoId) {
        self.check_repo_refs(repo);
        let members = self.store.objects().members(repo);
        self.check_from(repo, members.map(|id| id.expect("read")).collect());
    }

    /// What the references reach is there.
    pub(crate) fn check_repo_refs(&self, repo: RepoId) {
        let mut tips: Vec<ObjectId> = Vec::new();
        for (_, target) in self.store.refs().list(repo, b"").expect("listed") {
            if let RefTarget::Direct(id) = target {
                tips.push(id);
            }
        }
        self.check_from(repo, tips);
    }

    fn check_from(&self, repo: RepoId, mut todo: Vec<ObjectId>) {
        let objects = self.store.objects();
        let mut seen = BTreeSet::new();
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            assert!(objects.is_member(repo, &id).expect("read"), "{id} is no member of {repo}");
            let object = objects.read_verified(&id).expect("read").expect("stored");
            match object.kind {
                ObjectKind::Commit => {
                    let info = commit_info(&object.data).expect("a commit");
                    todo.push(info.tree);
                    todo.extend(info.parents);
                }
                ObjectKind::Tree => {
                    let entries = tree_entries(&object.data).map(|entry| entry.expect("an entry"));
                    let named = entries.filter(|entry| entry.kind() != EntryKind::Submodule);
                    todo.extend(named.map(|entry| entry.id));
                }
                ObjectKind::Blob | ObjectKind::Tag => {}
            }
        }
    }
}

pub(crate) fn file_id(content: &[u8]) -> FileId {
    use sha2::Digest;
    FileId::from_bytes(sha2::Sha256::digest(content).into())
}

pub(crate) fn pointer_text(file: &FileId) -> Vec<u8> {
    let version = "version https://git-lfs.github.com/spec/v1";
    format!("{version}\noid sha256:{file}\nsize {FILE_LEN}\n").into_bytes()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("known").is_dir() {
            true => copy(&from, &to),
            // One that RocksDB removes meanwhile is none of the store's any more.
            false => drop(std::fs::copy(&from, &to)),
        }
    }
}
