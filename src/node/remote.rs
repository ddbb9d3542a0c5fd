//! Repositories that are filled from a server, or from peers, as they are read.
//!
//! Such a repository is marked partial and named after the address. It has the references
//! that were ever asked for, as they stood when the server was last reached: with the server away
//! what is here stays readable.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use mega_storage::object::{ObjectKind, commit_info};
use mega_storage::{
    Expect, FetchCounts, ObjectId, ObjectWant, ReadStore, ReadThrough, ReadThroughOptions, RefEdit,
    RefName, RefTarget, RefTransaction, Repo, RepoId, RepoName, SettingChange, SourceError,
    SourceResult, Sources, StoreError, peel,
};
use parking_lot::Mutex;

use super::swarm::{self, PeerSource, SwarmOptions};
use super::{Node, NodeError};
use crate::git::Git;
use crate::http::client::{HttpSource, RemoteRef, RemoteUrl};
use crate::swarm::hedge::Upstream;
use crate::swarm::record::{P2pTarget, P2pUrl};

/// What stands before and after a short name, in the order of git's rules.
pub(super) const RULES: [(&str, &str); 6] = [
    ("", ""),
    ("refs/", ""),
    ("refs/tags/", ""),
    ("refs/heads/", ""),
    ("refs/remotes/", ""),
    ("refs/remotes/", "/HEAD"),
];
/// Most commits that a revision goes back.
const DEPTH_MAX: u32 = 1 << 20;
/// Questions for history in one revision: each brings all that is still needed, as a rule.
const ROUNDS_MAX: usize = 64;

/// A repository, by what a person calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RepoPlace {
    /// One of this store.
    Here(RepoName),
    /// One on a server.
    There(RemoteUrl),
    /// One at a peer.
    Peer(P2pUrl),
}

/// Where a partial repository is filled from.
enum Origin {
    Server(RemoteUrl),
    Peer(P2pUrl),
}

impl Origin {
    /// From what the repository's record says.
    fn parse(text: &str) -> Result<Self, NodeError> {
        match text.parse::<P2pUrl>() {
            Ok(url) => Ok(Self::Peer(url)),
            Err(_) => Ok(Self::Server(RemoteUrl::parse(text)?)),
        }
    }
}

/// Something that a repository is filled from.
pub(super) enum Source {
    Server(Arc<HttpSource>),
    Peer(Box<PeerSource>),
}

impl Source {
    fn refs(&self, names: &[RefName]) -> SourceResult<Vec<RemoteRef>> {
        match self {
            Self::Server(server) => server.refs(names),
            Self::Peer(peer) => peer.refs(names),
        }
    }

    fn upstream(&self) -> Option<Arc<Upstream>> {
        match self {
            Self::Server(_) => None,
            Self::Peer(peer) => peer.upstream().cloned(),
        }
    }

    /// Its address, without password.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Server(server) => server.url().as_shown(),
            Self::Peer(peer) => peer.shown(),
        }
    }

    /// Itself, as what readers ask.
    pub(super) fn sources(&self) -> Sources {
        match self {
            Self::Server(server) => {
                Sources { objects: vec![server.clone()], chunks: vec![server.clone()] }
            }
            Self::Peer(peer) => Sources { objects: peer.objects(), chunks: vec![peer.chunks()] },
        }
    }
}

/// A repository opened for reading at a revision.
pub struct Opened {
    /// The repository here.
    pub repo: Repo,
    /// Reads it; what is not here is fetched.
    pub reader: Arc<dyn ReadStore>,
    /// How it is filled, when it is partial.
    pub through: Option<Arc<ReadThrough>>,
    /// The server that is asked beside peers.
    pub upstream: Option<Arc<Upstream>>,
    /// What the person should know: the server is away.
    pub note: Option<String>,
}

/// The partial repositories that are being read.
#[derive(Default)]
pub(super) struct Remotes {
    live: Mutex<HashMap<RepoId, Live>>,
}

/// It ends with its last reader.
type Live = (Weak<ReadThrough>, Arc<Source>);

/// One of them.
struct Remote {
    repo: Repo,
    through: Arc<ReadThrough>,
    source: Arc<Source>,
}

/// Opens a repository so that `revision` of it can be found and read; `upstream`, when it is given,
/// is asked beside the peers that it is at, now and later.
///
/// # Errors
/// When there is none, or the server cannot be asked and nothing is known of it; when it is at no
/// peer and has an upstream.
pub fn open_place(
    node: &Node,
    place: &RepoPlace,
    revision: &str,
    git: &Git,
    upstream: Option<&RemoteUrl>,
) -> Result<Opened, NodeError> {
    let store = node.store();
    let (repo, origin, is_new) = match place {
        RepoPlace::Here(name) => {
            let repo = store.repos().get(name)?;
            if !repo.partial {
                upstream.map_or(Ok(()), |url| Err(no_upstream(url)))?;
                let reader = Arc::new(store.view(repo.id));
                return Ok(Opened { repo, reader, through: None, upstream: None, note: None });
            }
            let origin = Origin::parse(repo.origin.as_deref().unwrap_or_default())?;
            (repo, origin, false)
        }
        RepoPlace::There(url) => {
            let (repo, is_new) = find_or_make(node, url.local_name(), url.as_shown())?;
            (repo, Origin::Server(url.clone()), is_new)
        }
        RepoPlace::Peer(url) => {
            let name = repo_at_peer(url)?;
            let local = swarm::local_name(&url.peer, name)?;
            let shown = P2pUrl::repo(url.peer, name.clone()).to_string();
            let (repo, is_new) = find_or_make(node, &local, shown)?;
            (repo, Origin::Peer(url.clone()), is_new)
        }
    };
    let opened = open_remote(node, &repo, &origin, git, upstream).and_then(|remote| {
        let note = remote.prepare(node, revision)?;
        Ok((remote, note))
    });
    match opened {
        Ok((remote, note)) => {
            let Remote { repo, through, source } = remote;
            let upstream = source.upstream();
            Ok(Opened { repo, reader: through.clone(), through: Some(through), upstream, note })
        }
        Err(error) => {
            if is_new && let Err(error) = store.repos().delete(&repo.name) {
                tracing::warn!(name = %repo.name, %error, "an empty repository is left");
            }
            Err(error)
        }
    }
}

/// The partial repository of an address, made when it is not there; whether it was made.
fn find_or_make(node: &Node, name: &RepoName, origin: String) -> Result<(Repo, bool), NodeError> {
    let repos = node.store().repos();
    match repos.find(name)? {
        None => Ok((repos.create_partial(name, &origin)?, true)),
        Some(repo) if repo.partial && repo.origin.as_deref() == Some(&origin) => Ok((repo, false)),
        Some(repo) => {
            let existing = repo.origin.unwrap_or_else(|| "nowhere".to_owned());
            Err(NodeError::OtherOrigin { name: name.clone(), origin, existing })
        }
    }
}

/// Reads the address of a repository at a peer.
///
/// # Errors
/// [`NodeError::BadArgument`].
pub(super) fn parse_peer_repo(text: &str) -> Result<P2pUrl, NodeError> {
    let url = text.parse::<P2pUrl>().map_err(|_| no_peer_repo(text))?;
    repo_at_peer(&url)?;
    Ok(url)
}

fn no_peer_repo(text: &str) -> NodeError {
    let expected = "a repository at a peer: p2p://PEER/repo/NAME";
    NodeError::BadArgument { text: text.to_owned(), expected }
}

/// The repository that an address of a peer names.
pub(super) fn repo_at_peer(url: &P2pUrl) -> Result<&RepoName, NodeError> {
    match &url.target {
        P2pTarget::Repo { name, .. } => Ok(name),
        P2pTarget::Object(_) | P2pTarget::File(_) => Err(no_peer_repo(&url.to_string())),
    }
}

fn open_remote(
    node: &Node,
    repo: &Repo,
    origin: &Origin,
    git: &Git,
    upstream: Option<&RemoteUrl>,
) -> Result<Remote, NodeError> {
    if let Some(url) = upstream {
        if let Origin::Server(_) = origin {
            return Err(no_upstream(url));
        }
        // Its password is for this time: settings are shown.
        let change = SettingChange::Set(url.as_shown());
        node.store().set_setting(repo.id, "swarm.upstream", &change)?;
    }
    let found = {
        let mut live = node.remotes().live.lock();
        live.retain(|_, (through, _)| through.strong_count() > 0);
        live.get(&repo.id).and_then(|(t, source)| Some((t.upgrade()?, source.clone())))
    };
    if let Some((through, source)) = found {
        return Ok(Remote { repo: repo.clone(), through, source });
    }
    node.keep_to_limit()?;
    // Not under the lock: it may ask somebody.
    let source = Arc::new(open_source(node, repo, origin, git, upstream)?);
    let mut live = node.remotes().live.lock();
    if let Some((through, source)) = live.get(&repo.id)
        && let Some(through) = through.upgrade()
    {
        return Ok(Remote { repo: repo.clone(), through, source: source.clone() });
    }
    let note = Arc::new(|line: &str| tracing::warn!("{line}"));
    let options = ReadThroughOptions { note, ..ReadThroughOptions::default() };
    let through = Arc::new(ReadThrough::new(node.store(), repo, &source.sources(), options)?);
    if let (Source::Peer(peer), Some(swarm)) = (&*source, node.running_swarm()) {
        peer.read_by(&swarm, &through);
    }
    live.insert(repo.id, (Arc::downgrade(&through), source.clone()));
    Ok(Remote { repo: repo.clone(), through, source })
}

fn open_source(
    node: &Node,
    repo: &Repo,
    origin: &Origin,
    git: &Git,
    upstream: Option<&RemoteUrl>,
) -> Result<Source, NodeError> {
    Ok(match origin {
        Origin::Server(url) => {
            Source::Server(Arc::new(HttpSource::new(url, git).map_err(|e| failed(url, &e))?))
        }
        Origin::Peer(url) => Source::Peer(Box::new(peer_source(node, repo, url, git, upstream)?)),
    })
}

/// What a partial repository is filled from, for who needs a sound copy of something.
pub(super) fn source_of(node: &Node, repo: &Repo, git: &Git) -> Result<Source, NodeError> {
    let origin = Origin::parse(repo.origin.as_deref().unwrap_or_default())?;
    open_source(node, repo, &origin, git, None)
}

fn no_upstream(url: &RemoteUrl) -> NodeError {
    let expected = "an upstream here: only what is read from a peer has one";
    NodeError::BadArgument { text: url.as_shown(), expected }
}

/// The repository at a peer, and the server beside it: this one, or that of its settings. What it
/// is among peers is asked once and noted: then the peer may be away.
pub(super) fn peer_source(
    node: &Node,
    repo: &Repo,
    url: &P2pUrl,
    git: &Git,
    upstream: Option<&RemoteUrl>,
) -> Result<PeerSource, NodeError> {
    let peers = node.swarm(&SwarmOptions::default())?;
    let name = repo_at_peer(url)?;
    let known = match peers.repo_key(node.store(), repo.id)? {
        Some(rid) => rid,
        None => {
            let record = swarm::resolve(node.store(), &peers, url.peer, name)?;
            swarm::bind(node.store(), repo, &record)?;
            record.claims().rid
        }
    };
    let shown = P2pUrl::repo(url.peer, name.clone()).to_string();
    let wait = ReadThroughOptions::default().wait;
    let source = PeerSource::new(node.store(), &peers, url.peer, known, repo, shown, wait)?;
    let server = match (upstream, node.store().settings(repo.id)?.upstream()) {
        (Some(server), _) => server.clone(),
        (None, Some(text)) => RemoteUrl::parse(text)?,
        (None, None) => return Ok(source),
    };
    let client = HttpSource::new(&server, git).map_err(|e| failed(&server, &e))?;
    Ok(source.beside(&peers, client))
}

fn failed(url: &RemoteUrl, error: &SourceError) -> NodeError {
    NodeError::Remote { url: url.as_shown(), reason: error.to_string() }
}

impl Remote {
    /// Brings what it takes to find `revision`: references, commits, the root directory. A note
    /// when the server cannot be reached and what is known serves.
    fn prepare(&self, node: &Node, revision: &str) -> Result<Option<String>, NodeError> {
        let name_len = revision.find(['^', '~']).unwrap_or(revision.len());
        let (name, steps) = revision.split_at_checked(name_len).unwrap_or((revision, ""));
        let note = match name.parse::<ObjectId>() {
            Ok(id) => {
                let ids = [id];
                let want = ObjectWant { history: 1, ..ObjectWant::exactly(&ids) };
                self.through.fetch(&want)?;
                None
            }
            Err(_) => self.refresh(node, if name == "@" { "HEAD" } else { name })?,
        };
        let tip = mega_storage::resolve_revision(node.store(), &self.repo, name)?;
        let depth = depth_of(steps);
        if depth > 0 {
            self.deepen(node, &tip, depth)?;
        }
        let id = mega_storage::resolve_revision(node.store(), &self.repo, revision);
        if let Some(tree) = root_tree(node, &id?)? {
            self.through.object(&tree)?;
        }
        Ok(note)
    }

    /// Asks where the references that `name` may mean stand, and notes it here.
    fn refresh(&self, node: &Node, name: &str) -> Result<Option<String>, NodeError> {
        let full = |(before, after): &(&str, &str)| {
            RefName::new([before, name, after].concat().as_bytes()).ok()
        };
        let names: Vec<RefName> = RULES.iter().filter_map(full).collect();
        let found = match self.source.refs(&names) {
            Ok(found) => found,
            Err(error) => {
                let refs = node.store().refs();
                let url = self.source.shown();
                if refs.list(self.repo.id, b"")?.is_empty() {
                    return Err(NodeError::Remote { url, reason: error.to_string() });
                }
                return Ok(Some(format!(
                    "{url}: {error}; showing what it had when it was last reached"
                )));
            }
        };
        let mut ids: Vec<ObjectId> = found.iter().filter_map(|line| line.id).collect();
        ids.sort_unstable();
        ids.dedup();
        self.through.fetch(&ObjectWant { history: 1, ..ObjectWant::exactly(&ids) })?;
        let edits = edits_for(&names, &found);
        node.store().refs().apply(self.repo.id, &RefTransaction { edits })?;
        Ok(None)
    }

    /// Brings history: everything that is up to `depth` commits before `tip`.
    fn deepen(&self, node: &Node, tip: &ObjectId, depth: u32) -> Result<(), NodeError> {
        let tip = peel(node.store(), tip, ObjectKind::Commit)?;
        for _ in 0..ROUNDS_MAX {
            let (missing, left) = self.first_missing(node, tip, depth)?;
            if missing.is_empty() {
                return Ok(());
            }
            let want = ObjectWant { history: left, ..ObjectWant::exactly(&missing) };
            self.through.fetch(&want)?;
        }
        Ok(())
    }

    /// The first commits before `tip` that are not here, level by level, and the levels left there.
    fn first_missing(
        &self,
        node: &Node,
        tip: ObjectId,
        depth: u32,
    ) -> Result<(Vec<ObjectId>, u32), NodeError> {
        let objects = node.store().objects();
        let mut level = vec![tip];
        for left in (1..=depth).rev() {
            let mut parents = Vec::new();
            for id in &level {
                let Some(commit) = objects.read(id)? else { continue };
                parents
                    .extend(commit_info(&commit.data).map(|info| info.parents).unwrap_or_default());
            }
            parents.sort_unstable();
            parents.dedup();
            let here = objects.are_members(self.repo.id, &parents)?;
            let missing = parents.iter().zip(here).filter(|(_, is_here)| !is_here);
            let missing: Vec<ObjectId> = missing.map(|(id, _)| *id).collect();
            if !missing.is_empty() {
                return Ok((missing, left));
            }
            level = parents;
        }
        Ok((Vec::new(), 0))
    }
}

/// References as the server has them; those that it does not have go here too.
fn edits_for(names: &[RefName], found: &[RemoteRef]) -> Vec<RefEdit> {
    let mut wanted: HashMap<RefName, Option<RefTarget>> =
        names.iter().map(|name| (name.clone(), None)).collect();
    for line in found {
        let direct = line.id.map(RefTarget::Direct);
        let target = match &line.target {
            Some(target) => {
                let known = wanted.get(target).is_some_and(Option::is_some);
                if !known && direct.is_some() {
                    wanted.insert(target.clone(), direct);
                }
                Some(RefTarget::Symbolic(target.clone()))
            }
            None => direct,
        };
        wanted.insert(line.name.clone(), target);
    }
    let edit = |(name, new)| RefEdit { name, expect: Expect::Any, new };
    wanted.into_iter().map(edit).collect()
}

/// Commits that steps such as `~3^2` go back at the most.
fn depth_of(steps: &str) -> u32 {
    let mut depth = 0u32;
    for step in steps.split_inclusive(['~', '^']).skip(1) {
        let digits: String = step.chars().take_while(char::is_ascii_digit).collect();
        depth = depth.saturating_add(digits.parse().unwrap_or(1));
    }
    // A '^' at the end, or one that is followed by a brace, counts for one too many at the most.
    let signs = steps.matches(['~', '^']).count();
    depth.saturating_add(u32::from(signs > 0)).min(DEPTH_MAX)
}

/// The root directory of what a revision names, without needing it to be here.
fn root_tree(node: &Node, id: &ObjectId) -> Result<Option<ObjectId>, NodeError> {
    let commit = match peel(node.store(), id, ObjectKind::Commit) {
        Ok(commit) => commit,
        Err(StoreError::WrongKind { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let missing = || StoreError::MissingObject { id: commit };
    let object = node.store().objects().read(&commit)?.ok_or_else(missing)?;
    Ok(commit_info(&object.data).ok().map(|info| info.tree))
}

/// What has been fetched of a partial repository that is being read.
pub fn fetch_counts(node: &Node, repo: RepoId) -> Option<FetchCounts> {
    let through = node.remotes().live.lock().get(&repo)?.0.upgrade()?;
    Some(through.counts())
}
