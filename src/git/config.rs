//! Single values of git's configuration, as git itself finds them.

use std::ffi::OsStr;
use std::path::Path;

use super::{Git, SourceError, run};

/// The value of `key` in the repository `dir` and everything above it; `None` when it is not set.
///
/// # Errors
/// When git cannot be run. A configuration that git cannot read counts as not set.
pub fn get(git: &Git, dir: &Path, key: &str) -> Result<Option<String>, SourceError> {
    one(git.in_dir(dir.as_os_str()).args(["config", "--get", key]))
}

/// The value of `key` in the file `file`, which uses git's syntax.
///
/// # Errors
/// As [`get`].
pub fn get_in_file(git: &Git, file: &Path, key: &str) -> Result<Option<String>, SourceError> {
    one(git.anywhere().args([OsStr::new("config"), OsStr::new("--file"), file.as_os_str()]).args([
        "--no-includes",
        "--get",
        key,
    ]))
}

/// The value of `key` in a blob, for a repository that has no checkout.
///
/// # Errors
/// As [`get`].
pub fn get_in_blob(
    git: &Git,
    dir: &Path,
    blob: &str,
    key: &str,
) -> Result<Option<String>, SourceError> {
    one(git.in_dir(dir.as_os_str()).args(["config", "--blob", blob, "--get", key]))
}

/// All values of `key` whose section's URL matches `url` best, as `http.<url>.extraHeader`.
///
/// # Errors
/// As [`get`].
pub fn get_for_url(
    git: &Git,
    dir: &Path,
    key: &str,
    url: &str,
) -> Result<Option<String>, SourceError> {
    one(git.in_dir(dir.as_os_str()).args(["config", "--get-urlmatch", key, url]))
}

/// As [`get_for_url`], as git reads a `bool`, a `path` or another of its types.
///
/// # Errors
/// As [`get`].
pub fn get_typed_for_url(
    git: &Git,
    dir: &Path,
    kind: &str,
    key: &str,
    url: &str,
) -> Result<Option<String>, SourceError> {
    let kind = format!("--type={kind}");
    one(git.in_dir(dir.as_os_str()).args(["config", &kind, "--get-urlmatch", key, url]))
}

/// The URL of a remote with `url.<base>.insteadOf` applied; `None` when there is no such remote.
///
/// # Errors
/// As [`get`].
pub fn remote_url(git: &Git, dir: &Path, remote: &str) -> Result<Option<String>, SourceError> {
    if remote.is_empty() || remote.starts_with('-') {
        return Ok(None);
    }
    one(git.in_dir(dir.as_os_str()).args(["remote", "get-url", remote]))
}

/// The remote that a repository is fetched from: what LFS is told, `origin`, or the only one there
/// is.
///
/// # Errors
/// As [`get`].
pub fn default_remote(git: &Git, dir: &Path) -> Result<Option<String>, SourceError> {
    if let Some(name) = get(git, dir, "remote.lfsdefault")? {
        return Ok(Some(name));
    }
    let Some(names) = all(git.in_dir(dir.as_os_str()).arg("remote"))? else { return Ok(None) };
    let mut names: Vec<&str> = names.lines().filter(|name| !name.is_empty()).collect();
    if names.len() > 1 {
        names.retain(|name| *name == "origin");
    }
    Ok(names.first().map(|name| (*name).to_owned()))
}

fn one(command: &mut std::process::Command) -> Result<Option<String>, SourceError> {
    let text = all(command)?;
    Ok(text.map(|text| text.trim_end_matches('\n').to_owned()).filter(|text| !text.is_empty()))
}

fn all(command: &mut std::process::Command) -> Result<Option<String>, SourceError> {
    match run(command, "config", b"") {
        Ok(output) => Ok(String::from_utf8(output).ok()),
        Err(SourceError::Failed { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}
