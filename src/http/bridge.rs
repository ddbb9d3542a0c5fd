//! Where blocking code meets the network: a request's body as [`Read`], an answer's body as
//! [`Write`].
//!
//! Each goes through a bounded channel, so memory is bounded however unequal the two sides are.
//! Invariants: nothing is read of a request's body before its handler asks (a client that waits for
//! `100 Continue` gets it only then); an answer's body that was not finished is broken off and
//! never looks whole; a client that went away makes every later read and write fail.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::limits::{DRAIN_LEN_MAX, PIECE_LEN, PIECES_MAX};

/// A request's body. Blocks; never read it on a runtime's thread.
pub struct BodyReader {
    source: Source,
    at_hand: Bytes,
    read_len: u64,
    silence_max: Duration,
    handle: Handle,
}

enum Source {
    /// Nothing was asked for yet.
    Waiting(Incoming),
    Running(mpsc::Receiver<io::Result<Bytes>>),
    Ended,
}

impl BodyReader {
    /// Wraps a body; call it on the runtime. A silence longer than `silence_max` ends the body with
    /// an error.
    pub(super) fn new(body: Incoming, silence_max: Duration) -> Self {
        let source = match body.is_end_stream() {
            true => Source::Ended,
            false => Source::Waiting(body),
        };
        let (at_hand, handle) = (Bytes::new(), Handle::current());
        Self { source, at_hand, read_len: 0, silence_max, handle }
    }

    /// Bytes read so far.
    pub(super) fn read_len(&self) -> u64 {
        self.read_len
    }

    /// The next piece; empty at the end.
    fn piece(&mut self) -> io::Result<Bytes> {
        if let Source::Waiting(_) = self.source
            && let Source::Waiting(body) = std::mem::replace(&mut self.source, Source::Ended)
        {
            let (sender, receiver) = mpsc::channel(PIECES_MAX);
            self.handle.spawn(pump(body, sender, self.silence_max));
            self.source = Source::Running(receiver);
        }
        let Source::Running(pieces) = &mut self.source else { return Ok(Bytes::new()) };
        match pieces.blocking_recv() {
            Some(Ok(piece)) => Ok(piece),
            Some(Err(error)) => {
                self.source = Source::Ended;
                Err(error)
            }
            None => {
                self.source = Source::Ended;
                Ok(Bytes::new())
            }
        }
    }

    /// Takes a little more of a body that nobody wants, so that its sender gets to the answer
    /// instead of a reset. Returns at once.
    pub(super) fn drain(&mut self) {
        match std::mem::replace(&mut self.source, Source::Ended) {
            Source::Waiting(body) => drop(self.handle.spawn(drain(body, self.silence_max))),
            Source::Running(_) | Source::Ended => {}
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.at_hand.is_empty() {
            self.at_hand = self.piece()?;
            if self.at_hand.is_empty() && matches!(self.source, Source::Ended) {
                return Ok(0);
            }
        }
        let len = out.len().min(self.at_hand.len());
        self.at_hand.split_to(len).copy_to_slice(&mut out[..len]);
        self.read_len += len as u64;
        Ok(len)
    }
}

/// Carries the body's pieces into the channel until its end, an error, a silence, or nobody reads.
async fn pump(mut body: Incoming, sender: mpsc::Sender<io::Result<Bytes>>, silence_max: Duration) {
    loop {
        let piece = match tokio::time::timeout(silence_max, body.frame()).await {
            Ok(None) => return,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Ok(data),
                // Trailers say nothing that is used here.
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, error)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client fell silent")),
        };
        let failed = piece.is_err();
        if sender.send(piece).await.is_err() || failed {
            return;
        }
    }
}

async fn drain(mut body: Incoming, silence_max: Duration) {
    let read = async {
        let mut len = 0;
        while let Some(Ok(frame)) = body.frame().await {
            len += frame.data_ref().map_or(0, |data| data.len() as u64);
            if len > DRAIN_LEN_MAX {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(silence_max.min(Duration::from_secs(5)), read).await;
}

/// An answer's body.
pub enum Body {
    /// All of it is at hand.
    Whole(Bytes),
    /// A handler writes it.
    Written {
        /// What the handler has written.
        pieces: mpsc::Receiver<Piece>,
        /// Goes with the body, finished or not.
        guard: Guard,
    },
    /// Nothing is left.
    Ended,
}

/// Something to be dropped when an answer's body has gone.
pub type Guard = Option<Box<dyn std::any::Any + Send + Sync>>;

/// A part of a written body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// All was written. A body without it was broken off.
    End,
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let frame = match this {
            Self::Ended => return Poll::Ready(None),
            Self::Whole(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Self::Written { pieces, .. } => match pieces.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Piece::Data(data))) => {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Piece::End)) => None,
                Poll::Ready(None) => {
                    Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "broken off")))
                }
            },
        };
        *this = Self::Ended;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ended => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Written { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ended => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Written { .. } => SizeHint::default(),
        }
    }
}

/// The writing end of [`Body::Written`]. Blocks while the client is slower.
pub struct BodyWriter {
    sender: mpsc::Sender<Piece>,
    gathered: BytesMut,
    /// Counts all bytes.
    counter: Arc<AtomicU64>,
}

impl BodyWriter {
    /// A writer and the body that it writes.
    pub(super) fn new(counter: Arc<AtomicU64>) -> (Self, Body) {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let writer = Self { sender, gathered: BytesMut::new(), counter };
        (writer, Body::Written { pieces, guard: None })
    }

    /// Writes bytes without copying them.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) fn put(&mut self, bytes: Bytes) -> io::Result<()> {
        self.flush()?;
        self.counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.send(Piece::Data(bytes))
    }

    /// Says that this was all.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Piece::End)
    }

    fn send(&self, piece: Piece) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        self.sender.blocking_send(piece).map_err(gone)
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(PIECE_LEN);
        }
        let len = bytes.len().min(PIECE_LEN - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..len]);
        self.counter.fetch_add(len as u64, Ordering::Relaxed);
        if self.gathered.len() == PIECE_LEN {
            self.flush()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return match self.sender.is_closed() {
                true => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")),
                false => Ok(()),
            };
        }
        let piece = std::mem::take(&mut self.gathered).freeze();
        self.send(Piece::Data(piece))
    }
}
