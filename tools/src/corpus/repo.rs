//! `cargo x repo`: a git repository with a history like a real one's, made by `git fast-import`.
//!
//! Many folders, small edits that delta well, side branches and merges, both kinds of tag, links,
//! exec bits, a submodule, names with blanks and accents, a few large blobs. Repacked as a server
//! would, so that its pack is what an import usually meets. The same arguments give the same commit
//! ids.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{named, text};
use crate::args::Args;
use crate::random::Random;

/// Files that the first commits add at once.
const FIRST_FILES: usize = 40;
/// Commits between two merges of a side branch.
const MERGE_EVERY: usize = 12;
/// Commits between two tags.
const TAG_EVERY: usize = 50;
/// Commits between two versions of a large blob.
const LARGE_EVERY: usize = 200;
/// 2020-01-01, the time of the first commit, in Unix seconds.
const FIRST_TIME: u64 = 1_577_836_800;

/// Runs `cargo x repo`.
///
/// # Errors
/// Wrong arguments, a folder that exists already, or a git that fails.
pub fn run(mut args: Args) -> Result<(), String> {
    let object_count = args.option("--objects")?.unwrap_or(2000);
    let seed = args.option("--seed")?.unwrap_or(1);
    let repack = !args.flag("--no-repack");
    let out = args.required("OUT")?;
    args.finish()?;
    write(Path::new(&out), object_count, seed, repack)
}

/// Makes a repository of about `object_count` objects in `out`, with its work tree checked out.
///
/// # Errors
/// When `out` exists already or git fails.
pub fn write(out: &Path, object_count: usize, seed: u64, repack: bool) -> Result<(), String> {
    if out.exists() {
        return Err(format!("{} exists already", out.display()));
    }
    fs::create_dir_all(out).map_err(named(out))?;
    git(out, &["init", "--quiet", "--initial-branch=main", "."])?;
    let mut child = command(out, &["fast-import", "--quiet", "--force"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("git fast-import: {error}"))?;
    let input = child.stdin.take().ok_or("git fast-import has no input")?;
    let mut history = History::new(BufWriter::new(input), seed, object_count);
    let written = history.write(object_count);
    drop(history);
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err("git fast-import failed".to_owned());
    }
    written.map_err(|error| format!("git fast-import: {error}"))?;
    if repack {
        git(out, &["repack", "-a", "-d", "-f", "--quiet", "--window=10", "--depth=50"])?;
    }
    git(out, &["reset", "--quiet", "--hard"])
}

fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("git");
    // Nobody's own settings, so that everybody gets the same ids.
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.args(words).current_dir(folder);
    command
}

fn git(folder: &Path, words: &[&str]) -> Result<(), String> {
    let status = command(folder, words).stdin(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("git {} failed: {status}", words.join(" "))),
        Err(error) => Err(format!("git did not start: {error}")),
    }
}

/// A text file of the tip.
struct TextFile {
    path: String,
    mode: &'static str,
    lines: Vec<String>,
}

/// What one commit changes: paths with mode and content, or without when the path goes.
type Changes = Vec<(String, Option<(&'static str, Vec<u8>)>)>;

/// Writes the stream and knows the tip's files.
struct History<W: Write> {
    out: W,
    random: Random,
    files: Vec<TextFile>,
    file_count_max: usize,
    commit_count: usize,
    object_count: usize,
    large: Vec<u8>,
}

impl<W: Write> History<W> {
    fn new(out: W, seed: u64, object_count: usize) -> Self {
        let file_count_max = (object_count / 30).clamp(10, 6000);
        let random = Random::labelled(seed, "repo");
        let (files, large) = (Vec::new(), Vec::new());
        Self { out, random, files, file_count_max, commit_count: 0, object_count: 0, large }
    }

    fn write(&mut self, object_count: usize) -> io::Result<()> {
        let first = self.odd_files();
        self.commit("main", None, first)?;
        while self.object_count < object_count {
            let changes = self.changes();
            self.commit("main", None, changes)?;
            if self.commit_count.is_multiple_of(MERGE_EVERY) {
                self.side_branch()?;
            }
            if self.commit_count.is_multiple_of(TAG_EVERY) {
                self.tag()?;
            }
        }
        self.out.write_all(b"done\n")?;
        self.out.flush()
    }

    /// Things that every importer must get right, once.
    fn odd_files(&mut self) -> Changes {
        let modules = "[submodule \"vendor/lib\"]\n\tpath = vendor/lib\n\turl = ../lib.git\n";
        let file = |path: &str, mode, content: &str| {
            (path.to_owned(), Some((mode, content.as_bytes().to_vec())))
        };
        let submodule = "1234567890123456789012345678901234567890";
        vec![
            file("README.md", "100644", "# A generated repository\n"),
            file("bin/run", "100755", "#!/bin/sh\nexec true\n"),
            file("bin/start", "120000", "run"),
            file("docs/dangling", "120000", "../nowhere/at all"),
            file("docs/a name with blanks.txt", "100644", "blanks\n"),
            file("docs/h\u{e9}llo w\u{f6}rld.txt", "100644", "accents\n"),
            file("docs/empty", "100644", ""),
            file("docs/crlf.txt", "100644", "one\r\ntwo\r\n"),
            file("a/b/c/d/e/f/g/h/i/j/deep.txt", "100644", "deep\n"),
            file(".gitmodules", "100644", modules),
            ("vendor/lib".to_owned(), Some(("160000", submodule.as_bytes().to_vec()))),
        ]
    }

    fn changes(&mut self) -> Changes {
        let mut changes = Vec::new();
        if self.files.len() < self.file_count_max
            && self.commit_count * FIRST_FILES / 4 < self.file_count_max
        {
            let missing = self.file_count_max - self.files.len();
            for _ in 0..missing.min(FIRST_FILES) {
                changes.push(self.add_file());
            }
            return changes;
        }
        if self.commit_count.is_multiple_of(LARGE_EVERY) {
            changes.push(self.large_blob());
        }
        for _ in 0..1 + self.random.below(3) {
            match self.random.below(40) {
                0 => changes.push(self.add_file()),
                1 => self.move_file(&mut changes),
                _ => changes.push(self.edit_file()),
            }
        }
        // A path may be named once in a commit.
        let mut seen = BTreeSet::new();
        changes.reverse();
        changes.retain(|(path, _)| seen.insert(path.clone()));
        changes
    }

    fn add_file(&mut self) -> (String, Option<(&'static str, Vec<u8>)>) {
        let random = &mut self.random;
        let mut path = String::from("src");
        for _ in 0..1 + random.below(3) {
            path = format!("{path}/{}{}", text::word(random), random.below(6));
        }
        let path = format!("{path}/{}_{}.rs", text::word(random), random.next() % 100_000);
        let mode = if random.once_in(30) { "100755" } else { "100644" };
        let line_count = text::line_count(random);
        let lines = (0..line_count).map(|_| text::line(random)).collect();
        let file = TextFile { path, mode, lines };
        let change = file.change();
        self.files.push(file);
        change
    }

    fn edit_file(&mut self) -> (String, Option<(&'static str, Vec<u8>)>) {
        // Half of the edits go to a tenth of the files, as in life.
        let hot =
            if self.random.once_in(2) { self.files.len().div_ceil(10) } else { self.files.len() };
        let index = self.random.below(hot);
        let file = &mut self.files[index];
        for _ in 0..1 + self.random.below(3) {
            // A hunk: some lines go, some come.
            let at = self.random.below(file.lines.len() + 1);
            let gone = self.random.below(7).min(file.lines.len() - at);
            let fresh: Vec<_> =
                (0..1 + self.random.below(8)).map(|_| text::line(&mut self.random)).collect();
            file.lines.splice(at..at + gone, fresh);
        }
        file.lines.push(format!("// revision {}", self.commit_count));
        file.change()
    }

    fn move_file(&mut self, changes: &mut Changes) {
        let index = self.random.below(self.files.len());
        let file = &mut self.files[index];
        changes.push((file.path.clone(), None));
        file.path = format!("{}_{}.rs", file.path.trim_end_matches(".rs"), self.commit_count);
        changes.push(file.change());
    }

    /// A binary file of half a MiB, of which every version changes a little.
    fn large_blob(&mut self) -> (String, Option<(&'static str, Vec<u8>)>) {
        if self.large.is_empty() {
            self.large = vec![0; 512 << 10];
            self.random.fill(&mut self.large);
        }
        let at = self.random.below(self.large.len() - 4096);
        self.random.fill(&mut self.large[at..at + 4096]);
        ("data/table.bin".to_owned(), Some(("100644", self.large.clone())))
    }

    /// A branch of one commit off the tip, and its merge.
    fn side_branch(&mut self) -> io::Result<()> {
        let name = format!("side-{}", self.commit_count);
        let base = self.commit_count;
        let on_main = self.changes();
        self.commit("main", None, on_main)?;
        let main = self.commit_count;
        let (path, content) =
            (format!("side/{name}.txt"), format!("work on {name}\n").into_bytes());
        let change = vec![(path, Some(("100644", content)))];
        self.commit(&name, Some((base, None)), change.clone())?;
        self.commit("main", Some((main, Some(self.commit_count))), change)
    }

    /// Tags the tip; every other tag is a tag object.
    fn tag(&mut self) -> io::Result<()> {
        let (number, mark) = (self.commit_count / TAG_EVERY, self.commit_count);
        if number % 2 == 0 {
            return write!(self.out, "reset refs/tags/v0.{number}\nfrom :{mark}\n\n");
        }
        let message = format!("Version 0.{number}\n");
        write!(self.out, "tag v0.{number}\nfrom :{mark}\n")?;
        let (time, len) = (FIRST_TIME + mark as u64 * 600, message.len());
        writeln!(self.out, "tagger A Maker <maker@example.org> {time} +0100")?;
        write!(self.out, "data {len}\n{message}\n")?;
        self.object_count += 1;
        Ok(())
    }

    /// Writes a commit on `branch`, onto its tip or onto the marks in `parents`.
    fn commit(
        &mut self,
        branch: &str,
        parents: Option<(usize, Option<usize>)>,
        changes: Changes,
    ) -> io::Result<()> {
        self.commit_count += 1;
        let mark = self.commit_count;
        let time = FIRST_TIME + mark as u64 * 600;
        let message = message(&mut self.random, mark, changes.len());
        write!(self.out, "commit refs/heads/{branch}\nmark :{mark}\n")?;
        writeln!(self.out, "author A Maker <maker@example.org> {time} +0100")?;
        writeln!(self.out, "committer A Keeper <keeper@example.org> {} +0000", time + 60)?;
        write!(self.out, "data {}\n{message}", message.len())?;
        if let Some((from, merge)) = parents {
            writeln!(self.out, "from :{from}")?;
            if let Some(merge) = merge {
                writeln!(self.out, "merge :{merge}")?;
            }
        }
        let mut folders = BTreeSet::from([""]);
        for (path, content) in &changes {
            match content {
                None => writeln!(self.out, "D {path}")?,
                Some(("160000", id)) => {
                    writeln!(self.out, "M 160000 {} {path}", String::from_utf8_lossy(id))?;
                }
                Some((mode, content)) => {
                    write!(self.out, "M {mode} inline {path}\ndata {}\n", content.len())?;
                    self.out.write_all(content)?;
                    writeln!(self.out)?;
                    self.object_count += 1;
                }
            }
            folders.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
        }
        self.object_count += 1 + folders.len();
        writeln!(self.out)
    }
}

/// What a commit says: a subject, and a few sentences of why.
fn message(random: &mut Random, mark: usize, path_count: usize) -> String {
    let mut word = || text::name(random);
    let mut message = format!("{} the {} of the {}\n\n", verb(mark), word(), word());
    for _ in 0..1 + mark % 5 {
        let (a, b, c, d) = (word(), word(), word(), word());
        message.push_str(&format!("The {a} had no {b} when the {c} was closed by a {d}.\n"));
    }
    message.push_str(&format!("\nChange {mark}: {path_count} paths.\n"));
    message
}

impl TextFile {
    fn change(&self) -> (String, Option<(&'static str, Vec<u8>)>) {
        let mut content = self.lines.join("\n").into_bytes();
        content.push(b'\n');
        (self.path.clone(), Some((self.mode, content)))
    }
}

fn verb(number: usize) -> &'static str {
    ["Add", "Fix", "Move", "Speed up", "Document", "Simplify"][number % 6]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(folder: &Path, words: &[&str]) -> String {
        let output = command(folder, words).output().expect("git runs");
        assert!(output.status.success(), "git {words:?}");
        String::from_utf8(output.stdout).expect("git speaks UTF-8 here")
    }

    #[test]
    fn a_repository_is_whole_and_the_same_every_time() {
        let folder = std::env::temp_dir().join(format!("mega-repo-{}", std::process::id()));
        let (a, b) = (folder.join("a"), folder.join("b"));
        write(&a, 1500, 9, true).expect("made");
        write(&b, 1500, 9, false).expect("made");
        let tips = output(&a, &["for-each-ref"]);
        assert_eq!(tips, output(&b, &["for-each-ref"]));
        output(&a, &["fsck", "--full", "--strict"]);
        let object_count = output(&a, &["rev-list", "--objects", "--all"]).lines().count();
        let merge_count = output(&a, &["rev-list", "--merges", "main"]).lines().count();
        let status = output(&a, &["status", "--porcelain"]);
        fs::remove_dir_all(&folder).expect("removed");
        assert!((1400..2000).contains(&object_count), "{object_count} objects");
        assert!(merge_count > 3 && tips.contains("refs/tags/v0."), "{tips}");
        assert_eq!(status, "", "the work tree is what was committed");
    }
}
