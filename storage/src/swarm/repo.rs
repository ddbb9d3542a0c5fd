//! Which id each repository has among peers, both ways.

use super::{PeerIdBytes, RepoKey, RepoNonce};
use super::{REPO, RID, ROW_VERSION, SEEN, SwarmStore, damaged, key};
use crate::db::{Batch, Db, Durability, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::RepoId;
use crate::name::RepoName;
use crate::row::{RowReader, put_counted};

/// What a repository is to peers, and what its id was made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwarmRepo {
    /// Its id among peers.
    pub rid: RepoKey,
    /// The nonce in it.
    pub nonce: RepoNonce,
    /// The peer that made it: another than this store's own for one that is followed.
    pub origin: PeerIdBytes,
    /// The name that it had then. It may have another here.
    pub name: RepoName,
}

/// What became of [`SwarmStore::bind`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bound {
    /// The repository has this id from now on.
    New,
    /// It had one before, which it keeps.
    Known(SwarmRepo),
    /// Another repository here has the id.
    Elsewhere(RepoId),
}

impl SwarmStore {
    /// Gives a repository its id, unless it has one or another has the id.
    ///
    /// # Errors
    /// [`StoreError::RepoGone`].
    pub fn bind(&self, repo: RepoId, identity: &SwarmRepo) -> Result<Bound> {
        let _lock = self.db.commit_lock();
        if !self.db.contains(Family::Repo, &keys::repo_record(repo))? {
            return Err(StoreError::RepoGone { id: repo });
        }
        if let Some(known) = self.repo(repo)? {
            return Ok(Bound::Known(known));
        }
        if let Some(holder) = self.find_rid(&identity.rid)? {
            return Ok(Bound::Elsewhere(holder));
        }
        let mut batch = self.db.batch();
        batch.put(Family::Swarm, &repo_key(repo), &encode(identity));
        batch.put(Family::Swarm, &rid_key(&identity.rid), &repo.0.to_be_bytes());
        self.db.commit(batch, Durability::Synced)?;
        Ok(Bound::New)
    }

    /// What a repository is to peers; `None` when it never became anything.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn repo(&self, repo: RepoId) -> Result<Option<SwarmRepo>> {
        repo_row(&self.db, repo)
    }

    /// The repository here that has this id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find_rid(&self, rid: &RepoKey) -> Result<Option<RepoId>> {
        let key = rid_key(rid);
        let Some(row) = self.db.get(Family::Swarm, &key)? else { return Ok(None) };
        let number = row.as_ref().try_into().map(u32::from_be_bytes);
        number.map(|id| Some(RepoId(id))).map_err(|_| damaged(&key, "not a repository's number"))
    }

    /// All repositories that have an id, in the order of their numbers.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn repos(&self) -> Result<Vec<(RepoId, SwarmRepo)>> {
        let rows = self.db.scan(Family::Swarm, &[REPO]).map(|row| {
            let (key, value) = row?;
            let number = key.get(1..).and_then(|id| id.try_into().ok()).map(u32::from_be_bytes);
            let number = number.ok_or_else(|| damaged(&key, "not a repository's key"))?;
            Ok((RepoId(number), decode(&key, &value)?))
        });
        rows.collect()
    }
}

/// Puts into `batch` what takes away all that is known of a repository among peers.
pub(crate) fn forget_repo(db: &Db, batch: &mut Batch<'_>, repo: RepoId) -> Result<()> {
    if let Some(known) = repo_row(db, repo)? {
        batch.delete(Family::Swarm, &repo_key(repo));
        batch.delete(Family::Swarm, &rid_key(&known.rid));
        batch.delete_prefix(Family::Swarm, &key(SEEN, &[known.rid.as_bytes()]));
    }
    Ok(())
}

fn repo_row(db: &Db, repo: RepoId) -> Result<Option<SwarmRepo>> {
    let key = repo_key(repo);
    db.get(Family::Swarm, &key)?.map(|row| decode(&key, &row)).transpose()
}

fn repo_key(repo: RepoId) -> Vec<u8> {
    key(REPO, &[&repo.0.to_be_bytes()])
}

fn rid_key(rid: &RepoKey) -> Vec<u8> {
    key(RID, &[rid.as_bytes()])
}

fn encode(identity: &SwarmRepo) -> Vec<u8> {
    let mut value = vec![ROW_VERSION];
    value.extend_from_slice(identity.rid.as_bytes());
    value.extend_from_slice(identity.nonce.as_bytes());
    put_counted(&mut value, identity.origin.as_bytes());
    put_counted(&mut value, identity.name.as_str().as_bytes());
    value
}

fn decode(key: &[u8], value: &[u8]) -> Result<SwarmRepo> {
    let read = || {
        let mut row = RowReader::new(value);
        if row.u8()? != ROW_VERSION {
            return None;
        }
        let rid = RepoKey::from_slice(row.bytes(RepoKey::LEN)?)?;
        let nonce = RepoNonce::from_bytes(row.bytes(RepoNonce::LEN)?.try_into().ok()?);
        let origin = PeerIdBytes::new(row.counted()?)?;
        let name = RepoName::new(std::str::from_utf8(row.counted()?).ok()?).ok()?;
        row.rest().is_empty().then_some(SwarmRepo { rid, nonce, origin, name })
    };
    read().ok_or_else(|| damaged(key, "not a repository's id among peers"))
}
