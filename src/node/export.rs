//! A repository out of the store, as plain git would have it: bare, one pack with its index, packed
//! references.
//!
//! It is written beside its place and renamed when it is whole and on the disk: what has the name
//! is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mega_storage::object::{ObjectKind, tag_target};
use mega_storage::{
    FileId, ObjectId, Pointer, Progress, RefName, RefTarget, Repo, RepoName, StoreError, Unit,
};

use super::import_lfs::local_path;
use super::{Node, NodeError};

/// Tags of tags are followed so far for a `^` line; git itself has no limit.
const TAG_DEPTH_MAX: usize = 100;

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The repository.
    pub repo: RepoName,
    /// Where to; absent or an empty directory.
    pub dir: PathBuf,
    /// Write the LFS content too.
    pub lfs: bool,
}

/// What an export wrote.
#[derive(Debug, Default)]
pub struct ExportReport {
    /// References, HEAD not counted.
    pub ref_count: u64,
    /// LFS files written.
    pub lfs_count: u64,
    /// Their length, in bytes.
    pub lfs_len: u64,
    /// LFS files that are not in the store.
    pub lfs_missing: Vec<Pointer>,
}

/// Writes the repository to a directory.
///
/// # Errors
/// When the directory is there and not empty, the repository is only in parts here
/// ([`StoreError::Partial`]), or the disk fails. Nothing has the directory's name
/// then.
pub fn export(
    node: &Node,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<ExportReport, NodeError> {
    let repo = node.store().repos().get(&options.repo)?;
    repo.check_whole()?;
    let _lease = node.store().lease(repo.id);
    let dir = &options.dir;
    if !is_free(dir)? {
        return Err(NodeError::TargetNotEmpty { path: dir.clone() });
    }
    let parent = dir.parent().unwrap_or(Path::new("/"));
    let io = |e| NodeError::io(format!("writing {}", dir.display()), e);
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let draft = tempfile::Builder::new()
        .prefix(&format!(".{name}.export-"))
        .permissions(fs::Permissions::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(io)?;
    let mut report = ExportReport::default();
    write_repository(node, Some(&repo), draft.path(), progress)?;
    report.ref_count = node.store().refs().list(repo.id, b"refs/")?.len() as u64;
    if options.lfs {
        write_lfs(node, &repo, &draft.path().join("lfs"), &mut report, progress)?;
    }
    let root = File::open(draft.path()).map_err(io)?;
    // Everything at once: the files are many.
    rustix::fs::syncfs(&root).map_err(|e| io(e.into()))?;
    let draft = draft.keep();
    fs::rename(&draft, dir).map_err(|e| {
        let _ = fs::remove_dir_all(&draft);
        io(e)
    })?;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(io)?;
    Ok(report)
}

fn is_free(dir: &Path) -> Result<bool, NodeError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound => Ok(true),
            io::ErrorKind::NotADirectory => Ok(false),
            _ => Err(NodeError::io(format!("reading {}", dir.display()), e)),
        },
    }
}

/// Makes a bare repository in `dir` with the objects and references of `repo`, or an empty one.
/// Returns its pack.
pub(super) fn write_repository(
    node: &Node,
    repo: Option<&Repo>,
    dir: &Path,
    progress: &dyn Progress,
) -> Result<Option<PathBuf>, NodeError> {
    let io = |e| NodeError::io(format!("writing {}", dir.display()), e);
    for part in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        fs::create_dir_all(dir.join(part)).map_err(io)?;
    }
    let config = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
    fs::write(dir.join("config"), config).map_err(io)?;
    let Some(repo) = repo else {
        fs::write(dir.join("HEAD"), "ref: refs/heads/main\n").map_err(io)?;
        return Ok(None);
    };
    // References are read before the objects: what they name is then among these.
    let refs = node.store().refs().list(repo.id, b"")?;
    let pack = node.store().objects().export_pack(repo.id, &dir.join("objects/pack"), progress)?;
    write_refs(node, &refs, dir)?;
    Ok(pack.map(|written| written.pack))
}

/// Direct references into `packed-refs` with what tags lead to, symbolic ones and HEAD into files
/// of their own.
fn write_refs(node: &Node, refs: &[(RefName, RefTarget)], dir: &Path) -> Result<(), NodeError> {
    let io = |e| NodeError::io(format!("writing references into {}", dir.display()), e);
    let file = File::create(dir.join("packed-refs")).map_err(io)?;
    let mut packed = BufWriter::new(file);
    packed.write_all(b"# pack-refs with: peeled fully-peeled sorted \n").map_err(io)?;
    let mut head = b"ref: refs/heads/main\n".to_vec();
    for (name, target) in refs {
        match target {
            RefTarget::Direct(id) if *name == RefName::head() => {
                head = format!("{id}\n").into_bytes();
            }
            RefTarget::Direct(id) => {
                write!(packed, "{id} ").map_err(io)?;
                packed.write_all(name.as_bytes()).map_err(io)?;
                packed.write_all(b"\n").map_err(io)?;
                if let Some(peeled) = peeled(node, id)? {
                    writeln!(packed, "^{peeled}").map_err(io)?;
                }
            }
            RefTarget::Symbolic(to) => {
                let text = [b"ref: ", to.as_bytes(), b"\n"].concat();
                if *name == RefName::head() {
                    head = text;
                    continue;
                }
                // A checked name: no `..`, not absolute.
                let path = dir.join(std::ffi::OsStr::from_bytes(name.as_bytes()));
                fs::create_dir_all(path.parent().unwrap_or(dir)).map_err(io)?;
                fs::write(path, text).map_err(io)?;
            }
        }
    }
    packed.flush().map_err(io)?;
    fs::write(dir.join("HEAD"), head).map_err(io)
}

/// What an annotated tag leads to in the end; `None` for other objects.
fn peeled(node: &Node, id: &ObjectId) -> Result<Option<ObjectId>, NodeError> {
    let objects = node.store().objects();
    let mut peeled = None;
    let mut next = *id;
    for _ in 0..TAG_DEPTH_MAX {
        match objects.header(&next)? {
            Some(header) if header.kind == ObjectKind::Tag => {}
            Some(_) | None => break,
        }
        let tag = objects.read(&next)?.ok_or(StoreError::MissingObject { id: next })?;
        let (target, _) = tag_target(&tag.data).map_err(|reason| StoreError::MalformedObject {
            id: next,
            reason: reason.to_owned(),
        })?;
        next = target;
        peeled = Some(target);
    }
    Ok(peeled)
}

fn write_lfs(
    node: &Node,
    repo: &Repo,
    lfs: &Path,
    report: &mut ExportReport,
    progress: &dyn Progress,
) -> Result<(), NodeError> {
    let mut pointers: Vec<Pointer> =
        node.store().objects().pointers(repo.id)?.into_iter().map(|(_, pointer)| pointer).collect();
    pointers.sort_unstable_by_key(|pointer| pointer.file);
    pointers.dedup_by_key(|pointer| pointer.file);
    let total = pointers.iter().map(|pointer| pointer.len).sum();
    progress.start("LFS content", Some(total), Unit::Bytes);
    for pointer in pointers {
        if !node.store().files().has(repo.id, &pointer.file)? {
            report.lfs_missing.push(pointer);
            continue;
        }
        let path = local_path(lfs, &pointer);
        let io = |e| NodeError::io(format!("writing {}", path.display()), e);
        fs::create_dir_all(path.parent().unwrap_or(lfs)).map_err(io)?;
        let mut file = File::create(&path).map_err(io)?;
        report.lfs_len += copy_file(node, &pointer.file, &mut file, progress)?;
        report.lfs_count += 1;
    }
    Ok(())
}

/// Writes a file's verified content; returns its length.
fn copy_file(
    node: &Node,
    id: &FileId,
    out: &mut File,
    progress: &dyn Progress,
) -> Result<u64, NodeError> {
    let mut reader = node.store().files().reader(id)?;
    let mut buffer = vec![0; 1 << 20];
    let mut len = 0;
    loop {
        if progress.interrupted() {
            return Err(StoreError::Interrupted.into());
        }
        let count =
            reader.read(&mut buffer).map_err(|e| NodeError::io(format!("reading file {id}"), e))?;
        if count == 0 {
            return Ok(len);
        }
        out.write_all(&buffer[..count]).map_err(|e| NodeError::io("writing LFS content", e))?;
        len += count as u64;
        progress.advance(count as u64);
    }
}
