//! Packs in: quarantine, resolve and hash in one pass, filter, write, commit.
//!
//! A pack first lands in a file of its own (`tmp/`). A walk over its delta trees inflates every
//! entry once; each object is hashed, checked and searched for an LFS pointer while its bytes are
//! at hand. Nothing is visible before [`PreparedPack::commit`], and every entry is stored as it
//! came: its deflate bytes and its base's id.

mod bases;
mod by_id;
mod connect;
mod content;
mod filter;
mod links;
mod quarantine;
mod resolve;
mod special;
mod traverse;
mod whole;
mod write;

#[cfg(test)]
pub(crate) mod tests;

use std::io::Read;
use std::path::Path;

use super::{ObjectStore, PackLimits, limits};
use crate::error::Result;
use crate::id::{ObjectId, RepoId};
use crate::lease::Lease;
use crate::object::check::Problem;
use crate::progress::{Progress, Unit};
use crate::read::Pointer;
pub(super) use bases::entry_header;
pub use connect::ClosedPack;
use filter::Plan;
use quarantine::Quarantine;
use resolve::Resolved;
pub(super) use whole::deflate;
pub(super) use write::DEFLATE_LEVEL;
use write::Rows;

/// Where a pack comes from.
pub enum PackInput<'a> {
    /// A complete pack file with its index, as in a local repository.
    Indexed {
        /// The `.pack` file.
        pack: &'a Path,
        /// Its `.idx` file.
        index: &'a Path,
    },
    /// A pack of unknown origin. It may be thin: bases are then looked for in the repository.
    Stream(&'a mut dyn Read),
}

/// How a pack is taken in.
#[derive(Clone, Copy, Debug, Default)]
pub struct IngestOptions {
    /// What the pack may ask for.
    pub limits: PackLimits,
    /// Collect what the objects name, for [`PreparedPack::check_connected`].
    pub links: bool,
}

/// What a pack brought.
#[derive(Debug)]
pub struct IngestReport {
    /// The pack's trailing SHA-1.
    pub pack_id: [u8; 20],
    /// Entries in the pack.
    pub object_count: u64,
    /// Objects that the store did not have.
    pub new_count: u64,
    /// Length of the pack, in bytes.
    pub pack_len: u64,
    /// Length of all its objects together, inflated, in bytes.
    pub inflated_len: u64,
    /// What the content checks found, at most 1,000.
    pub problems: Vec<(ObjectId, Problem)>,
    /// How many problems there are in all.
    pub problem_count: u64,
    /// LFS files that pointers in the pack name, each once.
    pub pointers: Vec<Pointer>,
    /// The pack's objects name nothing outside of it: for [`crate::Store::keep_closure`].
    pub closed: Option<ClosedPack>,
    /// Keeps the objects from gc: for as long as no reference names them.
    pub lease: Lease,
}

/// A pack that is verified, resolved and written to sorted files, but not visible.
pub struct PreparedPack<'a> {
    store: &'a ObjectStore,
    repo: RepoId,
    quarantine: Quarantine,
    resolved: Resolved,
    plan: Plan,
    rows: Rows,
    /// What the pack's objects name outside of it, once that has been checked.
    outside: Vec<ObjectId>,
    closed: Option<ClosedPack>,
    /// What the pack counts on.
    lease: Lease,
}

impl ObjectStore {
    /// Takes a pack into `repo`: prepare and commit in one.
    ///
    /// # Errors
    /// [`crate::PackError`] for a pack that is refused; then nothing of it is kept.
    pub fn ingest_pack(
        &self,
        repo: RepoId,
        input: PackInput<'_>,
        options: &IngestOptions,
        progress: &dyn Progress,
    ) -> Result<IngestReport> {
        self.prepare_pack(repo, input, options, progress)?.commit()
    }

    /// Does everything that needs no lock: verify, resolve, hash, check, filter, write sorted
    /// files.
    ///
    /// # Errors
    /// [`crate::PackError`] for a pack that is refused.
    pub fn prepare_pack(
        &self,
        repo: RepoId,
        input: PackInput<'_>,
        options: &IngestOptions,
        progress: &dyn Progress,
    ) -> Result<PreparedPack<'_>> {
        progress.start("receiving the pack", None, Unit::Bytes);
        let mut quarantine = Quarantine::receive(&self.db, input, &options.limits, progress)?;
        let entries = bases::link(self, repo, &mut quarantine, &options.limits)?;
        let count = entries.len() as u64;
        progress.start("resolving objects", Some(count), Unit::Objects);
        let mut resolved = resolve::resolve(&quarantine, entries, options, progress)?;
        special::check(self, repo, &quarantine, &mut resolved)?;
        // Before the look-up: from here on gc lets them be.
        let ids: Vec<ObjectId> = resolved.objects.iter().map(|object| object.id).collect();
        let lease = self.db.leases().begin(repo, &ids);
        drop(ids);
        let plan = filter::plan(self, repo, &quarantine, &resolved)?;
        let rows = Rows::write(self, repo, &quarantine, &resolved, &plan)?;
        Ok(PreparedPack {
            store: self,
            repo,
            quarantine,
            resolved,
            plan,
            rows,
            outside: Vec::new(),
            closed: None,
            lease,
        })
    }
}

impl PreparedPack<'_> {
    /// Length of the pack, in bytes.
    pub fn pack_len(&self) -> u64 {
        self.quarantine.pack_len
    }

    /// Entries in the pack.
    pub fn object_count(&self) -> u64 {
        self.quarantine.entry_count
    }

    /// LFS files that pointers in the pack name; one may come more than once.
    pub fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.resolved.objects.iter().filter_map(|object| object.pointer.as_deref())
    }

    /// The first finding of each content check that found something.
    pub fn problems(&self) -> impl Iterator<Item = (&ObjectId, &Problem)> {
        self.resolved.problems.firsts.values().map(|(id, problem)| (id, problem))
    }

    /// Makes the pack's objects visible in the repository. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::StoreError::RepoGone`]; when the database cannot be written. The old state then
    /// stays.
    pub fn commit(self) -> Result<IngestReport> {
        let Self { store, repo, quarantine, resolved, mut plan, mut rows, outside, closed, lease } =
            self;
        let guard = store.db.commit_lock();
        store.db.check_repo(repo)?;
        let has_landed = store.db.generation() != plan.generation;
        let is_swept = store.db.swept() != plan.swept;
        if has_landed || is_swept {
            connect::still_there(store, repo, &outside)?;
        }
        // Invariant 6. The lease keeps gc from what was skipped; it is looked at all the same.
        if has_landed || is_swept && !filter::is_still_stored(store, repo, &resolved, &plan)? {
            // Another pack has landed: what was absent may be there.
            let again = filter::plan(store, repo, &quarantine, &resolved)?;
            if again.rows != plan.rows || again.members != plan.members {
                rows = Rows::write(store, repo, &quarantine, &resolved, &again)?;
            }
            plan = again;
        }
        assert_eq!(store.db.generation(), plan.generation, "the filter was made under the lock");
        let committed = rows.commit(store);
        // One that failed may have landed in part: who was filtered before must look again all the
        // same.
        store.db.bump_generation();
        drop(guard);
        committed?;
        Ok(IngestReport { closed, ..report(&quarantine, resolved, plan.rows.len() as u64, lease) })
    }
}

fn report(
    quarantine: &Quarantine,
    resolved: Resolved,
    new_count: u64,
    lease: Lease,
) -> IngestReport {
    let mut pointers: Vec<Pointer> =
        resolved.objects.iter().filter_map(|o| o.pointer.as_deref().copied()).collect();
    pointers.sort_by_key(|p| (p.file, p.len));
    pointers.dedup();
    let mut problems = resolved.problems.listed;
    problems.sort_by_key(|(id, _)| *id);
    IngestReport {
        pack_id: quarantine.id,
        object_count: quarantine.entry_count,
        new_count,
        pack_len: quarantine.pack_len,
        inflated_len: resolved.inflated_len,
        problems,
        problem_count: resolved.problems.count,
        pointers,
        closed: None,
        lease,
    }
}
