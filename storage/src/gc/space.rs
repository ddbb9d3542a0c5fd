//! Space: what is kept beside the database of what went, and the files of the database.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::{Point, Run};
use crate::db::{BALLAST, Family};
use crate::error::Result;

/// A family is compacted when one in so many of its rows has gone: a scan and a rewrite of its
/// keys.
const COMPACT_SHARE: u64 = 64;

/// Rows that went, by family.
#[derive(Default)]
pub(super) struct GoneRows(HashMap<&'static str, u64>);

impl GoneRows {
    pub(super) fn add(&mut self, family: Family, count: u64) {
        *self.0.entry(family.name()).or_default() += count;
    }

    fn any(&self) -> bool {
        self.0.values().any(|count| *count > 0)
    }

    fn of(&self, family: Family) -> u64 {
        self.0.get(family.name()).copied().unwrap_or(0)
    }
}

impl Run<'_> {
    /// Gives space back, and measures.
    pub(super) fn space(&mut self) -> Result<()> {
        self.report.after_len = self.report.before_len;
        if self.options.dry_run {
            return Ok(());
        }
        let plain = self.store.path().join("cache").join("plain");
        for file in &self.gone_files {
            let _ = fs::remove_file(plain.join(file.to_string()));
        }
        self.at(Point::Swept)?;
        self.start("giving space back");
        for family in Family::ALL {
            self.step(1)?;
            let gone = self.gone_rows.of(family);
            // What is left is what was, less what went: the estimate counts both.
            let is_much = gone > 0 && gone >= self.db.row_count_estimate(family)? / COMPACT_SHARE;
            if !is_much && self.db.garbage_share(family)? < crate::db::GARBAGE_SHARE_MAX {
                continue;
            }
            if let Some(note) = self.db.compact_family(family)? {
                self.report.notes.push(note);
            }
        }
        if self.gone_rows.any() {
            // What went is in the log, too, until every family has been flushed.
            self.db.flush(&Family::ALL)?;
        }
        self.report.after_len = self.disk_len();
        Ok(())
    }

    /// Bytes that the store takes on the disk, its reserve aside.
    pub(super) fn disk_len(&self) -> u64 {
        disk_len(self.store.path())
    }
}

/// Bytes that a directory takes on the disk, a ballast aside. What vanishes meanwhile counts for
/// nothing.
fn disk_len(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut len = 0;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if entry.file_name() == BALLAST {
            continue;
        }
        // The log has room ahead of it that is given back when it ends.
        len += meta.len().min(meta.blocks() * 512);
        if meta.is_dir() {
            len += disk_len(&entry.path());
        }
    }
    len
}
