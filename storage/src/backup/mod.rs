//! Backups of a store in a directory elsewhere: each a whole store, what they share kept once.
//!
//! A backup is what a crash at one moment would leave of the store, with everything written until
//! then: all writes wait for some milliseconds while RocksDB links its files into a directory of
//! their own (`Db::checkpoint`); copying is done from there, beside all other work. The files of
//! keys and values never change once they are written, so one that an earlier backup has (by name,
//! length and time) is neither read nor copied.
//!
//! Kept: the database, `FORMAT`, and the node's key. Not kept: what is made again (`cache/`,
//! `tmp/`) and what belongs to a process (`owner`, `control.sock`, `log/`). A token's secret is in
//! no store, only its hash.
//!
//! Layout, byte by byte, in `storage/README.md`. Invariants:
//! - a set's file is written last, whole or not at all: without it there is no backup;
//! - a content stands under its SHA-256, written whole or not at all;
//! - only its owner reads a backup: directories 0700, files 0600.

mod copy;
mod restore;
mod set;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Result, StoreError};
use crate::id::FileId;
use crate::owner::OwnerLock;
use crate::progress::{Progress, Unit};
use crate::repos::now_unix;
use crate::store::{FORMAT_VERSION, Store};
use copy::{DATA, Data};
pub use restore::OpenBackup;
use set::{Member, Set};

/// Files beside the database that a store is not the same without: the key that makes it the peer
/// that it is. Whoever has it can be that peer.
const BESIDE: [&str; 1] = ["swarm/key"];
/// What a directory of backups says in `FORMAT`.
const FORMAT: &str = "mega-store-backup 1\n";
/// Where the sets are.
const SETS: &str = "sets";
/// What was read before: losable.
const KNOWN: &str = "known";

/// A directory of backups, locked.
pub struct Backups {
    dir: PathBuf,
    data: Data,
    _lock: OwnerLock,
}

/// What making a backup did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupReport {
    /// The backup.
    pub backup: BackupInfo,
    /// Files that no earlier backup had.
    pub copied_count: u64,
    /// Their length, in bytes.
    pub copied_len: u64,
}

/// One backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupInfo {
    /// Its number: higher is newer.
    pub number: u32,
    /// When it was made, in seconds since 1970.
    pub made_unix: u64,
    /// Files of it.
    pub file_count: u64,
    /// Their length, in bytes.
    pub len: u64,
}

/// Something of a backup that is not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupDamage {
    /// A file of the backup, relative to its directory.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// The backups that need it.
    pub backups: Vec<u32>,
}

fn io(action: &str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let action = format!("{action} {}", path.display());
    move |error| StoreError::io(action, error)
}

impl Backups {
    /// Opens a directory of backups; with `make`, one that is absent or empty becomes one.
    ///
    /// # Errors
    /// [`StoreError::NotABackup`]; [`StoreError::Held`] while another process is at it.
    pub fn open(dir: &Path, make: bool) -> Result<Self> {
        let format = dir.join("FORMAT");
        let is_made = match fs::read_to_string(&format) {
            Ok(text) if text == FORMAT => true,
            Ok(_) => return Err(StoreError::NotABackup { path: dir.to_owned() }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => return Err(io("reading", &format)(e)),
        };
        if !is_made {
            // What a making that was interrupted left is nobody's.
            let is_leftover = |name: &std::ffi::OsStr| {
                [SETS, DATA, "owner", "FORMAT.new"].iter().any(|known| name == *known)
            };
            let is_free = fs::read_dir(dir).map_or(true, |mut entries| {
                entries.all(|entry| entry.is_ok_and(|entry| is_leftover(&entry.file_name())))
            });
            if !make || !is_free {
                return Err(StoreError::NotABackup { path: dir.to_owned() });
            }
        }
        for path in [dir.to_owned(), dir.join(SETS), dir.join(DATA)] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(io("creating", &path))?;
        }
        let _lock = OwnerLock::take(dir)?;
        if !is_made {
            copy::write_whole(dir, "FORMAT", FORMAT.as_bytes())?;
        }
        Ok(Self { dir: dir.to_owned(), data: Data::new(dir), _lock })
    }

    /// Whether a directory has backups.
    pub fn is_one(dir: &Path) -> bool {
        fs::read_to_string(dir.join("FORMAT")).is_ok_and(|text| text == FORMAT)
    }

    /// Makes a backup of an open store. Others go on using it.
    ///
    /// # Errors
    /// When something cannot be read or written; [`StoreError::Interrupted`]. What was copied stays
    /// for the next time, and no backup is there.
    pub fn create(&self, store: &Store, progress: &dyn Progress) -> Result<BackupReport> {
        let made_unix = now_unix();
        let scratch = tempfile::Builder::new().prefix("backup-").tempdir_in(store.tmp());
        let scratch = scratch.map_err(io("making a directory in", store.tmp()))?;
        let db = scratch.path().join("db");
        store.db().checkpoint(&db)?;
        let mut sources: BTreeMap<String, PathBuf> = BTreeMap::new();
        for entry in fs::read_dir(&db).map_err(io("reading", &db))? {
            let entry = entry.map_err(io("reading", &db))?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| not_ours(&entry.path()))?;
            sources.insert(format!("db/{name}"), entry.path());
        }
        sources.insert("FORMAT".to_owned(), store.path().join("FORMAT"));
        for name in BESIDE {
            let path = store.path().join(name);
            if path.is_file() {
                sources.insert(name.to_owned(), path);
            }
        }
        let mut total = 0;
        for path in sources.values() {
            total += fs::metadata(path).map_err(io("reading", path))?.len();
        }
        progress.start("copying", Some(total), Unit::Bytes);
        let known = self.known();
        let mut set = Set { made_unix, format: FORMAT_VERSION, members: Vec::new() };
        let (mut copied_count, mut copied_len) = (0, 0);
        for (name, path) in sources {
            let (member, is_new) = self.keep(&name, &path, &known, progress)?;
            if is_new {
                copied_count += 1;
                copied_len += member.len;
            }
            set.members.push(member);
        }
        self.data.sync()?;
        let number = self.numbers()?.last().map_or(1, |last| last + 1);
        copy::write_whole(&self.dir.join(SETS), &set::name_of(number), &set.encode())?;
        Ok(BackupReport { backup: set.info(number), copied_count, copied_len })
    }

    /// Keeps one file; whether it had to be copied.
    fn keep(
        &self,
        name: &str,
        path: &Path,
        known: &HashMap<String, FileId>,
        progress: &dyn Progress,
    ) -> Result<(Member, bool)> {
        let meta = fs::metadata(path).map_err(io("reading", path))?;
        let key = known_key(name, &meta);
        let is_fixed = [".sst", ".blob"].iter().any(|end| name.ends_with(end));
        if let Some(id) = known.get(&key).filter(|_| is_fixed)
            && self.data.has(id, meta.len())
        {
            progress.advance(meta.len());
            return Ok((Member { path: name.to_owned(), id: *id, len: meta.len() }, false));
        }
        let (id, len, is_new) = self.data.take_in(path, progress)?;
        if is_fixed {
            self.note(&key, &id)?;
        }
        Ok((Member { path: name.to_owned(), id, len }, is_new))
    }

    /// What files were found to be before.
    fn known(&self) -> HashMap<String, FileId> {
        let text = fs::read_to_string(self.dir.join(KNOWN)).unwrap_or_default();
        let read = |line: &str| {
            let (id, key) = line.split_once(' ')?;
            Some((key.to_owned(), id.parse().ok()?))
        };
        text.lines().filter_map(read).collect()
    }

    fn note(&self, key: &str, id: &FileId) -> Result<()> {
        let path = self.dir.join(KNOWN);
        let mut file = copy::private().append(true).open(&path).map_err(io("opening", &path))?;
        file.write_all(format!("{id} {key}\n").as_bytes()).map_err(io("writing", &path))
    }

    /// The numbers of all backups, ascending.
    fn numbers(&self) -> Result<BTreeSet<u32>> {
        let dir = self.dir.join(SETS);
        let mut numbers = BTreeSet::new();
        for entry in fs::read_dir(&dir).map_err(io("reading", &dir))? {
            let name = entry.map_err(io("reading", &dir))?.file_name();
            numbers.extend(name.to_str().and_then(set::number_of));
        }
        Ok(numbers)
    }

    fn set(&self, number: u32) -> Result<Set> {
        let path = self.dir.join(SETS).join(set::name_of(number));
        let text = fs::read(&path).map_err(io("reading", &path))?;
        Set::decode(&text).ok_or(StoreError::DamagedBackup {
            path,
            reason: "it is not what was written".to_owned(),
        })
    }

    /// All backups whose lists can be read, the oldest first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<BackupInfo>> {
        let numbers = self.numbers()?.into_iter();
        Ok(numbers.filter_map(|number| Some(self.set(number).ok()?.info(number))).collect())
    }

    /// Bytes that all contents take together.
    pub fn stored_len(&self) -> u64 {
        self.data.stored_len()
    }

    /// Reads everything that backups need and compares it with what was written.
    ///
    /// # Errors
    /// When the directory cannot be read, [`StoreError::Interrupted`]; damage is no error.
    pub fn verify(&self, progress: &dyn Progress) -> Result<Vec<BackupDamage>> {
        let mut damages = Vec::new();
        let mut needed: BTreeMap<FileId, (u64, Vec<u32>)> = BTreeMap::new();
        for number in self.numbers()? {
            match self.set(number) {
                Ok(set) => {
                    for member in set.members {
                        needed.entry(member.id).or_insert((member.len, vec![])).1.push(number);
                    }
                }
                Err(error) => damages.push(BackupDamage {
                    path: format!("{SETS}/{}", set::name_of(number)),
                    reason: error.to_string(),
                    backups: vec![number],
                }),
            }
        }
        let total = needed.values().map(|(len, _)| len).sum();
        progress.start("hashing", Some(total), Unit::Bytes);
        for (id, (len, mut backups)) in needed {
            if let Some(reason) = self.data.problem(&id, len, progress)? {
                backups.dedup();
                damages.push(BackupDamage { path: copy::path_of(&id), reason, backups });
            }
        }
        Ok(damages)
    }
}

/// What a file that does not change is known by.
fn known_key(name: &str, meta: &fs::Metadata) -> String {
    format!("{} {}.{:09} {name}", meta.len(), meta.mtime(), meta.mtime_nsec())
}

fn not_ours(path: &Path) -> StoreError {
    StoreError::DamagedBackup {
        path: path.to_owned(),
        reason: "it is no file of a store".to_owned(),
    }
}

/// Opens a directory for its sync.
fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(io("syncing", path))
}
