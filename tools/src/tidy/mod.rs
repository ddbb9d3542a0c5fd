//! The house rules as a test: sizes, floors, names that belong to one file, and texts that must be
//! true.
//!
//! Run by `cargo x tidy` and, as an ordinary test, by every test run. A file that breaks a rule on
//! purpose stands in `tools/tidy.exceptions` with its reason; the list may only shrink.

mod exceptions;
mod floors;
mod names;
mod sizes;
mod source;
mod texts;
mod wrap;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::Args;
use crate::checkout;
use source::Source;

/// Every rule with what it asks for.
const RULES: &[(&str, &str)] = &[
    ("opening", "a Rust file opens with //! and says what it keeps, promises and will not do"),
    ("file-size", "a file's body, inline tests aside, has at most 600 lines"),
    ("function-size", "a function has at most 70 lines"),
    ("columns", "a line of Rust has at most 100 columns"),
    ("tabs", "no tab in Rust"),
    ("floors", "an import goes down: never up, never sideways between rooms of one floor"),
    ("walls", "a crate's manifest names only what the crate may know"),
    ("one-door", "fuser and rocksdb are named by their own files only"),
    ("unfinished", "no todo!, unimplemented!, dbg! and no ignored test"),
    ("unwrap", "no unwrap() outside tests: expect(\"why it holds\") or an error"),
    ("sleep", "nothing sleeps: wait for the thing itself"),
    ("error-table", "a table of errors has an arm for each variant, no `_ =>`"),
    ("link", "a link in a document leads to a file that exists"),
    ("shell", "a shell script is one that bash can read, and stops at the first error"),
    ("newline", "a text file ends with one newline, and no line with blanks"),
    ("place", "no text names a place that only one machine has"),
];

/// A rule that a file breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path of the file from the checkout's root.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Name of the rule.
    pub rule: &'static str,
    /// What is there, and what should be.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} [{}]", self.path, self.line, self.message, self.rule)
    }
}

/// A tracked file with its text.
struct Tracked {
    path: String,
    text: String,
}

/// Runs `cargo x tidy`.
///
/// # Errors
/// When a rule is broken or the checkout cannot be read.
pub fn run(mut args: Args) -> Result<(), String> {
    if args.flag("--rules") {
        args.finish()?;
        for (name, text) in RULES {
            println!("{name:14} {text}");
        }
        return Ok(());
    }
    let fix = args.flag("--fix");
    args.finish()?;
    if fix {
        wrap_comments(&checkout())?;
    }
    let findings = check(&checkout())?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("{count} findings (cargo x tidy --rules explains them)")),
    }
}

/// Wraps long comments in every Rust file, and says in which.
fn wrap_comments(root: &Path) -> Result<(), String> {
    for file in read_files(root)?.iter().filter(|file| file.path.ends_with(".rs")) {
        let wrapped = wrap::wrap(&file.text);
        if wrapped != file.text {
            println!("wrapped comments in {}", file.path);
            let path = root.join(&file.path);
            std::fs::write(&path, wrapped).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(())
}

/// Checks every file under `root` that git tracks or would track.
///
/// # Errors
/// When the files cannot be listed or read.
pub fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let files = read_files(root)?;
    let mut findings = Vec::new();
    for file in &files {
        if file.path.ends_with(".rs") {
            check_rust(file, &mut findings);
        }
        if file.path.ends_with("Cargo.toml") {
            names::check_manifest(&file.path, &file.text, &mut findings);
        }
        texts::check(root, &file.path, &file.text, &mut findings);
    }
    findings.sort();
    let list = files.iter().find(|file| file.path == exceptions::PATH);
    Ok(exceptions::apply(findings, list.map_or("", |file| &file.text)))
}

fn check_rust(file: &Tracked, findings: &mut Vec<Finding>) {
    let source = Source::new(file.text.clone());
    let mut report = |rule, line, message| {
        findings.push(Finding { path: file.path.clone(), line, rule, message });
    };
    sizes::check(&source, &mut report);
    floors::check(&file.path, &source, &mut report);
    names::check(&file.path, &source, &mut report);
}

/// What a check calls with rule, line and message.
type Report<'a> = dyn FnMut(&'static str, usize, String) + 'a;

fn read_files(root: &Path) -> Result<Vec<Tracked>, String> {
    let mut files = Vec::new();
    for path in list_files(root)? {
        let Ok(bytes) = std::fs::read(root.join(&path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes)
            && !text.contains('\0')
        {
            files.push(Tracked { path, text });
        }
    }
    if files.iter().any(|file| file.path == "Cargo.toml") {
        Ok(files)
    } else {
        Err(format!("{} is no checkout of this project", root.display()))
    }
}

/// Asks git for the files that are tracked or not ignored; without git or a repository, walks the
/// folders.
fn list_files(root: &Path) -> Result<Vec<String>, String> {
    let listed = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(root)
        .output();
    let mut paths = match listed {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()
        }
        _ => walk(root)?,
    };
    paths.sort();
    paths.dedup();
    Ok(paths)
}

fn walk(root: &Path) -> Result<Vec<String>, String> {
    let (mut paths, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root.join(&folder)).map_err(|error| error.to_string())?;
        for entry in entries {
            let entry = entry.map_err(|error| error.to_string())?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(|error| error.to_string())?;
            let built = matches!(entry.file_name().to_str(), Some("target" | ".git"));
            if kind.is_dir() && !built {
                folders.push(path);
            } else if kind.is_file() {
                paths.push(path.to_string_lossy().into_owned());
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let findings = check(&checkout()).expect("the checkout can be read");
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
    }

    #[test]
    fn a_walk_finds_what_git_lists() {
        let walked = walk(&checkout()).expect("the checkout can be walked");
        assert!(walked.iter().any(|path| path == "tools/src/tidy/mod.rs"));
        assert!(walked.iter().all(|path| !path.starts_with("target/")));
    }
}
