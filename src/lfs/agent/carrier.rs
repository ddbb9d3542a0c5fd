//! What the agent asks of a server, whatever carries it there and the answer back.

use std::io::{self, BufRead, BufReader, Read};

use bytes::Bytes;
use mega_storage::ChunkRef;
use serde::Serialize;

use super::{Remote, Target};
use crate::lfs::wire::{self, Claim, Listing, Range, Route, Step, Wanted};
use crate::lfs::{ANSWER_LEN_MAX, LfsError};

/// Longest line of progress, in bytes.
const STEP_LEN_MAX: u64 = 64 << 10;

/// Reads an answer. `InvalidData` is the server's fault; any other error means that it broke off.
pub(super) type Take<'a> = dyn FnMut(&mut dyn Read) -> io::Result<()> + 'a;

/// A way to a server.
pub(super) trait Carrier: Sync {
    /// What errors call the server.
    fn host(&self, target: &Target) -> String;

    /// Sends a request and has `take` read the answer to it.
    ///
    /// # Errors
    /// When the server cannot be asked or refuses, and those of `take`.
    fn ask(
        &self,
        target: &Target,
        route: Route,
        body: Bytes,
        take: &mut Take<'_>,
    ) -> Result<(), LfsError>;
}

/// JSON and what follows it.
fn body<T: Serialize>(head: &T, rest: &[u8]) -> Result<Bytes, LfsError> {
    let mut body = Vec::with_capacity(rest.len() + 1024);
    wire::write_head(head, &mut body).map_err(unsaid)?;
    body.extend_from_slice(rest);
    Ok(body.into())
}

fn unsaid(source: io::Error) -> LfsError {
    LfsError::Io { action: "making a request".to_owned(), source }
}

fn entries(chunks: &[ChunkRef]) -> Vec<u8> {
    chunks.iter().flat_map(wire::entry).collect()
}

fn wrong(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Reads the answer to its end; what it says does not matter.
fn read_off(input: &mut dyn Read) -> io::Result<()> {
    match io::copy(&mut input.take(ANSWER_LEN_MAX + 1), &mut io::sink())? {
        0..=ANSWER_LEN_MAX => Ok(()),
        _ => Err(wrong("it is too long")),
    }
}

impl<C: Carrier> Remote for C {
    fn missing(
        &self,
        target: &Target,
        claim: &Claim,
        chunks: &[ChunkRef],
    ) -> Result<Vec<bool>, LfsError> {
        let len = chunks.len().div_ceil(8);
        let mut bitmap = Vec::new();
        self.ask(target, Route::Missing, body(claim, &entries(chunks))?, &mut |input| {
            bitmap.clear();
            match input.take(len as u64 + 1).read_to_end(&mut bitmap)? {
                read if read == len => Ok(()),
                _ => Err(wrong("a bitmap of another length")),
            }
        })?;
        let bit = |index: usize| bitmap.get(index / 8).is_some_and(|b| b >> (index % 8) & 1 == 1);
        Ok((0..chunks.len()).map(bit).collect())
    }

    fn send(&self, target: &Target, claim: &Claim, frames: Vec<u8>) -> Result<(), LfsError> {
        self.ask(target, Route::Send, body(claim, &frames)?, &mut |input| read_off(input))
    }

    fn finish(
        &self,
        target: &Target,
        claim: &Claim,
        chunks: &[ChunkRef],
        hashed: &mut dyn FnMut(u64),
    ) -> Result<(), LfsError> {
        let mut refused = None;
        self.ask(target, Route::Finish, body(claim, &entries(chunks))?, &mut |input| {
            let mut lines = BufReader::new(input);
            let mut line = Vec::new();
            loop {
                line.clear();
                lines.by_ref().take(STEP_LEN_MAX).read_until(b'\n', &mut line)?;
                if line.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let step = serde_json::from_slice(&line);
                match step.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
                    Step::Hashed(count) => hashed(count),
                    Step::Done => return Ok(()),
                    Step::Error { code, message } => {
                        refused = Some((code, message));
                        return Ok(());
                    }
                }
            }
        })?;
        match refused {
            None => Ok(()),
            Some((status, message)) => {
                let message = format!(": {}", crate::lfs::tidy(&message));
                Err(LfsError::Status { host: self.host(target), status, message })
            }
        }
    }

    fn chunks(&self, target: &Target) -> Result<Vec<ChunkRef>, LfsError> {
        let mut chunks = Vec::new();
        self.ask(target, Route::Chunks, Bytes::new(), &mut |input| {
            chunks.clear();
            let mut input = BufReader::new(input);
            let listing: Listing = wire::read_head(&mut input)?;
            while let Some(chunk) = wire::read_entry(&mut input)? {
                if chunks.len() as u64 == listing.count {
                    return Err(wrong("more chunks than it said"));
                }
                chunks.push(chunk);
            }
            match chunks.len() as u64 == listing.count {
                true => Ok(()),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })?;
        Ok(chunks)
    }

    fn fetch(
        &self,
        target: &Target,
        ranges: &[Range],
        take: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), LfsError> {
        let wanted = serde_json::to_vec(&Wanted { ranges: ranges.to_vec() });
        let wanted = wanted.map_err(|e| unsaid(e.into()))?;
        self.ask(target, Route::Fetch, wanted.into(), take)
    }

    fn put(&self, target: &Target, content: Vec<u8>) -> Result<(), LfsError> {
        self.ask(target, Route::Put, content.into(), &mut |input| read_off(input))
    }
}
