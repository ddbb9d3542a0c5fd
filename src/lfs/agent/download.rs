//! A file comes down: the server names its chunks, those that lie here are taken from there, the
//! others are fetched, and the whole is hashed before git-lfs gets it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mega_storage::{ChunkId, ChunkRef, FileId, Pointer};
use sha2::{Digest, Sha256};

use super::parallel::in_parallel;
use super::run::Meter;
use super::{Agent, BASES_READ_MAX, FETCH_LEN, Target, WHOLE_LEN_MAX, io_error};
use crate::lfs::wire::{CHUNK_LEN_MAX, RANGES_MAX, Range};
use crate::lfs::{LfsError, LocalObjects, TRIES_MAX};

/// Fetches the file and returns where it lies now, for git-lfs to move.
pub(super) fn download(
    agent: &Agent<'_>,
    target: &Target,
    pointer: &Pointer,
    meter: &Meter<'_>,
) -> Result<PathBuf, LfsError> {
    let part = Part::open(agent, pointer)?;
    if pointer.len <= WHOLE_LEN_MAX {
        if pointer.len > 0 {
            let mut content = Vec::new();
            let range = Range { offset: 0, len: pointer.len };
            agent.remote.fetch(target, &[range], &mut |input| {
                content.clear();
                input.take(pointer.len).read_to_end(&mut content).map(|_| ())
            })?;
            part.write(&content, 0)?;
        }
        return part.hand_over(pointer);
    }
    let chunks = agent.remote.chunks(target)?;
    let total: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
    if total != pointer.len {
        let reason = format!("its chunks have {total} bytes, not {}", pointer.len);
        return Err(LfsError::Answer { host: "the server".to_owned(), reason });
    }
    let work = Work { agent, target, pointer, part: &part, meter };
    let left = work.keep_what_came(&chunks)?;
    let left = work.take_from_bases(left)?;
    work.fetch(&left)?;
    let path = part.hand_over(pointer)?;
    agent.remember_chunks(pointer, &chunks);
    Ok(path)
}

/// A chunk and where it belongs.
type Piece = (ChunkRef, u64);

struct Work<'a, 'm> {
    agent: &'a Agent<'a>,
    target: &'a Target,
    pointer: &'a Pointer,
    part: &'a Part,
    meter: &'a Meter<'m>,
}

impl Work<'_, '_> {
    /// Hashes what an earlier run left; returns the chunks that are not there.
    fn keep_what_came(&self, chunks: &[ChunkRef]) -> Result<Vec<Piece>, LfsError> {
        let mut left = Vec::new();
        let mut offset = 0;
        let mut buffer = Vec::new();
        for chunk in chunks {
            if self.part.came_len > offset
                && self.part.read(chunk, offset, &mut buffer)
                && is_chunk(chunk, &buffer)
            {
                self.meter.advance(u64::from(chunk.len));
            } else {
                left.push((*chunk, offset));
            }
            offset += u64::from(chunk.len);
        }
        Ok(left)
    }

    /// Copies chunks from files that lie here; returns those that none has.
    fn take_from_bases(&self, mut left: Vec<Piece>) -> Result<Vec<Piece>, LfsError> {
        if left.is_empty() {
            return Ok(left);
        }
        let mut read_count = 0;
        let mut buffer = Vec::new();
        for base in self.agent.bases_down(self.pointer) {
            let chunks = match self.agent.known_chunks(&base) {
                Some(chunks) => chunks,
                None if read_count == BASES_READ_MAX => continue,
                None => {
                    read_count += 1;
                    let Some(chunks) = self.agent.local_chunks(&base) else { continue };
                    chunks
                }
            };
            let places = places(&chunks);
            let path = LocalObjects::path_in(&self.agent.lfs_dir, &base.file);
            let Ok(file) = File::open(path) else { continue };
            let mut rest = Vec::new();
            for (chunk, offset) in left {
                buffer.resize(chunk.len as usize, 0);
                let found = places.get(&chunk.id).is_some_and(|place| {
                    file.read_exact_at(&mut buffer, *place).is_ok() && is_chunk(&chunk, &buffer)
                });
                if found {
                    self.part.write(&buffer, offset)?;
                    self.meter.advance(u64::from(chunk.len));
                } else {
                    rest.push((chunk, offset));
                }
            }
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        Ok(left)
    }

    /// Fetches chunks, several requests at once.
    fn fetch(&self, left: &[Piece]) -> Result<(), LfsError> {
        in_parallel(&batches(left), &|batch| self.fetch_batch(batch))
    }

    /// Fetches a part of them. What came before a connection broke is kept.
    fn fetch_batch(&self, batch: &[Piece]) -> Result<(), LfsError> {
        let mut left = batch;
        let mut tries = 0;
        while !left.is_empty() {
            if self.meter.is_gone() {
                return Err(LfsError::Interrupted);
            }
            let mut written = Ok(());
            let before = left.len();
            let fetched = self.agent.remote.fetch(self.target, &ranges(left), &mut |input| {
                self.take(&mut left, input, &mut written)
            });
            written?;
            tries = if left.len() < before { 0 } else { tries + 1 };
            match fetched {
                Err(LfsError::Network { .. }) if tries < TRIES_MAX => {}
                fetched => fetched?,
            }
        }
        Ok(())
    }

    /// Reads the chunks of `left` from `input` and takes each that came off it.
    fn take(
        &self,
        left: &mut &[Piece],
        input: &mut dyn Read,
        written: &mut Result<(), LfsError>,
    ) -> io::Result<()> {
        let mut plain = Vec::new();
        while let Some(((chunk, offset), rest)) = left.split_first() {
            plain.resize(chunk.len as usize, 0);
            input.read_exact(&mut plain)?;
            if !is_chunk(chunk, &plain) {
                let reason = format!("chunk {} came with other bytes", chunk.id);
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            *written = self.part.write(&plain, *offset);
            if written.is_err() {
                return Ok(());
            }
            self.meter.advance(u64::from(chunk.len));
            *left = rest;
        }
        Ok(())
    }
}

/// Where each chunk of a file is.
fn places(chunks: &[ChunkRef]) -> HashMap<ChunkId, u64> {
    let mut places = HashMap::with_capacity(chunks.len());
    let mut offset = 0;
    for chunk in chunks {
        places.entry(chunk.id).or_insert(offset);
        offset += u64::from(chunk.len);
    }
    places
}

fn is_chunk(chunk: &ChunkRef, plain: &[u8]) -> bool {
    plain.len() as u64 == u64::from(chunk.len)
        && ChunkId::from_bytes(Sha256::digest(plain).into()) == chunk.id
}

/// Splits the pieces so that each part is one request.
fn batches(pieces: &[Piece]) -> Vec<&[Piece]> {
    let mut parts = Vec::new();
    let (mut start, mut len, mut runs, mut end) = (0, 0, 0, None);
    for (index, (chunk, offset)) in pieces.iter().enumerate() {
        let chunk_len = u64::from(chunk.len);
        let starts_run = usize::from(end != Some(*offset));
        if index > start && (len + chunk_len > FETCH_LEN || runs + starts_run > RANGES_MAX) {
            parts.push(&pieces[start..index]);
            (start, len, runs) = (index, 0, 0);
        }
        runs += if len == 0 { 1 } else { starts_run };
        len += chunk_len;
        end = Some(offset + chunk_len);
    }
    if start < pieces.len() {
        parts.push(&pieces[start..]);
    }
    parts
}

/// The parts of the file that the pieces cover; pieces that follow each other are one part.
fn ranges(pieces: &[Piece]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (chunk, offset) in pieces {
        let len = u64::from(chunk.len);
        match ranges.last_mut() {
            Some(last) if last.offset + last.len == *offset => last.len += len,
            _ => ranges.push(Range { offset: *offset, len }),
        }
    }
    ranges
}

/// The file on its way down. One process has it at a time; another works on a file of its own.
struct Part {
    file: File,
    path: PathBuf,
    /// What an earlier run left, in bytes.
    came_len: u64,
}

impl Part {
    fn open(agent: &Agent<'_>, pointer: &Pointer) -> Result<Self, LfsError> {
        let path = agent.own_path("part", &pointer.file);
        let error = |e| io_error("writing", &path, e);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(error)?;
        }
        let open = |path: &Path| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
        };
        let file = open(&path).map_err(error)?;
        if file.try_lock().is_ok() {
            let came_len = file.metadata().map_err(error)?.len();
            file.set_len(pointer.len.max(came_len).min(pointer.len)).map_err(error)?;
            return Ok(Self { file, path, came_len });
        }
        let path = path.with_extension(std::process::id().to_string());
        let file = open(&path).map_err(|e| io_error("writing", &path, e))?;
        file.set_len(0).map_err(|e| io_error("writing", &path, e))?;
        Ok(Self { file, path, came_len: 0 })
    }

    /// Reads what may be the chunk.
    fn read(&self, chunk: &ChunkRef, offset: u64, buffer: &mut Vec<u8>) -> bool {
        buffer.resize(chunk.len.min(CHUNK_LEN_MAX) as usize, 0);
        self.file.read_exact_at(buffer, offset).is_ok()
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), LfsError> {
        self.file.write_all_at(bytes, offset).map_err(|e| io_error("writing", &self.path, e))
    }

    /// Hashes the whole and lets git-lfs have it. What is wrong is thrown away: another try starts
    /// anew.
    fn hand_over(mut self, pointer: &Pointer) -> Result<PathBuf, LfsError> {
        let actual = self.hash().map_err(|e| io_error("reading", &self.path, e))?;
        if actual != pointer.file {
            let _ = fs::remove_file(&self.path);
            let reason = format!("its bytes have the SHA-256 {actual}, not {}", pointer.file);
            return Err(LfsError::Answer { host: "the server".to_owned(), reason });
        }
        Ok(self.path)
    }

    fn hash(&mut self) -> io::Result<FileId> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(FileId::from_bytes(hasher.finalize().into())),
                count => hasher.update(&buffer[..count]),
            }
        }
    }
}
