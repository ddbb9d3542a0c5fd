//! From a URL to a bare repository in a scratch directory, by git's own transports.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use mega_storage::{ObjectId, Progress, Unit};

use super::process::{check, spawn};
use super::{Git, Head, SourceError, run};

/// How often a running fetch looks whether it should stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Longest line of git's progress that is kept, in bytes.
const LINE_LEN_MAX: usize = 1024;

/// What a server says that it has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RemoteRefs {
    /// References below `refs/`, and the objects they lead to.
    pub refs: BTreeMap<Vec<u8>, ObjectId>,
    /// Where HEAD stands, when the server says so.
    pub head: Option<Head>,
}

/// The URL in `source`, when it is one: a scheme with `://`, a remote helper's `name::`, or
/// `[user@]host:path`.
pub fn url_of(source: &str) -> Option<&str> {
    if source.starts_with(['-', '/', '.']) {
        return None;
    }
    if source.contains("://") || source.contains("::") {
        return Some(source);
    }
    // A colon after a slash is part of a path.
    let (host, path) = source.split_once(':')?;
    (!host.is_empty() && !host.contains('/') && !path.is_empty()).then_some(source)
}

/// A URL without its password, for showing and for keeping.
pub fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            // Over HTTP even the name alone is often a token.
            let user = if scheme.starts_with("http") { "" } else { user };
            let at = if user.is_empty() { "" } else { "@" };
            format!("{scheme}://{user}{at}{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// Asks the server for its references.
///
/// # Errors
/// When git cannot reach it.
pub fn list_remote(git: &Git, url: &str) -> Result<RemoteRefs, SourceError> {
    let output =
        run(git.anywhere().args(["ls-remote", "--symref", "--"]).arg(url), "ls-remote", b"")?;
    let mut remote = RemoteRefs::default();
    for line in output.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let unexpected = || SourceError::Unexpected {
            command: "ls-remote".to_owned(),
            reason: String::from_utf8_lossy(line).into_owned(),
        };
        let tab = line.iter().position(|&b| b == b'\t').ok_or_else(unexpected)?;
        let (value, name) = (&line[..tab], &line[tab + 1..]);
        if let Some(target) = value.strip_prefix(b"ref: ") {
            if name == b"HEAD" {
                remote.head = Some(Head::Branch(target.to_vec()));
            }
            continue;
        }
        let id = ObjectId::from_hex(value).map_err(|_| unexpected())?;
        if name == b"HEAD" {
            remote.head.get_or_insert(Head::Detached(id));
        } else if name.starts_with(b"refs/") && !name.ends_with(b"^{}") {
            remote.refs.insert(name.to_vec(), id);
        }
    }
    Ok(remote)
}

/// Makes the bare repository `dir` a mirror of `url`: every reference and no other, forced, packs
/// kept as packs. With `head`, what HEAD stands on comes too: needed when that is no reference.
///
/// # Errors
/// When git fails, or [`SourceError::Interrupted`].
pub fn fetch_mirror(
    git: &Git,
    dir: &Path,
    url: &str,
    head: bool,
    progress: &dyn Progress,
) -> Result<(), SourceError> {
    let mut command = git.in_dir(dir.as_os_str());
    command.args(["-c", "fetch.unpackLimit=1", "-c", "gc.auto=0", "-c", "fetch.fsckObjects=false"]);
    command.args(["fetch", "--progress", "--no-write-fetch-head", "--no-tags", "--force"]);
    command.args(["--no-auto-maintenance", "--no-recurse-submodules", "--update-head-ok"]);
    command.args(["--prune", "--"]);
    command.args([OsStr::new(url), OsStr::new("+refs/*:refs/*")]);
    command.args(head.then_some("HEAD"));
    let mut child = spawn(&mut command, "fetch")?;
    drop(child.stdin.take());
    drop(child.stdout.take());
    let words = follow(&mut child, progress)?;
    let status = child.wait().map_err(|e| SourceError::io("waiting for git fetch", e))?;
    check("fetch", status, &words)
}

/// Reads what git says until it ends; progress goes on, the rest is returned. Kills it when asked
/// to stop.
fn follow(child: &mut Child, progress: &dyn Progress) -> Result<String, SourceError> {
    let Some(stderr) = child.stderr.take() else { return Ok(String::new()) };
    let (send, lines) = bounded::<String>(64);
    let reader = thread::spawn(move || split_lines(stderr, |line| send.send(line).is_ok()));
    let mut words = String::new();
    let mut shown = Shown::default();
    loop {
        match lines.recv_timeout(LOOK_INTERVAL) {
            Ok(line) => match parse_progress(&line) {
                Some(step) => shown.show(step, progress),
                None if words.len() < LINE_LEN_MAX * 16 => {
                    words.push_str(&line);
                    words.push('\n');
                }
                None => {}
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if progress.interrupted() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(SourceError::Interrupted);
        }
    }
    let _ = reader.join();
    Ok(words)
}

/// Calls `each` for every line, ended by a line feed or, as progress is, by a carriage return.
fn split_lines(mut input: impl Read, mut each: impl FnMut(String) -> bool) {
    let mut line = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(len @ 1..) = input.read(&mut buffer) {
        for &byte in &buffer[..len] {
            if byte != b'\n' && byte != b'\r' {
                if line.len() < LINE_LEN_MAX {
                    line.push(byte);
                }
            } else if !line.is_empty() {
                if !each(String::from_utf8_lossy(&line).into_owned()) {
                    return;
                }
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        each(String::from_utf8_lossy(&line).into_owned());
    }
}

#[derive(PartialEq, Eq, Debug)]
struct Step {
    what: &'static str,
    done: u64,
    total: u64,
}

/// Reads `Receiving objects:  45% (450/1000), 1.20 MiB | ...`, with `remote: ` before it or not.
fn parse_progress(line: &str) -> Option<Step> {
    let line = line.strip_prefix("remote: ").unwrap_or(line).trim_start();
    let (what, rest) = line.split_once(':')?;
    let what = match what {
        "Counting objects" => "counting at the server",
        "Compressing objects" => "compressing at the server",
        "Receiving objects" => "receiving",
        "Resolving deltas" => "resolving deltas",
        "Enumerating objects" => "enumerating at the server",
        _ => return None,
    };
    let Some((done, total)) = rest.split_once('(').and_then(|(_, r)| r.split_once('/')) else {
        return Some(Step { what, done: 0, total: 0 });
    };
    let total = total.split(')').next()?;
    Some(Step { what, done: done.parse().ok()?, total: total.parse().ok()? })
}

#[derive(Default)]
struct Shown {
    what: &'static str,
    done: u64,
}

impl Shown {
    fn show(&mut self, step: Step, progress: &dyn Progress) {
        if step.total == 0 {
            return;
        }
        if self.what != step.what {
            progress.start(step.what, Some(step.total), Unit::Objects);
            *self = Self { what: step.what, done: 0 };
        }
        progress.advance(step.done.saturating_sub(self.done));
        self.done = step.done.max(self.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_are_told_apart() {
        for url in
            ["https://h/x.git", "git@h:x.git", "h:x", "ssh://h/x", "file:///x", "a::b", "git://h/x"]
        {
            assert_eq!(url_of(url), Some(url));
        }
        for path in ["x", "./h:x", "a/b:c", "/abs", "-x", "--upload-pack=x:y", "x:", ":x", ".."] {
            assert_eq!(url_of(path), None, "{path}");
        }
    }

    #[test]
    fn passwords_are_not_kept() {
        for (url, shown) in [
            ("https://u:p@h/x", "https://h/x"),
            ("https://token@h/x", "https://h/x"),
            ("ssh://git:p@h:22/x", "ssh://git@h:22/x"),
            ("https://h/x@y", "https://h/x@y"),
            ("git@h:x", "git@h:x"),
            ("https://u:p@ss@h", "https://h"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }

    #[test]
    fn progress_lines_are_read() {
        let line = "Receiving objects:  45% (450/1000), 1.20 MiB | 2.00 MiB/s";
        assert_eq!(parse_progress(line), Some(Step { what: "receiving", done: 450, total: 1000 }));
        let line = "remote: Counting objects: 100% (3/3), done.";
        let step = Step { what: "counting at the server", done: 3, total: 3 };
        assert_eq!(parse_progress(line), Some(step));
        assert_eq!(parse_progress("fatal: no"), None);
        assert_eq!(parse_progress("Receiving objects:  x% (x/1)"), None);
    }

    #[test]
    fn both_line_ends_are_seen() {
        let mut lines = Vec::new();
        split_lines(&b"a\rb\r\nc"[..], |line| {
            lines.push(line);
            true
        });
        assert_eq!(lines, ["a", "b", "c"]);
    }
}
