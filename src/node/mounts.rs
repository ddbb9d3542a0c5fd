//! The mounts that this process serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use mega_fuse::{MountOptions, PlainCache, PlainCounts, Session, ViewSpec};
use mega_storage::object::{ObjectKind, commit_info};
use mega_storage::{
    FetchCounts, Lease, ObjectId, ReadThrough, RepoId, RepoName, StoreError, peel, resolve_revision,
};
use parking_lot::{Condvar, Mutex};

use super::remote::{Opened, RepoPlace, open_place};
use super::{Node, NodeError};
use crate::git::Git;
use crate::http::client::RemoteUrl;
use crate::swarm::hedge::Upstream;

/// What to mount.
#[derive(Clone, Debug)]
pub struct MountRequest {
    /// The repository.
    pub repo: RepoPlace,
    /// The revision.
    pub revision: String,
    /// The directory.
    pub dir: PathBuf,
    /// How.
    pub options: MountOptions,
    /// Most bytes of plain copies of large files, of all mounts; without it this mount uses none.
    pub plain_len: Option<u64>,
    /// The server that is asked beside the peers that it is at, from now on.
    pub upstream: Option<RemoteUrl>,
    /// Git in the environment of whoever asked: it finds passwords for servers.
    pub git: Git,
}

/// One mount.
#[derive(Clone, Debug)]
pub struct MountInfo {
    /// The repository's number: its name may change meanwhile.
    pub repo_id: RepoId,
    /// The repository's name when it was mounted.
    pub repo: RepoName,
    /// The revision as given.
    pub revision: String,
    /// The commit that it was then; `None` when a bare tree is mounted.
    pub commit: Option<ObjectId>,
    /// The root directory.
    pub tree: ObjectId,
    /// Where, resolved.
    pub dir: PathBuf,
    /// How.
    pub options: MountOptions,
    /// What the kernel has asked so far, by kind.
    pub requests: Vec<(&'static str, u64)>,
    /// What was fetched of a partial repository since it was opened, by all its mounts.
    pub fetched: Option<FetchCounts>,
    /// The server beside peers, and the bytes that came from it in their place.
    pub upstream: Option<(String, u64)>,
    /// The plain copies of all mounts, when this one uses them.
    pub plain: Option<PlainCounts>,
    /// What the person should know of it.
    pub notes: Vec<String>,
}

struct Live {
    info: MountInfo,
    through: Option<Arc<ReadThrough>>,
    upstream: Option<Arc<Upstream>>,
    session: Session,
    plain: Option<Arc<PlainCache>>,
    /// Keeps what the mount shows from gc.
    _lease: Option<Lease>,
}

type OnChange = Box<dyn Fn() + Send + Sync>;

/// All live mounts of the process. They end with it.
#[derive(Clone, Default)]
pub struct Mounts {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    live: Mutex<Vec<Arc<Live>>>,
    changed: Condvar,
    on_change: Mutex<Option<OnChange>>,
    /// One for all mounts that use it; gone with the last.
    plain: Mutex<Weak<PlainCache>>,
}

impl Mounts {
    /// Calls `on_change`, from any thread, each time a mount has gone.
    pub fn watch(&self, on_change: OnChange) {
        *self.inner.on_change.lock() = Some(on_change);
    }

    /// All mounts, in the order in which they were made.
    pub fn list(&self) -> Vec<MountInfo> {
        let asked = |live: &Live| {
            live.session.counters().snapshot().map(|(op, count)| (op.name(), count)).collect()
        };
        let live = self.inner.live.lock();
        let fetched = |live: &Live| live.through.as_ref().map(|through| through.counts());
        live.iter()
            .map(|live| MountInfo {
                requests: asked(live),
                fetched: fetched(live),
                upstream: live.upstream.as_deref().map(used),
                plain: live.plain.as_ref().map(|plain| plain.counts()),
                ..live.info.clone()
            })
            .collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inner.live.lock().is_empty()
    }

    /// Mounts a revision. Returns when the mount answers.
    ///
    /// # Errors
    /// When there is no such revision, or the directory cannot be mounted on.
    pub fn mount(&self, node: &Node, request: &MountRequest) -> Result<MountInfo, NodeError> {
        let store = node.store();
        let Opened { repo, reader, through, upstream, note } = open_place(
            node,
            &request.repo,
            &request.revision,
            &request.git,
            request.upstream.as_ref(),
        )?;
        let id = resolve_revision(store, &repo, &request.revision)?;
        let tree = peel(store, &id, ObjectKind::Tree)?;
        // What is filled as it is read stays anyway, as far as it is here.
        let lease = (!repo.partial).then(|| store.hold(repo.id, &[tree])).transpose()?;
        let commit = match peel(store, &id, ObjectKind::Commit) {
            Ok(commit) => Some(commit),
            Err(StoreError::WrongKind { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let view = ViewSpec {
            root_tree: tree,
            commit_time: commit.map_or(Ok(0), |commit| commit_time(node, &commit))?,
            label: format!("{}@{}", repo.name, request.revision),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let mut notes = Vec::from_iter(note);
        let plain = request.plain_len.and_then(|len| {
            self.plain(node, len)
                .inspect_err(|error| notes.push(format!("no plain copies: cache/plain: {error}")))
                .ok()
        });
        let (dir, options) = (&request.dir, &request.options);
        let session = mega_fuse::mount(reader, view, dir, options, plain.clone())?;
        let refusal = session.plain_refusal();
        notes.extend(refusal.map(|error| {
            format!("no plain copies: they need root (CAP_SYS_ADMIN) and Linux 6.9: {error}")
        }));
        let plain = plain.filter(|_| refusal.is_none());
        let info = MountInfo {
            repo_id: repo.id,
            repo: repo.name,
            revision: request.revision.clone(),
            commit,
            tree,
            dir: session.mountpoint().to_owned(),
            options: request.options,
            requests: Vec::new(),
            fetched: through.as_ref().map(|through| through.counts()),
            upstream: upstream.as_deref().map(used),
            plain: plain.as_ref().map(|plain| plain.counts()),
            notes,
        };
        self.keep(Live { info: info.clone(), through, upstream, session, plain, _lease: lease })?;
        Ok(info)
    }

    /// The plain copies of the store, at most `limit_len` bytes of them from now on.
    fn plain(&self, node: &Node, limit_len: u64) -> io::Result<Arc<PlainCache>> {
        let mut shared = self.inner.plain.lock();
        let plain = match shared.upgrade() {
            Some(plain) => plain,
            None => {
                let store = node.store();
                let dir = store.path().join("cache/plain");
                Arc::new(PlainCache::open(&dir, store.tmp())?)
            }
        };
        plain.set_limit(limit_len);
        *shared = Arc::downgrade(&plain);
        Ok(plain)
    }

    /// Keeps the mount and a thread that notices its end.
    fn keep(&self, live: Live) -> Result<(), NodeError> {
        let live = Arc::new(live);
        self.inner.live.lock().push(live.clone());
        let mounts = self.clone();
        let watched = live.clone();
        let watch = move || {
            watched.session.wait();
            mounts.forget(&watched);
        };
        thread::Builder::new().name("mount-end".to_owned()).spawn(watch).map(|_| ()).map_err(|e| {
            self.forget(&live);
            NodeError::io("starting a thread", e)
        })
    }

    fn forget(&self, gone: &Arc<Live>) {
        self.inner.live.lock().retain(|live| !Arc::ptr_eq(live, gone));
        self.inner.changed.notify_all();
        if let Some(on_change) = &*self.inner.on_change.lock() {
            on_change();
        }
    }

    /// Takes the mount out of `dir`; whether it was one of this process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn unmount(&self, dir: &Path) -> Result<bool, NodeError> {
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let found = self.inner.live.lock().iter().rfind(|live| live.info.dir == dir).cloned();
        let Some(live) = found else { return Ok(false) };
        live.session.unmount()?;
        Ok(true)
    }

    /// Takes all mounts out and waits until nobody reads them any more, no longer than `timeout`.
    pub fn unmount_all(&self, timeout: Duration) {
        for live in self.inner.live.lock().clone() {
            if let Err(error) = live.session.unmount() {
                tracing::warn!(dir = %live.info.dir.display(), %error, "not unmounted");
            }
        }
        let mut live = self.inner.live.lock();
        self.inner.changed.wait_while_for(&mut live, |live| !live.is_empty(), timeout);
        if !live.is_empty() {
            tracing::warn!(
                count = live.len(),
                "files in mounts are still open; their readers get errors"
            );
        }
    }
}

/// Where an upstream is, and what of its bytes was of use.
fn used(upstream: &Upstream) -> (String, u64) {
    (upstream.name(), upstream.used_len())
}

fn commit_time(node: &Node, commit: &ObjectId) -> Result<i64, NodeError> {
    let missing = || StoreError::MissingObject { id: *commit };
    let object = node.store().objects().read(commit)?.ok_or_else(missing)?;
    let info = commit_info(&object.data)
        .map_err(|reason| StoreError::MalformedObject { id: *commit, reason: reason.to_owned() })?;
    Ok(info.committer_time)
}
