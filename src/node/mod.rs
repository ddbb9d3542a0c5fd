//! The node: one open store and the mounts that read it. The only room that joins git, LFS and the
//! store.
//!
//! Everything here blocks. What a person sees of it is made in the command line; here are reports
//! and errors.

mod check;
mod error;
mod evictor;
mod export;
mod import;
mod import_git;
mod import_lfs;
mod import_peer;
mod mounts;
mod prefetch;
mod remote;
mod repo;
mod serve;
mod swarm;
mod tree;

use std::path::Path;
use std::sync::Arc;

use mega_storage::{Store, StoreOptions};
use parking_lot::Mutex;

use crate::audit::Audit;

pub use check::{MendRequest, verify};
pub use error::NodeError;
pub use export::{ExportOptions, ExportReport, export};
pub use import::{ImportOptions, ImportReport, import, import_of_nothing};
pub use import_git::GitReport;
pub use import_lfs::{LfsReport, MissingFile};
pub use mounts::{MountInfo, MountRequest, Mounts};
pub use prefetch::{MissingContent, PrefetchReport, PrefetchRequest, prefetch};
pub use remote::{Opened, RepoPlace, fetch_counts, open_place};
pub use repo::{delete_repo, head_branch, set_head};
pub use serve::Serving;
pub use swarm::{
    Discovery, NodeSwarm, PeerGitStream, SwarmOptions, open_git, repo_record, unix_now,
};
pub use tree::{Entry, EntryContent, Place, find_path, list_dir, open_revision};

/// An open store and its mounts.
pub struct Node {
    store: Store,
    audit: Arc<Audit>,
    mounts: Mounts,
    remotes: remote::Remotes,
    swarm: Mutex<Option<Arc<NodeSwarm>>>,
    evictor: Mutex<Option<evictor::Evictor>>,
}

impl Node {
    /// Opens the store in `path`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(path: &Path) -> Result<Self, NodeError> {
        Ok(Self::new(Store::open(path, &StoreOptions::default())?))
    }

    /// Opens the store in `path` to read it and no more.
    ///
    /// # Errors
    /// As [`Store::open_to_read`].
    pub fn open_to_read(path: &Path) -> Result<Self, NodeError> {
        Ok(Self::new(Store::open_to_read(path, &StoreOptions::default())?))
    }

    /// Makes a store in `path` and opens it.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn create(path: &Path) -> Result<Self, NodeError> {
        Ok(Self::new(Store::create(path, &StoreOptions::default())?))
    }

    fn new(store: Store) -> Self {
        let (mounts, remotes, swarm, evictor) = Default::default();
        let audit = Arc::new(Audit::new(store.path()));
        Self { store, audit, mounts, remotes, swarm, evictor }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The log of who wrote what.
    pub fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    fn remotes(&self) -> &remote::Remotes {
        &self.remotes
    }

    /// Keeps fetched content within its limit from now on.
    fn keep_to_limit(&self) -> Result<(), NodeError> {
        let mut evictor = self.evictor.lock();
        if evictor.is_none() {
            *evictor = Some(evictor::Evictor::start(&self.store)?);
        }
        Ok(())
    }

    /// The mounts that this process serves.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }
}
