//! Bytes of blobs and files for the mount: cached pieces, chunks decoded in parallel and ahead.
//!
//! Promises: every byte comes from the store, which verifies it; what cannot be verified is an
//! error and never a byte; a failure is logged once with its ids. No lock is held while anything is
//! read, decoded or verified, so readers of one file do not wait for each other.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use lru::LruCache;
use mega_storage::{ChunkRef, ChunkSpan, Content, FileId, ObjectId, ReadStore, Urgency};
use parking_lot::Mutex;

use crate::cache::{PieceCache, PieceKey, Purpose};
use crate::errno::FsError;
use crate::prefetch::{Layout, Streams};
use crate::safetensors;

/// Blobs up to this length are inflated once and kept while they are read in pieces; longer ones go
/// by windows.
const BLOB_WHOLE_LEN_MAX: u64 = 16 << 20;

/// Length of a window of a longer blob.
const BLOB_WINDOW_LEN: u64 = 4 << 20;

/// Chunks of a file are looked up by regions of this length, so that a read does not decode a
/// manifest's segment.
const REGION_LEN: u64 = 16 << 20;

/// Regions remembered of one file: 1 GiB of it, in about 1 MB.
const REGIONS_MAX: usize = 64;

/// Files whose streams and regions are remembered.
const FILES_MAX: usize = 64;

/// Chunk jobs that may wait: at 64 KiB a chunk, one full window.
const JOBS_MAX: usize = 256;

/// Failed pieces that are remembered as logged.
const LOGGED_MAX: usize = 1024;

/// What [`Reader`] may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReaderOptions {
    /// Bytes of decoded pieces kept.
    pub(crate) cache_len: usize,
    /// Longest window read ahead of one stream, in bytes; 0 switches reading ahead off.
    pub(crate) window_len_max: u64,
    /// Threads that decode ahead.
    pub(crate) worker_count: usize,
}

struct FileState {
    id: FileId,
    len: u64,
    streams: Mutex<Streams>,
    layout: Layout,
    regions: Mutex<LruCache<u64, Arc<[ChunkSpan]>>>,
}

enum Job {
    Chunk(Arc<FileState>, ChunkRef, Purpose),
    Layout(Arc<FileState>),
}

struct Shared {
    store: Arc<dyn ReadStore>,
    cache: PieceCache,
    files: Mutex<LruCache<FileId, Arc<FileState>>>,
    logged: Mutex<LruCache<PieceKey, ()>>,
    window_len_max: u64,
}

/// Reads content; owns the threads that decode ahead, which end with it.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    /// Jobs that a reader waits for go first.
    urgent: Option<Sender<Job>>,
    ahead: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("the constants above are not zero")
}

impl Reader {
    pub(crate) fn new(store: Arc<dyn ReadStore>, options: ReaderOptions) -> Self {
        let shared = Arc::new(Shared {
            store,
            cache: PieceCache::new(options.cache_len),
            files: Mutex::new(LruCache::new(count(FILES_MAX))),
            logged: Mutex::new(LruCache::new(count(LOGGED_MAX))),
            window_len_max: options.window_len_max,
        });
        let (urgent, urgent_jobs) = crossbeam_channel::bounded(JOBS_MAX);
        let (ahead, ahead_jobs) = crossbeam_channel::bounded(JOBS_MAX);
        let workers = (0..options.worker_count)
            .filter_map(|index| {
                let (shared, urgent, ahead) =
                    (shared.clone(), urgent_jobs.clone(), ahead_jobs.clone());
                std::thread::Builder::new()
                    .name(format!("mega-ahead-{index}"))
                    .spawn(move || work(&shared, &urgent, &ahead))
                    .ok()
            })
            .collect();
        Self { shared, urgent: Some(urgent), ahead: Some(ahead), workers }
    }

    /// Appends bytes `range` of a blob of `len` bytes to `out`.
    ///
    /// # Errors
    /// As the store's; [`FsError::Short`] when the blob ends early.
    pub(crate) fn read_blob(
        &self,
        id: &ObjectId,
        len: u64,
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), FsError> {
        if range.start == 0 && range.end == len {
            return self.shared.blob_part(id, range, out);
        }
        let piece_len =
            if len <= BLOB_WHOLE_LEN_MAX { BLOB_WHOLE_LEN_MAX } else { BLOB_WINDOW_LEN };
        let mut at = range.start;
        while at < range.end {
            let index = at / piece_len;
            let piece = index * piece_len..((index + 1) * piece_len).min(len);
            let bytes = self.shared.cache.get_or_load(
                PieceKey::Blob(*id, index),
                Purpose::Demand,
                || {
                    let mut bytes = Vec::new();
                    self.shared.blob_part(id, piece.clone(), &mut bytes)?;
                    Ok(bytes.into())
                },
            )?;
            let end = piece.end.min(range.end);
            out.extend_from_slice(&bytes[to_usize(at - piece.start)..to_usize(end - piece.start)]);
            at = end;
        }
        Ok(())
    }

    /// Appends bytes `range` of a file of `len` bytes to `out`.
    ///
    /// # Errors
    /// As the store's; [`FsError::Short`] when the chunks leave a gap.
    pub(crate) fn read_file(
        &self,
        id: &FileId,
        len: u64,
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), FsError> {
        let file = self.shared.file(id, len);
        let spans = self.shared.spans(&file, range.clone())?;
        self.read_ahead(&file, &range, &spans);
        let mut at = range.start;
        for span in &spans {
            let chunk_end = span.offset + u64::from(span.chunk.len);
            if span.offset > at || chunk_end <= at {
                break;
            }
            let bytes = self.shared.chunk(&file, &span.chunk, Purpose::Demand)?;
            let end = chunk_end.min(range.end);
            let part = to_usize(at - span.offset)..to_usize(end - span.offset);
            // A manifest may lie of the length of a chunk that another file brought here.
            let Some(part) = bytes.get(part) else {
                break;
            };
            out.extend_from_slice(part);
            at = end;
        }
        if at < range.end {
            return Err(FsError::Short { content: format!("file {id}"), offset: at });
        }
        Ok(())
    }

    /// Hands out what others can decode: the far end of this read, and what is likely to be read
    /// next.
    fn read_ahead(&self, file: &Arc<FileState>, range: &Range<u64>, spans: &[ChunkSpan]) {
        let (Some(urgent), Some(ahead)) = (&self.urgent, &self.ahead) else {
            return;
        };
        if range.start == 0 && file.layout.get().is_none() {
            let _ = ahead.try_send(Job::Layout(file.clone()));
        }
        let absent = |spans: &[ChunkSpan]| -> Vec<ChunkSpan> {
            let is_here = |s: &&ChunkSpan| self.shared.cache.contains(&PieceKey::Chunk(s.chunk.id));
            spans.iter().filter(|span| !is_here(span)).copied().collect()
        };
        self.shared.store.expect(&file.id, &absent(spans), Urgency::Now);
        // The reader works from the front and the workers from the back, so they rarely wait for
        // each other.
        for span in spans.iter().skip(1).rev() {
            if !self.shared.cache.contains(&PieceKey::Chunk(span.chunk.id)) {
                let job = Job::Chunk(file.clone(), span.chunk, Purpose::Demand);
                if urgent.try_send(job).is_err() {
                    break;
                }
            }
        }
        if self.shared.window_len_max == 0 {
            return;
        }
        let has_room = self.shared.cache.has_room_ahead();
        let boundaries = file.layout.get().map_or(&[][..], Vec::as_slice);
        let noted = file.streams.lock().note(range.clone(), file.len, boundaries, has_room);
        let Some(window) = noted else {
            return;
        };
        // What fails here fails again, and is told, when it is read.
        let Ok(spans) = self.shared.spans(file, window) else {
            return;
        };
        let spans = absent(&spans);
        self.shared.store.expect(&file.id, &spans, Urgency::Soon);
        for span in spans {
            let job = Job::Chunk(file.clone(), span.chunk, Purpose::Ahead);
            if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = ahead.try_send(job)
            {
                break;
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        (self.urgent, self.ahead) = (None, None);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// A worker's life: urgent jobs first, until both queues are closed.
fn work(shared: &Shared, urgent: &Receiver<Job>, ahead: &Receiver<Job>) {
    loop {
        let job = match urgent.try_recv() {
            Ok(job) => job,
            Err(_) => crossbeam_channel::select_biased! {
                recv(urgent) -> job => match job {
                    Ok(job) => job,
                    Err(_) => return,
                },
                recv(ahead) -> job => match job {
                    Ok(job) => job,
                    Err(_) => return,
                },
            },
        };
        // A panic in the store must not cost the mount its workers; the reader meets it again and
        // answers EIO.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shared.run(&job)));
    }
}

impl Shared {
    fn run(&self, job: &Job) {
        match job {
            Job::Chunk(file, chunk, purpose) => {
                if *purpose == Purpose::Demand || self.cache.has_room_ahead() {
                    let _ = self.chunk(file, chunk, *purpose);
                }
            }
            Job::Layout(file) => {
                file.layout.get_or_init(|| self.layout(file).unwrap_or_default());
            }
        }
    }

    /// Reads what the reader of offset 0 reads anyway, and the rest of a safetensors header.
    fn layout(&self, file: &FileState) -> Option<Vec<u64>> {
        let mut head = Vec::new();
        let mut wanted = 9.min(file.len);
        for _ in 0..2 {
            for span in self.spans(file, head.len() as u64..wanted).ok()? {
                let have = head.len() as u64;
                if span.offset + u64::from(span.chunk.len) > have {
                    let chunk = self.cache.get_or_load(
                        PieceKey::Chunk(span.chunk.id),
                        Purpose::Ahead,
                        || self.load_chunk(file, &span.chunk),
                    );
                    head.extend_from_slice(chunk.ok()?.get(to_usize(have - span.offset)..)?);
                }
            }
            wanted = safetensors::head_len(&head)?.min(file.len);
            if head.len() as u64 >= wanted {
                break;
            }
        }
        safetensors::boundaries(&head)
    }

    fn file(&self, id: &FileId, len: u64) -> Arc<FileState> {
        self.files
            .lock()
            .get_or_insert(*id, || {
                Arc::new(FileState {
                    id: *id,
                    len,
                    streams: Mutex::new(Streams::new(self.window_len_max)),
                    layout: Layout::new(),
                    regions: Mutex::new(LruCache::new(count(REGIONS_MAX))),
                })
            })
            .clone()
    }

    /// The chunks that cover `range`, in order.
    fn spans(&self, file: &FileState, range: Range<u64>) -> Result<Vec<ChunkSpan>, FsError> {
        let mut spans: Vec<ChunkSpan> = Vec::new();
        if range.is_empty() {
            return Ok(spans);
        }
        for index in range.start / REGION_LEN..=(range.end - 1) / REGION_LEN {
            let region = self.region(file, index)?;
            let first =
                region.partition_point(|s| s.offset + u64::from(s.chunk.len) <= range.start);
            for span in region.iter().skip(first).take_while(|s| s.offset < range.end) {
                // A chunk across two regions stands in both.
                if spans.last().is_none_or(|last| last.offset < span.offset) {
                    spans.push(*span);
                }
            }
        }
        Ok(spans)
    }

    fn region(&self, file: &FileState, index: u64) -> Result<Arc<[ChunkSpan]>, FsError> {
        if let Some(region) = file.regions.lock().get(&index) {
            return Ok(region.clone());
        }
        let spans = self.store.chunk_spans(&file.id, index * REGION_LEN, REGION_LEN);
        let spans: Arc<[ChunkSpan]> = spans
            .inspect_err(|error| {
                tracing::error!(file = %file.id, %error, "the chunks of a file cannot be listed");
            })?
            .into();
        file.regions.lock().push(index, spans.clone());
        Ok(spans)
    }

    fn chunk(
        &self,
        file: &FileState,
        chunk: &ChunkRef,
        purpose: Purpose,
    ) -> Result<Bytes, FsError> {
        self.cache.get_or_load(PieceKey::Chunk(chunk.id), purpose, || self.load_chunk(file, chunk))
    }

    fn load_chunk(&self, file: &FileState, chunk: &ChunkRef) -> Result<Bytes, FsError> {
        let result = self.store.chunk(&file.id, chunk).map_err(FsError::from).and_then(|bytes| {
            if bytes.len() as u64 == u64::from(chunk.len) {
                return Ok(bytes);
            }
            let content = format!("chunk {} of file {}", chunk.id, file.id);
            Err(FsError::Short { content, offset: bytes.len() as u64 })
        });
        result.inspect_err(|error| {
            if self.is_news(PieceKey::Chunk(chunk.id)) {
                let (file, chunk) = (file.id, chunk.id);
                tracing::error!(%file, %chunk, %error, "a chunk cannot be read");
            }
        })
    }

    fn blob_part(
        &self,
        id: &ObjectId,
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), FsError> {
        let (had, wanted) = (out.len(), to_usize(range.end - range.start));
        out.resize(had + wanted, 0);
        let result = self
            .store
            .read_at(&Content::Blob(*id), range.start, &mut out[had..])
            .map_err(FsError::from)
            .and_then(|read| {
                if read == wanted {
                    return Ok(());
                }
                let offset = range.start + read as u64;
                Err(FsError::Short { content: format!("blob {id}"), offset })
            });
        result.inspect_err(|error| {
            out.truncate(had);
            if self.is_news(PieceKey::Blob(*id, u64::MAX)) {
                tracing::error!(blob = %id, %error, "a blob cannot be read");
            }
        })
    }

    /// Whether this failure has not been logged lately: the kernel asks again for each page.
    fn is_news(&self, key: PieceKey) -> bool {
        self.logged.lock().put(key, ()).is_none()
    }
}

/// A length within one read or one piece, which is far below the address space's.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("a piece fits the address space")
}
