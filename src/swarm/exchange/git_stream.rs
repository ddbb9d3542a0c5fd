//! Git's own protocol on a stream between peers: one frame that names the repository and the
//! service, one that answers it, then git's bytes both ways.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use libp2p::futures::io::{ReadHalf, WriteHalf};
use libp2p::futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};

use super::lane::LaneError;
use super::limits::{GREETING_TIME, IDLE_MAX};
use crate::swarm::net::{NetError, Waits};
use crate::swarm::wire::{Frame, Frames, Open, OpenAnswer, Side};

/// Serves git to peers. Blocking; called from threads made for it.
pub trait GitServer: Send + Sync {
    /// Whether the peer may do that. The answer for what is absent is no.
    fn may(&self, peer: &PeerId, open: &Open) -> bool;

    /// Talks git until the end.
    ///
    /// # Errors
    /// When the stream breaks, or the client breaks the protocol.
    fn serve(
        &self,
        peer: &PeerId,
        open: &Open,
        read: &mut (dyn Read + Send),
        write: &mut (dyn Write + Send),
    ) -> io::Result<()>;
}

/// Serves a stream that a peer opened.
pub(super) async fn serve(peer: PeerId, stream: Stream, git: Arc<dyn GitServer>, waits: Waits) {
    let (mut read, mut write) = stream.split();
    let greeting = tokio::time::timeout(GREETING_TIME, read_frame(&mut read, Side::Asker)).await;
    let Ok(Ok(greeting)) = greeting else { return };
    let Ok(open) = Open::decode(&greeting) else { return };
    let (asked, service) = (open.clone(), git.clone());
    let may = tokio::task::spawn_blocking(move || service.may(&peer, &asked)).await;
    let may = may.unwrap_or(false);
    let mut answer = Vec::new();
    let said = if may { OpenAnswer::Opened } else { OpenAnswer::NotFound };
    said.encode(&mut answer);
    if write.write_all(&answer).await.is_err() || write.flush().await.is_err() || !may {
        let _ = write.close().await;
        return;
    }
    let end = tokio::task::spawn_blocking(move || {
        let mut read = BlockingRead { waits: waits.clone(), half: read };
        let mut write = BlockingWrite { waits, half: write };
        let served = git.serve(&peer, &open, &mut read, &mut write);
        let _ = write.flush();
        let _ = write.close();
        served
    });
    if let Ok(Err(error)) = end.await {
        tracing::debug!(%peer, %error, "git over a stream ended early");
    }
}

/// One frame, and no byte more: what follows it is git's.
async fn read_frame(read: &mut ReadHalf<Stream>, from: Side) -> Result<Frame, LaneError> {
    let mut frames = Frames::new(from);
    let mut byte = [0];
    loop {
        read.read_exact(&mut byte).await?;
        if let Some(frame) = frames.next(&mut &byte[..])? {
            return Ok(frame);
        }
    }
}

/// Opens git's protocol on a stream; `None` when the peer does not serve it.
///
/// # Errors
/// When the stream breaks.
pub(super) async fn open(
    stream: Stream,
    open: &Open,
    waits: &Waits,
) -> Result<Option<GitStream>, LaneError> {
    let (mut read, mut write) = stream.split();
    let mut greeting = Vec::new();
    open.encode(&mut greeting);
    write.write_all(&greeting).await?;
    write.flush().await?;
    let answer = OpenAnswer::decode(&read_frame(&mut read, Side::Answerer).await?)?;
    Ok((answer == OpenAnswer::Opened).then(|| GitStream {
        read: BlockingRead { waits: waits.clone(), half: read },
        write: BlockingWrite { waits: waits.clone(), half: write },
    }))
}

/// Git's protocol with a peer: two ends that block. Not for threads of the runtime.
pub struct GitStream {
    /// What the peer sends.
    pub read: BlockingRead,
    /// What goes to the peer; closing it is dropping it.
    pub write: BlockingWrite,
}

/// Reads a stream by blocking.
pub struct BlockingRead {
    waits: Waits,
    half: ReadHalf<Stream>,
}

impl Read for BlockingRead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let half = &mut self.half;
        wait(&self.waits, async { timed(IDLE_MAX, half.read(out)).await })
    }
}

/// Writes a stream by blocking.
pub struct BlockingWrite {
    waits: Waits,
    half: WriteHalf<Stream>,
}

impl BlockingWrite {
    /// Says that nothing more comes.
    ///
    /// # Errors
    /// When the stream is broken.
    pub fn close(&mut self) -> io::Result<()> {
        wait(&self.waits, self.half.close())
    }
}

impl Write for BlockingWrite {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let half = &mut self.half;
        wait(&self.waits, async { timed(IDLE_MAX, half.write(bytes)).await })
    }

    fn flush(&mut self) -> io::Result<()> {
        let half = &mut self.half;
        wait(&self.waits, async { timed(IDLE_MAX, half.flush()).await })
    }
}

fn wait<T>(waits: &Waits, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let stopped = |error: NetError| io::Error::new(io::ErrorKind::ConnectionAborted, error);
    waits.block_on(work).map_err(stopped)?
}

async fn timed<T>(most: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the peer kept silent for too long");
    tokio::time::timeout(most, work).await.map_err(late)?
}
