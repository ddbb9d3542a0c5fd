//! Reading git repositories that are not in the store, through the installed `git` program.
//!
//! The program knows every layout (worktrees, alternates, reftable, loose objects, credentials,
//! transports), so only packs are read directly. What it says is still data from outside: names are
//! checked, limits hold. Variables that would point it at another repository (`GIT_DIR` and its
//! like) are removed; those that reach and authenticate to servers stay.

pub mod config;
pub mod credential;
mod fetch;
mod process;
mod source;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::Command;

pub use fetch::{RemoteRefs, fetch_mirror, list_remote, redact, url_of};
pub use process::{Running, run};
pub use source::{Head, PackFile, Source, SourceRef, SourceRefs};

/// Variables of the environment that a caller elsewhere passes on, because they decide how git
/// reaches a server.
pub const PASSED_VARIABLES: [&str; 24] = [
    "ALL_PROXY",
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_SYSTEM",
    "GIT_PROXY_COMMAND",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_NO_VERIFY",
    "GIT_TERMINAL_PROMPT",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "PATH",
    "SSH_ASKPASS",
    "SSH_AUTH_SOCK",
    "XDG_CONFIG_HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Variables that would make git look at another repository than the one it is asked for.
const REMOVED_VARIABLES: [&str; 14] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CEILING_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Why a git repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
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

impl GitError {
    fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }
}

/// The git program in the environment of whoever asked.
#[derive(Clone, Debug, Default)]
pub struct Git {
    environment: Vec<(String, OsString)>,
}

impl Git {
    /// Git with these variables on top of this process's own. Only [`PASSED_VARIABLES`] are taken.
    pub fn new(environment: impl IntoIterator<Item = (String, OsString)>) -> Self {
        let is_passed = |name: &str| PASSED_VARIABLES.contains(&name);
        Self { environment: environment.into_iter().filter(|(n, _)| is_passed(n)).collect() }
    }

    /// A command in the environment that a caller chose; nothing else is set.
    fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for name in REMOVED_VARIABLES {
            command.env_remove(name);
        }
        // Objects as they are, not as replaced; and nothing is fetched behind our back.
        command.env("GIT_NO_REPLACE_OBJECTS", "1").env("GIT_NO_LAZY_FETCH", "1");
        command.env("GIT_OPTIONAL_LOCKS", "0");
        command
    }

    /// `git` as the caller's PATH finds it: the child's PATH alone would not be searched.
    fn program(&self) -> OsString {
        let path = self.environment.iter().find(|(name, _)| name == "PATH");
        let found = path.and_then(|(_, path)| {
            std::env::split_paths(path).map(|dir| dir.join("git")).find(|file| file.is_file())
        });
        found.map_or_else(|| OsString::from("git"), PathBuf::into_os_string)
    }

    /// A command that works in `dir`. The person named this directory, so git's question whether
    /// another user's repository is safe is answered: it is only read, and git runs no hooks for
    /// reading.
    pub fn in_dir(&self, dir: &OsStr) -> Command {
        let mut command = self.command();
        command.args(["-c", "safe.directory=*", "-C"]).arg(dir);
        command
    }

    /// A command that works in no repository of the caller.
    pub fn anywhere(&self) -> Command {
        self.command()
    }
}

#[cfg(test)]
mod tests;
