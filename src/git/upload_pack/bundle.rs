//! Bundles: the default branch's whole history as one file that proxies may keep; and version 2's
//! `bundle-uri`, which tells where it is.
//!
//! The address is relative to the repository's own. So a password in that is in this one too, and
//! no proxy's name or path need be known here. Git (2.40 and newer, asked to by
//! `transfer.bundleURI`) fetches it in a process of its own that finds credentials as for any other
//! request: in the address, in `http.extraHeader`, from a helper or by asking. Where it finds none
//! it warns and clones without.
//!
//! Invariant: a bundle has a commit that the default branch reaches now, with all of its history,
//! and nothing else: an older one is still good, one that was force-pushed away is not there.

#![deny(clippy::indexing_slicing)]

use std::io::Write;
use std::sync::Arc;

use mega_storage::{
    Filter, ObjectId, ObjectKind, Reach, RefName, RefTarget, SYMREF_HOPS_MAX, SendOptions,
    SendReport, Shallow, StoreError, WalkRequest,
};

use super::Stop;
use super::command::Arguments;
use crate::git::wire::{PktWriter, shown};
use crate::git::{GitError, Service};

/// Where a bundle is below its repository's address; the commit's id follows.
pub const BUNDLE_PATH: &str = "info/bundle/";

/// A bundle that can be written.
pub struct Bundle {
    tip: ObjectId,
    branch: RefName,
    /// It is what the branch stands at, not an older commit.
    is_newest: bool,
}

/// Whether clients are told of bundles: there is a default branch that they may see.
pub(super) fn is_offered(service: &Service<'_>) -> Result<bool, StoreError> {
    Ok(service.settings.advertises_bundles() && default_branch(service)?.is_some())
}

/// Answers the command: git's configuration `bundle.*`, a line each.
pub(super) fn answer(
    service: &Service<'_>,
    arguments: &mut Arguments<'_, '_>,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    if let Some(argument) = arguments.next()? {
        let argument = shown(argument);
        return Err(Stop::refused(format!("bundle-uri: unexpected argument: '{argument}'")));
    }
    let newest = match service.settings.advertises_bundles() {
        true => newest(service)?,
        false => None,
    };
    let mut lines = PktWriter::new(out);
    if let Some(Bundle { tip, .. }) = newest {
        for line in [
            "bundle.version=1",
            "bundle.mode=all",
            &format!("bundle.default.uri={BUNDLE_PATH}{tip}"),
        ] {
            lines.data(line.as_bytes()).map_err(Stop::gone)?;
        }
    }
    lines.flush().map_err(Stop::gone)
}

/// Finds the bundle that ends at a commit; `None` when the default branch does not reach it, which
/// looks the same as a commit that is not there.
///
/// # Errors
/// When the store cannot be read.
pub fn find_bundle(service: &Service<'_>, tip: &ObjectId) -> Result<Option<Bundle>, StoreError> {
    let Some(newest) = newest(service)? else { return Ok(None) };
    if newest.tip == *tip {
        return Ok(Some(newest));
    }
    let Service { store, repo, .. } = service;
    let is_commit = store.objects().is_member(repo.id, tip)? && is_commit(service, tip)?;
    if !is_commit || !store.is_ancestor(repo.id, tip, &newest.tip)? {
        return Ok(None);
    }
    Ok(Some(Bundle { tip: *tip, is_newest: false, ..newest }))
}

impl Bundle {
    /// Writes the file (gitformat-bundle, version 2). Blocks.
    ///
    /// # Errors
    /// [`GitError::ClientGone`]; [`GitError::Store`]. What was written until then is no bundle: the
    /// caller breaks the transfer.
    pub fn write(
        &self,
        service: &Service<'_>,
        out: &mut dyn Write,
    ) -> Result<SendReport, GitError> {
        let Service { store, repo, stop, .. } = service;
        let _held = store.hold(repo.id, &[self.tip])?;
        let reach = self.reach(service)?;
        let start = format!("# v2 git bundle\n{} ", self.tip);
        let header = [start.as_bytes(), self.branch.as_bytes(), b"\n\n"].concat();
        out.write_all(&header).map_err(GitError::gone)?;
        let options = SendOptions { ofs_delta: true, thin_bases: None, keep: self.is_newest };
        Ok(store.objects().send_pack(repo.id, &reach.ids, &options, out, *stop)?)
    }

    /// What the default branch reaches is kept for clones anyway; an older commit is asked for by
    /// few, and would take the place of what is worth keeping.
    fn reach(&self, service: &Service<'_>) -> Result<Arc<Reach>, StoreError> {
        let Service { store, repo, stop, .. } = service;
        let wants = [self.tip];
        if self.is_newest {
            return store.closure(repo.id, &wants, *stop);
        }
        let (filter, shallow) = (Filter::None, Shallow::default());
        let request = WalkRequest { repo: repo.id, wants: &wants, haves: &[], filter, shallow };
        Ok(Arc::new(store.reach(&request, *stop)?))
    }
}

fn newest(service: &Service<'_>) -> Result<Option<Bundle>, StoreError> {
    let Some((branch, tip)) = default_branch(service)? else { return Ok(None) };
    let bundle = Bundle { tip, branch, is_newest: true };
    Ok(is_commit(service, &tip)?.then_some(bundle))
}

fn is_commit(service: &Service<'_>, id: &ObjectId) -> Result<bool, StoreError> {
    let header = service.store.objects().header(id)?;
    Ok(header.is_some_and(|header| header.kind == ObjectKind::Commit))
}

/// The branch on which HEAD stands, and its object; `None` when there is none that clients may see,
/// or when not all of its history is here.
fn default_branch(service: &Service<'_>) -> Result<Option<(RefName, ObjectId)>, StoreError> {
    let Service { store, repo, settings, .. } = service;
    if repo.partial {
        return Ok(None);
    }
    let mut name = RefName::head();
    for _ in 0..=SYMREF_HOPS_MAX {
        if settings.hides_from_fetch(&name) {
            return Ok(None);
        }
        match store.refs().get(repo.id, &name)? {
            Some(RefTarget::Symbolic(next)) => name = next,
            Some(RefTarget::Direct(id)) => {
                let is_branch = name.as_bytes().starts_with(b"refs/heads/");
                return Ok(is_branch.then_some((name, id)));
            }
            None => return Ok(None),
        }
    }
    Ok(None)
}
