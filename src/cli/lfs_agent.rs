//! `lfs-agent`: the transfer agent that git-lfs starts, and the one command that sets it up.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::reach::Context;
use super::{FAILED, USAGE, exit};
use crate::control::{Exit, Reply};
use crate::git::credential::{self, Credential};
use crate::git::history::History;
use crate::git::{Git, PASSED_VARIABLES, config, run as run_git, trust};
use crate::lfs::agent::{self, Agent, HttpRemote};
use crate::lfs::{Access, Login};

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
        let remove = ["config", scope, "--remove-section", SECTION];
        match run_git(git.in_dir(dir.as_os_str()).args(remove), "config", b"") {
            Ok(_) => context.terminal.note("git-lfs transfers whole files again"),
            Err(_) => context.terminal.note("it was not set up"),
        }
        Exit::default()
    } else {
        transfer(&git, &dir)
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
    let values: [(&str, OsString); 2] =
        [("path", program.into_os_string()), ("args", "lfs-agent".into())];
    for (key, value) in values {
        let mut command = git.in_dir(dir.as_os_str());
        command.args(["config", scope(is_global), &format!("{SECTION}.{key}")]).arg(value);
        if let Err(error) = run_git(&mut command, "config", b"") {
            return exit::of_node(&error.into());
        }
    }
    context.terminal.note("git-lfs will transfer by chunk with servers that can");
    Exit::default()
}

/// Speaks with git-lfs until it has no more files.
fn transfer(git: &Git, dir: &Path) -> Exit {
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
    let agent = Agent { lfs_dir, earlier: &earlier, remote: &remote };
    match agent::run(&agent, &mut io::stdin().lock(), &mut io::stdout()) {
        Ok(()) => Exit::default(),
        Err(error) => failed(&format!("talking to git-lfs: {error}"), None),
    }
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
