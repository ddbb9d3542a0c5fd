//! Sorted files: many rows written once, in key order, and taken into a family in one step.
//!
//! A file is synced when it is finished and removed if it was never ingested. Invariant: keys
//! ascend strictly (RocksDB refuses others). An ingested row hides an older row of the same key:
//! the caller holds the commit lock and has filtered.
//!
//! When the disk fails the sync of the list of files (MANIFEST), RocksDB removes the file that it
//! was taking in, whether or not the list names it by now; a list that does can not be opened any
//! more. So a file of which that is not known is kept until the store has been opened again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{Cache, IngestExternalFileOptions, Options, SstFileWriter};

use super::{Db, Family};
use crate::error::{Result, StoreError};

const WRITING: &str = "writing a sorted file";
const TAKING: &str = "taking in a sorted file";
/// How much is written before it is asked whether there is room for more, in bytes.
const CHECK_LEN: u64 = 1 << 20;

/// How the name of a kept file ends.
const KEPT: &str = "kept";

static FILE_COUNT: AtomicU64 = AtomicU64::new(0);

/// A finished sorted file, waiting to be taken in.
pub(crate) struct SortedFile {
    family: Family,
    path: PathBuf,
    row_count: u64,
}

impl Db {
    /// Writes `rows`, which must ascend strictly by key, into a sorted file. `None` when there are
    /// no rows.
    pub(crate) fn write_sorted<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        family: Family,
        rows: impl Iterator<Item = Result<(K, V)>>,
    ) -> Result<Option<SortedFile>> {
        let mut len = 0u64;
        self.write_file(family, rows, |writer, (key, value)| {
            let (key, value): (K, V) = (key, value);
            // Asked once every few blocks.
            let before = len / CHECK_LEN;
            len += (key.as_ref().len() + value.as_ref().len()) as u64;
            if len / CHECK_LEN > before {
                self.room().check(WRITING)?;
            }
            writer.put(key, value).map_err(|e| StoreError::db(WRITING, e))
        })
    }

    /// As [`Self::write_sorted`], of rows that are removed when the file is taken in: all at once,
    /// however many.
    pub(crate) fn write_sorted_removals<K: AsRef<[u8]>>(
        &self,
        family: Family,
        keys: impl Iterator<Item = Result<K>>,
    ) -> Result<Option<SortedFile>> {
        self.write_file(family, keys, |writer, key| {
            writer.delete(key).map_err(|e| StoreError::db(WRITING, e))
        })
    }

    fn write_file<R>(
        &self,
        family: Family,
        rows: impl Iterator<Item = Result<R>>,
        mut write: impl FnMut(&mut SstFileWriter<'_>, R) -> Result<()>,
    ) -> Result<Option<SortedFile>> {
        let number = FILE_COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.tmp.join(format!("{}-{number}.sst", family.name()));
        let options = family.options(&Options::default(), &Cache::new_lru_cache(0));
        let mut file = SortedFile { family, path, row_count: 0 };
        let mut writer = SstFileWriter::create(&options);
        for row in rows {
            let row = row?;
            if file.row_count == 0 {
                writer.open(&file.path).map_err(|e| StoreError::db(WRITING, e))?;
            }
            write(&mut writer, row)?;
            file.row_count += 1;
        }
        if file.row_count == 0 {
            return Ok(None);
        }
        writer.finish().map_err(|e| StoreError::db(WRITING, e))?;
        Ok(Some(file))
    }

    /// Whether the next opening may need this file of the directory for temporary ones.
    pub(crate) fn is_kept(path: &Path) -> bool {
        path.extension().is_some_and(|end| end == KEPT)
    }

    /// Takes finished files in, family by family in the order given. Durable when it returns.
    pub(crate) fn ingest(&self, files: Vec<SortedFile>) -> Result<()> {
        self.may_write()?;
        for file in files {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            let handle = self.handle(file.family);
            let taken = {
                let _write = self.writes.read();
                self.inner.ingest_external_file_cf_opts(handle, &options, vec![&file.path])
            };
            if let Err(e) = taken {
                if matches!(file.path.try_exists(), Ok(false)) {
                    return Err(StoreError::db(TAKING, e)); // So it never came to the list.
                }
                let error = self.failed(TAKING, e);
                if matches!(error, StoreError::Stopped { .. }) {
                    file.keep();
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

impl SortedFile {
    /// Keeps it for the next opening: RocksDB may know it, and not have it.
    fn keep(&self) {
        let _ = fs::rename(&self.path, self.path.with_extension(KEPT));
    }
}

impl Drop for SortedFile {
    fn drop(&mut self) {
        // Moved away when it was ingested, or kept; left over when the pack was refused.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens the database in `path` by `open`. Where that fails for want of a file that was being taken
/// in when the disk failed, the one that was kept in `tmp` takes its place; RocksDB knows each
/// file's length and identity, and refuses another. Never two: nothing is taken in after the first.
pub(super) fn open_with_kept<T>(
    path: &Path,
    tmp: &Path,
    open: impl Fn() -> Result<T, rocksdb::Error>,
) -> Result<T, rocksdb::Error> {
    let kept = kept_files(tmp);
    let opened = open().or_else(|first| {
        let Some(place) = missing_file(path, &first) else { return Err(first) };
        for file in &kept {
            if fs::hard_link(file, &place).is_ok() {
                if let Ok(opened) = open() {
                    return Ok(opened);
                }
                let _ = fs::remove_file(&place);
            }
        }
        Err(first)
    })?;
    for file in &kept {
        let _ = fs::remove_file(file);
    }
    Ok(opened)
}

/// The sorted file in `path` that `error` names and that is not there.
fn missing_file(path: &Path, error: &rocksdb::Error) -> Option<PathBuf> {
    let text = error.as_ref();
    let stem = &text[..text.find(".sst")?];
    let digits = stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    let place = path.join(format!("{}.sst", &stem[stem.len() - digits..]));
    (digits > 0 && !place.exists()).then_some(place)
}

/// What [`SortedFile::keep`] left in `tmp`, by name.
fn kept_files(tmp: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(tmp).into_iter().flatten().flatten();
    let mut kept: Vec<_> = entries.map(|entry| entry.path()).filter(|p| Db::is_kept(p)).collect();
    kept.sort();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::OpenMode;

    /// A row that no other file has.
    fn row(number: u8) -> [([u8; 20], [u8; 8]); 1] {
        [([number; 20], [number; 8])]
    }

    #[test]
    fn a_file_that_rocksdb_took_away_with_a_failing_disk_is_given_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, tmp) = (dir.path().join("db"), dir.path().join("tmp"));
        fs::create_dir(&tmp).expect("made");
        let open = |mode| Db::open(&path, &tmp, mode, 8 << 20);
        let db = open(OpenMode::Create).expect("made");
        for number in [1, 2, 3] {
            let rows = row(number).into_iter().map(Ok);
            let file = db.write_sorted(Family::Object, rows).expect("written").expect("a file");
            // What a failing sync of the list makes of it: the list names it, RocksDB removes it.
            fs::hard_link(&file.path, tmp.join(format!("{number}.kept"))).expect("linked");
            db.ingest(vec![file]).expect("taken in");
        }
        drop(db);
        let names = fs::read_dir(&path).expect("listed").map(|e| e.expect("an entry").path());
        let sorted = names.filter(|p| p.extension().is_some_and(|end| end == "sst"));
        let lost = sorted.max().expect("one");
        fs::remove_file(&lost).expect("removed");
        // Of the files at hand the first two are others', though as long.
        assert!(open(OpenMode::Read).is_err(), "nothing is mended when only reading");
        let db = open(OpenMode::Write).expect("opened");
        for number in [1, 2, 3] {
            let [(key, value)] = row(number);
            assert_eq!(db.get(Family::Object, &key).expect("read").as_deref(), Some(&value[..]));
        }
        drop(db);
        assert_eq!(kept_files(&tmp), Vec::<PathBuf>::new());
        fs::remove_file(lost).expect("removed");
        assert!(open(OpenMode::Write).is_err_and(|e| e.is_corruption()), "nothing is at hand now");
    }
}
