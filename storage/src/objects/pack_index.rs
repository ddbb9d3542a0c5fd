//! A version-2 pack index (gitformat-pack), written from what the pack's writer knows anyway.

use std::io::{self, Write};

use crate::id::ObjectId;

/// Offsets from here on go into the table of 8-byte offsets.
const LARGE_OFFSET: u64 = 1 << 31;

/// Where an object stands in a pack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexEntry {
    pub(crate) id: ObjectId,
    pub(crate) crc32: u32,
    pub(crate) offset: u64,
}

/// Writes the index of the pack that ends in `pack_id`. `entries` ascend by id.
pub(crate) fn write_index(
    out: &mut dyn Write,
    entries: &[IndexEntry],
    pack_id: &[u8; 20],
) -> io::Result<()> {
    assert!(entries.is_sorted_by(|a, b| a.id < b.id), "an index ascends strictly by id");
    let mut out = Hashing { out, hasher: gix_hash::hasher(gix_hash::Kind::Sha1) };
    out.write_all(b"\xfftOc\0\0\0\x02")?;
    for first in 0..=255u8 {
        let count = entries.partition_point(|e| e.id.as_bytes()[0] <= first);
        out.write_all(&(count as u32).to_be_bytes())?;
    }
    for entry in entries {
        out.write_all(entry.id.as_bytes())?;
    }
    for entry in entries {
        out.write_all(&entry.crc32.to_be_bytes())?;
    }
    let mut large = Vec::new();
    for entry in entries {
        let field = if entry.offset < LARGE_OFFSET {
            entry.offset as u32
        } else {
            large.push(entry.offset);
            0x8000_0000 | (large.len() - 1) as u32
        };
        out.write_all(&field.to_be_bytes())?;
    }
    for offset in large {
        out.write_all(&offset.to_be_bytes())?;
    }
    out.write_all(pack_id)?;
    let id = out.hasher.try_finalize().map_err(|_| io::Error::other("SHA-1 attack in an index"))?;
    out.out.write_all(id.as_slice())
}

/// Hashes what passes through.
pub(crate) struct Hashing<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) hasher: gix_hash::Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
