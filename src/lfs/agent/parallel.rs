//! Requests side by side.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::REQUESTS_MAX;
use crate::lfs::LfsError;

/// Does `work` for each of `batches`, a few at once. After an error no more are begun.
pub(super) fn in_parallel<T: Sync>(
    batches: &[T],
    work: &(dyn Fn(&T) -> Result<(), LfsError> + Sync),
) -> Result<(), LfsError> {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            // The others stop at their next batch.
            work(batch).inspect_err(|_| next.store(batches.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let count = REQUESTS_MAX.min(batches.len());
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(run)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}
