//! Several ranges in one answer: `multipart/byteranges`.

use std::fmt::Display;

/// The parts' frames, made before anything is sent so that the length is known.
pub struct Frames {
    boundary: String,
    /// What stands before each part.
    pub heads: Vec<String>,
    /// What stands after the last one.
    pub tail: String,
}

impl Frames {
    /// Frames for `parts` of the content `id` with `total_len` bytes. The boundary has the
    /// content's hash, so no content has it in itself.
    pub fn new(id: impl Display, total_len: u64, parts: &[(u64, u64)]) -> Self {
        let boundary = format!("part-of-{id}");
        let head = |(index, (offset, len)): (usize, &(u64, u64))| {
            let before = if index == 0 { "" } else { "\r\n" };
            let last = offset + len - 1;
            format!(
                "{before}--{boundary}\r\nContent-Type: application/octet-stream\r\n\
                 Content-Range: bytes {offset}-{last}/{total_len}\r\n\r\n"
            )
        };
        let heads = parts.iter().enumerate().map(head).collect();
        let tail = format!("\r\n--{boundary}--\r\n");
        Self { boundary, heads, tail }
    }

    /// The answer's media type.
    pub fn media_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// Bytes of all frames together.
    pub fn len(&self) -> u64 {
        (self.heads.iter().map(String::len).sum::<usize>() + self.tail.len()) as u64
    }
}
