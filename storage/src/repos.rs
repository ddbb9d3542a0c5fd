//! Repositories: their names, visibility and origin, and what belongs to each by its number.
//!
//! Numbers come from a counter and are never reused, so that rows of a deleted repository cannot be
//! taken for another's. Every change is one synced batch under the store's commit lock; a fork,
//! whose rows may be many, brings its record last, so that it is there whole or not at all.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::db::{Batch, Db, Durability, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::{FileId, RepoId};
use crate::name::{RefName, RepoName};
use crate::objects::KeptPacks;
use crate::outbox::{self, OutboxEdit, damaged};
use crate::refs::RefTarget;
use crate::row::{RowReader, put_counted};
use crate::swarm::forget_repo;
use crate::walk::ClosureCache;

/// Longest origin, in bytes: a path or a URL.
pub const ORIGIN_LEN_MAX: usize = 4096;

/// Row of family `store` that holds the next repository's number.
const NEXT_KEY: &[u8] = b"repo_next";
const RECORD_VERSION: u8 = 1;
/// A record with a byte of flags; written only where one is set.
const RECORD_VERSION_FLAGS: u8 = 2;
const FLAG_PARTIAL: u8 = 1;
/// A fork's rows are written in batches of about this many bytes.
const FORK_BATCH_LEN: usize = 1 << 20;

/// Rows from files to a repository that are removed at once.
const FILE_ROWS_COUNT: usize = 10_000;

/// Who may see a repository.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Visibility {
    /// Its owner and whom a token lets in.
    Private,
    /// Peers that are allowed in.
    Mesh,
    /// Everyone.
    Public,
}

impl Visibility {
    const fn code(self) -> u8 {
        match self {
            Self::Private => 0,
            Self::Mesh => 1,
            Self::Public => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Private),
            1 => Some(Self::Mesh),
            2 => Some(Self::Public),
            _ => None,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Mesh => "mesh",
            Self::Public => "public",
        }
    }
}

/// A repository's record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repo {
    /// Its number.
    pub id: RepoId,
    /// Its name.
    pub name: RepoName,
    /// Who may see it.
    pub visibility: Visibility,
    /// When it was made, in seconds since 1970.
    pub created_unix: u64,
    /// Where it was imported from.
    pub origin: Option<String>,
    /// It is filled as it is read: what is absent here is at its origin, and no damage.
    pub partial: bool,
}

impl Repo {
    /// Refuses a repository that is only in parts here: for whatever needs, or changes, the whole.
    ///
    /// # Errors
    /// [`StoreError::Partial`], which names the origin.
    pub fn check_whole(&self) -> Result<()> {
        if !self.partial {
            return Ok(());
        }
        let (name, origin) = (self.name.clone(), self.origin.clone().unwrap_or_default());
        Err(StoreError::Partial { name, origin })
    }
}

/// Repositories by name and number.
pub struct RepoStore {
    db: Arc<Db>,
    /// The public ones, ascending, since somebody asked. Held while it is made.
    public: Mutex<Option<Arc<[RepoId]>>>,
}

/// A repository that is not made before something is put into it ([`RepoStore::draft`]).
pub struct RepoDraft {
    db: Arc<Db>,
    repo: Repo,
}

impl RepoDraft {
    /// The repository as it is, or will be when it is made.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Whether it has been made; `true` for one of all who hold it, and once.
    pub fn tell_made(&self) -> bool {
        self.db.drafts().tell_made(self.repo.id)
    }
}

impl Drop for RepoDraft {
    fn drop(&mut self) {
        if self.db.drafts().leave(self.repo.id) {
            // What is left without it is under a number that nobody has, and for gc.
            let _ = forget_objects(&self.db, self.repo.id);
        }
    }
}

/// Takes away what a pack left that no reference came to.
fn forget_objects(db: &Arc<Db>, id: RepoId) -> Result<()> {
    let _lock = db.commit_lock();
    let rows = keys::repo_prefixed(id, b"");
    if db.scan(Family::RepoObject, &rows).next().transpose()?.is_some() {
        let mut batch = db.batch();
        batch.delete_prefix(Family::RepoObject, &rows);
        batch.delete(Family::Repo, &keys::repo_usage(id));
        db.commit(batch, Durability::Logged)?;
    }
    ClosureCache::remove(db, id);
    Ok(())
}

impl RepoStore {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        Self { db, public: Mutex::default() }
    }

    /// Makes an empty repository, without references.
    ///
    /// # Errors
    /// [`StoreError::RepoExists`].
    pub fn create(&self, name: &RepoName, visibility: Visibility) -> Result<Repo> {
        self.create_record(name, visibility, None, false)
    }

    /// Makes an empty private repository that is filled from `origin` as it is read.
    ///
    /// # Errors
    /// [`StoreError::RepoExists`]; [`StoreError::Limit`] past [`ORIGIN_LEN_MAX`].
    pub fn create_partial(&self, name: &RepoName, origin: &str) -> Result<Repo> {
        check_origin(origin)?;
        self.create_record(name, Visibility::Private, Some(origin.to_owned()), true)
    }

    /// Holds a repository that is made, private, by the first that is put into it: a reference, a
    /// file, part of an upload, a lock. Until then nobody else sees it, and nothing of it outlives
    /// its holders or the process. Who asks for the same name meanwhile holds the same.
    ///
    /// # Errors
    /// [`StoreError::RepoExists`].
    pub fn draft(&self, name: &RepoName) -> Result<RepoDraft> {
        let _lock = self.db.commit_lock();
        self.must_be_free(name)?;
        let db = self.db.clone();
        if let Some((id, record)) = self.db.drafts().join(name) {
            return Ok(RepoDraft { db, repo: decode_record(id, &record)? });
        }
        let id = self.next_id()?;
        let mut batch = self.db.batch();
        batch.put(Family::Store, NEXT_KEY, &successor(id)?);
        // Durable before any row has the number: those of objects do not pass the log.
        self.db.commit(batch, Durability::Synced)?;
        let (visibility, created_unix) = (Visibility::Private, now_unix());
        let name = name.clone();
        let repo = Repo { id, name, visibility, created_unix, origin: None, partial: false };
        self.db.drafts().begin(id, repo.name.clone(), encode_record(&repo));
        Ok(RepoDraft { db, repo })
    }

    fn create_record(
        &self,
        name: &RepoName,
        visibility: Visibility,
        origin: Option<String>,
        partial: bool,
    ) -> Result<Repo> {
        let _lock = self.db.commit_lock();
        self.must_be_free(name)?;
        let mut batch = self.db.batch();
        let id = self.next_id()?;
        batch.put(Family::Store, NEXT_KEY, &successor(id)?);
        let (name, created_unix) = (name.clone(), now_unix());
        let repo = Repo { id, name, visibility, created_unix, origin, partial };
        put_repo(&mut batch, &repo);
        self.commit(batch)?;
        Ok(repo)
    }

    /// The repository of this name, if there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find(&self, name: &RepoName) -> Result<Option<Repo>> {
        let key = keys::repo_name(name);
        let Some(row) = self.db.get(Family::Repo, &key)? else {
            return Ok(None);
        };
        let bytes = row.as_ref().try_into();
        let id = bytes.map_err(|_| damaged(Family::Repo, &key, "not a repository's number"))?;
        // Renamed or deleted between the two reads: then there is none of this name.
        Ok(self.record(RepoId(u32::from_be_bytes(id)))?.filter(|repo| repo.name == *name))
    }

    /// The repository of this name.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`] when there is none.
    pub fn get(&self, name: &RepoName) -> Result<Repo> {
        self.find(name)?.ok_or_else(|| StoreError::NoRepo { name: name.clone() })
    }

    /// All repositories, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self) -> Result<Vec<Repo>> {
        let mut repos = Vec::new();
        for row in self.db.scan(Family::Repo, b"r") {
            let (key, value) = row?;
            let id = key.get(1..).and_then(|id| id.try_into().ok()).map(u32::from_be_bytes);
            let id = id.ok_or_else(|| damaged(Family::Repo, &key, "not a repository's key"))?;
            repos.push(decode_record(RepoId(id), &value)?);
        }
        repos.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(repos)
    }

    /// Gives a repository another name.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`], [`StoreError::RepoExists`].
    pub fn rename(&self, old: &RepoName, new: &RepoName) -> Result<()> {
        let _lock = self.db.commit_lock();
        let mut repo = self.get(old)?;
        self.must_be_free(new)?;
        repo.name = new.clone();
        let mut batch = self.db.batch();
        batch.delete(Family::Repo, &keys::repo_name(old));
        put_repo(&mut batch, &repo);
        self.db.commit(batch, Durability::Synced)
    }

    /// Deletes a repository with its references. Its objects and files stay under its number, which
    /// nobody can ask for, until gc finds that they were deleted long enough ago; of one that is
    /// filled as it is read nothing stays.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub fn delete(&self, name: &RepoName) -> Result<()> {
        let _lock = self.db.commit_lock();
        let repo = self.get(name)?;
        let mut batch = self.db.batch();
        let rows = keys::repo_prefixed(repo.id, b"");
        for family in [Family::Ref, Family::Partial] {
            batch.delete_prefix(family, &rows);
        }
        let mut files = Vec::new();
        if repo.partial {
            files = self.files(repo.id)?;
            batch.delete_prefix(Family::RepoObject, &rows);
            batch.delete_prefix(Family::RepoFile, &rows);
        } else {
            let value = [&now_unix().to_be_bytes()[..], name.as_str().as_bytes()].concat();
            batch.put(Family::Gone, &keys::gone_repo(repo.id), &value);
        }
        batch.delete_prefix(Family::Repo, &pack_prefix(repo.id));
        batch.delete(Family::Repo, &keys::repo_settings(repo.id));
        batch.delete_prefix(Family::Repo, &keys::repo_locks(repo.id));
        batch.delete_prefix(Family::Repo, &keys::repo_locked_path(repo.id, b""));
        batch.delete_prefix(Family::Lease, &keys::lease_uploads(repo.id));
        batch.delete_prefix(Family::Lease, &keys::lease_uploads_chunks(repo.id));
        batch.delete(Family::Repo, &keys::repo_usage(repo.id));
        forget_repo(&self.db, &mut batch, repo.id)?;
        batch.delete(Family::Repo, &keys::repo_name(name));
        batch.delete(Family::Repo, &keys::repo_record(repo.id));
        self.commit(batch)?;
        ClosureCache::remove(&self.db, repo.id);
        KeptPacks::remove(&self.db, repo.id);
        self.drop_file_rows(repo.id, &files)
    }

    /// Says who may see the repository.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub fn set_visibility(&self, name: &RepoName, visibility: Visibility) -> Result<()> {
        let _lock = self.db.commit_lock();
        let repo = Repo { visibility, ..self.get(name)? };
        self.rewrite(&repo)
    }

    /// Notes where the repository was imported from.
    ///
    /// # Errors
    /// [`StoreError::RepoGone`]; [`StoreError::Limit`] past [`ORIGIN_LEN_MAX`].
    pub fn set_origin(&self, id: RepoId, origin: &str) -> Result<()> {
        check_origin(origin)?;
        let _lock = self.db.commit_lock();
        let repo = self.record(id)?.ok_or(StoreError::RepoGone { id })?;
        self.rewrite(&Repo { origin: Some(origin.to_owned()), ..repo })
    }

    /// Copies a repository: references, rights to objects and files. The copy has the visibility,
    /// origin and settings of the source. Pushes wait while it lasts.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`], [`StoreError::RepoExists`], [`StoreError::Partial`].
    pub fn fork(&self, source: &RepoName, name: &RepoName) -> Result<Repo> {
        let _lock = self.db.commit_lock();
        let source = self.get(source)?;
        source.check_whole()?;
        self.must_be_free(name)?;
        // The number is spent first: rows of a fork that a crash cut off belong to nobody, ever.
        let id = self.next_id()?;
        let mut batch = self.db.batch();
        batch.put(Family::Store, NEXT_KEY, &successor(id)?);
        self.db.commit(batch, Durability::Synced)?;
        let repo = Repo { id, name: name.clone(), created_unix: now_unix(), ..source.clone() };
        self.copy_sorted(Family::RepoObject, source.id, id)?;
        self.copy_sorted(Family::RepoFile, source.id, id)?;
        self.add_file_rows(id)?;
        self.copy_packs(source.id, id)?;
        let edits = self.copy_refs(source.id, id)?;
        let mut batch = self.db.batch();
        put_repo(&mut batch, &repo);
        // What is hidden or protected in the source is so in the copy.
        if let Some(settings) = self.db.get(Family::Repo, &keys::repo_settings(source.id))? {
            batch.put(Family::Repo, &keys::repo_settings(id), &settings);
        }
        if let Some(usage) = self.db.get(Family::Repo, &keys::repo_usage(source.id))? {
            batch.put(Family::Repo, &keys::repo_usage(id), &usage);
        }
        outbox::append(&self.db, &mut batch, id, &edits)?;
        self.commit(batch)?;
        Ok(repo)
    }

    /// Whether the pack with this trailing SHA-1 has been imported whole.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn has_pack(&self, id: RepoId, pack: &[u8; 20]) -> Result<bool> {
        self.db.contains(Family::Repo, &keys::repo_pack(id, pack))
    }

    /// Notes packs that have been imported whole.
    ///
    /// # Errors
    /// [`StoreError::RepoGone`].
    pub fn add_packs(&self, id: RepoId, packs: &[[u8; 20]]) -> Result<()> {
        let _lock = self.db.commit_lock();
        if self.record(id)?.is_none() {
            return Err(StoreError::RepoGone { id });
        }
        let mut batch = self.db.batch();
        for pack in packs {
            batch.put(Family::Repo, &keys::repo_pack(id, pack), b"");
        }
        self.db.commit(batch, Durability::Synced)
    }

    /// The public repositories, ascending.
    pub(crate) fn public_ids(&self) -> Result<Arc<[RepoId]>> {
        let mut public = self.public.lock();
        if let Some(ids) = &*public {
            return Ok(ids.clone());
        }
        let repos = self.list()?.into_iter();
        let is_public = |repo: &Repo| repo.visibility == Visibility::Public;
        let mut ids: Vec<RepoId> = repos.filter(is_public).map(|repo| repo.id).collect();
        ids.sort_unstable();
        Ok(public.insert(ids.into()).clone())
    }

    /// Whether there is such a repository, and it is public.
    pub(crate) fn is_public(&self, id: RepoId) -> Result<bool> {
        Ok(self.record(id)?.is_some_and(|repo| repo.visibility == Visibility::Public))
    }

    /// The repository of this number, if there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn record(&self, id: RepoId) -> Result<Option<Repo>> {
        let row = self.db.get(Family::Repo, &keys::repo_record(id))?;
        row.map(|row| decode_record(id, &row)).transpose()
    }

    fn must_be_free(&self, name: &RepoName) -> Result<()> {
        match self.db.contains(Family::Repo, &keys::repo_name(name))? {
            true => Err(StoreError::RepoExists { name: name.clone() }),
            false => Ok(()),
        }
    }

    /// The number that the next repository gets. The caller holds the commit lock.
    pub(crate) fn next_id(&self) -> Result<RepoId> {
        match self.db.get(Family::Store, NEXT_KEY)? {
            None => Ok(RepoId(1)),
            Some(row) => match row.as_ref().try_into() {
                Ok(bytes) => Ok(RepoId(u32::from_be_bytes(bytes))),
                Err(_) => Err(damaged(Family::Store, NEXT_KEY, "not a counter")),
            },
        }
    }

    fn rewrite(&self, repo: &Repo) -> Result<()> {
        let mut batch = self.db.batch();
        batch.put(Family::Repo, &keys::repo_record(repo.id), &encode_record(repo));
        self.commit(batch)
    }

    /// Commits what may change which repositories are public.
    fn commit(&self, batch: Batch<'_>) -> Result<()> {
        let committed = self.db.commit(batch, Durability::Synced);
        // After the commit: a list that is being made meanwhile is thrown away too.
        *self.public.lock() = None;
        committed
    }

    /// Copies the rows of one repository to another's, as one sorted file.
    fn copy_sorted(&self, family: Family, from: RepoId, to: RepoId) -> Result<()> {
        let rows = self.db.scan(family, &keys::repo_prefixed(from, b"")).map(|row| {
            let (key, value) = row?;
            let rest = key.get(4..).ok_or_else(|| damaged(family, &key, "too short"))?;
            Ok((keys::repo_prefixed(to, rest), value))
        });
        let file = self.db.write_sorted(family, rows)?;
        self.db.ingest(file.into_iter().collect())
    }

    /// The files that a repository has a right to, ascending.
    fn files(&self, id: RepoId) -> Result<Vec<FileId>> {
        let rows = self.db.scan(Family::RepoFile, &keys::repo_prefixed(id, b""));
        rows.map(|row| file_of(&row?.0)).collect()
    }

    /// Adds the rows that lead from the files of a fork to it: of the rights that it has got, for
    /// those of its source may have changed since.
    fn add_file_rows(&self, id: RepoId) -> Result<()> {
        let rows = self.db.scan(Family::RepoFile, &keys::repo_prefixed(id, b""));
        let rows = rows.map(|row| Ok((keys::file_repo(&file_of(&row?.0)?, id), [])));
        let file = self.db.write_sorted(Family::FileRepo, rows)?;
        self.db.ingest(file.into_iter().collect())
    }

    /// Removes the rows that lead from files to a repository that is no more. What a crash leaves
    /// of them counts for nothing.
    fn drop_file_rows(&self, id: RepoId, files: &[FileId]) -> Result<()> {
        for files in files.chunks(FILE_ROWS_COUNT) {
            let mut batch = self.db.batch();
            for file in files {
                batch.delete(Family::FileRepo, &keys::file_repo(file, id));
            }
            self.db.commit(batch, Durability::Logged)?;
        }
        Ok(())
    }

    fn copy_packs(&self, from: RepoId, to: RepoId) -> Result<()> {
        let mut batch = self.db.batch();
        for row in self.db.scan(Family::Repo, &pack_prefix(from)) {
            let (key, value) = row?;
            let pack = key.get(5..).and_then(|pack| pack.try_into().ok());
            let pack = pack.ok_or_else(|| damaged(Family::Repo, &key, "not a pack's key"))?;
            batch.put(Family::Repo, &keys::repo_pack(to, pack), &value);
        }
        self.db.commit(batch, Durability::Synced)
    }

    fn copy_refs(&self, from: RepoId, to: RepoId) -> Result<Vec<OutboxEdit>> {
        let mut edits = Vec::new();
        let mut batch = self.db.batch();
        for row in self.db.scan(Family::Ref, &keys::repo_prefixed(from, b"")) {
            let (key, value) = row?;
            let name = key.get(4..).and_then(|name| RefName::new(name).ok());
            let (Some(name), Some(target)) = (name, RefTarget::decode(&value)) else {
                return Err(damaged(Family::Ref, &key, "not a reference"));
            };
            batch.put(Family::Ref, &keys::reference(to, &name), &value);
            edits.push(OutboxEdit { name, old: None, new: Some(target) });
            if batch.len() > FORK_BATCH_LEN {
                let full = std::mem::replace(&mut batch, self.db.batch());
                self.db.commit(full, Durability::Synced)?;
            }
        }
        self.db.commit(batch, Durability::Synced)?;
        Ok(edits)
    }
}

fn check_origin(origin: &str) -> Result<()> {
    if origin.len() > ORIGIN_LEN_MAX {
        let (limit, actual) = (ORIGIN_LEN_MAX as u64, origin.len() as u64);
        return Err(StoreError::Limit { what: "bytes of an origin", limit, actual });
    }
    Ok(())
}

fn put_repo(batch: &mut Batch<'_>, repo: &Repo) {
    batch.put(Family::Repo, &keys::repo_name(&repo.name), &repo.id.0.to_be_bytes());
    batch.put(Family::Repo, &keys::repo_record(repo.id), &encode_record(repo));
}

/// The file in a key of `repo_file`.
fn file_of(key: &[u8]) -> Result<FileId> {
    let file = key.get(4..).and_then(FileId::from_slice);
    file.ok_or_else(|| damaged(Family::RepoFile, key, "not a right's key"))
}

/// The counter's row after `id` has been given out.
fn successor(id: RepoId) -> Result<[u8; 4]> {
    let limit = u64::from(u32::MAX);
    let next = id.0.checked_add(1);
    let over = StoreError::Limit { what: "repositories ever made", limit, actual: limit + 1 };
    next.map(u32::to_be_bytes).ok_or(over)
}

/// The pack rows of one repository.
fn pack_prefix(id: RepoId) -> [u8; 5] {
    let mut prefix = keys::repo_record(id);
    prefix[0] = b'p';
    prefix
}

fn encode_record(repo: &Repo) -> Vec<u8> {
    let mut value = match repo.partial {
        false => vec![RECORD_VERSION, repo.visibility.code()],
        true => vec![RECORD_VERSION_FLAGS, repo.visibility.code(), FLAG_PARTIAL],
    };
    value.extend_from_slice(&repo.created_unix.to_be_bytes());
    put_counted(&mut value, repo.name.as_str().as_bytes());
    put_counted(&mut value, repo.origin.as_deref().unwrap_or_default().as_bytes());
    value
}

fn decode_record(id: RepoId, value: &[u8]) -> Result<Repo> {
    let read = || -> Option<Repo> {
        let mut row = RowReader::new(value);
        let version = row.u8()?;
        let visibility = Visibility::from_code(row.u8()?)?;
        let partial = match version {
            RECORD_VERSION => false,
            RECORD_VERSION_FLAGS => match row.u8()? {
                0 => false,
                FLAG_PARTIAL => true,
                _ => return None,
            },
            _ => return None,
        };
        let created_unix = row.u64()?;
        let name = RepoName::new(std::str::from_utf8(row.counted()?).ok()?).ok()?;
        let origin = std::str::from_utf8(row.counted()?).ok()?;
        let origin = (!origin.is_empty()).then(|| origin.to_owned());
        let repo = Repo { id, name, visibility, created_unix, origin, partial };
        row.rest().is_empty().then_some(repo)
    };
    read().ok_or_else(|| damaged(Family::Repo, &keys::repo_record(id), "not a record"))
}

/// Now, in seconds since 1970.
pub(crate) fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[path = "repos_tests.rs"]
mod tests;
