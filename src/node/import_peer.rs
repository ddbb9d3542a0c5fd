//! A peer's repository into the store, whole: commits first, then directories level by level, then
//! blobs, references in one transaction, then large files.
//!
//! What is here is not asked for, and what came stays: run again it goes on, and brings what is
//! new. References stand only when everything that they reach is here.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use mega_storage::object::{EntryKind, commit_info, tag_target, tree_entries};
use mega_storage::{
    FileId, ObjectId, ObjectKind, ObjectWant, Progress, Reach, ReadThrough, ReadThroughOptions,
    RefName, RefTarget, RefTransaction, Repo, Sources, StoreError, Unit,
};

use super::import::{ImportOptions, ImportReport, Target, remove_if_empty};
use super::import_git::{GitReport, plan_refs};
use super::import_lfs::{LfsReport, MissingFile, wanted_files};
use super::prefetch::{Attempts, Wanted, bring_file};
use super::remote::{RULES, peer_source, repo_at_peer};
use super::swarm::PeerSource;
use super::{Node, NodeError};
use crate::http::client::RemoteRef;
use crate::swarm::record::{P2pTarget, P2pUrl};

/// Objects in one question.
const BATCH_COUNT: usize = 1024;

/// Takes in the repository, or what one branch or tag of it reaches.
pub(super) fn import_peer(
    node: &Node,
    options: &ImportOptions,
    url: &P2pUrl,
    progress: &dyn Progress,
) -> Result<ImportReport, NodeError> {
    let there = repo_at_peer(url)?;
    let origin = P2pUrl::repo(url.peer, there.clone()).to_string();
    let guess = there.as_str().rsplit('/').next();
    let target = Target::find(node, options, &origin, guess)?;
    let (repo, is_new) = target.open(node)?;
    // It counts on what came before, and its references come last.
    let _lease = node.store().lease(repo.id);
    let taken = take(node, options, url, &repo, progress);
    let (git, lfs) = taken.inspect_err(|_| {
        if is_new {
            remove_if_empty(node, &repo);
        }
    })?;
    if repo.origin.as_deref() != Some(&origin) {
        node.store().repos().set_origin(repo.id, &origin)?;
    }
    Ok(ImportReport { repo: node.store().repos().get(&repo.name)?, is_new, git, lfs })
}

fn take(
    node: &Node,
    options: &ImportOptions,
    url: &P2pUrl,
    repo: &Repo,
    progress: &dyn Progress,
) -> Result<(GitReport, LfsReport), NodeError> {
    progress.start("asking the peer", None, Unit::Objects);
    let source = peer_source(node, repo, url, &options.git, None)?;
    let wanted = wanted_refs(&source, url)?;
    let note = Arc::new(|line: &str| tracing::warn!("{line}"));
    let reading = ReadThroughOptions { note, ..ReadThroughOptions::default() };
    let sources = Sources { objects: source.objects(), chunks: vec![source.chunks()] };
    let through = ReadThrough::new(node.store(), repo, &sources, reading)?;
    let mut report = GitReport::default();
    let is_all = matches!(&url.target, P2pTarget::Repo { revision: None, .. });
    let edits = plan_refs(node, repo, &wanted, options.prune && is_all, &mut report)?;
    if !edits.is_empty() {
        let mut closure = Closure::new(node, repo, &through, progress)?;
        closure.bring(&wanted)?;
        (report.object_count, report.new_count) = (closure.new_count, closure.new_count);
        progress.start("writing references", Some(edits.len() as u64), Unit::Objects);
        node.store().refs().apply(repo.id, &RefTransaction { edits })?;
    }
    let lfs = take_files(node, repo, &through, progress)?;
    Ok((report, lfs))
}

/// The references as the peer has them; with a revision, those that it may mean.
fn wanted_refs(
    source: &PeerSource,
    url: &P2pUrl,
) -> Result<BTreeMap<RefName, RefTarget>, NodeError> {
    let failed = |reason: String| NodeError::Remote { url: source.shown(), reason };
    let lines = match &url.target {
        P2pTarget::Repo { revision: Some(revision), .. } => {
            let full = |(before, after): &(&str, &str)| {
                RefName::new([before, revision.as_str(), after].concat().as_bytes()).ok()
            };
            let names: Vec<RefName> = RULES.iter().filter_map(full).collect();
            let mut lines = source.refs(&names).map_err(|e| failed(e.to_string()))?;
            let has = |name: &RefName| names.contains(name);
            let found: HashSet<RefName> =
                lines.iter().filter(|l| has(&l.name)).map(|l| l.name.clone()).collect();
            // HEAD comes along where it names what was asked for.
            lines.retain(|l| {
                found.contains(&l.name) || l.target.as_ref().is_some_and(|to| found.contains(to))
            });
            if found.is_empty() {
                return Err(failed(format!("it has no branch or tag '{revision}'")));
            }
            lines
        }
        _ => source.all_refs().map_err(|e| failed(e.to_string()))?,
    };
    let target = |line: RemoteRef| {
        let target = match (line.target, line.id) {
            (Some(to), _) => RefTarget::Symbolic(to),
            (None, Some(id)) => RefTarget::Direct(id),
            (None, None) => return None,
        };
        Some((line.name, target))
    };
    Ok(lines.into_iter().filter_map(target).collect())
}

/// Brings what references reach.
struct Closure<'a> {
    node: &'a Node,
    repo: &'a Repo,
    through: &'a ReadThrough,
    progress: &'a dyn Progress,
    /// What the references here reach is here.
    known: Arc<Reach>,
    seen: HashSet<ObjectId>,
    new_count: u64,
}

impl<'a> Closure<'a> {
    fn new(
        node: &'a Node,
        repo: &'a Repo,
        through: &'a ReadThrough,
        progress: &'a dyn Progress,
    ) -> Result<Self, NodeError> {
        let here = node.store().refs().list(repo.id, b"")?;
        let direct = here.into_iter().filter_map(|(_, target)| match target {
            RefTarget::Direct(id) => Some(id),
            RefTarget::Symbolic(_) => None,
        });
        let known = node.store().closure(repo.id, &direct.collect::<Vec<_>>(), progress)?;
        Ok(Self { node, repo, through, progress, known, seen: HashSet::new(), new_count: 0 })
    }

    fn bring(&mut self, wanted: &BTreeMap<RefName, RefTarget>) -> Result<(), NodeError> {
        self.progress.start("fetching objects", None, Unit::Objects);
        let mut level = Vec::new();
        for target in wanted.values() {
            if let RefTarget::Direct(id) = target {
                self.note(*id, &mut level);
            }
        }
        let (mut trees, mut blobs) = (Vec::new(), Vec::new());
        while !level.is_empty() {
            // Commits before these come along: as many as the peer gives at a time.
            self.obtain(&level, u32::MAX)?;
            for id in std::mem::take(&mut level) {
                let object = self.read(&id)?;
                match object.kind {
                    ObjectKind::Commit => {
                        let info = commit_info(&object.data).map_err(|why| malformed(id, why))?;
                        self.note(info.tree, &mut trees);
                        for parent in info.parents {
                            self.note(parent, &mut level);
                        }
                    }
                    ObjectKind::Tag => {
                        let to = tag_target(&object.data).map_err(|why| malformed(id, why))?;
                        self.note(to.0, &mut level);
                    }
                    ObjectKind::Tree => trees.push(id),
                    ObjectKind::Blob => blobs.push(id),
                }
            }
        }
        while !trees.is_empty() {
            self.obtain(&trees, 0)?;
            for id in std::mem::take(&mut trees) {
                let object = self.read(&id)?;
                for entry in tree_entries(&object.data) {
                    let entry = entry.map_err(|why| malformed(id, why))?;
                    match entry.kind() {
                        EntryKind::Directory => self.note(entry.id, &mut trees),
                        EntryKind::Submodule => {}
                        EntryKind::File | EntryKind::Executable | EntryKind::Symlink => {
                            self.note(entry.id, &mut blobs);
                        }
                    }
                }
            }
        }
        self.obtain(&blobs, 0)
    }

    /// Adds an object that is not known yet, once.
    fn note(&mut self, id: ObjectId, list: &mut Vec<ObjectId>) {
        if self.known.ids.binary_search(&id).is_err() && self.seen.insert(id) {
            list.push(id);
        }
    }

    fn read(&self, id: &ObjectId) -> Result<mega_storage::Object, NodeError> {
        let object = self.node.store().objects().read(id)?;
        object.ok_or_else(|| StoreError::MissingObject { id: *id }.into())
    }

    /// Brings those of the objects that are not here; all must come.
    fn obtain(&mut self, ids: &[ObjectId], history: u32) -> Result<(), NodeError> {
        for ids in ids.chunks(BATCH_COUNT) {
            let mut before = usize::MAX;
            loop {
                if self.progress.interrupted() {
                    return Err(StoreError::Interrupted.into());
                }
                let members = self.node.store().objects().are_members(self.repo.id, ids)?;
                let absent = ids.iter().zip(members).filter(|(_, is_here)| !is_here);
                let absent: Vec<ObjectId> = absent.map(|(id, _)| *id).collect();
                if absent.is_empty() {
                    break;
                }
                let want = ObjectWant { history, ..ObjectWant::exactly(&absent) };
                let failed = self.through.fetch_some(&want)?;
                let came = (absent.len() - failed.len()) as u64;
                self.new_count += came;
                self.progress.advance(came);
                // A peer sends no more than so much at a time: asking again goes on.
                if let Some((_, error)) = failed.into_iter().next()
                    && absent.len() >= before
                {
                    return Err(error.into());
                }
                before = absent.len();
            }
        }
        Ok(())
    }
}

fn malformed(id: ObjectId, reason: &str) -> NodeError {
    StoreError::MalformedObject { id, reason: reason.to_owned() }.into()
}

/// Brings the large files that pointers name.
fn take_files(
    node: &Node,
    repo: &Repo,
    through: &ReadThrough,
    progress: &dyn Progress,
) -> Result<LfsReport, NodeError> {
    let (mut report, files) = wanted_files(node, repo)?;
    let len = files.iter().map(|file| file.pointer.len).sum();
    progress.start("LFS content", Some(len), Unit::Bytes);
    let mut attempts = Attempts::default();
    for file in files {
        let came = AtomicU64::new(0);
        let reason = match attempts.next(|| take_file(through, &file, &came, progress)) {
            Ok(true) => {
                report.new_count += 1;
                report.new_len += file.pointer.len;
                report.stored_len += came.into_inner();
                continue;
            }
            Ok(false) => "its chunks, as the peer tells them, are not it".to_owned(),
            Err(StoreError::NotFetched { reason, .. }) => reason,
            Err(
                error @ (StoreError::MissingFile { .. }
                | StoreError::MissingChunk { .. }
                | StoreError::FileLenMismatch { .. }),
            ) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        report.missing.push(MissingFile { reason, ..file });
    }
    Ok(report)
}

fn take_file(
    through: &ReadThrough,
    file: &MissingFile,
    came: &AtomicU64,
    progress: &dyn Progress,
) -> Result<bool, StoreError> {
    use mega_storage::ReadStore;
    let id: FileId = file.pointer.file;
    let lens = through.file_lens(&[file.pointer])?;
    let Some(len) = lens.first().copied().flatten() else {
        return Err(StoreError::MissingFile { id });
    };
    let wanted = Wanted { id, path: Vec::new(), len, absent_len: len };
    bring_file(through, &wanted, came, progress)
}
