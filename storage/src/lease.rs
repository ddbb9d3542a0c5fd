//! Leases: what running transfers count on, kept from gc until a reference or a manifest holds it.
//!
//! Two registries, each behind one mutex that is held for microseconds by takers-in, and by gc for
//! one batch: [`ObjectLeases`] for git objects, [`ContentLeases`] for files and chunks. They live
//! in memory: a lease ends with its process, and what it kept is then garbage like any other.
//!
//! Invariants:
//! - An id is entered *before* it is looked up, and stays entered until what was built on the
//!   answer is durable and reachable. So gc, which looks at the registry in the step in which it
//!   deletes, either sees the lease, or has deleted before the look-up.
//! - What was entered while gc is at work stays with gc's work to its end, though the lease ends:
//!   gc's marks are older than what the lease made reachable.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::id::{ChunkId, FileId, ObjectId, RepoId};

/// Ids that come in while one repository is marked, at most: with more it is left for the next
/// time.
const TOUCHED_MAX: usize = 4 << 20;

/// The first eight bytes of an id: enough to *keep* by. Two ids that share them are kept together.
pub(crate) fn short(id: &[u8]) -> u64 {
    id.first_chunk::<8>().map_or(0, |head| u64::from_be_bytes(*head))
}

/// What transfers of git objects count on.
#[derive(Clone, Default)]
pub(crate) struct ObjectLeases {
    state: Arc<Mutex<ObjectState>>,
}

#[derive(Default)]
pub(crate) struct ObjectState {
    next: u64,
    live: HashMap<u64, HeldObjects>,
    /// The repository that gc is at, and what was entered for it since.
    marking: Option<(RepoId, Vec<ObjectId>)>,
    /// While rows of objects are swept: what was entered since, in all repositories.
    sweeping: Option<HashSet<u64>>,
}

struct HeldObjects {
    repo: RepoId,
    /// Everything that the repository has is counted on.
    whole: bool,
    ids: Vec<ObjectId>,
}

/// Keeps what a transfer counts on from gc for as long as it lives.
pub struct Lease {
    leases: ObjectLeases,
    number: u64,
    repo: RepoId,
}

impl ObjectLeases {
    /// Enters ids that are about to be looked up, or become reachable.
    pub(crate) fn begin(&self, repo: RepoId, ids: &[ObjectId]) -> Lease {
        self.add(repo, false, ids)
    }

    /// Counts on everything that a repository has: for what comes in several steps.
    pub(crate) fn begin_whole(&self, repo: RepoId) -> Lease {
        self.add(repo, true, &[])
    }

    fn add(&self, repo: RepoId, whole: bool, ids: &[ObjectId]) -> Lease {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.touch(repo, ids);
        state.live.insert(number, HeldObjects { repo, whole, ids: ids.to_vec() });
        Lease { leases: self.clone(), number, repo }
    }

    /// Notes ids that became reachable, in the step that made them so.
    pub(crate) fn note(&self, repo: RepoId, ids: impl IntoIterator<Item = ObjectId>) {
        let mut state = self.state.lock();
        if state.marking.is_none() && state.sweeping.is_none() {
            return;
        }
        let ids: Vec<ObjectId> = ids.into_iter().collect();
        state.touch(repo, &ids);
    }

    /// The registry: while the guard lives nothing is entered.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ObjectState> {
        self.state.lock()
    }
}

impl ObjectState {
    fn touch(&mut self, repo: RepoId, ids: &[ObjectId]) {
        if let Some((marked, touched)) = &mut self.marking
            && *marked == repo
        {
            touched.extend_from_slice(ids);
        }
        if let Some(touched) = &mut self.sweeping {
            touched.extend(ids.iter().map(|id| short(id.as_bytes())));
        }
    }

    /// Begins with a repository; what is counted on in it, unless that is everything.
    pub(crate) fn begin_marking(&mut self, repo: RepoId) -> Option<Vec<ObjectId>> {
        if self.counts_on_all(repo) {
            return None;
        }
        self.marking = Some((repo, Vec::new()));
        let live = self.live.values().filter(|held| held.repo == repo);
        Some(live.flat_map(|held| held.ids.iter().copied()).collect())
    }

    /// What was entered for the repository since the last question.
    pub(crate) fn take_touched(&mut self) -> Vec<ObjectId> {
        self.marking.as_mut().map(|(_, touched)| std::mem::take(touched)).unwrap_or_default()
    }

    /// Whether so much was entered that it is not worth going on.
    pub(crate) fn is_overrun(&self) -> bool {
        self.marking.as_ref().is_some_and(|(_, touched)| touched.len() > TOUCHED_MAX)
    }

    /// Ends with the repository.
    pub(crate) fn end_marking(&mut self) {
        self.marking = None;
    }

    /// Whether somebody counts on all of the repository.
    pub(crate) fn counts_on_all(&self, repo: RepoId) -> bool {
        self.live.values().any(|held| held.repo == repo && held.whole)
    }

    /// Whether somebody counts on anything in the repository.
    pub(crate) fn is_in_use(&self, repo: RepoId) -> bool {
        self.live.values().any(|held| held.repo == repo)
    }

    /// Begins to sweep rows of objects.
    pub(crate) fn begin_sweeping(&mut self) {
        let ids = self.live.values().flat_map(|held| held.ids.iter());
        self.sweeping = Some(ids.map(|id| short(id.as_bytes())).collect());
    }

    /// What is not swept, because somebody counts on it or did since the sweep began.
    pub(crate) fn swept_around(&mut self) -> &mut HashSet<u64> {
        self.sweeping.get_or_insert_default()
    }

    /// Ends the sweep.
    pub(crate) fn end_sweeping(&mut self) {
        self.sweeping = None;
    }
}

impl Lease {
    /// Enters more ids: before they are looked up.
    pub(crate) fn add(&self, ids: &[ObjectId]) {
        let mut state = self.leases.lock();
        state.touch(self.repo, ids);
        if let Some(held) = state.live.get_mut(&self.number) {
            held.ids.extend_from_slice(ids);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.lock().live.remove(&self.number);
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("repo", &self.repo).finish_non_exhaustive()
    }
}

/// What ingests and readers of files count on.
#[derive(Clone, Default)]
pub(crate) struct ContentLeases {
    state: Arc<Mutex<ContentState>>,
}

#[derive(Default)]
pub(crate) struct ContentState {
    next: u64,
    live: HashMap<u64, HeldContent>,
    /// Files that are being read, and by how many.
    read: HashMap<FileId, usize>,
    sweeping: Option<SweptAround>,
}

#[derive(Default)]
struct HeldContent {
    chunks: Vec<u64>,
    files: Vec<FileId>,
}

/// What gc leaves where it is.
#[derive(Default)]
pub(crate) struct SweptAround {
    pub(crate) chunks: HashSet<u64>,
    pub(crate) files: HashSet<FileId>,
}

/// Keeps the chunks and files that an ingest counts on.
pub(crate) struct ContentLease {
    leases: ContentLeases,
    number: u64,
}

/// Keeps a file that is being read.
pub(crate) struct Reading {
    leases: ContentLeases,
    file: FileId,
}

impl ContentLeases {
    /// Begins an ingest, which counts on nothing yet.
    pub(crate) fn begin(&self) -> ContentLease {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.live.insert(number, HeldContent::default());
        ContentLease { leases: self.clone(), number }
    }

    /// Begins to read a file: before its head is looked up.
    pub(crate) fn read(&self, file: &FileId) -> Reading {
        let mut state = self.state.lock();
        *state.read.entry(*file).or_default() += 1;
        if let Some(around) = &mut state.sweeping {
            around.files.insert(*file);
        }
        Reading { leases: self.clone(), file: *file }
    }

    /// The registry: while the guard lives nothing is entered.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ContentState> {
        self.state.lock()
    }
}

impl ContentState {
    /// Begins to sweep files and chunks.
    pub(crate) fn begin_sweeping(&mut self) {
        let mut around = SweptAround::default();
        for held in self.live.values() {
            around.chunks.extend(&held.chunks);
            around.files.extend(&held.files);
        }
        around.files.extend(self.read.keys());
        self.sweeping = Some(around);
    }

    /// What is not swept, because somebody counts on it or did since the sweep began.
    pub(crate) fn swept_around(&mut self) -> &SweptAround {
        self.sweeping.get_or_insert_default()
    }

    /// Whether somebody counts on the file now.
    pub(crate) fn counts_on(&self, file: &FileId) -> bool {
        self.read.contains_key(file) || self.live.values().any(|held| held.files.contains(file))
    }

    /// Ends the sweep.
    pub(crate) fn end_sweeping(&mut self) {
        self.sweeping = None;
    }
}

impl ContentLease {
    /// Enters chunks: before they are looked up or written.
    pub(crate) fn rely<'a>(&self, chunks: impl IntoIterator<Item = &'a ChunkId>) {
        let mut state = self.leases.lock();
        let ContentState { live, sweeping, .. } = &mut *state;
        let Some(held) = live.get_mut(&self.number) else { return };
        for chunk in chunks {
            let chunk = short(chunk.as_bytes());
            held.chunks.push(chunk);
            if let Some(around) = sweeping {
                around.chunks.insert(chunk);
            }
        }
    }

    /// Enters a file: before its head is looked up or written.
    pub(crate) fn rely_on_file(&self, file: &FileId) {
        let mut state = self.leases.lock();
        if let Some(held) = state.live.get_mut(&self.number) {
            held.files.push(*file);
        }
        if let Some(around) = &mut state.sweeping {
            around.files.insert(*file);
        }
    }
}

impl Drop for ContentLease {
    fn drop(&mut self) {
        self.leases.lock().live.remove(&self.number);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.leases.lock();
        if let Some(count) = state.read.get_mut(&self.file) {
            *count -= 1;
            if *count == 0 {
                state.read.remove(&self.file);
            }
        }
    }
}
