//! The chunks of files that went through the agent, and of files that lie here.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use mega_storage::{ChunkCutter, ChunkRef, Pointer};

use super::{Agent, io_error};
use crate::lfs::{LfsError, LocalObjects, wire};

/// Longest list that is read back, in bytes: 1 TB of file and more.
const LIST_LEN_MAX: u64 = 1 << 30;

/// Cuts a file and checks its length.
pub(super) fn cut_file(path: &Path, len: u64) -> Result<Vec<ChunkRef>, LfsError> {
    let error = |e| io_error("reading", path, e);
    let file = File::open(path).map_err(error)?;
    let mut chunks = Vec::new();
    let mut read = 0;
    for chunk in ChunkCutter::new(file) {
        let (chunk, _) = chunk.map_err(error)?;
        read += u64::from(chunk.len);
        chunks.push(chunk);
    }
    if read != len {
        let source = std::io::Error::other(format!("it has {read} bytes, not {len}"));
        return Err(error(source));
    }
    Ok(chunks)
}

impl Agent<'_> {
    /// The chunks that are known of a file, without reading it.
    pub(super) fn known_chunks(&self, pointer: &Pointer) -> Option<Vec<ChunkRef>> {
        let file = File::open(self.own_path("chunks", &pointer.file)).ok()?;
        let mut input = BufReader::new(file.take(LIST_LEN_MAX));
        let mut chunks = Vec::new();
        let mut len = 0;
        while let Some(chunk) = wire::read_entry(&mut input).ok()? {
            len += u64::from(chunk.len);
            chunks.push(chunk);
        }
        (len == pointer.len).then_some(chunks)
    }

    /// Remembers the chunks of a file. Only a help for later: what fails is let be.
    pub(super) fn remember_chunks(&self, pointer: &Pointer, chunks: &[ChunkRef]) {
        let path = self.own_path("chunks", &pointer.file);
        let Some(dir) = path.parent() else { return };
        let bytes: Vec<u8> = chunks.iter().flat_map(wire::entry).collect();
        let written = fs::create_dir_all(dir).and_then(|()| {
            let draft = dir.join(format!(".{}.{}", pointer.file, std::process::id()));
            fs::write(&draft, bytes)?;
            fs::rename(&draft, &path)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "the chunks of a file were not remembered");
        }
    }

    /// The chunks of a file that lies here, reading it when they are not known; `None` when it
    /// cannot be read.
    pub(super) fn local_chunks(&self, pointer: &Pointer) -> Option<Vec<ChunkRef>> {
        if let Some(chunks) = self.known_chunks(pointer) {
            return Some(chunks);
        }
        let path = LocalObjects::path_in(&self.lfs_dir, &pointer.file);
        let chunks = cut_file(&path, pointer.len).ok()?;
        self.remember_chunks(pointer, &chunks);
        Some(chunks)
    }
}
