//! Content checks: git fsck's own, with its message ids and default severities, on bytes that
//! nothing is known of.
//!
//! A port of behaviour, held to git by tests that write the same objects with git and compare. Two
//! steps, as in git: an object is checked by itself; trees also note which blobs stand at
//! `.gitmodules` and `.gitattributes`, and those are checked when all is there ([`SpecialBlobs`],
//! [`check_special_blob`]). As `git fsck` without `--strict`, mode
//! 100664 is let through. Names of no more than ASCII letters cost a few nanoseconds; nothing is
//! allocated for a good object. What is found never stops the caller: severities are for it to
//! weigh.

mod commit;
mod config;
mod dotfiles;
mod special;
mod tag;
mod tree;
mod url;

use crate::id::ObjectId;
use crate::object::ObjectKind;

pub use special::{
    SPECIAL_BLOB_LEN_MAX, SpecialBlobs, SpecialContent, SpecialRole, check_special_blob,
};

/// How bad git finds a problem by default.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// The object cannot be read; git lets nobody demote it.
    Fatal,
    /// git refuses the object.
    Error,
    /// git warns; with `--strict`, as when it receives a push, it refuses.
    Warn,
    /// git warns, and never refuses.
    Info,
}

impl Severity {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warn => "warning",
            Self::Info => "info",
        }
    }
}

/// Something wrong with an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// git's name for it, as in `fsck.<id>` and `receive.fsck.<id>`.
    pub id: &'static str,
    /// git's default severity.
    pub severity: Severity,
    /// What was seen. May hold text from the object, control characters escaped.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.id, self.detail)
    }
}

impl Problem {
    fn new(id: &'static str, severity: Severity, detail: impl Into<String>) -> Self {
        Self { id, severity, detail: detail.into() }
    }

    fn fatal(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Severity::Fatal, detail)
    }

    fn error(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Severity::Error, detail)
    }

    fn warn(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Severity::Warn, detail)
    }

    fn info(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Severity::Info, detail)
    }
}

/// Adds the object's problems to `out`. Like git it stops at a commit's or tag's first error, and
/// tells all of a tree's.
pub fn check_object(kind: ObjectKind, _id: &ObjectId, data: &[u8], out: &mut Vec<Problem>) {
    check(kind, data, None, out);
}

/// As [`check_object`]; a tree's `.gitmodules` and `.gitattributes` are noted in `special`, to be
/// checked later.
pub fn check_object_noting(
    kind: ObjectKind,
    data: &[u8],
    special: &mut SpecialBlobs,
    out: &mut Vec<Problem>,
) {
    check(kind, data, Some(special), out);
}

fn check(
    kind: ObjectKind,
    data: &[u8],
    special: Option<&mut SpecialBlobs>,
    out: &mut Vec<Problem>,
) {
    let first = match kind {
        ObjectKind::Blob => Ok(()),
        ObjectKind::Tree => {
            tree::check(data, special, out);
            Ok(())
        }
        ObjectKind::Commit => commit::check(data, out),
        ObjectKind::Tag => tag::check(data, out),
    };
    if let Err(problem) = first {
        out.push(problem);
    }
}

/// Text from an object, fit to be shown: not longer than a line, nothing that moves a terminal's
/// cursor.
fn shown(bytes: &[u8]) -> String {
    const LEN_MAX: usize = 200;
    let part = bytes.get(..LEN_MAX).unwrap_or(bytes);
    part.escape_ascii().to_string()
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
