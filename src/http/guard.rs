//! A connection that does not wait for ever: for a client that sends nothing while nothing is being
//! answered, or that takes nothing of its answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::metrics::Gauge;

/// A TCP connection with its two clocks.
pub(super) struct Guarded {
    stream: TcpStream,
    /// Requests that are being answered: while there are any, silence is in order.
    open: Gauge,
    idle_max: Duration,
    stall_max: Duration,
    /// Ends a silence.
    idle: Pin<Box<Sleep>>,
    /// Ends a write that makes no progress.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    /// Guards `stream`, whose requests are counted in `open`.
    pub(super) fn new(
        stream: TcpStream,
        open: Gauge,
        idle_max: Duration,
        stall_max: Duration,
    ) -> Self {
        let idle = Box::pin(sleep_until(Instant::now() + idle_max));
        Self { stream, open, idle_max, stall_max, idle, stall: None }
    }

    /// Notes progress in either direction.
    fn stir(&mut self) {
        let deadline = Instant::now() + self.idle_max;
        self.idle.as_mut().reset(deadline);
    }

    /// Passes a write's outcome on, unless it has stalled too long.
    fn watch_write<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stall = None;
            self.stir();
            return outcome;
        }
        let deadline = Instant::now() + self.stall_max;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(stall.as_mut().poll(context));
        let message = "the client takes nothing of its answer";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        if outcome.is_ready() {
            this.stir();
            return outcome;
        }
        while this.idle.as_mut().poll(context).is_ready() {
            if this.open.count() == 0 {
                let message = "the client sends nothing";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
            }
            this.stir();
        }
        Poll::Pending
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch_write(context, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.watch_write(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
