//! Threads that decode and hash what came: nothing passes unchecked, and no task of the network
//! waits for it.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use libp2p::PeerId;
use mega_storage::{ChunkBytes, ChunkRef, StoredChunk};
use tokio::sync::mpsc;

use super::message::Message;
use crate::swarm::schedule::RequestKey;
use crate::swarm::threads::{Threads, name_of};

/// A chunk as it came.
pub(super) struct Unchecked {
    pub(super) peer: PeerId,
    pub(super) request: RequestKey,
    pub(super) index: u16,
    pub(super) wanted: ChunkRef,
    pub(super) chunk: StoredChunk,
    pub(super) wire_len: u32,
}

/// Where chunks go to be checked. The threads end with its last clone.
///
/// How much waits here is bounded by what may be asked for: a chunk counts against its peer's
/// window until it is checked.
#[derive(Clone)]
pub(super) struct Checks(Arc<Sender<Unchecked>>);

impl Checks {
    /// Starts `count` threads; they tell `messages` what they found.
    pub(super) fn start(
        count: usize,
        own: &PeerId,
        messages: &mpsc::UnboundedSender<Message>,
    ) -> std::io::Result<(Self, Threads)> {
        let (send, unchecked) = unbounded();
        let mut threads = Threads::default();
        for _ in 0..count.max(1) {
            let (unchecked, messages) = (unchecked.clone(), messages.clone());
            let name = name_of("check", own);
            threads.start(name, move || check_all(&unchecked, &messages))?;
        }
        Ok((Self(Arc::new(send)), threads))
    }

    pub(super) fn send(&self, unchecked: Unchecked) -> Result<(), String> {
        self.0.send(unchecked).map_err(|_| "the swarm is ending".to_owned())
    }
}

fn check_all(unchecked: &Receiver<Unchecked>, messages: &mpsc::UnboundedSender<Message>) {
    for Unchecked { peer, request, index, wanted, chunk, wire_len } in unchecked {
        let verified = ChunkBytes::Stored(chunk).verify(&wanted);
        let message = Message::Came { peer, request, index, wire_len, verified };
        if messages.send(message).is_err() {
            return;
        }
    }
}
