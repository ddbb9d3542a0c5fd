//! From a backup to a store: copied into a new directory, or opened where it is, to be read.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::set::{Member, Set};
use super::{BackupInfo, Backups, copy, io, sync_dir};
use crate::error::{Result, StoreError};
use crate::progress::{Progress, Unit};
use crate::store::{FORMAT_VERSION, Store, StoreOptions};

/// A backup that is open as a store, to be read.
pub struct OpenBackup {
    /// The store: nothing in it changes.
    pub store: Store,
    /// Links to the backup's files; gone with this.
    _dir: TempDir,
}

impl Backups {
    /// The set of a number, or the newest.
    fn wanted(&self, number: Option<u32>) -> Result<(u32, Set)> {
        let number = match number {
            Some(number) => number,
            None => *self
                .numbers()?
                .last()
                .ok_or_else(|| StoreError::NotABackup { path: self.dir.clone() })?,
        };
        let set = self.set(number)?;
        if set.format > FORMAT_VERSION {
            let (path, found) = (self.dir.clone(), set.format);
            return Err(StoreError::FormatNewer { path, found, supported: FORMAT_VERSION });
        }
        Ok((number, set))
    }

    /// Writes a backup, the newest unless a number is given, into `target`, which must be absent or
    /// an empty directory. Every byte is compared with what was backed up on the way.
    ///
    /// # Errors
    /// [`StoreError::StoreExists`]; [`StoreError::DamagedBackup`] naming what is damaged: nothing
    /// of the target stays then.
    pub fn restore(
        &self,
        number: Option<u32>,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<BackupInfo> {
        let (number, set) = self.wanted(number)?;
        let was_there = target.symlink_metadata().is_ok();
        let is_empty = fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
        if was_there && !is_empty {
            return Err(StoreError::StoreExists { path: target.to_owned() });
        }
        let info = set.info(number);
        progress.start("restoring", Some(info.len), Unit::Bytes);
        let restored = self.write(&set, target, progress);
        if restored.is_err() {
            // All of it is ours: it was empty.
            let _ = fs::remove_dir_all(target);
            if was_there {
                let _ = fs::create_dir(target);
            }
        }
        restored.map(|()| info)
    }

    fn write(&self, set: &Set, target: &Path, progress: &dyn Progress) -> Result<()> {
        let mut dirs = vec![target.to_owned(), target.join("db")];
        // Without it the directory is no store: it comes last.
        let (format, others): (Vec<&Member>, Vec<&Member>) =
            set.members.iter().partition(|member| member.path == "FORMAT");
        for member in others {
            let to = target.join(&member.path);
            let parent = to.parent().unwrap_or(target).to_owned();
            if !dirs.contains(&parent) {
                dirs.push(parent);
            }
            for dir in &dirs {
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
                made.map_err(io("creating", dir))?;
            }
            self.write_one(member, &to, progress)?;
        }
        dirs.iter().skip(1).try_for_each(|dir| sync_dir(dir))?;
        for member in format {
            self.write_one(member, &target.join("FORMAT"), progress)?;
        }
        sync_dir(target)
    }

    fn write_one(&self, member: &Member, to: &Path, progress: &dyn Progress) -> Result<()> {
        let from = self.data.path(&member.id);
        let damaged = |reason: String| StoreError::DamagedBackup { path: from.clone(), reason };
        let source = File::open(&from).map_err(|e| damaged(e.to_string()))?;
        let mut file =
            copy::private().write(true).create_new(true).open(to).map_err(io("creating", to))?;
        let (id, _) = copy::copy(source, &mut file, &from, progress)?;
        if id != member.id {
            return Err(damaged(format!("it is not the '{}' that was backed up", member.path)));
        }
        file.sync_all().map_err(io("syncing", to))
    }

    /// Opens a backup, the newest unless a number is given, as a store to be read: beside it, by
    /// links to its files.
    ///
    /// # Errors
    /// When it is damaged so that it cannot be opened.
    pub fn open_as_store(&self, number: Option<u32>) -> Result<OpenBackup> {
        let (_, set) = self.wanted(number)?;
        let made = tempfile::Builder::new().prefix(".open-").tempdir_in(&self.dir);
        let dir = made.map_err(io("making a directory in", &self.dir))?;
        let db: PathBuf = dir.path().join("db");
        fs::DirBuilder::new().mode(0o700).create(&db).map_err(io("creating", &db))?;
        for member in &set.members {
            if member.path == "FORMAT" || member.path.starts_with("db/") {
                let (from, to) = (self.data.path(&member.id), dir.path().join(&member.path));
                fs::hard_link(&from, &to).map_err(io("linking", &from))?;
            }
        }
        let store = Store::open_to_read(dir.path(), &StoreOptions::default())?;
        Ok(OpenBackup { store, _dir: dir })
    }
}
