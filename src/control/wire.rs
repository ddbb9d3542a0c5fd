//! Frames and lines as they travel, with their limits.

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use super::{ControlError, FRAME_LEN_MAX};

/// One line of an answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Frame {
    /// So many raw bytes of the answer follow the line.
    Out { len: u32 },
    /// A line for the person.
    Note { text: String },
    /// How far the work is.
    Progress { what: String, total: Option<u64>, is_bytes: bool, done: u64 },
    /// The end.
    Exit(Exit),
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Exit {
    /// The process's exit code.
    pub code: u8,
    /// What went wrong, for the person.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Writes a value as one line.
pub(super) fn write_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)
}

/// Reads one line of at most `limit` bytes. `None` at the end of the stream.
///
/// # Errors
/// `InvalidData` when the line is longer or the stream ends inside it.
pub(super) fn read_line(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(limit as u64 + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        let reason = if line.len() >= limit { "a line is too long" } else { "a line is cut off" };
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(Some(line))
}

/// Reads the next frame. `None` at the end of the stream.
pub(super) fn read_frame(input: &mut impl BufRead) -> Result<Option<Frame>, ControlError> {
    let line = match read_line(input, FRAME_LEN_MAX) {
        Ok(Some(line)) => line,
        Ok(None) => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            return Err(ControlError::Protocol { reason: e.to_string() });
        }
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        Err(e) => return Err(ControlError::io("reading the control socket", e)),
    };
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|e| ControlError::Protocol { reason: e.to_string() })
}

/// Cuts a text for a frame so that the line stays within [`FRAME_LEN_MAX`], whatever JSON makes of
/// it.
pub(super) fn fit(text: &str) -> String {
    // A control character becomes six bytes.
    let limit = FRAME_LEN_MAX / 6 - 64;
    let end = text.floor_char_boundary(limit);
    if end == text.len() { text.to_owned() } else { format!("{} ...", &text[..end]) }
}
