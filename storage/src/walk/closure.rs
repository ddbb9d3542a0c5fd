//! Closures: all that some tips reach, kept so that a clone need not walk.
//!
//! A closure is looked for in memory, then in a file; else it is made from one that is there by
//! walking only what is new, when all tips of that one are still reached; else by a whole walk. It
//! is a fact about objects, which never change: no push makes one wrong.

mod file;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::Reach;
use super::ancestry::reachable;
use super::ids::sorted;
use super::reach::all_new;
use super::walker::Walker;
use crate::db::Db;
use crate::error::Result;
use crate::id::{ObjectId, RepoId};
use crate::id_table::IdTable;
use crate::object::ObjectKind;
use crate::progress::Unit;
use file::Kept;

/// Closures in memory, at most so many,
const RECENT_COUNT_MAX: usize = 8;
/// and at most so many ids (24 MiB).
const RECENT_IDS_MAX: usize = (24 << 20) / ObjectId::LEN;
/// Files of one repository.
const FILE_COUNT_MAX: usize = 4;
/// Tips that may be gone from a closure that is extended, beside those that others took the place
/// of: with more it was most likely one of other references.
const GONE_COUNT_MAX: usize = 64;
/// A closure goes to a file when more than one in so many of its ids are in none: after a small
/// push it is not written anew.
const UNSAVED_SHARE: usize = 50;
/// One repository's closures are made one after the other; so many repositories' at once.
const LOCK_COUNT: usize = 16;

/// A closure in memory.
#[derive(Clone)]
struct Recent {
    repo: RepoId,
    tips: Arc<[ObjectId]>,
    closure: Arc<Reach>,
    /// Ids that no file has.
    unsaved_count: usize,
}

/// Closures in memory and the directory of those on the disk.
pub(crate) struct ClosureCache {
    dir: PathBuf,
    tmp: PathBuf,
    /// The most recent last.
    recent: Mutex<Vec<Recent>>,
    making: [Mutex<()>; LOCK_COUNT],
}

/// A closure that another is made from.
struct Base {
    tips: Arc<[ObjectId]>,
    from: From,
}

enum From {
    Memory(Recent),
    File(Kept),
}

impl ClosureCache {
    /// Nothing is read or made yet.
    pub(crate) fn new(db: &Db) -> Self {
        Self {
            dir: directory(db),
            tmp: db.tmp().to_owned(),
            recent: Mutex::default(),
            making: Default::default(),
        }
    }

    /// Removes what is kept of a repository that is deleted.
    pub(crate) fn remove(db: &Db, repo: RepoId) {
        // What stays is never asked for: numbers are not reused.
        let _ = std::fs::remove_dir_all(directory(db).join(repo.to_string()));
    }

    fn recall(&self, repo: RepoId, tips: &[ObjectId]) -> Option<Arc<Reach>> {
        let mut recent = self.recent.lock();
        let index = recent.iter().position(|r| r.repo == repo && *r.tips == *tips)?;
        let entry = recent.remove(index);
        let closure = entry.closure.clone();
        recent.push(entry);
        Some(closure)
    }

    fn remember(&self, entry: Recent) -> Arc<Reach> {
        let closure = entry.closure.clone();
        let mut recent = self.recent.lock();
        recent.push(entry);
        while recent.len() > RECENT_COUNT_MAX
            || recent.iter().map(|kept| kept.closure.ids.len()).sum::<usize>() > RECENT_IDS_MAX
        {
            recent.remove(0);
        }
        closure
    }

    /// Closures of the repository, those used last first.
    fn bases(&self, repo: RepoId) -> Vec<Base> {
        let recent = self.recent.lock().clone();
        let recent = recent.into_iter().rev().filter(|recent| recent.repo == repo);
        let recent = recent.map(|r| Base { tips: r.tips.clone(), from: From::Memory(r) });
        let files = files(self, repo).into_iter().rev();
        let files = files.filter_map(|(_, path)| {
            let kept = Kept::open(&path, repo)?;
            Some(Base { tips: kept.tips.as_slice().into(), from: From::File(kept) })
        });
        recent.chain(files).collect()
    }

    fn repo_dir(&self, repo: RepoId) -> PathBuf {
        self.dir.join(repo.to_string())
    }
}

/// Does the work of [`crate::Store::closure`].
pub(super) fn closure(
    walker: &Walker<'_>,
    cache: &ClosureCache,
    tips: &[ObjectId],
) -> Result<Arc<Reach>> {
    let tips = sorted(tips.iter().copied());
    if tips.is_empty() {
        return Ok(Arc::default());
    }
    let repo = walker.repo;
    if let Some(closure) = cache.recall(repo, &tips) {
        return Ok(closure);
    }
    let _making = cache.making[repo.0 as usize % LOCK_COUNT].lock();
    if let Some(closure) = cache.recall(repo, &tips) {
        return Ok(closure);
    }
    let path = cache.repo_dir(repo).join(name_of(&tips));
    let kept = Kept::open(&path, repo).filter(|kept| kept.tips == tips).and_then(Kept::ids);
    let (ids, unsaved_count) = match kept {
        Some(ids) => (ids, 0),
        None => {
            walker.progress.start("walking", None, Unit::Objects);
            let (ids, unsaved_count) = match extended(walker, cache, &tips)? {
                Some(extended) => extended,
                None => (all_new(walker, &tips, &mut |_| false)?, usize::MAX),
            };
            if unsaved_count <= ids.len() / UNSAVED_SHARE {
                (ids, unsaved_count)
            } else {
                keep(cache, repo, &tips, &ids);
                (ids, 0)
            }
        }
    };
    let closure = Arc::new(Reach { ids, edge: Vec::new() });
    Ok(cache.remember(Recent { repo, tips: tips.into(), closure, unsaved_count }))
}

/// Keeps the closure of `tips`, which ascend as `ids` do.
pub(super) fn keep(cache: &ClosureCache, repo: RepoId, tips: &[ObjectId], ids: &[ObjectId]) {
    if tips.is_empty() {
        return;
    }
    let path = cache.repo_dir(repo).join(name_of(tips));
    // A cache that cannot be written is a slow one, not a failure.
    let _ = file::write(&cache.tmp, &path, repo, tips, ids);
    prune(cache, repo);
}

/// A closure made from one that is kept, and how many of its ids are in no file; `None` when there
/// is none whose tips are all reached.
fn extended(
    walker: &Walker<'_>,
    cache: &ClosureCache,
    tips: &[ObjectId],
) -> Result<Option<(Vec<ObjectId>, usize)>> {
    for base in cache.bases(walker.repo) {
        if !reaches_all(walker, tips, &base.tips)? {
            continue;
        }
        let (loaded, kept, unsaved_count);
        let old = match base.from {
            From::Memory(recent) => {
                (kept, unsaved_count) = (recent.closure, recent.unsaved_count);
                &kept.ids
            }
            From::File(kept) => {
                let Some(ids) = kept.ids() else { continue };
                (loaded, unsaved_count) = (ids, 0);
                &loaded
            }
        };
        let table = IdTable::new(old)?;
        let is_known = |id: &ObjectId| table.find(id).is_some();
        // What the old one has, with all that it reaches, is not even looked at.
        let added: Vec<ObjectId> = tips.iter().filter(|tip| !is_known(tip)).copied().collect();
        let new = all_new(walker, &added, &mut |id| is_known(id))?;
        return Ok(Some((merge(old, &new), unsaved_count + new.len())));
    }
    Ok(None)
}

/// Whether `tips` reach all of `old`. An answer of no may be wrong.
fn reaches_all(walker: &Walker<'_>, tips: &[ObjectId], old: &[ObjectId]) -> Result<bool> {
    let lacks = |all: &[ObjectId], tip: &ObjectId| all.binary_search(tip).is_err();
    let gone: Vec<ObjectId> = old.iter().filter(|tip| lacks(tips, tip)).copied().collect();
    let added: Vec<ObjectId> = tips.iter().filter(|tip| lacks(old, tip)).copied().collect();
    if gone.len() > added.len() + GONE_COUNT_MAX {
        return Ok(false);
    }
    let headers = walker.store.objects().headers(&gone)?;
    if !headers.iter().all(|h| h.is_some_and(|h| h.kind == ObjectKind::Commit)) {
        return Ok(false);
    }
    // Most often a branch has moved on, and its old tip is an ancestor of the new.
    for starts in [&added, tips] {
        if reachable(walker, starts, &gone, true)?.len() == gone.len() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Two ascending lists that share nothing, as one.
fn merge(left: &[ObjectId], right: &[ObjectId]) -> Vec<ObjectId> {
    let mut all = Vec::with_capacity(left.len() + right.len());
    let mut left = left;
    for id in right {
        let (before, after) = left.split_at(left.partition_point(|other| other < id));
        all.extend_from_slice(before);
        all.push(*id);
        left = after;
    }
    all.extend_from_slice(left);
    all
}

/// The files of a repository, the one used last at the end.
fn files(cache: &ClosureCache, repo: RepoId) -> Vec<(SystemTime, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(cache.repo_dir(repo)) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    files.sort_unstable();
    files
}

fn prune(cache: &ClosureCache, repo: RepoId) {
    let files = files(cache, repo);
    for (_, path) in files.iter().take(files.len().saturating_sub(FILE_COUNT_MAX)) {
        let _ = std::fs::remove_file(path);
    }
}

/// Names a set of tips: the first half of the SHA-256 of the sorted ids.
fn name_of(tips: &[ObjectId]) -> String {
    let mut hasher = Sha256::new();
    tips.iter().for_each(|tip| hasher.update(tip.as_bytes()));
    hasher.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn directory(db: &Db) -> PathBuf {
    db.dir().join("cache/closures")
}
