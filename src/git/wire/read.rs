//! Reads pkt-lines, one at a time, never a byte further.

#![deny(clippy::indexing_slicing)]

use std::io::{self, Read};

use gix_packetline::PacketLineRef;
use gix_packetline::decode::{PacketLineOrWantedSize, hex_prefix};

use super::{WireError, shown};
use crate::git::limits::LINE_LEN_MAX;

/// One line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pkt<'a> {
    /// `0000`: the end of a list.
    Flush,
    /// `0001`: the end of a section (version 2).
    Delim,
    /// `0002`: the end of a response (version 2).
    ResponseEnd,
    /// Anything else, as it came: a newline at its end is still there.
    Data(&'a [u8]),
}

/// How many lines, and bytes of them with their lengths, a reader may return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Most lines; flushes and their like count too.
    pub lines: u64,
    /// Most bytes.
    pub bytes: u64,
}

/// A line without the newline that may end it.
pub fn text(data: &[u8]) -> &[u8] {
    data.strip_suffix(b"\n").unwrap_or(data)
}

/// Reads pkt-lines within a budget.
pub struct PktReader<R> {
    input: R,
    line: Vec<u8>,
    budget: Budget,
    lines: u64,
    bytes: u64,
}

impl<R: Read> PktReader<R> {
    /// Starts at the front of a line.
    pub fn new(input: R, budget: Budget) -> Self {
        Self { input, line: Vec::new(), budget, lines: 0, bytes: 0 }
    }

    /// The next line.
    ///
    /// # Errors
    /// [`WireError`]; [`WireError::Ended`] also where the stream ends between two lines.
    #[allow(clippy::should_implement_trait)] // It lends its buffer.
    pub fn next(&mut self) -> Result<Pkt<'_>, WireError> {
        self.next_or_end()?.ok_or(WireError::Ended)
    }

    /// The next line, or `None` where the stream ends between two lines.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn next_or_end(&mut self) -> Result<Option<Pkt<'_>>, WireError> {
        let mut header = [0; 4];
        match read_full(&mut self.input, &mut header)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(WireError::Ended),
        }
        self.lines += 1;
        if self.lines > self.budget.lines {
            return Err(WireError::Lines { limit: self.budget.lines });
        }
        self.spend(4)?;
        // Git takes an empty line for data of no length; the crate refuses it.
        if header == *b"0004" {
            return Ok(Some(Pkt::Data(b"")));
        }
        let bad = || WireError::Length { header: shown(&header) };
        let len = match hex_prefix(&header).map_err(|_| bad())? {
            PacketLineOrWantedSize::Line(PacketLineRef::Flush) => return Ok(Some(Pkt::Flush)),
            PacketLineOrWantedSize::Line(PacketLineRef::Delimiter) => return Ok(Some(Pkt::Delim)),
            PacketLineOrWantedSize::Line(PacketLineRef::ResponseEnd) => {
                return Ok(Some(Pkt::ResponseEnd));
            }
            PacketLineOrWantedSize::Line(PacketLineRef::Data(_)) => return Err(bad()),
            PacketLineOrWantedSize::Wanted(len) => usize::from(len),
        };
        if len + header.len() > LINE_LEN_MAX {
            return Err(bad());
        }
        self.spend(len as u64)?;
        self.line.resize(len, 0);
        if read_full(&mut self.input, &mut self.line)? < len {
            return Err(WireError::Ended);
        }
        Ok(Some(Pkt::Data(&self.line)))
    }

    fn spend(&mut self, len: u64) -> Result<(), WireError> {
        self.bytes += len;
        if self.bytes > self.budget.bytes {
            return Err(WireError::Bytes { limit: self.budget.bytes });
        }
        Ok(())
    }

    /// Gives another budget to what follows, nothing spent yet: for the next part of a request.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
        self.lines = 0;
        self.bytes = 0;
    }

    /// What follows the last line that was read.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// What follows the last line that was read.
    pub fn into_inner(self) -> R {
        self.input
    }
}

/// Fills `out` as far as the stream goes; returns how far.
fn read_full(input: &mut impl Read, out: &mut [u8]) -> Result<usize, WireError> {
    let mut len = 0;
    while let Some(rest) = out.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(WireError::Io(e)),
        }
    }
    Ok(len)
}
