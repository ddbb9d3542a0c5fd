//! A server without a network: the server's functions on a store, counted, and made to fail.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use mega_storage::{FileId, NoProgress, Repo, RepoName, Store, StoreOptions, Visibility};
use tempfile::TempDir;

use crate::lfs::LfsError;
use crate::lfs::agent::Target;
use crate::lfs::agent::carrier::{Carrier, Take};
use crate::lfs::agent::stream::{read_answer, write_request};
use crate::lfs::pieces::GOOD;
use crate::lfs::server::slices::SliceCache;
use crate::lfs::server::{LfsContext, Rights, serve};
use crate::lfs::wire::Route;

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

    fn spend(&self) -> Result<(), &'static str> {
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 { Ok(()) } else { Err("cut") }
    }
}

impl Carrier for StoreRemote {
    fn host(&self, _: &Target) -> String {
        "h".to_owned()
    }

    fn ask(
        &self,
        target: &Target,
        route: Route,
        body: Bytes,
        take: &mut Take<'_>,
    ) -> Result<(), LfsError> {
        let host = || "h".to_owned();
        let network = |reason: &str| LfsError::Network { host: host(), reason: reason.to_owned() };
        let has_content = matches!(route, Route::Send | Route::Fetch | Route::Put);
        let cut = if has_content { self.spend().err() } else { None };
        if let (Some(error), Route::Send | Route::Put) = (&cut, route) {
            return Err(network(error));
        }
        self.up.fetch_add(body.len() as u64, Ordering::Relaxed);
        let (_, id) = target.href.rsplit_once('/').expect("an address");
        let file = id.parse().expect("an id");
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        write_request(&mut request, route, &file, &body).expect("written");
        serve(&self.context(), &mut &request[..], &mut answer, &|_| {})
            .map_err(|error| network(&error.to_string()))?;
        if cut.is_some() {
            let half = if self.left.load(Ordering::Relaxed) == -1 { answer.len() / 2 } else { 2 };
            answer.truncate(half);
        }
        self.down.fetch_add(answer.len() as u64, Ordering::Relaxed);
        let (status, mut rest) = answer.split_first_chunk().expect("a status");
        let status = u16::from_be_bytes(*status);
        match read_answer(&mut rest, status == GOOD, take) {
            Ok((_, None)) => Ok(()),
            Ok((_, Some(reason))) => {
                Err(LfsError::Status { host: host(), status, message: format!(": {reason}") })
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(LfsError::Answer { host: host(), reason: error.to_string() })
            }
            Err(error) => Err(network(&error.to_string())),
        }
    }
}
