//! What a client is told before it pushes: every reference that it may see, and what this server
//! can do.
//!
//! Never `.have` lines: other repositories of the store are nobody's business.

use std::io::{BufWriter, Write};

use mega_storage::{ObjectId, RefTarget};

use crate::git::wire::PktWriter;
use crate::git::{GitError, Protocol, Service};

const CAPABILITIES: &str = concat!(
    "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options ",
    "object-format=sha1 agent=mega-store/",
    env!("CARGO_PKG_VERSION")
);
/// Stands for the first reference where there is none.
const NO_REFS: &str = "0000000000000000000000000000000000000000 capabilities^{}";

/// Writes the advertisement: references with the capabilities behind the first, a flush. There is
/// no version 2 of pushing; who asks for it gets version 0, as from git.
///
/// # Errors
/// When the store cannot be read or the client is gone.
pub fn advertise(service: &Service<'_>, out: &mut dyn Write) -> Result<(), GitError> {
    let refs = service.store.refs();
    let mut lines = PktWriter::new(BufWriter::with_capacity(64 << 10, out));
    if service.protocol == Protocol::V1 {
        lines.text("version 1").map_err(GitError::gone)?;
    }
    let mut capabilities = Some(CAPABILITIES);
    let mut line = |name: &[u8], id: Option<&ObjectId>| {
        let mut text = id.map_or_else(Vec::new, |id| format!("{id} ").into_bytes());
        text.extend_from_slice(name);
        if let Some(capabilities) = capabilities.take() {
            text.push(0);
            text.extend_from_slice(capabilities.as_bytes());
        }
        lines.text(text).map_err(GitError::gone)
    };
    let mut is_empty = true;
    for (name, target) in refs.list(service.repo.id, b"refs/")? {
        if service.settings.hides_from_push(&name) {
            continue;
        }
        let id = match target {
            RefTarget::Direct(id) => Some(id),
            RefTarget::Symbolic(_) => refs.resolve(service.repo.id, &name)?,
        };
        // One that leads nowhere is nothing that a client could say the old id of.
        if let Some(id) = id {
            line(name.as_bytes(), Some(&id))?;
            is_empty = false;
        }
    }
    if is_empty {
        line(NO_REFS.as_bytes(), None)?;
    }
    lines.flush().map_err(GitError::gone)?;
    lines.get_mut().flush().map_err(GitError::gone)
}
