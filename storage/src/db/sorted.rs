//! Sorted files: many rows written once, in key order, and taken into a family in one step.
//!
//! A file is synced when it is finished and removed if it was never ingested. Invariant: keys
//! ascend strictly (RocksDB refuses others). An ingested row hides an older row of the same key:
//! the caller holds the commit lock and has filtered.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{Cache, IngestExternalFileOptions, Options, SstFileWriter};

use super::{Db, Family};
use crate::error::{Result, StoreError};

const WRITING: &str = "writing a sorted file";
/// How much is written before it is asked whether there is room for more, in bytes.
const CHECK_LEN: u64 = 1 << 20;

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

    /// Takes finished files in, family by family in the order given. Durable when it returns.
    pub(crate) fn ingest(&self, files: Vec<SortedFile>) -> Result<()> {
        self.may_write()?;
        for file in files {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            let _write = self.writes.read();
            self.inner
                .ingest_external_file_cf_opts(self.handle(file.family), &options, vec![&file.path])
                .map_err(|e| StoreError::db("taking in a sorted file", e))?;
        }
        Ok(())
    }
}

impl Drop for SortedFile {
    fn drop(&mut self) {
        // Moved away when it was ingested; left over when the pack was refused.
        let _ = std::fs::remove_file(&self.path);
    }
}
