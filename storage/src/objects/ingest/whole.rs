//! Objects of a pack read whole, for those that cannot be stored as they came, and for comparing
//! duplicates.

use std::cell::Cell;
use std::io::{self, Write};

use bytes::Bytes;

use super::quarantine::{Quarantine, malformed};
use super::resolve::Resolved;
use crate::error::{PackError, Result};
use crate::objects::cache::BaseCache;
use crate::objects::delta;
use crate::objects::inflate::inflate;

/// Inflated entries kept for the next one nearby, in bytes.
const CACHE_LEN: usize = 32 << 20;

/// Reads objects of a resolved pack. Iterative; remembers what it inflated lately.
///
/// A chain is walked again for an object whose base is no longer remembered, and a pack can be made
/// so that this is always so. The work has a budget of its own, some times that of the main pass.
pub(super) struct PackReader<'a> {
    pack: gix_pack::data::File,
    pack_len: u64,
    resolved: &'a Resolved,
    cache: BaseCache<u32, Bytes>,
    /// Bytes that may still be inflated.
    budget: Cell<u64>,
}

impl<'a> PackReader<'a> {
    /// Opens the quarantine file.
    pub(super) fn new(quarantine: &Quarantine, resolved: &'a Resolved) -> Result<Self> {
        Ok(Self {
            pack: quarantine.map()?,
            pack_len: quarantine.pack_len,
            resolved,
            cache: BaseCache::new(CACHE_LEN),
            budget: Cell::new(resolved.replay_len_max),
        })
    }

    /// The deflate stream of an entry.
    pub(super) fn stream(&self, position: u32) -> Result<&[u8]> {
        let entry = &self.resolved.entries[position as usize];
        let stream = self.pack.entry_slice(entry.stream..entry.end);
        Ok(stream.ok_or_else(|| malformed("an entry is outside of the pack"))?)
    }

    /// The content of an entry.
    pub(super) fn read(&self, position: u32) -> Result<Bytes> {
        let mut chain = Vec::new();
        let mut next = position;
        let mut data = loop {
            if let Some(data) = self.cache.get(&next) {
                break data;
            }
            match self.resolved.entries[next as usize].base {
                Some(base) => {
                    chain.push(next);
                    next = base;
                }
                None => break Bytes::from(self.inflate(next)?),
            }
        };
        self.cache.put(next, data.clone());
        while let Some(position) = chain.pop() {
            let instructions = self.inflate(position)?;
            let len = self.resolved.objects[position as usize].len;
            self.spend(len)?;
            let applied = delta::apply(&data, &instructions, len);
            data = Bytes::from(applied.map_err(malformed)?);
            self.cache.put(position, data.clone());
        }
        Ok(data)
    }

    fn inflate(&self, position: u32) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let len = self.resolved.entries[position as usize].stream_len;
        self.spend(len)?;
        inflate(self.stream(position)?, len, &mut out).map_err(malformed)?;
        Ok(out)
    }

    fn spend(&self, len: u64) -> Result<()> {
        let left = self.budget.get().checked_sub(len).ok_or(PackError::Expansion {
            limit: self.resolved.replay_len_max,
            pack_len: self.pack_len,
        })?;
        self.budget.set(left);
        Ok(())
    }
}

/// Appends `data` as a zlib stream.
pub(in crate::objects) fn deflate(data: &[u8], level: u32, out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::new(level));
    encoder.write_all(data)?;
    encoder.finish()?;
    Ok(())
}
