//! The server that the user named: how it is asked, and how it has done.
//!
//! Each question to it has a thread of its own, so that peers can answer meanwhile; there are only
//! so many at a time. After one that failed it is left alone for a while.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, bounded};
use mega_storage::{
    ChunkSource, FileId, ManifestPage, ObjectSource, ObjectWant, SourceError, SourceResult,
};
use parking_lot::Mutex;

use super::Rows;

/// How long an upstream that failed is left alone.
pub(super) const REST: Duration = Duration::from_secs(3);
/// Questions to it at a time: more than readers that wait, and an end to threads that wait for a
/// host that says nothing.
const OPEN_MAX: usize = 32;
/// Bytes of a pack that are handed on at once.
const PIECE_LEN: usize = 128 << 10;
/// Pieces of a pack that wait for whoever reads it.
const PIECES_MAX: usize = 8;

/// A repository on a server, beside the same one at peers.
pub struct Upstream {
    objects: Arc<dyn ObjectSource>,
    chunks: Arc<dyn ChunkSource>,
    open: AtomicUsize,
    /// Until when it is left alone, and why.
    resting: Mutex<Option<(Instant, String)>>,
    used_len: AtomicU64,
    /// The same of all upstreams.
    all_used_len: Arc<AtomicU64>,
}

/// A question that it is being asked.
struct Open(Arc<Upstream>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstream {
    /// Asks `source`. What is used of its bytes is added to `all_used_len` too.
    pub fn new<S>(source: &Arc<S>, all_used_len: &Arc<AtomicU64>) -> Self
    where
        S: ObjectSource + ChunkSource + 'static,
    {
        let (open, resting, used_len) = Default::default();
        let (objects, chunks, all_used_len) =
            (source.clone(), source.clone(), all_used_len.clone());
        Self { objects, chunks, open, resting, used_len, all_used_len }
    }

    /// Where it is, without password.
    pub fn name(&self) -> String {
        self.objects.name()
    }

    /// Bytes of packs and chunks that came from it and were used.
    pub fn used_len(&self) -> u64 {
        self.used_len.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, len: usize) {
        let len = len as u64;
        self.used_len.fetch_add(len, Ordering::Relaxed);
        self.all_used_len.fetch_add(len, Ordering::Relaxed);
    }

    pub(super) fn objects(&self) -> &dyn ObjectSource {
        &*self.objects
    }

    pub(super) fn chunks(&self) -> &dyn ChunkSource {
        &*self.chunks
    }

    /// Has it asked on another thread.
    ///
    /// # Errors
    /// Why it is not asked: it failed a moment ago, or is asked too much as it is.
    pub(super) fn ask(
        self: &Arc<Self>,
        question: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> SourceResult<()> {
        let resting = self.resting.lock().clone();
        if let Some((_, reason)) = resting.filter(|(until, _)| Instant::now() < *until) {
            return Err(SourceError::Unreachable { reason });
        }
        let is_too_much = self.open.fetch_add(1, Ordering::Relaxed) >= OPEN_MAX;
        let open = Open(self.clone());
        if is_too_much {
            let reason = "it has not answered many other questions yet".to_owned();
            return Err(SourceError::Refused { reason });
        }
        let asking = move || question(&open.0);
        let started = thread::Builder::new().name("upstream".to_owned()).spawn(asking);
        started.map(|_| ()).map_err(|e| SourceError::Unreachable { reason: e.to_string() })
    }

    /// Notes how it has answered.
    pub(super) fn noted<T>(&self, answer: SourceResult<T>) -> SourceResult<T> {
        match &answer {
            Ok(_) | Err(SourceError::Unsupported { .. }) => {}
            Err(error) => self.failed(&error.to_string()),
        }
        answer
    }

    /// Leaves it alone for a while.
    pub(super) fn failed(&self, reason: &str) {
        tracing::warn!("upstream {}: {reason}", self.name());
        *self.resting.lock() = Some((Instant::now() + REST, reason.to_owned()));
    }

    /// A run of a file's chunks. Invariant: it has no signatures, which would be passed on.
    pub(super) fn manifest(
        &self,
        file: &FileId,
        offset: u64,
    ) -> SourceResult<Option<ManifestPage>> {
        let page = self.chunks.manifest(file, offset)?;
        Ok(page.map(|page| ManifestPage::unsigned(page.len, page.spans)))
    }

    /// Tells of its pack of those objects, and hands on what it sends to whoever reads it.
    pub(super) fn pack(
        self: &Arc<Self>,
        want: &ObjectWant<'_>,
        tell: &dyn Fn(Rows<Box<dyn Read + Send>>),
    ) {
        let mut pack = match self.objects.objects(want) {
            Ok(Some(pack)) => pack,
            Ok(None) => return tell(Ok(vec![None])),
            Err(error) => return tell(Err(error)),
        };
        let (send, pieces) = bounded(PIECES_MAX);
        let upstream = self.clone();
        let handed: Box<dyn Read + Send> = Box::new(Pack { upstream, pieces, piece: Bytes::new() });
        tell(Ok(vec![Some(handed)]));
        loop {
            let mut piece = vec![0; PIECE_LEN];
            let read = match pack.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.failed(&error.to_string());
                    Err(error)
                }
                Ok(len) => {
                    piece.truncate(len);
                    Ok(Bytes::from(piece))
                }
            };
            let is_last = read.as_ref().map_or(true, Bytes::is_empty);
            // Who reads it may have gone: peers were first.
            if send.send(read).is_err() || is_last {
                return;
            }
        }
    }
}

/// A pack as it comes; an empty piece is its end.
struct Pack {
    upstream: Arc<Upstream>,
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pack {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let broken = |_| io::Error::new(io::ErrorKind::UnexpectedEof, "the upstream broke off");
            self.piece = self.pieces.recv().map_err(broken)??;
        }
        let count = self.piece.len().min(out.len());
        out[..count].copy_from_slice(&self.piece.split_to(count));
        self.upstream.count(count);
        Ok(count)
    }
}
