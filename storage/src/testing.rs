//! A database in a temporary directory, and git, for the tests.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::db::{Db, Durability, Family, OpenMode, keys};
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
        Arc::new(
            Db::open(&dir.path().join("db"), &tmp, OpenMode::Create, 8 << 20).expect("a database"),
        )
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

/// Runs git in `dir`, without anyone's configuration, and returns its standard output.
pub(crate) fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let (success, output) = try_git(dir, args, input);
    assert!(success, "git {args:?}");
    output
}

/// As [`git`]; says whether it went well.
pub(crate) fn try_git(dir: &Path, args: &[&str], input: &[u8]) -> (bool, Vec<u8>) {
    let mut child = Command::new("git")
        .current_dir(dir)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a path"))
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([("GIT_COMMITTER_NAME", "c"), ("GIT_COMMITTER_EMAIL", "c@example.org")])
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // Git may have heard enough before the end.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("git ends");
    feeder.join().expect("fed");
    (output.status.success(), output.stdout)
}
