//! `git-remote-p2p`: the same program as git calls it for `p2p://PEER/repo/NAME`
//! (gitremote-helpers(7), capability `connect`).
//!
//! Git speaks its own protocol through this process, and the process that has the store open speaks
//! it with the peer: between the two is a socket that only this user reaches.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use super::FAILED;
use super::output::Done;
use super::reach::{self, Context};
use crate::control::{Exit, OsText, Request};
use crate::node::{Node, NodeError, open_git};
use crate::swarm::wire::GitService;

/// What is said on the socket once the peer's stream is open.
const OPENED: u8 = b'+';
/// Longest line that git may say, in bytes.
const LINE_LEN_MAX: u64 = 4096;
/// What is copied at once, in bytes.
const COPY_LEN: usize = 64 << 10;

/// Speaks git's protocol with a peer, for git
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// What git calls the remote
    remote: String,
    /// p2p://PEER/repo/NAME
    url: Option<String>,
}

/// Turns the arguments of `git-remote-p2p` into those of the hidden command; leaves others as they
/// are.
pub(super) fn translate(args: Vec<OsString>) -> Vec<OsString> {
    let name = args.first().map(|arg| Path::new(arg).file_name().unwrap_or_default());
    if name != Some(OsStr::new("git-remote-p2p")) {
        return args;
    }
    let command = ["mega-store", "--quiet", "git-remote", "--"].map(OsString::from);
    command.into_iter().chain(args.into_iter().skip(1)).collect()
}

/// Answers git until it has what it wants.
pub(super) fn run(args: &Args, context: &Context<'_>) -> Exit {
    let url = args.url.as_ref().unwrap_or(&args.remote);
    let (mut lines, mut out) = (io::stdin().lock(), io::stdout());
    loop {
        let mut line = String::new();
        match (&mut lines).take(LINE_LEN_MAX).read_line(&mut line) {
            Ok(1..) => {}
            Ok(0) => return Exit::default(),
            Err(error) => return failed(&error),
        }
        let said = match line.trim_end_matches('\n') {
            "" => return Exit::default(),
            "capabilities" => out.write_all(b"connect\n\n").and_then(|()| out.flush()),
            "connect git-upload-pack" => {
                drop(lines);
                return connect(context, url, GitService::UploadPack);
            }
            "connect git-receive-pack" => {
                drop(lines);
                return connect(context, url, GitService::ReceivePack);
            }
            // Git goes on without.
            line if line.starts_with("connect ") => {
                out.write_all(b"fallback\n").and_then(|()| out.flush())
            }
            line => Err(io::Error::other(format!("git says '{line}', which is not known here"))),
        };
        if let Err(error) = said {
            return failed(&error);
        }
    }
}

fn failed(error: &io::Error) -> Exit {
    Exit { code: FAILED, error: Some(error.to_string()), hint: None }
}

/// Has the stream opened, and copies between it and git.
fn connect(context: &Context<'_>, url: &str, service: GitService) -> Exit {
    let socket = tempfile::Builder::new().prefix("mega-git-").tempdir().and_then(|dir| {
        let path = dir.path().join("s");
        Ok((UnixListener::bind(&path)?, path, dir))
    });
    let (listener, path, _dir) = match socket {
        Ok(socket) => socket,
        Err(error) => return failed(&error),
    };
    let copying = thread::spawn(move || between_git_and(&listener));
    let request = Request::GitStream {
        url: url.to_owned(),
        pushes: service == GitService::ReceivePack,
        socket: OsText(path.clone().into_os_string()),
    };
    let exit = reach::perform(context, request);
    // When nothing was opened it still waits.
    drop(UnixStream::connect(&path));
    match copying.join() {
        Ok(Err(error)) if exit.code == super::OK => failed(&error),
        _ => exit,
    }
}

/// Waits for the other process, then copies until the peer has said all.
fn between_git_and(listener: &UnixListener) -> io::Result<()> {
    let (stream, _) = listener.accept()?;
    let mut said = [0];
    if (&stream).read_exact(&mut said).is_err() || said != [OPENED] {
        return Ok(());
    }
    let mut out = io::stdout();
    out.write_all(b"\n")?;
    out.flush()?;
    let other = stream.try_clone()?;
    // It may still wait for git when all is said: then the process ends over it.
    thread::spawn(move || {
        let _ = copy(&mut io::stdin().lock(), &mut &other);
        let _ = other.shutdown(Shutdown::Write);
    });
    copy(&mut &stream, &mut out)
}

/// Opens the stream and copies between it and the socket that waits for it.
pub(super) fn answer(
    node: &Node,
    url: &str,
    pushes: bool,
    socket: &OsText,
) -> Result<Done, NodeError> {
    let service = if pushes { GitService::ReceivePack } else { GitService::UploadPack };
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
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
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
    fn git_calls_it_by_its_own_name() {
        let given = |args: &[&str]| translate(args.iter().map(OsString::from).collect());
        let url = "p2p://12D3KooW/repo/a";
        let line = given(&["/usr/lib/git-core/git-remote-p2p", "origin", url]);
        assert_eq!(line, ["mega-store", "--quiet", "git-remote", "--", "origin", url]);
        assert_eq!(given(&["mega-store", "status"]), ["mega-store", "status"]);
    }
}
