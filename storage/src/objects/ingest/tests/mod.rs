//! Packs made by hand, good and hostile, and packs made by git.

mod connect;
mod git_oracle;
mod hostile;
mod invariants;

use std::path::Path;

use sha2::Digest;
use tempfile::TempDir;

use super::deflate as deflate_at;
use super::*;
use crate::object::{ObjectKind, hash_object};
use crate::objects::delta::tests::deflate;
use crate::progress::NoProgress;
use crate::row::put_varint;
use crate::{RepoName, Store, StoreOptions, Visibility};

/// A store with two repositories.
pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) repo: RepoId,
    pub(super) other: RepoId,
    _dir: TempDir,
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
        Self { store, repo, other, _dir: dir }
    }

    pub(super) fn push(&self, pack: &[u8]) -> Result<IngestReport> {
        self.push_to(self.repo, pack)
    }

    pub(super) fn push_to(&self, repo: RepoId, mut pack: &[u8]) -> Result<IngestReport> {
        let options = IngestOptions::default();
        self.store.objects().ingest_pack(repo, PackInput::Stream(&mut pack), &options, &NoProgress)
    }

    pub(super) fn prepare<'a>(&'a self, mut pack: &[u8]) -> Result<PreparedPack<'a>> {
        let options = IngestOptions::default();
        let input = PackInput::Stream(&mut pack);
        self.store.objects().prepare_pack(self.repo, input, &options, &NoProgress)
    }

    pub(super) fn depth(&self, id: &ObjectId) -> u8 {
        let db = &self.store.objects().db;
        let value = db.get(crate::db::Family::Object, id.as_bytes()).expect("reads");
        let value = value.expect("it is stored");
        crate::objects::row::Row::parse(id, &value).expect("a good row").encoding.depth()
    }

    /// Asserts that a blob is stored with this content, hash and all, and is a member of the first
    /// repository.
    pub(super) fn assert_blob(&self, data: &[u8]) {
        let id = blob_id(data);
        let object = self.store.objects().read_verified(&id).expect("reads").expect("is there");
        assert_eq!(object.data, data);
        assert!(self.store.objects().is_member(self.repo, &id).expect("reads"));
    }

    /// Asserts that nothing at all was kept.
    pub(super) fn assert_empty(&self) {
        assert_eq!(self.store.objects().member_count(self.repo).expect("reads"), 0);
        let mut rows = self.store.objects().db.scan(crate::db::Family::Object, &[]);
        assert!(rows.next().is_none());
        let left = std::fs::read_dir(self.store.tmp()).expect("reads").count();
        assert_eq!(left, 0, "the quarantine file is gone");
    }
}

pub(crate) fn blob_id(data: &[u8]) -> ObjectId {
    hash_object(ObjectKind::Blob, data).expect("no attack")
}

/// Writes packs entry by entry.
pub(crate) struct PackBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl PackBuilder {
    pub(crate) fn new() -> Self {
        Self { bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(), count: 0 }
    }

    fn entry(&mut self, pack_type: u8, len: usize, base: &[u8], data: &[u8]) -> u64 {
        let offset = self.bytes.len() as u64;
        entry_header(&mut self.bytes, pack_type, len as u64);
        self.bytes.extend_from_slice(base);
        self.bytes.extend(deflate(data));
        self.count += 1;
        offset
    }

    /// A whole blob; returns its offset.
    pub(crate) fn blob(&mut self, data: &[u8]) -> u64 {
        self.entry(3, data.len(), &[], data)
    }

    /// A whole object of any kind.
    pub(crate) fn object(&mut self, kind: ObjectKind, data: &[u8]) -> u64 {
        self.entry(kind.pack_type(), data.len(), &[], data)
    }

    /// A delta against the entry at `base`.
    pub(crate) fn ofs_delta(&mut self, base: u64, delta: &[u8]) -> u64 {
        let mut distance = self.bytes.len() as u64 - base;
        let mut bytes = vec![(distance & 0x7f) as u8];
        while distance >> 7 != 0 {
            distance = (distance >> 7) - 1;
            bytes.insert(0, 0x80 | (distance & 0x7f) as u8);
        }
        self.entry(6, delta.len(), &bytes, delta)
    }

    /// A delta against the object `base`.
    pub(crate) fn ref_delta(&mut self, base: &ObjectId, delta: &[u8]) -> u64 {
        self.entry(7, delta.len(), base.as_bytes(), delta)
    }

    /// An entry whose header announces another length than its stream has.
    pub(crate) fn lying_blob(&mut self, announced: usize, data: &[u8]) -> u64 {
        self.entry(3, announced, &[], data)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let count = self.count;
        self.finish_with_count(count)
    }

    /// Finishes with any number of objects in the header, and the right checksum.
    pub(crate) fn finish_with_count(mut self, count: u32) -> Vec<u8> {
        self.bytes[8..12].copy_from_slice(&count.to_be_bytes());
        let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
        hasher.update(&self.bytes);
        let id = hasher.try_finalize().expect("no attack");
        self.bytes.extend_from_slice(id.as_slice());
        self.bytes
    }
}

/// A delta that makes `target` from `base`: the front they share copied, the rest inserted.
pub(crate) fn delta(base: &[u8], target: &[u8]) -> Vec<u8> {
    let shared = base.iter().zip(target).take_while(|(a, b)| a == b).count().min(0xffff);
    let mut out = Vec::new();
    put_varint(&mut out, base.len() as u64);
    put_varint(&mut out, target.len() as u64);
    if shared > 0 {
        out.extend([0xb0, shared as u8, (shared >> 8) as u8]);
    }
    for piece in target[shared..].chunks(127) {
        out.push(piece.len() as u8);
        out.extend_from_slice(piece);
    }
    out
}

/// Bytes that deflate cannot shrink, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut block = 0u64;
    while out.len() < len {
        let mut hasher = sha2::Sha256::new();
        hasher.update(seed.to_be_bytes());
        hasher.update(block.to_be_bytes());
        out.extend_from_slice(&hasher.finalize());
        block += 1;
    }
    out.truncate(len);
    out
}

/// Runs git in `dir` and returns its standard output.
pub(crate) fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new("git")
        .current_dir(dir)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a path"))
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("git ends");
    feeder.join().expect("fed");
    assert!(output.status.success(), "git {args:?}");
    output.stdout
}
