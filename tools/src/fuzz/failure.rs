//! Panics caught, on whichever thread they happen.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

/// What the panics of this process said since it was last asked.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// An input that went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What happened.
    pub reason: String,
    /// What tells it from other failures: the reason without its numbers.
    pub kind: String,
}

impl Failure {
    /// A failure with this reason.
    pub fn new(reason: String) -> Self {
        let kind = reason.chars().filter(|c| !c.is_ascii_digit()).take(160).collect();
        Self { reason, kind }
    }
}

/// Makes panics speak to [`catch`] and not to the terminal. For the whole process.
pub fn listen() {
    panic::set_hook(Box::new(|info| {
        let words = info.payload_as_str().unwrap_or("something that is no text");
        let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let words: String = words.chars().take(500).collect();
        let text = format!("panic{}: {words} (thread {name})", place.unwrap_or_default());
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }));
}

/// Gives panics back to the terminal.
pub fn stop_listening() {
    drop(panic::take_hook());
}

/// Runs `work`. A panic of it, or of a thread that it started, is a failure.
pub fn catch<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, Failure> {
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(first) = panics.into_iter().next() {
        return Err(Failure::new(first));
    }
    match result {
        Ok(result) => result.map_err(Failure::new),
        Err(_) => Err(Failure::new("a panic without words".to_owned())),
    }
}
