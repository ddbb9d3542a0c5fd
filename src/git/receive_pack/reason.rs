//! Why a pack was refused, in git's words where git has some: one line for `unpack`.

use mega_storage::{PackError, StoreError};

/// The reason for the report.
pub(super) fn of_store(error: &StoreError) -> String {
    let text = match error {
        StoreError::Pack(error) => of_pack(error),
        StoreError::Limit { what: "length of a pack", limit, .. } => {
            format!("pack exceeds maximum allowed size ({limit} bytes)")
        }
        StoreError::Collision { id } => format!("SHA1 COLLISION FOUND WITH {id} !"),
        StoreError::DiskFull { .. } => "the server's disk is full".to_owned(),
        StoreError::Stopped { .. } => {
            "the server's disk failed: nothing is written any more".to_owned()
        }
        StoreError::Interrupted => "the server is stopping: try again".to_owned(),
        StoreError::RepoGone { .. } => "the repository has been deleted".to_owned(),
        StoreError::MissingObject { id } => format!("missing object {id}"),
        StoreError::MalformedObject { id, reason } => format!("unable to parse {id}: {reason}"),
        StoreError::Limit { .. } => error.to_string(),
        // The disk or the database: its words are for the server's log.
        _ => "the server failed".to_owned(),
    };
    text.replace(char::is_control, " ")
}

/// Whether the pusher can do something about it; else it is the server's to log.
pub(super) fn is_ours(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::Pack(_)
            | StoreError::Limit { .. }
            | StoreError::Interrupted
            | StoreError::RepoGone { .. }
            | StoreError::MissingObject { .. }
            | StoreError::MalformedObject { .. }
    )
}

fn of_pack(error: &PackError) -> String {
    match error {
        PackError::Truncated => "early EOF".to_owned(),
        PackError::Checksum => "pack is corrupted (SHA1 mismatch)".to_owned(),
        PackError::UnresolvedDeltas { count, .. } => {
            format!("pack has {count} unresolved deltas: {error}")
        }
        PackError::CollisionAttack { .. } => {
            format!("SHA-1 appears to be part of a collision attack: {error}")
        }
        PackError::Content { id, problem } => {
            format!("fsck error in packed object {id}: {problem}")
        }
        _ => format!("pack was refused: {error}"),
    }
}
