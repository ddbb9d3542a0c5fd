//! The pack of a fetch: which objects, and how they go out.

use std::sync::Arc;

use mega_storage::{Filter, ObjectId, Reach, SendOptions, Shallow, StoreError, WalkRequest};

use super::fetch::walk_ends;
use super::refs::{Peeled, VisibleRefs};
use super::report::{Out, Reporter};
use super::request::FetchRequest;
use super::shallow::History;
use super::{Stop, UploadReport};
use crate::git::{GitError, Service};

/// What goes out.
pub(super) struct Outgoing<'a> {
    pub(super) service: &'a Service<'a>,
    pub(super) request: &'a FetchRequest,
    pub(super) refs: &'a VisibleRefs,
    /// What the client has.
    pub(super) common: &'a [ObjectId],
    pub(super) history: &'a History,
}

/// The objects of a pack.
struct Chosen {
    reach: Arc<Reach>,
    /// With tags that go along, when there are any.
    with_tags: Option<Vec<ObjectId>>,
    /// What clones ask for, again and again.
    is_clone: bool,
}

impl Chosen {
    fn ids(&self) -> &[ObjectId] {
        self.with_tags.as_deref().unwrap_or(&self.reach.ids)
    }
}

/// Walks and sends. An error after this is told on sideband 3, and the stream has no end.
pub(super) fn send(
    outgoing: &Outgoing<'_>,
    out: &mut Out<'_>,
    report: &mut UploadReport,
) -> Result<(), Stop> {
    let request = outgoing.request;
    let reporter = Reporter::new(out, request.band, request.no_progress, outgoing.service.stop);
    let sent = outgoing.send_with(&reporter, report);
    let sent = sent.and_then(|()| reporter.finish());
    let error = match (sent, reporter.gone()) {
        (Ok(()), None) => return Ok(()),
        (_, Some(gone)) => return Err(Stop::Git(GitError::ClientGone(gone))),
        (Err(error), None) => error,
    };
    let words = match &error {
        StoreError::Interrupted => "upload-pack: the server is stopping",
        _ => "upload-pack: aborting due to possible repository corruption on the remote side.",
    };
    reporter.fatal(words);
    Err(Stop::Git(error.into()))
}

impl Outgoing<'_> {
    fn send_with(
        &self,
        reporter: &Reporter<'_>,
        report: &mut UploadReport,
    ) -> Result<(), StoreError> {
        let Service { store, repo, .. } = self.service;
        // Wants that lose their reference meanwhile are sent all the same.
        let _held = store.hold(repo.id, &walk_ends(self).0)?;
        let chosen = self.choose(reporter)?;
        let ids = chosen.ids();
        reporter.enumerated(ids.len() as u64);
        let edge = &chosen.reach.edge;
        let is_base = |id: &ObjectId| edge.binary_search(id).is_ok();
        let thin_bases: Option<&dyn Fn(&ObjectId) -> bool> =
            if self.request.thin_pack && !edge.is_empty() { Some(&is_base) } else { None };
        let options =
            SendOptions { ofs_delta: self.request.ofs_delta, thin_bases, keep: chosen.is_clone };
        let sent =
            store.objects().send_pack(repo.id, ids, &options, &mut reporter.data(), reporter)?;
        reporter.sent(&sent);
        report.object_count = Some(sent.object_count);
        report.pack_len = sent.pack_len;
        Ok(())
    }

    fn choose(&self, reporter: &Reporter<'_>) -> Result<Chosen, StoreError> {
        let Service { store, repo, .. } = self.service;
        let (wants, haves) = walk_ends(self);
        let filter = self.request.filter.clone().unwrap_or(Filter::None);
        let history = self.history;
        let is_whole = haves.is_empty()
            && filter == Filter::None
            && history.client.is_empty()
            && history.shallow().is_empty();
        let is_clone = is_whole && self.is_clone(&wants);
        let reach = if is_clone {
            store.closure(repo.id, &wants, reporter)?
        } else {
            let shallow = Shallow { boundary: history.shallow(), client: &history.client };
            let request =
                WalkRequest { repo: repo.id, wants: &wants, haves: &haves, filter, shallow };
            Arc::new(store.reach(&request, reporter)?)
        };
        let with_tags = if self.request.include_tag { self.add_tags(&reach.ids)? } else { None };
        Ok(Chosen { reach, with_tags, is_clone })
    }

    /// Whether the wants are what clones ask for, whose closure is worth keeping: the default
    /// branch, or all branches and tags and perhaps other references.
    fn is_clone(&self, wants: &[ObjectId]) -> bool {
        let head = self.refs.find(b"HEAD").map(|head| head.id);
        if wants == head.as_slice() {
            return true;
        }
        let is_among = |tips: &[ObjectId], id: &ObjectId| tips.binary_search(id).is_ok();
        let tips = self.refs.tips();
        wants.iter().all(|id| is_among(&tips, id))
            && self.refs.clone_tips().iter().all(|id| is_among(wants, id))
    }

    /// Adds annotated tags whose object is sent, with the tags between; `None` when there are none.
    fn add_tags(&self, ids: &[ObjectId]) -> Result<Option<Vec<ObjectId>>, StoreError> {
        let tags: Vec<ObjectId> = self
            .refs
            .list
            .iter()
            .filter(|r| r.name.as_bytes().starts_with(b"refs/tags/"))
            .map(|r| r.id)
            .filter(|id| ids.binary_search(id).is_err())
            .collect();
        let peeled = Peeled::read(self.service.store, &tags)?;
        let is_sent = |id: &ObjectId| ids.binary_search(id).is_ok();
        let mut more = Vec::new();
        for tag in &tags {
            if peeled.target(tag).is_some_and(is_sent) {
                more.push(*tag);
                more.extend(peeled.chain(tag).iter().filter(|id| !is_sent(id)));
            }
        }
        if more.is_empty() {
            return Ok(None);
        }
        more.extend_from_slice(ids);
        Ok(Some(super::refs::sorted(more)))
    }
}
