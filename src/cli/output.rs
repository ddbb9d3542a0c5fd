//! What a person or a script sees: text or JSON on standard output, words on standard error.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use mega_storage::{Progress, Unit};
use serde::Serialize;

use super::progress::Bar;
use crate::control::{Reply, Sink};
use crate::node::NodeError;

/// Text is gathered up to this length before it is written, in bytes.
const GATHER_LEN: usize = 64 << 10;

/// The terminal of this process.
pub(super) struct Terminal {
    bar: Bar,
    is_quiet: bool,
}

impl Terminal {
    pub(super) fn new(is_quiet: bool) -> Self {
        Self { bar: Bar::new(!is_quiet, io::stderr().is_terminal()), is_quiet }
    }

    /// Writes a line to standard error, quiet or not.
    pub(super) fn say(&self, text: &str) {
        let plain: String =
            text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        self.bar.suspend(|| {
            // Nobody to tell it to.
            let _ = writeln!(io::stderr(), "{plain}");
        });
    }

    /// Removes what is left of a progress bar.
    pub(super) fn end_progress(&self) {
        self.bar.end();
    }

    /// Makes the first Ctrl-C, or SIGTERM, a wish to stop at a good moment, and the second one an
    /// end.
    pub(super) fn stop_gently(&self) {
        self.bar.stop_gently();
    }
}

impl Reply for Terminal {
    fn out(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    fn note(&self, text: &str) {
        if !self.is_quiet {
            self.say(text);
        }
    }
}

impl Sink for Terminal {
    fn out(&self, bytes: &[u8]) -> io::Result<()> {
        Reply::out(self, bytes)
    }

    fn note(&self, text: &str) {
        Reply::note(self, text);
    }

    fn progress(&self, what: &str, total: Option<u64>, unit: Unit, done: u64) {
        self.bar.show(what, total, unit, done);
    }
}

impl Progress for Terminal {
    fn start(&self, what: &'static str, total: Option<u64>, unit: Unit) {
        self.bar.begin(what, total, unit);
    }

    fn advance(&self, count: u64) {
        self.bar.advance(count);
    }

    fn interrupted(&self) -> bool {
        self.bar.interrupted()
    }
}

/// How a command that did not fail ended.
pub(super) enum Done {
    /// All of it.
    Whole,
    /// Not all: the exit code is 1.
    Partly {
        /// What is not done.
        error: String,
        /// What to do about it.
        hint: String,
    },
}

/// One command's answer.
pub(super) struct Output<'a> {
    reply: &'a dyn Reply,
    is_json: bool,
    gathered: RefCell<Vec<u8>>,
}

impl<'a> Output<'a> {
    pub(super) fn new(reply: &'a dyn Reply, is_json: bool) -> Self {
        Self { reply, is_json, gathered: RefCell::default() }
    }

    /// Whether the answer is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.is_json
    }

    /// A line of text.
    pub(super) fn line(&self, text: fmt::Arguments<'_>) -> Result<(), NodeError> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// A line of JSON.
    pub(super) fn json(&self, value: &impl Serialize) -> Result<(), NodeError> {
        let mut line =
            serde_json::to_vec(value).expect("our own structures have text keys and plain values");
        line.push(b'\n');
        self.bytes(&line)
    }

    /// JSON where it was asked for, else the line of text.
    pub(super) fn either(
        &self,
        value: &impl Serialize,
        text: fmt::Arguments<'_>,
    ) -> Result<(), NodeError> {
        if self.is_json { self.json(value) } else { self.line(text) }
    }

    /// Bytes as they are.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), NodeError> {
        if bytes.len() >= GATHER_LEN {
            self.flush()?;
            return self.reply.out(bytes).map_err(NodeError::Output);
        }
        self.gathered.borrow_mut().extend_from_slice(bytes);
        if self.gathered.borrow().len() >= GATHER_LEN { self.flush() } else { Ok(()) }
    }

    /// Writes what was gathered.
    pub(super) fn flush(&self) -> Result<(), NodeError> {
        let mut gathered = self.gathered.borrow_mut();
        if gathered.is_empty() {
            return Ok(());
        }
        let sent = self.reply.out(&gathered).map_err(NodeError::Output);
        gathered.clear();
        sent
    }

    /// A line of words, not of the answer.
    pub(super) fn note(&self, text: fmt::Arguments<'_>) {
        self.reply.note(&text.to_string());
    }

    /// Told of the work.
    pub(super) fn progress(&self) -> &'a dyn Progress {
        self.reply
    }
}

/// Bytes for a person.
pub(super) fn size(len: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut value = len as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{len} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A count for a person: `1,234,567 objects`, `1 object`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let plural = if number == 1 { "" } else { "s" };
    format!("{text} {noun}{plural}")
}

/// A name for a person: as it is when it is plain, else in double quotes with escapes, as git
/// writes it.
pub(super) fn name(bytes: &[u8]) -> String {
    let is_special = |c: char| c.is_control() || matches!(c, '"' | '\\');
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(is_special)
    {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                '"' | '\\' => quoted.extend(['\\', c]),
                c if c.is_control() => {
                    let mut buffer = [0; 4];
                    octal(&mut quoted, c.encode_utf8(&mut buffer).as_bytes());
                }
                c => quoted.push(c),
            }
        }
        octal(&mut quoted, chunk.invalid());
    }
    quoted + "\""
}

fn octal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\{byte:03o}"));
    }
}

/// A name for JSON: the text, and the bytes in hex where the text cannot say them.
#[derive(Serialize)]
pub(super) struct JsonName {
    name: String,
    /// Present only when the name is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
}

impl JsonName {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let hex = || bytes.iter().map(|b| format!("{b:02x}")).collect();
        let name_hex = std::str::from_utf8(bytes).is_err().then(hex);
        Self { name: String::from_utf8_lossy(bytes).into_owned(), name_hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
        assert_eq!(count(1, "object"), "1 object");
        assert_eq!(count(0, "file"), "0 files");
        assert_eq!(count(1_234_567, "object"), "1,234,567 objects");
        assert_eq!(count(999, "x"), "999 xs");
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(name("größe.txt".as_bytes()), "größe.txt");
        assert_eq!(name(b"a\x1b[2Jb"), "\"a\\033[2Jb\"");
        assert_eq!(name(b"a\n\"\\\xff"), "\"a\\n\\\"\\\\\\377\"");
        assert_eq!(name("\u{9b}".as_bytes()), "\"\\302\\233\"");
    }
}
