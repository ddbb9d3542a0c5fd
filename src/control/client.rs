//! The asking end: finds the process that has the store open, sends one call, hands on what comes
//! back.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use mega_storage::Unit;

use super::wire::{self, Frame};
use super::{Call, ControlError, Exit, OUT_LEN_MAX, REQUEST_LEN_MAX, SOCKET_NAME, short_path};

/// Takes an answer that comes over the socket.
pub trait Sink {
    /// Bytes of the answer.
    ///
    /// # Errors
    /// When they cannot be written; the call ends.
    fn out(&self, bytes: &[u8]) -> io::Result<()>;
    /// A line for the person.
    fn note(&self, text: &str);
    /// How far the work `what` is.
    fn progress(&self, what: &str, total: Option<u64>, unit: Unit, done: u64);
}

/// Connects to the process that has the store open; `None` when nobody listens.
///
/// # Errors
/// When the socket is there but may not be used.
pub fn connect(store: &Path) -> Result<Option<UnixStream>, ControlError> {
    let connected =
        short_path(store, SOCKET_NAME).and_then(|(_dir, path)| UnixStream::connect(path));
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(ControlError::io(
                format!("connecting to {}", store.join(SOCKET_NAME).display()),
                e,
            )),
        },
    }
}

/// Sends `request` and gives what comes back to `sink`, until the end.
///
/// # Errors
/// [`ControlError::Gone`] when the other end closed without a word: nothing was done, and the
/// caller may try again.
pub fn call(stream: UnixStream, request: &Call, sink: &dyn Sink) -> Result<Exit, ControlError> {
    let mut line = serde_json::to_vec(request)
        .map_err(|e| ControlError::Protocol { reason: e.to_string() })?;
    if line.len() > REQUEST_LEN_MAX {
        return Err(ControlError::RequestTooLong { len: line.len() });
    }
    line.push(b'\n');
    match (&stream).write_all(&line) {
        // It did not wait for the request. Why is what it said before it closed, if it said
        // anything.
        Err(e) if is_gone(&e) => {}
        other => other.map_err(|e| ControlError::io("writing to the control socket", e))?,
    }
    let mut input = BufReader::with_capacity(64 << 10, stream);
    let mut buffer = Vec::new();
    let mut is_first = true;
    loop {
        match wire::read_frame(&mut input)? {
            None if is_first => return Err(ControlError::Gone),
            None => return Err(ControlError::Cut),
            Some(Frame::Exit(exit)) => return Ok(exit),
            Some(Frame::Note { text }) => sink.note(&text),
            Some(Frame::Progress { what, total, is_bytes, done }) => {
                let unit = if is_bytes { Unit::Bytes } else { Unit::Objects };
                sink.progress(&what, total, unit, done);
            }
            Some(Frame::Out { len }) => {
                let len = len as usize;
                if len > OUT_LEN_MAX {
                    return Err(ControlError::Protocol { reason: format!("{len} bytes at once") });
                }
                buffer.resize(len, 0);
                input.read_exact(&mut buffer).map_err(|_| ControlError::Cut)?;
                sink.out(&buffer).map_err(ControlError::Output)?;
            }
        }
        is_first = false;
    }
}

/// Whether the other end has closed.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
