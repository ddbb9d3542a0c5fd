//! The way to the client while a pack is made and sent: data, words about progress, signs of life.
//!
//! All behind one lock, because the engine writes the pack and tells its progress at the same time,
//! and from several threads. When writing fails once, the client is gone: the engine is told to
//! stop, and nothing more is written.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use mega_storage::{Progress, SendReport, StoreError, Unit};
use parking_lot::Mutex;

use crate::git::limits::BAND_64K_LEN_MAX;
use crate::git::wire::{BandKind, Sideband};

/// A client that waits hears something at least so often, as from git.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How often a counter that is shown changes.
const SHOWN_PERIOD: Duration = Duration::from_millis(500);

/// What a client's answer is written to.
pub(super) type Out<'a> = dyn Write + Send + 'a;

/// See the module.
pub(super) struct Reporter<'a> {
    state: Mutex<State<'a>>,
    stop: &'a dyn Progress,
}

struct State<'a> {
    band: Sideband<'a, Out<'a>>,
    /// Data that does not fill a line yet.
    pending: Vec<u8>,
    /// No words, only signs of life.
    is_quiet: bool,
    /// Nothing is sent yet: what advances is the walk.
    is_walking: bool,
    count: u64,
    last_shown: Instant,
    last_written: Instant,
    is_gone: bool,
    /// Why, until it is taken.
    gone: Option<io::Error>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(
        out: &'a mut Out<'a>,
        kind: BandKind,
        is_quiet: bool,
        stop: &'a dyn Progress,
    ) -> Self {
        let now = Instant::now();
        let state = State {
            band: Sideband::new(out, kind),
            pending: Vec::with_capacity(BAND_64K_LEN_MAX),
            is_quiet: is_quiet || kind == BandKind::Off,
            is_walking: true,
            count: 0,
            last_shown: now,
            last_written: now,
            is_gone: false,
            gone: None,
        };
        Self { state: Mutex::new(state), stop }
    }

    /// The pack goes here.
    pub(super) fn data(&self) -> Data<'_, 'a> {
        Data(self)
    }

    /// The walk has ended with so many objects.
    pub(super) fn enumerated(&self, count: u64) {
        let mut state = self.state.lock();
        state.is_walking = false;
        state.say(&format!("Enumerating objects: {count}, done.\n"));
    }

    /// The pack is complete.
    pub(super) fn sent(&self, sent: &SendReport) {
        let (count, len) = (sent.object_count, sent.pack_len);
        self.state.lock().say(&format!("Total {count}, {len} bytes\n"));
    }

    /// Writes what is pending and the end.
    ///
    /// # Errors
    /// [`StoreError::Interrupted`] when the client is gone.
    pub(super) fn finish(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        state.write_pending();
        state.try_write(Sideband::finish);
        if state.is_gone { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    /// The last word. Pending data is dropped, so that no pack is whole by accident.
    pub(super) fn fatal(&self, words: &str) {
        self.state.lock().try_write(|band| band.fatal(words));
    }

    /// Why writing failed, once.
    pub(super) fn gone(&self) -> Option<io::Error> {
        self.state.lock().gone.take()
    }
}

impl<'a> State<'a> {
    fn try_write(&mut self, write: impl FnOnce(&mut Sideband<'a, Out<'a>>) -> io::Result<()>) {
        if self.is_gone {
            return;
        }
        match write(&mut self.band) {
            Ok(()) => self.last_written = Instant::now(),
            Err(error) => {
                self.is_gone = true;
                self.gone = Some(error);
            }
        }
    }

    fn say(&mut self, words: &str) {
        if !self.is_quiet {
            self.try_write(|band| band.progress(words).and_then(|()| band.pack().flush()));
        }
    }

    fn write_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.try_write(|band| band.pack().write_all(&pending));
        }
        self.pending = pending;
        self.pending.clear();
    }

    fn take_data(&mut self, mut data: &[u8]) {
        while !data.is_empty() && !self.is_gone {
            let room = BAND_64K_LEN_MAX - self.pending.len();
            let (now, later) = data.split_at(room.min(data.len()));
            if self.pending.is_empty() && now.len() == BAND_64K_LEN_MAX {
                self.try_write(|band| band.pack().write_all(now));
            } else {
                self.pending.extend_from_slice(now);
                if self.pending.len() == BAND_64K_LEN_MAX {
                    self.write_pending();
                }
            }
            data = later;
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.is_walking && !self.is_quiet && now - self.last_shown >= SHOWN_PERIOD {
            self.last_shown = now;
            let count = self.count;
            self.say(&format!("Enumerating objects: {count}\r"));
        }
        if now - self.last_written >= KEEP_ALIVE {
            if self.pending.is_empty() {
                self.try_write(Sideband::keep_alive);
            } else {
                self.write_pending();
                self.try_write(|band| band.pack().flush());
            }
            self.last_written = now;
        }
    }
}

impl Progress for Reporter<'_> {
    fn start(&self, _what: &'static str, _total: Option<u64>, _unit: Unit) {
        self.advance(0);
    }

    fn advance(&self, count: u64) {
        let mut state = self.state.lock();
        state.count += count;
        state.tick(Instant::now());
    }

    fn interrupted(&self) -> bool {
        self.state.lock().is_gone || self.stop.interrupted()
    }
}

/// The pack's way into its band.
pub(super) struct Data<'r, 'a>(&'r Reporter<'a>);

impl Write for Data<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        state.take_data(data);
        if state.is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(data.len())
    }

    /// Nothing: lines go out when they are full, or when it is time for a sign of life.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mega_storage::NoProgress;

    /// Takes so many bytes, then fails.
    struct Brittle(usize, Vec<u8>);

    impl Write for Brittle {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(data.len()).ok_or(io::ErrorKind::ConnectionReset)?;
            self.1.extend_from_slice(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn data_fills_lines_and_words_stand_between() {
        let mut out = Vec::new();
        let reporter = Reporter::new(&mut out, BandKind::Large, false, &NoProgress);
        let data = vec![7; BAND_64K_LEN_MAX + 10];
        reporter.enumerated(3);
        reporter.data().write_all(&data[..5]).expect("written");
        reporter.data().write_all(&data[5..]).expect("written");
        reporter.finish().expect("written");
        drop(reporter);
        let words = "\x02Enumerating objects: 3, done.\n";
        let mut expected = format!("{:04x}{words}fff0\x01", words.len() + 4).into_bytes();
        expected.extend_from_slice(&data[..BAND_64K_LEN_MAX]);
        expected.extend_from_slice(b"000f\x01");
        expected.extend_from_slice(&data[..10]);
        expected.extend_from_slice(b"0000");
        assert!(out == expected);
    }

    #[test]
    fn without_sidebands_there_is_only_data() {
        let mut out = Vec::new();
        let reporter = Reporter::new(&mut out, BandKind::Off, false, &NoProgress);
        reporter.enumerated(3);
        reporter.data().write_all(b"PACK").expect("written");
        reporter.finish().expect("written");
        drop(reporter);
        assert_eq!(out, b"PACK");
    }

    #[test]
    fn a_client_that_is_silent_hears_signs_of_life() {
        let mut out = Vec::new();
        let reporter = Reporter::new(&mut out, BandKind::Large, true, &NoProgress);
        let later = Instant::now() + KEEP_ALIVE;
        reporter.state.lock().tick(later);
        reporter.state.lock().tick(later);
        reporter.data().write_all(b"P").expect("written");
        reporter.state.lock().tick(later + KEEP_ALIVE);
        reporter.fatal("no");
        drop(reporter);
        assert_eq!(out, b"0005\x010006\x01P0007\x03no");
    }

    #[test]
    fn when_writing_fails_the_engine_is_told_to_stop() {
        let mut out = Brittle(10, Vec::new());
        let reporter = Reporter::new(&mut out, BandKind::Large, false, &NoProgress);
        assert!(!reporter.interrupted());
        reporter.enumerated(1);
        assert!(reporter.interrupted());
        assert!(reporter.data().write_all(b"PACK").is_err());
        assert!(reporter.finish().is_err());
        assert_eq!(reporter.gone().map(|e| e.kind()), Some(io::ErrorKind::ConnectionReset));
        assert!(reporter.gone().is_none() && reporter.interrupted());
    }
}
