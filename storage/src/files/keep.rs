//! Chunks that come one by one from elsewhere, and the moment when they are a file.
//!
//! A chunk is kept without a head that names it: that is for whoever fetches to remember, in the
//! same batch. Rows go through the log, and are as durable as the next synced batch: the head's, at
//! the latest.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::FileStore;
use super::holders::put_segment;
use crate::chunks::{ChunkStore, StoredChunk, VerifiedChunk};
use crate::db::{Batch, Durability, Family};
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId, RepoId};
use crate::lease::ContentLease;
use crate::manifest::{ChunkRef, ManifestBuilder};

impl FileStore {
    /// For each chunk, whether it is stored, for whomever: no answer to somebody else may depend on
    /// it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn stored_chunks(&self, ids: &[ChunkId]) -> Result<Vec<bool>> {
        Ok(self.inner.chunks.metas(ids)?.iter().map(Option::is_some).collect())
    }

    /// A stored chunk, verified; `None` when it is absent or damaged, so that it is fetched anew.
    pub(crate) fn chunk_if_good(&self, chunk: &ChunkRef) -> Result<Option<Bytes>> {
        match self.inner.chunks.get(chunk) {
            Err(StoreError::DamagedChunk { .. }) => Ok(None),
            found => found,
        }
    }

    /// A chunk as it is stored, for who decodes and hashes it; `None` when it is absent, damaged,
    /// or has another length.
    pub(crate) fn stored_chunk(&self, chunk: &ChunkRef) -> Result<Option<StoredChunk>> {
        match self.inner.chunks.stored(chunk) {
            Err(StoreError::DamagedChunk { .. }) => Ok(None),
            found => found,
        }
    }

    /// Keeps a verified chunk, together with what `note` adds.
    pub(crate) fn keep_chunk(
        &self,
        verified: &VerifiedChunk,
        note: impl FnOnce(&mut Batch<'_>),
    ) -> Result<()> {
        self.put_chunk(verified, note, Durability::Logged)
    }

    /// Puts a verified chunk in the place of a damaged one, with what is noted of it. Durable when
    /// it returns.
    pub(crate) fn replace_chunk(&self, verified: &VerifiedChunk) -> Result<()> {
        self.put_chunk(verified, |_| {}, Durability::Synced)
    }

    fn put_chunk(
        &self,
        verified: &VerifiedChunk,
        note: impl FnOnce(&mut Batch<'_>),
        durability: Durability,
    ) -> Result<()> {
        let db = &self.inner.db;
        let _stay = self.stay();
        let lease = self.inner.chunks.leases().begin();
        lease.rely([&verified.chunk().id]);
        let mut batch = db.batch();
        ChunkStore::put(&mut batch, verified);
        note(&mut batch);
        db.commit(batch, durability)
    }

    /// Makes a file of chunks that are all stored, after hashing the whole of it, and gives `repo`
    /// the right to it. `spans` are the chunks in order; `stop` ends it early.
    ///
    /// # Errors
    /// [`StoreError::FileHashMismatch`] when they are another file; then nothing is kept.
    pub(crate) fn adopt(
        &self,
        repo: RepoId,
        id: &FileId,
        spans: impl Iterator<Item = Result<ChunkRef>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<()> {
        let db = &self.inner.db;
        let _stay = self.stay();
        let lease = self.inner.chunks.leases().begin();
        lease.rely_on_file(id);
        let manifest = self.hash_whole(id, &lease, spans, stop)?;
        let (head, segments) = manifest.finish()?;
        let mut batch = db.batch();
        if !db.contains(Family::File, id.as_bytes())? {
            for (index, row) in (0u32..).zip(segments) {
                put_segment(&mut batch, id, index, &row?);
            }
            batch.put(Family::File, id.as_bytes(), &head.encode());
        }
        self.commit_right(repo, id, head.len, false, batch)
    }

    /// Hashes the chunks of a file together; its manifest, when that is the file.
    fn hash_whole(
        &self,
        id: &FileId,
        lease: &ContentLease,
        spans: impl Iterator<Item = Result<ChunkRef>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<ManifestBuilder> {
        let mut whole = Sha256::new();
        let mut manifest = ManifestBuilder::new();
        for chunk in spans {
            let chunk = chunk?;
            if stop() {
                return Err(StoreError::Interrupted);
            }
            lease.rely([&chunk.id]);
            whole.update(&self.chunk(id, &chunk)?);
            manifest.push(&chunk, self.inner.db.tmp())?;
        }
        let actual = FileId::from_bytes(whole.finalize().into());
        if actual != *id {
            return Err(StoreError::FileHashMismatch { expected: *id, actual });
        }
        Ok(manifest)
    }

    /// Puts a list of chunks, which are all stored, in the place of a file's damaged one, after
    /// hashing the whole of it. Rights stay as they are.
    ///
    /// # Errors
    /// [`StoreError::FileHashMismatch`] when they are another file; then nothing is changed.
    pub(crate) fn replace_manifest(
        &self,
        id: &FileId,
        spans: impl Iterator<Item = Result<ChunkRef>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<()> {
        let db = &self.inner.db;
        let _stay = self.stay();
        let lease = self.inner.chunks.leases().begin();
        lease.rely_on_file(id);
        let (head, segments) = self.hash_whole(id, &lease, spans, stop)?.finish()?;
        for (index, row) in (0u32..).zip(segments) {
            let mut batch = db.batch();
            put_segment(&mut batch, id, index, &row?);
            db.commit(batch, Durability::Logged)?;
        }
        let mut batch = db.batch();
        batch.put(Family::File, id.as_bytes(), &head.encode());
        db.commit(batch, Durability::Synced)?;
        self.forget_manifest(id);
        Ok(())
    }
}
