//! A stream on which a peer asks us: its requests are answered one after another.
//!
//! A task reads, so that a cancel is heard while an answer is being sent; a task writes; answers
//! are made on blocking threads, no further ahead of the writer than [`SENDING_MAX`] frames.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::futures::io::{ReadHalf, WriteHalf};
use libp2p::futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use mega_storage::{Progress, Unit};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::lane::LaneError;
use super::limits::{GREETING_TIME, IDLE_MAX, READ_LEN, SENDING_MAX, WRITE_TIME};
use crate::swarm::net::Waits;
use crate::swarm::serve::{Answerer, Asker, InFlight, Lane, Uplink};
use crate::swarm::wire::limits::{IN_FLIGHT_LEN_MAX, OPEN_REQUESTS_MAX};
use crate::swarm::wire::{Frames, Hello, Priority, Reply, Request, RequestId, Side, WireError};

/// What streams are served with.
#[derive(Clone)]
pub(super) struct Serving {
    answerer: Arc<Answerer>,
    mesh: Arc<dyn Fn(&PeerId) -> bool + Send + Sync>,
    uplink: Arc<Mutex<Uplink<PeerId>>>,
    sent: Arc<Mutex<HashMap<PeerId, u64>>>,
    /// What each peer has asked for on all of its streams.
    asked: Arc<Mutex<HashMap<PeerId, InFlight>>>,
    waits: Waits,
    started: Instant,
}

/// Peers whose bytes are counted.
const COUNTED_MAX: usize = 4096;

/// A frame in two parts: its front, and content that is not copied.
type Outgoing = (Vec<u8>, Bytes);

/// A request whose answer is under way, and whether the peer wants no more of it.
#[derive(Default)]
struct Cancelled(Mutex<HashSet<RequestId>>);

impl Cancelled {
    fn has(&self, id: RequestId) -> bool {
        self.0.lock().contains(&id)
    }
}

/// Ends an answer that is being made when it was cancelled, or the swarm ends.
struct Until<'a> {
    waits: &'a Waits,
    cancelled: &'a Cancelled,
    id: RequestId,
}

impl Progress for Until<'_> {
    fn start(&self, _: &'static str, _: Option<u64>, _: Unit) {}

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        self.cancelled.has(self.id) || self.waits.has_ended()
    }
}

impl Serving {
    /// Answers with `answerer`; `mesh` says which peers belong to the mesh, by blocking.
    pub(super) fn new(
        answerer: Arc<Answerer>,
        mesh: Arc<dyn Fn(&PeerId) -> bool + Send + Sync>,
        uplink: Uplink<PeerId>,
        waits: Waits,
    ) -> Self {
        Self {
            answerer,
            mesh,
            uplink: Arc::new(Mutex::new(uplink)),
            sent: Arc::default(),
            asked: Arc::default(),
            waits,
            started: Instant::now(),
        }
    }

    /// Bytes of content that went to each peer.
    pub(super) fn sent(&self) -> HashMap<PeerId, u64> {
        self.sent.lock().clone()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Serves a stream until its end.
    pub(super) async fn run(
        &self,
        peer: PeerId,
        lane: Lane,
        stream: Stream,
    ) -> Result<(), LaneError> {
        let (read, write) = stream.split();
        let (ask, asked) = mpsc::channel(OPEN_REQUESTS_MAX);
        let (send, sending) = mpsc::channel(SENDING_MAX);
        let cancelled = Arc::new(Cancelled::default());
        let reading = self.read_requests(peer, lane, read, ask, send.clone(), cancelled.clone());
        let answering = self.answer_all(peer, lane, asked, send, cancelled);
        let writing = write_all(write, sending);
        let (read, (), written) = tokio::join!(reading, answering, writing);
        read.and(written)
    }

    async fn answer_all(
        &self,
        peer: PeerId,
        lane: Lane,
        mut asked: mpsc::Receiver<(RequestId, Request)>,
        send: mpsc::Sender<Outgoing>,
        cancelled: Arc<Cancelled>,
    ) {
        while let Some((id, request)) = asked.recv().await {
            self.hold_back(&peer, &request).await;
            let (this, send, cancelled) = (self.clone(), send.clone(), cancelled.clone());
            let one = tokio::task::spawn_blocking(move || {
                this.answer(&peer, id, &request, &send, &cancelled);
                if let Some(open) = this.asked.lock().get_mut(&peer) {
                    open.end(lane, &request);
                }
                cancelled.0.lock().remove(&id);
                send.is_closed()
            });
            // A panic is a bug of ours: the peer's stream ends, not the program.
            match one.await {
                Ok(false) => {}
                Ok(true) | Err(_) => return,
            }
        }
    }

    fn answer(
        &self,
        peer: &PeerId,
        id: RequestId,
        request: &Request,
        send: &mpsc::Sender<Outgoing>,
        cancelled: &Cancelled,
    ) {
        let asker = Asker::new(peer, (self.mesh)(peer));
        let mut has_ended = false;
        let mut sink = |reply: Reply| {
            let is_part = matches!(reply, Reply::Chunk { .. } | Reply::Bytes(_));
            if is_part && cancelled.has(id) {
                return ControlFlow::Break(());
            }
            has_ended |= !is_part;
            self.spend(peer, reply.content_len());
            let mut front = Vec::new();
            let tail = reply.encode_front(id, &mut front);
            match send.blocking_send((front, tail)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let until = Until { waits: &self.waits, cancelled, id };
        if let Err(error) = self.answerer.answer(&asker, request, &until, &mut sink) {
            tracing::error!(%peer, %error, "a peer's question");
        }
        if !has_ended {
            // A cancelled answer has an end too: NOT_FOUND.
            let mut front = Vec::new();
            Reply::NotFound.encode(id, &mut front);
            let _ = send.blocking_send((front, Bytes::new()));
        }
    }

    /// Waits until the limits let something be sent.
    async fn hold_back(&self, peer: &PeerId, request: &Request) {
        let priority = match request {
            Request::Chunks { priority, .. } => *priority,
            _ => Priority::Now,
        };
        loop {
            let admitted = self.uplink.lock().admit(self.now_us(), peer, priority);
            match admitted {
                Ok(()) => return,
                Err(wait_ms) => {
                    let until = Instant::now() + Duration::from_millis(wait_ms.into());
                    tokio::time::sleep_until(until.into()).await;
                }
            }
        }
    }

    fn spend(&self, peer: &PeerId, len: u64) {
        if len == 0 {
            return;
        }
        self.uplink.lock().spend(self.now_us(), peer, len);
        let mut sent = self.sent.lock();
        if sent.len() < COUNTED_MAX || sent.contains_key(peer) {
            *sent.entry(*peer).or_default() += len;
        }
    }

    async fn read_requests(
        &self,
        peer: PeerId,
        lane: Lane,
        mut read: ReadHalf<Stream>,
        ask: mpsc::Sender<(RequestId, Request)>,
        send: mpsc::Sender<Outgoing>,
        cancelled: Arc<Cancelled>,
    ) -> Result<(), LaneError> {
        let mut hello = Vec::new();
        Hello::default().encode(&mut hello);
        let _ = send.send((hello, Bytes::new())).await;
        let mut frames = Frames::new(Side::Asker);
        let mut buffer = vec![0; READ_LEN];
        let mut has_greeted = false;
        loop {
            let patience = if has_greeted { IDLE_MAX } else { GREETING_TIME };
            let count = match tokio::time::timeout(patience, read.read(&mut buffer)).await {
                Ok(count) => count?,
                Err(_) => return Ok(()),
            };
            if count == 0 {
                return Ok(());
            }
            let mut input = buffer.get(..count).unwrap_or_default();
            while let Some(frame) = frames.next(&mut input)? {
                if !has_greeted {
                    Hello::decode(&frame)?;
                    has_greeted = true;
                    continue;
                }
                match Request::decode(&frame)? {
                    Request::Bye { .. } => return Ok(()),
                    Request::Cancel => {
                        let mut cancelled = cancelled.0.lock();
                        // No more than can be under way.
                        if cancelled.len() < 2 * OPEN_REQUESTS_MAX {
                            cancelled.insert(frame.id);
                        }
                    }
                    request => self.begin(peer, lane, frame.id, request, &ask, &send).await?,
                }
            }
        }
    }

    async fn begin(
        &self,
        peer: PeerId,
        lane: Lane,
        id: RequestId,
        request: Request,
        ask: &mpsc::Sender<(RequestId, Request)>,
        send: &mpsc::Sender<Outgoing>,
    ) -> Result<(), LaneError> {
        let fits = {
            let mut asked = self.asked.lock();
            let open = asked.entry(peer).or_insert_with(|| InFlight::new(IN_FLIGHT_LEN_MAX));
            open.begin(lane, &request)?
        };
        if !fits {
            let mut front = Vec::new();
            Reply::Busy { retry_ms: 100 }.encode(id, &mut front);
            let _ = send.send((front, Bytes::new())).await;
            return Ok(());
        }
        ask.try_send((id, request)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                LaneError::Wrong(WireError::TooManyRequests { limit: OPEN_REQUESTS_MAX })
            }
            mpsc::error::TrySendError::Closed(_) => LaneError::Broken("it is ending".to_owned()),
        })
    }

    /// Forgets what a peer had asked for: none of its streams is open any more.
    pub(super) fn gone(&self, peer: &PeerId) {
        self.asked.lock().remove(peer);
    }
}

async fn write_all(
    mut write: WriteHalf<Stream>,
    mut sending: mpsc::Receiver<Outgoing>,
) -> Result<(), LaneError> {
    while let Some((front, tail)) = sending.recv().await {
        let is_last = sending.is_empty();
        let send = async {
            write.write_all(&front).await?;
            write.write_all(&tail).await?;
            if is_last {
                write.flush().await?;
            }
            Ok::<(), std::io::Error>(())
        };
        match tokio::time::timeout(WRITE_TIME, send).await {
            Ok(sent) => sent?,
            Err(_) => {
                let reason = "the peer does not take what it asked for";
                return Err(LaneError::Broken(reason.to_owned()));
            }
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), write.close()).await;
    Ok(())
}
