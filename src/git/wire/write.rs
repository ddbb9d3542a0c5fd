//! Writes pkt-lines. Each line goes out in one write; nothing is kept back.

use std::io::{self, Write};

use gix_packetline::blocking_io::encode;

use crate::git::limits::LINE_DATA_LEN_MAX;

/// Writes pkt-lines. Put a `BufWriter` below it where lines are many and small.
pub struct PktWriter<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> PktWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::new() }
    }

    /// A line of these bytes, which are neither none nor more than [`LINE_DATA_LEN_MAX`].
    ///
    /// # Errors
    /// When `out` fails, or for a length that no line has.
    pub fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.line.clear();
        encode::data_to_write(data, &mut self.line)?;
        self.out.write_all(&self.line)
    }

    /// A line of text; the newline is added.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub fn text(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.line.clear();
        encode::text_to_write(text.as_ref(), &mut self.line)?;
        self.out.write_all(&self.line)
    }

    /// `0000`.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn flush(&mut self) -> io::Result<()> {
        encode::flush_to_write(&mut self.out).map(drop)
    }

    /// `0001`.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn delim(&mut self) -> io::Result<()> {
        encode::delim_to_write(&mut self.out).map(drop)
    }

    /// `0002`.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn response_end(&mut self) -> io::Result<()> {
        encode::response_end_to_write(&mut self.out).map(drop)
    }

    /// `ERR` with what is wrong: the client shows it and ends. Cut to a line's length.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn error(&mut self, message: &str) -> io::Result<()> {
        let end = message.floor_char_boundary(LINE_DATA_LEN_MAX - "ERR \n".len());
        self.text(format!("ERR {}", &message[..end]))
    }

    /// What is below.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// What is below.
    pub fn into_inner(self) -> W {
        self.out
    }
}
