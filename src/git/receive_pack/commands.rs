//! The front of a push: commands, capabilities, the boundary of a shallow client, push options.
//!
//! It ends in a flush; the pack follows. Nothing is searched for: a reference may be named like the
//! start of a pack.

#![deny(clippy::indexing_slicing)]

use std::borrow::Cow;
use std::io::Read;

use mega_storage::{ObjectId, RefName};

use super::Change;
use crate::git::GitError;
use crate::git::limits::{
    LINE_LEN_MAX, PUSH_COMMAND_LEN, PUSH_OPTIONS_LEN_MAX, PUSH_OPTIONS_MAX, PUSH_SHALLOW_LEN,
    PUSH_SHALLOW_MAX,
};
use crate::git::wire::{Budget, Capabilities, Pkt, PktReader, WireError, shown, text};

/// What to do about too many.
const IN_PARTS: &str = "push them in parts, or let the repository's owner raise receive.maxRefs";
const HEX_LEN: usize = ObjectId::LEN * 2;

/// A request without its pack.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// In the client's order.
    pub(super) commands: Vec<Command>,
    /// What the client can do.
    pub(super) capabilities: Capabilities,
    /// Whether the client's history has a boundary.
    pub(super) is_shallow: bool,
    /// Words for the program that runs after the push.
    pub(super) options: Vec<Vec<u8>>,
    /// Why nothing of it will be done. The rest of it has not been read then.
    pub(super) refusal: Option<String>,
}

/// One change that a client asks for.
#[derive(Debug)]
pub(super) struct Command {
    /// The reference; what cannot be a reference's name stays as it came.
    pub(super) name: Result<RefName, Vec<u8>>,
    /// What the client saw there.
    pub(super) old: Option<ObjectId>,
    /// What it asks for; `None` to delete.
    pub(super) new: Option<ObjectId>,
    /// Why it is not done.
    pub(super) refusal: Option<Cow<'static, str>>,
}

impl Command {
    pub(super) fn name_bytes(&self) -> &[u8] {
        match &self.name {
            Ok(name) => name.as_bytes(),
            Err(bytes) => bytes,
        }
    }

    /// Refuses it, unless something has been found wrong before.
    pub(super) fn refuse(&mut self, reason: impl Into<Cow<'static, str>>) {
        if self.refusal.is_none() {
            self.refusal = Some(reason.into());
        }
    }

    /// What it changed, when it was carried out.
    pub(super) fn change(&self) -> Option<Change<'_>> {
        let name = self.name.as_ref().ok().filter(|_| self.refusal.is_none())?;
        Some((name, self.old, self.new))
    }
}

/// Reads up to the pack.
///
/// # Errors
/// [`GitError::Wire`] for what is not the protocol, [`GitError::ClientGone`].
pub(super) fn read(input: &mut dyn Read, max_refs: u64) -> Result<Request, GitError> {
    let len_max = max_refs.saturating_mul(PUSH_COMMAND_LEN);
    let budget = Budget {
        lines: max_refs.saturating_add(PUSH_SHALLOW_MAX + 2),
        bytes: len_max.saturating_add(PUSH_SHALLOW_LEN + LINE_LEN_MAX as u64),
    };
    let mut reader = PktReader::new(input, budget);
    let mut request = Request::default();
    let (mut shallow_count, mut len) = (0, 0);
    // Like git, the list ends at any line that holds no data.
    while let Pkt::Data(line) = reader.next()? {
        let line = text(line);
        let (line, capabilities) = match line.iter().position(|byte| *byte == 0) {
            None => (line, None),
            Some(end) => line.split_at_checked(end).map_or((line, None), |(l, c)| (l, c.get(1..))),
        };
        if let Some(capabilities) = capabilities {
            request.capabilities = Capabilities::parse(capabilities);
        }
        if let Some(id) = line.strip_prefix(b"shallow ") {
            shallow_count += 1;
            if shallow_count > PUSH_SHALLOW_MAX || ObjectId::from_hex(id).is_err() {
                let what = format!("expected shallow sha, got '{}'", shown(line));
                return Err(WireError::unexpected(what).into());
            }
            request.is_shallow = true;
        } else if line == b"push-cert" {
            request.refusal = Some("signed pushes are not taken: push without --signed".to_owned());
            return Ok(request);
        } else if request.commands.len() as u64 >= max_refs {
            let what = format!("a push may change at most {max_refs} references");
            request.refusal = Some(format!("{what}: {IN_PARTS}"));
            return Ok(request);
        } else {
            len += line.len() as u64;
            if len > len_max.max(LINE_LEN_MAX as u64) {
                let what =
                    format!("a push may name references in at most {len_max} bytes of lines");
                request.refusal = Some(format!("{what}: {IN_PARTS}"));
                return Ok(request);
            }
            request.commands.push(command(line)?);
        }
    }
    if request.commands.is_empty() {
        return Ok(request);
    }
    let format = request.capabilities.value("object-format").unwrap_or("sha1");
    if format != "sha1" {
        let format = shown(format.as_bytes());
        request.refusal = Some(format!("unsupported object format '{format}'"));
        return Ok(request);
    }
    if request.capabilities.has("push-options") {
        reader.set_budget(Budget { lines: PUSH_OPTIONS_MAX + 1, bytes: PUSH_OPTIONS_LEN_MAX });
        while let Pkt::Data(option) = reader.next()? {
            request.options.push(text(option).to_vec());
        }
    }
    Ok(request)
}

/// `<old> <new> <name>`.
fn command(line: &[u8]) -> Result<Command, WireError> {
    let parsed = (|| {
        let (old, rest) = line.split_at_checked(HEX_LEN)?;
        let (new, name) = rest.strip_prefix(b" ")?.split_at_checked(HEX_LEN)?;
        let name = name.strip_prefix(b" ")?;
        let old = ObjectId::from_hex(old).ok()?;
        let new = ObjectId::from_hex(new).ok()?;
        let null = ObjectId::from_bytes([0; ObjectId::LEN]);
        let some = |id: ObjectId| (id != null).then_some(id);
        // HEAD is a name for the store; only what is below refs/ can be pushed to.
        let reference = RefName::new(name).ok().filter(|_| name.starts_with(b"refs/"));
        let name = reference.ok_or_else(|| name.to_vec());
        Some(Command { name, old: some(old), new: some(new), refusal: None })
    })();
    parsed.ok_or_else(|| {
        WireError::unexpected(format!("expected old/new/ref, got '{}'", shown(line)))
    })
}
