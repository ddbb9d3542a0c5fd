//! The agent's requests over one ordered stream, as peers have it in place of HTTP.
//!
//! The asker sends a request, the other side its answer, then the next request may come:
//!
//! | | |
//! |---|---|
//! | request | route (1 byte), SHA-256 of the file (32 bytes), body |
//! | answer | status as HTTP has it (2 bytes), body; of a refusal the body is its reason in UTF-8 |
//! | body | pieces: length (4 bytes, 1 to [`PIECE_LEN_MAX`]) and so many bytes; then length 0 |
//!
//! Routes are 1 `missing`, 2 `send`, 3 `finish`, 4 `chunks`, 5 `fetch` and 6, the whole file after
//! a [`Claim`](super::wire::Claim); bodies are those of [`super::wire`]. The length [`BROKEN`] in
//! place of a piece says that the answer breaks off there. Numbers are big-endian.

#![deny(clippy::indexing_slicing)]

use std::io::{self, Read, Write};

use mega_storage::FileId;

use super::wire::Route;

/// Longest piece, in bytes.
pub const PIECE_LEN_MAX: u32 = 64 << 10;
/// In place of a piece's length: nothing more comes, and it was not all.
pub const BROKEN: u32 = u32::MAX;
/// The status of an answer that is one.
pub const GOOD: u16 = 200;

const ROUTES: [(u8, Route); 6] = [
    (1, Route::Missing),
    (2, Route::Send),
    (3, Route::Finish),
    (4, Route::Chunks),
    (5, Route::Fetch),
    (6, Route::Put),
];

/// Writes what stands before a request's body.
///
/// # Errors
/// The writer's.
pub fn write_ask(out: &mut dyn Write, route: Route, file: &FileId) -> io::Result<()> {
    let number = ROUTES.iter().find(|(_, known)| *known == route).map_or(0, |(number, _)| *number);
    out.write_all(&[number])?;
    out.write_all(file.as_bytes())
}

/// Reads what stands before a request's body; `None` at the end of the stream.
///
/// # Errors
/// The reader's; `InvalidData` for a route that is none.
pub fn read_ask(input: &mut dyn Read) -> io::Result<Option<(Route, FileId)>> {
    let mut number = [0];
    if input.read(&mut number)? == 0 {
        return Ok(None);
    }
    let route = ROUTES.iter().find(|(known, _)| [*known] == number).map(|(_, route)| *route);
    let route = route.ok_or_else(|| invalid("there is no such route"))?;
    let mut id = [0; FileId::LEN];
    input.read_exact(&mut id)?;
    Ok(Some((route, FileId::from_bytes(id))))
}

/// Reads a body to its end.
pub struct PieceReader<R> {
    input: R,
    /// Bytes that are left of the piece.
    left: u32,
    read_len: u64,
    has_ended: bool,
}

impl<R: Read> PieceReader<R> {
    /// A body that begins here.
    pub fn new(input: R) -> Self {
        Self { input, left: 0, read_len: 0, has_ended: false }
    }

    /// Bytes of it that were read.
    pub fn read_len(&self) -> u64 {
        self.read_len
    }

    /// Reads off what is left; whether that was at most `len_max` bytes, so that the next can
    /// follow.
    ///
    /// # Errors
    /// The reader's.
    pub fn finish(&mut self, len_max: u64) -> io::Result<bool> {
        io::copy(&mut self.by_ref().take(len_max), &mut io::sink())?;
        Ok(self.has_ended || self.read(&mut [0])? == 0)
    }
}

impl<R: Read> Read for PieceReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || self.has_ended {
            return Ok(0);
        }
        if self.left == 0 {
            let mut len = [0; 4];
            self.input.read_exact(&mut len)?;
            self.left = match u32::from_be_bytes(len) {
                0 => {
                    self.has_ended = true;
                    return Ok(0);
                }
                BROKEN => return Err(io::ErrorKind::UnexpectedEof.into()),
                len if len > PIECE_LEN_MAX => return Err(invalid("a piece is too long")),
                len => len,
            };
        }
        let most = out.len().min(self.left as usize);
        let Some(part) = out.get_mut(..most) else { return Ok(0) };
        let read = self.input.read(part)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= u32::try_from(read).unwrap_or(self.left);
        self.read_len += read as u64;
        Ok(read)
    }
}

/// Writes a body. One that is not finished goes on.
pub struct PieceWriter<W> {
    out: W,
}

impl<W: Write> PieceWriter<W> {
    /// A body that begins here.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Says that this was all.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&0u32.to_be_bytes())?;
        self.out.flush()
    }

    /// Says that it was not all, and will never be.
    ///
    /// # Errors
    /// The writer's.
    pub fn break_off(mut self) -> io::Result<()> {
        self.out.write_all(&BROKEN.to_be_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Write for PieceWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..PIECE_LEN_MAX as usize).unwrap_or(bytes);
        let len = u32::try_from(piece.len()).unwrap_or(PIECE_LEN_MAX);
        if len > 0 {
            self.out.write_all(&len.to_be_bytes())?;
            self.out.write_all(piece)?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = PieceWriter::new(&mut out);
        writer.write_all(content).expect("written");
        writer.finish().expect("finished");
        out
    }

    #[test]
    fn bodies_follow_each_other() {
        let long = vec![7; PIECE_LEN_MAX as usize * 2 + 1];
        let bytes = [body(&long), body(b""), body(b"end")].concat();
        let mut input = &bytes[..];
        for content in [&long[..], b"", b"end"] {
            let mut read = Vec::new();
            PieceReader::new(&mut input).read_to_end(&mut read).expect("read");
            assert_eq!(read, content);
        }
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_left_of_a_body_is_read_off_up_to_a_limit() {
        let bytes = [body(b"12345678"), body(b"next")].concat();
        let mut input = &bytes[..];
        let mut reader = PieceReader::new(&mut input);
        reader.read_exact(&mut [0; 3]).expect("read");
        assert!(reader.finish(5).expect("read off"));
        let mut read = String::new();
        PieceReader::new(&mut input).read_to_string(&mut read).expect("read");
        assert_eq!(read, "next");
        assert!(!PieceReader::new(&mut &bytes[..]).finish(7).expect("read off"));
    }

    #[test]
    fn a_body_that_broke_off_never_looks_whole() {
        let whole = body(b"12345678");
        for len in 0..whole.len() {
            let read = PieceReader::new((&whole[..]).take(len as u64)).read_to_end(&mut Vec::new());
            let kind = read.expect_err("it is cut").kind();
            assert_eq!(kind, io::ErrorKind::UnexpectedEof, "after {len} bytes");
        }
        let mut broken = Vec::new();
        let mut writer = PieceWriter::new(&mut broken);
        writer.write_all(b"123").expect("written");
        writer.break_off().expect("said");
        assert!(PieceReader::new(&broken[..]).read_to_end(&mut Vec::new()).is_err());
        let long = (PIECE_LEN_MAX + 1).to_be_bytes();
        let read = PieceReader::new(&long[..]).read_to_end(&mut Vec::new());
        assert_eq!(read.expect_err("too long").kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let file = FileId::from_bytes([3; 32]);
        for (_, route) in ROUTES {
            let mut bytes = Vec::new();
            write_ask(&mut bytes, route, &file).expect("written");
            assert_eq!(read_ask(&mut &bytes[..]).expect("read"), Some((route, file)));
            assert!(read_ask(&mut (&bytes[..]).take(20)).is_err());
        }
        assert_eq!(read_ask(&mut &b""[..]).expect("the end"), None);
        assert!(read_ask(&mut &[9; 33][..]).is_err());
    }
}
