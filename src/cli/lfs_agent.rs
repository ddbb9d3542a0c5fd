//! `lfs-agent`: the transfer agent that git-lfs starts, and the one command that sets it up.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{self, Scope};

use super::peer_stream::{Waiting, perform};
use super::reach::Context;
use super::{FAILED, USAGE, exit};
use crate::control::{Exit, PeerService, Reply};
use crate::git::credential::{self, Credential};
use crate::git::history::History;
use crate::git::{Git, PASSED_VARIABLES, config, run as run_git, trust};
use crate::lfs::agent::{self, Agent, HttpRemote, Operation, Remote, StreamRemote};
use crate::lfs::{Access, LfsError, Login, wire};

/// Transfer LFS files by chunk, for git-lfs
///
/// git-lfs starts this itself once it is set up, and speaks to it on standard input. With a server
/// that knows it, only the chunks of a file go up or down that the other side does not have; with
/// any other server git-lfs transfers as always.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Set it up in the repository of the working directory
    #[arg(long, conflicts_with = "uninstall")]
    install: bool,
    /// Undo --install
    #[arg(long)]
    uninstall: bool,
    /// With --install and --uninstall: for all repositories of this user
    #[arg(long)]
    global: bool,
}

/// Git's configuration of the agent.
const SECTION: &str = "lfs.customtransfer.mega";
/// Git's configuration of git-lfs with peers, where it has no server and leaves all to the agent.
/// It takes `p2p://PEER/...` for a path at a host named p2p, and looks for the options of the
/// address that it makes of that.
const PEER_SECTION: &str = "lfs.https://p2p";

pub(super) fn run(args: &Args, context: &Context<'_>) -> Exit {
    if args.global && !args.install && !args.uninstall {
        let error = Some("--global needs --install or --uninstall".to_owned());
        return Exit { code: USAGE, error, hint: Some("add --help to see the options".to_owned()) };
    }
    let variables =
        PASSED_VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), env::var_os(name)?)));
    let git = Git::new(variables);
    let dir = env::var_os("GIT_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    if args.install {
        set_up(&git, &dir, args.global, context)
    } else if args.uninstall {
        let scope = scope(args.global);
        let remove = |section| {
            let remove = ["config", scope, "--remove-section", section];
            run_git(git.in_dir(dir.as_os_str()).args(remove), "config", b"").is_ok()
        };
        match [remove(SECTION), remove(PEER_SECTION)] {
            [false, false] => context.terminal.note("it was not set up"),
            _ => context.terminal.note("git-lfs transfers whole files again"),
        }
        Exit::default()
    } else {
        transfer(&git, &dir, context)
    }
}

fn scope(is_global: bool) -> &'static str {
    if is_global { "--global" } else { "--local" }
}

/// Tells git-lfs which program to start.
fn set_up(git: &Git, dir: &Path, is_global: bool, context: &Context<'_>) -> Exit {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed(&format!("this program's path is not known: {error}"), None),
    };
    let values: [(&str, &str, OsString); 4] = [
        (SECTION, "path", program.into_os_string()),
        (SECTION, "args", "lfs-agent".into()),
        (PEER_SECTION, "standaloneTransferAgent", wire::TRANSFER.into()),
        (PEER_SECTION, "sshTransfer", "never".into()),
    ];
    for (section, key, value) in values {
        let mut command = git.in_dir(dir.as_os_str());
        command.args(["config", scope(is_global), &format!("{section}.{key}")]).arg(value);
        if let Err(error) = run_git(&mut command, "config", b"") {
            return exit::of_node(&error.into());
        }
    }
    context.terminal.note("git-lfs will transfer by chunk with servers that can, and with peers");
    Exit::default()
}

/// Speaks with git-lfs until it has no more files.
fn transfer(git: &Git, dir: &Path, context: &Context<'_>) -> Exit {
    let (common, lfs_dir) = match find_dirs(git, dir) {
        Ok(dirs) => dirs,
        Err(error) => {
            let hint = "git-lfs starts this; 'mega-store lfs-agent --install' sets it up";
            return failed(&error, Some(hint));
        }
    };
    let history = History::new(git.clone(), &common);
    let fill = |url: &str| {
        let found = credential::fill(git, url).ok().flatten()?;
        Some(Login { user: found.user, password: found.password })
    };
    let tell = |url: &str, login: &Login, worked| {
        let Login { user, password } = login.clone();
        if let Err(error) = credential::tell(git, url, &Credential { user, password }, worked) {
            tracing::warn!(%error, "the credential helper was not told");
        }
    };
    let build =
        |url: &str| trust::client_builder(git, &common, url).map_err(|error| error.to_string());
    let access_to = |url: &str| Access {
        fill: &fill,
        tell: &tell,
        build: &build,
        extra_header: config::get_for_url(git, &common, "http.extraHeader", url).ok().flatten(),
        interrupted: &|| false,
    };
    let remote = HttpRemote::new(&access_to);
    let earlier = |pointer: &mega_storage::Pointer| history.other_versions(pointer);
    let talked = thread::scope(|scope| {
        let connect = |url: &str| open_stream(scope, context, url);
        let alone = |name: &str, operation| -> Result<Box<dyn Remote + '_>, LfsError> {
            let url = peer_url(git, dir, name, operation)?;
            Ok(Box::new(StreamRemote::new(url, &connect)))
        };
        let agent = Agent { lfs_dir, earlier: &earlier, remote: &remote };
        agent::run(&agent, &alone, &mut io::stdin().lock(), &mut io::stdout())
    });
    match talked {
        Ok(()) => Exit::default(),
        Err(error) => failed(&format!("talking to git-lfs: {error}"), None),
    }
}

/// Has a stream to the repository at `url` opened.
fn open_stream<'scope>(
    scope: &'scope Scope<'scope, '_>,
    context: &'scope Context<'_>,
    url: &str,
) -> io::Result<UnixStream> {
    let waiting = Waiting::new()?;
    let (socket, url) = (waiting.socket(), url.to_owned());
    let performing = scope.spawn(move || perform(context, &url, PeerService::Lfs, &socket));
    // Where this fails its socket goes, so that the other thread ends and its scope with it.
    if let Some(stream) = waiting.accept()? {
        return Ok(stream);
    }
    let exit = performing.join().ok();
    let why = exit.and_then(|exit| exit.error);
    Err(io::Error::other(why.unwrap_or_else(|| "the stream ended at once".to_owned())))
}

/// The address of what git-lfs calls by `name`: a remote, or an address.
fn peer_url(git: &Git, dir: &Path, name: &str, operation: Operation) -> Result<String, LfsError> {
    let ask = |args: &[&str]| {
        let answer = run_git(git.in_dir(dir.as_os_str()).args(args), "remote", b"").ok()?;
        let url = String::from_utf8(answer).ok()?.trim().to_owned();
        url.starts_with("p2p://").then_some(url)
    };
    let is_push = operation == Operation::Upload;
    // In git-lfs's own order.
    let set = || is_push.then(|| ask(&["config", "--get", "lfs.pushurl"])).flatten();
    let set = set().or_else(|| ask(&["config", "--get", "lfs.url"]));
    let for_push = || is_push.then(|| ask(&["remote", "get-url", "--push", "--", name])).flatten();
    let url = set.or_else(for_push).or_else(|| ask(&["ls-remote", "--get-url", "--", name]));
    url.ok_or_else(|| LfsError::Endpoint {
        url: name.to_owned(),
        reason: "without a server this agent works with p2p://PEER/repo/NAME".to_owned(),
    })
}

/// The repository's own directory, and the one in which git-lfs keeps its files.
fn find_dirs(git: &Git, dir: &Path) -> Result<(PathBuf, PathBuf), String> {
    use std::os::unix::ffi::OsStringExt;
    let ask = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
    let answer = run_git(git.in_dir(dir.as_os_str()).args(ask), "rev-parse", b"");
    let mut answer = answer.map_err(|e| e.to_string())?;
    answer.truncate(answer.trim_ascii_end().len());
    let common = PathBuf::from(OsString::from_vec(answer));
    let storage = config::get(git, &common, "lfs.storage").map_err(|e| e.to_string())?;
    // A path of its own replaces the repository's directory.
    let lfs_dir = common.join(storage.unwrap_or_else(|| "lfs".to_owned()));
    Ok((common, lfs_dir))
}

fn failed(error: &str, hint: Option<&str>) -> Exit {
    Exit { code: FAILED, error: Some(error.to_owned()), hint: hint.map(str::to_owned) }
}
