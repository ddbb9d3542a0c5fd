//! A stream on which we ask a peer: requests go out as they come, answers come back in order.
//!
//! Two tasks, one that writes and one that reads, so that neither waits for the other: both ends of
//! a stream that only write stand still for ever (rust-libp2p#5410). The first frame each way is a
//! hello; requests do not wait for the other's.

use std::collections::HashMap;
use std::sync::Arc;

use libp2p::futures::io::{ReadHalf, WriteHalf};
use libp2p::futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use mega_storage::ChunkSpan;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::limits::{CALL_PIECES_MAX, READ_LEN, SILENCE_MAX};
use super::message::Message;
use super::verify::{Checks, Unchecked};
use crate::swarm::schedule::RequestKey;
use crate::swarm::wire::{
    Answering, Frame, Frames, Hello, Reply, Request, RequestId, Side, Step, WireError,
};

/// Who gets the answers to a request.
#[derive(Clone)]
enum Route {
    /// Whoever asked, reply after reply; the channel ends with the answer.
    Call(mpsc::Sender<Reply>),
    /// The scheduler, once they have been checked: chunks.
    Chunks(ChunkRoute),
}

/// A request for chunks that is under way.
#[derive(Clone)]
struct ChunkRoute {
    request: RequestKey,
    spans: Arc<[ChunkSpan]>,
    /// Chunks that came: all are checked before the request counts as ended.
    came: u32,
}

struct Open {
    answering: Answering,
    route: Route,
}

/// What goes out.
enum Out {
    Ask(RequestId, Request, Route),
    Cancel(RequestId),
}

/// The asking end of a stream.
#[derive(Clone)]
pub(super) struct Lane {
    out: mpsc::UnboundedSender<Out>,
}

/// Calls have ids of their own beside the scheduler's.
const CALL_BIT: u32 = 1 << 31;

/// The id on the wire of a request of the scheduler.
fn chunk_id(request: RequestKey) -> RequestId {
    RequestId(request.0 & !CALL_BIT)
}

type Opens = Arc<Mutex<HashMap<RequestId, Open>>>;

impl Lane {
    /// Takes a stream over. `messages` is told of chunks, and of the stream's end.
    pub(super) fn start(
        peer: PeerId,
        stream: Stream,
        messages: mpsc::UnboundedSender<Message>,
        checks: Checks,
    ) -> Self {
        let (out, outgoing) = mpsc::unbounded_channel();
        let (read, write) = stream.split();
        let opens = Opens::default();
        let reader = Reader { peer, opens: opens.clone(), messages: messages.clone(), checks };
        tokio::spawn(async move {
            let writing = write_all(write, outgoing, opens);
            let error = tokio::select! {
                error = writing => error,
                error = reader.read_all(read) => error,
            };
            let _ = messages.send(Message::LaneDown { peer, error });
        });
        Self { out }
    }

    /// Sends a request for chunks.
    pub(super) fn ask_chunks(&self, key: RequestKey, spans: Vec<ChunkSpan>, request: Request) {
        let route = ChunkRoute { request: key, spans: spans.into(), came: 0 };
        let _ = self.out.send(Out::Ask(chunk_id(key), request, Route::Chunks(route)));
    }

    /// Says that a request for chunks needs no more answers.
    pub(super) fn cancel(&self, key: RequestKey) {
        let _ = self.out.send(Out::Cancel(chunk_id(key)));
    }

    /// Sends a request; its answers come out of the channel, which is closed after the last one and
    /// when the stream breaks.
    pub(super) fn call(&self, number: u32, request: Request) -> mpsc::Receiver<Reply> {
        let (answers, answered) = mpsc::channel(CALL_PIECES_MAX);
        let id = RequestId(number | CALL_BIT);
        let _ = self.out.send(Out::Ask(id, request, Route::Call(answers)));
        answered
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaneError {
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// The peer broke the protocol.
    #[error("{0}")]
    Wrong(WireError),
}

impl From<WireError> for LaneError {
    fn from(error: WireError) -> Self {
        Self::Wrong(error)
    }
}

impl From<std::io::Error> for LaneError {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Ends without an error when nobody needs the stream any more.
async fn write_all(
    mut write: WriteHalf<Stream>,
    mut outgoing: mpsc::UnboundedReceiver<Out>,
    opens: Opens,
) -> Option<LaneError> {
    let mut buffer = Vec::new();
    Hello::default().encode(&mut buffer);
    loop {
        if let Err(error) = send(&mut write, &buffer).await {
            return Some(error.into());
        }
        buffer.clear();
        // All that waits goes in one write.
        let mut next = Some(outgoing.recv().await?);
        while let Some(out) = next {
            match out {
                Out::Ask(id, request, route) => {
                    let answering = Answering::new(&request);
                    opens.lock().insert(id, Open { answering, route });
                    request.encode(id, &mut buffer);
                }
                Out::Cancel(id) if opens.lock().contains_key(&id) => {
                    Request::Cancel.encode(id, &mut buffer);
                }
                Out::Cancel(_) => {}
            }
            next = outgoing.try_recv().ok();
        }
    }
}

async fn send(write: &mut WriteHalf<Stream>, bytes: &[u8]) -> std::io::Result<()> {
    write.write_all(bytes).await?;
    write.flush().await
}

struct Reader {
    peer: PeerId,
    opens: Opens,
    messages: mpsc::UnboundedSender<Message>,
    checks: Checks,
}

impl Reader {
    async fn read_all(&self, mut read: ReadHalf<Stream>) -> Option<LaneError> {
        self.frames(&mut read).await.err()
    }

    async fn frames(&self, read: &mut ReadHalf<Stream>) -> Result<(), LaneError> {
        let mut frames = Frames::new(Side::Answerer);
        let mut buffer = vec![0; READ_LEN];
        let mut has_greeted = false;
        loop {
            let count = match tokio::time::timeout(SILENCE_MAX, read.read(&mut buffer)).await {
                Ok(count) => count?,
                Err(_) if self.opens.lock().is_empty() => continue,
                Err(_) => return Err(LaneError::Broken("nothing came for too long".to_owned())),
            };
            if count == 0 {
                return Err(LaneError::Broken("the peer closed the stream".to_owned()));
            }
            let mut input = buffer.get(..count).unwrap_or_default();
            while let Some(frame) = frames.next(&mut input)? {
                if has_greeted {
                    self.take(&frame).await?;
                } else {
                    Hello::decode(&frame)?;
                    has_greeted = true;
                }
            }
        }
    }

    async fn take(&self, frame: &Frame) -> Result<(), LaneError> {
        let reply = Reply::decode(frame)?;
        if let Reply::Bye { reason } = reply {
            let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
            return Err(LaneError::Broken(format!("the peer ended it: {reason}")));
        }
        let route = {
            let mut opens = self.opens.lock();
            let Some(open) = opens.get_mut(&frame.id) else {
                let (kind, reason) = (frame.kind, "nothing was asked under this number");
                return Err(LaneError::Wrong(WireError::NoAnswer { kind, reason }));
            };
            let step = open.answering.take(&reply)?;
            if let (Reply::Chunk { .. }, Route::Chunks(route)) = (&reply, &mut open.route) {
                route.came += 1;
            }
            let route = open.route.clone();
            if step == Step::Last {
                opens.remove(&frame.id);
            }
            route
        };
        match route {
            Route::Call(answers) => {
                // Nobody may be listening any more.
                let _ = answers.send(reply).await;
                Ok(())
            }
            Route::Chunks(route) => self.take_chunk(route, reply, frame.body.len()),
        }
    }

    /// A part of the answer to a request for chunks.
    fn take_chunk(&self, route: ChunkRoute, reply: Reply, len: usize) -> Result<(), LaneError> {
        let (peer, request, came) = (self.peer, route.request, route.came);
        let message = match reply {
            Reply::Chunk { index, chunk } => {
                let Some(span) = route.spans.get(usize::from(index)) else { return Ok(()) };
                let wire_len = u32::try_from(len).unwrap_or(u32::MAX);
                let wanted = span.chunk;
                let unchecked = Unchecked { peer, request, index, wanted, chunk, wire_len };
                return self.checks.send(unchecked).map_err(LaneError::Broken);
            }
            Reply::End { absent } => Message::Ended { peer, request, came, absent },
            Reply::Busy { retry_ms } => Message::Busy { peer, request, came, retry_ms },
            _ => Message::NotServed { peer, request, came },
        };
        self.messages.send(message).map_err(|e| LaneError::Broken(e.to_string()))
    }
}
