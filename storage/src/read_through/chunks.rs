//! Transfers of chunks: a few threads that fetch runs of neighbours, wake each chunk's readers as
//! it comes, and keep it.
//!
//! Bytes in memory: what is on the way to readers that wait, and at most
//! [`super::ReadThroughOptions::ahead_len_max`] that nobody waits for yet. A full disk does not
//! stop readers: a chunk that cannot be kept is still handed to them.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};

use super::flights::{Failure, Flight};
use super::sources::{Reasons, Tracked, add};
use super::{Result, Shared};
use crate::chunks::ChunkBytes;
use crate::db::Batch;
use crate::error::StoreError;
use crate::id::{ChunkId, FileId};
use crate::manifest::ChunkRef;
use crate::read::{ChunkSpan, ReadStore, Urgency};
use crate::source::ChunkSource;

/// Longest run that one transfer brings for readers that wait: others may take the next.
const RUN_LEN_NOW: u64 = 1 << 20;
/// Longest run that one transfer brings ahead of readers.
const RUN_LEN_SOON: u64 = 4 << 20;

/// A run of chunks to fetch. Its flights land when it is done, however it ends.
struct Job {
    file: FileId,
    spans: Vec<ChunkSpan>,
    /// Those of the spans, in their order.
    flights: Vec<Arc<Flight<Bytes>>>,
    urgency: Urgency,
    /// Counted against what may be under way ahead of readers.
    ahead_len: u64,
}

/// Neighbours that are boarded and not sent yet.
#[derive(Default)]
struct Run {
    spans: Vec<ChunkSpan>,
    flights: Vec<Arc<Flight<Bytes>>>,
    len: u64,
}

impl Run {
    /// Whether `span` stands behind the others, and all are no longer than `len_max`.
    fn takes(&self, span: &ChunkSpan, len_max: u64) -> bool {
        let Some(last) = self.spans.last() else { return true };
        last.offset + u64::from(last.chunk.len) == span.offset
            && self.len + u64::from(span.chunk.len) <= len_max
    }

    fn push(&mut self, span: ChunkSpan, flight: Arc<Flight<Bytes>>) {
        self.len += u64::from(span.chunk.len);
        self.spans.push(span);
        self.flights.push(flight);
    }
}

/// How long the end waits for threads that are in the middle of a chunk. One that waits for a
/// silent source is left behind: it ends by the source's own time limit.
const END_WAIT: Duration = Duration::from_secs(2);

/// The threads, by the ends of their queues: they end with these.
pub(super) struct Fetchers {
    queues: Option<Queues>,
    ahead_len: Arc<AtomicU64>,
    /// Closed when the last thread has ended.
    alive: Receiver<()>,
}

struct Queues {
    now: Sender<Job>,
    soon: Sender<Job>,
}

impl Drop for Fetchers {
    fn drop(&mut self) {
        self.queues = None;
        let _ = self.alive.recv_timeout(END_WAIT);
    }
}

impl Fetchers {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Self> {
        let (now, now_jobs) = unbounded();
        let (soon, soon_jobs) = unbounded();
        let ahead_len = Arc::new(AtomicU64::new(0));
        let (is_alive, alive) = bounded(0);
        if !shared.chunk_sources.is_empty() {
            let count = shared.options.transfer_count.max(1);
            for number in 0..count {
                let (shared, ahead_len) = (shared.clone(), ahead_len.clone());
                // One is for those who wait: what comes ahead of readers may hold all others.
                let is_for_both = number > 0 || count == 1;
                let now = now_jobs.clone();
                let soon = if is_for_both { soon_jobs.clone() } else { never() };
                let is_alive = is_alive.clone();
                thread::Builder::new()
                    .name(format!("mega-fetch-{number}"))
                    .spawn(move || {
                        work(&shared, &now, &soon, &ahead_len);
                        // The store first: who waits may end the process.
                        drop(shared);
                        drop::<Sender<()>>(is_alive);
                    })
                    .map_err(|e| StoreError::io("starting a thread", e))?;
            }
        }
        Ok(Self { queues: Some(Queues { now, soon }), ahead_len, alive })
    }

    /// Sets chunks on their way that are neither here nor under way.
    pub(super) fn expect(
        &self,
        shared: &Shared,
        file: &FileId,
        spans: &[ChunkSpan],
        urgency: Urgency,
    ) {
        // What fails here fails again, and is told, when it is read.
        let Ok(missing) = shared.missing_of(file, spans) else { return };
        let run_len = match urgency {
            Urgency::Now => RUN_LEN_NOW,
            Urgency::Soon | Urgency::Background => RUN_LEN_SOON,
        };
        let mut run = Run::default();
        for span in missing {
            let ahead_len = self.ahead_len.load(Ordering::Relaxed) + run.len;
            let chunk_len = u64::from(span.chunk.len);
            if urgency != Urgency::Now && ahead_len + chunk_len > shared.options.ahead_len_max {
                break;
            }
            if !run.takes(&span, run_len) {
                self.send(file, std::mem::take(&mut run), urgency);
            }
            if let (flight, true) = shared.chunk_flights.board(span.chunk.id) {
                run.push(span, flight);
            }
        }
        self.send(file, run, urgency);
    }

    fn send(&self, file: &FileId, run: Run, urgency: Urgency) {
        if run.spans.is_empty() {
            return;
        }
        let ahead_len = if urgency == Urgency::Now { 0 } else { run.len };
        self.ahead_len.fetch_add(ahead_len, Ordering::Relaxed);
        let Some(Queues { now, soon }) = &self.queues else { return };
        let queue = if urgency == Urgency::Now { now } else { soon };
        let Run { spans, flights, .. } = run;
        // The threads outlive the queues.
        let _ = queue.send(Job { file: *file, spans, flights, urgency, ahead_len });
    }

    /// Waits for one chunk, which is set on its way if it is not yet.
    pub(super) fn fetch(&self, shared: &Shared, file: &FileId, chunk: &ChunkRef) -> Result<Bytes> {
        let deadline = shared.deadline();
        let missing = || StoreError::MissingChunk { id: chunk.id, file: *file };
        let (flight, is_ours) = shared.chunk_flights.board(chunk.id);
        if is_ours {
            // Between the look and the boarding it may have landed.
            let here = shared.local_chunk(file, chunk);
            let offset = match here {
                Ok(None) => shared.place_of(file, &chunk.id),
                _ => Ok(None),
            };
            match (here, offset.unwrap_or_default()) {
                (Ok(None), Some(offset)) if !shared.chunk_sources.is_empty() => {
                    let mut run = Run::default();
                    run.push(ChunkSpan { chunk: *chunk, offset }, flight.clone());
                    self.send(file, run, Urgency::Now);
                }
                (Ok(Some(plain)), _) => {
                    shared.chunk_flights.land(&chunk.id, Ok(plain.clone()));
                    return Ok(plain);
                }
                (Ok(None), _) => {
                    shared.chunk_flights.land(&chunk.id, Err(Failure::Absent));
                    return Err(missing());
                }
                (Err(error), _) => {
                    let told = Failure::Failed(error.to_string().into());
                    shared.chunk_flights.land(&chunk.id, Err(told));
                    return Err(error);
                }
            }
        }
        let what = || format!("chunk {} of file {file}", chunk.id);
        let plain = shared.join(&flight, deadline, what, missing)?;
        if plain.len() as u64 != u64::from(chunk.len) {
            let reason = "a manifest gives it another length";
            return Err(StoreError::DamagedChunk { id: chunk.id, reason });
        }
        Ok(plain)
    }
}

fn work(shared: &Shared, now: &Receiver<Job>, soon: &Receiver<Job>, ahead_len: &AtomicU64) {
    loop {
        let job = match now.try_recv() {
            Ok(job) => job,
            Err(_) => crossbeam_channel::select_biased! {
                recv(now) -> job => match job { Ok(job) => job, Err(_) => return },
                recv(soon) -> job => match job { Ok(job) => job, Err(_) => return },
            },
        };
        let landing = Landing { shared, job: &job, ahead_len };
        // A source that panics must not cost the repository its threads.
        let run = std::panic::AssertUnwindSafe(|| shared.transfer(&job));
        if std::panic::catch_unwind(run).is_err() {
            (shared.options.note)("a source panicked: a bug");
        }
        drop(landing);
        let landed = std::panic::AssertUnwindSafe(|| shared.landed(&job.file, &job.spans));
        let _ = std::panic::catch_unwind(landed);
    }
}

/// Ends the flights of a job that are still open when it goes.
struct Landing<'a> {
    shared: &'a Shared,
    job: &'a Job,
    ahead_len: &'a AtomicU64,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.ahead_len.fetch_sub(self.job.ahead_len, Ordering::Relaxed);
        for (span, flight) in self.job.spans.iter().zip(&self.job.flights) {
            self.shared.chunk_flights.give_up(&span.chunk.id, flight);
        }
    }
}

/// What one source is bringing.
struct Taking<'a> {
    shared: &'a Shared,
    file: &'a FileId,
    open: HashMap<ChunkId, ChunkSpan>,
    came: HashSet<ChunkId>,
    lie: Option<(ChunkId, &'static str)>,
    has_failed_to_keep: &'a AtomicBool,
}

impl Shared {
    /// The chunk as it is here; `None` when it has to be fetched.
    pub(super) fn local_chunk(&self, file: &FileId, chunk: &ChunkRef) -> Result<Option<Bytes>> {
        self.note_read(file, &chunk.id);
        match self.view.chunk(file, chunk) {
            Err(error) if self.is_not_whole(file, &error)? => {}
            found => return found.map(Some),
        }
        // Only what a manifest of this repository names; see the invariant of the room.
        if self.partial.file_len(file)?.is_none() {
            return Err(StoreError::MissingFile { id: *file });
        }
        self.store.files().chunk_if_good(chunk)
    }

    /// Those of the chunks that have to be fetched, each once.
    fn missing_of(&self, file: &FileId, spans: &[ChunkSpan]) -> Result<Vec<ChunkSpan>> {
        if spans.is_empty() || self.store.files().has(self.repo, file)? {
            return Ok(Vec::new());
        }
        let ids: Vec<ChunkId> = spans.iter().map(|span| span.chunk.id).collect();
        let stored = self.store.files().stored_chunks(&ids)?;
        let mut seen = HashSet::new();
        let missing = spans.iter().zip(stored).filter(|(_, is_stored)| !is_stored);
        Ok(missing.map(|(s, _)| *s).filter(|s| seen.insert(s.chunk.id)).collect())
    }

    /// Asks source after source until all chunks came; those that did not fail with the reasons.
    fn transfer(&self, job: &Job) {
        let mut reasons = Reasons::default();
        let mut open = self.not_landed_before(job);
        for source in self.chunk_sources.order(&mut reasons) {
            if open.is_empty() || self.is_closing() {
                break;
            }
            let came = self.take_from(source, job, &open, &mut reasons);
            open.retain(|span| !came.contains(&span.chunk.id));
        }
        for span in open {
            self.chunk_flights.land(&span.chunk.id, Err(reasons.failure()));
        }
    }

    /// What is still to be fetched. Between the look and the boarding a chunk may have come by
    /// another flight.
    fn not_landed_before(&self, job: &Job) -> Vec<ChunkSpan> {
        let ids: Vec<ChunkId> = job.spans.iter().map(|span| span.chunk.id).collect();
        let stored = self.store.files().stored_chunks(&ids).unwrap_or_default();
        let mut open = job.spans.clone();
        let mut stored = stored.into_iter();
        open.retain(|span| match stored.next() {
            Some(true) => match self.local_chunk(&job.file, &span.chunk) {
                Ok(Some(plain)) => {
                    self.chunk_flights.land(&span.chunk.id, Ok(plain));
                    false
                }
                _ => true,
            },
            _ => true,
        });
        open
    }

    /// Brings those of the chunks that are not here, on this thread; how many bytes came. Source
    /// after source is asked again for as long as something comes.
    pub(super) fn bring_run(&self, file: &FileId, spans: &[ChunkSpan]) -> Result<u64> {
        let mut brought = 0;
        loop {
            let missing = self.missing_of(file, spans)?;
            if missing.is_empty() {
                return Ok(brought);
            }
            let before: u64 = missing.iter().map(|span| u64::from(span.chunk.len)).sum();
            let failure = self.bring_missing(file, missing);
            let left = self.missing_of(file, spans)?;
            let left: u64 = left.iter().map(|span| u64::from(span.chunk.len)).sum();
            brought += before.saturating_sub(left);
            if left >= before || self.is_closing() {
                failure?;
                let reason = "what came of it was not kept".to_owned();
                return Err(StoreError::NotFetched { what: format!("file {file}"), reason });
            }
        }
    }

    /// One try at chunks that are not here: the first that did not come fails it.
    fn bring_missing(&self, file: &FileId, missing: Vec<ChunkSpan>) -> Result<()> {
        let deadline = self.deadline();
        let (mut run, mut others) = (Run::default(), Vec::new());
        for span in missing {
            match self.chunk_flights.board(span.chunk.id) {
                (flight, true) => run.push(span, flight),
                (flight, false) => others.push((span, flight)),
            }
        }
        let Run { spans, flights, .. } = run;
        let job = Job { file: *file, spans, flights, urgency: Urgency::Background, ahead_len: 0 };
        let landing = Landing { shared: self, job: &job, ahead_len: &AtomicU64::new(0) };
        if !job.spans.is_empty() {
            self.transfer(&job);
        }
        drop(landing);
        self.landed(file, &job.spans);
        let ours = job.spans.iter().copied().zip(job.flights.iter().cloned());
        for (span, flight) in ours.chain(others) {
            let ChunkRef { id, .. } = span.chunk;
            let what = || format!("chunk {id} of file {file}");
            let missing = || StoreError::MissingChunk { id, file: *file };
            self.join(&flight, deadline, what, missing)?;
        }
        Ok(())
    }

    fn take_from(
        &self,
        source: &Tracked<dyn ChunkSource>,
        job: &Job,
        open: &[ChunkSpan],
        reasons: &mut Reasons,
    ) -> HashSet<ChunkId> {
        let (panel, file) = (&self.chunk_sources, &job.file);
        panel.asked();
        let mut taking = Taking {
            shared: self,
            file,
            open: open.iter().map(|span| (span.chunk.id, *span)).collect(),
            came: HashSet::new(),
            lie: None,
            has_failed_to_keep: &self.has_failed_to_keep,
        };
        let take = &mut |span: &ChunkSpan, bytes| taking.take(span, bytes);
        let asked = source.source.chunks(file, open, job.urgency, take);
        let Taking { came, lie, .. } = taking;
        match (lie, asked) {
            (Some((chunk, reason)), _) => {
                let what = format!("wrong bytes for chunk {chunk} of file {file}: {reason}");
                panel.lied(source, &what, reasons);
            }
            (None, Err(error)) => panel.failed(source, &error, reasons),
            (None, Ok(())) => {}
        }
        came
    }
}

impl Taking<'_> {
    fn take(&mut self, span: &ChunkSpan, bytes: ChunkBytes) -> ControlFlow<()> {
        let id = span.chunk.id;
        // Nobody asked for it, or it came before: no reason to hash it. Where it stands is what was
        // asked, whatever the source says.
        let Some(&asked) = self.open.get(&id) else { return self.go_on() };
        let verified = match bytes.verify(&asked.chunk) {
            Ok(verified) => verified,
            Err(reason) => {
                self.lie = Some((id, reason));
                return ControlFlow::Break(());
            }
        };
        let Shared { store, partial, .. } = self.shared;
        let note = |batch: &mut Batch<'_>| partial.put_came(batch, self.file, &asked);
        store.cache_state().touch(&id);
        match store.files().keep_chunk(&verified, note) {
            Ok(()) => self.shared.note_kept(asked.chunk.len.into()),
            Err(error) if !self.has_failed_to_keep.swap(true, Ordering::Relaxed) => {
                (self.shared.options.note)(&format!("what is fetched cannot be kept: {error}"));
            }
            Err(_) => {}
        }
        self.open.remove(&id);
        self.came.insert(id);
        add(&self.shared.counters.chunks, 1);
        add(&self.shared.counters.chunk_len, u64::from(asked.chunk.len));
        self.shared.counters.meter.add(asked.chunk.len.into());
        self.shared.chunk_flights.land(&id, Ok(verified.plain().clone()));
        self.go_on()
    }

    fn go_on(&self) -> ControlFlow<()> {
        match self.shared.is_closing() || self.open.is_empty() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
