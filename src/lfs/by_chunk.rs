//! Downloads by chunk, from a server that knows our transfer ([`super::wire`]): what is stored here
//! is not asked for.
//!
//! The file is a stream that whoever takes it in hashes as a whole: nothing that the server says of
//! it is believed before. The list of chunks waits in a nameless file, so that memory does not grow
//! with the file. A connection that breaks costs what was under way of one chunk. The server learns
//! which chunks of its own file are here already.

#![deny(clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use mega_storage::{ChunkId, ChunkRef, FileStore, Pointer, StoreError};
use reqwest::blocking::Response;
use reqwest::header::CONTENT_TYPE;

use super::client::{Place, backoff};
use super::wire::{self, Listing, Range, Wanted};
use super::{Client, Download, LfsError, TRIES_MAX};

/// Files up to this length are asked for without their list.
pub const LISTED_LEN_MIN: u64 = 1 << 20;
/// Chunks that are looked up at once: each may be a range of one request.
const WINDOW_COUNT: usize = wire::RANGES_MAX;
/// Bytes of one request.
const FETCH_LEN: u64 = 8 << 20;
/// Mean length of chunks, in bytes, below which a list is not believed.
const MEAN_LEN_MIN: u64 = 1 << 10;

/// A file that comes chunk by chunk.
pub struct ByChunk<'a> {
    client: &'a Client<'a>,
    place: Place,
    files: &'a FileStore,
    file: Pointer,
    /// Entries of chunks that are not in the window yet.
    list: Option<BufReader<File>>,
    /// Where the next entry's chunk begins.
    next: u64,
    window: VecDeque<Piece>,
    /// Brings the window's next missing chunks, so many.
    answer: Option<(Response, usize)>,
    at_hand: Bytes,
    failure: Option<LfsError>,
}

#[derive(Clone, Copy)]
struct Piece {
    chunk: ChunkRef,
    offset: u64,
    is_here: bool,
}

impl<'a> Client<'a> {
    /// Opens a download that the server offers by chunk. `tmp` is where the list waits.
    ///
    /// # Errors
    /// When the server cannot be asked for the list, or it is none of the file.
    pub fn open_by_chunk(
        &'a self,
        download: &Download,
        files: &'a FileStore,
        tmp: &Path,
    ) -> Result<ByChunk<'a>, LfsError> {
        let mut opened = ByChunk {
            client: self,
            place: self.place(download)?,
            files,
            file: download.pointer,
            list: None,
            next: 0,
            window: VecDeque::new(),
            answer: None,
            at_hand: Bytes::new(),
            failure: None,
        };
        match u32::try_from(opened.file.len) {
            Ok(0) => {}
            // A file of one chunk has that chunk's id.
            Ok(len) if opened.file.len <= LISTED_LEN_MIN => {
                let id = ChunkId::from_bytes(*opened.file.file.as_bytes());
                opened.look_up(&[ChunkRef { id, len }])?;
            }
            Ok(_) | Err(_) => opened.list = Some(BufReader::new(opened.fetch_list(tmp)?)),
        }
        Ok(opened)
    }
}

impl ByChunk<'_> {
    /// Why reading failed, where that was the server's doing.
    pub fn into_failure(self) -> Option<LfsError> {
        self.failure
    }

    fn url(&self, route: &str) -> String {
        format!("{}/{route}", self.place.href.as_str().trim_end_matches('/'))
    }

    fn wrong(&self, reason: &str) -> LfsError {
        LfsError::Answer { host: self.client.host().to_owned(), reason: reason.to_owned() }
    }

    /// Brings the list of chunks into a nameless file.
    fn fetch_list(&self, tmp: &Path) -> Result<File, LfsError> {
        let spooling = |source| LfsError::Io {
            action: "writing a temporary file of the store".to_owned(),
            source,
        };
        let mut file = tempfile::tempfile_in(tmp).map_err(spooling)?;
        let url = self.url("chunks");
        let mut tries = 0;
        loop {
            tries += 1;
            let request = || self.place.http.get(&url).headers(self.place.headers.clone());
            let response = self.client.send(&request, self.place.is_ours)?;
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(spooling)?;
            match self.copy_list(response, &mut file) {
                Ok(()) => break,
                Err(LfsError::Network { .. }) if tries < TRIES_MAX => {
                    self.client.pause(backoff(tries))?;
                }
                Err(error) => return Err(error),
            }
        }
        file.seek(SeekFrom::Start(0)).map_err(spooling)?;
        Ok(file)
    }

    fn copy_list(&self, response: Response, file: &mut File) -> Result<(), LfsError> {
        let broken = |e: io::Error| match e.kind() {
            io::ErrorKind::InvalidData => self.wrong(&e.to_string()),
            _ => self.client.network(&e.to_string()),
        };
        let mut input = BufReader::new(response);
        let Listing { size, count } = wire::read_head(&mut input).map_err(broken)?;
        if size != self.file.len || count > size / MEAN_LEN_MIN + 1 {
            return Err(self.wrong("the list of chunks is not the file's"));
        }
        let mut out = BufWriter::new(file);
        let mut len = 0u64;
        for _ in 0..count {
            let chunk = wire::read_entry(&mut input).map_err(broken)?;
            let chunk = chunk.ok_or_else(|| self.client.network("the answer broke off"))?;
            len += u64::from(chunk.len);
            let written = out.write_all(&wire::entry(&chunk));
            written.map_err(|source| LfsError::Io { action: "writing".to_owned(), source })?;
        }
        if len != size {
            return Err(self.wrong("its chunks do not add up to the file"));
        }
        out.flush().map_err(|source| LfsError::Io { action: "writing".to_owned(), source })
    }

    /// Adds chunks to the window.
    fn look_up(&mut self, chunks: &[ChunkRef]) -> Result<(), LfsError> {
        let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
        let here = self.files.stored_chunks(&ids).map_err(|error| LfsError::Io {
            action: "looking for chunks".to_owned(),
            source: io::Error::other(error.to_string()),
        })?;
        for (chunk, is_here) in chunks.iter().zip(here) {
            self.window.push_back(Piece { chunk: *chunk, offset: self.next, is_here });
            self.next += u64::from(chunk.len);
        }
        Ok(())
    }

    /// The next chunk's bytes; empty at the end.
    fn next_chunk(&mut self) -> Result<Bytes, LfsError> {
        if self.window.is_empty() {
            self.fill_window()?;
        }
        let Some(piece) = self.window.pop_front() else { return Ok(Bytes::new()) };
        if piece.is_here {
            if let Some(plain) = self.read_here(&piece.chunk)? {
                return Ok(plain);
            }
            // It has been damaged, or has gone since: alone, or the others' place would be lost.
            let answer = self.answer.take();
            let plain = self.bring(piece, 1);
            self.answer = answer;
            return plain;
        }
        self.bring(piece, usize::MAX)
    }

    fn fill_window(&mut self) -> Result<(), LfsError> {
        let Some(list) = &mut self.list else { return Ok(()) };
        let mut chunks = Vec::with_capacity(WINDOW_COUNT);
        while chunks.len() < WINDOW_COUNT {
            let entry = wire::read_entry(list).map_err(|source| LfsError::Io {
                action: "reading a temporary file of the store".to_owned(),
                source,
            })?;
            let Some(chunk) = entry else { break };
            chunks.push(chunk);
        }
        self.look_up(&chunks)
    }

    /// A chunk that is stored; `None` when it is not, or not good any more.
    fn read_here(&self, chunk: &ChunkRef) -> Result<Option<Bytes>, LfsError> {
        match self.files.plain_chunk(&chunk.id) {
            Ok(plain) => Ok(plain.filter(|plain| plain.len() as u64 == u64::from(chunk.len))),
            Err(StoreError::DamagedChunk { .. }) => Ok(None),
            Err(error) => Err(LfsError::Io {
                action: "reading a chunk".to_owned(),
                source: io::Error::other(error.to_string()),
            }),
        }
    }

    /// A chunk from the server, with up to `count` of those that come after it under way.
    fn bring(&mut self, piece: Piece, count: usize) -> Result<Bytes, LfsError> {
        let mut tries = 0;
        loop {
            let (mut response, left) = match self.answer.take() {
                Some(answer) => answer,
                None => self.ask(piece, count)?,
            };
            let mut plain = vec![0; piece.chunk.len as usize];
            match response.read_exact(&mut plain) {
                Ok(()) => {
                    self.answer =
                        left.checked_sub(1).filter(|left| *left > 0).map(|n| (response, n));
                    return Ok(plain.into());
                }
                Err(error) => {
                    tries += 1;
                    if tries >= TRIES_MAX {
                        return Err(self.client.network(&error.to_string()));
                    }
                    self.client.pause(backoff(tries))?;
                }
            }
        }
    }

    /// Asks for a chunk and the missing ones after it; the answer, and how many chunks it has.
    fn ask(&self, first: Piece, count_max: usize) -> Result<(Response, usize), LfsError> {
        let mut ranges: Vec<Range> = Vec::new();
        let (mut len, mut count) = (0, 0);
        let missing = self.window.iter().filter(|piece| !piece.is_here);
        for piece in std::iter::once(&first).chain(missing).take(count_max) {
            let chunk_len = u64::from(piece.chunk.len);
            if count > 0 && len + chunk_len > FETCH_LEN {
                break;
            }
            (len, count) = (len + chunk_len, count + 1);
            match ranges.last_mut() {
                Some(last) if last.offset + last.len == piece.offset => last.len += chunk_len,
                _ => ranges.push(Range { offset: piece.offset, len: chunk_len }),
            }
        }
        let body =
            serde_json::to_vec(&Wanted { ranges }).map_err(|e| self.wrong(&e.to_string()))?;
        let (url, body) = (self.url("fetch"), Bytes::from(body));
        let request = || {
            let request = self.place.http.post(&url).headers(self.place.headers.clone());
            request.header(CONTENT_TYPE, "application/octet-stream").body(body.clone())
        };
        Ok((self.client.send(&request, self.place.is_ours)?, count))
    }
}

impl Read for ByChunk<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at_hand.is_empty() {
            self.at_hand = self.next_chunk().map_err(|error| {
                let told = io::Error::other(error.to_string());
                self.failure = Some(error);
                told
            })?;
        }
        let count = out.len().min(self.at_hand.len());
        let (to, _) = out.split_at_mut(count);
        to.copy_from_slice(&self.at_hand.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
#[path = "by_chunk_tests.rs"]
mod tests;
