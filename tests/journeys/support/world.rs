//! A directory with a home, a store and whatever a test makes; commands that run in it and see
//! nothing else.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const GIT_CONFIG: &str = "\
[user]
name = A U Thor
email = author@example.com
[init]
defaultBranch = main
[gc]
auto = 0
[advice]
detachedHead = false
[protocol \"file\"]
allow = always
[filter \"lfs\"]
clean = git-lfs clean -- %f
smudge = git-lfs smudge -- %f
process = git-lfs filter-process
required = true
";

/// One test's surroundings.
pub struct World {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: Vec<u8>,
    pub words: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            words: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text")
    }

    /// The lines of JSON.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let line = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        self.text().lines().map(line).collect()
    }

    /// Asserts the exit code and that the words say each of `parts`.
    #[track_caller]
    pub fn says(&self, code: i32, parts: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.words.contains(part), "'{part}' is not in {self:?}");
        }
        self
    }
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("journey-").tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("home")).expect("made");
        std::fs::write(dir.path().join("home/.gitconfig"), GIT_CONFIG).expect("written");
        Self { dir }
    }

    /// A world whose store is made.
    pub fn with_store() -> Self {
        let world = Self::new();
        world.ok(&["init"]);
        world
    }

    /// A path in the world.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A new directory in the world.
    pub fn make(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("made");
        path
    }

    /// A program that sees this world only.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let home = self.path("home");
        command.env_clear().current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &home).env("XDG_DATA_HOME", home.join("data"));
        command.env("TMPDIR", self.dir.path()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        command.env("GIT_AUTHOR_DATE", "1700000000 +0100");
        command.env("GIT_COMMITTER_DATE", "1700000000 +0100");
        command
    }

    /// Our program with this world's store, not started yet.
    pub fn mega(&self) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_mega-store"));
        command.arg("--store").arg(self.store());
        command
    }

    /// Runs our program.
    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(self.mega().args(args).output().expect("started"))
    }

    /// Runs our program, which has to do well; its text.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let run = self.run(args);
        assert_eq!(run.code, 0, "{args:?}: {run:?}");
        String::from_utf8_lossy(&run.out).into_owned()
    }

    /// Runs any program, which has to do well; its output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self.command("bash").args(["-euc", script]).output().expect("started");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{words}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs git in `dir`; it has to do well.
    #[track_caller]
    pub fn git(&self, dir: impl AsRef<Path>, args: &[&str]) -> String {
        let run = self.try_git(&dir, args);
        assert_eq!(run.code, 0, "git {args:?} in {}: {run:?}", dir.as_ref().display());
        String::from_utf8_lossy(&run.out).into_owned()
    }

    /// Runs git in `dir`.
    pub fn try_git(&self, dir: impl AsRef<Path>, args: &[&str]) -> Run {
        let mut command = self.command("git");
        command.arg("-C").arg(self.path(dir.as_ref())).args(args);
        Run::of(command.output().expect("started"))
    }

    /// Mounts, and unmounts when the guard goes.
    #[track_caller]
    pub fn mount(&self, spec: &str, dir: &str, args: &[&str]) -> Mounted<'_> {
        let path = self.make(dir);
        let run = self.run(&[&["mount", spec, dir], args].concat());
        assert_eq!(run.code, 0, "{run:?}");
        Mounted { world: self, path }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever a failed test left mounted would keep the directory from going.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let root = self.dir.path().to_string_lossy().into_owned();
        let inside =
            |line: &&str| line.split(' ').nth(4).is_some_and(|path| path.starts_with(&root));
        for line in mounts.lines().rev().filter(inside) {
            let path = line.split(' ').nth(4).unwrap_or_default();
            let _ = Command::new("umount").args(["-l", path]).output();
        }
    }
}

/// A mount that goes with this.
pub struct Mounted<'a> {
    world: &'a World,
    pub path: PathBuf,
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let path = self.path.to_string_lossy().into_owned();
        let _ = self.world.run(&["unmount", &path]);
    }
}

/// Whether the machine has what the test needs. Says so loudly when not; in CI that is a failure.
pub fn needs(what: &str, has: bool) -> bool {
    if !has {
        assert!(std::env::var_os("CI").is_none(), "CI must have {what}");
        eprintln!("SKIPPED: this machine has no {what}");
    }
    has
}

/// Whether mounts can be made.
pub fn has_fuse() -> bool {
    needs("FUSE", std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok())
}

/// Whether the test may mount filesystems of the kernel.
pub fn is_root() -> bool {
    needs("root", rustix::process::geteuid().is_root())
}
