//! A repository in a directory: its references, its packs with their indexes, its loose objects.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mega_storage::ObjectId;

use super::{Git, Running, SourceError, plain, run};

/// Alternates of alternates are followed so deep; git's own limit.
const ALTERNATES_DEPTH_MAX: usize = 5;
/// Most object directories of one repository.
const OBJECT_DIRS_MAX: usize = 1000;

/// A reference as the repository has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceRef {
    /// The full name, unchecked.
    pub name: Vec<u8>,
    /// The object it leads to.
    pub id: ObjectId,
    /// The reference it stands for, when it is symbolic.
    pub symbolic: Option<Vec<u8>>,
}

/// All references of a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceRefs {
    /// Those below `refs/`, as git lists them. Those that lead nowhere are left out, as git does.
    pub refs: Vec<SourceRef>,
    /// Where HEAD stands. `None` when it leads nowhere that git can name.
    pub head: Option<Head>,
}

/// Where HEAD stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Head {
    /// On a branch, which may not exist yet.
    Branch(Vec<u8>),
    /// On an object directly.
    Detached(ObjectId),
}

/// A pack with its index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackFile {
    /// The `.pack`.
    pub pack: PathBuf,
    /// The `.idx`.
    pub index: PathBuf,
    /// The SHA-1 that stands at the pack's end.
    pub id: [u8; 20],
}

/// A git repository in a directory. Nothing in it is changed.
pub struct Source {
    git: Git,
    /// The directory that git works in for this repository.
    dir: PathBuf,
    common_dir: PathBuf,
    /// The checkout's root; `None` for a bare repository.
    worktree: Option<PathBuf>,
    object_dirs: Vec<PathBuf>,
    /// Nothing in it is out of the ordinary, so that it can be read without git.
    is_plain: bool,
}

impl Source {
    /// Finds the repository of `path`: bare, a checkout, or a directory inside one.
    ///
    /// # Errors
    /// When there is none, or it is of a kind that cannot be imported: shallow, SHA-256.
    pub fn open(git: &Git, path: &Path) -> Result<Self, SourceError> {
        if let Some(dir) = plain::git_dir(path) {
            let object_dirs = object_dirs(&dir.join("objects"))?;
            let (git, common_dir) = (git.clone(), dir.clone());
            return Ok(Self { git, dir, common_dir, worktree: None, object_dirs, is_plain: true });
        }
        Self::ask(git, path)
    }

    /// Asks git what there is.
    pub(super) fn ask(git: &Git, path: &Path) -> Result<Self, SourceError> {
        let facts = run(
            git.in_dir(path.as_os_str()).args([
                "rev-parse",
                "--path-format=absolute",
                "--show-object-format",
                "--is-shallow-repository",
                "--is-inside-work-tree",
                "--git-dir",
                "--git-common-dir",
                // Last, since it has no line in a bare repository.
                "--show-cdup",
            ]),
            "rev-parse",
            b"",
        )
        .map_err(|e| match e {
            SourceError::Failed { words, .. } => {
                SourceError::NotARepository { path: path.to_owned(), words }
            }
            other => other,
        })?;
        let lines: Vec<&[u8]> = facts.split(|&b| b == b'\n').collect();
        let &[format, is_shallow, is_checkout, git_dir, common_dir, up, ..] = lines.as_slice()
        else {
            return Err(SourceError::Unexpected {
                command: "rev-parse".to_owned(),
                reason: "too few lines".to_owned(),
            });
        };
        if format != b"sha1" {
            let format = String::from_utf8_lossy(format).into_owned();
            return Err(SourceError::Format { path: path.to_owned(), format });
        }
        if is_shallow == b"true" {
            return Err(SourceError::Shallow { path: path.to_owned() });
        }
        let to_path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let common_dir = to_path(common_dir);
        let worktree = (is_checkout == b"true").then(|| worktree(path, up)).transpose()?;
        let object_dirs = object_dirs(&common_dir.join("objects"))?;
        let (git, dir) = (git.clone(), to_path(git_dir));
        Ok(Self { git, dir, common_dir, worktree, object_dirs, is_plain: false })
    }

    /// The repository's own directory, for git commands about it.
    pub fn git_dir(&self) -> &Path {
        &self.dir
    }

    /// The directory that all worktrees of the repository share.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The checkout's root; `None` for a bare repository.
    pub fn worktree(&self) -> Option<&Path> {
        self.worktree.as_deref()
    }

    /// The object directory and all alternates.
    pub fn object_dirs(&self) -> &[PathBuf] {
        &self.object_dirs
    }

    /// The name that a person calls the repository by: its directory's, without `.git`.
    pub fn name(&self) -> Option<String> {
        let mut dir = self.worktree.as_deref().unwrap_or(&self.dir);
        if dir.file_name() == Some(OsStr::new(".git")) {
            dir = dir.parent()?;
        }
        let name = dir.file_name()?.to_str()?;
        Some(name.strip_suffix(".git").unwrap_or(name).to_owned())
    }

    /// All references, HEAD among them.
    ///
    /// # Errors
    /// When git fails, or answers something else.
    pub fn refs(&self) -> Result<SourceRefs, SourceError> {
        let plain = self.is_plain.then(|| plain::refs(&self.dir)).flatten();
        plain.map_or_else(|| self.ask_refs(), Ok)
    }

    /// Has git list them.
    pub(super) fn ask_refs(&self) -> Result<SourceRefs, SourceError> {
        let format = "--format=%(HEAD)%(objectname) %(refname) %(symref)";
        let output = run(self.command().args(["for-each-ref", format]), "for-each-ref", b"")?;
        let mut branch = None;
        let mut refs = Vec::new();
        for line in output.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let (is_head, found) = parse_ref(line).ok_or_else(|| SourceError::Unexpected {
                command: "for-each-ref".to_owned(),
                reason: String::from_utf8_lossy(line).into_owned(),
            })?;
            if is_head {
                branch = Some(Head::Branch(found.name.clone()));
            }
            refs.push(found);
        }
        let head = if branch.is_some() { branch } else { self.head_elsewhere()? };
        Ok(SourceRefs { refs, head })
    }

    /// A HEAD that stands on no reference that is there: a branch not born yet, or an object.
    fn head_elsewhere(&self) -> Result<Option<Head>, SourceError> {
        let ask = |args: &[&str]| match run(self.command().args(args), args[0], b"") {
            Ok(output) => Ok(Some(output.strip_suffix(b"\n").unwrap_or(&output).to_vec())),
            Err(SourceError::Failed { .. }) => Ok(None),
            Err(e) => Err(e),
        };
        if let Some(branch) = ask(&["symbolic-ref", "--quiet", "HEAD"])? {
            return Ok(Some(Head::Branch(branch)));
        }
        let id = ask(&["rev-parse", "--quiet", "--verify", "HEAD"])?;
        Ok(id.and_then(|id| ObjectId::from_hex(&id).ok()).map(Head::Detached))
    }

    /// All packs that have an index, across alternates.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn packs(&self) -> Result<Vec<PackFile>, SourceError> {
        let mut packs = Vec::new();
        for dir in &self.object_dirs {
            for name in names_in(&dir.join("pack"))? {
                let index = dir.join("pack").join(&name);
                if index.extension() != Some(OsStr::new("idx")) {
                    continue;
                }
                let pack = index.with_extension("pack");
                match pack_id(&pack) {
                    Ok(id) => packs.push(PackFile { pack, index, id }),
                    // Repacked away between the listing and now, or an index that lost its pack:
                    // git ignores it too.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => {
                        return Err(SourceError::io(format!("reading {}", pack.display()), e));
                    }
                }
            }
        }
        // By content: the same pack may be in an alternate too.
        let mut seen = HashSet::new();
        packs.retain(|pack| seen.insert(pack.id));
        Ok(packs)
    }

    /// The ids of all loose objects, across alternates.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn loose_ids(&self) -> Result<Vec<ObjectId>, SourceError> {
        let mut ids = Vec::new();
        for dir in &self.object_dirs {
            for first in names_in(dir)?.iter().filter(|name| name.len() == 2) {
                for rest in names_in(&dir.join(first))? {
                    let hex = [first.as_bytes(), rest.as_bytes()].concat();
                    // Others are half-written files and foreign directories.
                    ids.extend(ObjectId::from_hex(&hex));
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Those of `ids` that are here.
    ///
    /// # Errors
    /// When git fails.
    pub fn those_there(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, SourceError> {
        let input: String = ids.iter().map(|id| format!("{id}\n")).collect();
        let format = "--batch-check=%(objectname)";
        let output = run(self.command().args(["cat-file", format]), "cat-file", input.as_bytes())?;
        let lines = output.split(|&b| b == b'\n');
        // Of one that is not, the line says more than an id.
        Ok(lines.filter_map(|line| ObjectId::from_hex(line).ok()).collect())
    }

    /// Starts a pack stream of exactly these objects.
    ///
    /// # Errors
    /// When git cannot be started.
    pub fn pack_objects(&self, ids: &[ObjectId]) -> Result<Running, SourceError> {
        let input: String = ids.iter().map(|id| format!("{id}\n")).collect();
        let mut command = self.command();
        command.args(["pack-objects", "--stdout", "--quiet", "--delta-base-offset"]);
        Running::start(&mut command, "pack-objects", input.into_bytes())
    }

    /// Refuses a partial clone that lacks objects which its references need. Costs a walk there,
    /// nothing elsewhere.
    ///
    /// # Errors
    /// [`SourceError::Partial`].
    pub fn check_complete(&self) -> Result<(), SourceError> {
        let is_promisor =
            |name: &std::ffi::OsString| Path::new(name).extension() == Some(OsStr::new("promisor"));
        let mut is_partial = false;
        for dir in &self.object_dirs {
            is_partial |= names_in(&dir.join("pack"))?.iter().any(is_promisor);
        }
        if !is_partial {
            return Ok(());
        }
        let output = run(
            self.command().args(["rev-list", "--objects", "--all", "--missing=print"]),
            "rev-list",
            b"",
        )?;
        let mut missing = output.split(|&b| b == b'\n').filter_map(|line| line.strip_prefix(b"?"));
        let Some(first) = missing.next() else { return Ok(()) };
        Err(SourceError::Partial {
            path: self.common_dir.clone(),
            count: 1 + missing.count(),
            first: String::from_utf8_lossy(first).into_owned(),
        })
    }

    fn command(&self) -> std::process::Command {
        let mut command = self.git.in_dir(self.dir.as_os_str());
        // Else git would look for a repository from here upwards.
        command.env("GIT_DIR", &self.dir);
        command
    }
}

/// The root of the checkout that `path` is in; `up` leads there from it, as in `../../`.
fn worktree(path: &Path, up: &[u8]) -> Result<PathBuf, SourceError> {
    let error = |e| SourceError::io(format!("reading {}", path.display()), e);
    let path = path.canonicalize().map_err(error)?;
    let depth = up.split(|&b| b == b'/').filter(|part| *part == b"..").count();
    let root = path.ancestors().nth(depth);
    root.map(Path::to_owned).ok_or_else(|| error(io::ErrorKind::NotFound.into()))
}

/// A line of `for-each-ref`: whether HEAD stands on the reference, and the reference.
fn parse_ref(line: &[u8]) -> Option<(bool, SourceRef)> {
    let (&mark, line) = line.split_first()?;
    let mut words = line.splitn(3, |&b| b == b' ');
    let id = ObjectId::from_hex(words.next()?).ok()?;
    let name = words.next()?.to_vec();
    let symbolic = words.next().filter(|word| !word.is_empty()).map(<[u8]>::to_vec);
    Some((mark == b'*', SourceRef { name, id, symbolic }))
}

/// The object directory and its alternates, each once.
fn object_dirs(first: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut queue = vec![(first.to_owned(), 0)];
    while let Some((dir, depth)) = queue.pop() {
        let Ok(dir) = dir.canonicalize() else { continue };
        if found.contains(&dir) {
            continue;
        }
        if depth > ALTERNATES_DEPTH_MAX || found.len() >= OBJECT_DIRS_MAX {
            return Err(SourceError::AlternatesDepth { path: dir, limit: ALTERNATES_DEPTH_MAX });
        }
        match fs::read(dir.join("info/alternates")) {
            Ok(text) => {
                let lines = text.split(|&b| b == b'\n').filter(|l| !l.is_empty() && l[0] != b'#');
                queue.extend(lines.map(|line| (dir.join(OsStr::from_bytes(line)), depth + 1)));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(SourceError::io(format!("reading {}", dir.display()), e)),
        }
        found.push(dir);
    }
    Ok(found)
}

/// The names in a directory; none when it does not exist or is no directory.
fn names_in(dir: &Path) -> Result<Vec<std::ffi::OsString>, SourceError> {
    let error = |e| SourceError::io(format!("reading {}", dir.display()), e);
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(error)?.file_name())).collect(),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(e) => Err(error(e)),
    }
}

/// The SHA-1 at a pack's end.
fn pack_id(pack: &Path) -> io::Result<[u8; 20]> {
    let mut file = fs::File::open(pack)?;
    let mut id = [0; 20];
    file.seek(SeekFrom::End(-20))?;
    file.read_exact(&mut id)?;
    Ok(id)
}
