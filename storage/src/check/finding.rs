//! What was found, and who needs it.

use std::fmt;

use crate::id::{ChunkId, FileId, ObjectId, RepoId};
use crate::name::RefName;
use crate::object::{ObjectKind, Problem};

/// Something that is not what was stored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DamagedThing {
    /// Rows that the database cannot read. Those of them that something names are findings of their
    /// own.
    Range {
        /// Column family.
        family: &'static str,
        /// Where it begins, in hex.
        from: String,
        /// The first key behind it, in hex; absent for the family's end.
        to: Option<String>,
    },
    /// A git object.
    Object(ObjectId),
    /// What is noted of a blob that is an LFS pointer, or is none.
    Pointer(ObjectId),
    /// A chunk, or what is noted of it.
    Chunk(ChunkId),
    /// A file's list of chunks, or that it is there at all.
    File(FileId),
    /// What leads back from a file to a repository that has a right to it.
    Right(RepoId, FileId),
    /// Another row.
    Row {
        /// Column family.
        family: &'static str,
        /// Its key, in hex.
        key: String,
    },
}

impl DamagedThing {
    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Range { .. } => "range",
            Self::Object(_) => "object",
            Self::Pointer(_) => "pointer",
            Self::Chunk(_) => "chunk",
            Self::File(_) => "file",
            Self::Right(..) => "right",
            Self::Row { .. } => "row",
        }
    }
}

impl fmt::Display for DamagedThing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { family, from, to } => {
                let from = if from.is_empty() { "the front" } else { from };
                let to = to.as_deref().unwrap_or("the end");
                write!(f, "rows of '{family}' from {from} to {to}")
            }
            Self::Object(id) => write!(f, "object {id}"),
            Self::Pointer(id) => write!(f, "pointer {id}"),
            Self::Chunk(id) => write!(f, "chunk {id}"),
            Self::File(id) => write!(f, "file {id}"),
            Self::Right(repo, id) => write!(f, "right of repository {repo} to file {id}"),
            Self::Row { family, key } => write!(f, "row of '{family}' {key}"),
        }
    }
}

/// Whether something was mended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mend {
    /// Nobody tried.
    Open,
    /// It is right again; where what took its place came from.
    Done(String),
    /// It is not: why.
    Failed(String),
}

/// Who needs something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Use {
    /// The repository's name; absent for the owner's own files.
    pub repo: Option<String>,
    /// Where it stands there, when that is known.
    pub stands: Option<Stands>,
}

/// Where something stands in a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stands {
    /// A reference, or a commit that is in no reference's newest state.
    pub at: String,
    /// The path there; absent for commits and tags.
    pub path: Option<Vec<u8>>,
}

/// One damage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// What is damaged.
    pub what: DamagedThing,
    /// How.
    pub reason: String,
    /// Who needs it.
    pub uses: Vec<Use>,
    /// Whether it was mended.
    pub mend: Mend,
    /// Files that need it, as far as they are known.
    files: Vec<FileId>,
}

/// Files that are kept for one damage.
const FILES_MAX: usize = 16;

impl Damage {
    pub(super) fn new(what: DamagedThing, reason: String) -> Self {
        let files = match &what {
            DamagedThing::File(file) | DamagedThing::Right(_, file) => vec![*file],
            _ => Vec::new(),
        };
        Self { what, reason, uses: Vec::new(), mend: Mend::Open, files }
    }

    pub(super) fn note_file(&mut self, file: FileId) {
        if self.files.len() < FILES_MAX && !self.files.contains(&file) {
            self.files.push(file);
        }
    }

    /// Files that need it.
    pub(super) fn files(&self) -> &[FileId] {
        &self.files
    }
}

/// What fsck found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What.
    pub what: What,
    /// Else it is a warning.
    pub is_error: bool,
    /// Where it stands, when that is known.
    pub stands: Option<Stands>,
}

/// What fsck finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A reference.
    Ref {
        /// Its name, as far as it can be read.
        name: RefName,
        /// What is wrong.
        reason: String,
    },
    /// The references cannot all be read.
    Refs {
        /// Why.
        reason: String,
    },
    /// An object is named and not here.
    Missing {
        /// The object.
        id: ObjectId,
        /// What it is named as.
        kind: Option<ObjectKind>,
        /// What names it; a reference when absent.
        from: Option<ObjectId>,
    },
    /// An object is not what it is named as.
    WrongKind {
        /// The object.
        id: ObjectId,
        /// What it is named as.
        expected: ObjectKind,
        /// What it is.
        actual: ObjectKind,
        /// What names it.
        from: Option<ObjectId>,
    },
    /// An object cannot be read, or its bytes do not have its id.
    Unreadable {
        /// The object.
        id: ObjectId,
        /// Why.
        reason: String,
    },
    /// One of git's content checks.
    Content {
        /// The object.
        id: ObjectId,
        /// Its kind.
        kind: ObjectKind,
        /// What the check says.
        problem: Problem,
    },
    /// LFS content that a blob names.
    File {
        /// The content.
        file: FileId,
        /// The blob.
        blob: ObjectId,
        /// What is wrong.
        reason: String,
    },
}

impl What {
    /// The object whose place in the repository is looked for.
    pub(super) fn object(&self) -> Option<ObjectId> {
        match self {
            Self::Ref { .. } | Self::Refs { .. } => None,
            Self::Missing { id, .. }
            | Self::WrongKind { id, .. }
            | Self::Unreadable { id, .. }
            | Self::Content { id, .. } => Some(*id),
            Self::File { blob, .. } => Some(*blob),
        }
    }

    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Ref { .. } | Self::Refs { .. } => "ref",
            Self::Missing { .. } => "missing",
            Self::WrongKind { .. } => "wrong-kind",
            Self::Unreadable { .. } => "unreadable",
            Self::Content { .. } => "content",
            Self::File { .. } => "file",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ref { name, reason } => write!(f, "{name}: {reason}"),
            Self::Refs { reason } => write!(f, "references: {reason}"),
            Self::Missing { id, kind, .. } => {
                write!(f, "missing {} {id}", kind.map_or("object", ObjectKind::as_str))
            }
            Self::WrongKind { id, expected, actual, .. } => {
                let (expected, actual) = (expected.as_str(), actual.as_str());
                write!(f, "object {id} is a {actual}, not a {expected}")
            }
            Self::Unreadable { id, reason } => write!(f, "object {id}: {reason}"),
            Self::Content { id, kind, problem } => write!(f, "{} {id}: {problem}", kind.as_str()),
            Self::File { file, reason, .. } => write!(f, "LFS file {file}: {reason}"),
        }
    }
}

/// Bytes in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
