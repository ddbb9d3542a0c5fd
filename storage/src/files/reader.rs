//! Reads a file from an offset to its end, decoding ahead on several threads.
//!
//! Thread `n` of `count` decodes chunks `n`, `n + count`, ... into a queue of its own; the reader
//! takes from the queues in turn, which gives the file's order without any reordering. Memory:
//! [`AHEAD`] chunks and the one in work per thread. A short part is decoded in place.

use std::io::{self, Read};
use std::thread::{self, JoinHandle};

use bytes::{Buf, Bytes};
use crossbeam_channel::{Receiver, bounded};

use super::FileStore;
use super::spans::FileSpans;
use crate::error::{Result, StoreError};
use crate::id::FileId;

/// Decoded chunks that wait in each thread's queue.
const AHEAD: usize = 4;

/// Parts up to this length are decoded in place: starting threads costs more.
const IN_PLACE_LEN_MAX: u64 = 256 << 10;

/// More threads than this outrun any one reader.
const THREADS_MAX: usize = 8;

/// A part of a file. Every byte has been verified. After an error it stays at its end.
pub struct FileReader {
    source: Source,
    /// Bytes of the first chunk that come before the part.
    skip: u64,
    /// Bytes still to be given out, those at hand included.
    left: u64,
    /// What is left of the chunk at hand.
    at_hand: Bytes,
}

enum Source {
    InPlace { files: FileStore, id: FileId, spans: FileSpans },
    Ahead { queues: Vec<Receiver<Result<Bytes>>>, turn: usize, threads: Vec<JoinHandle<()>> },
}

impl FileStore {
    /// Reads the whole file in order.
    ///
    /// # Errors
    /// [`StoreError::MissingFile`]; reading gives the others, wrapped in [`io::Error`].
    pub fn reader(&self, id: &FileId) -> Result<FileReader> {
        self.reader_range(id, 0, u64::MAX)
    }

    /// Reads `offset..offset + len`, clipped to the file's end, in order.
    ///
    /// # Errors
    /// As [`Self::reader`].
    pub fn reader_range(&self, id: &FileId, offset: u64, len: u64) -> Result<FileReader> {
        let spans = self.spans(id, offset, len)?;
        let (start, end) = spans.bounds();
        let left = end - start;
        let skip = match self.spans(id, offset, left.min(1))?.next() {
            Some(first) => start - first?.offset,
            None => 0,
        };
        let source = if left <= IN_PLACE_LEN_MAX {
            Source::InPlace { files: self.clone(), id: *id, spans }
        } else {
            self.read_ahead(id, start, left)?
        };
        Ok(FileReader { source, skip, left, at_hand: Bytes::new() })
    }

    fn read_ahead(&self, id: &FileId, offset: u64, len: u64) -> Result<Source> {
        let count = thread::available_parallelism().map_or(2, |n| n.get()).clamp(1, THREADS_MAX);
        let mut queues = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let (sender, queue) = bounded(AHEAD);
            let spans = self.spans(id, offset, len)?.skip(number).step_by(count);
            let (files, id) = (self.clone(), *id);
            let decode = move || {
                for span in spans {
                    let plain = span.and_then(|span| files.chunk(&id, &span.chunk));
                    let failed = plain.is_err();
                    if sender.send(plain).is_err() || failed {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new().name("file-ahead".into()).spawn(decode);
            threads.push(thread.map_err(|e| StoreError::io("starting a thread", e))?);
            queues.push(queue);
        }
        Ok(Source::Ahead { queues, turn: 0, threads })
    }
}

impl FileReader {
    /// Bytes still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next decoded chunk, cut to the part that was asked for; empty at the end.
    ///
    /// # Errors
    /// [`StoreError::MissingChunk`], [`StoreError::DamagedChunk`] or the database's.
    pub fn next_bytes(&mut self) -> Result<Bytes> {
        if self.at_hand.is_empty() && self.left > 0 {
            self.at_hand = self.decode_next().inspect_err(|_| self.left = 0)?;
        }
        let plain = std::mem::take(&mut self.at_hand);
        self.left -= plain.len() as u64;
        Ok(plain)
    }

    fn decode_next(&mut self) -> Result<Bytes> {
        let ended = || StoreError::io("decoding ahead", io::ErrorKind::UnexpectedEof.into());
        let mut plain = match &mut self.source {
            Source::InPlace { files, id, spans } => {
                let span = spans.next().ok_or_else(ended)??;
                files.chunk(id, &span.chunk)?
            }
            Source::Ahead { queues, turn, .. } => {
                let queue = &queues[*turn];
                *turn = (*turn + 1) % queues.len();
                queue.recv().map_err(|_| ended())??
            }
        };
        plain.advance(usize::try_from(self.skip).expect("less than a chunk"));
        self.skip = 0;
        plain.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(plain)
    }
}

impl Read for FileReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at_hand.is_empty() && self.left > 0 {
            self.at_hand =
                self.decode_next().inspect_err(|_| self.left = 0).map_err(io::Error::other)?;
        }
        let count = out.len().min(self.at_hand.len());
        self.at_hand.copy_to_slice(&mut out[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Ahead { queues, threads, .. } = self {
            // Threads see that nobody listens at their next chunk.
            queues.clear();
            for thread in threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}
