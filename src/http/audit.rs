//! One line per write: who, from where, what, how it ended. In `log/audit.log` of the store, as
//! JSON lines, readable by the owner alone.
//!
//! Invariant: no secret is written, and nothing that a client sent is written raw.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::call::Call;
use super::limits::AUDIT_LEN_MAX;
use super::now_unix;

/// The audit log.
pub struct Audit {
    path: PathBuf,
    open: Mutex<Option<(File, u64)>>,
}

impl Audit {
    /// The log of the store in `store`; opened with its first line.
    pub fn new(store: &Path) -> Self {
        Self { path: store.join("log/audit.log"), open: Mutex::new(None) }
    }

    /// Writes a line for a request that ended with `status`. A log that cannot be written stops
    /// nothing; it is said in the program's own log.
    pub fn note(&self, call: &Call<'_>, action: &str, status: u16) {
        let repo = call.repo.as_ref().map(|repo| repo.name.clone()).or_else(|| call.repo_name());
        let line = serde_json::json!({
            "time_unix": now_unix(),
            "who": call.caller.name(),
            "from": call.ask.from.ip().to_string(),
            "action": action,
            "route": format!("{} {}", call.route.method.as_str(), call.route.pattern),
            "repo": repo.map(|name| name.as_str().to_owned()),
            "id": call.names.get("oid").filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())),
            "status": status,
            "bytes_in": call.body.read_len(),
        });
        tracing::info!(target: "audit", "{line}");
        if let Err(error) = self.append(&format!("{line}\n")) {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let mut open = self.open.lock();
        if open.as_ref().is_some_and(|(_, len)| *len > AUDIT_LEN_MAX) {
            *open = None;
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
        }
        if open.is_none() {
            if let Some(dir) = self.path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            }
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
            let len = file.metadata()?.len();
            *open = Some((file, len));
        }
        let Some((file, len)) = open.as_mut() else { return Ok(()) };
        *len += line.len() as u64;
        file.write_all(line.as_bytes())
    }
}
