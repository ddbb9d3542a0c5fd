//! Running the git program: its output whole or as a stream, its words kept for the error.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use super::SourceError;

/// Most output that is read whole: names and ids of millions of references.
const OUTPUT_LEN_MAX: u64 = 1 << 30;
/// Most of git's words that are kept for an error, in bytes.
const WORDS_LEN_MAX: usize = 2048;

/// Runs `command` to its end, with `input` on its standard input; returns its output. `name` is for
/// the error.
///
/// # Errors
/// [`SourceError::Failed`] with git's words when it does not end well.
pub fn run(command: &mut Command, name: &str, input: &[u8]) -> Result<Vec<u8>, SourceError> {
    let mut running = Running::start(command, name, input.to_vec())?;
    let mut output = Vec::new();
    running
        .by_ref()
        .take(OUTPUT_LEN_MAX)
        .read_to_end(&mut output)
        .map_err(|e| SourceError::io(format!("reading from git {name}"), e))?;
    if output.len() as u64 == OUTPUT_LEN_MAX {
        return Err(SourceError::Unexpected {
            command: name.to_owned(),
            reason: format!("it answered more than {OUTPUT_LEN_MAX} bytes"),
        });
    }
    running.finish()?;
    Ok(output)
}

/// A git that runs; what it writes is read from this. It is killed when this is dropped before its
/// end.
pub struct Running {
    name: String,
    child: Child,
    stdout: ChildStdout,
    has_ended: bool,
    words: Option<JoinHandle<String>>,
    input: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts `command` and feeds it `input`, if there is any, from another thread.
    ///
    /// # Errors
    /// [`SourceError::NoProgram`] when there is no git.
    pub fn start(command: &mut Command, name: &str, input: Vec<u8>) -> Result<Self, SourceError> {
        let mut child = spawn(command, name)?;
        let missing = || SourceError::io("starting git", io::ErrorKind::BrokenPipe.into());
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let input = (!input.is_empty()).then_some(input).map(|input| {
            let mut stdin = stdin;
            // A git that ended early says why on its own.
            thread::spawn(move || drop(stdin.write_all(&input)))
        });
        let words = thread::spawn(move || collect_words(stderr));
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout,
            has_ended: false,
            words: Some(words),
            input,
        })
    }

    /// What git has to say about output that turned out to be no good: its error, if the output
    /// came to its end and git failed. A git that would go on is stopped.
    pub fn failure(self) -> Option<SourceError> {
        if self.has_ended { self.finish().err() } else { None }
    }

    /// Waits for the end. All output must have been read, else git waits for it to be.
    ///
    /// # Errors
    /// [`SourceError::Failed`] with git's words when it did not end well.
    pub fn finish(mut self) -> Result<(), SourceError> {
        let status = self
            .child
            .wait()
            .map_err(|e| SourceError::io(format!("waiting for git {}", self.name), e))?;
        let words = self.words.take().and_then(|w| w.join().ok()).unwrap_or_default();
        let _ = self.input.take().map(JoinHandle::join);
        check(&self.name, status, &words)
    }
}

impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stdout.read(buffer);
        self.has_ended |= matches!(read, Ok(0)) && !buffer.is_empty();
        read
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.words.is_some() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Starts `command` with all three streams piped.
pub(super) fn spawn(command: &mut Command, name: &str) -> Result<Child, SourceError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => SourceError::NoProgram,
        _ => SourceError::io(format!("starting git {name}"), e),
    })
}

/// Turns an end that is not well into an error with git's words.
pub(super) fn check(name: &str, status: ExitStatus, words: &str) -> Result<(), SourceError> {
    if status.success() {
        return Ok(());
    }
    let words = if words.trim().is_empty() { status.to_string() } else { tidy(words) };
    Err(SourceError::Failed { command: name.to_owned(), words })
}

/// Reads everything, keeping the end of it.
fn collect_words(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(len @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..len]);
        if kept.len() > 4 * WORDS_LEN_MAX {
            kept.drain(..kept.len() - WORDS_LEN_MAX);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Git's words on one line, without what a terminal would obey, without its `fatal:`.
pub(super) fn tidy(words: &str) -> String {
    let lines = words.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("hint:"));
    let text = lines
        .map(|line| line.trim_start_matches("fatal: ").trim_start_matches("error: "))
        .collect::<Vec<_>>()
        .join("; ");
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let start = text.len().saturating_sub(WORDS_LEN_MAX);
    text[text.ceil_char_boundary(start)..].to_owned()
}
