//! The agent's conversation with git-lfs: one request after the other, until it says `terminate`.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;

use mega_storage::{FileId, Pointer};
use parking_lot::Mutex;

use super::message::{Answer, Asked, Event, Failure, Target, say};
use super::{Agent, Alone, LINE_LEN_MAX, Operation, Remote, download, upload};
use crate::lfs::LfsError;

/// Bytes between two lines of progress.
const PROGRESS_LEN: u64 = 1 << 20;

/// Answers git-lfs until it is done; `alone` finds what it names where it has no server. A file
/// that fails is an answer, not an error.
///
/// # Errors
/// When git-lfs cannot be heard or told any more, or does not speak the protocol.
pub fn run(
    agent: &Agent<'_>,
    alone: &Alone<'_>,
    input: &mut dyn BufRead,
    output: &mut (dyn Write + Send),
) -> io::Result<()> {
    let mut line = Vec::new();
    let mut asked_for = None;
    let mut named: Option<Box<dyn Remote + '_>> = None;
    loop {
        line.clear();
        input.take(LINE_LEN_MAX).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let asked = match serde_json::from_slice::<Asked>(&line) {
            Ok(asked) => asked,
            Err(error) => {
                // git-lfs waits for an answer before it speaks again.
                let message = format!("git-lfs said something that cannot be read: {error}");
                say(
                    output,
                    &Answer::Refused { error: Failure { code: 1, message: message.clone() } },
                )?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        };
        match asked {
            Asked::Init { operation, remote } => {
                asked_for = Some((remote, operation));
                named = None;
                say(output, &Answer::Ready {})?;
            }
            Asked::Terminate {} => return Ok(()),
            Asked::Upload { oid, size, path, action } => {
                let meter = Meter::new(&oid, size, output);
                let done = place(agent, (alone, &mut named), asked_for.as_ref(), &oid, action);
                let done = done.and_then(|(remote, file, target)| {
                    let pointer = Pointer { file, len: size };
                    upload::upload(&agent.with(remote), &target, &pointer, &path, &meter)
                });
                meter.complete(done.map(|()| None))?;
            }
            Asked::Download { oid, size, action } => {
                let meter = Meter::new(&oid, size, output);
                let done = place(agent, (alone, &mut named), asked_for.as_ref(), &oid, action);
                let done = done.and_then(|(remote, file, target)| {
                    let pointer = Pointer { file, len: size };
                    download::download(&agent.with(remote), &target, &pointer, &meter)
                });
                meter.complete(done.map(Some))?;
            }
        }
    }
}

/// Where a file is: on the server that git-lfs has asked, or at the remote that it named.
fn place<'a, 'b>(
    agent: &'a Agent<'_>,
    (alone, named): (&Alone<'b>, &'a mut Option<Box<dyn Remote + 'b>>),
    asked_for: Option<&(String, Operation)>,
    oid: &str,
    action: Option<Target>,
) -> Result<(&'a dyn Remote, FileId, Target), LfsError> {
    let wrong = |reason: &str| LfsError::Answer { host: "git-lfs".into(), reason: reason.into() };
    let file = oid.parse::<FileId>().map_err(|_| wrong("the oid is not a SHA-256"))?;
    if let Some(target) = action {
        return Ok((agent.remote, file, target));
    }
    let (name, operation) = asked_for.ok_or_else(|| wrong("it asks before it begins"))?;
    let remote = match named {
        Some(remote) => remote,
        None => named.insert(alone(name, *operation)?),
    };
    Ok((&**remote, file, Target { href: file.to_string(), header: HashMap::new() }))
}

/// Tells git-lfs how far one file is. Called from several threads.
pub(super) struct Meter<'a> {
    oid: &'a str,
    len: u64,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    out: &'a mut (dyn Write + Send),
    done: u64,
    told: u64,
    failure: Option<io::Error>,
}

impl<'a> Meter<'a> {
    fn new(oid: &'a str, len: u64, out: &'a mut (dyn Write + Send)) -> Self {
        Self { oid, len, state: Mutex::new(State { out, done: 0, told: 0, failure: None }) }
    }

    /// So many more bytes are where they should be.
    pub(super) fn advance(&self, count: u64) {
        let state = &mut *self.state.lock();
        state.done = state.done.saturating_add(count).min(self.len);
        if state.done - state.told >= PROGRESS_LEN {
            self.tell(state);
        }
    }

    /// The transfer begins again: what was told stays told.
    pub(super) fn restart(&self) {
        self.state.lock().done = 0;
    }

    /// Whether nobody listens any more.
    pub(super) fn is_gone(&self) -> bool {
        self.state.lock().failure.is_some()
    }

    fn tell(&self, state: &mut State<'_>) {
        let since = state.done.saturating_sub(state.told);
        if since == 0 || state.failure.is_some() {
            return;
        }
        let event =
            Event::Progress { oid: self.oid, bytes_so_far: state.done, bytes_since_last: since };
        state.told = state.done;
        state.failure = say(state.out, &Answer::Event(event)).err();
    }

    fn complete(self, done: Result<Option<PathBuf>, LfsError>) -> io::Result<()> {
        if done.is_ok() {
            let state = &mut *self.state.lock();
            state.done = self.len;
            self.tell(state);
        }
        let mut state = self.state.into_inner();
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        let (path, error) = match done {
            Ok(path) => (path, None),
            Err(error) => (None, Some(failure(&error))),
        };
        say(state.out, &Answer::Event(Event::Complete { oid: self.oid, path, error }))
    }
}

fn failure(error: &LfsError) -> Failure {
    let code = match error {
        LfsError::Status { status, .. } | LfsError::Unauthorized { status, .. } => *status,
        LfsError::Endpoint { .. }
        | LfsError::Trust { .. }
        | LfsError::Network { .. }
        | LfsError::Answer { .. }
        | LfsError::Interrupted
        | LfsError::Io { .. } => 1,
    };
    Failure { code, message: error.to_string() }
}
