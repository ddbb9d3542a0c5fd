//! `mount`: a revision as a directory, served by the process that has the store open, or by one
//! that is started.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mega_fuse::{MountOptions, PlainCounts};
use mega_storage::{FetchCounts, RepoName, StoreError};
use serde::Serialize;

use super::output::{Done, Output, name, size};
use super::parse::{self, Spec};
use super::reach::{self, Context, Reached};
use super::run::Holder;
use super::{FAILED, absolute, exit, hold, status};
use crate::control::{Call, Exit, LfsMode, MountCall, Request};
use crate::git::Git;
use crate::http::client::RemoteUrl;
use crate::node::{MountInfo, MountRequest, Node, NodeError, RepoPlace};
use crate::swarm::record::P2pUrl;

/// The daemon's log is begun anew at this length, in bytes.
const LOG_LEN_MAX: u64 = 16 << 20;

/// Show a revision as a directory
///
/// DIR must be an empty directory. The mount is read-only and stays at the commit that REV names
/// now: a branch, tag, commit id, abbreviated id, HEAD~2 and the like; HEAD when it is not given.
/// LFS files have their real size and content; only what programs read is read from the store.
///
/// The command returns when the mount answers. A process in the background serves it, and all
/// further mounts of this store; it ends when the last one is gone ('mega-store unmount DIR',
/// 'umount DIR'). Other commands work meanwhile: they are done by that process. Its log is
/// log/mount.log in the store.
///
/// A repository on a server or at a peer is mounted at once and fetched as it is read: directories
/// and files when they are opened, of LFS files the parts that programs touch. What has come is
/// verified and kept, in a repository of this store that is named after host and path, or peer and
/// name.
///
/// With --upstream a repository at a peer is read from a mega-store server too: what no peer has
/// answered within 0.3 seconds is asked of the server as well, and at once while no peer is there.
/// Bytes are verified as ever; what has no hash (branches, sizes, lists of chunks) the server is
/// believed as if the repository were mounted from it, and no peer is told of it. It is the setting
/// swarm.upstream ('mega-store repo config'), kept without password; while the repository is
/// mounted somewhere else, that goes on as it began.
///
/// With --plain the kernel reads large LFS files at the speed of a plain file: those of 16 MiB and
/// more that are opened get a copy in cache/plain of the store, made and verified in the
/// background, and the next opening that finds the file closed reads it without this program. The
/// copies of all mounts of the store take at most SIZE, as the last mount said; those opened
/// longest ago go first. In return every opening of any file is a request, which slows programs
/// that open thousands. It needs root and Linux 6.9.
///
/// For /etc/fstab, link mount.mega in /sbin to this program and write
///   team/model@v1.0  /mnt/model  mega  store=/data/models,allow_other,_netdev  0  0
/// For systemd, see mega-store-mount@.service.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store mount model /mnt/model
  mega-store mount model@v1.0 /mnt/model --allow-other
  mega-store mount model@HEAD~2 /mnt/old --foreground    until Ctrl-C
  mega-store mount https://host/team/model.git@v1.0 /mnt/model
  mega-store mount p2p://12D3KooW.../repo/team/model /mnt/model
  mega-store mount p2p://12D3KooW.../repo/model /mnt/model --upstream https://host/model.git
  mega-store mount model /mnt/model --plain 40g

With --json one object: repo, revision, commit, dir, lfs, allow_other, requests, origin, resident,
fetched {requests, packs, pack_bytes, chunks, chunk_bytes, wrong, failed, rate}, upstream {url,
bytes}, plain {limit, copies, bytes, written, removed, opened}: the plain copies, of all mounts of
the store.")]
pub(super) struct Args {
    /// A repository here, on a server (http(s)://HOST/NAME.git) or at a peer
    /// (p2p://PEER/repo/NAME), and a revision of it: HEAD when it is not given
    #[arg(
        value_name = "NAME[@REV]|URL[@REV]",
        value_parser = parse::place
    )]
    spec: Spec,
    /// An empty directory
    dir: PathBuf,
    /// Let other users in; permission bits are checked
    #[arg(long)]
    allow_other: bool,
    /// Which LFS files appear as their content
    #[arg(long, value_enum, default_value = "attr")]
    lfs: Lfs,
    /// Keep plain copies of large LFS files: bytes, or with k, m or g, as 40g
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    plain: Option<u64>,
    /// For a repository at a peer: the same one on a server, asked where no peer answers
    #[arg(long, value_name = "URL", value_parser = parse::server)]
    upstream: Option<String>,
    /// Serve the mount in this process, until Ctrl-C or its end
    #[arg(long)]
    foreground: bool,
    /// Serve in the background: written by the command itself when it starts that process.
    #[arg(long, hide = true)]
    daemon: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Lfs {
    /// Every pointer
    All,
    /// Where .gitattributes says filter=lfs, as git does
    Attr,
    /// None: the pointers' text
    Off,
}

impl Lfs {
    fn mode(self) -> LfsMode {
        match self {
            Self::All => LfsMode::All,
            Self::Attr => LfsMode::Attr,
            Self::Off => LfsMode::Off,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Attr => "attr",
            Self::Off => "off",
        }
    }
}

/// Where a repository is, by what the call names.
pub(super) fn place(text: &str) -> Result<RepoPlace, NodeError> {
    if let Ok(url) = text.parse::<P2pUrl>() {
        return Ok(RepoPlace::Peer(url));
    }
    Ok(match parse::is_address(text) {
        true => RepoPlace::There(RemoteUrl::parse(text)?),
        false => RepoPlace::Here(RepoName::new(text)?),
    })
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Exit {
    let call = reach::new_call(
        context,
        Request::Mount(MountCall {
            repo: args.spec.repo.clone(),
            revision: args.spec.revision.clone(),
            dir: absolute(&args.dir).into(),
            allow_other: args.allow_other,
            lfs: args.lfs.mode(),
            plain_len: args.plain,
            upstream: args.upstream.clone(),
        }),
    );
    if args.daemon || args.foreground {
        return match reach::reach(context, &call) {
            Ok(Reached::Opened(node)) => hold::hold(context, node, &call, args.daemon),
            // Somebody else came first and has mounted it.
            Ok(Reached::Answered(exit)) => hold::report(exit, args.daemon),
            Err(exit) => hold::report(exit, args.daemon),
        };
    }
    match try_holder(context, &call) {
        Some(exit) => exit,
        None => start_daemon(args, context),
    }
}

/// Lets the process that has the store open do it, if there is one.
fn try_holder(context: &Context<'_>, call: &Call) -> Option<Exit> {
    use crate::control::{self, ControlError};
    match control::connect(&context.location.path) {
        Ok(None) => None,
        Ok(Some(stream)) => match control::call(stream, call, context.terminal) {
            Ok(exit) => Some(exit),
            Err(ControlError::Gone) => None,
            Err(error) => Some(exit::of_control(&error)),
        },
        Err(error) => Some(exit::of_control(&error)),
    }
}

/// Starts this program again in the background and waits for its word.
fn start_daemon(args: &Args, context: &Context<'_>) -> Exit {
    let failed = |action: &str, error| exit::of_node(&NodeError::io(action, error));
    let store = &context.location.path;
    let has_store = store.join("FORMAT").is_file();
    if !has_store && context.location.is_default && parse::is_address(&args.spec.repo) {
        if let Err(error) = Node::create(store) {
            return exit::of_node(&error);
        }
    } else if !has_store {
        return exit::of_node(&StoreError::NotAStore { path: store.clone() }.into());
    }
    let log = match open_log(store) {
        Ok(log) => log,
        Err(error) => return failed("opening the log in the store", error),
    };
    let mut command = Command::new("/proc/self/exe");
    command.arg0("mega-store").arg("--store").arg(store);
    command.args(["mount", "--daemon", "--lfs", args.lfs.as_str()]);
    if args.allow_other {
        command.arg("--allow-other");
    }
    if let Some(len) = args.plain {
        command.arg("--plain").arg(len.to_string());
    }
    if let Some(url) = &args.upstream {
        command.arg("--upstream").arg(url);
    }
    if context.global.json {
        command.arg("--json");
    }
    command.args((0..context.global.verbose.max(1)).map(|_| "-v"));
    let Spec { repo, revision } = &args.spec;
    command.arg("--").arg(format!("{repo}@{revision}")).arg(absolute(&args.dir));
    // The root is never in the way of an unmount.
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed("starting the mount's process", error),
    };
    let mut word = String::new();
    let heard = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut word));
    let parsed = serde_json::from_str::<hold::Word>(&word);
    match (heard, parsed) {
        (Some(Ok(_)), Ok(word)) => word.repeat(context),
        _ => Exit {
            code: FAILED,
            error: Some("the mount's process ended without a word".to_owned()),
            hint: Some(format!("its log is {}", store.join("log/mount.log").display())),
        },
    }
}

fn open_log(store: &Path) -> std::io::Result<std::fs::File> {
    let dir = store.join("log");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let path = dir.join("mount.log");
    if path.metadata().is_ok_and(|facts| facts.len() > LOG_LEN_MAX) {
        std::fs::rename(&path, dir.join("mount.log.1"))?;
    }
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

pub(super) fn answer(
    node: &Node,
    holder: Holder,
    call: &MountCall,
    git: Git,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    if !holder.keeps_mounts {
        let process = std::process::id();
        return Err(NodeError::CannotHoldMounts { process, command: status::command() });
    }
    let lfs = match call.lfs {
        LfsMode::All => mega_fuse::LfsMode::All,
        LfsMode::Attr => mega_fuse::LfsMode::Attr,
        LfsMode::Off => mega_fuse::LfsMode::Off,
    };
    let allow_other = call.allow_other;
    let request = MountRequest {
        repo: place(&call.repo)?,
        revision: call.revision.clone(),
        dir: call.dir.to_path(),
        options: MountOptions { allow_other, lfs, ..MountOptions::default() },
        plain_len: call.plain_len,
        upstream: call.upstream.as_deref().map(RemoteUrl::parse).transpose()?,
        git,
    };
    let info = node.mounts().mount(node, &request)?;
    for note in &info.notes {
        out.note(format_args!("{note}"));
    }
    let row = MountRow::of(node, &info)?;
    if out.is_json() {
        out.json(&row)?;
    }
    out.note(format_args!("{row}"));
    Ok(Done::Whole)
}

/// A mount, shown.
#[derive(Serialize)]
pub(super) struct MountRow {
    repo: String,
    revision: String,
    commit: Option<String>,
    dir: String,
    lfs: &'static str,
    allow_other: bool,
    /// What the kernel has asked so far, by kind.
    requests: BTreeMap<&'static str, u64>,
    /// Where a repository that is filled as it is read comes from.
    origin: Option<String>,
    /// Bytes of its LFS files that are here.
    resident: Option<u64>,
    /// What was fetched of a repository that is filled as it is read.
    fetched: Option<Fetched>,
    /// The server that is asked beside peers, and what came from it.
    upstream: Option<FromUpstream>,
    /// The plain copies, when the mount uses them.
    plain: Option<Plain>,
}

/// Plain copies of large files.
#[derive(Serialize)]
struct Plain {
    limit: u64,
    copies: u64,
    bytes: u64,
    written: u64,
    removed: u64,
    opened: u64,
}

impl From<PlainCounts> for Plain {
    fn from(counts: PlainCounts) -> Self {
        Self {
            limit: counts.limit_len,
            copies: counts.copies,
            bytes: counts.len,
            written: counts.written,
            removed: counts.removed,
            opened: counts.opened,
        }
    }
}

/// What an upstream gave in place of peers.
#[derive(Serialize)]
struct FromUpstream {
    url: String,
    bytes: u64,
}

/// What was fetched since the repository was opened.
#[derive(Serialize)]
struct Fetched {
    requests: u64,
    packs: u64,
    pack_bytes: u64,
    chunks: u64,
    chunk_bytes: u64,
    wrong: u64,
    failed: u64,
    rate: u64,
}

impl From<FetchCounts> for Fetched {
    fn from(counts: FetchCounts) -> Self {
        Self {
            requests: counts.requests,
            packs: counts.packs,
            pack_bytes: counts.pack_len,
            chunks: counts.chunks,
            chunk_bytes: counts.chunk_len,
            wrong: counts.wrong,
            failed: counts.failed,
            rate: counts.rate,
        }
    }
}

impl MountRow {
    pub(super) fn new(info: &MountInfo) -> Self {
        Self {
            repo: info.repo.to_string(),
            revision: info.revision.clone(),
            commit: info.commit.map(|id| id.to_string()),
            dir: info.dir.to_string_lossy().into_owned(),
            lfs: match info.options.lfs {
                mega_fuse::LfsMode::All => "all",
                mega_fuse::LfsMode::Attr => "attr",
                mega_fuse::LfsMode::Off => "off",
            },
            allow_other: info.options.allow_other,
            requests: info.requests.iter().copied().collect(),
            origin: None,
            resident: None,
            fetched: info.fetched.map(Fetched::from),
            upstream: info.upstream.clone().map(|(url, bytes)| FromUpstream { url, bytes }),
            plain: info.plain.map(Plain::from),
        }
    }
}

impl MountRow {
    /// As [`Self::new`], with what the store knows of it.
    pub(super) fn of(node: &Node, info: &MountInfo) -> Result<Self, NodeError> {
        let mut row = Self::new(info);
        if info.fetched.is_some() {
            let repo = node.store().repos().record(info.repo_id)?;
            row.origin = repo.and_then(|repo| repo.origin);
            row.resident = Some(node.store().content_len(info.repo_id)?);
        }
        Ok(row)
    }

    /// What came of it, in words; `None` for a mount of what is all here.
    pub(super) fn progress(&self) -> Option<String> {
        let (fetched, here) = (self.fetched.as_ref()?, self.resident?);
        let origin = self.origin.as_deref().unwrap_or("nowhere");
        let came = size(fetched.pack_bytes + fetched.chunk_bytes);
        let (here, rate) = (size(here), size(fetched.rate));
        let beside = self.upstream.as_ref().map(|FromUpstream { url, bytes }| {
            format!(" ({} of it from its upstream {url})", size(*bytes))
        });
        let beside = beside.unwrap_or_default();
        Some(format!("{here} of LFS files here, {came} fetched from {origin}{beside}, {rate}/s"))
    }
}

impl fmt::Display for MountRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit =
            self.commit.as_deref().map_or_else(|| "a tree".to_owned(), |id| id[..10].to_owned());
        write!(f, "{}@{} ({commit}) at {}", self.repo, self.revision, name(self.dir.as_bytes()))
    }
}
