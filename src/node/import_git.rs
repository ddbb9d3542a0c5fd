//! The git half of an import: packs, loose objects, then all references in one transaction.

use std::collections::BTreeMap;
use std::path::Path;

use mega_storage::object::Problem;
use mega_storage::{
    Expect, IngestOptions, IngestReport, ObjectId, PackInput, Progress, RefEdit, RefName,
    RefTarget, RefTransaction, Repo, Unit,
};

use super::{Node, NodeError};
use crate::git::{Head, PackFile, Source, SourceRefs};

/// Passes over the source's packs: a repack may move them while they are read, but not forever.
const PASSES_MAX: usize = 3;
/// Problems that a report lists; the rest is counted.
const PROBLEMS_MAX: usize = 100;

/// What came of objects and references.
#[derive(Debug, Default)]
pub struct GitReport {
    /// Packs taken in.
    pub pack_count: u64,
    /// Objects in them, and loose ones.
    pub object_count: u64,
    /// Objects that the store did not have.
    pub new_count: u64,
    /// Length of the packs, in bytes.
    pub pack_len: u64,
    /// References made.
    pub refs_created: u64,
    /// References moved.
    pub refs_updated: u64,
    /// References removed because the source has them no more.
    pub refs_deleted: u64,
    /// References that the source has no more, and that stayed.
    pub refs_kept: u64,
    /// What the content checks found, at most 100.
    pub problems: Vec<(ObjectId, Problem)>,
    /// How many problems there are in all.
    pub problem_count: u64,
}

impl GitReport {
    fn add(&mut self, report: IngestReport) {
        self.pack_count += 1;
        self.object_count += report.object_count;
        self.new_count += report.new_count;
        self.pack_len += report.pack_len;
        self.problem_count += report.problem_count;
        let room = PROBLEMS_MAX.saturating_sub(self.problems.len());
        self.problems.extend(report.problems.into_iter().take(room));
    }
}

/// Takes the source's objects and references into `repo`. `skip` is a pack whose objects are here
/// already.
pub(super) fn take_git(
    node: &Node,
    repo: &Repo,
    source: &Source,
    skip: Option<&Path>,
    prune: bool,
    progress: &dyn Progress,
) -> Result<GitReport, NodeError> {
    let mut report = GitReport::default();
    // References are read first: what they name then is among the objects read afterwards.
    let wanted = wanted_refs(source)?;
    take_packs(node, repo, source, skip, &mut report, progress)?;
    take_loose(node, repo, source, &mut report, progress)?;
    let edits = plan_refs(node, repo, &wanted, prune, &mut report)?;
    check_targets(node, repo, &edits)?;
    if !edits.is_empty() {
        progress.start("writing references", Some(edits.len() as u64), Unit::Objects);
        node.store().refs().apply(repo.id, &RefTransaction { edits })?;
    }
    Ok(report)
}

/// The report of an import that has no object to bring and no reference to change; `None` when it
/// has. Writes nothing.
pub(super) fn nothing_to_take(
    node: &Node,
    repo: &Repo,
    source: &Source,
    prune: bool,
) -> Result<Option<GitReport>, NodeError> {
    let mut report = GitReport::default();
    let wanted = wanted_refs(source)?;
    for pack in source.packs()? {
        if !node.store().repos().has_pack(repo.id, &pack.id)? {
            return Ok(None);
        }
    }
    let is_current = new_loose(node, repo, source)?.is_empty()
        && plan_refs(node, repo, &wanted, prune, &mut report)?.is_empty();
    Ok(is_current.then_some(report))
}

fn take_packs(
    node: &Node,
    repo: &Repo,
    source: &Source,
    skip: Option<&Path>,
    report: &mut GitReport,
    progress: &dyn Progress,
) -> Result<(), NodeError> {
    for pass in 1..=PASSES_MAX {
        let mut vanished = None;
        let mut is_checked = false;
        for pack in source.packs()? {
            if skip == Some(pack.pack.as_path())
                || node.store().repos().has_pack(repo.id, &pack.id)?
            {
                continue;
            }
            if !is_checked {
                source.check_complete()?;
                is_checked = true;
            }
            match take_pack(node, repo, &pack, progress) {
                Ok(taken) => report.add(taken),
                // Repacked while it was read: its objects are in another pack now.
                Err(error) if is_gone(&pack) => vanished = Some(error),
                Err(error) => return Err(error),
            }
        }
        match vanished {
            None => return Ok(()),
            Some(error) if pass == PASSES_MAX => return Err(error),
            Some(_) => {}
        }
    }
    Ok(())
}

fn is_gone(pack: &PackFile) -> bool {
    !pack.pack.exists() || !pack.index.exists()
}

fn take_pack(
    node: &Node,
    repo: &Repo,
    pack: &PackFile,
    progress: &dyn Progress,
) -> Result<IngestReport, NodeError> {
    let input = PackInput::Indexed { pack: &pack.pack, index: &pack.index };
    let objects = node.store().objects();
    let taken = objects.ingest_pack(repo.id, input, &IngestOptions::default(), progress)?;
    node.store().repos().add_packs(repo.id, &[pack.id])?;
    Ok(taken)
}

fn take_loose(
    node: &Node,
    repo: &Repo,
    source: &Source,
    report: &mut GitReport,
    progress: &dyn Progress,
) -> Result<(), NodeError> {
    let new = new_loose(node, repo, source)?;
    if new.is_empty() {
        return Ok(());
    }
    let objects = node.store().objects();
    let mut pack = source.pack_objects(&new)?;
    let taken = objects.ingest_pack(
        repo.id,
        PackInput::Stream(&mut pack),
        &IngestOptions::default(),
        progress,
    );
    match taken {
        Ok(taken) => {
            pack.finish()?;
            report.add(taken);
            Ok(())
        }
        // A git that failed midway says more than the pack that it left unfinished.
        Err(error) => Err(pack.failure().map_or_else(|| error.into(), NodeError::from)),
    }
}

/// The source's loose objects that the repository does not have.
fn new_loose(node: &Node, repo: &Repo, source: &Source) -> Result<Vec<ObjectId>, NodeError> {
    let ids = source.loose_ids()?;
    let members = node.store().objects().are_members(repo.id, &ids)?;
    let found = ids.into_iter().zip(members);
    Ok(found.filter(|(_, is_member)| !is_member).map(|(id, _)| id).collect())
}

/// What the references should be, HEAD among them.
fn wanted_refs(source: &Source) -> Result<BTreeMap<RefName, RefTarget>, NodeError> {
    let SourceRefs { refs, head } = source.refs()?;
    let head = match head {
        Some(Head::Branch(name)) => Some(RefTarget::Symbolic(RefName::new(&name)?)),
        Some(Head::Detached(id)) => Some(RefTarget::Direct(id)),
        None => None,
    };
    let head = head.map(|target| Ok((RefName::head(), target)));
    let named = refs.into_iter().map(|found| {
        let target = match found.symbolic {
            Some(name) => RefTarget::Symbolic(RefName::new(&name)?),
            None => RefTarget::Direct(found.id),
        };
        Ok((RefName::new(&found.name)?, target))
    });
    head.into_iter().chain(named).collect()
}

/// What has to change so that the store has what the source has.
pub(super) fn plan_refs(
    node: &Node,
    repo: &Repo,
    wanted: &BTreeMap<RefName, RefTarget>,
    prune: bool,
    report: &mut GitReport,
) -> Result<Vec<RefEdit>, NodeError> {
    let here = node.store().refs().list(repo.id, b"")?;
    // Most imports of what has been imported find nothing to change: no search for each.
    if here.iter().map(|(name, target)| (name, target)).eq(wanted) {
        return Ok(Vec::new());
    }
    let here: BTreeMap<RefName, RefTarget> = here.into_iter().collect();
    let mut edits = Vec::new();
    for (name, target) in wanted {
        let expect = match here.get(name) {
            Some(old) if old == target => continue,
            Some(old) => {
                report.refs_updated += 1;
                Expect::Is(old.clone())
            }
            None => {
                report.refs_created += 1;
                Expect::Absent
            }
        };
        edits.push(RefEdit { name: name.clone(), expect, new: Some(target.clone()) });
    }
    for (name, old) in here {
        if wanted.contains_key(&name) || name == RefName::head() {
            continue;
        }
        if prune || stands_in_the_way(&name, wanted) {
            report.refs_deleted += 1;
            edits.push(RefEdit { name, expect: Expect::Is(old), new: None });
        } else {
            report.refs_kept += 1;
        }
    }
    Ok(edits)
}

/// Whether a reference that the source dropped is a directory of a new one, or the other way round:
/// it has to go then, asked to prune or not.
fn stands_in_the_way(name: &RefName, wanted: &BTreeMap<RefName, RefTarget>) -> bool {
    let below = [name.as_bytes(), b"/"].concat();
    // Names ascend, so those below come first among those that are greater.
    let next = wanted.range(name..).find(|(other, _)| other.as_bytes() >= below.as_slice());
    if next.is_some_and(|(other, _)| other.as_bytes().starts_with(&below)) {
        return true;
    }
    let bytes = name.as_bytes();
    let slashes = (0..bytes.len()).filter(|&at| bytes[at] == b'/');
    slashes
        .filter_map(|at| RefName::new(&bytes[..at]).ok())
        .any(|above| wanted.contains_key(&above))
}

/// Every object that a reference will name came with the source or was here: a missing one is
/// named.
fn check_targets(node: &Node, repo: &Repo, edits: &[RefEdit]) -> Result<(), NodeError> {
    let direct = |edit: &RefEdit| match edit.new {
        Some(RefTarget::Direct(id)) => Some((edit.name.to_string(), id)),
        Some(RefTarget::Symbolic(_)) | None => None,
    };
    let (names, ids): (Vec<_>, Vec<_>) = edits.iter().filter_map(direct).unzip();
    let members = node.store().objects().are_members(repo.id, &ids)?;
    match members.iter().position(|is_member| !is_member) {
        None => Ok(()),
        Some(index) => {
            Err(NodeError::RefWithoutObject { name: names[index].clone(), id: ids[index] })
        }
    }
}
