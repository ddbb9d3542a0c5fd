//! What the client hears while it waits: progress, words, signs of life, the report.
//!
//! Silent until the request has been read whole: a client, or a proxy, need not listen before it
//! has sent everything. A client that is gone ends the work where it can still be ended.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mega_storage::{Progress, Unit};
use parking_lot::{Condvar, Mutex};

use crate::git::limits::{KEEP_ALIVE_MS, PROGRESS_MS, PUSH_MESSAGES_MAX};
use crate::git::wire::{BandKind, PktWriter, Sideband, sanitise};

/// The way back to the client, for several threads.
pub(super) struct Channel<'a> {
    band: Mutex<Sideband<'a, dyn Write + Send + 'a>>,
    has_band: bool,
    is_quiet: bool,
    stop: &'a dyn Progress,
    talks: AtomicBool,
    is_gone: AtomicBool,
    /// The answer can no longer be "nothing was done".
    is_decided: AtomicBool,
    message_count: AtomicU64,
    phase: Mutex<Phase>,
    last: Mutex<Instant>,
    ended: Mutex<bool>,
    end: Condvar,
}

struct Phase {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    shown: Instant,
    is_shown: bool,
}

impl<'a> Channel<'a> {
    pub(super) fn new(
        out: &'a mut (dyn Write + Send + 'a),
        band: BandKind,
        is_quiet: bool,
        stop: &'a dyn Progress,
    ) -> Self {
        let now = Instant::now();
        let phase = Phase { what: "", total: None, done: 0, shown: now, is_shown: false };
        Self {
            band: Mutex::new(Sideband::new(out, band)),
            has_band: band != BandKind::Off,
            is_quiet,
            stop,
            talks: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            is_decided: AtomicBool::new(false),
            message_count: AtomicU64::new(0),
            phase: Mutex::new(phase),
            last: Mutex::new(now),
            ended: Mutex::new(false),
            end: Condvar::new(),
        }
    }

    /// Runs `work` and gives signs of life meanwhile.
    pub(super) fn alive<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        if !self.has_band {
            return work(self);
        }
        thread::scope(|scope| {
            let _end = EndOnDrop(self);
            scope.spawn(|| {
                let mut ended = self.ended.lock();
                while !*ended {
                    self.end.wait_for(&mut ended, Duration::from_millis(KEEP_ALIVE_MS / 2));
                    let silence = self.last.lock().elapsed();
                    if !*ended && silence >= Duration::from_millis(KEEP_ALIVE_MS) {
                        self.send(Sideband::keep_alive);
                    }
                }
            });
            work(self)
        })
    }

    /// The request has been read: the client listens now.
    pub(super) fn talk(&self) {
        self.talks.store(true, Ordering::Relaxed);
    }

    /// From here on the work is done to its end, whether or not somebody waits for it.
    pub(super) fn decide(&self) {
        self.is_decided.store(true, Ordering::Relaxed);
    }

    /// Words for the person, as git has them: `error: ...`, `warning: ...`. After many of them
    /// none.
    pub(super) fn say(&self, kind: &str, words: &str) {
        match self.message_count.fetch_add(1, Ordering::Relaxed) {
            PUSH_MESSAGES_MAX => self.show("... and more of this kind\n"),
            count if count < PUSH_MESSAGES_MAX => {
                self.show(&format!("{kind}: {}\n", sanitise(words.as_bytes())));
            }
            _ => {}
        }
    }

    /// Text for the person, as it is.
    pub(super) fn show(&self, text: &str) {
        self.send(|band| band.progress(text));
    }

    /// The report, which is data.
    pub(super) fn report(&self, lines: &[u8]) -> io::Result<()> {
        let mut band = self.band.lock();
        band.pack().write_all(lines)?;
        band.pack().flush()
    }

    /// The last word where there is no report: what went wrong.
    pub(super) fn fail(&self, words: &str) {
        let mut band = self.band.lock();
        let _ = band.fatal(words).and_then(|()| band.finish());
    }

    /// The end of the answer.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.band.lock().finish()
    }

    fn send(&self, write: impl FnOnce(&mut Sideband<'a, dyn Write + Send + 'a>) -> io::Result<()>) {
        if !self.has_band || !self.talks.load(Ordering::Relaxed) {
            return;
        }
        if write(&mut self.band.lock()).is_err() {
            self.is_gone.store(true, Ordering::Relaxed);
        }
        *self.last.lock() = Instant::now();
    }

    fn show_phase(&self, phase: &mut Phase, end: &str) {
        let text = match phase.total.filter(|total| *total > 0) {
            Some(total) => {
                let percent = phase.done.min(total) * 100 / total;
                format!("{}: {percent}% ({}/{total}){end}", phase.what, phase.done)
            }
            None => format!("{}: {}{end}", phase.what, phase.done),
        };
        phase.shown = Instant::now();
        phase.is_shown = true;
        self.show(&text);
    }
}

/// Ends the thread that gives signs of life, also where the work ends in a panic.
struct EndOnDrop<'s, 'a>(&'s Channel<'a>);

impl Drop for EndOnDrop<'_, '_> {
    fn drop(&mut self) {
        *self.0.ended.lock() = true;
        self.0.end.notify_all();
    }
}

impl Progress for Channel<'_> {
    fn start(&self, what: &'static str, total: Option<u64>, unit: Unit) {
        // The pack's bytes come first; with the next phase they are all here.
        if unit == Unit::Objects {
            self.talk();
        }
        let mut phase = self.phase.lock();
        if phase.is_shown {
            self.show_phase(&mut phase, ", done.\n");
        }
        *phase = Phase { what, total, done: 0, shown: Instant::now(), is_shown: false };
    }

    fn advance(&self, count: u64) {
        let Some(mut phase) = self.phase.try_lock() else { return };
        phase.done += count;
        if !self.is_quiet && phase.shown.elapsed() >= Duration::from_millis(PROGRESS_MS) {
            self.show_phase(&mut phase, "\r");
        }
    }

    fn interrupted(&self) -> bool {
        let is_gone = self.is_gone.load(Ordering::Relaxed);
        !self.is_decided.load(Ordering::Relaxed) && (is_gone || self.stop.interrupted())
    }
}

/// Tells a client that nothing of its request will be done.
pub(super) fn refuse(out: &mut (dyn Write + Send), band: BandKind, reason: &str) -> io::Result<()> {
    match band {
        BandKind::Off => PktWriter::new(&mut *out).error(reason)?,
        BandKind::Small | BandKind::Large => {
            let mut band = Sideband::new(out, band);
            return band.fatal(&format!("{reason}\n")).and_then(|()| band.finish());
        }
    }
    out.flush()
}
