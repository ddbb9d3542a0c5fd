//! Git's own protocol between peers: serving it from the store, and opening it with another.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use libp2p::PeerId;
use mega_storage::{Progress, Repo, Store, StoreError, Unit};

use super::lookup::resolve;
use super::{SwarmOptions, book::StoreBook};
use crate::audit::{Audit, Entry};
use crate::git::receive_pack::ReceiveReport;
use crate::git::{GitError, Protocol, Service, receive_pack, upload_pack};
use crate::lfs;
use crate::lfs::server::slices::SliceCache;
use crate::lfs::server::{LfsContext, Written};
use crate::node::{Node, NodeError, remote};
use crate::swarm::exchange::{Book, Following, GitServer, GitStream};
use crate::swarm::net::Waits;
use crate::swarm::record::P2pUrl;
use crate::swarm::serve::{Answerer, Asker, PeerRights};
use crate::swarm::wire::{GitService, Open};

/// What is spoken for fetches: the version whose rounds each stand by themselves. Pushes know only
/// the first.
const VERSION: &str = "version=2";

/// What is written at once of an answer about LFS files, in bytes.
const STREAM_LEN: usize = 128 << 10;

/// Serves git to peers, to each what its rights are.
pub(super) struct PeerGit {
    store: Store,
    audit: Arc<Audit>,
    answerer: Arc<Answerer>,
    book: Arc<StoreBook>,
    slices: SliceCache,
    stop: WhileUp,
}

/// Ends what is being served when the swarm ends.
struct WhileUp(Waits);

impl Progress for WhileUp {
    fn start(&self, _: &'static str, _: Option<u64>, _: Unit) {}

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        self.0.has_ended()
    }
}

impl PeerGit {
    pub(super) fn new(
        store: &Store,
        audit: &Arc<Audit>,
        answerer: &Arc<Answerer>,
        book: &Arc<StoreBook>,
        waits: &Waits,
    ) -> Self {
        Self {
            store: store.clone(),
            audit: audit.clone(),
            answerer: answerer.clone(),
            book: book.clone(),
            slices: SliceCache::default(),
            stop: WhileUp(waits.clone()),
        }
    }

    /// The repository and the peer's rights, when it may do that with it.
    fn repo(&self, peer: &PeerId, open: &Open) -> Result<Option<(Repo, PeerRights)>, StoreError> {
        let asker = Asker::new(peer, self.book.is_mesh(peer));
        let needed = match open.service {
            GitService::UploadPack | GitService::Lfs => PeerRights::Read,
            GitService::ReceivePack => PeerRights::Write,
        };
        let found = self.answerer.rights(&asker, &open.repo)?;
        // From parts neither a fetch nor a push can be answered.
        Ok(found.filter(|(repo, rights)| *rights >= needed && !repo.partial))
    }

    fn talk(
        &self,
        peer: &PeerId,
        open: &Open,
        read: &mut (dyn Read + Send),
        write: &mut (dyn Write + Send),
    ) -> Result<(), GitError> {
        let Some((repo, rights)) = self.repo(peer, open)? else { return Ok(()) };
        let settings = self.store.settings(repo.id)?;
        let actor = format!("peer {peer}");
        let service =
            |protocol| Service::new(&self.store, &repo, &settings, protocol, &actor, &self.stop);
        let note = |route: &str, id: Option<String>, status, in_len| {
            let route = format!("p2p {route}");
            let (who, repo) = (actor.as_str(), Some(repo.name.as_str()));
            let (from, action) = (None, "write");
            self.audit.note(&Entry { who, from, action, route, repo, id, status, in_len });
        };
        let mut input = BufReader::new(Counted { read, len: 0 });
        match open.service {
            GitService::UploadPack => fetches(&service(Protocol::V2)?, &mut input, write)?,
            GitService::ReceivePack => {
                let service = service(Protocol::V0)?;
                receive_pack::advertise(&service, write)?;
                write.flush().map_err(GitError::gone)?;
                let pushed = receive_pack::serve(&service, &mut input, write);
                if let Some(status) = status_of(&pushed) {
                    note("git-receive-pack", None, status, input.get_ref().len);
                }
                match pushed {
                    // It was told in the protocol's own words.
                    Ok(_) | Err(GitError::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            GitService::Lfs => {
                let rights = match rights {
                    PeerRights::Write => lfs::server::Rights::Write,
                    PeerRights::Read | PeerRights::None => lfs::server::Rights::Read,
                };
                let context = LfsContext {
                    store: &self.store,
                    repo: &repo,
                    rights,
                    actor: &actor,
                    quota: settings.quota_len(),
                    slices: &self.slices,
                    stop: &self.stop,
                };
                let note = |&Written { route, file, status, len }: &Written| {
                    let route = format!("lfs {}", route.name().unwrap_or("put"));
                    note(&route, Some(file.to_string()), status, len);
                };
                let mut output = BufWriter::with_capacity(STREAM_LEN, write);
                let served = lfs::server::serve(&context, &mut input, &mut output, &note);
                served.map_err(GitError::gone)?;
            }
        }
        Ok(())
    }
}

/// Answers fetches until there are no more.
fn fetches(
    service: &Service<'_>,
    input: &mut (impl BufRead + Send),
    write: &mut (dyn Write + Send),
) -> Result<(), GitError> {
    upload_pack::advertise(service, write)?;
    write.flush().map_err(GitError::gone)?;
    while !input.fill_buf().map_err(GitError::gone)?.is_empty() {
        let report = upload_pack::serve(service, input, write)?;
        write.flush().map_err(GitError::gone)?;
        if report.command == upload_pack::Command::None || report.refused.is_some() {
            break;
        }
    }
    Ok(())
}

/// How a push ended, as HTTP has it; `None` for one of nothing.
fn status_of(pushed: &Result<ReceiveReport, GitError>) -> Option<u16> {
    match pushed {
        Ok(report) if *report == ReceiveReport::default() => None,
        Ok(_) | Err(GitError::Refused { .. }) => Some(200),
        Err(GitError::Wire(_)) => Some(400),
        Err(GitError::ClientGone(_) | GitError::Store(_)) => Some(500),
    }
}

/// Counts what is read.
struct Counted<'a> {
    read: &'a mut (dyn Read + Send),
    len: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.read.read(out)?;
        self.len += len as u64;
        Ok(len)
    }
}

impl GitServer for PeerGit {
    fn may(&self, peer: &PeerId, open: &Open) -> bool {
        match self.repo(peer, open) {
            Ok(found) => found.is_some(),
            Err(error) => {
                tracing::error!(%error, "a repository cannot be looked up for a peer");
                false
            }
        }
    }

    fn serve(
        &self,
        peer: &PeerId,
        open: &Open,
        read: &mut (dyn Read + Send),
        write: &mut (dyn Write + Send),
    ) -> io::Result<()> {
        self.talk(peer, open, read, write).map_err(io::Error::other)
    }
}

/// Git's protocol with a repository at a peer, for as long as this is held.
pub struct PeerGitStream {
    /// The two ends.
    pub stream: GitStream,
    _following: Following,
}

/// Opens git's protocol with a repository at a peer.
///
/// # Errors
/// When that is no address of one; when the peer cannot be reached, has no such repository, or does
/// not let this store do that.
pub fn open_git(node: &Node, url: &str, service: GitService) -> Result<PeerGitStream, NodeError> {
    let place = remote::parse_peer_repo(url)?;
    let peers = node.swarm(&SwarmOptions::default())?;
    let P2pUrl { peer, .. } = place;
    let record = resolve(node.store(), &peers, peer, remote::repo_at_peer(&place)?)?;
    let addresses = StoreBook::addresses(node.store(), &peer)?;
    let following = peers.exchange().follow(record.claims().rid, vec![(peer, addresses)], false);
    let open = Open { service, repo: record.claims().rid, protocol: VERSION.to_owned() };
    let failed = |reason: String| NodeError::Remote { url: url.to_owned(), reason };
    let opened = peers.exchange().git(peer, &open).map_err(|e| failed(e.to_string()))?;
    let refused = match service {
        GitService::UploadPack => "it does not let this store fetch",
        GitService::ReceivePack => "it does not let this store push",
        GitService::Lfs => "it does not let this store have its LFS files",
    };
    let stream = opened.ok_or_else(|| failed(refused.to_owned()))?;
    Ok(PeerGitStream { stream, _following: following })
}
