//! Walks over the chunks of a part of a file, one segment in memory at a time.

use std::sync::Arc;

use super::FileStore;
use crate::error::{Result, StoreError};
use crate::id::FileId;
use crate::lease::Reading;
use crate::manifest::{FileHead, SEGMENT_CHUNKS_MAX, Segment};
use crate::read::ChunkSpan;

/// The chunks that cover a part of a file, in order. Ends after an error.
pub struct FileSpans {
    files: FileStore,
    id: FileId,
    head: Arc<FileHead>,
    next: u64,
    end: u64,
    /// The segment at hand and the next chunk in it.
    at_hand: Option<(Arc<Segment>, usize)>,
    /// Keeps the file while it is read.
    _reading: Reading,
}

impl FileStore {
    /// All chunks of the file in order, one segment in memory at a time.
    ///
    /// # Errors
    /// [`StoreError::MissingFile`] when the file is not here.
    pub fn spans_of(&self, id: &FileId) -> Result<FileSpans> {
        self.spans(id, 0, u64::MAX)
    }

    /// The chunks of the file from one on whose number is a multiple of `grid`: the last such one
    /// at or before the byte at `offset`, or at the file's end.
    pub(crate) fn spans_on_grid(&self, id: &FileId, offset: u64, grid: usize) -> Result<FileSpans> {
        let _reading = self.inner.chunks.leases().read(id);
        let head = self.head(id)?.ok_or(StoreError::MissingFile { id: *id })?;
        let Some(last) = head.len.checked_sub(1) else { return self.spans_of(id) };
        let at = offset.min(last);
        let number = head.segment_at(at);
        let segment = self.segment(id, &head, number)?;
        let chunk = number as usize * SEGMENT_CHUNKS_MAX + segment.index_at(at);
        let first = chunk - chunk % grid;
        let number = u32::try_from(first / SEGMENT_CHUNKS_MAX).expect("it is not above another");
        let segment = self.segment(id, &head, number)?;
        let start =
            segment.get(first % SEGMENT_CHUNKS_MAX).expect("full but for the last: checked");
        self.spans(id, start.offset, u64::MAX)
    }

    /// The chunks that cover `offset..offset + len`, clipped to the file's end.
    pub(crate) fn spans(&self, id: &FileId, offset: u64, len: u64) -> Result<FileSpans> {
        let reading = self.inner.chunks.leases().read(id);
        let head = self.head(id)?.ok_or(StoreError::MissingFile { id: *id })?;
        let end = offset.saturating_add(len).min(head.len);
        Ok(FileSpans {
            files: self.clone(),
            id: *id,
            head,
            next: offset,
            end,
            at_hand: None,
            _reading: reading,
        })
    }
}

impl FileSpans {
    /// The part of the file that was asked for and is there, as offsets.
    pub(super) fn bounds(&self) -> (u64, u64) {
        (self.next, self.end.max(self.next))
    }

    fn step(&mut self) -> Result<ChunkSpan> {
        if let Some((segment, index)) = &mut self.at_hand
            && let Some(span) = segment.get(*index)
        {
            *index += 1;
            return Ok(span);
        }
        let number = self.head.segment_at(self.next);
        let segment = self.files.segment(&self.id, &self.head, number)?;
        let index = segment.index_at(self.next);
        let span = segment.get(index).expect("segments cover the file without gaps: checked");
        self.at_hand = Some((segment, index + 1));
        Ok(span)
    }
}

impl Iterator for FileSpans {
    type Item = Result<ChunkSpan>;

    fn next(&mut self) -> Option<Result<ChunkSpan>> {
        if self.next >= self.end {
            return None;
        }
        let span = self.step();
        self.next = match &span {
            Ok(span) => span.offset + u64::from(span.chunk.len),
            Err(_) => self.end,
        };
        Some(span)
    }
}
