//! The lines of JSON between git-lfs and the agent.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Operation;

/// What git-lfs says.
#[derive(Deserialize, Debug)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Asked {
    /// The beginning: which remote of git's, and in which direction.
    Init { operation: Operation, remote: String },
    /// A file to send.
    Upload { oid: String, size: u64, path: PathBuf, action: Option<Target> },
    /// A file to fetch.
    Download { oid: String, size: u64, action: Option<Target> },
    /// The end.
    Terminate {},
}

/// Where a file is on the server: an action of the batch API.
#[derive(Deserialize, Clone)]
pub struct Target {
    /// The address below which the agent's routes are.
    pub href: String,
    /// Sent with every request.
    #[serde(default, deserialize_with = "or_default")]
    pub header: HashMap<String, String>,
}

impl fmt::Debug for Target {
    // Both the address and the headers may carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

fn or_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(input).map(Option::unwrap_or_default)
}

/// What the agent says.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Answer<'a> {
    Ready {},
    Refused { error: Failure },
    Event(Event<'a>),
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event<'a> {
    #[serde(rename_all = "camelCase")]
    Progress { oid: &'a str, bytes_so_far: u64, bytes_since_last: u64 },
    Complete {
        oid: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Failure>,
    },
}

/// Why something failed.
#[derive(Serialize)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) message: String,
}

/// Writes one line and sees that it leaves.
pub(super) fn say(out: &mut dyn Write, answer: &Answer<'_>) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}
