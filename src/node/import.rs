//! A git repository into the store: objects first, then references, then LFS content.
//!
//! Run again it takes only what is new: packs that came whole are known by their id, loose objects
//! and LFS files by their presence. It may be cut off at any point: what is visible is the old or
//! the new state, and the next run finishes. Nothing in the source is changed.

use std::path::{Path, PathBuf};

use mega_storage::{NameError, Progress, RefName, RefTarget, Repo, RepoName, Visibility};

use super::export::write_repository;
use super::import_git::{GitReport, nothing_to_take, take_git};
use super::import_lfs::{LfsPlaces, LfsReport, take_lfs, wanted_files};
use super::import_peer::import_peer;
use super::remote::parse_peer_repo;
use super::{Node, NodeError};
use crate::git::{self, Git, Head, RemoteRefs, Source};

/// What to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// A directory, or a URL that git can fetch.
    pub source: String,
    /// The same as a path, in case it is one; it need not be UTF-8.
    pub source_path: PathBuf,
    /// The repository's name here; made from the source when absent.
    pub name: Option<RepoName>,
    /// References that are gone from the source go here too.
    pub prune: bool,
    /// Git, in the environment of whoever asked.
    pub git: Git,
}

/// What an import did.
#[derive(Debug)]
pub struct ImportReport {
    /// The repository.
    pub repo: Repo,
    /// It was not there before.
    pub is_new: bool,
    /// Objects and references.
    pub git: GitReport,
    /// LFS content.
    pub lfs: LfsReport,
}

/// Takes a repository in. References stand when this returns well, even where LFS content is
/// missing.
///
/// # Errors
/// When the source cannot be read or the store not be written. A repository that was made for this
/// import and got nothing is removed again.
pub fn import(
    node: &Node,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<ImportReport, NodeError> {
    if options.source.starts_with("p2p://") {
        return import_peer(node, options, &parse_peer_repo(&options.source)?, progress);
    }
    match git::url_of(&options.source).filter(|_| !options.source_path.is_dir()) {
        Some(url) => import_url(node, options, url, progress),
        None if options.source_path.is_file() => {
            // A bundle: git fetches from it as from a server.
            import_url(node, options, &options.source, progress)
        }
        None => import_directory(node, options, progress),
    }
}

fn import_directory(
    node: &Node,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<ImportReport, NodeError> {
    let source = Source::open(&options.git, &options.source_path)?;
    let target = Target::of_directory(node, options, &source)?;
    let places = || LfsPlaces::of_source(&options.git, &source);
    let filling = Filling { source: &source, places: &places, skip: None };
    target.fill(node, options, &filling, progress)
}

/// What [`import`] of a directory reports when all of it is here already; `None` when something is
/// not, and for URLs. Writes nothing, so a store that is open for reading will do.
///
/// # Errors
/// When the source or the store cannot be read.
pub fn import_of_nothing(
    node: &Node,
    options: &ImportOptions,
) -> Result<Option<ImportReport>, NodeError> {
    if !options.source_path.is_dir() {
        return Ok(None);
    }
    let source = Source::open(&options.git, &options.source_path)?;
    let target = Target::of_directory(node, options, &source)?;
    let Some(repo) = target.existing.filter(|repo| repo.origin.as_ref() == Some(&target.origin))
    else {
        return Ok(None);
    };
    let Some(git) = nothing_to_take(node, &repo, &source, options.prune)? else {
        return Ok(None);
    };
    let (lfs, missing) = wanted_files(node, &repo)?;
    Ok(missing.is_empty().then_some(ImportReport { repo, is_new: false, git, lfs }))
}

fn import_url(
    node: &Node,
    options: &ImportOptions,
    url: &str,
    progress: &dyn Progress,
) -> Result<ImportReport, NodeError> {
    let origin = git::redact(url);
    let target = Target::find(node, options, &origin, name_in_url(url))?;
    let remote = git::list_remote(&options.git, url)?;
    let scratch = tempfile::Builder::new()
        .prefix("import-")
        .tempdir_in(node.store().tmp())
        .map_err(|e| NodeError::io("making a directory in the store", e))?;
    let dir = scratch.path().join("scratch.git");
    let is_current = match &target.existing {
        Some(repo) => is_mirrored(node, repo, &remote, options.prune)?,
        None => false,
    };
    // What is here already goes into the scratch, so that git asks for the rest only.
    let known = target.existing.as_ref().filter(|_| !is_current);
    let skip = write_repository(node, known, &dir, progress)?;
    if !is_current {
        let head = matches!(remote.head, Some(Head::Detached(_)));
        git::fetch_mirror(&options.git, &dir, url, head, progress)?;
    }
    set_scratch_head(&dir, remote.head.as_ref())?;
    let source = Source::open(&options.git, &dir)?;
    let name = target.name.clone();
    let places = || LfsPlaces::of_url(&options.git, node, &name, &source, url);
    if is_current {
        return target.retry_lfs(node, &places, progress);
    }
    target.fill(node, options, &Filling { source: &source, places: &places, skip }, progress)
}

/// Where an import goes.
pub(super) struct Target {
    name: RepoName,
    existing: Option<Repo>,
    origin: String,
}

/// What an import takes from.
struct Filling<'a> {
    source: &'a Source,
    places: &'a dyn Fn() -> Result<LfsPlaces, NodeError>,
    /// A pack that was written from the store itself.
    skip: Option<PathBuf>,
}

impl Target {
    fn of_directory(
        node: &Node,
        options: &ImportOptions,
        source: &Source,
    ) -> Result<Self, NodeError> {
        let origin = source.worktree().unwrap_or(source.git_dir()).to_string_lossy().into_owned();
        Self::find(node, options, &origin, source.name().as_deref())
    }

    /// The repository here that `origin` is taken into.
    pub(super) fn find(
        node: &Node,
        options: &ImportOptions,
        origin: &str,
        guess: Option<&str>,
    ) -> Result<Self, NodeError> {
        let is_guessed = options.name.is_none();
        let name = match &options.name {
            Some(name) => name.clone(),
            None => RepoName::new(guess.unwrap_or_default()).map_err(|reason: NameError| {
                NodeError::NoDefaultName { origin: origin.to_owned(), reason }
            })?,
        };
        let existing = node.store().repos().find(&name)?;
        existing.as_ref().map_or(Ok(()), Repo::check_whole)?;
        if let Some(other) = existing.as_ref().and_then(|repo| repo.origin.as_deref())
            && is_guessed
            && other != origin
        {
            let (existing, origin) = (other.to_owned(), origin.to_owned());
            return Err(NodeError::OtherOrigin { name, origin, existing });
        }
        Ok(Self { name, existing, origin: origin.to_owned() })
    }

    /// The repository, made when it is not there; whether it was made.
    pub(super) fn open(self, node: &Node) -> Result<(Repo, bool), NodeError> {
        match self.existing {
            Some(repo) => Ok((repo, false)),
            None => Ok((node.store().repos().create(&self.name, Visibility::Private)?, true)),
        }
    }

    fn fill(
        self,
        node: &Node,
        options: &ImportOptions,
        filling: &Filling<'_>,
        progress: &dyn Progress,
    ) -> Result<ImportReport, NodeError> {
        let repos = node.store().repos();
        let is_new = self.existing.is_none();
        let repo = match &self.existing {
            Some(repo) => repo.clone(),
            None => repos.create(&self.name, Visibility::Private)?,
        };
        // It counts on packs that came before, and its references come last.
        let _lease = node.store().lease(repo.id);
        let skip = filling.skip.as_deref();
        let taken = take_git(node, &repo, filling.source, skip, options.prune, progress);
        let git = match taken {
            Ok(git) => git,
            Err(error) => {
                if is_new {
                    remove_if_empty(node, &repo);
                }
                return Err(error);
            }
        };
        if repo.origin.as_deref() != Some(&self.origin) {
            repos.set_origin(repo.id, &self.origin)?;
        }
        let lfs = take_lfs(node, &repo, filling.places, progress)?;
        Ok(ImportReport { repo: repos.get(&self.name)?, is_new, git, lfs })
    }

    /// The references are as at the source already: only LFS content that is still missing is
    /// looked for.
    fn retry_lfs(
        self,
        node: &Node,
        places: &dyn Fn() -> Result<LfsPlaces, NodeError>,
        progress: &dyn Progress,
    ) -> Result<ImportReport, NodeError> {
        let repo = node.store().repos().get(&self.name)?;
        let _lease = node.store().lease(repo.id);
        let lfs = take_lfs(node, &repo, places, progress)?;
        Ok(ImportReport { repo, is_new: false, git: GitReport::default(), lfs })
    }
}

/// Takes back a repository that a failed import made, unless something of it is there to go on
/// from.
pub(super) fn remove_if_empty(node: &Node, repo: &Repo) {
    let is_empty = node.store().objects().members(repo.id).next().is_none();
    if is_empty && let Err(error) = node.store().repos().delete(&repo.name) {
        tracing::warn!(%error, repo = %repo.name, "an empty repository is left");
    }
}

/// The last part of a URL's path, without `.git`.
fn name_in_url(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next()?.trim_end_matches('/');
    let path = path.strip_suffix("/.git").unwrap_or(path);
    let name = path.rsplit(['/', ':', '\\']).next()?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    Some(name.strip_suffix(".bundle").unwrap_or(name))
}

/// Whether the repository has every reference that the server has, at the same object, and with
/// `prune` no other.
fn is_mirrored(
    node: &Node,
    repo: &Repo,
    remote: &RemoteRefs,
    prune: bool,
) -> Result<bool, NodeError> {
    let refs = node.store().refs();
    let here = refs.list(repo.id, b"refs/")?;
    if here.len() < remote.refs.len() || (prune && here.len() != remote.refs.len()) {
        return Ok(false);
    }
    let mut equal = 0;
    for (name, target) in &here {
        let id = match target {
            RefTarget::Direct(id) => Some(*id),
            RefTarget::Symbolic(_) => refs.resolve(repo.id, name)?,
        };
        equal += usize::from(remote.refs.get(name.as_bytes()).copied() == id && id.is_some());
    }
    let head = refs.get(repo.id, &RefName::head())?;
    let is_head_equal = match (&remote.head, head) {
        (None, _) => true,
        (Some(Head::Branch(branch)), Some(RefTarget::Symbolic(name))) => name.as_bytes() == branch,
        (Some(Head::Detached(id)), Some(RefTarget::Direct(here))) => *id == here,
        (Some(_), _) => false,
    };
    Ok(equal == remote.refs.len() && is_head_equal)
}

/// Puts HEAD of the scratch repository where the server's stands.
fn set_scratch_head(dir: &Path, head: Option<&Head>) -> Result<(), NodeError> {
    let text = match head {
        Some(Head::Branch(branch)) => [b"ref: ", branch.as_slice(), b"\n"].concat(),
        Some(Head::Detached(id)) => format!("{id}\n").into_bytes(),
        None => return Ok(()),
    };
    std::fs::write(dir.join("HEAD"), text).map_err(|e| NodeError::io("writing HEAD", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_from_urls() {
        for (url, name) in [
            ("https://h/team/model.git", "model"),
            ("https://h/team/model/", "model"),
            ("git@h:model.git", "model"),
            ("ssh://h/~u/model", "model"),
            ("file:///srv/model/.git", "model"),
            ("/tmp/model.bundle", "model"),
        ] {
            assert_eq!(name_in_url(url), Some(name), "{url}");
        }
    }
}
