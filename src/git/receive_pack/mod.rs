//! Push: the server's side of `git send-pack`, versions 0 and 1, one stateless request at a time.
//!
//! A push is read whole, its pack into a quarantine file, before a word is answered. Nothing is
//! visible before the one commit: objects, then references in one synced batch, then the report. An
//! old id in a command is a compare-and-swap. What git has a text for is said in git's text.
//!
//! It differs from git on purpose: objects are checked unless the repository says otherwise; a pack
//! with anything missing is dropped whole; names that no git client would make a branch of are
//! refused (`refs/heads/-x`, `refs/heads/HEAD`); several changes take effect in one step, so a
//! branch may become a directory in one push; the HEAD of a repository without branches goes to one
//! that is pushed.

mod advertise;
mod audit;
mod channel;
mod commands;
mod head;
mod pack;
mod policy;
mod program;
mod reason;
mod report;
mod update;

use std::io::{self, Read, Write};

use mega_storage::{ObjectId, RefName};

pub use advertise::advertise;
use channel::Channel;
use commands::{Command, Request};

use super::limits::{DRAIN_LEN_MAX, PUSH_COMMANDS_SET_MAX};
use super::wire::BandKind;
use super::{GitError, Service};

/// What a push did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReceiveReport {
    /// References that were made, changed or deleted.
    pub updated: u64,
    /// Commands that were refused.
    pub refused: u64,
    /// Length of the pack that was kept, in bytes; 0 when there was none.
    pub pack_len: u64,
    /// Objects in it.
    pub object_count: u64,
}

/// A reference that a push changed: its name, and what it was and became, `None` for nothing.
type Change<'r> = (&'r RefName, Option<ObjectId>, Option<ObjectId>);

/// Answers one request. Blocks; what it answers is durable before it is said.
///
/// # Errors
/// [`GitError::Wire`] before anything is written; [`GitError::Refused`] after the client was told;
/// [`GitError::ClientGone`]. A push that is refused, or fails in the store, is a report and no
/// error.
pub fn serve(
    service: &Service<'_>,
    input: &mut (dyn Read + Send),
    out: &mut (dyn Write + Send),
) -> Result<ReceiveReport, GitError> {
    let mut input = Watched { input, failure: None };
    let max_refs = service.settings.max_refs().unwrap_or(service.limits.commands_max);
    let mut request = commands::read(&mut input, max_refs.min(PUSH_COMMANDS_SET_MAX))?;
    let band =
        if request.capabilities.has("side-band-64k") { BandKind::Large } else { BandKind::Off };
    if let Some(reason) = request.refusal.take() {
        drain(&mut input);
        channel::refuse(out, band, &reason).map_err(GitError::gone)?;
        return Err(GitError::refused(reason));
    }
    if request.commands.is_empty() {
        // A probe, or a client that has nothing to say: git answers nothing.
        return Ok(ReceiveReport::default());
    }
    let channel = Channel::new(out, band, request.capabilities.has("quiet"), service.stop);
    let done = channel.alive(|channel| carry_out(service, &mut request, &mut input, channel));
    match &done {
        Ok(_) => channel.finish().map_err(GitError::gone)?,
        Err(GitError::ClientGone(_)) => {}
        Err(_) => channel.fail("the server failed\n"),
    }
    done
}

/// Does what the request asks, says what became of it, runs the program that waits for it.
fn carry_out(
    service: &Service<'_>,
    request: &mut Request,
    input: &mut Watched<'_>,
    channel: &Channel<'_>,
) -> Result<ReceiveReport, GitError> {
    let mut done = ReceiveReport::default();
    let commands = &mut request.commands;
    let is_new = !service.store.refs().has_any(service.repo.id, b"refs/heads/")?;
    policy::check_names(service, commands)?;
    let mut taken = Ok(None);
    if commands.iter().any(|command| command.new.is_some()) {
        taken = pack::take(service, request, input, channel, &mut done);
        if taken.is_err() {
            drain(input);
        }
    }
    // Its lease lives until the references are written.
    let (unpacked, taken) = match taken {
        Ok(taken) => (Ok(()), taken),
        Err(reason) => (Err(reason), None),
    };
    if let Some(error) = input.failure.take() {
        return Err(GitError::gone(error));
    }
    channel.talk();
    let is_atomic = request.capabilities.has("atomic");
    let commands = &mut request.commands;
    match &unpacked {
        Err(_) => commands.iter_mut().for_each(|command| command.refuse("unpacker error")),
        Ok(()) => update::apply(service, commands, is_atomic, channel)?,
    }
    let changes: Vec<Change<'_>> = commands.iter().filter_map(Command::change).collect();
    if let Some(taken) = taken.filter(|_| !changes.is_empty()) {
        let named = taken.pointers.iter().map(|pointer| &pointer.file);
        service.store.files().note_named(service.repo.id, named)?;
    }
    done.updated = changes.len() as u64;
    done.refused = commands.iter().filter(|c| c.refusal.is_some()).count() as u64;
    if is_new {
        head::point_at_pushed(service, &changes)?;
    }
    audit::write(service, &changes);
    report::send(&request.capabilities, commands, &unpacked, channel).map_err(GitError::gone)?;
    if let Some(program) = service.settings.post_receive().filter(|_| !changes.is_empty()) {
        program::run(program, service, &changes, &request.options, channel);
    }
    Ok(done)
}

/// A client's bytes; remembers that reading them failed, whatever the reader makes of it.
struct Watched<'a> {
    input: &'a mut (dyn Read + Send),
    failure: Option<io::Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.input.read(out).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

/// Reads what is left of a request, within reason: a client that is still sending would otherwise
/// never see the answer.
fn drain(input: &mut Watched<'_>) {
    let failed = input.failure.take();
    let _ = io::copy(&mut input.by_ref().take(DRAIN_LEN_MAX), &mut io::sink());
    input.failure = failed;
}

#[cfg(test)]
mod tests;
