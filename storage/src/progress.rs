//! How far a long operation is, told to whoever shows it; and whether it should stop.
//!
//! The engine prints nothing. It calls [`Progress::advance`] at least once per megabyte or thousand
//! objects and asks [`Progress::interrupted`] as often; an operation that is told to stop returns
//! [`crate::StoreError::Interrupted`] and leaves nothing visible.

/// What is being counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Git objects, references, files.
    Objects,
    /// Bytes.
    Bytes,
}

/// Receives the progress of an operation. Called from several threads.
pub trait Progress: Sync {
    /// A phase begins: what it does, and how much there is to do when that is known.
    fn start(&self, what: &'static str, total: Option<u64>, unit: Unit);

    /// `count` more units of the phase are done.
    fn advance(&self, count: u64);

    /// Whether the operation should stop.
    fn interrupted(&self) -> bool;
}

/// Shows nothing and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _what: &'static str, _total: Option<u64>, _unit: Unit) {}

    fn advance(&self, _count: u64) {}

    fn interrupted(&self) -> bool {
        false
    }
}
