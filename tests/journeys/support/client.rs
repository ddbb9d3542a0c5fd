//! Every git of this machine with every protocol version, as clients.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::World;
use super::world::Run;

/// A git with a protocol version, in a world.
pub struct Git<'w> {
    world: &'w World,
    folder: PathBuf,
    protocol: u8,
    /// As `git2.47.3-v2`.
    pub label: String,
}

/// Each git of the machine with protocol versions 0, 1 and 2.
pub fn gits(world: &World) -> Vec<Git<'_>> {
    let mut all: Vec<Git> = Vec::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path).filter(|folder| folder.join("git").is_file()) {
        let said = world.command(folder.join("git")).arg("version").output().expect("started");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version = said.split_whitespace().nth(2).expect("a version").to_owned();
        if all.iter().any(|git| git.label.starts_with(&format!("git{version}-"))) {
            continue;
        }
        all.extend((0..3).map(|protocol| {
            let label = format!("git{version}-v{protocol}");
            Git { world, folder: folder.clone(), protocol, label }
        }));
    }
    assert!(!all.is_empty(), "there is no git");
    all
}

/// The first git of the machine with protocol versions 0 and 2, and the others with 2.
pub fn few(world: &World) -> Vec<Git<'_>> {
    let all = gits(world).into_iter().enumerate();
    all.filter(|(index, _)| *index == 0 || index % 3 == 2).map(|(_, git)| git).collect()
}

/// The first git of the machine with protocol version 2.
pub fn git(world: &World) -> Git<'_> {
    gits(world).swap_remove(2)
}

impl Git<'_> {
    /// A git command in `dir`, not started yet.
    pub fn command(&self, dir: impl AsRef<Path>) -> Command {
        let mut command = self.world.command(self.folder.join("git"));
        let mut path = self.folder.clone().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", path).arg("-C").arg(self.world.path(dir.as_ref()));
        command.args(["-c", &format!("protocol.version={}", self.protocol)]);
        command
    }

    /// Runs git in `dir`.
    pub fn run(&self, dir: impl AsRef<Path>, args: &[&str]) -> Run {
        Run::of(self.command(dir).args(args).output().expect("started"))
    }

    /// Runs git in `dir`; it has to do well.
    #[track_caller]
    pub fn ok(&self, dir: impl AsRef<Path>, args: &[&str]) -> String {
        let run = self.run(&dir, args);
        assert_eq!(run.code, 0, "{} {args:?} in {}: {run:?}", self.label, dir.as_ref().display());
        String::from_utf8_lossy(&run.out).into_owned()
    }

    /// Writes a file, and commits it; the commit.
    #[track_caller]
    pub fn commit(&self, dir: &str, file: &str, content: &str) -> String {
        std::fs::write(self.world.path(dir).join(file), content).expect("written");
        self.ok(dir, &["add", file]);
        self.ok(dir, &["commit", "-q", "-m", &format!("{file}: {content}")]);
        self.id(dir, "HEAD")
    }

    /// The object that a revision names.
    #[track_caller]
    pub fn id(&self, dir: &str, rev: &str) -> String {
        self.ok(dir, &["rev-parse", rev]).trim().to_owned()
    }

    /// Every object that the repository has, with its kind and size, sorted.
    #[track_caller]
    pub fn objects(&self, dir: &str) -> Vec<String> {
        let list = ["cat-file", "--batch-all-objects", "--batch-check", "--unordered"];
        let text = self.ok(dir, &list);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    /// The references of a remote, as ls-remote shows them.
    #[track_caller]
    pub fn remote_refs(&self, url: &str) -> String {
        self.ok("", &["ls-remote", url])
    }

    /// Asserts that fsck finds nothing.
    #[track_caller]
    pub fn assert_clean(&self, dir: &str) {
        let run = self.run(dir, &["fsck", "--full", "--strict", "--no-progress", "--no-dangling"]);
        assert_eq!(run.code, 0, "{} fsck of {dir}: {run:?}", self.label);
    }
}
