//! What can go wrong with a git repository outside the store.

use std::io;
use std::path::PathBuf;

/// Why a git repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no `git` program.
    #[error("the program 'git' was not found")]
    NoProgram,
    /// Git refused or failed.
    #[error("'git {command}' failed: {words}")]
    Failed {
        /// The subcommand.
        command: String,
        /// What it wrote to standard error, shortened.
        words: String,
    },
    /// Git wrote something that this program does not understand.
    #[error("'git {command}' answered something unexpected: {reason}")]
    Unexpected {
        /// The subcommand.
        command: String,
        /// What is wrong.
        reason: String,
    },
    /// The source is neither a repository nor a URL.
    #[error("{path} is not a git repository: {words}")]
    NotARepository {
        /// The directory.
        path: PathBuf,
        /// What git says of it.
        words: String,
    },
    /// History ends at a boundary that is not its beginning.
    #[error("{path} is a shallow clone: its history is cut off, so a copy could never be complete")]
    Shallow {
        /// The repository.
        path: PathBuf,
    },
    /// Objects have SHA-256 names.
    #[error("{path} names its objects by {format}; only SHA-1 repositories can be imported")]
    Format {
        /// The repository.
        path: PathBuf,
        /// What git calls the format.
        format: String,
    },
    /// A partial clone whose missing objects are needed.
    #[error("{path} is a partial clone: {count} objects are missing, the first is {first}")]
    Partial {
        /// The repository.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first one's id.
        first: String,
    },
    /// Alternates of alternates of alternates.
    #[error("{path}: alternate object directories are nested more than {limit} deep")]
    AlternatesDepth {
        /// The directory whose alternates are one too many.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A text from outside would be taken for something else by git.
    #[error("'{text}' cannot be given to git: {reason}")]
    Unsafe {
        /// The text.
        text: String,
        /// Why.
        reason: &'static str,
    },
    /// The work was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl SourceError {
    pub(super) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }
}
