//! A git directory in which nothing is out of the ordinary, read without git: to start git costs as
//! much as all else that a second import of nothing new does.
//!
//! Whatever is not plain is left to git: `None`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mega_storage::{ObjectId, RefName};

use super::{Head, SourceRef, SourceRefs};

/// What makes a configuration, or a directory, more than plain.
const WORDS: [&str; 3] = ["extensions", "include", "worktree"];
const NAMES: [&str; 3] = ["commondir", "gitdir", "shallow"];

/// The absolute path of a git directory.
pub(super) fn git_dir(path: &Path) -> Option<PathBuf> {
    let config = fs::read_to_string(path.join("config")).ok()?.to_ascii_lowercase();
    if WORDS.iter().any(|word| config.contains(word)) {
        return None;
    }
    head(path)?;
    let is_plain = path.join("objects").is_dir() && path.join("refs").is_dir();
    let is_plain = is_plain && NAMES.iter().all(|name| !path.join(name).exists());
    is_plain.then(|| path.canonicalize().ok()).flatten()
}

/// Its references, by name: loose ones, then those in `packed-refs` that are not loose. In this
/// order, one that is packed meanwhile is found all the same.
pub(super) fn refs(dir: &Path) -> Option<SourceRefs> {
    let head = head(dir)?;
    let mut refs = BTreeMap::new();
    let mut folders = vec![(dir.join("refs"), b"refs/".to_vec())];
    while let Some((folder, front)) = folders.pop() {
        for entry in fs::read_dir(folder).ok()? {
            let entry = entry.ok()?;
            let last = entry.file_name();
            if last.as_bytes().starts_with(b".") || last.as_bytes().ends_with(b".lock") {
                continue;
            }
            let mut name = [&front, last.as_bytes()].concat();
            if entry.file_type().ok()?.is_dir() {
                name.push(b'/');
                folders.push((entry.path(), name));
            } else {
                let mut text = [0; ObjectId::LEN * 2 + 1];
                File::open(entry.path()).and_then(|mut file| file.read_exact(&mut text)).ok()?;
                refs.insert(RefName::new(&name).ok()?, id(text.strip_suffix(b"\n")?)?);
            }
        }
    }
    let packed = match fs::read(dir.join("packed-refs")) {
        Ok(packed) => packed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(_) => return None,
    };
    for line in packed.split(|&b| b == b'\n') {
        // A comment, or what the tag before leads to.
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b"^") {
            continue;
        }
        let (digits, name) = line.split_at_checked(ObjectId::LEN * 2)?;
        let name = RefName::new(name.strip_prefix(b" ")?).ok()?;
        refs.entry(name).or_insert(id(digits)?);
    }
    let source = |(name, id): (RefName, ObjectId)| {
        let name = name.as_bytes().to_vec();
        SourceRef { name, id, symbolic: None }
    };
    Some(SourceRefs { refs: refs.into_iter().map(source).collect(), head: Some(head) })
}

/// Where HEAD stands.
fn head(dir: &Path) -> Option<Head> {
    let text = fs::read(dir.join("HEAD")).ok()?;
    let text = text.strip_suffix(b"\n")?;
    match text.strip_prefix(b"ref: ") {
        Some(name) if name.starts_with(b"refs/") => {
            RefName::new(name).ok().map(|name| Head::Branch(name.as_bytes().to_vec()))
        }
        Some(_) => None,
        None => id(text).map(Head::Detached),
    }
}

/// An id; not the one of nothing, by which git knows a broken reference.
fn id(digits: &[u8]) -> Option<ObjectId> {
    ObjectId::from_hex(digits).ok().filter(|id| id.as_bytes() != &[0; ObjectId::LEN])
}
