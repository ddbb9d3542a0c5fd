//! Large blobs that are stored whole, read piece by piece without holding all of them.
//!
//! A deflate stream can only be inflated from its front. A few positions are remembered, so that a
//! reader that goes on where it stopped pays for what it reads only; one that jumps back starts
//! again.

use flate2::{Decompress, FlushDecompress, Status};
use parking_lot::Mutex;

use super::limits::PART_LEN;
use super::part;
use super::resolve::damaged;
use super::row::{Body, Row};
use crate::db::Db;
use crate::error::Result;
use crate::id::ObjectId;

/// Objects up to this length are inflated at once and cached instead.
pub(crate) const STREAM_LEN_MIN: u64 = 4 << 20;
/// Positions that are remembered.
const POSITION_COUNT_MAX: usize = 8;
/// Bytes inflated and thrown away at a time on the way to an offset.
const SKIP_LEN: usize = 64 << 10;

/// Positions in streams that were read from lately.
#[derive(Default)]
pub(crate) struct BlobStreams {
    positions: Mutex<Vec<Position>>,
}

struct Position {
    id: ObjectId,
    inflater: Decompress,
    /// The part that is being inflated, and how much of it is used up.
    input: Vec<u8>,
    input_used: usize,
    part_index: u64,
    /// Bytes of content inflated so far.
    offset: u64,
}

impl BlobStreams {
    /// Reads at `offset`, which is below the object's length.
    pub(crate) fn read_at(
        &self,
        db: &Db,
        id: &ObjectId,
        row: &Row<'_>,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize> {
        let len = usize::try_from(row.header.len - offset).unwrap_or(usize::MAX).min(out.len());
        let out = &mut out[..len];
        let mut position = self.take(id, offset).unwrap_or_else(|| Position::new(*id));
        let mut skipped = vec![0; SKIP_LEN];
        while position.offset < offset {
            let len = usize::try_from(offset - position.offset).unwrap_or(SKIP_LEN).min(SKIP_LEN);
            position.fill(db, row, &mut skipped[..len])?;
        }
        position.fill(db, row, out)?;
        self.keep(position);
        Ok(out.len())
    }

    /// Takes the position in this object that is nearest before `offset`.
    fn take(&self, id: &ObjectId, offset: u64) -> Option<Position> {
        let mut positions = self.positions.lock();
        let (index, _) = positions
            .iter()
            .enumerate()
            .filter(|(_, p)| p.id == *id && p.offset <= offset)
            .max_by_key(|(_, p)| p.offset)?;
        Some(positions.remove(index))
    }

    fn keep(&self, position: Position) {
        let mut positions = self.positions.lock();
        if positions.len() == POSITION_COUNT_MAX {
            positions.remove(0);
        }
        positions.push(position);
    }
}

impl Position {
    fn new(id: ObjectId) -> Self {
        Self {
            id,
            inflater: Decompress::new(true),
            input: Vec::new(),
            input_used: 0,
            part_index: 0,
            offset: 0,
        }
    }

    /// Inflates the next `out.len()` bytes.
    fn fill(&mut self, db: &Db, row: &Row<'_>, out: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            if self.input_used == self.input.len() {
                self.refill(db, row)?;
            }
            let before = (self.inflater.total_in(), self.inflater.total_out());
            let status = self
                .inflater
                .decompress(
                    &self.input[self.input_used..],
                    &mut out[filled..],
                    FlushDecompress::None,
                )
                .map_err(|_| damaged(&self.id, "its deflate stream is damaged"))?;
            self.input_used += (self.inflater.total_in() - before.0) as usize;
            let written = self.inflater.total_out() - before.1;
            filled += written as usize;
            self.offset += written;
            if status == Status::StreamEnd && filled < out.len() {
                return Err(damaged(&self.id, "its deflate stream is shorter than announced"));
            }
        }
        Ok(())
    }

    fn refill(&mut self, db: &Db, row: &Row<'_>) -> Result<()> {
        let cut_off = || damaged(&self.id, "its deflate stream is cut off");
        self.input = match row.body {
            Body::Inline(stream) => {
                let from = usize::try_from(self.part_index).unwrap_or(usize::MAX);
                let start = from.saturating_mul(PART_LEN);
                let rest = stream.get(start..).filter(|r| !r.is_empty()).ok_or_else(cut_off)?;
                rest[..rest.len().min(PART_LEN)].to_vec()
            }
            Body::Parts(parts) => {
                if self.part_index >= part::part_count(parts.len) {
                    return Err(cut_off());
                }
                part::read_part(db, &self.id, self.part_index, &parts)?
            }
        };
        self.input_used = 0;
        self.part_index += 1;
        Ok(())
    }
}
