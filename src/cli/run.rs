//! One request, done on an open store: the same for this process's own command and for one over the
//! socket.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::exit;
use super::output::{Done, Output};
use super::{
    BUG, backup, cache, cat, debug, discover, export, file, fsck, gc, import, ls, mount, peer,
    peer_stream, pin, prefetch, repo, stats, status, token, unmount, verify,
};
use crate::control::{Call, Exit, Reply, RepoCall, Request};
use crate::git::Git;
use crate::node::{Node, NodeError};

/// What the process that has the store open is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    /// It stays for as long as it has mounts. Others end by themselves and take no mount.
    pub(super) keeps_mounts: bool,
    /// It answers others on the control socket.
    pub(super) listens: bool,
}

/// Does what is asked and answers into `reply`. A panic is an answer too.
pub(super) fn answer(node: &Node, holder: Holder, call: &Call, reply: &dyn Reply) -> Exit {
    let output = Output::new(reply, call.json);
    exit_of(|| {
        let done = run(node, holder, call, &output)?;
        output.flush()?;
        Ok(done)
    })
}

/// Does something, and says how it ended.
pub(super) fn exit_of(action: impl FnOnce() -> Result<Done, NodeError>) -> Exit {
    match catch_unwind(AssertUnwindSafe(action)) {
        Ok(Ok(Done::Whole)) => Exit::default(),
        Ok(Ok(Done::Partly { error, hint })) => {
            Exit { code: super::FAILED, error: Some(error), hint: Some(hint) }
        }
        Ok(Err(error)) => exit::of_node(&error),
        Err(_) => Exit {
            code: BUG,
            error: Some("this is a bug in mega-store, sorry".to_owned()),
            hint: Some(
                "please report it with the log of the process that has the store".to_owned(),
            ),
        },
    }
}

/// Whether a request can be one that changes nothing in the store.
pub(super) fn may_be_reading(request: &Request) -> bool {
    matches!(request, Request::Import(_)) || is_reading(request)
}

fn is_reading(request: &Request) -> bool {
    match request {
        Request::Ls(_) | Request::Cat { .. } | Request::Stats { .. } => true,
        Request::Export(_) => true,
        Request::Repo(call) => matches!(call, RepoCall::List | RepoCall::Show(_)),
        Request::CatObject { .. } | Request::CatObjects { .. } => true,
        Request::ShowManifest { .. } | Request::LocateChunk { .. } => true,
        _ => false,
    }
}

/// Does what is asked if that changes nothing in the store, which is open for reading; of imports
/// those of what is here already. `None` when it has to be opened for writing; an import's errors
/// are left to that, too.
pub(super) fn answer_reading(node: &Node, call: &Call, reply: &dyn Reply) -> Option<Exit> {
    let Request::Import(import) = &call.request else {
        let holder = Holder { keeps_mounts: false, listens: false };
        return is_reading(&call.request).then(|| answer(node, holder, call, reply));
    };
    let output = Output::new(reply, call.json);
    let done = import::answer_nothing(node, import, git_of(call), &output);
    matches!(done, Ok(Some(Done::Whole)) if output.flush().is_ok()).then(Exit::default)
}

fn git_of(call: &Call) -> Git {
    Git::new(call.environment.iter().map(|(name, value)| (name.clone(), value.0.clone())))
}

fn run(node: &Node, holder: Holder, call: &Call, out: &Output<'_>) -> Result<Done, NodeError> {
    let git = || git_of(call);
    match &call.request {
        Request::Import(call) => import::answer(node, call, git(), out),
        Request::Export(call) => export::answer(node, call, out),
        Request::Repo(call) => repo::answer(node, call, out),
        Request::File(call) => file::answer(node, call, out),
        Request::Token(call) => token::answer(node, call, out),
        Request::Peer(call) => peer::answer(node, call, out),
        Request::Discover { repo } => discover::answer(node, repo, out),
        Request::Ls(call) => ls::answer(node, call, out),
        Request::Cat { repo, revision, path } => cat::answer(node, repo, revision, path, out),
        Request::Mount(call) => mount::answer(node, holder, call, git(), out),
        Request::Unmount { dir } => unmount::answer(node, dir, out),
        Request::GitStream { url, service, socket } => {
            peer_stream::answer(node, url, *service, socket)
        }
        Request::Prefetch(call) => prefetch::answer(node, call, git(), out),
        Request::Pin { repo, remove } => pin::answer(node, repo, *remove, out),
        Request::Cache(call) => cache::answer(node, call, out),
        Request::Gc { dry_run, grace_s } => gc::answer(node, *dry_run, *grace_s, out),
        Request::Fsck { repo } => fsck::answer(node, repo.as_deref(), out),
        Request::Verify(call) => verify::answer(node, call, git(), out),
        Request::Backup { dir } => backup::answer(node, dir, out),
        Request::Status => status::answer(node, holder, out),
        Request::Stats { repo } => stats::answer(node, repo.as_deref(), out),
        Request::CatObject { id } => debug::answer_cat(node, id, out),
        Request::CatObjects { ids, verify } => debug::answer_cat_batch(node, ids, *verify, out),
        Request::Compact => debug::answer_compact(node),
        Request::ShowManifest { id } => debug::answer_manifest(node, id, out),
        Request::LocateChunk { id, offset } => debug::answer_locate(node, id, *offset, out),
    }
}
