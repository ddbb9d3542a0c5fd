//! Deltas that wait until their bases are sent, by depth, in little memory.
//!
//! A delta's depth is greater than its base's: taken out by ascending depth, each finds its base
//! sent. Every depth gathers records in a buffer of its own; full ones go to a nameless file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Result, StoreError};
use crate::objects::limits::DEPTH_MAX;

/// Bytes gathered for one depth before they go to the file.
const CHUNK_LEN: usize = 64 << 10;
/// Bytes of a record before its stream.
const HEAD_LEN: usize = 20;
/// In place of a stream's length: the stream is in parts, which are read when it is sent.
const IN_PARTS: u32 = u32::MAX;

/// A delta that waits.
pub(super) struct Waiting<'a> {
    /// Position among the ids that are sent.
    pub(super) index: u32,
    /// Position of its base.
    pub(super) base: u32,
    /// Length of the inflated instructions, in bytes.
    pub(super) delta_len: u64,
    /// The deflate stream; `None` when it is in parts.
    pub(super) stream: Option<&'a [u8]>,
}

#[derive(Default)]
struct Depth {
    records: Vec<u8>,
    /// Offset and length of what went to the file.
    chunks: Vec<(u64, usize)>,
}

/// Deltas by depth.
pub(super) struct WaitingRoom<'a> {
    tmp: &'a Path,
    depths: Vec<Depth>,
    file: Option<File>,
    file_len: u64,
}

impl<'a> WaitingRoom<'a> {
    pub(super) fn new(tmp: &'a Path) -> Self {
        let depths = (0..=DEPTH_MAX).map(|_| Depth::default()).collect();
        Self { tmp, depths, file: None, file_len: 0 }
    }

    /// Keeps a delta of this depth.
    pub(super) fn put(&mut self, depth: u8, delta: &Waiting<'_>) -> Result<()> {
        let records = &mut self.depths[usize::from(depth)].records;
        let stream_len = match delta.stream {
            Some(stream) => u32::try_from(stream.len()).expect("longer streams are in parts"),
            None => IN_PARTS,
        };
        records.extend_from_slice(&delta.index.to_le_bytes());
        records.extend_from_slice(&delta.base.to_le_bytes());
        records.extend_from_slice(&delta.delta_len.to_le_bytes());
        records.extend_from_slice(&stream_len.to_le_bytes());
        records.extend_from_slice(delta.stream.unwrap_or_default());
        if records.len() >= CHUNK_LEN { self.spill(depth) } else { Ok(()) }
    }

    fn spill(&mut self, depth: u8) -> Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(self.tmp).map_err(io_error)?,
        };
        let depth = &mut self.depths[usize::from(depth)];
        file.write_all_at(&depth.records, self.file_len).map_err(io_error)?;
        depth.chunks.push((self.file_len, depth.records.len()));
        self.file_len += depth.records.len() as u64;
        depth.records.clear();
        self.file = Some(file);
        Ok(())
    }

    /// Hands out all deltas, by ascending depth.
    pub(super) fn drain(self, mut send: impl FnMut(&Waiting<'_>) -> Result<()>) -> Result<()> {
        let mut chunk = Vec::new();
        for depth in self.depths {
            for (offset, len) in depth.chunks {
                chunk.resize(len, 0);
                let file = self.file.as_ref().expect("a chunk went to the file");
                file.read_exact_at(&mut chunk, offset).map_err(io_error)?;
                each(&chunk, &mut send)?;
            }
            each(&depth.records, &mut send)?;
        }
        Ok(())
    }
}

fn each(mut records: &[u8], send: &mut dyn FnMut(&Waiting<'_>) -> Result<()>) -> Result<()> {
    while let Some((head, rest)) = records.split_first_chunk::<HEAD_LEN>() {
        let (words, _) = head.as_chunks::<4>();
        let word = |i: usize| u32::from_le_bytes(words[i]);
        let delta_len = u64::from(word(2)) | u64::from(word(3)) << 32;
        let stream_len = word(4);
        let len = if stream_len == IN_PARTS { 0 } else { stream_len as usize };
        let (stream, rest) = rest.split_at(len);
        let stream = (stream_len != IN_PARTS).then_some(stream);
        send(&Waiting { index: word(0), base: word(1), delta_len, stream })?;
        records = rest;
    }
    Ok(())
}

fn io_error(error: std::io::Error) -> StoreError {
    StoreError::io("writing a temporary file of the store", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_come_out_by_depth_whole_and_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut room = WaitingRoom::new(dir.path());
        let stream = vec![7u8; 1000];
        for index in 0..2_000u32 {
            let depth = 1 + (index * 7 % 250) as u8;
            let len = (index % 1000) as usize;
            let stream = (index % 13 != 0).then(|| &stream[..len]);
            let delta =
                Waiting { index, base: index / 2, delta_len: u64::from(index) << 24, stream };
            room.put(depth, &delta).expect("kept");
        }
        let long = vec![9u8; 1 << 20];
        let delta = Waiting { index: 5_000, base: 0, delta_len: 1, stream: Some(&long) };
        room.put(1, &delta).expect("kept");
        assert!(room.file.is_some());
        let mut seen = Vec::new();
        room.drain(|delta| {
            if delta.index == 5_000 {
                assert_eq!(delta.stream, Some(&long[..]));
                seen.push((1, delta.index));
                return Ok(());
            }
            assert_eq!(
                (delta.base, delta.delta_len),
                (delta.index / 2, u64::from(delta.index) << 24)
            );
            let len = (delta.index % 13 != 0).then_some(delta.index as usize % 1000);
            assert_eq!(delta.stream.map(<[u8]>::len), len);
            seen.push((1 + delta.index * 7 % 250, delta.index));
            Ok(())
        })
        .expect("read");
        assert_eq!(seen.len(), 2_001);
        assert!(seen.is_sorted(), "by depth, and within a depth as they came");
        assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
    }
}
