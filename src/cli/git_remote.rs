//! `git-remote-p2p`: the same program as git calls it for `p2p://PEER/repo/NAME`
//! (gitremote-helpers(7), capability `connect`).

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::thread;

use super::FAILED;
use super::peer_stream::{Waiting, copy, perform};
use super::reach::Context;
use crate::control::{Exit, PeerService};

/// Longest line that git may say, in bytes.
const LINE_LEN_MAX: u64 = 4096;

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
                return connect(context, url, PeerService::Fetch);
            }
            "connect git-receive-pack" => {
                drop(lines);
                return connect(context, url, PeerService::Push);
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
fn connect(context: &Context<'_>, url: &str, service: PeerService) -> Exit {
    let waiting = match Waiting::new() {
        Ok(waiting) => waiting,
        Err(error) => return failed(&error),
    };
    let socket = waiting.socket();
    thread::scope(|scope| {
        let copying = scope.spawn(|| between_git_and(waiting));
        let exit = perform(context, url, service, &socket);
        match copying.join() {
            Ok(Err(error)) if exit.code == super::OK => failed(&error),
            _ => exit,
        }
    })
}

/// Waits for the other process, then copies until the peer has said all.
fn between_git_and(waiting: Waiting) -> io::Result<()> {
    let Some(stream) = waiting.accept()? else { return Ok(()) };
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
