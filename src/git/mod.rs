//! Git: repositories outside the store, read through the installed `git` program; and git's wire
//! protocol, spoken to clients (`wire`, `receive_pack`, `upload_pack`).
//!
//! The server's side blocks over `Read` and `Write` and knows no HTTP.
//!
//! The program knows every layout (worktrees, alternates, reftable, loose objects, credentials,
//! transports), so only packs are read directly. What it says is still data from outside: names are
//! checked, limits hold. Variables that would point it at another repository (`GIT_DIR` and its
//! like) are removed; those that reach and authenticate to servers stay.

pub mod config;
pub mod credential;
mod error;
mod fetch;
pub mod history;
pub mod limits;
mod plain;
mod process;
pub mod receive_pack;
mod service;
mod source;
mod source_error;
pub mod trust;
pub mod upload_pack;
pub mod wire;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

pub use error::GitError;
pub use fetch::{RemoteRefs, fetch_mirror, list_remote, redact, url_of};
pub use process::{Running, run};
pub use service::{Protocol, Service};
pub use source::{Head, PackFile, Source, SourceRef, SourceRefs};
pub use source_error::SourceError;

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

    /// A variable as git's commands get it.
    fn variable(&self, name: &str) -> Option<OsString> {
        let own = self.environment.iter().find(|(other, _)| other == name);
        own.map(|(_, value)| value.clone()).or_else(|| std::env::var_os(name))
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
