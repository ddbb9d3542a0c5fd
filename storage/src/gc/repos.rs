//! What each repository has no more: memberships, in one step, then rights.

use std::collections::{BTreeSet, HashSet};

use super::mark::Marker;
use super::members::Members;
use super::{GcRepo, GcReport, GcWhy, Point, Run};
use crate::db::{Durability, Family, Snapshot, SortedFile, keys};
use crate::error::{Result, StoreError};
use crate::files::rights::since;
use crate::id::{FileId, ObjectId, RepoId};
use crate::lease::{ObjectLeases, short};
use crate::name::{RefName, RepoName};
use crate::objects::KeptPacks;
use crate::outbox::damaged;
use crate::refs::RefTarget;
use crate::repos::Repo;

/// Times that what came meanwhile is marked, before a repository is left for the next run.
const ROUNDS_MAX: usize = 32;

/// Ends marking however it ends.
struct Marking(ObjectLeases);

impl Drop for Marking {
    fn drop(&mut self) {
        self.0.lock().end_marking();
    }
}

/// Memberships that go in one batch through the log, at most; more go as a sorted file, which takes
/// the disk a few milliseconds.
const FLIP_COUNT: u64 = 4_000;

/// How memberships go.
enum Removals {
    Few(Vec<ObjectId>),
    Many(SortedFile),
}

/// What a repository loses.
struct Dead {
    objects: u64,
    object_len: u64,
    /// Rights, with their values as they were.
    rights: Vec<(FileId, Box<[u8]>)>,
    refs: Vec<(RefName, ObjectId, u64)>,
    /// Rows in `gone` that keep nothing any more.
    gone_keys: Vec<Box<[u8]>>,
}

impl Run<'_> {
    /// Collects in every repository.
    pub(super) fn repos(&mut self) -> Result<()> {
        let (repos, orphans) = self.list()?;
        for (id, name) in self.deleted()? {
            self.purge(id, Some(name), GcWhy::Deleted)?;
        }
        for id in orphans {
            self.purge(id, None, GcWhy::Leftover)?;
        }
        for repo in repos.into_iter().filter(|repo| !repo.partial) {
            self.start("walking");
            let (id, name) = (repo.id, repo.name.clone());
            let collected = self.repo(&repo);
            let why = match collected {
                Ok(Some(dead)) => {
                    self.note_dead(id, Some(name), GcWhy::Unreachable, &dead);
                    continue;
                }
                Ok(None) => continue,
                Err(Stop::Kept(why)) => why,
                // A gap in what is here: what is behind it cannot be told from garbage.
                Err(Stop::Failed(
                    error @ (StoreError::MissingObject { .. }
                    | StoreError::MalformedObject { .. }
                    | StoreError::WrongKind { .. }
                    | StoreError::DamagedRow { .. }
                    | StoreError::Limit { .. }),
                )) => format!("it cannot be walked to its ends: {error}"),
                Err(Stop::Failed(error)) => return Err(error),
            };
            let dead = Dead::none();
            self.note_dead(id, Some(name), GcWhy::Kept(why), &dead);
        }
        Ok(())
    }

    fn note_dead(&mut self, id: RepoId, name: Option<RepoName>, why: GcWhy, dead: &Dead) {
        let mut file_len = 0u64;
        for (file, _) in &dead.rights {
            let head = self.store.files().head(file).ok().flatten();
            file_len = file_len.saturating_add(head.map_or(0, |head| head.len));
        }
        let is_kept = matches!(why, GcWhy::Kept(_));
        if !is_kept && dead.objects == 0 && dead.rights.is_empty() {
            return;
        }
        self.report.repos.push(GcRepo {
            id,
            name,
            why,
            object_count: dead.objects,
            object_len: dead.object_len,
            file_count: dead.rights.len() as u64,
            file_len,
            refs: dead.refs.iter().take(GcReport::REFS_MAX).cloned().collect(),
        });
    }

    /// All repositories, and numbers that have rows and are none's.
    fn list(&self) -> Result<(Vec<Repo>, Vec<RepoId>)> {
        let (repos, known, next) = {
            // Numbers are given out under it, and a fork's rows come under it.
            let _lock = self.db.commit_lock();
            let repos = self.store.repos().list()?;
            let mut known: BTreeSet<RepoId> = repos.iter().map(|repo| repo.id).collect();
            known.extend(self.db.drafts().ids());
            known.insert(crate::files::NO_REPO);
            for row in self.db.scan(Family::Gone, b"d") {
                known.insert(repo_in(&row?.0)?);
            }
            (repos, known, self.store.repos().next_id()?)
        };
        let mut orphans = BTreeSet::new();
        for family in [Family::RepoObject, Family::RepoFile, Family::Ref, Family::Partial] {
            let snapshot = self.db.snapshot();
            let mut cursor = snapshot.cursor(family, &[]);
            while let Some((key, _)) = cursor.at()? {
                let id = key.first_chunk().map(|id| RepoId(u32::from_be_bytes(*id)));
                let id = id.ok_or_else(|| damaged(family, key, "its key is too short"))?;
                if id < next && !known.contains(&id) {
                    orphans.insert(id);
                }
                let Some(above) = id.0.checked_add(1) else { break };
                cursor.seek(&above.to_be_bytes());
            }
        }
        Ok((repos, orphans.into_iter().collect()))
    }

    /// Repositories that were deleted longer ago than the grace.
    fn deleted(&self) -> Result<Vec<(RepoId, RepoName)>> {
        let mut deleted = Vec::new();
        for row in self.db.scan(Family::Gone, b"d") {
            let (key, value) = row?;
            let id = repo_in(&key)?;
            let read = || -> Option<(u64, RepoName)> {
                let (at, name) = value.split_first_chunk::<8>()?;
                let name = RepoName::new(std::str::from_utf8(name).ok()?).ok()?;
                Some((u64::from_be_bytes(*at), name))
            };
            let (at, name) = read().ok_or_else(|| damaged(Family::Gone, &key, "no deletion"))?;
            if !self.is_within_grace(at) {
                deleted.push((id, name));
            }
        }
        Ok(deleted)
    }

    /// Removes everything under a number that nobody can ask for.
    fn purge(&mut self, id: RepoId, name: Option<RepoName>, why: GcWhy) -> Result<()> {
        let mut dead = Dead::none();
        {
            let snapshot = self.db.snapshot();
            for ids in Batches(snapshot.members(id)) {
                let ids = ids?;
                dead.objects += ids.len() as u64;
                dead.object_len += self.stored_len(&ids)?;
                self.step(ids.len())?;
            }
            for row in snapshot.scan(Family::RepoFile, &id.0.to_be_bytes()) {
                let (key, value) = row?;
                dead.rights.push((file_in(&key)?, value));
            }
        }
        self.at(Point::BeforeFlip)?;
        if self.options.dry_run {
            self.planned.repos.insert(id);
            self.note_dead(id, name, why, &dead);
            return Ok(());
        }
        {
            let _lock = self.db.commit_lock();
            let leases = self.db.leases().lock();
            if leases.is_in_use(id) {
                drop(leases);
                let why = GcWhy::Kept("it was deleted, and is still being read".to_owned());
                self.note_dead(id, name, why, &Dead::none());
                return Ok(());
            }
            let rows = keys::repo_prefixed(id, b"");
            let mut batch = self.db.batch();
            for family in [Family::RepoObject, Family::RepoFile, Family::Ref, Family::Partial] {
                batch.delete_prefix(family, &rows);
            }
            for kind in [b'r', b'f', b'd'] {
                batch.delete_prefix(Family::Gone, &keys::gone_of(kind, id));
            }
            self.db.commit(batch, Durability::Synced)?;
            self.db.bump_swept();
        }
        self.at(Point::Flipped)?;
        for part in dead.rights.chunks(super::BATCH_COUNT) {
            let mut batch = self.db.batch();
            for (file, _) in part {
                batch.delete(Family::FileRepo, &keys::file_repo(file, id));
            }
            self.db.commit(batch, Durability::Logged)?;
        }
        self.gone_rows.add(Family::RepoObject, dead.objects);
        self.gone_rows.add(Family::RepoFile, dead.rights.len() as u64);
        KeptPacks::remove(self.db, id);
        self.note_dead(id, name, why, &dead);
        Ok(())
    }

    /// Collects in one repository.
    fn repo(&mut self, repo: &Repo) -> Result<Option<Dead>, Stop> {
        let id = repo.id;
        let (snapshot, counted_on) = {
            let _lock = self.db.commit_lock();
            if self.store.repos().record(id)?.is_none() {
                return Ok(None);
            }
            let Some(ids) = self.db.leases().lock().begin_marking(id) else {
                return Err(Stop::busy());
            };
            (self.db.snapshot(), ids)
        };
        let _marking = Marking(self.db.leases().clone());
        self.at(Point::Begun)?;
        let members = Members::load(&snapshot, id)?;
        let mut marker = Marker { store: self.store, repo: id, members, progress: self.progress };
        let (mut roots, gone) = self.roots(&snapshot, id)?;
        roots.extend(counted_on.into_iter().filter(|id| marker.members.has(id)));
        marker.mark(&roots)?;
        drop(roots);
        let mut dead = Dead { refs: gone.refs, gone_keys: gone.keys, ..Dead::none() };
        self.at(Point::Marked)?;
        if self.options.dry_run {
            self.plan(&snapshot, &marker, &mut dead)?;
            return Ok(Some(dead));
        }
        if marker.members.dead_count() > 0 {
            self.flip(&snapshot, &mut marker, &mut dead)?;
        }
        self.at(Point::Flipped)?;
        dead.rights = self.dead_rights(&snapshot, &marker)?;
        self.drop_rights(id, &mut dead.rights)?;
        self.at(Point::RightsGone)?;
        if dead.objects > 0 {
            // Which of them have what went cannot be told; the others are made again.
            KeptPacks::remove(self.db, id);
        }
        for keys in dead.gone_keys.chunks(super::BATCH_COUNT) {
            let mut batch = self.db.batch();
            keys.iter().for_each(|key| batch.delete(Family::Gone, key));
            self.db.commit(batch, Durability::Logged)?;
        }
        Ok(Some(dead))
    }

    /// What a dry run would remove.
    fn plan(
        &mut self,
        snapshot: &Snapshot<'_>,
        marker: &Marker<'_>,
        dead: &mut Dead,
    ) -> Result<()> {
        let mut shorts = Vec::new();
        for ids in Batches(marker.members.dead(snapshot, marker.repo)) {
            let ids = ids?;
            dead.objects += ids.len() as u64;
            dead.object_len += self.stored_len(&ids)?;
            shorts.extend(ids.iter().map(|id| short(id.as_bytes())));
        }
        dead.rights = self.dead_rights(snapshot, marker)?;
        self.planned.members.insert(marker.repo, shorts);
        self.planned.rights.extend(dead.rights.iter().map(|(file, _)| (marker.repo, *file)));
        Ok(())
    }

    /// Removes all dead memberships at once.
    fn flip(
        &mut self,
        snapshot: &Snapshot<'_>,
        marker: &mut Marker<'_>,
        dead: &mut Dead,
    ) -> Result<(), Stop> {
        let id = marker.repo;
        let (mut removals, mut built_for) = (None::<Removals>, u64::MAX);
        for _ in 0..ROUNDS_MAX {
            if built_for != marker.members.marked_count() {
                built_for = marker.members.marked_count();
                removals = self.removals(snapshot, marker, dead)?;
                if removals.is_none() {
                    return Ok(());
                }
            }
            self.forget_packs(id)?;
            if let Some(Removals::Many(_)) = removals {
                // So that taking the file in does not have to.
                self.db.flush(&[Family::RepoObject])?;
            }
            self.at(Point::BeforeFlip)?;
            let touched = {
                let _lock = self.db.commit_lock();
                let mut leases = self.db.leases().lock();
                if leases.counts_on_all(id) || leases.is_overrun() {
                    return Err(Stop::busy());
                }
                let touched = leases.take_touched();
                if touched.is_empty() {
                    if self.store.repos().record(id)?.is_none() {
                        // Deleted meanwhile: all of it stays for the grace.
                        *dead = Dead::none();
                        return Ok(());
                    }
                    self.remove_members(id, removals)?;
                    self.db.bump_swept();
                    self.store.objects().shrink_usage(id, dead.object_len)?;
                    self.gone_rows.add(Family::RepoObject, dead.objects);
                    return Ok(());
                }
                touched
            };
            marker.mark_touched(touched)?;
        }
        Err(Stop::busy())
    }

    fn removals(
        &self,
        snapshot: &Snapshot<'_>,
        marker: &Marker<'_>,
        dead: &mut Dead,
    ) -> Result<Option<Removals>> {
        (dead.objects, dead.object_len) = (0, 0);
        for ids in Batches(marker.members.dead(snapshot, marker.repo)) {
            let ids = ids?;
            dead.objects += ids.len() as u64;
            dead.object_len += self.stored_len(&ids)?;
            self.step(ids.len())?;
        }
        let ids = marker.members.dead(snapshot, marker.repo);
        if dead.objects <= FLIP_COUNT {
            let ids = ids.collect::<Result<Vec<_>>>()?;
            return Ok(Some(Removals::Few(ids)).filter(|_| dead.objects > 0));
        }
        let keys = ids.map(|id| id.map(|id| keys::repo_object(marker.repo, &id)));
        Ok(self.db.write_sorted_removals(Family::RepoObject, keys)?.map(Removals::Many))
    }

    fn remove_members(&self, repo: RepoId, removals: Option<Removals>) -> Result<()> {
        match removals {
            None => Ok(()),
            Some(Removals::Many(file)) => self.db.ingest(vec![file]),
            Some(Removals::Few(ids)) => {
                let mut batch = self.db.batch();
                for id in ids {
                    batch.delete(Family::RepoObject, &keys::repo_object(repo, &id));
                }
                self.db.commit(batch, Durability::Logged)
            }
        }
    }

    /// Packs that came whole will not be whole any more.
    fn forget_packs(&self, id: RepoId) -> Result<()> {
        let mut prefix = keys::repo_record(id);
        prefix[0] = b'p';
        if self.db.scan_few(Family::Repo, &prefix).next().transpose()?.is_none() {
            return Ok(());
        }
        let _lock = self.db.commit_lock();
        let mut batch = self.db.batch();
        batch.delete_prefix(Family::Repo, &prefix);
        self.db.commit(batch, Durability::Synced)
    }

    /// What references name, and named within the grace.
    fn roots(&self, snapshot: &Snapshot<'_>, id: RepoId) -> Result<(Vec<ObjectId>, Gone)> {
        let mut roots = Vec::new();
        for row in snapshot.scan(Family::Ref, &id.0.to_be_bytes()) {
            let (key, value) = row?;
            let target = RefTarget::decode(&value);
            match target.ok_or_else(|| damaged(Family::Ref, &key, "not a reference's target"))? {
                RefTarget::Direct(id) => roots.push(id),
                RefTarget::Symbolic(_) => {}
            }
        }
        let mut gone = Gone::default();
        for row in snapshot.scan(Family::Gone, &keys::gone_of(b'r', id)) {
            let (key, value) = row?;
            let read = || {
                let (at, id) = key.get(5..)?.split_first_chunk::<8>()?;
                let name = RefName::new(&value[..]).ok()?;
                Some((u64::from_be_bytes(*at), ObjectId::from_slice(id)?, name))
            };
            let (at, oid, name) =
                read().ok_or_else(|| damaged(Family::Gone, &key, "not a reference that was"))?;
            if self.is_within_grace(at) {
                roots.push(oid);
            } else {
                gone.refs.push((name, oid, at));
                gone.keys.push(key);
            }
        }
        Ok((roots, gone))
    }

    /// Rights that nothing in the repository speaks for.
    fn dead_rights(
        &self,
        snapshot: &Snapshot<'_>,
        marker: &Marker<'_>,
    ) -> Result<Vec<(FileId, Box<[u8]>)>> {
        let mut rights = snapshot.scan(Family::RepoFile, &marker.repo.0.to_be_bytes()).peekable();
        if rights.peek().is_none() {
            return Ok(Vec::new());
        }
        let named = self.named_files(marker)?;
        let mut dead = Vec::new();
        for row in rights {
            let (key, value) = row?;
            let file = file_in(&key)?;
            let is_awaited = since(&value).is_some_and(|since| self.is_awaited(since));
            if !is_awaited && !named.contains(&file) {
                dead.push((file, value));
            }
        }
        Ok(dead)
    }

    /// Files that living blobs of the repository are pointers to.
    fn named_files(&self, marker: &Marker<'_>) -> Result<HashSet<FileId>> {
        let mut named = HashSet::new();
        let now = self.db.snapshot();
        let mut pointers = now.cursor(Family::ObjectPointer, &[]);
        let mut members = now.cursor(Family::RepoObject, &marker.repo.0.to_be_bytes());
        while let Some((key, value)) = pointers.at()? {
            let bad = |reason| damaged(Family::ObjectPointer, key, reason);
            let blob = ObjectId::from_slice(key).ok_or_else(|| bad("no blob's key"))?;
            if members.find(&keys::repo_object(marker.repo, &blob))?.is_some() {
                if marker.members.is_marked(&blob) {
                    let file = value.get(..FileId::LEN).and_then(FileId::from_slice);
                    named.insert(file.ok_or_else(|| bad("no pointer"))?);
                }
                pointers.advance();
                continue;
            }
            // The next object of the repository says where to go on: a store of many has many more
            // pointers than each of them.
            let Some((member, _)) = members.at()? else { break };
            let next = member.get(4..).unwrap_or_default().to_vec();
            pointers.find(&next)?;
        }
        Ok(named)
    }

    /// Removes rights that are as they were.
    fn drop_rights(&mut self, id: RepoId, rights: &mut Vec<(FileId, Box<[u8]>)>) -> Result<()> {
        let mut failed = None;
        rights.retain(|(file, value)| {
            let dropped = self.store.files().drop_right(id, file, value);
            dropped.unwrap_or_else(|error| {
                failed.get_or_insert(error);
                false
            })
        });
        self.gone_rows.add(Family::RepoFile, rights.len() as u64);
        failed.map_or(Ok(()), Err)
    }

    /// Bytes of the objects' rows.
    pub(super) fn stored_len(&self, ids: &[ObjectId]) -> Result<u64> {
        self.store.objects().stored_len(ids)
    }
}

/// References that ended.
#[derive(Default)]
struct Gone {
    refs: Vec<(RefName, ObjectId, u64)>,
    keys: Vec<Box<[u8]>>,
}

/// Why a repository was not collected.
enum Stop {
    Kept(String),
    Failed(StoreError),
}

impl Stop {
    fn busy() -> Self {
        Self::Kept("somebody brings content into it".to_owned())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Dead {
    fn none() -> Self {
        Self {
            objects: 0,
            object_len: 0,
            rights: Vec::new(),
            refs: Vec::new(),
            gone_keys: Vec::new(),
        }
    }
}

/// Ids, so many at a time.
struct Batches<I>(I);

impl<I: Iterator<Item = Result<ObjectId>>> Iterator for Batches<I> {
    type Item = Result<Vec<ObjectId>>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch: Result<Vec<ObjectId>> = self.0.by_ref().take(super::BATCH_COUNT).collect();
        match batch {
            Ok(batch) if batch.is_empty() => None,
            batch => Some(batch),
        }
    }
}

/// The repository in a key of `gone`.
fn repo_in(key: &[u8]) -> Result<RepoId> {
    let id = key.get(1..5).and_then(|id| id.try_into().ok()).map(u32::from_be_bytes);
    id.map(RepoId).ok_or_else(|| damaged(Family::Gone, key, "its key is too short"))
}

/// The file in a key of `repo_file`.
fn file_in(key: &[u8]) -> Result<FileId> {
    let file = key.get(4..).and_then(FileId::from_slice);
    file.ok_or_else(|| damaged(Family::RepoFile, key, "the key does not have 36 bytes"))
}
