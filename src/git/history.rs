//! Earlier versions of LFS files, as a repository's latest commits have them.
//!
//! A help for transfers, not a promise: only the latest commits are looked at, and whatever git
//! does not answer counts as "none".

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mega_storage::object::{hash_object, parse_pointer};
use mega_storage::{FileId, ObjectId, ObjectKind, Pointer};

use super::{Git, run};

/// Commits that are looked at.
const COMMITS_MAX: &str = "2000";
/// Changes that are remembered.
const CHANGES_MAX: usize = 2_000_000;
/// Versions of one file that are looked at.
const VERSIONS_MAX: usize = 16;

/// The latest changes of a repository. Git is asked once, when the first question comes.
pub struct History {
    git: Git,
    dir: PathBuf,
    changes: OnceLock<Changes>,
}

/// Which blobs stood at which path, the newest first.
#[derive(Default)]
struct Changes {
    paths: HashMap<Vec<u8>, usize>,
    versions: Vec<Vec<ObjectId>>,
    places: HashMap<ObjectId, usize>,
}

impl History {
    /// The history of the repository that has `dir`.
    pub fn new(git: Git, dir: &Path) -> Self {
        Self { git, dir: dir.to_owned(), changes: OnceLock::new() }
    }

    /// Other files that stood where this one does, the newest first.
    pub fn other_versions(&self, pointer: &Pointer) -> Vec<FileId> {
        let changes = self.changes.get_or_init(|| self.read().unwrap_or_default());
        let text = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
            pointer.file, pointer.len
        );
        let Ok(blob) = hash_object(ObjectKind::Blob, text.as_bytes()) else { return Vec::new() };
        let versions = changes.places.get(&blob).and_then(|place| changes.versions.get(*place));
        let others = versions.into_iter().flatten().filter(|other| **other != blob);
        let others: Vec<ObjectId> = others.take(VERSIONS_MAX).copied().collect();
        if others.is_empty() {
            return Vec::new();
        }
        let mut files = self.read_pointers(&others).unwrap_or_default();
        files.retain(|file| *file != pointer.file);
        files
    }

    fn read(&self) -> Option<Changes> {
        let dir = self.dir.as_os_str();
        let list = ["rev-list", "--all", "--max-count", COMMITS_MAX];
        let commits = run(self.git.in_dir(dir).args(list), "rev-list", b"").ok()?;
        let options = ["--stdin", "--root", "-r", "-m", "--raw", "--no-abbrev", "--no-renames"];
        let mut command = self.git.in_dir(dir);
        command.arg("diff-tree").args(options).args(["--diff-filter=AM", "--no-commit-id"]);
        let lines = run(&mut command, "diff-tree", &commits).ok()?;
        let mut changes = Changes::default();
        for line in lines.split(|&b| b == b'\n').take(CHANGES_MAX) {
            changes.add(line);
        }
        Some(changes)
    }

    /// The files that blobs point to.
    fn read_pointers(&self, blobs: &[ObjectId]) -> Option<Vec<FileId>> {
        let ids: String = blobs.iter().map(|id| format!("{id}\n")).collect();
        let mut command = self.git.in_dir(self.dir.as_os_str());
        command.args(["cat-file", "--batch"]);
        let output = run(&mut command, "cat-file", ids.as_bytes()).ok()?;
        let mut rest = &output[..];
        let mut files = Vec::new();
        while let Some(end) = rest.iter().position(|&b| b == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            let len = std::str::from_utf8(line).ok()?.trim_end().rsplit(' ').next()?;
            rest = after;
            // An object that is missing has a line and no content.
            let Ok(len) = len.parse::<usize>() else { continue };
            let (content, after) = rest.split_at_checked(len)?;
            files.extend(parse_pointer(content).map(|pointer| pointer.file));
            rest = after.get(1..)?;
        }
        Some(files)
    }
}

impl Changes {
    /// Takes a line `:<mode> <mode> <old> <new> <status>\t<path>`.
    fn add(&mut self, line: &[u8]) -> Option<()> {
        let tab = line.iter().position(|&b| b == b'\t')?;
        let (facts, path) = line.split_at(tab);
        let mut ids = facts.split(|&b| b == b' ').skip(2);
        let (old, new) = (ids.next()?, ids.next()?);
        let count = self.versions.len();
        let place = *self.paths.entry(path.to_vec()).or_insert(count);
        if place == count {
            self.versions.push(Vec::new());
        }
        let versions = self.versions.get_mut(place)?;
        for id in [new, old] {
            let id = ObjectId::from_hex(id).ok().filter(|id| *id != ObjectId::NULL)?;
            if !versions.contains(&id) && versions.len() <= VERSIONS_MAX {
                versions.push(id);
            }
            self.places.entry(id).or_insert(place);
        }
        Some(())
    }
}
