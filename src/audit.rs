//! The audit log: one line per write, whether over HTTP or by a peer: who, from where, what, how it
//! ended. In `log/audit.log` of the store, as JSON lines, readable by the owner alone.
//!
//! Invariant: no secret is written, and nothing that a client sent is written raw.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// The log is begun anew at this length, in bytes.
const LEN_MAX: u64 = 64 << 20;

/// The audit log of a store. One is shared by all that write to it, so that its lines stay whole
/// and one of them begins it anew.
pub struct Audit {
    path: PathBuf,
    open: Mutex<Option<(File, u64)>>,
}

/// A write, as its line says it.
pub struct Entry<'a> {
    /// Whose it was.
    pub who: &'a str,
    /// The network address that it came from; a peer is known by its id alone.
    pub from: Option<String>,
    /// What was done.
    pub action: &'a str,
    /// By which way.
    pub route: String,
    /// The repository.
    pub repo: Option<&'a str>,
    /// The content that it was about.
    pub id: Option<String>,
    /// How it ended, as HTTP has it.
    pub status: u16,
    /// Bytes that came for it.
    pub in_len: u64,
}

impl Audit {
    /// The log of the store in `store`; opened with its first line.
    pub fn new(store: &Path) -> Self {
        Self { path: store.join("log/audit.log"), open: Mutex::new(None) }
    }

    /// Writes a line. A log that cannot be written stops nothing; it is said in the program's own
    /// log.
    pub fn note(&self, entry: &Entry<'_>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = serde_json::json!({
            "time_unix": now.map_or(0, |since| since.as_secs()),
            "who": entry.who,
            "from": entry.from,
            "action": entry.action,
            "route": entry.route,
            "repo": entry.repo,
            "id": entry.id,
            "status": entry.status,
            "bytes_in": entry.in_len,
        });
        tracing::info!(target: "audit", "{line}");
        if let Err(error) = self.append(&format!("{line}\n")) {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let mut open = self.open.lock();
        if open.as_ref().is_some_and(|(_, len)| *len > LEN_MAX) {
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
