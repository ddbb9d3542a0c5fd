//! Files and chunks that go, and those who must not lose them meanwhile.

use std::sync::atomic::Ordering;

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};

use super::FileStore;
use crate::db::{Durability, Family, keys};
use crate::error::Result;
use crate::id::{ChunkId, FileId, RepoId};
use crate::lease::ContentLeases;
use crate::manifest::chunk_ids;
use crate::outbox::damaged;

impl FileStore {
    /// While this is held no chunk goes. Who found one stored and means to name it holds it until
    /// the name is written.
    pub(super) fn stay(&self) -> RwLockReadGuard<'_, ()> {
        // Whoever removes never waits in the queue, so holding it twice is no trouble.
        self.inner.sweep.read_recursive()
    }

    /// While this is held chunks may go; `None` while somebody takes content in.
    pub(crate) fn try_sweep(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.inner.sweep.try_write()
    }

    /// Removes a right whose row is as it was and which nobody counts on; whether it has gone.
    pub(crate) fn drop_right(&self, repo: RepoId, file: &FileId, was: &[u8]) -> Result<bool> {
        let inner = &*self.inner;
        let sums = inner.rights.sums.read();
        let _right = inner.rights.stripe(file).lock();
        let key = keys::repo_file(repo, file);
        let leases = inner.chunks.leases().lock();
        if leases.counts_on(file) || inner.db.get(Family::RepoFile, &key)?.as_deref() != Some(was) {
            return Ok(false);
        }
        let len = self.head(file)?.map_or(0, |head| head.len);
        let mut batch = inner.db.batch();
        batch.delete(Family::RepoFile, &key);
        batch.delete(Family::FileRepo, &keys::file_repo(file, repo));
        inner.db.commit(batch, Durability::Logged)?;
        if let Some(sum) = sums.get(&repo) {
            let mut sum = sum.lock();
            *sum = sum.saturating_sub(len);
        }
        Ok(true)
    }

    /// What ingests and readers of content count on.
    pub(crate) fn leases(&self) -> &ContentLeases {
        self.inner.chunks.leases()
    }

    /// Removes the heads of files that nobody has a right to nor counts on, and what leads back
    /// from them; returns those that went. Their segments mean nothing then.
    pub(crate) fn drop_heads(&self, files: &[FileId]) -> Result<Vec<FileId>> {
        let inner = &*self.inner;
        let mut leases = inner.chunks.leases().lock();
        let around = leases.swept_around();
        let mut batch = inner.db.batch();
        let mut gone = Vec::with_capacity(files.len());
        for file in files.iter().filter(|file| !around.files.contains(file)) {
            if !self.holders(file)?.is_empty() {
                continue;
            }
            for row in inner.db.scan_few(Family::FileRepo, file.as_bytes()) {
                batch.delete(Family::FileRepo, &row?.0);
            }
            batch.delete(Family::File, file.as_bytes());
            gone.push(*file);
        }
        inner.db.commit(batch, Durability::Logged)?;
        inner.gone.fetch_add(1, Ordering::AcqRel);
        let mut heads = inner.heads.lock();
        for file in &gone {
            heads.pop(file);
        }
        drop(heads);
        let mut segments = inner.segments.lock();
        let stale: Vec<_> =
            segments.iter().map(|(key, _)| *key).filter(|key| gone.contains(&key.0)).collect();
        for key in stale {
            segments.pop(&key);
        }
        Ok(gone)
    }

    /// Forgets what is cached of a file's manifest, whose rows are others now.
    pub(super) fn forget_manifest(&self, file: &FileId) {
        let inner = &*self.inner;
        inner.gone.fetch_add(1, Ordering::AcqRel);
        inner.heads.lock().pop(file);
        let mut segments = inner.segments.lock();
        let stale: Vec<_> =
            segments.iter().map(|(key, _)| *key).filter(|key| key.0 == *file).collect();
        for key in stale {
            segments.pop(&key);
        }
    }

    /// The repositories that have a right to a file, ascending.
    pub(crate) fn holders(&self, file: &FileId) -> Result<Vec<RepoId>> {
        let mut holders = Vec::new();
        for row in self.inner.db.scan_few(Family::FileRepo, file.as_bytes()) {
            let (key, _) = row?;
            let repo = key.get(FileId::LEN..).and_then(|repo| repo.try_into().ok());
            let repo = repo.ok_or_else(|| damaged(Family::FileRepo, &key, "not a right's key"))?;
            holders.push(RepoId(u32::from_be_bytes(repo)));
        }
        // These rows prove nothing.
        let has = self.have(&holders, file)?;
        Ok(holders.into_iter().zip(has).filter(|(_, has)| *has).map(|(repo, _)| repo).collect())
    }

    /// Whether a file that is here whole may have the chunk.
    pub(crate) fn is_in_a_file(&self, chunk: &ChunkId) -> Result<bool> {
        let db = &self.inner.db;
        for row in db.scan_few(Family::ChunkFile, &keys::chunk_files(chunk)) {
            let (key, _) = row?;
            let half = key.get(keys::HALF_LEN..).unwrap_or_default();
            if db.scan_few(Family::File, half).next().transpose()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the file from those who hold it, who must be all, and with it its manifest: its chunks
    /// are nobody's then. `false` when others hold it by now, or somebody takes content in.
    pub(crate) fn give_up(&self, file: &FileId, holders: &[RepoId]) -> Result<bool> {
        let inner = &self.inner;
        let Some(_alone) = self.try_sweep() else { return Ok(false) };
        let sums = inner.rights.sums.read();
        let _right = inner.rights.stripe(file).lock();
        let Some(head) =
            self.head(file)?.filter(|_| self.holders(file).is_ok_and(|h| h == holders))
        else {
            return Ok(false);
        };
        let mut batch = inner.db.batch();
        for repo in holders {
            batch.delete(Family::RepoFile, &keys::repo_file(*repo, file));
            batch.delete(Family::FileRepo, &keys::file_repo(file, *repo));
        }
        batch.delete(Family::File, file.as_bytes());
        inner.db.commit(batch, Durability::Synced)?;
        inner.gone.fetch_add(1, Ordering::AcqRel);
        inner.heads.lock().pop(file);
        for repo in holders {
            if let Some(sum) = sums.get(repo) {
                let mut sum = sum.lock();
                *sum = sum.saturating_sub(head.len);
            }
        }
        // Without the head these rows mean nothing: cut off here, they are in nobody's way.
        for index in 0..head.segment_count() {
            let key = keys::file_segment(file, index);
            let Some(row) = inner.db.get(Family::FileSegment, &key)? else { continue };
            let mut batch = inner.db.batch();
            for chunk in chunk_ids(&row) {
                batch.delete(Family::ChunkFile, &keys::chunk_file(&chunk, file));
            }
            batch.delete(Family::FileSegment, &key);
            inner.db.commit(batch, Durability::Logged)?;
            inner.segments.lock().pop(&(*file, index));
        }
        Ok(true)
    }
}
