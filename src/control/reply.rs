//! Where a command's answer goes: the terminal of the process itself, or a socket.

use std::io;

use mega_storage::Progress;

/// Takes the answer, the words beside it and the progress. Safe to use from several threads.
pub trait Reply: Progress {
    /// Writes bytes of the answer (standard output). Blocks while the reader is slower.
    ///
    /// # Errors
    /// When the reader is gone.
    fn out(&self, bytes: &[u8]) -> io::Result<()>;

    /// Says a line to the person (standard error). One that cannot be delivered is dropped.
    fn note(&self, text: &str);
}
