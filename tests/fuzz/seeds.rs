//! Good inputs: a repository that git made, its objects and its packs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use mega_storage::{Expect, RefEdit, RefName, RefTarget, RefTransaction, StoreOptions, Visibility};
use mega_storage::{IngestOptions, NoProgress, ObjectId, PackInput, Repo, RepoName, Store};
use tempfile::TempDir;

/// A repository with merges, tags, links and deltas, made by git.
pub struct GitRepo {
    dir: TempDir,
}

impl GitRepo {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("r");
        mega_tools::corpus::repo::write(&path, 500, 7, true).expect("git makes it");
        let repo = Self { dir };
        repo.git(&["tag", "-a", "-m", "a tag of a tag", "outer", "HEAD"], b"");
        repo
    }

    pub fn git(&self, words: &[&str], input: &[u8]) -> Vec<u8> {
        git(&self.dir.path().join("r"), words, input)
    }

    pub fn text(&self, words: &[&str]) -> String {
        String::from_utf8(self.git(words, b"")).expect("text").trim().to_owned()
    }

    /// A pack of these revisions (`^` before those to leave out, `--all` for all references).
    pub fn pack(&self, revisions: &str, more: &[&str]) -> Vec<u8> {
        let rest = revisions.strip_prefix("--all\n");
        let all = rest.map(|_| "--all").into_iter();
        let words = ["pack-objects", "--revs", "--stdout", "-q"].into_iter();
        let words: Vec<&str> = words.chain(all).chain(more.iter().copied()).collect();
        self.git(&words, rest.unwrap_or(revisions).as_bytes())
    }

    /// Contents of all objects of a kind.
    pub fn objects(&self, kind: &str) -> Vec<Vec<u8>> {
        let list = self.text(&["cat-file", "--batch-all-objects", "--batch-check"]);
        let of_kind = list.lines().filter_map(|line| {
            let (id, rest) = line.split_once(' ')?;
            rest.starts_with(kind).then_some(id)
        });
        of_kind.take(40).map(|id| self.git(&["cat-file", kind, id], b"")).collect()
    }
}

/// Runs git without anybody's configuration.
pub fn git(path: &Path, words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("git");
    command.arg("-C").arg(path).args(words).env("GIT_CONFIG_NOSYSTEM", "1");
    for (name, value) in [("HOME", "/nonexistent"), ("GIT_AUTHOR_DATE", "1700000000 +0000")] {
        command.env(name, value).env("GIT_COMMITTER_DATE", "1700000000 +0000");
    }
    for name in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"] {
        command.env(name, "A U Thor");
    }
    for name in ["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"] {
        command.env(name, "author@example.com");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("git runs");
    child.stdin.take().expect("piped").write_all(input).expect("git reads");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {words:?}");
    output.stdout
}

/// A store of its own.
pub struct Scratch {
    pub store: Store,
    _dir: TempDir,
    repo_count: u32,
}

impl Scratch {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        Self { store, _dir: dir, repo_count: 0 }
    }

    /// A repository that nobody has used.
    pub fn fresh(&mut self) -> Repo {
        self.repo_count += 1;
        let name = RepoName::new(&format!("r{}", self.repo_count)).expect("a name");
        self.store.repos().create(&name, Visibility::Private).expect("made")
    }

    pub fn ingest(&self, repo: &Repo, mut pack: &[u8]) {
        let input = PackInput::Stream(&mut pack);
        let options = IngestOptions::default();
        let objects = self.store.objects();
        objects.ingest_pack(repo.id, input, &options, &NoProgress).expect("git's pack is good");
    }

    pub fn set_refs(&self, repo: &Repo, refs: &[(&str, ObjectId)]) {
        let edits = refs.iter().map(|(name, id)| RefEdit {
            name: RefName::new(name.as_bytes()).expect("a name"),
            expect: Expect::Any,
            new: Some(RefTarget::Direct(*id)),
        });
        let transaction = RefTransaction { edits: edits.collect() };
        self.store.refs().apply(repo.id, &transaction).expect("applied");
    }
}
