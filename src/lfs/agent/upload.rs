//! A file goes up: its chunks are named, the server says which it needs, those are sent, and the
//! server puts the file together.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use mega_storage::{ChunkRef, Pointer};

use super::index::cut_file;
use super::parallel::in_parallel;
use super::run::Meter;
use super::{Agent, ROUNDS_MAX, SEND_LEN, Target, WHOLE_LEN_MAX, io_error};
use crate::lfs::LfsError;
use crate::lfs::wire::{self, Claim};

/// A chunk that has to go, and where it is in the file.
type Piece = (ChunkRef, u64);

/// Sends the file at `path`. Chunks that came before, in a run that was cut off, are not sent
/// again.
pub(super) fn upload(
    agent: &Agent<'_>,
    target: &Target,
    pointer: &Pointer,
    path: &Path,
    meter: &Meter<'_>,
) -> Result<(), LfsError> {
    if pointer.len <= WHOLE_LEN_MAX {
        let content = fs::read(path).map_err(|e| io_error("reading", path, e))?;
        return agent.remote.put(target, content);
    }
    let file = File::open(path).map_err(|e| io_error("opening", path, e))?;
    let known = agent.known_chunks(pointer);
    let mut rounds = 0;
    loop {
        rounds += 1;
        // What was noted is trusted once: the file may be another by now.
        let chunks = match known.clone().filter(|_| rounds == 1) {
            Some(chunks) => chunks,
            None => cut_file(path, pointer.len)?,
        };
        let bases = agent.bases_up(pointer, &chunks).iter().map(ToString::to_string).collect();
        let claim = Claim { size: pointer.len, bases };
        let work = Work { agent, target, claim, chunks, file: &file, path, meter };
        let missing = work.missing()?;
        work.send(&missing)?;
        match agent.remote.finish(target, &work.claim, &work.chunks, &mut |_| ()) {
            // The server forgot what had come, or a base lost its right meanwhile.
            Err(LfsError::Status { status: 409, .. }) if rounds < ROUNDS_MAX => meter.restart(),
            Ok(()) => {
                agent.remember_chunks(pointer, &work.chunks);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

struct Work<'a, 'm> {
    agent: &'a Agent<'a>,
    target: &'a Target,
    claim: Claim,
    chunks: Vec<ChunkRef>,
    file: &'a File,
    path: &'a Path,
    meter: &'a Meter<'m>,
}

impl Work<'_, '_> {
    /// The chunks that the server needs, each once.
    fn missing(&self) -> Result<Vec<Piece>, LfsError> {
        let mut pieces = Vec::new();
        let mut seen = HashSet::new();
        let mut offset = 0;
        for window in self.chunks.chunks(wire::ENTRIES_MAX) {
            let missing = self.agent.remote.missing(self.target, &self.claim, window)?;
            let mut there = 0;
            for (chunk, is_missing) in window.iter().zip(missing) {
                if is_missing && seen.insert(chunk.id) {
                    pieces.push((*chunk, offset));
                } else {
                    there += u64::from(chunk.len);
                }
                offset += u64::from(chunk.len);
            }
            self.meter.advance(there);
        }
        Ok(pieces)
    }

    fn send(&self, pieces: &[Piece]) -> Result<(), LfsError> {
        in_parallel(&batches(pieces), &|batch| self.send_batch(batch))
    }

    fn send_batch(&self, batch: &[Piece]) -> Result<(), LfsError> {
        if self.meter.is_gone() {
            return Err(LfsError::Interrupted);
        }
        let error = |e| io_error("reading", self.path, e);
        let mut frames = Vec::new();
        for (chunk, offset) in batch {
            frames.extend_from_slice(&chunk.len.to_be_bytes());
            let start = frames.len();
            frames.resize(start + chunk.len as usize, 0);
            self.file.read_exact_at(&mut frames[start..], *offset).map_err(error)?;
        }
        let claim = Claim { size: self.claim.size, bases: Vec::new() };
        self.agent.remote.send(self.target, &claim, frames)?;
        self.meter.advance(batch.iter().map(|(chunk, _)| u64::from(chunk.len)).sum());
        Ok(())
    }
}

/// Splits the pieces so that each part has about [`SEND_LEN`] bytes.
fn batches(pieces: &[Piece]) -> Vec<&[Piece]> {
    let mut parts = Vec::new();
    let (mut start, mut len) = (0, 0);
    for (index, (chunk, _)) in pieces.iter().enumerate() {
        let chunk_len = chunk.len as usize;
        if len + chunk_len > SEND_LEN && index > start {
            parts.push(&pieces[start..index]);
            (start, len) = (index, 0);
        }
        len += chunk_len;
    }
    if start < pieces.len() {
        parts.push(&pieces[start..]);
    }
    parts
}
