//! The sources of one repository and how they have behaved.
//!
//! Who lied is asked last. Who could not be reached is left alone for a while, so that readers get
//! their error at once and not after a time limit each.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::flights::Failure;
use super::meter::Meter;
use crate::source::{ChunkSource, ObjectSource, SourceError};

/// Where a repository's content may be fetched, in the order in which it is asked for.
#[derive(Clone, Default)]
pub struct Sources {
    /// Sources of git objects.
    pub objects: Vec<Arc<dyn ObjectSource>>,
    /// Sources of files' chunks.
    pub chunks: Vec<Arc<dyn ChunkSource>>,
}

/// Is told, in a line, of a source that failed or lied.
pub type Note = dyn Fn(&str) + Send + Sync;

/// What has been fetched so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FetchCounts {
    /// Questions to sources, of all kinds.
    pub requests: u64,
    /// Packs that were taken in.
    pub packs: u64,
    /// Their bytes.
    pub pack_len: u64,
    /// Chunks that came and were right.
    pub chunks: u64,
    /// Their plain bytes.
    pub chunk_len: u64,
    /// Answers that were refused because they were not what was asked for.
    pub wrong: u64,
    /// Questions that failed.
    pub failed: u64,
    /// Bytes of packs and chunks a second, in the last five seconds.
    pub rate: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) packs: AtomicU64,
    pub(super) pack_len: AtomicU64,
    pub(super) chunks: AtomicU64,
    pub(super) chunk_len: AtomicU64,
    pub(super) wrong: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) meter: Meter,
}

impl Counters {
    pub(super) fn snapshot(&self) -> FetchCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FetchCounts {
            requests: get(&self.requests),
            packs: get(&self.packs),
            pack_len: get(&self.pack_len),
            chunks: get(&self.chunks),
            chunk_len: get(&self.chunk_len),
            wrong: get(&self.wrong),
            failed: get(&self.failed),
            rate: self.meter.rate(),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// A source and its record.
pub(super) struct Tracked<S: ?Sized> {
    pub(super) source: Arc<S>,
    pub(super) name: String,
    wrong: AtomicU64,
    resting: Mutex<Option<(Instant, Arc<str>)>>,
}

impl<S: ?Sized> Tracked<S> {
    pub(super) fn new(source: &Arc<S>, name: String) -> Self {
        let (wrong, resting) = Default::default();
        Self { source: source.clone(), name, wrong, resting }
    }

    /// What it last failed with, while it is left alone.
    fn rest(&self) -> Option<Arc<str>> {
        let resting = self.resting.lock();
        resting.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, why)| why.clone())
    }
}

/// What went wrong while one thing was asked for, source by source.
#[derive(Default)]
pub(super) struct Reasons(String);

impl Reasons {
    pub(super) fn add(&mut self, name: &str, reason: &dyn std::fmt::Display) {
        let gap = if self.0.is_empty() { "" } else { "; " };
        let _ = write!(self.0, "{gap}{name}: {reason}");
    }

    /// Why what did not come did not.
    pub(super) fn failure(&self) -> Failure {
        if self.0.is_empty() { Failure::Absent } else { Failure::Failed(self.0.as_str().into()) }
    }
}

/// All sources of one kind.
pub(super) struct Panel<S: ?Sized> {
    sources: Vec<Tracked<S>>,
    counters: Arc<Counters>,
    rest: Duration,
    note: Arc<Note>,
}

impl<S: ?Sized> Panel<S> {
    pub(super) fn new(
        sources: Vec<Tracked<S>>,
        counters: Arc<Counters>,
        rest: Duration,
        note: Arc<Note>,
    ) -> Self {
        Self { sources, counters, rest, note }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The sources to ask, best first. Those that rest are left out and say why in `reasons`.
    pub(super) fn order(&self, reasons: &mut Reasons) -> Vec<&Tracked<S>> {
        let mut ready: Vec<_> = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            match source.rest() {
                None => ready.push(source),
                Some(why) => reasons.add(&source.name, &why),
            }
        }
        ready.sort_by_key(|source| source.wrong.load(Ordering::Relaxed));
        ready
    }

    /// Counts a question.
    pub(super) fn asked(&self) {
        add(&self.counters.requests, 1);
    }

    /// Notes that a source failed.
    pub(super) fn failed(&self, source: &Tracked<S>, error: &SourceError, reasons: &mut Reasons) {
        match error {
            SourceError::Wrong { reason } => return self.lied(source, reason, reasons),
            SourceError::Unsupported { .. } => {}
            SourceError::Unreachable { .. } | SourceError::Refused { .. } => {
                (self.note)(&format!("{}: {error}", source.name));
                let why = error.to_string().into();
                *source.resting.lock() = Some((Instant::now() + self.rest, why));
            }
        }
        add(&self.counters.failed, 1);
        reasons.add(&source.name, error);
    }

    /// Notes that a source gave what is not what was asked for.
    pub(super) fn lied(
        &self,
        source: &Tracked<S>,
        what: &dyn std::fmt::Display,
        reasons: &mut Reasons,
    ) {
        (self.note)(&format!("{} is not to be trusted: {what}", source.name));
        source.wrong.fetch_add(1, Ordering::Relaxed);
        add(&self.counters.wrong, 1);
        reasons.add(&source.name, what);
    }
}
