//! What references reach: every link followed, every object that is read hashed and checked. Unlike
//! gc's marking it goes on at whatever is wrong.
//!
//! Commits level by level, then trees level by level, each object once; of blobs only whether they
//! are there, and as what.

use std::collections::{BTreeMap, HashMap};

use super::fault::{self, Look};
use super::finding::What;
use super::fsck::Findings;
use crate::error::{Result, StoreError};
use crate::id::{FileId, ObjectId, RepoId};
use crate::object::check::{Problem, check_object_noting};
use crate::object::parse::{EntryKind, commit_info, tag_target, tree_entries};
use crate::object::{ObjectKind, SpecialBlobs, hash_object};
use crate::progress::{Progress, Unit};
use crate::read::ObjectStat;
use crate::repos::Repo;
use crate::store::Store;

/// What is known of an object that was named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// It will be looked up; what it was named as first.
    Named(Option<ObjectKind>),
    /// It is here, of this kind.
    Is(ObjectKind),
    /// It is not here.
    Absent,
}

/// An object, as it is named.
#[derive(Clone, Copy, Debug)]
struct Named {
    id: ObjectId,
    /// As what; of references anything.
    kind: Option<ObjectKind>,
    from: Option<ObjectId>,
}

/// A walk over one repository.
pub(super) struct Connect<'a> {
    store: &'a Store,
    repo: RepoId,
    is_partial: bool,
    findings: &'a mut Findings,
    progress: &'a dyn Progress,
    known: HashMap<ObjectId, Known>,
    object_count: u64,
    /// Blobs that trees name `.gitmodules` or `.gitattributes`.
    pub(super) special: SpecialBlobs,
    /// LFS files that blobs name, with the length that those say, each with one of the blobs.
    pub(super) pointers: BTreeMap<(FileId, u64), ObjectId>,
    /// What was named and is not looked up yet.
    next: Vec<Named>,
    /// Trees that are read when all commits are.
    trees: Vec<ObjectId>,
}

impl<'a> Connect<'a> {
    pub(super) fn new(
        store: &'a Store,
        repo: &Repo,
        findings: &'a mut Findings,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            store,
            repo: repo.id,
            is_partial: repo.partial,
            findings,
            progress,
            known: HashMap::new(),
            object_count: 0,
            special: SpecialBlobs::default(),
            pointers: BTreeMap::new(),
            next: Vec::new(),
            trees: Vec::new(),
        }
    }

    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Objects that are reached and here.
    pub(super) fn object_count(&self) -> u64 {
        self.object_count
    }

    /// The kind of an object that was reached, `Some(None)` for one that is not here.
    pub(super) fn kind(&self, id: &ObjectId) -> Option<Option<ObjectKind>> {
        match self.known.get(id)? {
            Known::Is(kind) => Some(Some(*kind)),
            Known::Named(_) | Known::Absent => Some(None),
        }
    }

    /// Notes what content checks found.
    pub(super) fn tell(&mut self, id: ObjectId, kind: ObjectKind, problems: Vec<Problem>) {
        problems.into_iter().for_each(|problem| self.findings.content(id, kind, problem));
    }

    pub(super) fn unreadable(&mut self, id: ObjectId, reason: String) {
        self.findings.error(What::Unreadable { id, reason });
    }

    /// Follows everything from `tips`.
    pub(super) fn follow(&mut self, tips: &[ObjectId]) -> Result<()> {
        self.progress.start("following links", None, Unit::Objects);
        for id in tips {
            self.name(Named { id: *id, kind: None, from: None });
        }
        loop {
            let mut readable = self.look_up()?;
            if readable.is_empty() {
                readable = std::mem::take(&mut self.trees);
            }
            if readable.is_empty() {
                return Ok(());
            }
            readable.sort_unstable();
            self.read(&readable)?;
        }
    }

    /// Notes that an object is named.
    fn name(&mut self, named: Named) {
        match self.known.get(&named.id) {
            None => {
                self.known.insert(named.id, Known::Named(named.kind));
                self.next.push(named);
            }
            // As what else it is named is compared when it has been looked up.
            Some(Known::Named(first)) if *first != named.kind => self.next.push(named),
            Some(Known::Is(actual)) => self.compare(&named, *actual),
            Some(Known::Named(_) | Known::Absent) => {}
        }
    }

    fn compare(&mut self, named: &Named, actual: ObjectKind) {
        if let Some(expected) = named.kind.filter(|kind| *kind != actual) {
            let Named { id, from, .. } = *named;
            self.findings.error(What::WrongKind { id, expected, actual, from });
        }
    }

    /// Looks up what was named; returns commits and tags to be read, and keeps trees for later.
    fn look_up(&mut self) -> Result<Vec<ObjectId>> {
        let mut named = std::mem::take(&mut self.next);
        named.sort_by_key(|named| named.id);
        let mut ids: Vec<ObjectId> = named.iter().map(|named| named.id).collect();
        ids.dedup();
        ids.retain(|id| matches!(self.known.get(id), Some(Known::Named(_))));
        let mut readable = Vec::new();
        for part in ids.chunks(1_024) {
            self.look_up_part(part, &named, &mut readable)?;
        }
        for named in &named {
            if let Some(Known::Is(actual)) = self.known.get(&named.id).copied() {
                self.compare(named, actual);
            }
        }
        Ok(readable)
    }

    fn look_up_part(
        &mut self,
        ids: &[ObjectId],
        named: &[Named],
        readable: &mut Vec<ObjectId>,
    ) -> Result<()> {
        let members = self.members(ids)?;
        let stats = match self.store.objects().stat(ids) {
            Ok(stats) => stats.into_iter().map(Ok).collect(),
            Err(error) => {
                fault::reason_of(error)?;
                self.stats_one_by_one(ids)?
            }
        };
        for ((id, is_member), stat) in ids.iter().zip(members).zip(stats) {
            let stat = match stat {
                Ok(stat) => stat.filter(|_| is_member),
                Err(reason) => {
                    self.known.insert(*id, Known::Absent);
                    self.unreadable(*id, reason);
                    continue;
                }
            };
            let Some(stat) = stat else {
                self.known.insert(*id, Known::Absent);
                // What is absent where all is filled as it is read is elsewhere, unless it was.
                if !self.is_partial || is_member {
                    let at = named.partition_point(|named| named.id < *id);
                    let (kind, from) = named.get(at).map_or((None, None), |n| (n.kind, n.from));
                    self.findings.error(What::Missing { id: *id, kind, from });
                }
                continue;
            };
            let kind = stat.header.kind;
            self.known.insert(*id, Known::Is(kind));
            self.object_count += 1;
            match kind {
                ObjectKind::Commit | ObjectKind::Tag => readable.push(*id),
                ObjectKind::Tree => self.trees.push(*id),
                ObjectKind::Blob => {
                    if let Some(pointer) = stat.pointer {
                        self.pointers.entry((pointer.file, pointer.len)).or_insert(*id);
                    }
                }
            }
        }
        self.step(ids.len())
    }

    fn members(&mut self, ids: &[ObjectId]) -> Result<Vec<bool>> {
        match self.store.objects().are_members(self.repo, ids) {
            Ok(members) => Ok(members),
            Err(error) => {
                fault::reason_of(error)?;
                let is_member = |id| match self.store.objects().is_member(self.repo, id) {
                    Ok(is_member) => Ok(is_member),
                    Err(error) => fault::reason_of(error).map(|_| false),
                };
                ids.iter().map(is_member).collect()
            }
        }
    }

    fn stats_one_by_one(&self, ids: &[ObjectId]) -> Result<Vec<Stat>> {
        let one = |id: &ObjectId| match self.store.objects().stat(std::slice::from_ref(id)) {
            Ok(mut stats) => Ok(Ok(stats.pop().flatten())),
            Err(error) => fault::reason_of(error).map(Err),
        };
        ids.iter().map(one).collect()
    }

    /// Reads objects, which ascend: together, and one by one what does not come of that.
    fn read(&mut self, ids: &[ObjectId]) -> Result<()> {
        let mut is_read = vec![false; ids.len()];
        let store = self.store;
        let together = store.objects().read_each(ids, &mut |index, kind, data| {
            is_read[index] = true;
            self.object(&ids[index], kind, data);
            if index % 1_024 == 0 { self.step(0) } else { Ok(()) }
        });
        match together {
            Ok(()) => return self.step(0),
            Err(StoreError::Interrupted) => return Err(StoreError::Interrupted),
            Err(error) => fault::reason_of(error)?,
        };
        for (id, _) in ids.iter().zip(is_read).filter(|(_, is_read)| !is_read) {
            match fault::object(store, id)? {
                Look::Sound(object) => self.object(id, object.kind, &object.data),
                Look::Absent => self.unreadable(*id, "its row is missing".to_owned()),
                Look::Bad(reason) => self.unreadable(*id, reason),
            }
            self.step(0)?;
        }
        Ok(())
    }

    fn step(&self, count: usize) -> Result<()> {
        self.progress.advance(count as u64);
        if self.progress.interrupted() { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    /// Checks an object and names what it names.
    fn object(&mut self, id: &ObjectId, kind: ObjectKind, data: &[u8]) {
        if hash_object(kind, data) != Ok(*id) {
            return self.unreadable(*id, "its bytes do not have its id".to_owned());
        }
        let mut problems = Vec::new();
        check_object_noting(kind, data, &mut self.special, &mut problems);
        let is_clean = problems.is_empty();
        self.tell(*id, kind, problems);
        if let Err(reason) = self.links(id, kind, data)
            && is_clean
        {
            self.unreadable(*id, reason.to_owned());
        }
    }

    fn links(&mut self, id: &ObjectId, kind: ObjectKind, data: &[u8]) -> Result<(), &'static str> {
        let from = Some(*id);
        match kind {
            ObjectKind::Blob => {}
            ObjectKind::Tag => {
                let (id, kind) = tag_target(data)?;
                self.name(Named { id, kind: Some(kind), from });
            }
            ObjectKind::Commit => {
                let info = commit_info(data)?;
                self.name(Named { id: info.tree, kind: Some(ObjectKind::Tree), from });
                for id in info.parents {
                    self.name(Named { id, kind: Some(ObjectKind::Commit), from });
                }
            }
            ObjectKind::Tree => {
                for entry in tree_entries(data) {
                    let entry = entry?;
                    let kind = match entry.kind() {
                        // Another repository's commit is none of this one's objects.
                        EntryKind::Submodule => continue,
                        EntryKind::Directory => ObjectKind::Tree,
                        EntryKind::File | EntryKind::Executable | EntryKind::Symlink => {
                            ObjectKind::Blob
                        }
                    };
                    self.name(Named { id: entry.id, kind: Some(kind), from });
                }
            }
        }
        Ok(())
    }
}

/// What is known of an object, or why that cannot be read.
type Stat = Result<Option<ObjectStat>, String>;
