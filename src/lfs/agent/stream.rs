//! The agent's server at a peer, asked over one stream: git-lfs runs several agents, and a stream
//! costs the peer a thread.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use mega_storage::FileId;
use parking_lot::Mutex;

use super::Target;
use super::carrier::{Carrier, Take};
use crate::lfs::pieces::{GOOD, PIECE_LEN_MAX, PieceReader, PieceWriter, write_ask};
use crate::lfs::wire::{self, Claim, Route};
use crate::lfs::{ANSWER_LEN_MAX, LfsError, tidy};

/// Opens a stream to the repository at an address.
pub type Connect<'a> = dyn Fn(&str) -> io::Result<UnixStream> + Sync + 'a;

/// Longest reason of a refusal that is read, in bytes.
const REASON_LEN_MAX: u64 = 4096;

/// Writes a request.
type Say<'a> = dyn Fn(&mut dyn Write) -> io::Result<()> + 'a;

/// A repository at a peer.
pub struct StreamRemote<'a> {
    /// Its address.
    name: String,
    connect: &'a Connect<'a>,
    /// The stream when it can be used again.
    stream: Mutex<Option<UnixStream>>,
}

impl<'a> StreamRemote<'a> {
    /// The repository at `name`, to which `connect` opens streams.
    pub fn new(name: String, connect: &'a Connect<'a>) -> Self {
        Self { name, connect, stream: Mutex::default() }
    }

    fn failed(&self, error: &io::Error) -> LfsError {
        let host = self.name.clone();
        match error.kind() {
            io::ErrorKind::InvalidData => LfsError::Answer { host, reason: error.to_string() },
            io::ErrorKind::UnexpectedEof => {
                LfsError::Network { host, reason: "the answer broke off".to_owned() }
            }
            _ => LfsError::Network { host, reason: error.to_string() },
        }
    }
}

/// Sends a request; the stream, and the answer's status.
fn send(stream: UnixStream, ask: &Say<'_>) -> io::Result<(UnixStream, u16)> {
    let mut out = io::BufWriter::with_capacity(PIECE_LEN_MAX as usize, &stream);
    ask(&mut out)?;
    out.flush()?;
    drop(out);
    let mut status = [0; 2];
    (&stream).read_exact(&mut status)?;
    Ok((stream, u16::from_be_bytes(status)))
}

/// Writes a request.
///
/// # Errors
/// The writer's.
pub(super) fn write_request(
    out: &mut dyn Write,
    route: Route,
    file: &FileId,
    body: &[u8],
) -> io::Result<()> {
    write_ask(out, route, file)?;
    let mut pieces = PieceWriter::new(out);
    if route == Route::Put {
        let mut head = Vec::new();
        let claim = Claim { size: body.len() as u64, bases: Vec::new() };
        wire::write_head(&claim, &mut head)?;
        pieces.write_all(&head)?;
    }
    pieces.write_all(body)?;
    pieces.finish()
}

/// Has what follows an answer's status read. Whether the next answer can follow, and the reason of
/// a refusal.
///
/// # Errors
/// The reader's, and those of `take`.
pub(super) fn read_answer(
    input: &mut dyn Read,
    is_good: bool,
    take: &mut Take<'_>,
) -> io::Result<(bool, Option<String>)> {
    let mut body = PieceReader::new(input);
    let refusal = if is_good {
        take(&mut body)?;
        None
    } else {
        let mut reason = Vec::new();
        body.by_ref().take(REASON_LEN_MAX).read_to_end(&mut reason)?;
        Some(tidy(&String::from_utf8_lossy(&reason)))
    };
    Ok((body.finish(ANSWER_LEN_MAX)?, refusal))
}

impl Carrier for StreamRemote<'_> {
    fn host(&self, _: &Target) -> String {
        self.name.clone()
    }

    fn ask(
        &self,
        target: &Target,
        route: Route,
        body: Bytes,
        take: &mut Take<'_>,
    ) -> Result<(), LfsError> {
        let file = target.href.parse::<FileId>().map_err(|error| LfsError::Answer {
            host: self.name.clone(),
            reason: error.to_string(),
        })?;
        let ask = |out: &mut dyn Write| write_request(out, route, &file, &body);
        let mut kept = self.stream.lock();
        // One that was used before may have ended meanwhile: then it is asked on a new one.
        let sent = match kept.take().map(|stream| send(stream, &ask)) {
            Some(Ok(sent)) => Ok(sent),
            _ => (self.connect)(&self.name).and_then(|stream| send(stream, &ask)),
        };
        let (stream, status) = sent.map_err(|error| self.failed(&error))?;
        let mut input = io::BufReader::with_capacity(PIECE_LEN_MAX as usize, &stream);
        let read = read_answer(&mut input, status == GOOD, take);
        let (is_over, refusal) = read.map_err(|error| self.failed(&error))?;
        drop(input);
        *kept = is_over.then_some(stream);
        match refusal {
            None => Ok(()),
            Some(reason) => {
                let (host, message) = (self.name.clone(), format!(": {reason}"));
                Err(LfsError::Status { host, status, message })
            }
        }
    }
}
