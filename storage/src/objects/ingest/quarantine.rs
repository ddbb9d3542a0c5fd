//! A pack in a file of its own, its checksum verified, the place of each entry known.
//!
//! A local pack is copied too: its file could shrink under a memory map. The copy is removed when
//! this goes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use gix_pack::data::input::{BytesToEntriesIter, EntryDataMode, Mode};
use tempfile::TempPath;

use super::{PackInput, PackLimits};
use crate::db::{Db, Room};
use crate::error::{PackError, Result, StoreError};
use crate::progress::Progress;

const HEADER_LEN: u64 = 12;
const TRAILER_LEN: u64 = 20;
const COPY_LEN: usize = 256 << 10;
const RECEIVING: &str = "receiving a pack";
const SHA1: gix_hash::Kind = gix_hash::Kind::Sha1;

/// A received pack.
pub(super) struct Quarantine {
    /// The file: the pack; thin bases are written from where its trailer stood.
    pub(super) path: TempPath,
    /// The trailing SHA-1.
    pub(super) id: [u8; 20],
    /// Length of the pack as received, with its trailer.
    pub(super) pack_len: u64,
    /// Entries that the pack has.
    pub(super) entry_count: u64,
    /// Offset of each entry, ascending; appended bases follow.
    pub(super) offsets: Vec<u64>,
    /// Where the last entry ends.
    pub(super) end: u64,
    /// Length of the longest base that was appended, and of all together, inflated, in bytes.
    pub(super) base_len_max: u64,
    pub(super) base_len: u64,
    /// The index that came with a local pack.
    pub(super) index: Option<gix_pack::index::File>,
}

impl Quarantine {
    /// Copies a pack in and verifies its checksum.
    pub(super) fn receive(
        db: &Db,
        input: PackInput<'_>,
        limits: &PackLimits,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let file = tempfile::Builder::new().prefix("pack-").tempfile_in(db.tmp());
        let (file, path) = file.map_err(io_error)?.into_parts();
        match input {
            PackInput::Indexed { pack, index } => {
                db.room().check(RECEIVING)?;
                Self::copy_indexed(file, path, pack, index, limits, progress)
            }
            PackInput::Stream(input) => {
                let limits = (limits, db.room());
                Self::receive_stream(file, path, input, limits, progress)
            }
        }
    }

    fn copy_indexed(
        mut file: File,
        path: TempPath,
        pack: &Path,
        index: &Path,
        limits: &PackLimits,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let action = || format!("reading {}", pack.display());
        let mut source = File::open(pack).map_err(|e| StoreError::io(action(), e))?;
        let pack_len = source.metadata().map_err(|e| StoreError::io(action(), e))?.len();
        check_len(pack_len, limits)?;
        let body_len = pack_len.checked_sub(TRAILER_LEN).ok_or(PackError::Truncated)?;
        let mut hasher = gix_hash::hasher(SHA1);
        let mut buffer = vec![0; COPY_LEN];
        let mut copied = 0;
        while copied < body_len {
            let len = usize::try_from(body_len - copied).unwrap_or(COPY_LEN).min(COPY_LEN);
            read_exact(&mut source, &mut buffer[..len])?;
            hasher.update(&buffer[..len]);
            file.write_all(&buffer[..len]).map_err(io_error)?;
            copied += len as u64;
            progress.advance(len as u64);
            stop_if_asked(progress)?;
        }
        let mut id = [0; 20];
        read_exact(&mut source, &mut id)?;
        file.write_all(&id).map_err(io_error)?;
        let actual = hasher.try_finalize().map_err(|_| PackError::CollisionAttack { offset: 0 })?;
        if actual.as_slice() != id {
            return Err(PackError::Checksum.into());
        }
        let index = gix_pack::index::File::at(index, SHA1)
            .map_err(|e| malformed(format!("its index cannot be read: {e}")))?;
        if index.pack_checksum().as_slice() != id {
            return Err(malformed("its index belongs to another pack").into());
        }
        check_count(u64::from(index.num_objects()), limits)?;
        let offsets = index.sorted_offsets();
        if header_count(&path)? != offsets.len() as u64 {
            return Err(malformed("its index has another number of objects").into());
        }
        let tiles = offsets.first().is_none_or(|&o| o == HEADER_LEN)
            && offsets.last().is_none_or(|&o| o < body_len);
        if !tiles {
            return Err(malformed("its index has offsets outside of it").into());
        }
        let entry_count = offsets.len() as u64;
        Ok(Self {
            path,
            id,
            pack_len,
            entry_count,
            offsets,
            end: body_len,
            base_len_max: 0,
            base_len: 0,
            index: Some(index),
        })
    }

    fn receive_stream(
        file: File,
        path: TempPath,
        input: &mut dyn Read,
        (limits, room): (&PackLimits, &Room),
        progress: &dyn Progress,
    ) -> Result<Self> {
        let limit = limits.pack_len_max;
        let tee = Tee { input, file: BufWriter::new(file), len: 0, limit, room, progress };
        let mut tee = BufReader::with_capacity(COPY_LEN, tee);
        let iter = BytesToEntriesIter::new_from_header(
            &mut tee,
            Mode::Verify,
            EntryDataMode::Ignore,
            SHA1,
        );
        let mut offsets = Vec::new();
        let mut end = HEADER_LEN;
        let mut trailer = None;
        for entry in iter.map_err(|e| stream_error(&e))? {
            let entry = entry.map_err(|e| stream_error(&e))?;
            offsets.push(entry.pack_offset);
            check_count(offsets.len() as u64, limits)?;
            end = entry.pack_offset + entry.bytes_in_pack();
            trailer = entry.trailer;
            stop_if_asked(progress)?;
        }
        let id = match trailer {
            Some(id) => id.as_slice().try_into().map_err(|_| PackError::Checksum)?,
            None => read_empty_trailer(&mut tee)?,
        };
        if !tee.fill_buf().map_err(|e| read_error(e, "the pack"))?.is_empty() {
            return Err(PackError::TrailingBytes.into());
        }
        tee.get_mut().file.flush().map_err(io_error)?;
        let entry_count = offsets.len() as u64;
        let pack_len = end + TRAILER_LEN;
        Ok(Self {
            path,
            id,
            pack_len,
            entry_count,
            offsets,
            end,
            base_len_max: 0,
            base_len: 0,
            index: None,
        })
    }

    /// Adds entries behind the pack's own: bases that the pack's deltas need and the repository
    /// has. One is in memory at a time.
    pub(super) fn append(&mut self, entries: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
        let mut file = File::options().write(true).open(&self.path).map_err(io_error)?;
        file.seek(SeekFrom::Start(self.end)).map_err(io_error)?;
        let mut out = BufWriter::new(file);
        for entry in entries {
            let entry = entry?;
            out.write_all(&entry).map_err(io_error)?;
            self.offsets.push(self.end);
            self.end += entry.len() as u64;
        }
        out.flush().map_err(io_error)
    }

    /// Longest object that is accepted, in bytes.
    pub(super) fn object_len_max(&self, limits: &PackLimits) -> u64 {
        limits.object_len(self.pack_len, self.base_len_max)
    }

    /// Bytes that all objects together may inflate to: the bases and what is made of them beside
    /// the pack's own.
    pub(super) fn inflated_len_max(&self, limits: &PackLimits) -> u64 {
        limits.inflated_len(self.pack_len).saturating_add(self.base_len.saturating_mul(2))
    }

    /// Maps the file for reading.
    pub(super) fn map(&self) -> Result<gix_pack::data::File> {
        gix_pack::data::File::at(&self.path, SHA1).map_err(|e| malformed(e.to_string()).into())
    }

    /// Where the entry with this position ends.
    pub(super) fn entry_end(&self, position: usize) -> u64 {
        self.offsets.get(position + 1).copied().unwrap_or(self.end)
    }
}

/// Passes a stream on while writing it to the quarantine file.
struct Tee<'a> {
    input: &'a mut dyn Read,
    file: BufWriter<File>,
    len: u64,
    limit: u64,
    room: &'a Room,
    progress: &'a dyn Progress,
}

impl Read for Tee<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(out)?;
        self.len += len as u64;
        if self.len > self.limit {
            return Err(io::Error::other(StoreError::Limit {
                what: "length of a pack",
                limit: self.limit,
                actual: self.len,
            }));
        }
        if self.room.check(RECEIVING).is_err() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(&out[..len])?;
        self.progress.advance(len as u64);
        Ok(len)
    }
}

/// A pack without entries ends in the hash of its header.
fn read_empty_trailer(input: &mut dyn Read) -> Result<[u8; 20]> {
    let mut id = [0; 20];
    read_exact(input, &mut id)?;
    for version in [2u32, 3] {
        let mut hasher = gix_hash::hasher(SHA1);
        hasher.update(b"PACK");
        hasher.update(&version.to_be_bytes());
        hasher.update(&[0; 4]);
        if hasher.try_finalize().is_ok_and(|actual| actual.as_slice() == id) {
            return Ok(id);
        }
    }
    Err(PackError::Checksum.into())
}

fn header_count(path: &Path) -> Result<u64> {
    let mut header = [0; 12];
    let mut file = File::open(path).map_err(io_error)?;
    read_exact(&mut file, &mut header)?;
    let (_, count) =
        gix_pack::data::header::decode(&header).map_err(|e| malformed(e.to_string()))?;
    Ok(u64::from(count))
}

fn check_len(len: u64, limits: &PackLimits) -> Result<()> {
    if len > limits.pack_len_max {
        let limit = limits.pack_len_max;
        return Err(StoreError::Limit { what: "length of a pack", limit, actual: len });
    }
    Ok(())
}

fn check_count(actual: u64, limits: &PackLimits) -> Result<()> {
    let limit = limits.entry_count_max;
    if actual > limit {
        return Err(StoreError::Limit { what: "entries of a pack", limit, actual });
    }
    Ok(())
}

fn read_exact(input: &mut dyn Read, out: &mut [u8]) -> Result<()> {
    input.read_exact(out).map_err(|e| read_error(e, "the pack"))
}

fn read_error(error: io::Error, what: &str) -> StoreError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return PackError::Truncated.into();
    }
    StoreError::io(format!("reading {what}"), error)
}

/// Finds the cause behind what gix-pack says of a stream.
fn stream_error(error: &gix_error::Error) -> StoreError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::UnexpectedEof {
                return PackError::Truncated.into();
            }
            if let Some(StoreError::Limit { what, limit, actual }) =
                io.get_ref().and_then(|inner| inner.downcast_ref::<StoreError>())
            {
                return StoreError::Limit { what, limit: *limit, actual: *actual };
            }
            if io.raw_os_error().is_some() || io.kind() == io::ErrorKind::StorageFull {
                return StoreError::io("receiving the pack", io::Error::from(io.kind()));
            }
        }
        source = cause.source();
    }
    let text = error.to_string();
    if text.contains("checksum in trailer") {
        return PackError::Checksum.into();
    }
    malformed(text).into()
}

pub(super) fn malformed(reason: impl Into<String>) -> PackError {
    PackError::Malformed { reason: reason.into() }
}

pub(super) fn io_error(error: io::Error) -> StoreError {
    StoreError::io("writing the quarantine file", error)
}

fn stop_if_asked(progress: &dyn Progress) -> Result<()> {
    if progress.interrupted() { Err(StoreError::Interrupted) } else { Ok(()) }
}
