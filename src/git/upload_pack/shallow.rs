//! Where a client's history ends, before and after a fetch.

use mega_storage::{Deepen, DeepenBy, ObjectId, ObjectKind, RefName, ShallowBoundary, StoreError};

use super::Stop;
use super::reachable::Reachable;
use super::refs::VisibleRefs;
use super::request::FetchRequest;
use crate::git::Service;
use crate::git::wire::shown;

/// Ends of history.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Commits at which the client's history ends now, those that are known here.
    pub(super) client: Vec<ObjectId>,
    /// What changes, when a change was asked for.
    pub(super) change: Option<ShallowBoundary>,
}

impl History {
    /// Works out what a request asks for.
    pub(super) fn new(
        service: &Service<'_>,
        request: &FetchRequest,
        refs: &VisibleRefs,
        reachable: &Reachable<'_>,
        wants: &[ObjectId],
    ) -> Result<Self, Stop> {
        let client = known_commits(service, reachable, &request.shallow.ids, wants)?;
        let deepen = &request.deepen;
        if deepen.depth.is_some() && deepen.by_history() {
            return Err(Stop::refused(
                "git upload-pack: deepen and deepen-since (or deepen-not) cannot be used together",
            ));
        }
        if !deepen.is_asked() {
            return Ok(Self { client, change: None });
        }
        let not = excluded(refs, &deepen.not)?;
        let by = match deepen.depth {
            Some(depth) if deepen.relative => DeepenBy::Relative(depth),
            Some(depth) => DeepenBy::Depth(depth),
            None => DeepenBy::Revisions { since: deepen.since, not: &not },
        };
        let by = Deepen { wants, client: &client, tips: reachable.tips(), by };
        let change = service.store.shallow_boundary(service.repo.id, &by, service.stop);
        match change {
            Ok(change) => Ok(Self { client, change: Some(change) }),
            Err(StoreError::NoCommits) => {
                Err(Stop::refused("no commits selected for shallow requests"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The new ends.
    pub(super) fn shallow(&self) -> &[ObjectId] {
        self.change.as_ref().map_or(&[], |change| &change.shallow)
    }

    /// The ends that are none any more.
    pub(super) fn unshallow(&self) -> &[ObjectId] {
        self.change.as_ref().map_or(&[], |change| &change.unshallow)
    }

    /// What has to be sent besides the wants.
    pub(super) fn more_wants(&self) -> &[ObjectId] {
        self.change.as_ref().map_or(&[], |change| &change.wants)
    }

    /// The lines that tell the client.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let shallow = self.shallow().iter().map(|id| format!("shallow {id}"));
        shallow.chain(self.unshallow().iter().map(|id| format!("unshallow {id}")))
    }
}

/// Those of the client's ends that are commits known here; others mean nothing, as in git.
fn known_commits(
    service: &Service<'_>,
    reachable: &Reachable<'_>,
    ids: &[ObjectId],
    wants: &[ObjectId],
) -> Result<Vec<ObjectId>, Stop> {
    let flags = reachable.are_reachable_near(ids, wants)?;
    let known: Vec<ObjectId> =
        ids.iter().zip(flags).filter(|(_, known)| *known).map(|(id, _)| *id).collect();
    for (id, stat) in known.iter().zip(service.store.objects().stat(&known)?) {
        if stat.is_some_and(|stat| stat.header.kind != ObjectKind::Commit) {
            return Err(Stop::refused(format!("invalid shallow object {id}")));
        }
    }
    Ok(known)
}

/// The objects of references that the client names, in full or as people write them.
fn excluded(refs: &VisibleRefs, names: &[Vec<u8>]) -> Result<Vec<ObjectId>, Stop> {
    let rules: [(&[u8], &[u8]); 6] = [
        (b"", b""),
        (b"refs/", b""),
        (b"refs/tags/", b""),
        (b"refs/heads/", b""),
        (b"refs/remotes/", b""),
        (b"refs/remotes/", b"/HEAD"),
    ];
    let mut ids = Vec::new();
    for name in names {
        let full = rules.iter().map(|(before, after)| [*before, name, *after].concat());
        let mut found = full
            .filter_map(|full| RefName::new(&full).ok())
            .filter_map(|full| refs.find(full.as_bytes()));
        let line = || format!("deepen-not {}", shown(name));
        let words = match (found.next(), found.next()) {
            (Some(one), None) => {
                ids.push(one.id);
                continue;
            }
            (None, _) => format!("git upload-pack: deepen-not is not a ref: {}", line()),
            (Some(_), Some(_)) => format!("git upload-pack: ambiguous deepen-not: {}", line()),
        };
        return Err(Stop::refused(words));
    }
    Ok(ids)
}
