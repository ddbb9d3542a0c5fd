//! What a scheduler must never do, checked at each of its actions.

use std::collections::{BTreeMap, BTreeSet};

use mega_storage::ChunkSpan;

use crate::swarm::schedule::limits::{
    BULK_CHUNKS_MAX, BULK_LEN_MAX, CHUNK_LEN_MAX, END_CHUNKS, OWNERS_MAX, REQUESTS_MAX, SILENCE_US,
    URGENT_CHUNKS_MAX,
};
use crate::swarm::schedule::{Lane, RequestKey, Schedule, Time};

/// A request as its node sees it.
#[derive(Debug)]
struct Open {
    lane: Lane,
    file: u32,
    /// Chunks by index; `None` once they came.
    chunks: Vec<Option<u32>>,
    asked_at: Time,
    is_cancelled: bool,
}

/// An ask as it is made.
pub struct Asked<'a> {
    pub peer: u32,
    pub lane: Lane,
    pub request: RequestKey,
    pub file: u32,
    pub chunks: Vec<u32>,
    pub spans: &'a [ChunkSpan],
}

/// Remembers what one node did.
#[derive(Default, Debug)]
pub struct Watch {
    up: BTreeSet<u32>,
    banned: BTreeMap<u32, Time>,
    open: BTreeMap<(u32, RequestKey), Open>,
    /// Requests that are to bring a chunk.
    by_chunk: BTreeMap<(u32, u32), Vec<(u32, RequestKey)>>,
    /// When a peer was last heard of.
    heard: BTreeMap<u32, Time>,
    /// How many tickets, and how many urgent ones, want a chunk.
    wanted: BTreeMap<(u32, u32), (u32, u32)>,
    wanted_by_file: BTreeMap<u32, usize>,
    /// The chunk whose arrival is being told, and from whom, if its bytes are right.
    pub coming: Option<(u32, u32, u32)>,
    /// Chunks that were asked of two at a time.
    pub doubles: u64,
    /// Bans.
    pub bans: u64,
}

impl Watch {
    pub fn peer_up(&mut self, peer: u32) {
        self.up.insert(peer);
    }

    pub fn peer_down(&mut self, peer: u32) {
        self.up.remove(&peer);
        let gone = self.open.range((peer, RequestKey(0))..(peer + 1, RequestKey(0)));
        let gone: Vec<_> = gone.map(|(key, _)| *key).collect();
        for (peer, request) in gone {
            self.ended(peer, request);
        }
    }

    pub fn wants(&mut self, file: u32, chunk: u32, is_now: bool) {
        let count = self.wanted.entry((file, chunk)).or_default();
        if *count == (0, 0) {
            *self.wanted_by_file.entry(file).or_default() += 1;
        }
        count.0 += 1;
        count.1 += u32::from(is_now);
    }

    pub fn wants_no_more(&mut self, file: u32, chunk: u32, is_now: bool) {
        let count = self.wanted.get_mut(&(file, chunk)).expect("it was wanted");
        count.0 -= 1;
        count.1 -= u32::from(is_now);
        if count.0 == 0 {
            self.wanted.remove(&(file, chunk));
            *self.wanted_by_file.get_mut(&file).expect("it was wanted") -= 1;
        }
    }

    pub fn banned(&mut self, peer: u32, until: Time) {
        self.bans += 1;
        self.banned.insert(peer, until);
        self.peer_down(peer);
    }

    pub fn is_banned(&self, peer: u32, now: Time) -> bool {
        self.banned.get(&peer).is_some_and(|until| *until > now)
    }

    pub fn asked(&mut self, now: Time, asked: Asked<'_>, schedule: &Schedule) {
        let Asked { peer, lane, request, file, chunks, spans } = asked;
        assert!(!self.is_banned(peer, now), "a banned peer is asked");
        assert!(self.up.contains(&peer), "a peer is asked that is not there");
        let len: u64 = spans.iter().map(|span| u64::from(span.chunk.len)).sum();
        match lane {
            Lane::Urgent => assert!(chunks.len() <= URGENT_CHUNKS_MAX),
            Lane::Bulk => {
                assert!(chunks.len() <= BULK_CHUNKS_MAX && len < BULK_LEN_MAX + CHUNK_LEN_MAX);
            }
        }
        let end = |span: &ChunkSpan| span.offset + u64::from(span.chunk.len);
        assert!(spans.windows(2).all(|pair| end(&pair[0]) <= pair[1].offset), "not ascending");
        let lanes = self.open.range((peer, RequestKey(0))..(peer + 1, RequestKey(0)));
        let others = lanes.filter(|(_, open)| open.lane == lane).count();
        assert!(others < REQUESTS_MAX, "too many requests in one lane");
        for chunk in &chunks {
            self.check_owner(now, (peer, lane), (file, *chunk), schedule);
            self.by_chunk.entry((file, *chunk)).or_default().push((peer, request));
        }
        let chunks = chunks.into_iter().map(Some).collect();
        let open = Open { lane, file, chunks, asked_at: now, is_cancelled: false };
        assert!(self.open.insert((peer, request), open).is_none(), "a number that is in use");
    }

    fn check_owner(
        &mut self,
        now: Time,
        (peer, lane): (u32, Lane),
        chunk: (u32, u32),
        schedule: &Schedule,
    ) {
        let (_, urgent) = *self.wanted.get(&chunk).expect("a chunk is asked for and not wanted");
        let owners = self.by_chunk.get(&chunk).map_or(&[][..], Vec::as_slice);
        let owners = owners.iter().filter(|key| !self.open[key].is_cancelled);
        let mut prompt = 0usize;
        for (owner, request) in owners {
            assert_ne!(*owner, peer, "one peer is asked for a chunk twice");
            let since = self.open[&(*owner, *request)].asked_at;
            let heard = self.heard.get(owner).copied().unwrap_or(0).max(since);
            let key = crate::swarm::schedule::PeerKey(*owner);
            let is_slow = schedule.peer(key).is_some_and(|peer| peer.is_slow || peer.is_stalled);
            let is_late = is_slow || now - heard > SILENCE_US;
            prompt += usize::from(!is_late);
        }
        if prompt > 0 {
            self.doubles += 1;
            let is_hedge = lane == Lane::Urgent && urgent > 0;
            let is_end = lane == Lane::Bulk && self.wanted_by_file[&chunk.0] <= END_CHUNKS;
            let most = if is_hedge { OWNERS_MAX } else { 2 };
            assert!(
                (is_hedge || is_end) && prompt < most,
                "{chunk:?} is asked for twice: {lane:?}, {urgent} wait, {prompt} are prompt",
            );
        }
    }

    pub fn cancelled(&mut self, peer: u32, request: RequestKey) {
        let open = self.open.get_mut(&(peer, request)).expect("an open request is cancelled");
        assert!(!open.is_cancelled, "a request is cancelled twice");
        open.is_cancelled = true;
    }

    /// The file and the chunk that a request names at `index`, while it is open.
    pub fn chunk_of(&self, peer: u32, request: RequestKey, index: u16) -> Option<(u32, u32)> {
        let open = self.open.get(&(peer, request))?;
        Some((open.file, (*open.chunks.get(usize::from(index))?)?))
    }

    /// A chunk of a request came.
    pub fn came(&mut self, now: Time, peer: u32, request: RequestKey, index: u16) {
        self.heard.insert(peer, now);
        let Some(open) = self.open.get_mut(&(peer, request)) else { return };
        let Some(chunk) = open.chunks[usize::from(index)].take() else { return };
        let key = (open.file, chunk);
        let is_over = open.chunks.iter().all(Option::is_none);
        self.close_chunk(key, (peer, request));
        if is_over {
            self.open.remove(&(peer, request));
        }
    }

    fn close_chunk(&mut self, key: (u32, u32), owner: (u32, RequestKey)) {
        if let Some(owners) = self.by_chunk.get_mut(&key) {
            owners.retain(|other| *other != owner);
            if owners.is_empty() {
                self.by_chunk.remove(&key);
            }
        }
    }

    /// A request ended, however.
    pub fn ended(&mut self, peer: u32, request: RequestKey) {
        let Some(open) = self.open.remove(&(peer, request)) else { return };
        for chunk in open.chunks.into_iter().flatten() {
            self.close_chunk((open.file, chunk), (peer, request));
        }
    }

    /// Requests that have not ended.
    pub fn open_requests(&self) -> usize {
        self.open.values().filter(|open| !open.is_cancelled).count()
    }
}
