//! A database in a temporary directory, for the tests of what stands on it.

use std::sync::Arc;

use tempfile::TempDir;

use crate::db::{Db, Durability, Family, keys};
use crate::id::{ObjectId, RepoId};

/// The database goes when this goes.
pub(crate) struct TestDb {
    pub(crate) db: Arc<Db>,
    dir: TempDir,
}

impl TestDb {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { db: Self::open(&dir), dir }
    }

    fn open(dir: &TempDir) -> Arc<Db> {
        let tmp = dir.path().join("tmp");
        std::fs::create_dir_all(&tmp).expect("made");
        Arc::new(Db::open(&dir.path().join("db"), &tmp, true, 8 << 20).expect("a database"))
    }

    /// Closes the database and opens it again. Nobody else may hold it.
    pub(crate) fn reopen(self) -> Self {
        let Self { db, dir } = self;
        Arc::try_unwrap(db).map_err(|_| "the database is still held").expect("ours alone");
        Self { db: Self::open(&dir), dir }
    }

    /// Makes `ids` objects of the repository, without storing them.
    pub(crate) fn add_members(&self, repo: RepoId, ids: &[ObjectId]) {
        let mut batch = self.db.batch();
        for id in ids {
            batch.put(Family::RepoObject, &keys::repo_object(repo, id), b"");
        }
        self.db.commit(batch, Durability::Synced).expect("written");
    }

    /// All rows of a family, key and value as hex.
    pub(crate) fn rows(&self, family: Family) -> Vec<(String, String)> {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
        let rows = self.db.scan(family, b"");
        rows.map(|row| row.map(|(k, v)| (hex(&k), hex(&v))).expect("readable")).collect()
    }
}
