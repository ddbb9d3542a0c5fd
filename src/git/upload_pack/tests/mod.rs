//! Requests byte for byte, answers beside those of `git upload-pack`, and real clients.

mod bridge;
mod broken;
mod bundle;
mod clients;
mod golden;
mod oracle;
mod refused;

use std::collections::BTreeSet;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};

use mega_storage::{
    Expect, IngestOptions, NoProgress, ObjectId, PackInput, Progress, RefEdit, RefName, RefTarget,
    RefTransaction, Repo, RepoName, RepoSettings, SettingChange, Store, StoreOptions, Unit,
    Visibility,
};
use tempfile::TempDir;

use super::*;
use crate::git::Protocol;

/// A git repository and a store that has the same.
pub(super) struct World {
    dir: TempDir,
    pub(super) store: Store,
    pub(super) repo: Repo,
    /// How often the engine may ask whether to stop before it is told so.
    pub(super) patience: AtomicI64,
}

impl Progress for World {
    fn start(&self, _what: &'static str, _total: Option<u64>, _unit: Unit) {}

    fn advance(&self, _count: u64) {}

    fn interrupted(&self) -> bool {
        self.patience.fetch_sub(1, Ordering::Relaxed) <= 0
    }
}

/// A flush, a delim, or a line.
pub(super) const FLUSH: &str = "0000";
pub(super) const DELIM: &str = "0001";

impl World {
    /// Both empty.
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        let name = RepoName::new("one").expect("a name");
        let repo = store.repos().create(&name, Visibility::Private).expect("made");
        let world = Self { dir, store, repo, patience: AtomicI64::new(i64::MAX) };
        world.git(&["init", "-q", "-b", "main", "."]);
        world
    }

    /// A generated history, with tags of all kinds and other references.
    pub(super) fn with_history(object_count: usize, seed: u64) -> Self {
        let world = Self::new();
        std::fs::remove_dir_all(world.git_dir()).expect("removed");
        mega_tools::corpus::repo::write(&world.git_dir(), object_count, seed, true).expect("made");
        world.git(&["tag", "-a", "-m", "one", "v1", "main~7"]);
        world.git(&["tag", "-a", "-m", "of a tag", "nested", "v1"]);
        world.git(&["tag", "-a", "-m", "of a tree", "tree", "main^{tree}"]);
        world.git(&["tag", "blob", "main:.gitmodules"]);
        world.git(&["update-ref", "refs/pull/1/head", "main~3"]);
        world.git(&["branch", "old", "main~20"]);
        world.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
        world.sync();
        world
    }

    pub(super) fn git_dir(&self) -> PathBuf {
        self.dir.path().join("g")
    }

    /// Runs git in the repository; what it says.
    pub(super) fn git(&self, args: &[&str]) -> String {
        std::fs::create_dir_all(self.git_dir()).expect("made");
        git_in(&self.git_dir(), args)
    }

    pub(super) fn id(&self, revision: &str) -> ObjectId {
        self.git(&["rev-parse", revision]).parse().expect("an id")
    }

    /// A commit on main with one file more.
    pub(super) fn commit(&self, name: &str) -> ObjectId {
        std::fs::write(self.git_dir().join(name), format!("{name}\n")).expect("written");
        self.git(&["add", name]);
        self.git(&["commit", "-q", "-m", name]);
        self.id("HEAD")
    }

    /// Gives the store all objects and exactly the references of the git repository.
    pub(super) fn sync(&self) {
        let pack = Process::new("git")
            .args(["-C"])
            .arg(self.git_dir())
            .args(["pack-objects", "--all", "--revs", "--stdout", "-q"])
            .stdin(Stdio::null())
            .output()
            .expect("git")
            .stdout;
        let input = PackInput::Stream(&mut &pack[..]);
        let options = IngestOptions::default();
        self.store
            .objects()
            .ingest_pack(self.repo.id, input, &options, &NoProgress)
            .expect("taken in");
        let text = self.git(&["for-each-ref", "--format=%(refname) %(objectname) %(symref)"]);
        let mut wanted: Vec<(RefName, RefTarget)> = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let target = match words.get(2).copied().unwrap_or_default() {
                "" => RefTarget::Direct(words[1].parse().expect("an id")),
                name => RefTarget::Symbolic(ref_name(name)),
            };
            wanted.push((ref_name(words[0]), target));
        }
        let head = std::fs::read_to_string(self.git_dir().join(".git/HEAD")).expect("read");
        wanted.push((
            RefName::head(),
            match head.trim().strip_prefix("ref: ") {
                Some(name) => RefTarget::Symbolic(ref_name(name)),
                None => RefTarget::Direct(head.trim().parse().expect("an id")),
            },
        ));
        self.set_refs(wanted);
    }

    fn set_refs(&self, wanted: Vec<(RefName, RefTarget)>) {
        let now = self.store.refs().list(self.repo.id, b"").expect("listed");
        let gone = now.into_iter().filter(|(name, _)| !wanted.iter().any(|(n, _)| n == name));
        let mut edits: Vec<RefEdit> =
            gone.map(|(name, _)| RefEdit { name, expect: Expect::Any, new: None }).collect();
        edits.extend(wanted.iter().map(|(name, target)| RefEdit {
            name: name.clone(),
            expect: Expect::Any,
            new: Some(target.clone()),
        }));
        self.store.refs().apply(self.repo.id, &RefTransaction { edits }).expect("applied");
    }

    pub(super) fn hide(&self, pattern: &str) {
        let change = SettingChange::Add(pattern.to_owned());
        self.store.set_setting(self.repo.id, "transfer.hideRefs", &change).expect("set");
        self.git(&["config", "--add", "transfer.hideRefs", pattern]);
    }

    /// What the store answers to a request.
    pub(super) fn serve(
        &self,
        protocol: Protocol,
        request: &[u8],
    ) -> (Vec<u8>, Result<UploadReport, GitError>) {
        let settings = self.settings();
        let service = self.service(protocol, &settings);
        let mut out = Vec::new();
        let report = serve(&service, &mut Cursor::new(request), &mut out);
        (out, report)
    }

    pub(super) fn advertise(&self, protocol: Protocol) -> Vec<u8> {
        let settings = self.settings();
        let mut out = Vec::new();
        advertise(&self.service(protocol, &settings), &mut out).expect("told");
        out
    }

    pub(super) fn settings(&self) -> RepoSettings {
        self.store.settings(self.repo.id).expect("read")
    }

    pub(super) fn service<'a>(
        &'a self,
        protocol: Protocol,
        settings: &'a RepoSettings,
    ) -> Service<'a> {
        let (store, repo) = (&self.store, &self.repo);
        Service::new(store, repo, settings, protocol, "test", self).expect("whole")
    }

    /// What git answers to the same request.
    pub(super) fn git_answer(
        &self,
        protocol: Protocol,
        request: &[u8],
        options: &[&str],
    ) -> Vec<u8> {
        let version = match protocol {
            Protocol::V0 => "version=0",
            Protocol::V1 => "version=1",
            Protocol::V2 => "version=2",
        };
        let mut git = Process::new("git");
        for setting in [
            "uploadpack.allowFilter",
            "uploadpack.allowRefInWant",
            "uploadpack.allowTipSHA1InWant",
            "uploadpack.allowReachableSHA1InWant",
            "transfer.advertiseObjectInfo",
        ] {
            git.args(["-c", &format!("{setting}=true")]);
        }
        git.args(["upload-pack", "--stateless-rpc"]).args(options).arg(self.git_dir());
        git.env("GIT_PROTOCOL", version).env("GIT_CONFIG_GLOBAL", "/dev/null");
        let mut child = git
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("git");
        let mut input = child.stdin.take().expect("a pipe");
        let request = request.to_vec();
        let writer = std::thread::spawn(move || drop(input.write_all(&request)));
        let output = child.wait_with_output().expect("ended").stdout;
        writer.join().expect("joined");
        output
    }

    /// The objects of a pack, also of a thin one that stands on this repository.
    pub(super) fn pack_ids(&self, pack: &[u8]) -> BTreeSet<ObjectId> {
        let dir = tempfile::tempdir().expect("a directory");
        let copy = dir.path().join("c");
        let from = self.git_dir();
        git_in(dir.path(), &["clone", "-q", "--mirror", from.to_str().expect("text"), "c"]);
        let index = git_with_input(&copy, &["index-pack", "--stdin", "--fix-thin"], pack);
        let name = index.split_whitespace().last().expect("a name").to_owned();
        let path = copy.join(format!("objects/pack/pack-{name}.idx"));
        let index = std::fs::read(path).expect("read");
        let text = git_with_input(&copy, &["show-index"], &index);
        let ids: BTreeSet<ObjectId> = text
            .lines()
            .map(|l| l.split(' ').nth(1).expect("an id").parse().expect("an id"))
            .collect();
        // What --fix-thin appended is none of the pack.
        let count = u32::from_be_bytes(pack[8..12].try_into().expect("four bytes"));
        assert!(ids.len() >= count as usize);
        ids
    }

    /// What git finds reachable.
    pub(super) fn reachable(&self, args: &[&str]) -> BTreeSet<ObjectId> {
        let text = self.git(&[&["rev-list", "--objects", "--no-object-names"], args].concat());
        text.lines().map(|line| line.parse().expect("an id")).collect()
    }
}

pub(super) fn ref_name(text: &str) -> RefName {
    RefName::new(text.as_bytes()).expect("a name")
}

pub(super) fn git_in(dir: &Path, args: &[&str]) -> String {
    git_with_input(dir, args, b"")
}

pub(super) fn git_command() -> Process {
    let mut git = Process::new("git");
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@b");
        git.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    git
}

pub(super) fn git_with_input(dir: &Path, args: &[&str], input: &[u8]) -> String {
    let mut git = git_command();
    git.arg("-C").arg(dir).args(args);
    let mut child = git
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git");
    let mut pipe = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let output = child.wait_with_output().expect("ended");
    writer.join().expect("joined");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A request of lines; `0000` and `0001` stand for themselves.
pub(super) fn request(lines: &[impl AsRef<str>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        match line.as_ref() {
            special @ (FLUSH | DELIM) => bytes.extend_from_slice(special.as_bytes()),
            text => bytes.extend(format!("{:04x}{text}\n", text.len() + 5).bytes()),
        }
    }
    bytes
}

/// A command of version 2 with its arguments.
pub(super) fn command(name: &str, arguments: &[impl AsRef<str>]) -> Vec<u8> {
    let mut lines = vec![format!("command={name}"), "object-format=sha1".into(), DELIM.into()];
    lines.extend(arguments.iter().map(|a| a.as_ref().to_owned()));
    lines.push(FLUSH.to_owned());
    request(&lines)
}

/// An answer taken apart.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Lines up to the pack; `0000` and `0001` stand for themselves.
    pub(super) lines: Vec<String>,
    pub(super) pack: Vec<u8>,
    pub(super) words: String,
    pub(super) error: Option<String>,
    /// Whether the sidebands end in a flush.
    pub(super) is_ended: bool,
}

/// Takes an answer apart. A pack without sidebands begins where a line would.
pub(super) fn answer(mut bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let mut in_pack = false;
    while !bytes.is_empty() {
        if bytes.starts_with(b"PACK") {
            answer.pack = bytes.to_vec();
            return answer;
        }
        let text = std::str::from_utf8(&bytes[..4]).expect("digits");
        let len = usize::from_str_radix(text, 16).expect("digits");
        if len < 4 {
            answer.is_ended = in_pack;
            answer.lines.push(text.to_owned());
            bytes = &bytes[4..];
            continue;
        }
        let data = &bytes[4..len];
        bytes = &bytes[len..];
        match data.first() {
            Some(1) => answer.pack.extend_from_slice(&data[1..]),
            Some(2) => answer.words.push_str(&String::from_utf8_lossy(&data[1..])),
            Some(3) => answer.error = Some(String::from_utf8_lossy(&data[1..]).into_owned()),
            _ => answer.lines.push(String::from_utf8_lossy(data).into_owned()),
        }
        in_pack |= matches!(data.first(), Some(1..=3));
    }
    answer
}
