//! The content of one entry: its stream inflated exactly to its end, a delta applied to its base.

use super::PackLimits;
use super::bases::Entry;
use super::quarantine::{Quarantine, malformed};
use crate::error::{PackError, Result};
use crate::object::ObjectKind;
use crate::objects::delta;
use crate::objects::inflate::inflate;

/// An object's content while others may be made from it.
pub(super) struct Content {
    pub(super) kind: ObjectKind,
    pub(super) data: Vec<u8>,
}

/// Reads entries of a pack whose bases are at hand.
pub(super) struct Contents<'a> {
    pack: gix_pack::data::File,
    pack_len: u64,
    offsets: &'a [u64],
    entries: &'a [Entry],
    object_len_max: u64,
}

impl<'a> Contents<'a> {
    /// Opens the quarantine file.
    pub(super) fn new(
        quarantine: &'a Quarantine,
        entries: &'a [Entry],
        limits: &PackLimits,
    ) -> Result<Self> {
        Ok(Self {
            pack: quarantine.map()?,
            pack_len: quarantine.pack_len,
            offsets: &quarantine.offsets,
            entries,
            object_len_max: quarantine.object_len_max(limits),
        })
    }

    /// The object of an entry. `base` is what its delta is made against, `None` for one that is
    /// whole; `delta` and `buffer` are used up and may hold anything.
    ///
    /// A stream that goes on behind the announced length, is cut off or is followed by other bytes
    /// is refused: it would be stored and never be read again.
    pub(super) fn read(
        &self,
        position: u32,
        base: Option<&Content>,
        delta: &mut Vec<u8>,
        mut buffer: Vec<u8>,
    ) -> Result<Content> {
        let entry = &self.entries[position as usize];
        let offset = self.offsets[position as usize];
        let damaged = |why: &str| malformed(format!("the entry at offset {offset}: {why}"));
        let bytes = self.pack.entry_slice(offset..entry.end);
        let bytes = bytes.ok_or_else(|| damaged("it is outside of the pack"))?;
        let stream = bytes.get((entry.stream - offset) as usize..);
        let stream = stream.ok_or_else(|| damaged("it is cut off"))?;
        self.check_len(entry.stream_len)?;
        let Some(base) = base else {
            inflate(stream, entry.stream_len, &mut buffer).map_err(damaged)?;
            let first = bytes.first().copied().unwrap_or_default();
            let kind = ObjectKind::from_code(((first >> 4) & 7).wrapping_sub(1));
            return Ok(Content { kind, data: buffer });
        };
        inflate(stream, entry.stream_len, delta).map_err(damaged)?;
        let (_, len, _) = delta::lengths(delta).map_err(damaged)?;
        self.check_len(len)?;
        delta::apply_into(&base.data, delta, len, &mut buffer).map_err(damaged)?;
        Ok(Content { kind: base.kind, data: buffer })
    }

    fn check_len(&self, len: u64) -> Result<()> {
        let (limit, pack_len) = (self.object_len_max, self.pack_len);
        if len > limit {
            return Err(PackError::ObjectTooLarge { limit, pack_len }.into());
        }
        Ok(())
    }
}
