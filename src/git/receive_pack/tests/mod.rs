//! Pushes as bytes in and bytes out: packs that real git made, and the same bytes given to real
//! `git receive-pack`.

mod hostile;
mod oracle;
mod policy;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use mega_storage::{
    NoProgress, ObjectId, RefName, RefTarget, Repo, RepoName, RepoSettings, Store, StoreOptions,
    Visibility,
};
use tempfile::TempDir;

use super::*;
use crate::git::Protocol;
use crate::git::limits::PushLimits;
use crate::git::wire::{Budget, Pkt, PktReader, PktWriter};

pub(super) const ZERO: &str = "0000000000000000000000000000000000000000";
pub(super) const CAPS: &str =
    "report-status side-band-64k object-format=sha1 agent=git/2.47.3 quiet";

/// A store with a repository, and a git repository whose objects are pushed into it.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) store: Store,
    pub(super) repo: Repo,
    pub(super) settings: RepoSettings,
    pub(super) limits: PushLimits,
}

/// What a client saw of one push.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Lines of the report.
    pub(super) report: Vec<String>,
    /// Band 2.
    pub(super) words: String,
    /// Band 3.
    pub(super) fatal: String,
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        let name = RepoName::new("team/one").expect("valid");
        let repo = store.repos().create(&name, Visibility::Private).expect("made");
        let (settings, limits) = (RepoSettings::default(), PushLimits::default());
        let world = Self { dir, store, repo, settings, limits };
        git(world.dir.path(), &["init", "-q", "-b", "main", "work"], b"");
        world
    }

    pub(super) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Git in the client's repository; its output without the last newline.
    pub(super) fn git(&self, args: &[&str]) -> String {
        text_of(git(&self.work(), args, b""))
    }

    /// A commit with one file, on top of HEAD; returns its id.
    pub(super) fn commit(&self, file: &str, content: &str) -> String {
        let path = self.work().join(file);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
        std::fs::write(path, content).expect("written");
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", content]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(super) fn set(&mut self, settings: &[(&str, &str)]) {
        let entries = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        self.settings = RepoSettings::new(entries).expect("understood");
    }

    pub(super) fn service(&self) -> Service<'_> {
        let (store, repo, settings) = (&self.store, &self.repo, &self.settings);
        let service = Service::new(store, repo, settings, Protocol::V0, "tester", &NoProgress);
        service.expect("whole").with_limits(self.limits)
    }

    /// A pack as send-pack makes it: what `want` reaches and `have` does not, thin.
    pub(super) fn pack(&self, want: &[&str], have: &[&str]) -> Vec<u8> {
        let mut input: String = want.iter().map(|id| format!("{id}\n")).collect();
        input.extend(have.iter().map(|id| format!("^{id}\n")));
        let args = ["pack-objects", "--all-progress-implied", "-q", "--revs", "--stdout", "--thin"];
        git(&self.work(), &args, input.as_bytes())
    }

    /// Sends bytes; returns the bytes that came back.
    pub(super) fn send(&self, request: &[u8]) -> Result<Vec<u8>, GitError> {
        let mut out = Vec::new();
        serve(&self.service(), &mut &request[..], &mut out)?;
        Ok(out)
    }

    /// Pushes; the pack is made of what is new.
    pub(super) fn push(&self, commands: &[(&str, &str, &str)]) -> Answer {
        self.push_as(CAPS, commands)
    }

    pub(super) fn push_as(&self, caps: &str, commands: &[(&str, &str, &str)]) -> Answer {
        let want: Vec<&str> = commands.iter().map(|c| c.1).filter(|id| *id != ZERO).collect();
        let have: Vec<String> = self.refs().into_values().filter(|id| id.len() == 40).collect();
        let mut request = request(caps, commands);
        if !want.is_empty() {
            let have: Vec<&str> = have.iter().map(String::as_str).collect();
            request.extend(self.pack(&want, &have));
        }
        answer(&self.send(&request).expect("answered"))
    }

    pub(super) fn refs(&self) -> BTreeMap<String, String> {
        let refs = self.store.refs().list(self.repo.id, b"refs/").expect("listed");
        refs.into_iter().map(|(name, target)| (name.to_string(), target.to_string())).collect()
    }

    pub(super) fn head(&self) -> String {
        let head = self.store.refs().get(self.repo.id, &RefName::head()).expect("read");
        head.map_or_else(String::new, |head: RefTarget| head.to_string())
    }

    pub(super) fn has(&self, id: &str) -> bool {
        let id: ObjectId = id.parse().expect("an id");
        self.store.objects().is_member(self.repo.id, &id).expect("read")
    }
}

/// The front of a push.
pub(super) fn request(caps: &str, commands: &[(&str, &str, &str)]) -> Vec<u8> {
    let mut lines = PktWriter::new(Vec::new());
    for (index, (old, new, name)) in commands.iter().enumerate() {
        let caps = if index == 0 { format!("\0 {caps}") } else { String::new() };
        lines.data(format!("{old} {new} {name}{caps}").as_bytes()).expect("written");
    }
    lines.flush().expect("written");
    lines.into_inner()
}

/// Takes an answer apart, with or without sidebands.
pub(super) fn answer(bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let mut report = Vec::new();
    let wide = Budget { lines: 1 << 24, bytes: 1 << 32 };
    let mut reader = PktReader::new(bytes, wide);
    while let Some(pkt) = reader.next_or_end().expect("lines") {
        match pkt {
            Pkt::Data([1, data @ ..]) => report.extend_from_slice(data),
            Pkt::Data([2, data @ ..]) => answer.words.push_str(&String::from_utf8_lossy(data)),
            Pkt::Data([3, data @ ..]) => answer.fatal.push_str(&String::from_utf8_lossy(data)),
            Pkt::Data(_) => {
                report = bytes.to_vec();
                break;
            }
            Pkt::Flush => break,
            Pkt::Delim | Pkt::ResponseEnd => panic!("not of this version"),
        }
    }
    let mut lines = PktReader::new(&report[..], wide);
    while let Some(Pkt::Data(line)) = lines.next_or_end().expect("lines") {
        answer.report.push(text_of(line.to_vec()));
    }
    answer
}

pub(super) fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text").trim_end().to_owned()
}

/// Runs git in `dir`, which must end well; returns its output.
pub(super) fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let (output, is_good) = try_git(dir, args, input);
    assert!(is_good, "git {args:?}");
    output
}

pub(super) fn try_git(dir: &Path, args: &[&str], input: &[u8]) -> (Vec<u8>, bool) {
    let mut child = Process::new("git")
        .current_dir(dir)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a path"))
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
        .envs([("GIT_COMMITTER_NAME", "A"), ("GIT_COMMITTER_EMAIL", "a@example.org")])
        .envs([("GIT_AUTHOR_DATE", "1700000000 +0000"), ("GIT_COMMITTER_DATE", "1700000000 +0000")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("git ends");
    feeder.join().expect("fed");
    (output.stdout, output.status.success())
}
