//! Objects and chunks of one repository from peers: the swarm as a source.
//!
//! Objects are asked of one peer after the other: the one whose repository it is, then the nearest.
//! What others have may be a part, so what one does not have is asked of the next. Chunks are asked
//! of all that have them, by the scheduler.
//!
//! Invariant: what has no hash is believed from nobody but the publisher. A page of a manifest
//! needs its signature, whoever brings it ([`vouch`]): who brings one without is a liar, and banned
//! as one. Lengths of objects are asked of the publisher alone, over the connection that its key
//! has proven; with it away only the objects themselves tell them. A length of a file is told to
//! who compares it with the pointer's.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libp2p::PeerId;
use mega_storage::{
    ChunkBytes, ChunkId, ChunkSource, ChunkSpan, ChunkTake, FileId, ManifestPage, ObjectHeader,
    ObjectId, ObjectSource, ObjectWant, Pointer, RefName, RepoKey, SourceError, SourceResult,
    Urgency,
};
use tokio::sync::{mpsc, watch};

use super::exchange::{Swarm, Told, Wanting};
use super::net::NetError;
use super::record::peer_bytes;
use super::wire::{RefLine, Reply, Request};
use super::{schedule, vouch};

/// The scheduler says that a want has failed; it is not waited for much longer than that.
pub(super) const WORD_TIME: Duration = Duration::from_secs(5);
/// How long a first peer is waited for.
const FIRST_PEER_TIME: Duration = Duration::from_secs(10);
/// Peers that one question goes to, one after the other.
const TRIES_MAX: usize = 4;
/// Pages of references that are taken.
const REF_PAGES_MAX: usize = 1024;
/// Peers after the first ones are there, or they are not.
const FURTHER_PEERS_TIME: Duration = Duration::from_millis(250);

/// One repository, read from peers.
#[derive(Clone)]
pub struct Fetcher {
    swarm: Swarm,
    repo: RepoKey,
    name: String,
    wait: Duration,
    /// Whose repository it is: it has all of it, and is believed first where nothing is proven.
    publisher: PeerId,
}

/// Objects of the peers after the first ones: for what those do not have.
pub struct FurtherPeers {
    fetcher: Arc<Fetcher>,
    skip: usize,
}

impl FurtherPeers {
    /// Skips so many peers.
    pub fn new(fetcher: &Arc<Fetcher>, skip: usize) -> Self {
        Self { fetcher: fetcher.clone(), skip }
    }
}

impl ObjectSource for FurtherPeers {
    fn name(&self) -> String {
        format!("{} (other peers)", self.fetcher.name)
    }

    fn headers(&self, ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>> {
        // The first source has asked whom there is to ask.
        Ok(vec![None; ids.len()])
    }

    fn objects<'a>(
        &'a self,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>> {
        let peers = self.fetcher.ready(FURTHER_PEERS_TIME);
        let pack = self.fetcher.pack_of(peers.into_iter().skip(self.skip), want)?;
        Ok(pack.map(|pack| pack as Box<dyn Read + Send>))
    }
}

impl Fetcher {
    /// Reads `publisher`'s repository `repo`, which is called `name` in messages. A chunk that
    /// nobody brings within `wait` has failed. Who serves it is told to the swarm by
    /// [`Swarm::follow`].
    pub fn new(
        swarm: &Swarm,
        repo: RepoKey,
        publisher: PeerId,
        name: String,
        wait: Duration,
    ) -> Self {
        Self { swarm: swarm.clone(), repo, name, wait, publisher }
    }

    /// The same, with its questions ended as soon as `given_up` says that nobody needs them.
    pub(super) fn until(&self, given_up: watch::Receiver<bool>) -> Self {
        Self { swarm: self.swarm.until(given_up), ..self.clone() }
    }

    /// Whether a peer can be asked now.
    pub(super) fn is_served(&self) -> bool {
        self.swarm.is_served(self.repo)
    }

    /// How long a chunk is waited for.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Wants chunks of all that have them.
    pub(super) fn want(&self, file: &FileId, spans: &[ChunkSpan], urgency: Urgency) -> Wanting {
        let urgency = match urgency {
            Urgency::Now => schedule::Urgency::Now,
            Urgency::Soon => schedule::Urgency::Soon,
            Urgency::Background => schedule::Urgency::Background,
        };
        self.swarm.want(self.repo, *file, spans, urgency, self.wait)
    }

    /// Those of `names` that a peer has, or all of its references; `None` when it does not serve
    /// the repository. Nothing of it is proven.
    ///
    /// # Errors
    /// As of any question; a peer that names more than `pages` pages is wrong.
    pub fn refs_of(
        &self,
        peer: PeerId,
        names: &[RefName],
        pages: usize,
    ) -> SourceResult<Option<Vec<RefLine>>> {
        let mut rows: Vec<RefLine> = Vec::new();
        for _ in 0..pages.min(REF_PAGES_MAX) {
            let after = rows.last().map(|row| row.name.clone());
            let request = Request::Refs { repo: self.repo, after, names: names.to_vec() };
            match self.call(peer, request)? {
                Reply::Refs { refs: page, more } => {
                    let is_end = !more || page.is_empty();
                    rows.extend(page);
                    if is_end {
                        return Ok(Some(rows));
                    }
                }
                Reply::NotFound => return Ok(None),
                other => return Err(self.strange(peer, &other)),
            }
        }
        Err(SourceError::Refused { reason: "it has too many references".to_owned() })
    }

    /// Peers that serve it now, or the first that does within `wait`: its publisher, then the
    /// nearest.
    pub fn ready(&self, wait: Duration) -> Vec<PeerId> {
        let mut peers = self.swarm.peers_of(self.repo, wait);
        peers.sort_by_key(|peer| *peer != self.publisher);
        peers.truncate(TRIES_MAX);
        peers
    }

    fn call(&self, peer: PeerId, request: Request) -> SourceResult<Reply> {
        let reply = self.swarm.call(peer, request).map_err(|e| unreachable(&e))?;
        match reply {
            Reply::Busy { .. } => Err(SourceError::Refused { reason: "it is busy".to_owned() }),
            reply => Ok(reply),
        }
    }

    /// An answer to another question than was asked.
    fn strange(&self, peer: PeerId, reply: &Reply) -> SourceError {
        strange(&self.swarm, peer, reply)
    }

    /// An answer that is well-formed and not true.
    fn lie(&self, peer: PeerId, reason: String) -> SourceError {
        self.swarm.lied(peer, &reason);
        SourceError::Wrong { reason: format!("peer {peer}: {reason}") }
    }

    /// Asks peer after peer for what those before did not have; the publisher has all that there
    /// is. `ask` gets the numbers of the questions that are open, and answers each.
    fn gather<T: Clone>(
        &self,
        count: usize,
        ask: impl Fn(PeerId, &[usize]) -> SourceResult<Option<Vec<Option<T>>>>,
    ) -> SourceResult<Vec<Option<T>>> {
        let mut found = vec![None; count];
        let mut failure = None;
        let mut has_answer = false;
        for peer in self.peers()? {
            let open = found.iter().enumerate().filter(|(_, row)| row.is_none());
            let open: Vec<usize> = open.map(|(index, _)| index).collect();
            match ask(peer, &open) {
                Ok(Some(rows)) => {
                    has_answer = true;
                    for (index, row) in open.iter().zip(rows) {
                        found[*index] = row;
                    }
                    if peer == self.publisher || found.iter().all(Option::is_some) {
                        break;
                    }
                }
                Ok(None) => has_answer = true,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !has_answer => Err(error),
            _ => Ok(found),
        }
    }

    /// Peers to ask, the publisher first, then the nearest; waits for the first one.
    fn peers(&self) -> SourceResult<Vec<PeerId>> {
        let peers = self.ready(FIRST_PEER_TIME.min(self.wait));
        match peers.is_empty() {
            false => Ok(peers),
            true => {
                let reason = "no peer that has it can be reached".to_owned();
                Err(SourceError::Unreachable { reason })
            }
        }
    }
}

/// An answer to another question than was asked.
fn strange(swarm: &Swarm, peer: PeerId, reply: &Reply) -> SourceError {
    let reason = format!("it answered {} to another question", reply.kind());
    swarm.wrong(peer, &reason);
    SourceError::Wrong { reason }
}

/// Asks peer after peer until one has it. `None` when all that answered do not.
fn first_of<T>(
    peers: impl IntoIterator<Item = PeerId>,
    ask: impl Fn(PeerId) -> SourceResult<Option<T>>,
) -> SourceResult<Option<T>> {
    let mut failure = None;
    let mut has_answer = false;
    for peer in peers {
        match ask(peer) {
            Ok(Some(answer)) => return Ok(Some(answer)),
            Ok(None) => has_answer = true,
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if !has_answer => Err(error),
        _ => Ok(None),
    }
}

/// Whether the byte at `offset` stands in the page; when the file ends before, its last byte.
fn has_byte(page: &ManifestPage, offset: u64) -> bool {
    let Some(last) = page.len.checked_sub(1) else { return true };
    let at = offset.min(last);
    let starts = page.spans.first().is_some_and(|span| span.offset <= at);
    let end = page.spans.last().map_or(0, |span| span.offset + u64::from(span.chunk.len));
    starts && at < end
}

fn unreachable(error: &NetError) -> SourceError {
    SourceError::Unreachable { reason: error.to_string() }
}

impl ObjectSource for Fetcher {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn headers(&self, ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>> {
        let unsaid = || SourceError::Unsupported { what: "lengths while its publisher is away" };
        self.peers()?;
        let peer = self.publisher;
        if !self.swarm.is_up(peer) {
            return Err(unsaid());
        }
        let request = Request::Headers { repo: self.repo, ids: ids.to_vec() };
        match self.call(peer, request) {
            Ok(Reply::Headers(headers)) => Ok(headers),
            Ok(Reply::NotFound) | Err(SourceError::Unreachable { .. }) => Err(unsaid()),
            Ok(other) => Err(self.strange(peer, &other)),
            Err(error) => Err(error),
        }
    }

    fn objects<'a>(
        &'a self,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>> {
        Ok(self.pack(want)?.map(|pack| pack as Box<dyn Read + Send>))
    }
}

impl Fetcher {
    /// A pack of the first peer that has something of it.
    pub(super) fn pack(&self, want: &ObjectWant<'_>) -> SourceResult<Option<Box<PackReader>>> {
        self.pack_of(self.peers()?, want)
    }

    /// A pack of the first of these peers that has something of it.
    fn pack_of(
        &self,
        peers: impl IntoIterator<Item = PeerId>,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<PackReader>>> {
        first_of(peers, |peer| {
            let request = Request::Objects {
                repo: self.repo,
                levels: want.levels,
                blob_len_max: want.blob_len_max,
                history: want.history,
                ids: want.ids.to_vec(),
            };
            let mut answers = self.swarm.ask(peer, request).map_err(|e| unreachable(&e))?;
            match self.swarm.next(&mut answers) {
                Some(Reply::Bytes(bytes)) => {
                    let swarm = self.swarm.clone();
                    Ok(Some(Box::new(PackReader { swarm, peer, answers, piece: bytes })))
                }
                Some(Reply::NotFound | Reply::End { .. }) => Ok(None),
                Some(Reply::Busy { .. }) => {
                    Err(SourceError::Refused { reason: "it is busy".to_owned() })
                }
                Some(other) => Err(self.strange(peer, &other)),
                None => {
                    let reason = format!("peer {peer} broke off");
                    Err(SourceError::Unreachable { reason })
                }
            }
        })
    }
}

/// A pack as it comes.
pub(super) struct PackReader {
    swarm: Swarm,
    peer: PeerId,
    answers: mpsc::Receiver<Reply>,
    piece: Bytes,
}

impl Read for PackReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.swarm.next(&mut self.answers) {
                Some(Reply::Bytes(bytes)) => self.piece = bytes,
                Some(Reply::End { .. }) => return Ok(0),
                Some(other) => {
                    return Err(io::Error::other(strange(&self.swarm, self.peer, &other)));
                }
                None => {
                    let reason = format!("peer {} broke off", self.peer);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
                }
            }
        }
        let count = self.piece.len().min(out.len());
        out[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

impl ChunkSource for Fetcher {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>> {
        self.gather(files.len(), |peer, open| {
            let files = open.iter().map(|index| files[*index].file).collect();
            match self.call(peer, Request::Files { repo: self.repo, files })? {
                Reply::Files(lens) => Ok(Some(lens)),
                Reply::NotFound => Ok(None),
                other => Err(self.strange(peer, &other)),
            }
        })
    }

    fn manifest(&self, file: &FileId, offset: u64) -> SourceResult<Option<ManifestPage>> {
        let publisher = peer_bytes(&self.publisher);
        first_of(self.peers()?, |peer| {
            let publisher = publisher.clone();
            let request = Request::Manifest { repo: self.repo, file: *file, offset, publisher };
            match self.call(peer, request)? {
                Reply::Manifest(page) => {
                    if !vouch::is_vouched_for(&self.publisher, file, &page) {
                        let reason = format!("it told chunks of file {file} that nobody signed");
                        return Err(self.lie(peer, reason));
                    }
                    if !has_byte(&page, offset) {
                        let reason = format!("it told of another part of file {file} than asked");
                        return Err(self.lie(peer, reason));
                    }
                    // Others may have a part.
                    if peer == self.publisher {
                        self.swarm.has_all(peer, self.repo, *file);
                    }
                    Ok(Some(page))
                }
                Reply::NotFound => Ok(None),
                other => Err(self.strange(peer, &other)),
            }
        })
    }

    fn chunks(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        urgency: Urgency,
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<()> {
        let mut open: HashMap<ChunkId, ChunkSpan> =
            spans.iter().map(|span| (span.chunk.id, *span)).collect();
        let wanting = self.want(file, spans, urgency);
        loop {
            match wanting.told.recv_timeout(self.wait + WORD_TIME) {
                Ok(Told::Chunk(chunk)) => {
                    let Some(span) = open.remove(&chunk.chunk().id) else { continue };
                    if take(&span, ChunkBytes::Verified(chunk)).is_break() {
                        return Ok(());
                    }
                }
                Ok(Told::Done) => return Ok(()),
                Ok(Told::Failed(reason)) => return Err(SourceError::Unreachable { reason }),
                Err(_) => {
                    let reason = "the swarm has stopped".to_owned();
                    return Err(SourceError::Unreachable { reason });
                }
            }
        }
    }
}
