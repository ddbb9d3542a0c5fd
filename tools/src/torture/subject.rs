//! The program under torture: its commands as this harness uses them, and what must hold
//! afterwards.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::corpus::safetensors::Dtype;
use crate::corpus::{repo, weights};

/// Starts a server, gives it work as its clients do, and kills it as soon as they were told that
/// the work is done. Words: program, store, what to do, source, name in the store, hash.
const SERVED: &str = r#"
exec 3< <(exec "$0" --store "$1" serve --listen 127.0.0.1:0 2>/dev/null)
server=$!
read -r url <&3 || exit 1
status=0
case "$2" in
    push) git -c safe.directory='*' -C "$3" push --quiet --mirror "$url/$4.git" || status=1 ;;
    upload)
        git -c safe.directory='*' -C "$3" \
            -c lfs.transfer.maxretries=1 -c lfs.locksverify=false \
            lfs push --object-id "$url/$4.git" "$5" >&2 || status=1 ;;
esac
kill -KILL "$server"
wait "$server"
exit "$status"
"#;

/// One piece of work that the program acknowledges by exiting with 0.
#[derive(Clone, Debug)]
pub enum Work {
    /// `import SOURCE NAME`.
    Import {
        /// The git repository.
        source: PathBuf,
        /// The name in the store.
        name: String,
    },
    /// `file add PATH`.
    File {
        /// A repository that has the file among its LFS objects.
        source: PathBuf,
        /// The file.
        path: PathBuf,
        /// What `sha256sum` says of it.
        sha256: String,
    },
}

/// Makes `count` repositories and as many files in `folder`, alternating.
///
/// # Errors
/// When one cannot be made.
pub fn make_work(
    folder: &Path,
    count: usize,
    object_count: usize,
    seed: u64,
) -> Result<Vec<Work>, String> {
    let mut all = Vec::new();
    for index in 0..count {
        let source = folder.join(format!("repo-{index}"));
        repo::write(&source, object_count, seed + index as u64, true)?;
        let name = format!("torture/repo-{index}");
        all.push(Work::Import { source: source.clone(), name });
        let path = folder.join(format!("weights-{index}.safetensors"));
        weights::fresh(&path, 24, Dtype::Bf16, seed + index as u64)?;
        let sum = text(Command::new("sha256sum").arg(&path))?;
        let sha256 = sum.split_whitespace().next().unwrap_or("").to_owned();
        keep_for_lfs(&source, &path, &sha256)?;
        all.push(Work::File { source, path, sha256 });
    }
    Ok(all)
}

/// Puts a file where git-lfs looks for what it shall upload.
fn keep_for_lfs(source: &Path, file: &Path, sha256: &str) -> Result<(), String> {
    let folder = source.join(".git/lfs/objects").join(&sha256[..2]).join(&sha256[2..4]);
    let made = fs::create_dir_all(&folder);
    let linked = made.and_then(|()| fs::hard_link(file, folder.join(sha256)));
    linked.map_err(|error| format!("{}: {error}", folder.display()))
}

/// A program and the store that it works on.
#[derive(Clone)]
pub struct Subject {
    program: PathBuf,
    /// The store's folder.
    pub store: PathBuf,
    /// Work comes by push and upload to a server, not by commands.
    serves: bool,
}

impl Subject {
    /// Names the program and the store; `serves`: work comes by push and upload to a server, not by
    /// commands.
    pub fn new(program: &Path, store: &Path, serves: bool) -> Self {
        Self { program: program.to_owned(), store: store.to_owned(), serves }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--store").arg(&self.store).args(words).stdin(Stdio::null());
        command
    }

    /// Makes the store.
    ///
    /// # Errors
    /// When the program fails.
    pub fn init(&self) -> Result<(), String> {
        text(&mut self.command(&["init"])).map(drop)
    }

    fn work_command(&self, work: &Work) -> Command {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        if self.serves {
            return self.served_command(work);
        }
        match work {
            Work::Import { source, name } => self.command(&["import", &path(source), name]),
            Work::File { path: file, .. } => self.command(&["file", "add", &path(file)]),
        }
    }

    fn served_command(&self, work: &Work) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", SERVED]).arg(&self.program).arg(&self.store).stdin(Stdio::null());
        match work {
            Work::Import { source, name } => command.arg("push").arg(source).arg(name),
            Work::File { source, sha256, .. } => {
                command.arg("upload").arg(source).args(["torture/files", sha256])
            }
        };
        command
    }

    /// Does `work` and waits for it. Returns how long it took.
    ///
    /// # Errors
    /// When the program does not acknowledge it.
    pub fn finish(&self, work: &Work) -> Result<Duration, String> {
        let start = Instant::now();
        text(&mut self.work_command(work)).map(|_| start.elapsed())
    }

    /// Starts `work` in a process group of its own, so that all of it can be killed.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn start(&self, work: &Work) -> Result<Child, String> {
        self.start_with(work, &[])
    }

    /// As [`Self::start`], with more in its environment.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn start_with(
        &self,
        work: &Work,
        env: &[(&'static str, OsString)],
    ) -> Result<Child, String> {
        let mut command = self.work_command(work);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))
    }

    /// Checks that acknowledged work is whole: exports repositories and compares them by git, reads
    /// files back.
    ///
    /// # Errors
    /// What is missing or different.
    pub fn check(&self, work: &Work, scratch: &Path) -> Result<(), String> {
        match work {
            Work::Import { source, name } => {
                let copy = scratch.join("export");
                let outcome = self.check_export(source, name, &copy);
                if copy.exists() {
                    fs::remove_dir_all(&copy).map_err(|e| format!("{}: {e}", copy.display()))?;
                }
                outcome
            }
            Work::File { path, sha256, .. } => {
                let mut cat = self.command(&["file", "cat", sha256]);
                let mut cat = cat.stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
                let output = cat.stdout.take().ok_or("no output")?;
                let sum = text(Command::new("sha256sum").stdin(output));
                let status = cat.wait().map_err(|e| e.to_string())?;
                if status.success() && sum?.starts_with(sha256) {
                    return Ok(());
                }
                Err(format!("file {} ({sha256}) did not come back: {status}", path.display()))
            }
        }
    }

    /// Checks that what interrupted work left is not half of it: a repository that is there is
    /// right for git, whatever it has.
    ///
    /// # Errors
    /// What git finds.
    pub fn check_interrupted(&self, work: &Work, scratch: &Path) -> Result<(), String> {
        let Work::Import { name, .. } = work else { return Ok(()) };
        let there = text(&mut self.command(&["repo", "list"]))?;
        if !there.contains(name.as_str()) {
            return Ok(());
        }
        let copy = scratch.join("export");
        text(&mut self.command(&["export", name, &copy.to_string_lossy()]))?;
        let found = git(&copy, &["fsck", "--full", "--strict"]).map(drop);
        fs::remove_dir_all(&copy).map_err(|error| format!("{}: {error}", copy.display()))?;
        found
    }

    fn check_export(&self, source: &Path, name: &str, copy: &Path) -> Result<(), String> {
        text(&mut self.command(&["export", name, &copy.to_string_lossy()]))?;
        git(copy, &["fsck", "--full", "--strict"])?;
        for words in [["for-each-ref", "--sort=refname"], ["rev-list", "--all"]] {
            if git(source, &words)? != git(copy, &words)? {
                return Err(format!("{name}: git {} differs from the source's", words.join(" ")));
            }
        }
        let objects = ["rev-list", "--objects", "--no-object-names", "--all"];
        if sorted(git(source, &objects)?) != sorted(git(copy, &objects)?) {
            return Err(format!("{name}: the export has other objects than the source"));
        }
        Ok(())
    }
}

fn sorted(text: String) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Kills every process of the group that [`Subject::start`] made, by its first process's id.
///
/// # Errors
/// When the id cannot be one.
pub fn kill_group(id: u32) -> Result<(), String> {
    let group = i32::try_from(id).map_err(|_| "the process id is too large")?;
    // SAFETY: a signal; no memory is handed over. The group is ours until its first process is
    // collected.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    Ok(())
}

/// Makes this process the parent of those whose own parent dies, so that [`wait_group`] can wait
/// for them.
pub fn adopt_orphans() {
    // SAFETY: takes numbers only, and cannot fail with these.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Waits until every process of a killed group has gone, and with it what it held open. Its first
/// process has been collected before.
///
/// # Errors
/// When the id cannot be one.
pub fn wait_group(id: u32) -> Result<(), String> {
    let group = i32::try_from(id).map_err(|_| "the process id is too large")?;
    // SAFETY: no status is asked for. Only processes of this group are collected: no `Child` has
    // any of them but the first.
    while unsafe { libc::waitpid(-group, std::ptr::null_mut(), 0) } > 0 {}
    Ok(())
}

/// Makes `to` a copy of a store that no process has open.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy_store(from: &Path, to: &Path) -> Result<(), String> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    text(Command::new("cp").arg("-a").args([from, to])).map(drop)
}

fn git(folder: &Path, words: &[&str]) -> Result<String, String> {
    text(Command::new("git").args(["-c", "safe.directory=*", "-C"]).arg(folder).args(words))
}

/// Runs a command and returns what it printed; its complaints become the error.
pub fn text(command: &mut Command) -> Result<String, String> {
    let name = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{name}: {}: {}", output.status, complaint.trim()))
}
