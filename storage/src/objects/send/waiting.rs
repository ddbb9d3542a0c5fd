//! Objects that wait: deltas until their bases are sent, and history until it stands together; in
//! little memory.
//!
//! A delta's depth is greater than its base's, and both are of one kind: taken out by kind and
//! ascending depth, each finds its base sent. Every depth of a kind gathers records in a buffer of
//! its own; full ones go to a nameless file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Result, StoreError};
use crate::object::ObjectKind;
use crate::objects::limits::DEPTH_MAX;

/// Bytes gathered for one depth of a kind before they go to the file.
const CHUNK_LEN: usize = 32 << 10;
/// Bytes of a record before its stream.
const HEAD_LEN: usize = 20;
/// In place of a stream's length: the stream is in parts, which are read when it is sent.
const IN_PARTS: u32 = u32::MAX;
/// In place of a base's position: the object is whole.
const WHOLE: u32 = u32::MAX;
/// Depths of one kind, from 0.
const DEPTH_COUNT: usize = DEPTH_MAX as usize + 1;
/// Kinds in the order in which they go out.
const KINDS: [ObjectKind; 4] =
    [ObjectKind::Commit, ObjectKind::Tag, ObjectKind::Tree, ObjectKind::Blob];

/// An object that waits.
pub(super) struct Waiting<'a> {
    /// Position among the ids that are sent.
    pub(super) index: u32,
    /// Position of a delta's base.
    pub(super) base: Option<u32>,
    /// Length of the inflated content or instructions, in bytes.
    pub(super) len: u64,
    /// The deflate stream; `None` when it is in parts.
    pub(super) stream: Option<&'a [u8]>,
}

#[derive(Default)]
struct Depth {
    records: Vec<u8>,
    /// Offset and length of what went to the file.
    chunks: Vec<(u64, usize)>,
}

/// Objects by kind and depth.
pub(super) struct WaitingRoom<'a> {
    tmp: &'a Path,
    /// [`DEPTH_COUNT`] for each kind.
    depths: Vec<Depth>,
    file: Option<File>,
    file_len: u64,
}

impl<'a> WaitingRoom<'a> {
    pub(super) fn new(tmp: &'a Path) -> Self {
        let depths = (0..KINDS.len() * DEPTH_COUNT).map(|_| Depth::default()).collect();
        Self { tmp, depths, file: None, file_len: 0 }
    }

    /// Keeps an object of this kind and depth.
    pub(super) fn put(&mut self, kind: ObjectKind, depth: u8, object: &Waiting<'_>) -> Result<()> {
        let rank = match kind {
            ObjectKind::Commit => 0,
            ObjectKind::Tag => 1,
            ObjectKind::Tree => 2,
            ObjectKind::Blob => 3,
        };
        let slot = rank * DEPTH_COUNT + usize::from(depth);
        let records = &mut self.depths[slot].records;
        let stream_len = match object.stream {
            Some(stream) => u32::try_from(stream.len()).expect("longer streams are in parts"),
            None => IN_PARTS,
        };
        records.extend_from_slice(&object.index.to_le_bytes());
        records.extend_from_slice(&object.base.unwrap_or(WHOLE).to_le_bytes());
        records.extend_from_slice(&object.len.to_le_bytes());
        records.extend_from_slice(&stream_len.to_le_bytes());
        records.extend_from_slice(object.stream.unwrap_or_default());
        if records.len() >= CHUNK_LEN { self.spill(slot) } else { Ok(()) }
    }

    fn spill(&mut self, slot: usize) -> Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(self.tmp).map_err(io_error)?,
        };
        let depth = &mut self.depths[slot];
        file.write_all_at(&depth.records, self.file_len).map_err(io_error)?;
        depth.chunks.push((self.file_len, depth.records.len()));
        self.file_len += depth.records.len() as u64;
        depth.records.clear();
        self.file = Some(file);
        Ok(())
    }

    /// Hands out all objects, by kind and ascending depth.
    pub(super) fn drain(
        self,
        mut send: impl FnMut(ObjectKind, &Waiting<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut chunk = Vec::new();
        for (slot, depth) in self.depths.into_iter().enumerate() {
            let kind = KINDS[slot / DEPTH_COUNT];
            let mut send = |object: &Waiting<'_>| send(kind, object);
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
        let object_len = u64::from(word(2)) | u64::from(word(3)) << 32;
        let base = (word(1) != WHOLE).then(|| word(1));
        let stream_len = word(4);
        let len = if stream_len == IN_PARTS { 0 } else { stream_len as usize };
        let (stream, rest) = rest.split_at(len);
        let stream = (stream_len != IN_PARTS).then_some(stream);
        send(&Waiting { index: word(0), base, len: object_len, stream })?;
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
    fn objects_come_out_by_kind_and_depth_whole_and_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut room = WaitingRoom::new(dir.path());
        let stream = vec![7u8; 1000];
        let kinds = [ObjectKind::Blob, ObjectKind::Commit, ObjectKind::Tree];
        let place = |index: u32| ([3, 0, 2][index as usize % 3], index * 7 % 251);
        let base = |index: u32| (!index.is_multiple_of(5)).then_some(index / 2);
        for index in 0..6_000u32 {
            let len = (index % 1000) as usize;
            let stream = (index % 13 != 0).then(|| &stream[..len]);
            let waiting = Waiting { index, base: base(index), len: u64::from(index) << 24, stream };
            let depth = place(index).1 as u8;
            room.put(kinds[index as usize % 3], depth, &waiting).expect("kept");
        }
        let long = vec![9u8; 1 << 20];
        let waiting = Waiting { index: 7_000, base: Some(0), len: 1, stream: Some(&long) };
        room.put(ObjectKind::Tag, 0, &waiting).expect("kept");
        assert!(room.file.is_some());
        let mut seen = Vec::new();
        room.drain(|kind, object| {
            let index = object.index;
            if kind == ObjectKind::Tag {
                assert_eq!(index, 7_000);
                assert_eq!(object.stream, Some(&long[..]));
                seen.push(((1, 0), index));
                return Ok(());
            }
            assert_eq!(kind, kinds[index as usize % 3]);
            assert_eq!((object.base, object.len), (base(index), u64::from(index) << 24));
            let len = (index % 13 != 0).then_some(index as usize % 1000);
            assert_eq!(object.stream.map(<[u8]>::len), len);
            seen.push((place(index), index));
            Ok(())
        })
        .expect("read");
        assert_eq!(seen.len(), 6_001);
        assert!(seen.is_sorted(), "by kind and depth, and within them as they came");
        assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
    }
}
