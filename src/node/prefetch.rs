//! Content of a repository that is filled as it is read, brought before anybody reads it.
//!
//! Directories level by level, then blobs in batches, then large files run by run, several runs at
//! a time. What is here is not asked for; what came stays, so a second run goes on. Readers go
//! first.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use mega_storage::object::{EntryKind, POINTER_LEN_MAX, tree_entries};
use mega_storage::{
    Content, FileId, ObjectId, ObjectKind, ObjectWant, Pointer, Progress, ReadStore, ReadThrough,
    RepoName, StoreError, Unit, peel, resolve_revision,
};
use parking_lot::Mutex;

use super::remote::{Opened, RepoPlace, open_place};
use super::tree::{Entry, Place, find_path};
use super::{Node, NodeError};
use crate::git::Git;

/// Bytes of a file that one thread brings at a time.
const RUN_LEN: u64 = 4 << 20;
/// Runs on their way at once.
const RUNS_MAX: usize = 3;
/// Objects in one question: few enough that each answer is seen to come.
const BATCH_COUNT: usize = 1024;
/// Blobs in one question have so many bytes together, or are one.
const BATCH_LEN: u64 = 16 << 20;
/// Blobs whose lengths are asked for at once.
const STAT_COUNT: usize = 4096;
/// What to bring.
#[derive(Clone, Debug)]
pub struct PrefetchRequest {
    /// The repository.
    pub repo: RepoPlace,
    /// The revision.
    pub revision: String,
    /// Paths in it; all of it when there are none.
    pub paths: Vec<Vec<u8>>,
    /// Git in the environment of whoever asked.
    pub git: Git,
}

/// Something that could not be had.
#[derive(Clone, Debug)]
pub struct MissingContent {
    /// One path of it.
    pub path: Vec<u8>,
    /// The object's or the file's id.
    pub id: String,
    /// Its length, where it is known.
    pub len: Option<u64>,
    /// Why.
    pub reason: String,
}

/// What came of it.
#[derive(Debug)]
pub struct PrefetchReport {
    /// The repository's name here.
    pub repo: RepoName,
    /// Distinct blobs below the paths, without pointers.
    pub blob_count: u64,
    /// Distinct large files below the paths.
    pub file_count: u64,
    /// Bytes of both.
    pub len: u64,
    /// Bytes of content that came now.
    pub came_len: u64,
    /// What could not be had.
    pub missing: Vec<MissingContent>,
    /// What the person should know: the server is away.
    pub note: Option<String>,
}

/// Brings content. Returns well when something could not be had: the report lists it.
///
/// # Errors
/// When there is no such repository, revision or path, or the store fails.
pub fn prefetch(
    node: &Node,
    request: &PrefetchRequest,
    progress: &dyn Progress,
) -> Result<PrefetchReport, NodeError> {
    let opened = open_place(node, &request.repo, &request.revision, &request.git, None)?;
    let Opened { repo, reader, through, note, .. } = opened;
    let id = resolve_revision(node.store(), &repo, &request.revision)?;
    let spec = format!("{}@{}", repo.name, request.revision);
    let tree = peel(node.store(), &id, ObjectKind::Tree)?;
    let place = Place { repo, view: reader.clone(), tree, spec };
    let mut work =
        Work { reader: &*reader, through: through.as_deref(), progress, missing: Vec::new() };
    progress.start("finding files", None, Unit::Objects);
    let found = work.find(&roots(&place, &request.paths)?)?;
    let wanted = work.measure(found)?;
    let came = AtomicU64::new(0);
    progress.start("fetching", Some(wanted.absent_len()), Unit::Bytes);
    work.bring_blobs(&wanted.blobs, &came)?;
    work.bring_files(&wanted.files, &came)?;
    Ok(PrefetchReport {
        repo: place.repo.name,
        blob_count: wanted.blob_count,
        file_count: wanted.file_count,
        len: wanted.len,
        came_len: came.into_inner(),
        missing: work.missing,
        note,
    })
}

/// Something at a path: mode and object.
type Item = (Vec<u8>, u32, ObjectId);

/// What the paths name; the root directory when there are none.
fn roots(place: &Place, paths: &[Vec<u8>]) -> Result<Vec<Item>, NodeError> {
    const TREE_MODE: u32 = 0o040_000;
    let root = || (Vec::new(), TREE_MODE, place.tree);
    if paths.is_empty() {
        return Ok(vec![root()]);
    }
    let find = |path: &Vec<u8>| {
        let found = find_path(place, path)?;
        Ok(found.map_or_else(root, |Entry { mode, id, .. }| (path.clone(), mode, id)))
    };
    paths.iter().map(find).collect()
}

/// Blobs by id, each with one of its paths and whether it may be a pointer.
type Blobs = HashMap<ObjectId, (Vec<u8>, bool)>;

/// A blob or a file that is not here.
pub(super) struct Wanted<I> {
    pub(super) id: I,
    /// One path of it.
    pub(super) path: Vec<u8>,
    /// Its length.
    pub(super) len: u64,
    /// Bytes of it that are not here.
    pub(super) absent_len: u64,
}

struct AllWanted {
    blobs: Vec<Wanted<ObjectId>>,
    files: Vec<Wanted<FileId>>,
    blob_count: u64,
    file_count: u64,
    len: u64,
}

impl AllWanted {
    fn absent_len(&self) -> u64 {
        let blobs = self.blobs.iter().map(|blob| blob.absent_len);
        blobs.chain(self.files.iter().map(|file| file.absent_len)).sum()
    }
}

struct Work<'a> {
    reader: &'a dyn ReadStore,
    through: Option<&'a ReadThrough>,
    progress: &'a dyn Progress,
    missing: Vec<MissingContent>,
}

impl Work<'_> {
    fn go_on(&self) -> Result<(), NodeError> {
        match self.progress.interrupted() {
            true => Err(StoreError::Interrupted.into()),
            false => Ok(()),
        }
    }

    fn lacks(&mut self, path: &[u8], id: &impl ToString, len: Option<u64>, why: &str) {
        let (path, id, reason) = (path.to_vec(), id.to_string(), why.to_owned());
        self.missing.push(MissingContent { path, id, len, reason });
    }

    /// The blobs below the roots, each once. Directories come level by level.
    fn find(&mut self, roots: &[Item]) -> Result<Blobs, NodeError> {
        let (mut blobs, mut seen) = (Blobs::new(), HashSet::new());
        let mut level = roots.to_vec();
        while !level.is_empty() {
            let mut trees = Vec::new();
            for (path, mode, id) in level.drain(..) {
                match EntryKind::from_mode(mode) {
                    EntryKind::Directory if seen.insert(id) => trees.push((path, id)),
                    EntryKind::Directory | EntryKind::Submodule => {}
                    kind @ (EntryKind::File | EntryKind::Executable | EntryKind::Symlink) => {
                        let is_file = kind != EntryKind::Symlink;
                        blobs.entry(id).or_insert((path, false)).1 |= is_file;
                    }
                }
            }
            self.bring_trees(&trees)?;
            for (path, id) in &trees {
                match self.reader.object(id) {
                    Ok(tree) => level.extend(items(path, &tree.data)),
                    Err(error) => self.absent(path, id, None, error)?,
                }
            }
            self.progress.advance(trees.len() as u64);
        }
        Ok(blobs)
    }

    fn bring_trees(&self, trees: &[(Vec<u8>, ObjectId)]) -> Result<(), NodeError> {
        let Some(through) = self.through else { return Ok(()) };
        let ids: Vec<ObjectId> = trees.iter().map(|(_, id)| *id).collect();
        for ids in ids.chunks(BATCH_COUNT) {
            self.go_on()?;
            // Short blobs may be pointers, and are wanted at all events.
            let blob_len_max = POINTER_LEN_MAX as u64;
            // What does not come fails, with its reason, when it is read.
            through.fetch_some(&ObjectWant { ids, levels: 2, blob_len_max, history: 0 })?;
        }
        Ok(())
    }

    /// Notes what could not be had; trouble of the store itself ends the work.
    fn absent(
        &mut self,
        path: &[u8],
        id: &impl ToString,
        len: Option<u64>,
        error: StoreError,
    ) -> Result<(), NodeError> {
        match error {
            StoreError::MissingObject { .. }
            | StoreError::MissingFile { .. }
            | StoreError::MissingChunk { .. } => self.lacks(path, id, len, "no source has it"),
            StoreError::NotFetched { reason, .. } => self.lacks(path, id, len, &reason),
            other => return Err(other.into()),
        }
        Ok(())
    }

    /// What of the blobs, and of the files that they point to, is not here.
    fn measure(&mut self, blobs: Blobs) -> Result<AllWanted, NodeError> {
        let blobs: Vec<(ObjectId, (Vec<u8>, bool))> = blobs.into_iter().collect();
        let mut all = AllWanted {
            blobs: Vec::new(),
            files: Vec::new(),
            blob_count: 0,
            file_count: 0,
            len: 0,
        };
        let mut pointers: HashMap<FileId, (Vec<u8>, Pointer)> = HashMap::new();
        for part in blobs.chunks(STAT_COUNT) {
            self.go_on()?;
            let ids: Vec<ObjectId> = part.iter().map(|(id, _)| *id).collect();
            let stats = self.reader.stat(&ids)?;
            let here = match self.through {
                Some(through) => through.local().stat(&ids)?,
                None => stats.clone(),
            };
            for (((id, (path, is_file)), stat), here) in part.iter().zip(stats).zip(here) {
                let pointer = stat.and_then(|stat| stat.pointer).filter(|_| *is_file);
                if let Some(pointer) = pointer {
                    pointers.entry(pointer.file).or_insert((path.clone(), pointer));
                    continue;
                }
                let len = stat.map_or(0, |stat| stat.header.len);
                all.blob_count += 1;
                all.len += len;
                if here.is_none() {
                    all.blobs.push(Wanted { id: *id, path: path.clone(), len, absent_len: len });
                }
            }
        }
        self.measure_files(pointers.into_values().collect(), &mut all)?;
        Ok(all)
    }

    fn measure_files(
        &mut self,
        mut pointers: Vec<(Vec<u8>, Pointer)>,
        all: &mut AllWanted,
    ) -> Result<(), NodeError> {
        pointers.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let ids: Vec<Pointer> = pointers.iter().map(|(_, pointer)| *pointer).collect();
        let lens = self.reader.file_lens(&ids)?;
        for ((path, pointer), len) in pointers.into_iter().zip(lens) {
            all.file_count += 1;
            all.len += pointer.len;
            let Some(len) = len else {
                self.lacks(&path, &pointer.file, Some(pointer.len), "no source has it");
                continue;
            };
            let Some(through) = self.through else { continue };
            if through.local().file_len(&pointer.file)?.is_some() {
                continue;
            }
            let here = through.resident(&Content::File(pointer.file))?;
            let absent_len = len.saturating_sub(here);
            all.files.push(Wanted { id: pointer.file, path, len, absent_len });
        }
        Ok(())
    }

    fn bring_blobs(
        &mut self,
        blobs: &[Wanted<ObjectId>],
        came: &AtomicU64,
    ) -> Result<(), NodeError> {
        let Some(through) = self.through else {
            for blob in blobs {
                self.lacks(&blob.path, &blob.id, Some(blob.len), "it is not in the store");
            }
            return Ok(());
        };
        let mut rest = blobs;
        while !rest.is_empty() {
            self.go_on()?;
            let mut len = 0;
            let is_over = |blob: &Wanted<ObjectId>| {
                len += blob.len;
                len > BATCH_LEN
            };
            let count = rest.iter().take(BATCH_COUNT).position(is_over);
            let count = count.unwrap_or(BATCH_COUNT.min(rest.len())).max(1);
            let (batch, after) = rest.split_at(count);
            let ids: Vec<ObjectId> = batch.iter().map(|blob| blob.id).collect();
            let failed = through.fetch_some(&ObjectWant::exactly(&ids))?;
            let mut failed: HashMap<ObjectId, StoreError> = failed.into_iter().collect();
            for blob in batch {
                match failed.remove(&blob.id) {
                    Some(error) => self.absent(&blob.path, &blob.id, Some(blob.len), error)?,
                    None => {
                        came.fetch_add(blob.len, Ordering::Relaxed);
                        self.progress.advance(blob.len);
                    }
                }
            }
            rest = after;
        }
        Ok(())
    }

    fn bring_files(&mut self, files: &[Wanted<FileId>], came: &AtomicU64) -> Result<(), NodeError> {
        let Some(through) = self.through else { return Ok(()) };
        let mut attempts = Attempts::default();
        for file in files {
            self.go_on()?;
            match attempts.next(|| bring_file(through, file, came, self.progress)) {
                Ok(true) => {}
                Ok(false) => {
                    let here = through.resident(&Content::File(file.id))?;
                    let why = match here < file.len && here > 0 {
                        true => "the cache limit removed some of it meanwhile: pin the repository",
                        false => "its chunks, as its source tells them, are not it",
                    };
                    self.lacks(&file.path, &file.id, Some(file.len), why);
                }
                Err(StoreError::Interrupted) => return Err(StoreError::Interrupted.into()),
                Err(error) => self.absent(&file.path, &file.id, Some(file.len), error)?,
            }
        }
        Ok(())
    }
}

/// The entries of a directory, with their paths.
fn items(path: &[u8], data: &[u8]) -> Vec<Item> {
    let entries = tree_entries(data).map_while(Result::ok);
    let item = |entry: mega_storage::object::TreeEntry<'_>| {
        let gap: &[u8] = if path.is_empty() { b"" } else { b"/" };
        ([path, gap, entry.name].concat(), entry.mode, entry.id)
    };
    entries.map(item).collect()
}

/// Files tried one after the other, until nobody can be reached.
#[derive(Default)]
pub(super) struct Attempts {
    /// How many in a row found nobody.
    unreached: usize,
}

impl Attempts {
    /// After so many the others are not tried.
    const UNREACHED_MAX: usize = 2;

    /// The next file, brought by `bring`; whether it is whole then.
    pub(super) fn next(
        &mut self,
        bring: impl FnOnce() -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        if self.unreached >= Self::UNREACHED_MAX {
            let reason = "not tried: the source could not be reached".to_owned();
            return Err(StoreError::NotFetched { what: String::new(), reason });
        }
        let brought = bring();
        match &brought {
            Ok(true) => self.unreached = 0,
            Err(StoreError::NotFetched { .. }) => self.unreached += 1,
            _ => {}
        }
        brought
    }
}

/// Brings a file, several runs at a time; whether it is whole then, its hash proven.
pub(super) fn bring_file(
    through: &ReadThrough,
    file: &Wanted<FileId>,
    came: &AtomicU64,
    progress: &dyn Progress,
) -> Result<bool, StoreError> {
    let count = usize::try_from(file.len.div_ceil(RUN_LEN)).unwrap_or(usize::MAX);
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let run = || loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= count {
            return;
        }
        let brought = match progress.interrupted() {
            true => Err(StoreError::Interrupted),
            false => through.bring(&file.id, index as u64 * RUN_LEN, RUN_LEN),
        };
        match brought {
            Ok(len) => {
                came.fetch_add(len, Ordering::Relaxed);
                progress.advance(len);
            }
            Err(error) => {
                next.store(count, Ordering::Relaxed);
                failure.lock().get_or_insert(error);
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..RUNS_MAX.min(count) {
            scope.spawn(run);
        }
        run();
    });
    match failure.into_inner() {
        Some(error) => Err(error),
        None => through.complete(&file.id),
    }
}
