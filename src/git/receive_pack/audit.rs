//! One line in the log for each reference that a push changed: who, where, from what to what.

use mega_storage::ObjectId;

use super::Change;
use crate::git::Service;
use crate::git::limits::AUDIT_LINES_MAX;
use crate::git::wire::shown;

/// Writes the lines. Names are escaped: a log is read in a terminal.
pub(super) fn write(service: &Service<'_>, changes: &[Change<'_>]) {
    let repo = &service.repo.name;
    let actor = shown(service.actor.as_bytes());
    for (name, old, new) in changes.iter().take(AUDIT_LINES_MAX) {
        let (old, new) = (hex(*old), hex(*new));
        let reference = shown(name.as_bytes());
        tracing::info!(target: "audit", action = "push", %repo, %actor, %reference, %old, %new);
    }
    if let Some(more) = changes.len().checked_sub(AUDIT_LINES_MAX).filter(|more| *more > 0) {
        tracing::info!(target: "audit", action = "push", %repo, %actor, more);
    }
}

/// The id, zeros for nothing.
pub(super) fn hex(id: Option<ObjectId>) -> ObjectId {
    id.unwrap_or(ObjectId::from_bytes([0; ObjectId::LEN]))
}
