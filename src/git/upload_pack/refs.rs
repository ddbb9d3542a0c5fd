//! The references that a client may see, at one moment: names, objects, peeled tags.
//!
//! A symbolic reference stands for what it leads to; one that leads nowhere is left out, but `HEAD`
//! is remembered as unborn. Objects are not looked at until [`VisibleRefs::peeled`] is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use mega_storage::object::tag_target;
use mega_storage::{
    ObjectId, ObjectKind, RefName, RefTarget, RepoId, SYMREF_HOPS_MAX, Store, StoreError,
    TAG_DEPTH_MAX,
};
use parking_lot::Mutex;

use crate::git::Service;

/// A reference with an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct VisibleRef {
    pub(super) name: RefName,
    pub(super) id: ObjectId,
    /// What a symbolic reference leads to in the end.
    pub(super) leads_to: Option<RefName>,
}

/// All visible references: `HEAD` first, the others by the bytes of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct VisibleRefs {
    pub(super) list: Vec<VisibleRef>,
    /// The branch on which `HEAD` stands, when that does not exist yet.
    pub(super) unborn_head: Option<RefName>,
    peeled: OnceLock<Peeled>,
}

/// A list that was read.
struct Recent {
    version: u64,
    repo: RepoId,
    hidden: Vec<String>,
    refs: Arc<VisibleRefs>,
}

/// Lists of references as they are now: one clone asks for its list three times, and many clients
/// ask often.
static RECENT: Mutex<Vec<Recent>> = Mutex::new(Vec::new());
/// Lists kept,
const RECENT_COUNT: usize = 16;
/// and references in them all.
const RECENT_REFS_MAX: usize = 1 << 16;

impl VisibleRefs {
    /// Reads them, or finds them as they were read since the last change.
    pub(super) fn read(service: &Service<'_>) -> Result<Arc<Self>, StoreError> {
        let (version, repo) = (service.store.refs().version(), service.repo.id);
        let hidden = service.settings.hidden_from_fetch();
        let is_it = |r: &&Recent| r.version == version && r.repo == repo && r.hidden == hidden;
        if let Some(recent) = RECENT.lock().iter().find(is_it) {
            return Ok(recent.refs.clone());
        }
        let all = service.store.refs().list(repo, b"")?;
        let refs = Arc::new(Self::choose(&all, &|name| service.settings.hides_from_fetch(name)));
        let mut lists = RECENT.lock();
        lists.retain(|recent| recent.version == version);
        lists.push(Recent { version, repo, hidden: hidden.to_vec(), refs: refs.clone() });
        let mut count: usize = lists.iter().map(|recent| recent.refs.list.len()).sum();
        while lists.len() > RECENT_COUNT || count > RECENT_REFS_MAX {
            count -= lists.remove(0).refs.list.len();
        }
        Ok(refs)
    }

    /// What all of them lead to when they are annotated tags.
    ///
    /// # Errors
    /// As [`Peeled::read`].
    pub(super) fn peeled(&self, store: &Store) -> Result<&Peeled, StoreError> {
        if let Some(peeled) = self.peeled.get() {
            return Ok(peeled);
        }
        let ids: Vec<ObjectId> = self.list.iter().map(|r| r.id).collect();
        let peeled = Peeled::read(store, &ids)?;
        Ok(self.peeled.get_or_init(|| peeled))
    }

    /// Those of `all`, which is sorted by name, that are not hidden.
    fn choose(all: &[(RefName, RefTarget)], is_hidden: &dyn Fn(&RefName) -> bool) -> Self {
        let mut visible = Self::default();
        for (name, target) in all {
            if is_hidden(name) {
                continue;
            }
            let (id, leads_to) = match target {
                RefTarget::Direct(id) => (Some(*id), None),
                RefTarget::Symbolic(next) => {
                    let (end, id) = follow(all, next);
                    (id, Some(end.clone()))
                }
            };
            match id {
                Some(id) => visible.list.push(VisibleRef { name: name.clone(), id, leads_to }),
                None if name.as_bytes() == b"HEAD" => visible.unborn_head = leads_to,
                None => {}
            }
        }
        visible
    }

    /// The reference of this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&VisibleRef> {
        let index = self.list.binary_search_by(|r| r.name.as_bytes().cmp(name)).ok()?;
        self.list.get(index)
    }

    /// The objects at the tips, sorted, each once.
    pub(super) fn tips(&self) -> Vec<ObjectId> {
        sorted(self.list.iter().map(|r| r.id).collect())
    }

    /// The tips that a plain clone asks for: branches, tags and `HEAD`, sorted, each once.
    pub(super) fn clone_tips(&self) -> Vec<ObjectId> {
        let asked = |r: &&VisibleRef| {
            let name = r.name.as_bytes();
            name == b"HEAD" || name.starts_with(b"refs/heads/") || name.starts_with(b"refs/tags/")
        };
        sorted(self.list.iter().filter(asked).map(|r| r.id).collect())
    }
}

/// Sorts ids and leaves each once.
pub(super) fn sorted(mut ids: Vec<ObjectId>) -> Vec<ObjectId> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The last name of a chain of symbolic references, and its object.
fn follow<'a>(
    all: &'a [(RefName, RefTarget)],
    mut name: &'a RefName,
) -> (&'a RefName, Option<ObjectId>) {
    for _ in 0..SYMREF_HOPS_MAX {
        match all.binary_search_by(|(other, _)| other.cmp(name)).ok().map(|i| &all[i].1) {
            Some(RefTarget::Direct(id)) => return (name, Some(*id)),
            Some(RefTarget::Symbolic(next)) => name = next,
            None => return (name, None),
        }
    }
    (name, None)
}

/// What objects lead to when they are annotated tags, found once for each: an object never changes,
/// so this holds for all stores. Emptied when it is full.
static KNOWN: Mutex<BTreeMap<ObjectId, Arc<[ObjectId]>>> = Mutex::new(BTreeMap::new());
const KNOWN_MAX: usize = 1 << 16;

/// What annotated tags lead to.
#[derive(Clone, Debug, Default)]
pub(super) struct Peeled {
    /// For each tag the objects that it leads to, itself left out. What is no tag is not here: most
    /// are none, and a small map is looked through faster.
    chains: HashMap<ObjectId, Arc<[ObjectId]>>,
}

impl Peeled {
    /// Looks at these objects: one lookup for all that are no tags.
    ///
    /// # Errors
    /// When an object is missing or a tag cannot be read.
    pub(super) fn read(store: &Store, ids: &[ObjectId]) -> Result<Self, StoreError> {
        let mut peeled = Self::default();
        let mut open = Vec::new();
        {
            let known = KNOWN.lock();
            for id in ids {
                match known.get(id) {
                    Some(chain) if chain.is_empty() => {}
                    Some(chain) => drop(peeled.chains.insert(*id, chain.clone())),
                    None => open.push(*id),
                }
            }
        }
        for (id, stat) in open.iter().zip(store.objects().stat(&open)?) {
            let stat = stat.ok_or(StoreError::MissingObject { id: *id })?;
            if stat.header.kind == ObjectKind::Tag && !peeled.chains.contains_key(id) {
                peeled.chains.insert(*id, chain(store, id)?.into());
            }
        }
        let mut known = KNOWN.lock();
        for id in open {
            if known.len() == KNOWN_MAX {
                known.clear();
            }
            known.insert(id, peeled.chains.get(&id).cloned().unwrap_or_default());
        }
        Ok(peeled)
    }

    /// What the tag leads to in the end; `None` for what is no tag.
    pub(super) fn target(&self, id: &ObjectId) -> Option<&ObjectId> {
        self.chain(id).last()
    }

    /// Every object on the way from a tag to what is no tag, that included; empty for what is no
    /// tag.
    pub(super) fn chain(&self, id: &ObjectId) -> &[ObjectId] {
        self.chains.get(id).map_or(&[], |chain| chain)
    }
}

fn chain(store: &Store, tag: &ObjectId) -> Result<Vec<ObjectId>, StoreError> {
    let mut chain = Vec::new();
    let mut id = *tag;
    for _ in 0..TAG_DEPTH_MAX {
        let object = store.objects().read(&id)?.ok_or(StoreError::MissingObject { id })?;
        let malformed = |e: &str| StoreError::MalformedObject { id, reason: e.to_owned() };
        let (target, kind) = tag_target(&object.data).map_err(malformed)?;
        chain.push(target);
        if kind != ObjectKind::Tag {
            return Ok(chain);
        }
        id = target;
    }
    let (limit, actual) = (TAG_DEPTH_MAX as u64, TAG_DEPTH_MAX as u64 + 1);
    Err(StoreError::Limit { what: "tags that name each other", limit, actual })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RefName {
        RefName::new(text.as_bytes()).expect("a name")
    }

    #[test]
    fn symbolic_references_stand_for_what_they_lead_to() {
        let id = ObjectId::from_bytes([7; 20]);
        let symbolic = |to: &str| RefTarget::Symbolic(name(to));
        let all = [
            (name("HEAD"), symbolic("refs/heads/alias")),
            (name("refs/heads/alias"), symbolic("refs/heads/main")),
            (name("refs/heads/loop"), symbolic("refs/heads/loop")),
            (name("refs/heads/main"), RefTarget::Direct(id)),
            (name("refs/heads/none"), symbolic("refs/heads/absent")),
            (name("refs/pull/1"), RefTarget::Direct(id)),
        ];
        let visible = VisibleRefs::choose(&all, &|name| name.as_bytes().starts_with(b"refs/pull/"));
        let names: Vec<_> = visible.list.iter().map(|r| r.name.to_string()).collect();
        assert_eq!(names, ["HEAD", "refs/heads/alias", "refs/heads/main"]);
        assert_eq!(visible.list[0].leads_to, Some(name("refs/heads/main")));
        assert_eq!(visible.tips(), [id]);
        assert!(visible.unborn_head.is_none() && visible.find(b"refs/pull/1").is_none());
        let all = [(name("HEAD"), symbolic("refs/heads/main"))];
        let visible = VisibleRefs::choose(&all, &|_| false);
        assert!(visible.list.is_empty());
        assert_eq!(visible.unborn_head, Some(name("refs/heads/main")));
    }

    #[test]
    fn a_list_is_read_once_for_each_change_and_each_view() {
        use mega_storage::{
            Expect, NoProgress, RefEdit, RefTransaction, RepoName, RepoSettings, StoreOptions,
            Visibility,
        };

        use crate::git::Protocol;
        let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let stores = dirs.each_ref().map(|dir| {
            Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made")
        });
        let repo_name = RepoName::new("a").expect("a name");
        let repos = stores
            .each_ref()
            .map(|store| store.repos().create(&repo_name, Visibility::Private).expect("made"));
        let read = |index: usize, settings: &RepoSettings| {
            let (store, repo) = (&stores[index], &repos[index]);
            let service = Service::new(store, repo, settings, Protocol::V2, "x", &NoProgress);
            VisibleRefs::read(&service.expect("whole")).expect("readable")
        };
        let point = |index: usize, branch: &str| {
            let new = Some(RefTarget::Symbolic(name(branch)));
            let edits = vec![RefEdit { name: RefName::head(), expect: Expect::Any, new }];
            let transaction = RefTransaction { edits };
            stores[index].refs().apply(repos[index].id, &transaction).expect("applied");
        };
        let all = RepoSettings::default();
        point(0, "refs/heads/a");
        point(1, "refs/heads/b");
        let first = read(0, &all);
        assert!(Arc::ptr_eq(&first, &read(0, &all)), "nothing has changed");
        assert_eq!(first.unborn_head, Some(name("refs/heads/a")));
        point(0, "refs/heads/c");
        assert_eq!(read(0, &all).unborn_head, Some(name("refs/heads/c")));
        let hiding = [("uploadpack.hideRefs".to_owned(), "HEAD".to_owned())];
        let hiding = RepoSettings::new(hiding).expect("a pattern");
        assert_eq!(read(0, &hiding).unborn_head, None);
        assert_eq!(read(0, &all).unborn_head, Some(name("refs/heads/c")));
        // A repository of the same number in another store.
        assert_eq!(repos[0].id, repos[1].id);
        assert_eq!(read(1, &all).unborn_head, Some(name("refs/heads/b")));
        stores[0].repos().delete(&repo_name).expect("deleted");
        assert_eq!(read(0, &all).unborn_head, None);
    }
}
