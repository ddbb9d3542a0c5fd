//! Chunks on the disk: families `chunk` (the bytes) and `chunk_meta` (lengths, without reading the
//! bytes).
//!
//! Invariant: a row in `chunk_meta` means that the row in `chunk` is there and as durable: it is
//! written in one batch with it, or after it has been flushed. Whether a chunk is stored is
//! therefore asked of `chunk_meta` alone. A row in `chunk` without one is what a crash left of an
//! ingest: nobody sees it, and the next ingest writes it again.
//!
//! Nothing that is read is trusted: a chunk's plain bytes leave only when their SHA-256 is the
//! chunk's id. Its stored form leaves as it lies, held by RocksDB's checksums, for a peer that
//! verifies it.

mod stored;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::chunk::codec;
use crate::db::{Batch, Db, Family, Pinned};
use crate::error::{Result, StoreError};
use crate::id::ChunkId;
use crate::lease::ContentLeases;
use crate::manifest::ChunkRef;
use crate::repos::now_unix;

pub use stored::{ChunkBytes, StoredChunk, VerifiedChunk};
pub(crate) use writer::{ChunkWriter, Rows, WriteLimits};

/// Length of a row in `chunk_meta`.
const META_LEN: usize = 16;

/// The stored chunks.
pub(crate) struct ChunkStore {
    db: Arc<Db>,
    leases: ContentLeases,
}

/// What `chunk_meta` says of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChunkMeta {
    /// Length of the plain bytes.
    pub(crate) len: u32,
    /// Length of the row in `chunk`.
    pub(crate) stored_len: u32,
    /// When the chunk was written, in seconds since 1970; 0 when that is not known.
    pub(crate) written_unix: u64,
}

/// The id of a chunk with these bytes.
pub(crate) fn hash_chunk(plain: &[u8]) -> ChunkId {
    ChunkId::from_bytes(Sha256::digest(plain).into())
}

impl ChunkMeta {
    fn encode(&self) -> [u8; META_LEN] {
        let mut row = [0; META_LEN];
        row[..4].copy_from_slice(&self.len.to_be_bytes());
        row[4..8].copy_from_slice(&self.stored_len.to_be_bytes());
        row[8..].copy_from_slice(&self.written_unix.to_be_bytes());
        row
    }

    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Self> {
        let Ok([l0, l1, l2, l3, s0, s1, s2, s3, at @ ..]) = <[u8; META_LEN]>::try_from(row) else {
            return Err(StoreError::DamagedRow {
                family: Family::ChunkMeta.name(),
                key: ChunkId::from_slice(key).map_or_else(String::new, |id| id.to_string()),
                reason: "it does not have 16 bytes",
            });
        };
        Ok(Self {
            len: u32::from_be_bytes([l0, l1, l2, l3]),
            stored_len: u32::from_be_bytes([s0, s1, s2, s3]),
            written_unix: u64::from_be_bytes(at),
        })
    }
}

impl ChunkStore {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        Self { db, leases: ContentLeases::default() }
    }

    /// What ingests and readers count on.
    pub(crate) fn leases(&self) -> &ContentLeases {
        &self.leases
    }

    /// What is known of each chunk, in the order of `ids`; `None` for one that is not stored.
    pub(crate) fn metas(&self, ids: &[ChunkId]) -> Result<Vec<Option<ChunkMeta>>> {
        let rows =
            self.db.multi_get(Family::ChunkMeta, ids.iter().map(ChunkId::as_bytes), false)?;
        ids.iter()
            .zip(rows)
            .map(|(id, row)| row.map(|row| ChunkMeta::decode(id.as_bytes(), &row)).transpose())
            .collect()
    }

    /// A chunk's plain bytes, verified; `None` when it is not stored.
    ///
    /// # Errors
    /// [`StoreError::DamagedChunk`] when what is stored is not the chunk.
    pub(crate) fn get(&self, chunk: &ChunkRef) -> Result<Option<Bytes>> {
        let damaged = |reason| StoreError::DamagedChunk { id: chunk.id, reason };
        let Some(row) = self.row(&chunk.id)? else { return Ok(None) };
        let plain = codec::decode(&row, chunk.len).map_err(damaged)?;
        if hash_chunk(&plain) != chunk.id {
            return Err(damaged("its bytes do not have its hash"));
        }
        Ok(Some(plain))
    }

    /// A chunk as it is stored, neither decoded nor hashed: for who does both. `None` when it is
    /// not stored with this length.
    ///
    /// # Errors
    /// [`StoreError::DamagedChunk`] when RocksDB finds it damaged.
    pub(crate) fn stored(&self, chunk: &ChunkRef) -> Result<Option<StoredChunk>> {
        let meta = self.metas(&[chunk.id])?.pop().flatten();
        if meta.is_none_or(|meta| meta.len != chunk.len) {
            return Ok(None);
        }
        let Some(row) = self.row(&chunk.id)? else { return Ok(None) };
        let reason = "the row is empty";
        let (&codec, payload) =
            row.split_first().ok_or(StoreError::DamagedChunk { id: chunk.id, reason })?;
        let payload = Bytes::copy_from_slice(payload);
        Ok(Some(StoredChunk { codec, plain_len: chunk.len, payload }))
    }

    fn row(&self, id: &ChunkId) -> Result<Option<Pinned<'_>>> {
        match self.db.get(Family::Chunk, id.as_bytes()) {
            Err(e) if e.is_corruption() => {
                let reason = "the database's own checksum does not match";
                Err(StoreError::DamagedChunk { id: *id, reason })
            }
            row => row,
        }
    }

    /// Adds a verified chunk, its row with its meta.
    pub(crate) fn put(batch: &mut Batch<'_>, verified: &VerifiedChunk) {
        let chunk = verified.chunk();
        let mut row = Vec::new();
        verified.encode(&mut row);
        let stored_len = u32::try_from(row.len()).expect("a row is at most a chunk and one");
        let meta = ChunkMeta { len: chunk.len, stored_len, written_unix: now_unix() };
        batch.put(Family::Chunk, chunk.id.as_bytes(), &row);
        batch.put(Family::ChunkMeta, chunk.id.as_bytes(), &meta.encode());
    }
}
