//! Who needs what is damaged: repositories, and where it stands in them. Found once, for all
//! findings together.
//!
//! References' newest states come first, so that a path is one that a person sees; then the
//! history, as far as it can be read.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::finding::{Damage, DamagedThing, Stands, Use};
use crate::db::{Family, keys};
use crate::error::{Result, StoreError};
use crate::files::NO_REPO;
use crate::id::{FileId, ObjectId, RepoId};
use crate::name::RefName;
use crate::object::ObjectKind;
use crate::object::parse::{EntryKind, commit_info, tag_target, tree_entries};
use crate::outbox::damaged;
use crate::progress::{Progress, Unit};
use crate::refs::RefTarget;
use crate::revision::TAG_DEPTH_MAX;
use crate::store::Store;

/// Uses that are told of one damage.
const USES_MAX: usize = 8;
/// Objects between two looks whether to stop.
const LOOK_COUNT: usize = 1_024;

/// Fills in who uses what is damaged.
pub(super) fn fill(store: &Store, damages: &mut [Damage], progress: &dyn Progress) -> Result<()> {
    if damages.is_empty() {
        return Ok(());
    }
    progress.start("looking who needs what is damaged", None, Unit::Objects);
    for damage in damages.iter_mut() {
        find_files(store, damage)?;
    }
    let repos = tolerant(store.repos().list())?;
    let names: BTreeMap<RepoId, String> =
        repos.iter().map(|repo| (repo.id, repo.name.to_string())).collect();
    let blobs = pointers_to(store, damages)?;
    // By repository, the objects whose places are wanted, and whose they are.
    let mut wanted: BTreeMap<RepoId, HashMap<ObjectId, Vec<usize>>> = BTreeMap::new();
    for (index, damage) in damages.iter_mut().enumerate() {
        let mut own = Vec::new();
        match &damage.what {
            DamagedThing::Object(id) | DamagedThing::Pointer(id) => own.push(*id),
            DamagedThing::Chunk(_) | DamagedThing::File(_) | DamagedThing::Right(..) => {}
            DamagedThing::Range { .. } | DamagedThing::Row { .. } => continue,
        }
        let files = damage.files().to_vec();
        for file in &files {
            own.extend(blobs.get(file).into_iter().flatten());
            if tolerant(store.files().holders(file))?.contains(&NO_REPO) {
                damage.uses.push(Use { repo: None, stands: None });
            }
        }
        for repo in names.keys() {
            for id in &own {
                if store.objects().is_member(*repo, id).unwrap_or(false) {
                    wanted.entry(*repo).or_default().entry(*id).or_default().push(index);
                }
            }
        }
    }
    for (repo, wanted) in wanted {
        let ids = wanted.keys().copied().collect();
        let mut found = match places(store, repo, ids, progress) {
            Err(StoreError::Interrupted) => HashMap::new(),
            found => found?,
        };
        let mut all: Vec<_> = wanted.into_iter().collect();
        all.sort_unstable();
        for (id, indexes) in all {
            let stands = found.remove(&id);
            for index in indexes {
                note(&mut damages[index], &names[&repo], stands.as_ref());
            }
        }
    }
    Ok(())
}

fn note(damage: &mut Damage, repo: &str, stands: Option<&Stands>) {
    let same = damage.uses.iter().position(|u| u.repo.as_deref() == Some(repo));
    if let Some(at) = same.filter(|at| stands.is_none() || damage.uses[*at].stands.is_none()) {
        if stands.is_some() {
            damage.uses[at].stands = stands.cloned();
        }
    } else if damage.uses.len() < USES_MAX {
        damage.uses.push(Use { repo: Some(repo.to_owned()), stands: stands.cloned() });
    }
}

/// What can be read; nothing where damage is in the way.
fn tolerant<T: Default>(found: Result<T>) -> Result<T> {
    match found {
        Err(error) => super::fault::reason_of(error).map(|_| T::default()),
        found => found,
    }
}

/// Looks which files have a chunk that was found without one.
fn find_files(store: &Store, damage: &mut Damage) -> Result<()> {
    let DamagedThing::Chunk(chunk) = &damage.what else { return Ok(()) };
    let db = store.db();
    let mut found = Vec::new();
    for row in db.scan_few(Family::ChunkFile, &keys::chunk_files(chunk)) {
        let Ok((key, _)) = row else { break };
        let half = key.get(keys::HALF_LEN..).unwrap_or_default().to_vec();
        for file in db.scan_few(Family::File, &half) {
            let Ok((key, _)) = file else { break };
            found.extend(FileId::from_slice(&key));
        }
    }
    found.into_iter().for_each(|file| damage.note_file(file));
    Ok(())
}

/// The blobs that are pointers to the files of damages.
fn pointers_to(store: &Store, damages: &[Damage]) -> Result<HashMap<FileId, Vec<ObjectId>>> {
    let files: HashSet<FileId> =
        damages.iter().flat_map(|damage| damage.files().iter().copied()).collect();
    let mut blobs: HashMap<FileId, Vec<ObjectId>> = HashMap::new();
    if files.is_empty() {
        return Ok(blobs);
    }
    for row in store.db().scan(Family::ObjectPointer, &[]) {
        let Ok((key, value)) = row else { break };
        let file = value.get(..FileId::LEN).and_then(FileId::from_slice);
        if let Some(file) = file.filter(|file| files.contains(file)) {
            blobs.entry(file).or_default().extend(ObjectId::from_slice(&key));
        }
    }
    Ok(blobs)
}

/// References, and what is wrong with those that cannot be read.
type References = (Vec<(RefName, RefTarget)>, Vec<(Option<RefName>, String)>);

/// A repository's references, as far as they can be read; the errors of those that cannot.
pub(super) fn references(store: &Store, repo: RepoId) -> Result<References> {
    let (mut refs, mut bad) = (Vec::new(), Vec::new());
    for row in store.db().scan(Family::Ref, &keys::repo_prefixed(repo, &[])) {
        let (key, value) = match row {
            Ok(row) => row,
            Err(error) => {
                bad.push((None, super::fault::reason_of(error)?));
                break;
            }
        };
        let name = key.get(4..).and_then(|name| RefName::new(name).ok());
        match (name, RefTarget::decode(&value)) {
            (Some(name), Some(target)) => refs.push((name, target)),
            (name, _) => {
                let error = damaged(Family::Ref, &key, "not a reference's target");
                bad.push((name, error.to_string()));
            }
        }
    }
    Ok((refs, bad))
}

/// Where objects stand in a repository; those that are not found are left out.
///
/// # Errors
/// [`StoreError::Interrupted`], and when the references cannot be asked for.
pub(super) fn places(
    store: &Store,
    repo: RepoId,
    wanted: HashSet<ObjectId>,
    progress: &dyn Progress,
) -> Result<HashMap<ObjectId, Stands>> {
    let (refs, _) = references(store, repo)?;
    let mut tips: Vec<(&RefName, ObjectId)> = Vec::new();
    for (name, target) in &refs {
        if let RefTarget::Direct(id) = target {
            tips.push((name, *id));
        }
    }
    // Branches first, the one that HEAD stands on before all.
    let head = refs.iter().find_map(|(name, target)| match target {
        RefTarget::Symbolic(to) if *name == RefName::head() => Some(to),
        _ => None,
    });
    let rank = |name: &RefName| match name.as_bytes() {
        _ if Some(name) == head => 0,
        name if name.starts_with(b"refs/heads/") => 1,
        name if name.starts_with(b"refs/tags/") => 2,
        _ => 3,
    };
    tips.sort_by_key(|(name, _)| rank(name));
    let (found, commits) = (HashMap::new(), Vec::new());
    let trees = HashSet::new();
    let mut search = Search { store, progress, left: wanted, found, trees, commits, looked: 0 };
    for (name, id) in &tips {
        search.tip(&name.to_string(), *id)?;
    }
    search.history()?;
    Ok(search.found)
}

struct Search<'a> {
    store: &'a Store,
    progress: &'a dyn Progress,
    left: HashSet<ObjectId>,
    found: HashMap<ObjectId, Stands>,
    trees: HashSet<ObjectId>,
    /// Commits of references, with the reference.
    commits: Vec<(ObjectId, String)>,
    looked: usize,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// What can be read of an object.
    fn read(&mut self, id: &ObjectId) -> Result<Option<(ObjectKind, bytes::Bytes)>> {
        self.looked += 1;
        if self.looked.is_multiple_of(LOOK_COUNT) {
            self.progress.advance(LOOK_COUNT as u64);
            if self.progress.interrupted() {
                return Err(StoreError::Interrupted);
            }
        }
        match self.store.objects().read(id) {
            Ok(object) => Ok(object.map(|object| (object.kind, object.data))),
            Err(error) => super::fault::reason_of(error).map(|_| None),
        }
    }

    fn note(&mut self, id: &ObjectId, at: &str, path: Option<&[u8]>) {
        if self.left.remove(id) {
            let stands = Stands { at: at.to_owned(), path: path.map(<[u8]>::to_vec) };
            self.found.insert(*id, stands);
        }
    }

    /// Looks at what a reference names, tags followed, and its newest state.
    fn tip(&mut self, at: &str, mut id: ObjectId) -> Result<()> {
        for _ in 0..=TAG_DEPTH_MAX {
            if self.is_over() {
                return Ok(());
            }
            self.note(&id, at, None);
            match self.read(&id)? {
                Some((ObjectKind::Tag, data)) => match tag_target(&data) {
                    Ok((target, _)) => id = target,
                    Err(_) => return Ok(()),
                },
                Some((ObjectKind::Commit, data)) => {
                    self.commits.push((id, at.to_owned()));
                    let Ok(info) = commit_info(&data) else { return Ok(()) };
                    return self.tree(at, info.tree);
                }
                Some((ObjectKind::Tree, _)) => return self.tree(at, id),
                Some((ObjectKind::Blob, _)) | None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Looks at the commits before those of the references.
    fn history(&mut self) -> Result<()> {
        let mut seen: HashSet<ObjectId> = self.commits.iter().map(|(id, _)| *id).collect();
        let mut next: std::collections::VecDeque<_> = std::mem::take(&mut self.commits).into();
        while let Some((id, at)) = next.pop_front().filter(|_| !self.is_over()) {
            self.note(&id, &at, None);
            let Some((ObjectKind::Commit, data)) = self.read(&id)? else { continue };
            let Ok(info) = commit_info(&data) else { continue };
            self.tree(&id.to_string(), info.tree)?;
            for parent in info.parents {
                if seen.insert(parent) {
                    next.push_back((parent, at.clone()));
                }
            }
        }
        Ok(())
    }

    /// Looks at a tree and all below it that was not looked at.
    fn tree(&mut self, at: &str, root: ObjectId) -> Result<()> {
        let mut next = vec![(root, Vec::new())];
        while let Some((id, path)) = next.pop().filter(|_| !self.is_over()) {
            self.note(&id, at, Some(&path));
            if !self.trees.insert(id) {
                continue;
            }
            let Some((ObjectKind::Tree, data)) = self.read(&id)? else { continue };
            for entry in tree_entries(&data).map_while(std::result::Result::ok) {
                let gap = if path.is_empty() { &b""[..] } else { b"/" };
                let below = || [&path[..], gap, entry.name].concat();
                match entry.kind() {
                    EntryKind::Submodule => {}
                    EntryKind::Directory => next.push((entry.id, below())),
                    _ if self.left.contains(&entry.id) => self.note(&entry.id, at, Some(&below())),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
