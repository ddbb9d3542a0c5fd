//! Settings of one repository, in git's words: what a push may do, which references are hidden,
//! which peers are let in.
//!
//! All of them are one row beside the repository's record, so a reader sees one consistent set. A
//! key is checked when it is set; in a row that is read, an unknown key is kept and has no effect,
//! so that an older program survives a newer one's.

#![deny(clippy::indexing_slicing)]

mod pattern;
mod value;

use std::collections::BTreeMap;

use crate::db::{Durability, Family, keys};
use crate::error::{Result, StoreError};
use crate::id::RepoId;
use crate::name::RefName;
use crate::outbox::damaged;
use crate::row::{RowReader, put_counted, put_varint};
use crate::store::Store;
pub use value::{FsckLevel, SeedPolicy};

/// Most bytes of all settings of a repository together.
pub const SETTINGS_LEN_MAX: usize = 64 << 10;

const ROW_VERSION: u8 = 1;

/// The settings of a repository, read and understood.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RepoSettings {
    entries: Vec<(String, String)>,
    fsck: BTreeMap<String, FsckLevel>,
    fsck_off: bool,
    protect: Vec<String>,
    quota: Option<u64>,
    post_receive: Option<String>,
    hide_from_push: Vec<String>,
    hide_from_fetch: Vec<String>,
    deny_non_fast_forwards: bool,
    deny_deletes: bool,
    allow_delete_current: bool,
    max_input_len: Option<u64>,
    max_refs: Option<u64>,
    no_bundles: bool,
    readers: Vec<String>,
    writers: Vec<String>,
    seed: SeedPolicy,
    upstream: Option<String>,
}

/// One change of a repository's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettingChange {
    /// The key has this value and no other.
    Set(String),
    /// The key has this value too, after those that it has.
    Add(String),
    /// The key has no value.
    Unset,
}

impl RepoSettings {
    /// Reads settings from keys and values in their order.
    ///
    /// # Errors
    /// [`StoreError::Setting`] for a key or a value that is not understood.
    pub fn new(entries: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut settings = Self::default();
        for (key, value) in entries {
            let key = value::canonical(&key).ok_or_else(|| unknown(&key))?;
            settings.take(&key, &value)?;
            settings.entries.push((key, value));
        }
        Ok(settings)
    }

    /// Notes what one setting says. Of a key that can be there once, the last counts.
    fn take(&mut self, key: &str, text: &str) -> Result<()> {
        let refuse = |reason: &'static str| StoreError::Setting {
            key: key.to_owned(),
            reason: format!("'{}' is not {reason}", text.escape_debug()),
        };
        let flag = || value::flag(text).ok_or_else(|| refuse("true or false"));
        let bytes = || value::number(text).ok_or_else(|| refuse("a number, as 100, 10m or 2g"));
        let hidden = || {
            let text = value::hidden(text);
            text.ok_or_else(|| refuse("the front of a reference's name, as refs/internal"))
        };
        match key.to_ascii_lowercase().as_str() {
            "receive.fsckobjects" => self.fsck_off = !flag()?,
            "receive.protect" => {
                let pattern = value::pattern(text);
                self.protect.push(pattern.ok_or_else(|| refuse("a branch, as main or release/*"))?);
            }
            "receive.quota" => self.quota = Some(bytes()?),
            "receive.maxinputsize" => self.max_input_len = Some(bytes()?).filter(|&len| len > 0),
            "receive.maxrefs" => self.max_refs = Some(bytes()?).filter(|&count| count > 0),
            "receive.postreceive" => {
                let program = value::program(text);
                self.post_receive =
                    Some(program.ok_or_else(|| refuse("the absolute path of a program"))?);
            }
            "receive.denynonfastforwards" => self.deny_non_fast_forwards = flag()?,
            "receive.denydeletes" => self.deny_deletes = flag()?,
            "receive.denydeletecurrent" => {
                // Git's words for "let it be", beside yes and no.
                let allows = ["ignore", "warn"].iter().any(|w| w.eq_ignore_ascii_case(text));
                let denies = allows || text.eq_ignore_ascii_case("refuse") || flag()?;
                self.allow_delete_current = allows || !denies;
            }
            "transfer.hiderefs" => {
                self.hide_from_push.push(hidden()?);
                self.hide_from_fetch.push(hidden()?);
            }
            "swarm.allowread" | "swarm.allowwrite" => {
                let peer = value::peer(text);
                let peer = peer.ok_or_else(|| refuse("a peer's id, as 12D3KooW..."))?;
                let is_reader = key.eq_ignore_ascii_case("swarm.allowRead");
                if is_reader { &mut self.readers } else { &mut self.writers }.push(peer);
            }
            "swarm.seed" => {
                let policy = SeedPolicy::parse(text);
                self.seed = policy.ok_or_else(|| refuse("always, mounted or never"))?;
            }
            "swarm.upstream" => {
                // What is refused may hold a password, and is not repeated.
                let reason = "is an address http(s)://HOST/NAME.git, without user and password";
                let refused = || StoreError::Setting { key: key.to_owned(), reason: reason.into() };
                self.upstream = Some(value::upstream(text).ok_or_else(refused)?);
            }
            "receive.hiderefs" => self.hide_from_push.push(hidden()?),
            "uploadpack.advertisebundleuris" => self.no_bundles = !flag()?,
            "uploadpack.hiderefs" => self.hide_from_fetch.push(hidden()?),
            lower => {
                let id = lower.strip_prefix("receive.fsck.").ok_or_else(|| unknown(key))?;
                let level = FsckLevel::parse(text);
                let level = level.ok_or_else(|| refuse("ignore, warn or error"))?;
                self.fsck.insert(id.to_owned(), level);
            }
        }
        Ok(())
    }

    /// Keys and values as they were set, in that order.
    pub fn entries(&self) -> &[(String, String)] {
        &self.entries
    }

    /// Whether objects that are pushed are checked as `git fsck` does. They are, by default.
    pub fn checks_objects(&self) -> bool {
        !self.fsck_off
    }

    /// What was set for one of git's checks, by its id in any case.
    pub fn fsck_level(&self, id: &str) -> Option<FsckLevel> {
        self.fsck.get(&id.to_ascii_lowercase()).copied()
    }

    /// Whether the reference is a protected branch: it is neither deleted nor rewound by a push.
    pub fn is_protected(&self, name: &RefName) -> bool {
        self.protect.iter().any(|glob| pattern::matches(glob.as_bytes(), name.as_bytes()))
    }

    /// Most bytes of git objects that pushes may bring the repository to.
    pub fn quota_len(&self) -> Option<u64> {
        self.quota
    }

    /// The program that is run after a push.
    pub fn post_receive(&self) -> Option<&str> {
        self.post_receive.as_deref()
    }

    /// Whether pushes may not rewind any reference.
    pub fn denies_rewinds(&self) -> bool {
        self.deny_non_fast_forwards
    }

    /// Whether pushes may not delete any reference.
    pub fn denies_deletes(&self) -> bool {
        self.deny_deletes
    }

    /// Whether pushes may not delete the branch that HEAD stands on. They may not, by default.
    pub fn denies_deleting_head(&self) -> bool {
        !self.allow_delete_current
    }

    /// Longest pack of one push, in bytes.
    pub fn max_input_len(&self) -> Option<u64> {
        self.max_input_len
    }

    /// Most references that one push may change.
    pub fn max_refs(&self) -> Option<u64> {
        self.max_refs
    }

    /// Whether fetches neither see the reference nor reach objects by it.
    pub fn hides_from_fetch(&self, name: &RefName) -> bool {
        pattern::is_hidden(name.as_bytes(), &self.hide_from_fetch)
    }

    /// Which references fetches do not see, as patterns.
    pub fn hidden_from_fetch(&self) -> &[String] {
        &self.hide_from_fetch
    }

    /// Whether pushes neither see nor change the reference.
    pub fn hides_from_push(&self, name: &RefName) -> bool {
        pattern::is_hidden(name.as_bytes(), &self.hide_from_push)
    }

    /// Whether any reference can be hidden from fetches.
    pub fn hides_any_from_fetch(&self) -> bool {
        !self.hide_from_fetch.is_empty()
    }

    /// Whether clients are told where a bundle of the default branch is. They are, by default.
    pub fn advertises_bundles(&self) -> bool {
        !self.no_bundles
    }

    /// Whether this peer, by its id as text, may read the repository whatever its visibility. Who
    /// may write may read.
    pub fn lets_peer_read(&self, peer: &str) -> bool {
        self.readers.iter().any(|reader| reader == peer) || self.lets_peer_write(peer)
    }

    /// Whether this peer may push to the repository.
    pub fn lets_peer_write(&self, peer: &str) -> bool {
        self.writers.iter().any(|writer| writer == peer)
    }

    /// When this copy of a peer's public repository is served on.
    pub fn seed(&self) -> SeedPolicy {
        self.seed
    }

    /// The server that this copy of a peer's repository is read from when no peer answers: the
    /// address of the same repository there.
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    fn encode(&self) -> Vec<u8> {
        let mut row = vec![ROW_VERSION];
        put_varint(&mut row, self.entries.len() as u64);
        for (key, value) in &self.entries {
            put_counted(&mut row, key.as_bytes());
            put_counted(&mut row, value.as_bytes());
        }
        row
    }

    fn decode(row: &[u8]) -> Option<Self> {
        let mut row = RowReader::new(row);
        if row.u8()? != ROW_VERSION {
            return None;
        }
        let mut settings = Self::default();
        for _ in 0..row.varint()? {
            let key = std::str::from_utf8(row.counted()?).ok()?;
            let value = std::str::from_utf8(row.counted()?).ok()?;
            // What is not understood has no effect.
            let _ = settings.take(key, value);
            settings.entries.push((key.to_owned(), value.to_owned()));
        }
        row.rest().is_empty().then_some(settings)
    }
}

impl Store {
    /// The repository's settings; all defaults when none was ever set.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn settings(&self, repo: RepoId) -> Result<RepoSettings> {
        let key = keys::repo_settings(repo);
        let Some(row) = self.db().get(Family::Repo, &key)? else {
            return Ok(RepoSettings::default());
        };
        RepoSettings::decode(&row).ok_or_else(|| damaged(Family::Repo, &key, "not settings"))
    }

    /// Changes one setting, durably.
    ///
    /// # Errors
    /// [`StoreError::Setting`] for a key that there is not or a value that it cannot have;
    /// [`StoreError::Limit`] past [`SETTINGS_LEN_MAX`]; [`StoreError::RepoGone`].
    pub fn set_setting(&self, repo: RepoId, key: &str, change: &SettingChange) -> Result<()> {
        let key = value::canonical(key).ok_or_else(|| unknown(key))?;
        let _lock = self.db().commit_lock();
        if !self.db().contains(Family::Repo, &keys::repo_record(repo))? {
            return Err(StoreError::RepoGone { id: repo });
        }
        let mut entries = self.settings(repo)?.entries;
        if !matches!(change, SettingChange::Add(_)) {
            entries.retain(|(other, _)| !other.eq_ignore_ascii_case(&key));
        }
        if let SettingChange::Set(value) | SettingChange::Add(value) = change {
            RepoSettings::default().take(&key, value)?;
            entries.push((key, value.clone()));
        }
        let row = RepoSettings { entries, ..RepoSettings::default() }.encode();
        if row.len() > SETTINGS_LEN_MAX {
            return Err(StoreError::Limit {
                what: "bytes of a repository's settings",
                limit: SETTINGS_LEN_MAX as u64,
                actual: row.len() as u64,
            });
        }
        let mut batch = self.db().batch();
        batch.put(Family::Repo, &keys::repo_settings(repo), &row);
        self.db().commit(batch, Durability::Synced)
    }
}

fn unknown(key: &str) -> StoreError {
    StoreError::Setting { key: key.escape_debug().to_string(), reason: "is not a setting".into() }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests;
