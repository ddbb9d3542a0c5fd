//! Answers the questions of peers from the store. Blocking, without I/O of its own.
//!
//! A question names a repository, and whoever asks must be let into it ([`PeerRights`]): a public
//! one lets everybody in, a mesh one the peers that this store knows as its mesh, and each lets in
//! the peers that its settings name. A copy of what is public at another peer lets everybody in
//! while it is served on ([`Directory::serves_on`]). Only then is anything of it looked at. From
//! there each link is checked: repository to reference to object, repository to file to the chunk
//! at an offset.
//!
//! Of a file's manifest only what its publisher has signed is told: by this store, of a file that
//! is whole in a repository of its own; else as it was told this store, with the signature.
//!
//! Invariants:
//! - What is absent, not allowed and not ours is answered alike, by NOT_FOUND, after the same
//!   look-ups: key to number, number to record, number to settings, where what is not there has the
//!   number of no repository. One that may not be read is looked into as one that has nothing; and
//!   of a file or object that only others have no row is read, as of one that nobody has.
//! - A hash is no key: a chunk that only a private repository has is given for no other question,
//!   nor is it told whether it is here.
//! - Each question is answered to its last frame, or not at all when the asker has had enough.
//!
//! Limits on how much is sent, and how much may be asked for at a time, are beside it ([`Uplink`],
//! [`InFlight`]): who moves the bytes asks them.

#![deny(clippy::indexing_slicing)]

mod files;
mod in_flight;
mod limits;
mod objects;
mod refs;
mod rights;
mod uplink;

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
pub(crate) mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use mega_storage::{
    Progress, ReadableObjects, Repo, RepoId, RepoSettings, SeedPolicy, Store, StoreError,
};
use parking_lot::Mutex;

use super::identity::Identity;
use super::wire::{Reply, RepoKey, Request};
pub use in_flight::{InFlight, Lane};
use limits::READABLE_COUNT_MAX;
pub use limits::{BURST_MS, RETRY_MS_MAX, RETRY_MS_MIN};
pub use rights::{Asker, PeerRights};
pub use uplink::{Uplink, UplinkLimits};

/// Takes answers as they are made; says whether more are wanted.
pub type Sink<'a> = dyn FnMut(Reply) -> ControlFlow<()> + 'a;

/// What peers call the repositories of this store. Implementers: the `swarm` rows with the signed
/// records that are made of them, and the tests' table.
pub trait Directory: Send + Sync {
    /// The repository of this key, if it is one of this store.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn repo(&self, key: &RepoKey) -> Result<Option<RepoId>, StoreError>;

    /// The signed record of a repository, made for who may read it; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    fn record(&self, repo: &Repo) -> Result<Option<Bytes>, StoreError>;

    /// Who this store is among peers: it signs what it publishes.
    fn identity(&self) -> &Identity;

    /// Whether this copy of another peer's repository is served on: it is public there, and the
    /// owner of this store wants it. Quick, whatever is asked for.
    fn serves_on(&self, repo: RepoId) -> bool;
}

/// The number of no repository: what may not be read is looked for here.
const NOBODY: RepoId = RepoId(u32::MAX);

/// Answers peers.
pub struct Answerer {
    store: Store,
    directory: Arc<dyn Directory>,
    readable: Mutex<Vec<Readable>>,
}

/// What may be read by id, found out once for each change of references.
struct Readable {
    version: u64,
    hidden: Vec<String>,
    is_partial: bool,
    objects: Arc<ReadableObjects>,
}

/// A repository that the asker may read.
struct Seen {
    repo: Repo,
    settings: RepoSettings,
}

/// The asker wants no more; or the store failed.
enum Stop {
    Enough,
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Answerer {
    /// Answers from `store`, whose repositories have the keys that `directory` knows.
    pub fn new(store: &Store, directory: Arc<dyn Directory>) -> Self {
        Self { store: store.clone(), directory, readable: Mutex::default() }
    }

    /// What `asker` may do with the repository of this name here; for git's own protocol.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn rights(
        &self,
        asker: &Asker,
        key: &RepoKey,
    ) -> Result<Option<(Repo, PeerRights)>, StoreError> {
        let Some(Seen { repo, settings }) = self.see(asker, key)? else { return Ok(None) };
        let rights = asker.rights(&repo, &settings);
        Ok(Some((repo, rights)))
    }

    /// Answers one request, down to its last frame; less when `sink` breaks off. CANCEL and BYE
    /// have no answer. `progress` stops it when it says so.
    ///
    /// # Errors
    /// When the store failed: for the log, since the asker has been told NOT_FOUND.
    pub fn answer(
        &self,
        asker: &Asker,
        request: &Request,
        progress: &dyn Progress,
        sink: &mut Sink<'_>,
    ) -> Result<(), StoreError> {
        match self.try_answer(asker, request, progress, sink) {
            Ok(()) | Err(Stop::Enough) => Ok(()),
            Err(Stop::Store(error)) => {
                // Also after a part of a pack: it has no end then, and is none.
                let _ = sink(Reply::NotFound);
                match error {
                    StoreError::Interrupted => Ok(()),
                    error => Err(error),
                }
            }
        }
    }

    fn try_answer(
        &self,
        asker: &Asker,
        request: &Request,
        progress: &dyn Progress,
        sink: &mut Sink<'_>,
    ) -> Result<(), Stop> {
        let found = match request {
            Request::Resolve { name } => self.resolve(asker, name)?,
            Request::Refs { repo, after, names } => {
                self.refs(asker, repo, after.as_ref(), names)?
            }
            Request::Headers { repo, ids } => self.headers(asker, repo, ids, progress)?,
            Request::Objects { repo, levels, blob_len_max, history, ids } => {
                let want = mega_storage::ObjectWant {
                    ids,
                    levels: *levels,
                    blob_len_max: *blob_len_max,
                    history: *history,
                };
                return self.objects(asker, repo, &want, progress, sink);
            }
            Request::Files { repo, files } => self.file_lens(asker, repo, files)?,
            Request::Have { repo, file } => self.have(asker, repo, file)?,
            Request::Manifest { repo, file, offset, publisher } => {
                self.manifest(asker, repo, file, *offset, publisher)?
            }
            Request::Chunks { repo, file, spans, .. } => {
                return self.chunks(asker, repo, file, spans, sink);
            }
            Request::Cancel | Request::Bye { .. } => return Ok(()),
        };
        put(sink, found.unwrap_or(Reply::NotFound))
    }

    fn resolve(
        &self,
        asker: &Asker,
        name: &mega_storage::RepoName,
    ) -> Result<Option<Reply>, StoreError> {
        let repo = match self.store.repos().find(name)? {
            Some(repo) => Some(repo),
            // A name that there is has its record read as well.
            None => self.store.repos().record(NOBODY)?,
        };
        let Some(seen) = self.let_in(asker, repo)? else { return Ok(None) };
        Ok(self.directory.record(&seen.repo)?.map(Reply::Record))
    }

    /// The repository of this key, when the asker may read it. What is not there is looked up like
    /// what is.
    fn see(&self, asker: &Asker, key: &RepoKey) -> Result<Option<Seen>, StoreError> {
        let id = self.directory.repo(key)?.unwrap_or(NOBODY);
        self.let_in(asker, self.store.repos().record(id)?)
    }

    fn let_in(&self, asker: &Asker, repo: Option<Repo>) -> Result<Option<Seen>, StoreError> {
        let id = repo.as_ref().map_or(NOBODY, |repo| repo.id);
        let settings = self.store.settings(id)?;
        let serves_on = self.directory.serves_on(id) && settings.seed() != SeedPolicy::Never;
        let seen = repo.map(|repo| Seen { repo, settings });
        let is_let_in = |seen: &Seen| asker.rights(&seen.repo, &seen.settings) >= PeerRights::Read;
        Ok(seen.filter(|seen| serves_on || is_let_in(seen)))
    }

    /// Which objects of a repository may be read by id.
    fn readable(
        &self,
        seen: &Seen,
        progress: &dyn Progress,
    ) -> Result<Arc<ReadableObjects>, StoreError> {
        let (version, hidden) = (self.store.refs().version(), seen.settings.hidden_from_fetch());
        let is_it = |known: &Readable| {
            known.objects.repo() == seen.repo.id
                && known.version == version
                && known.hidden == hidden
                && known.is_partial == seen.repo.partial
        };
        if let Some(known) = self.readable.lock().iter().find(|known| is_it(known)) {
            return Ok(known.objects.clone());
        }
        let objects = self.store.readable_objects(&seen.repo, &seen.settings, progress)?;
        let (objects, hidden) = (Arc::new(objects), hidden.to_vec());
        let mut all = self.readable.lock();
        // The references of other repositories may have moved too; theirs are made anew as well.
        all.retain(|known| known.version == version && known.objects.repo() != seen.repo.id);
        if all.len() == READABLE_COUNT_MAX {
            all.remove(0);
        }
        let is_partial = seen.repo.partial;
        all.push(Readable { version, hidden, is_partial, objects: objects.clone() });
        Ok(objects)
    }
}

fn put(sink: &mut Sink<'_>, reply: Reply) -> Result<(), Stop> {
    match sink(reply) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Stop::Enough),
    }
}
