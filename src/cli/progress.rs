//! Progress for a person: a bar on a terminal for work over a second, a line now and then
//! elsewhere.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use mega_storage::Unit;
use parking_lot::Mutex;

use super::output::{count, size};

/// Work that is done sooner shows nothing.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Time between two plain lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(15);
/// Redraws in a second.
const REDRAWS: u8 = 10;

/// The one bar of a command.
pub(super) struct Bar {
    is_shown: bool,
    is_terminal: bool,
    began: Instant,
    done: AtomicU64,
    stage: Mutex<Stage>,
    stop: Arc<AtomicBool>,
}

struct Stage {
    what: String,
    total: Option<u64>,
    unit: Unit,
    bar: Option<ProgressBar>,
    last: Instant,
}

impl Bar {
    pub(super) fn new(is_shown: bool, is_terminal: bool) -> Self {
        let now = Instant::now();
        let stage =
            Stage { what: String::new(), total: None, unit: Unit::Objects, bar: None, last: now };
        Self {
            is_shown,
            is_terminal,
            began: now,
            done: AtomicU64::new(0),
            stage: Mutex::new(stage),
            stop: Arc::default(),
        }
    }

    /// A stage begins.
    pub(super) fn begin(&self, what: &str, total: Option<u64>, unit: Unit) {
        let mut stage = self.stage.lock();
        stage.end();
        self.done.store(0, Ordering::Relaxed);
        stage.what = what.to_owned();
        (stage.total, stage.unit) = (total, unit);
        stage.last = Instant::now();
    }

    /// More is done.
    pub(super) fn advance(&self, more: u64) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        if self.is_shown && self.began.elapsed() >= QUIET_TIME {
            // Another thread that is at it shows the new number too.
            if let Some(mut stage) = self.stage.try_lock() {
                stage.show(done, self.is_terminal);
            }
        }
    }

    /// Where the work of another process is.
    pub(super) fn show(&self, what: &str, total: Option<u64>, unit: Unit, done: u64) {
        if self.stage.lock().what != what {
            self.begin(what, total, unit);
        }
        let before = self.done.load(Ordering::Relaxed);
        self.advance(done.saturating_sub(before));
    }

    /// Whether the person asked to stop.
    pub(super) fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs `write` while no bar is drawn.
    pub(super) fn suspend(&self, write: impl FnOnce()) {
        match &self.stage.lock().bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Removes the bar.
    pub(super) fn end(&self) {
        self.stage.lock().end();
    }

    /// Turns the first SIGINT or SIGTERM into a wish to stop; the second one ends the process.
    pub(super) fn stop_gently(&self) {
        use signal_hook::consts::{SIGINT, SIGTERM};
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the second signal finds the flag that the first one set.
            let registered =
                signal_hook::flag::register_conditional_shutdown(signal, 130, self.stop.clone())
                    .and_then(|_| signal_hook::flag::register(signal, self.stop.clone()));
            if let Err(error) = registered {
                tracing::warn!(%error, "signals end the process at once");
            }
        }
    }
}

impl Stage {
    fn show(&mut self, done: u64, is_terminal: bool) {
        if is_terminal {
            let bar = self.bar.get_or_insert_with(|| new_bar(&self.what, self.total, self.unit));
            bar.set_position(done);
            return;
        }
        if self.last.elapsed() < LINE_INTERVAL {
            return;
        }
        self.last = Instant::now();
        let number = |number| match self.unit {
            Unit::Objects => count(number, "item"),
            Unit::Bytes => size(number),
        };
        let of = self.total.map_or_else(String::new, |total| format!(" of {}", number(total)));
        let _ = writeln!(io::stderr(), "{}: {}{of}", self.what, number(done));
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.what.clear();
    }
}

fn new_bar(what: &str, total: Option<u64>, unit: Unit) -> ProgressBar {
    let numbers = match (unit, total) {
        (Unit::Objects, Some(_)) => "{human_pos}/{human_len} ({rate}/s, {eta})",
        (Unit::Objects, None) => "{human_pos} ({rate}/s)",
        (Unit::Bytes, Some(_)) => {
            "{binary_bytes}/{binary_total_bytes} ({binary_bytes_per_sec}, {eta})"
        }
        (Unit::Bytes, None) => "{binary_bytes} ({binary_bytes_per_sec})",
    };
    let bar = if total.is_some() { "{bar:24} " } else { "{spinner} " };
    let template = format!("{{msg:24}} {bar}{numbers}");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{:.0}", state.per_sec());
    };
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
    ProgressBar::with_draw_target(total, target)
        .with_style(style.with_key("rate", rate))
        .with_message(what.to_owned())
}
