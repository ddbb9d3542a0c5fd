//! A file's chunks: its head row, its segment rows, and what is built from them.
//!
//! The head knows the offset at which each segment starts, so that finding one byte of a 100 GB
//! file takes the head and one segment. Rows come from the disk and are not trusted: whatever they
//! hold, decoding gives an error naming the row, or values that fit together.

#![deny(clippy::indexing_slicing)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::chunk::{CHUNK_LEN_MAX, CHUNKER_ID, CODEC_VERSION};
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId};
use crate::read::ChunkSpan;

/// Chunks in a segment row: 144 KiB a row, 320 MB of file at the usual chunk length.
pub(crate) const SEGMENT_CHUNKS_MAX: usize = 4096;

/// No file is longer, in bytes (16 TiB): keeps every sum of lengths far from overflow.
pub const FILE_LEN_MAX: u64 = 1 << 44;

/// Bytes of one chunk in a segment row.
const CHUNK_REF_LEN: usize = ChunkId::LEN + 4;

/// Bytes of a head row before its segment table.
const HEAD_FIXED_LEN: usize = 19;

/// Layout of the head row.
const HEAD_VERSION: u8 = 1;

/// Segments that wait in memory for their file's id (20 GB of file); those after wait in a
/// temporary file.
const SEGMENTS_IN_MEMORY: usize = 64;

/// A chunk as a manifest names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkRef {
    /// SHA-256 of the plain bytes.
    pub id: ChunkId,
    /// Length of the plain bytes.
    pub len: u32,
}

/// What a file's head row says. Its presence means that the file is whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileHead {
    /// Length in bytes.
    pub len: u64,
    /// Chunks that it consists of; one that occurs twice counts twice.
    pub chunk_count: u64,
    /// The chunker that cut it.
    pub chunker: u8,
    /// The set of codecs that its chunks may use.
    pub codec_version: u8,
    /// Offset of the first byte of each segment, ascending from 0.
    segment_starts: Vec<u64>,
}

impl FileHead {
    /// The row.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(HEAD_FIXED_LEN + self.segment_starts.len() * 8);
        row.push(HEAD_VERSION);
        row.extend_from_slice(&self.len.to_be_bytes());
        row.push(self.chunker);
        row.push(self.codec_version);
        row.extend_from_slice(&self.chunk_count.to_be_bytes());
        for start in &self.segment_starts {
            row.extend_from_slice(&start.to_be_bytes());
        }
        row
    }

    /// Reads a row back.
    ///
    /// # Errors
    /// [`StoreError::DamagedRow`].
    pub(crate) fn decode(id: &FileId, row: &[u8]) -> Result<Self> {
        Self::parse(row).map_err(|reason| damaged("file", id.to_string(), reason))
    }

    fn parse(row: &[u8]) -> Result<Self, &'static str> {
        let (fixed, table) =
            row.split_first_chunk::<HEAD_FIXED_LEN>().ok_or("the head is too short")?;
        let [version, len @ .., a, b, c, d, e, f, g, h] = fixed;
        let [l0, l1, l2, l3, l4, l5, l6, l7, chunker, codec_version] = len;
        if *version != HEAD_VERSION {
            return Err("a newer version wrote the head");
        }
        let len = u64::from_be_bytes([*l0, *l1, *l2, *l3, *l4, *l5, *l6, *l7]);
        let chunk_count = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
        let (entries, rest) = table.as_chunks::<8>();
        let segment_starts: Vec<u64> = entries.iter().map(|e| u64::from_be_bytes(*e)).collect();
        let ascends = segment_starts.is_sorted_by(|a, b| a < b)
            && segment_starts.first().is_none_or(|&first| first == 0)
            && segment_starts.last().is_none_or(|&last| last < len);
        if len > FILE_LEN_MAX
            || !rest.is_empty()
            || !ascends
            || (len == 0) != (chunk_count == 0)
            || chunk_count.div_ceil(SEGMENT_CHUNKS_MAX as u64) != entries.len() as u64
        {
            return Err("the head's numbers do not fit together");
        }
        if *codec_version > CODEC_VERSION {
            return Err("a newer version encoded the chunks");
        }
        let (chunker, codec_version) = (*chunker, *codec_version);
        Ok(Self { len, chunk_count, chunker, codec_version, segment_starts })
    }

    /// Segment rows that the file has.
    pub fn segment_count(&self) -> u32 {
        u32::try_from(self.segment_starts.len()).expect("a table row is under 4 GiB")
    }

    /// The segment that has the byte at `offset`, which must lie in the file.
    pub(crate) fn segment_at(&self, offset: u64) -> u32 {
        let after = self.segment_starts.partition_point(|&start| start <= offset);
        u32::try_from(after.saturating_sub(1)).expect("a table row is under 4 GiB")
    }

    /// Where a segment starts, where it ends, and how many chunks it has. `None` past the last.
    fn segment_bounds(&self, index: u32) -> Option<(u64, u64, usize)> {
        let index = index as usize;
        let start = *self.segment_starts.get(index)?;
        let end = self.segment_starts.get(index + 1).copied().unwrap_or(self.len);
        let before = (index * SEGMENT_CHUNKS_MAX) as u64;
        let count = self.chunk_count.checked_sub(before)?.min(SEGMENT_CHUNKS_MAX as u64);
        Some((start, end, count as usize))
    }
}

/// A decoded segment row.
#[derive(Debug)]
pub(crate) struct Segment {
    chunks: Vec<ChunkSpan>,
}

impl Segment {
    /// Reads the row of segment `index` back and checks it against the head.
    ///
    /// # Errors
    /// [`StoreError::DamagedRow`].
    pub(crate) fn decode(id: &FileId, head: &FileHead, index: u32, row: &[u8]) -> Result<Self> {
        Self::parse(head, index, row)
            .map_err(|reason| damaged("file_segment", format!("{id}/{index}"), reason))
    }

    fn parse(head: &FileHead, index: u32, row: &[u8]) -> Result<Self, &'static str> {
        let (start, end, count) =
            head.segment_bounds(index).ok_or("the head has no such segment")?;
        let (entries, rest) = row.as_chunks::<CHUNK_REF_LEN>();
        if entries.len() != count || !rest.is_empty() {
            return Err("the segment does not have the chunks that the head says");
        }
        let mut offset = start;
        let mut chunks = Vec::with_capacity(count);
        for entry in entries {
            let (id, len) = entry.split_first_chunk::<32>().ok_or("the entry is too short")?;
            let len = u32::from_be_bytes(len.try_into().map_err(|_| "the entry is too short")?);
            if len == 0 || len > CHUNK_LEN_MAX {
                return Err("a chunk's length is impossible");
            }
            chunks
                .push(ChunkSpan { chunk: ChunkRef { id: ChunkId::from_bytes(*id), len }, offset });
            offset += u64::from(len);
        }
        if offset != end {
            return Err("the chunks' lengths do not add up to the segment's");
        }
        Ok(Self { chunks })
    }

    /// The index of the chunk that has the byte at `offset`; the number of chunks when the segment
    /// ends before.
    pub(crate) fn index_at(&self, offset: u64) -> usize {
        self.chunks.partition_point(|span| span.offset + u64::from(span.chunk.len) <= offset)
    }

    /// The first chunk with this id.
    pub(crate) fn find(&self, id: &ChunkId) -> Option<ChunkRef> {
        self.chunks.iter().map(|span| span.chunk).find(|chunk| chunk.id == *id)
    }

    /// All chunks of the segment.
    pub(crate) fn spans(&self) -> &[ChunkSpan] {
        &self.chunks
    }

    /// The chunk at `index` of the segment.
    pub(crate) fn get(&self, index: usize) -> Option<ChunkSpan> {
        self.chunks.get(index).copied()
    }
}

/// The ids in a segment row of ours.
pub(crate) fn chunk_ids(row: &[u8]) -> impl Iterator<Item = ChunkId> + '_ {
    let (entries, _) = row.as_chunks::<CHUNK_REF_LEN>();
    entries.iter().filter_map(|entry| entry.first_chunk().copied().map(ChunkId::from_bytes))
}

/// Collects the chunks of a file whose id is not known yet.
pub(crate) struct ManifestBuilder {
    head: FileHead,
    /// The segment being filled, as a row.
    open: Vec<u8>,
    full: Vec<Vec<u8>>,
    spilled: Option<File>,
    spilled_count: usize,
}

impl ManifestBuilder {
    pub(crate) fn new() -> Self {
        let head = FileHead {
            len: 0,
            chunk_count: 0,
            chunker: CHUNKER_ID,
            codec_version: CODEC_VERSION,
            segment_starts: Vec::new(),
        };
        Self { head, open: Vec::new(), full: Vec::new(), spilled: None, spilled_count: 0 }
    }

    /// Adds the next chunk. Segments that do not fit in memory go to a nameless file in `tmp`.
    pub(crate) fn push(&mut self, chunk: &ChunkRef, tmp: &Path) -> Result<()> {
        if self.open.is_empty() {
            self.head.segment_starts.push(self.head.len);
        }
        self.open.extend_from_slice(chunk.id.as_bytes());
        self.open.extend_from_slice(&chunk.len.to_be_bytes());
        self.head.len += u64::from(chunk.len);
        self.head.chunk_count += 1;
        if self.open.len() == SEGMENT_CHUNKS_MAX * CHUNK_REF_LEN {
            let row = std::mem::take(&mut self.open);
            if self.full.len() < SEGMENTS_IN_MEMORY {
                self.full.push(row);
            } else {
                self.spill(&row, tmp)?;
            }
        }
        Ok(())
    }

    fn spill(&mut self, row: &[u8], tmp: &Path) -> Result<()> {
        let io = |e| StoreError::io(format!("writing a file in {}", tmp.display()), e);
        let mut file = match self.spilled.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(tmp).map_err(io)?,
        };
        file.write_all(row).map_err(io)?;
        self.spilled = Some(file);
        self.spilled_count += 1;
        Ok(())
    }

    /// The head, and the segment rows in order.
    pub(crate) fn finish(self) -> Result<(FileHead, impl Iterator<Item = Result<Vec<u8>>>)> {
        let io = |e| StoreError::io("reading a temporary file of the store", e);
        let mut spilled = self.spilled;
        if let Some(file) = &mut spilled {
            file.seek(SeekFrom::Start(0)).map_err(io)?;
        }
        let from_file = spilled.into_iter().flat_map(move |mut file| {
            (0..self.spilled_count).map(move |_| {
                let mut row = vec![0; SEGMENT_CHUNKS_MAX * CHUNK_REF_LEN];
                file.read_exact(&mut row).map_err(io)?;
                Ok(row)
            })
        });
        let last = (!self.open.is_empty()).then_some(Ok(self.open));
        let rows = self.full.into_iter().map(Ok).chain(from_file).chain(last);
        Ok((self.head, rows))
    }
}

fn damaged(family: &'static str, key: String, reason: &'static str) -> StoreError {
    StoreError::DamagedRow { family, key, reason }
}
