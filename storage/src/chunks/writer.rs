//! Writes the new chunks of one file, from several threads at once.
//!
//! Few new bytes wait in memory and go into the batch that makes the file visible. Many pass the
//! log by: batches of rows in `chunk`, and every [`WriteLimits::flush_len`] a flush of that family,
//! then the synced rows in `chunk_meta` of what has been flushed. Memory stays bounded by those
//! two, whatever the file's length.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{ChunkMeta, ChunkStore, hash_chunk};
use crate::chunk::chunker::Run;
use crate::chunk::codec;
use crate::db::{Batch, Durability, Family};
use crate::error::{Result, StoreError};
use crate::id::ChunkId;
use crate::lease::ContentLease;
use crate::manifest::ChunkRef;
use crate::repos::now_unix;

/// When rows leave memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteLimits {
    /// Encoded bytes up to which a file's chunks go through the log in one batch with its head:
    /// below, one sync is cheaper than flushing; above, writing the bytes twice is dearer.
    pub(crate) held_len: usize,
    /// Encoded bytes after which written chunks are flushed and their metas written: bounds the ids
    /// in memory and the work that a crash throws away.
    pub(crate) flush_len: u64,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self { held_len: 4 << 20, flush_len: 512 << 20 }
    }
}

/// Collects one file's new chunks.
pub(crate) struct ChunkWriter<'a> {
    store: &'a ChunkStore,
    limits: WriteLimits,
    /// Keeps the file's chunks, new or found, from gc.
    lease: ContentLease,
    /// Chunks of this file that `chunk_meta` does not know yet. Who inserts an id writes the chunk.
    claims: Mutex<HashSet<ChunkId>>,
    state: Mutex<State>,
    /// Set when rows have passed the log by.
    unlogged: AtomicBool,
}

#[derive(Default)]
struct State {
    held: Vec<Rows>,
    held_len: usize,
    /// Chunks whose rows are written past the log and may not have been flushed.
    fresh: Vec<(ChunkId, ChunkMeta)>,
    fresh_len: u64,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    count: u64,
    len: u64,
    stored_len: u64,
}

/// What a file added to the store.
pub(crate) struct NewChunks {
    /// To be held until the batch is committed.
    pub(crate) lease: ContentLease,
    pub(crate) count: u64,
    pub(crate) len: u64,
    pub(crate) stored_len: u64,
}

/// Encoded chunks, one after the other in one buffer.
#[derive(Default)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    /// Each chunk and where its row ends.
    chunks: Vec<(ChunkRef, usize)>,
}

impl Rows {
    fn add(&mut self, chunk: ChunkRef, plain: &[u8]) {
        codec::encode(plain, &mut self.bytes);
        self.chunks.push((chunk, self.bytes.len()));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.chunks.clear();
    }

    fn put(&self, batch: &mut Batch<'_>) {
        let mut start = 0;
        for (chunk, end) in &self.chunks {
            batch.put(Family::Chunk, chunk.id.as_bytes(), &self.bytes[start..*end]);
            start = *end;
        }
    }

    fn metas(&self) -> impl Iterator<Item = (ChunkId, ChunkMeta)> {
        let (mut start, written_unix) = (0, now_unix());
        self.chunks.iter().map(move |(chunk, end)| {
            let stored_len = u32::try_from(end - start).expect("a row is at most a chunk and one");
            start = *end;
            (chunk.id, ChunkMeta { len: chunk.len, stored_len, written_unix })
        })
    }
}

impl<'a> ChunkWriter<'a> {
    pub(crate) fn new(store: &'a ChunkStore, limits: WriteLimits) -> Self {
        Self {
            store,
            limits,
            lease: store.leases().begin(),
            claims: Mutex::default(),
            state: Mutex::default(),
            unlogged: AtomicBool::new(false),
        }
    }

    /// Hashes the chunks of a run and writes those that are new. `rows` is a buffer to use again.
    pub(crate) fn add(&self, run: &Run, rows: &mut Rows) -> Result<Vec<ChunkRef>> {
        let chunks: Vec<ChunkRef> = run
            .chunks()
            .map(|plain| ChunkRef {
                id: hash_chunk(plain),
                len: u32::try_from(plain.len()).expect("a chunk is at most 256 KiB"),
            })
            .collect();
        let new = self.claim(&chunks)?;
        rows.clear();
        for ((chunk, plain), new) in chunks.iter().zip(run.chunks()).zip(new) {
            if new {
                rows.add(*chunk, plain);
            }
        }
        if !rows.chunks.is_empty() {
            self.write(rows)?;
        }
        Ok(chunks)
    }

    /// Which of the chunks this call has to write: neither stored nor claimed by another.
    fn claim(&self, chunks: &[ChunkRef]) -> Result<Vec<bool>> {
        // Before the look-up: from here on gc lets them be.
        self.lease.rely(chunks.iter().map(|chunk| &chunk.id));
        // Claimed before the look-up: a chunk is unclaimed only after its meta is written, so one
        // of the two sees it.
        let mut new: Vec<bool> = {
            let mut claims = self.claims.lock();
            chunks.iter().map(|chunk| claims.insert(chunk.id)).collect()
        };
        let claimed: Vec<ChunkId> =
            chunks.iter().zip(&new).filter(|(_, new)| **new).map(|(chunk, _)| chunk.id).collect();
        let mut metas = self.store.metas(&claimed)?.into_iter();
        let mut known = Vec::new();
        for (chunk, new) in chunks.iter().zip(&mut new).filter(|(_, new)| **new) {
            let Some(Some(meta)) = metas.next() else { continue };
            if meta.len != chunk.len {
                return Err(StoreError::DamagedRow {
                    family: Family::ChunkMeta.name(),
                    key: chunk.id.to_string(),
                    reason: "it gives the chunk another length",
                });
            }
            *new = false;
            known.push(chunk.id);
        }
        if !known.is_empty() {
            let mut claims = self.claims.lock();
            for id in &known {
                claims.remove(id);
            }
        }
        Ok(new)
    }

    /// Takes encoded chunks: holds them while they are few, else writes them past the log.
    fn write(&self, rows: &mut Rows) -> Result<()> {
        let held = {
            let mut state = self.state.lock();
            for (_, meta) in rows.metas() {
                state.totals.count += 1;
                state.totals.len += u64::from(meta.len);
                state.totals.stored_len += u64::from(meta.stored_len);
            }
            let few = state.held_len + rows.bytes.len() <= self.limits.held_len;
            if few && !self.unlogged.load(Ordering::Relaxed) {
                state.held_len += rows.bytes.len();
                state.held.push(std::mem::take(rows));
                return Ok(());
            }
            self.unlogged.store(true, Ordering::Relaxed);
            std::mem::take(&mut state.held)
        };
        for rows in &held {
            self.write_unlogged(rows)?;
        }
        self.write_unlogged(rows)
    }

    fn write_unlogged(&self, rows: &Rows) -> Result<()> {
        let db = &self.store.db;
        loop {
            let mut batch = db.batch();
            rows.put(&mut batch);
            if db.try_commit(batch, Durability::Unlogged)? {
                break;
            }
        }
        let due = {
            let mut state = self.state.lock();
            // Only now, after the commit: what is in `fresh` becomes a meta at the next flush.
            state.fresh.extend(rows.metas());
            state.fresh_len += rows.bytes.len() as u64;
            if state.fresh_len < self.limits.flush_len {
                return Ok(());
            }
            state.fresh_len = 0;
            std::mem::take(&mut state.fresh)
        };
        self.settle(&due)
    }

    /// Makes written chunks durable and says so in `chunk_meta`.
    fn settle(&self, due: &[(ChunkId, ChunkMeta)]) -> Result<()> {
        let db = &self.store.db;
        db.flush(&[Family::Chunk])?;
        let mut batch = db.batch();
        for (id, meta) in due {
            batch.put(Family::ChunkMeta, id.as_bytes(), &meta.encode());
        }
        db.commit(batch, Durability::Synced)?;
        let mut claims = self.claims.lock();
        for (id, _) in due {
            claims.remove(id);
        }
        Ok(())
    }

    /// Makes what was written durable and puts the rest into `batch`, which makes the file visible.
    /// Call when all threads are done.
    pub(crate) fn finish(self, batch: &mut Batch<'_>) -> Result<NewChunks> {
        let state = self.state.into_inner();
        if self.unlogged.into_inner() {
            self.store.db.flush(&[Family::Chunk])?;
        }
        for rows in &state.held {
            rows.put(batch);
        }
        for (id, meta) in state.held.iter().flat_map(Rows::metas).chain(state.fresh) {
            batch.put(Family::ChunkMeta, id.as_bytes(), &meta.encode());
        }
        let Totals { count, len, stored_len } = state.totals;
        Ok(NewChunks { lease: self.lease, count, len, stored_len })
    }

    /// Gives up: chunks written past the log get their metas, so that a second try finds them and a
    /// collector can see them. What was held is dropped.
    pub(crate) fn abandon(self) {
        if !self.unlogged.load(Ordering::Relaxed) {
            return;
        }
        let due = std::mem::take(&mut self.state.lock().fresh);
        // The caller already returns an error, and rows without metas are harmless.
        let _ = self.settle(&due);
    }
}
