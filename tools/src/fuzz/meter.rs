//! Memory that a run asked for: counted by whoever owns the allocator.

/// Counts memory between two calls.
pub trait Meter {
    /// Starts to count anew.
    fn reset(&self);

    /// The most bytes that were in use at once above what was in use at the last reset.
    fn peak(&self) -> usize;
}

/// Counts nothing.
pub struct NoMeter;

impl Meter for NoMeter {
    fn reset(&self) {}

    fn peak(&self) -> usize {
        0
    }
}
