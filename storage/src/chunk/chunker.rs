//! Cuts a stream into chunks where its content says so (FastCDC, 2020 version), reading it once.
//!
//! Promises: the cuts depend on the bytes alone, not on how reads happen to return them; they are
//! those of `fastcdc::v2020::FastCDC::new(whole, MIN, AVG, MAX)`. Memory is one buffer of
//! [`RUN_LEN`] per run in use; buffers come from a [`BufferPool`] and return to it, because fresh
//! pages cost as much as hashing them.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use fastcdc::v2020::{Normalization, cut, select_masks};
use parking_lot::Mutex;

/// Names the chunker and its sizes in a file's head, so that another can follow.
pub(crate) const CHUNKER_ID: u8 = 1;

/// No chunk but a file's last is shorter: bounds the rows of a file (65,536 per GiB at the worst).
pub(crate) const CHUNK_LEN_MIN: u32 = 16 << 10;

/// What the cuts aim at. Measured on a fine-tune with 10 % of its tensors changed: 64 KiB stores
/// 2.7 % more than what changed, 256 KiB 14 %, 1 MiB 40 %; smaller chunks gain nothing there and
/// multiply the rows.
pub(crate) const CHUNK_LEN_AVG: u32 = 64 << 10;

/// No chunk is longer: bounds what a reader must hold, and what a peer may send, for one byte.
pub const CHUNK_LEN_MAX: u32 = 256 << 10;

/// Bytes read at a time: a run of several whole chunks. Fits the second-level cache of current
/// processors together with the codec's buffers, so that cutting, hashing and encoding find the
/// bytes there.
pub(crate) const RUN_LEN: usize = 1 << 20;

/// Buffers kept for the next file. Those in use are bounded by the queues of whoever uses them.
const POOL_LEN: usize = 4;

/// Buffers of [`RUN_LEN`] bytes, used again.
#[derive(Default)]
pub(crate) struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
}

struct Buffer {
    data: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl BufferPool {
    fn take(self: &Arc<Self>) -> Buffer {
        let data = self.free.lock().pop().unwrap_or_else(|| vec![0; RUN_LEN]);
        Buffer { data, pool: self.clone() }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock();
        if free.len() < POOL_LEN {
            free.push(std::mem::take(&mut self.data));
        }
    }
}

/// Whole chunks that follow each other.
pub(crate) struct Run {
    /// Their bytes.
    pub(crate) bytes: Bytes,
    /// Where each ends in `bytes`, ascending; the last is the length of `bytes`.
    pub(crate) ends: Vec<usize>,
}

impl Run {
    /// The chunks in order. They share the run's buffer.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let chunk = &self.bytes[start..end];
            start = end;
            chunk
        })
    }
}

/// Reads a stream and yields runs of chunks.
pub(crate) struct Chunker<R> {
    input: R,
    pool: Arc<BufferPool>,
    /// The next buffer, with what followed the last cut at its start.
    next: Option<(Buffer, usize)>,
    read_len: u64,
    ended: bool,
    masks: (u64, u64),
}

impl<R: Read> Chunker<R> {
    /// Starts at the stream's current position.
    pub(crate) fn new(input: R, pool: &Arc<BufferPool>) -> Self {
        Self {
            input,
            pool: pool.clone(),
            next: None,
            read_len: 0,
            ended: false,
            masks: select_masks(CHUNK_LEN_AVG as usize, Normalization::Level1),
        }
    }

    /// Bytes read from the stream so far.
    pub(crate) fn read_len(&self) -> u64 {
        self.read_len
    }

    /// Whether the stream has ended and every chunk has been given out.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.next.is_none()
    }

    /// The next chunks, at least one; `None` at the end. The stream is read until a buffer is full.
    pub(crate) fn next_run(&mut self) -> io::Result<Option<Run>> {
        if self.is_done() {
            return Ok(None);
        }
        let (mut buffer, carried) = self.next.take().unwrap_or_else(|| (self.pool.take(), 0));
        let filled = self.fill(&mut buffer.data, carried)?;
        let mut ends = Vec::with_capacity(RUN_LEN / CHUNK_LEN_AVG as usize);
        let mut start = 0;
        // Before the end, a cut is certain only with a whole chunk's length ahead of it.
        while filled - start >= CHUNK_LEN_MAX as usize || (self.ended && start < filled) {
            start += self.cut(&buffer.data[start..filled]);
            ends.push(start);
        }
        if !self.ended {
            let mut following = self.pool.take();
            let rest = &buffer.data[start..filled];
            following.data[..rest.len()].copy_from_slice(rest);
            self.next = Some((following, rest.len()));
        }
        if ends.is_empty() {
            return Ok(None);
        }
        Ok(Some(Run { bytes: Bytes::from_owner(buffer).slice(..start), ends }))
    }

    /// Reads until `data` is full or the stream ends; returns the bytes that `data` holds.
    fn fill(&mut self, data: &mut [u8], mut filled: usize) -> io::Result<usize> {
        while filled < data.len() {
            match self.input.read(&mut data[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => {
                    filled += count;
                    self.read_len += count as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// Length of the chunk that `bytes` start with.
    fn cut(&self, bytes: &[u8]) -> usize {
        let (strict, loose) = self.masks;
        cut(
            bytes,
            CHUNK_LEN_MIN as usize,
            CHUNK_LEN_AVG as usize,
            CHUNK_LEN_MAX as usize,
            strict,
            loose,
            strict << 1,
            loose << 1,
        )
        .1
    }
}
