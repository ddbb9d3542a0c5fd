//! A server without a network: the server's functions on a store, counted, and made to fail.

use std::io::{self, Read};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use mega_storage::{ChunkRef, FileId, NoProgress, Repo, RepoName, Store, StoreOptions, Visibility};
use tempfile::TempDir;

use crate::lfs::LfsError;
use crate::lfs::agent::{Remote, Target};
use crate::lfs::server::slices::SliceCache;
use crate::lfs::server::{self, LfsContext, Rights, chunked};
use crate::lfs::wire::{self, Claim, Listing, Range, Step, Wanted};

pub(super) struct StoreRemote {
    pub(super) store: Store,
    repo: Repo,
    slices: SliceCache,
    /// Bytes that went up, claims and lists included.
    pub(super) up: AtomicU64,
    /// Bytes that came down, lists included.
    pub(super) down: AtomicU64,
    /// Requests with content that still go well.
    pub(super) left: AtomicI64,
    _dir: TempDir,
}

impl StoreRemote {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        let name = RepoName::new("a").expect("a name");
        let repo = store.repos().create(&name, Visibility::Private).expect("made");
        Self {
            store,
            repo,
            slices: SliceCache::default(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            left: AtomicI64::new(i64::MAX),
            _dir: dir,
        }
    }

    pub(super) fn has(&self, id: &FileId) -> bool {
        self.store.files().has(self.repo.id, id).expect("asked")
    }

    /// Bytes that went up and came down since the last call.
    pub(super) fn moved(&self) -> (u64, u64) {
        (self.up.swap(0, Ordering::Relaxed), self.down.swap(0, Ordering::Relaxed))
    }

    pub(super) fn context(&self) -> LfsContext<'_> {
        LfsContext {
            store: &self.store,
            repo: &self.repo,
            rights: Rights::Write,
            actor: "ada",
            quota: None,
            slices: &self.slices,
            stop: &NoProgress,
        }
    }

    fn spend(&self) -> Result<(), LfsError> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            1.. => Ok(()),
            _ => Err(LfsError::Network { host: "h".into(), reason: "cut".into() }),
        }
    }

    fn body(&self, claim: &Claim, rest: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        wire::write_head(claim, &mut body).expect("written");
        body.extend_from_slice(rest);
        self.up.fetch_add(body.len() as u64, Ordering::Relaxed);
        body
    }
}

fn id_of(target: &Target) -> FileId {
    let (_, id) = target.href.rsplit_once('/').expect("an address");
    id.parse().expect("an id")
}

fn entries(chunks: &[ChunkRef]) -> Vec<u8> {
    chunks.iter().flat_map(wire::entry).collect()
}

fn told(error: &server::LfsError) -> LfsError {
    LfsError::Status { host: "h".into(), status: error.status(), message: format!(": {error}") }
}

impl Remote for StoreRemote {
    fn missing(
        &self,
        target: &Target,
        claim: &Claim,
        chunks: &[ChunkRef],
    ) -> Result<Vec<bool>, LfsError> {
        let body = self.body(claim, &entries(chunks));
        let bitmap = chunked::missing(&self.context(), &id_of(target), &mut &body[..]);
        let bitmap = bitmap.map_err(|e| told(&e))?;
        Ok((0..chunks.len()).map(|index| bitmap[index / 8] >> (index % 8) & 1 == 1).collect())
    }

    fn send(&self, target: &Target, claim: &Claim, frames: Vec<u8>) -> Result<(), LfsError> {
        self.spend()?;
        let body = self.body(claim, &frames);
        let sent = chunked::send(&self.context(), &id_of(target), &mut &body[..]);
        sent.map(|_| ()).map_err(|e| told(&e))
    }

    fn finish(
        &self,
        target: &Target,
        claim: &Claim,
        chunks: &[ChunkRef],
        hashed: &mut dyn FnMut(u64),
    ) -> Result<(), LfsError> {
        let body = self.body(claim, &entries(chunks));
        let mut out = Vec::new();
        chunked::finish(&self.context(), &id_of(target), &mut &body[..], &mut out)
            .map_err(|e| told(&e))?;
        for line in out.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line).expect("a step") {
                Step::Hashed(count) => hashed(count),
                Step::Done => return Ok(()),
                Step::Error { code, message } => {
                    return Err(LfsError::Status { host: "h".into(), status: code, message });
                }
            }
        }
        panic!("no last step")
    }

    fn chunks(&self, target: &Target) -> Result<Vec<ChunkRef>, LfsError> {
        let listing = chunked::list(&self.context(), &id_of(target)).map_err(|e| told(&e))?;
        let mut out = Vec::new();
        listing.write_to(&mut out).expect("written");
        self.down.fetch_add(out.len() as u64, Ordering::Relaxed);
        let mut input = &out[..];
        let _: Listing = wire::read_head(&mut input).expect("a head");
        let next = || wire::read_entry(&mut input).expect("an entry");
        Ok(std::iter::from_fn(next).collect())
    }

    fn fetch(
        &self,
        target: &Target,
        ranges: &[Range],
        take: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), LfsError> {
        let is_cut = self.spend().is_err();
        let body = serde_json::to_vec(&Wanted { ranges: ranges.to_vec() }).expect("JSON");
        let parts = chunked::fetch(&self.context(), &id_of(target), &body).map_err(|e| told(&e))?;
        let mut out = Vec::new();
        parts.write_to(&mut out).expect("written");
        if is_cut {
            out.truncate(if self.left.load(Ordering::Relaxed) == -1 { out.len() / 2 } else { 0 });
        }
        self.down.fetch_add(out.len() as u64, Ordering::Relaxed);
        let network = |e: io::Error| match e.kind() {
            io::ErrorKind::InvalidData => {
                LfsError::Answer { host: "h".into(), reason: e.to_string() }
            }
            _ => LfsError::Network { host: "h".into(), reason: e.to_string() },
        };
        take(&mut &out[..]).map_err(network)
    }

    fn put(&self, target: &Target, content: Vec<u8>) -> Result<(), LfsError> {
        self.spend()?;
        let len = content.len() as u64;
        self.up.fetch_add(len, Ordering::Relaxed);
        let taken = server::upload(&self.context(), &id_of(target), Some(len), &mut &content[..]);
        taken.map(|_| ()).map_err(|e| told(&e))
    }
}
