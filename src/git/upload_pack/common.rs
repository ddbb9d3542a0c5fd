//! Negotiation: which of the client's objects are known here, and when that is enough.

use std::collections::HashSet;

use mega_storage::object::commit_info;
use mega_storage::{ObjectId, ObjectKind, StoreError};

use super::limits::READY_WALKS_MAX;
use super::request::IdList;
use crate::git::Service;

/// What client and server both have, as far as haves have told.
pub(super) struct Common<'a> {
    service: &'a Service<'a>,
    wants: &'a [ObjectId],
    /// Haves that are known here, in their order.
    pub(super) known: IdList,
    /// How many of them were no parents of earlier ones.
    pub(super) told_count: usize,
    /// The known ones and their parents.
    client_has: HashSet<ObjectId>,
    /// The last answer of [`Self::is_ready`], while no have has come since.
    ready: Option<bool>,
    walk_count: usize,
}

impl<'a> Common<'a> {
    pub(super) fn new(service: &'a Service<'a>, wants: &'a [ObjectId]) -> Self {
        let (known, client_has) = (IdList::default(), HashSet::new());
        Self { service, wants, known, told_count: 0, client_has, ready: None, walk_count: 0 }
    }

    /// Takes a have that is known here.
    ///
    /// # Errors
    /// When the object cannot be read.
    pub(super) fn add(&mut self, id: ObjectId) -> Result<(), StoreError> {
        if !self.known.push(id) {
            return Ok(());
        }
        self.ready = self.ready.filter(|is_ready| *is_ready);
        self.told_count += usize::from(self.client_has.insert(id));
        self.client_has.extend(self.parents(id)?);
        Ok(())
    }

    fn parents(&self, id: ObjectId) -> Result<Vec<ObjectId>, StoreError> {
        let object = self.service.store.objects().read(&id)?;
        let object = object.ok_or(StoreError::MissingObject { id })?;
        if object.kind != ObjectKind::Commit {
            return Ok(Vec::new());
        }
        let malformed = |e: &str| StoreError::MalformedObject { id, reason: e.to_owned() };
        Ok(commit_info(&object.data).map_err(malformed)?.parents)
    }

    /// Whether every want reaches something that the client has: then a pack can be made. It is
    /// worked out at most [`READY_WALKS_MAX`] times in a request; after that the answer is no, and
    /// the client goes on or says that it is done.
    ///
    /// # Errors
    /// As [`mega_storage::Store::can_reach_any`].
    pub(super) fn is_ready(&mut self) -> Result<bool, StoreError> {
        if let Some(is_ready) = self.ready {
            return Ok(is_ready);
        }
        if self.known.ids.is_empty() || self.walk_count == READY_WALKS_MAX {
            return Ok(false);
        }
        self.walk_count += 1;
        let haves: Vec<ObjectId> = self.client_has.iter().copied().collect();
        let Service { store, repo, .. } = self.service;
        let is_ready = store.can_reach_any(repo.id, self.wants, &haves)?;
        self.ready = Some(is_ready);
        Ok(is_ready)
    }
}
