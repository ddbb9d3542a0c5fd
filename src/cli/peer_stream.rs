//! Git's streams with a peer, between two processes: one that git started, and the one that has the
//! store open and speaks with the peer. Between the two is a socket that only this user reaches.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use super::output::Done;
use super::reach::{self, Context};
use crate::control::{Exit, OsText, PeerService, Request};
use crate::node::{Node, NodeError, open_git};
use crate::swarm::wire::GitService;

/// What is said on the socket once the peer's stream is open.
const OPENED: u8 = b'+';
/// What is copied at once, in bytes.
const COPY_LEN: usize = 64 << 10;

/// A socket at which a stream is waited for.
pub(super) struct Waiting {
    listener: UnixListener,
    path: PathBuf,
    _dir: TempDir,
}

impl Waiting {
    pub(super) fn new() -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("mega-git-").tempdir()?;
        let path = dir.path().join("s");
        Ok(Self { listener: UnixListener::bind(&path)?, path, _dir: dir })
    }

    /// Where it is.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.clone()
    }

    /// The stream once it is open; `None` when it could not be opened. The socket goes, also when
    /// this fails: whoever is at it or comes to it then does not wait for ever.
    pub(super) fn accept(self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept()?;
        let mut said = [0];
        let is_open = (&stream).read_exact(&mut said).is_ok() && said == [OPENED];
        Ok(is_open.then_some(stream))
    }
}

/// Has a stream opened and carried for as long as it lasts. Meanwhile another thread has to
/// [`Waiting::accept`] it at the socket.
pub(super) fn perform(
    context: &Context<'_>,
    url: &str,
    service: PeerService,
    socket: &Path,
) -> Exit {
    let (url, path) = (url.to_owned(), OsText(socket.into()));
    let exit = reach::perform(context, Request::GitStream { url, service, socket: path });
    // When nothing was opened somebody still waits.
    drop(UnixStream::connect(socket));
    exit
}

/// Opens the stream and copies between it and the socket at which it is waited for.
pub(super) fn answer(
    node: &Node,
    url: &str,
    service: PeerService,
    socket: &OsText,
) -> Result<Done, NodeError> {
    let service = match service {
        PeerService::Fetch => GitService::UploadPack,
        PeerService::Push => GitService::ReceivePack,
        PeerService::Lfs => GitService::Lfs,
    };
    let mut opened = open_git(node, url, service)?;
    let cut = |error| NodeError::io("speaking with git", error);
    let local = UnixStream::connect(PathBuf::from(&socket.0)).map_err(cut)?;
    (&local).write_all(&[OPENED]).map_err(cut)?;
    let stream = &mut opened.stream;
    let (read, write) = (&mut stream.read, &mut stream.write);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Why it broke is what the other direction says, if it says anything.
            let _ = copy(&mut &local, write);
            let _ = write.close();
        });
        let copied = copy(read, &mut &local);
        let _ = local.shutdown(Shutdown::Both);
        copied.map_err(|error| NodeError::Remote { url: url.to_owned(), reason: error.to_string() })
    })?;
    Ok(Done::Whole)
}

/// Copies to the end, handing on at once what is there.
pub(super) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; COPY_LEN];
    loop {
        let len = match from.read(&mut buffer) {
            Ok(0) => return to.flush(),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..len])?;
        to.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_opens_a_stream_that_nobody_can_take_does_not_wait_for_ever() {
        let waiting = Waiting::new().expect("made");
        let socket = waiting.socket();
        // It fails, as it does when there are no descriptors left.
        waiting.listener.set_nonblocking(true).expect("set");
        let error = waiting.accept().expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        UnixStream::connect(&socket).expect_err("too late");
        let waiting = Waiting::new().expect("made");
        let early = UnixStream::connect(waiting.socket()).expect("it listens");
        drop(waiting);
        let read = (&early).read(&mut [0]);
        assert!(read.as_ref().map_or(true, |len| *len == 0), "{read:?}");
    }
}
