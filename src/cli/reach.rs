//! Reaching the store: the process that has it open does the work, or this one opens it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mega_storage::StoreError;

use super::output::Terminal;
use super::run::{self, Holder};
use super::{Global, exit};
use crate::config::StoreLocation;
use crate::control::{self, Call, ControlError, Exit, OsText, PROTOCOL_VERSION, Request, Server};
use crate::git::PASSED_VARIABLES;
use crate::node::{Node, NodeError};

/// How long a command waits for another that has the store open and does not listen: those are
/// short.
const HELD_WAIT: Duration = Duration::from_secs(5);
/// Pause before the store is tried again.
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// What every command has.
pub(super) struct Context<'a> {
    pub(super) location: &'a StoreLocation,
    pub(super) terminal: &'a Terminal,
    pub(super) global: &'a Global,
}

/// The store, reached.
pub(super) enum Reached {
    /// Another process did it.
    Answered(Exit),
    /// It is open here now.
    Opened(Node),
}

/// Does the request, wherever the store is open.
pub(super) fn perform(context: &Context<'_>, request: Request) -> Exit {
    let call = new_call(context, request);
    match reach(context, &call) {
        Ok(Reached::Answered(exit)) => exit,
        Ok(Reached::Opened(node)) => perform_here(context, node, &call),
        Err(exit) => exit,
    }
}

/// The call for a request, with this process's environment.
pub(super) fn new_call(context: &Context<'_>, request: Request) -> Call {
    let passed = |name: &&str| Some(((*name).to_owned(), OsText(std::env::var_os(name)?)));
    Call {
        version: PROTOCOL_VERSION,
        json: context.global.json,
        environment: PASSED_VARIABLES.iter().filter_map(passed).collect(),
        request,
    }
}

/// Asks the process that has the store open, or opens it.
pub(super) fn reach(context: &Context<'_>, call: &Call) -> Result<Reached, Exit> {
    let path = &context.location.path;
    let deadline = Instant::now() + HELD_WAIT;
    loop {
        if let Some(stream) = control::connect(path).map_err(|e| exit::of_control(&e))? {
            match control::call(stream, call, context.terminal) {
                Ok(exit) => return Ok(Reached::Answered(exit)),
                // It was about to end: the store is free in a moment.
                Err(ControlError::Gone) if Instant::now() < deadline => {}
                Err(error) => return Err(exit::of_control(&error)),
            }
        }
        if let Some(exit) = answer_reading(context, call) {
            return Ok(Reached::Answered(exit));
        }
        match Node::open(path) {
            Ok(node) => return Ok(Reached::Opened(node)),
            Err(NodeError::Store(StoreError::Held { .. })) if Instant::now() < deadline => {
                thread::park_timeout(HELD_PAUSE);
            }
            Err(NodeError::Store(StoreError::NotAStore { .. }))
                if context.location.is_default && makes_store(&call.request) =>
            {
                match Node::create(path) {
                    Ok(node) => {
                        use control::Reply;
                        context.terminal.note(&format!("made a store in {}", path.display()));
                        return Ok(Reached::Opened(node));
                    }
                    // Somebody else is making it.
                    Err(NodeError::Store(
                        StoreError::Held { .. } | StoreError::StoreExists { .. },
                    )) if Instant::now() < deadline => {
                        thread::park_timeout(HELD_PAUSE);
                    }
                    Err(error) => return Err(exit::of_node(&error)),
                }
            }
            Err(error) => return Err(exit::of_node(&error)),
        }
    }
}

/// The answer to what changes nothing, from the store opened for reading: to open it for writing
/// takes several times as long. `None` for everything else, and when it cannot be opened so: the
/// ordinary way tells why.
fn answer_reading(context: &Context<'_>, call: &Call) -> Option<Exit> {
    if !run::may_be_reading(&call.request) {
        return None;
    }
    let node = Node::open_to_read(&context.location.path).ok()?;
    let exit = run::answer_reading(&node, call, context.terminal);
    if exit.is_some() {
        // The process ends, and nothing was written that closing would finish.
        std::mem::forget(node);
    }
    exit
}

/// Opens the store to keep it: nobody else may have it.
pub(super) fn open_to_keep(context: &Context<'_>) -> Result<Node, Exit> {
    let path = &context.location.path;
    let deadline = Instant::now() + HELD_WAIT;
    loop {
        let error = match Node::open(path) {
            Ok(node) => return Ok(node),
            Err(error) => error,
        };
        match &error {
            // Whoever does not listen is a short command.
            NodeError::Store(StoreError::Held { .. })
                if Instant::now() < deadline && !matches!(control::connect(path), Ok(Some(_))) =>
            {
                thread::park_timeout(HELD_PAUSE);
            }
            NodeError::Store(StoreError::NotAStore { .. }) if context.location.is_default => {
                let made = Node::create(path).map_err(|error| exit::of_node(&error))?;
                control::Reply::note(
                    context.terminal,
                    &format!("made a store in {}", path.display()),
                );
                return Ok(made);
            }
            _ => return Err(exit::of_node(&error)),
        }
    }
}

/// Commands that bring something in make the default store when there is none.
fn makes_store(request: &Request) -> bool {
    use crate::control::{FileCall, RepoCall};
    matches!(
        request,
        Request::Import(_)
            | Request::File(FileCall::Add(_))
            | Request::Repo(RepoCall::Create(_))
            | Request::GitStream { .. }
    )
}

/// Does the request on the store that was opened for it. Commands that take long answer others
/// meanwhile.
fn perform_here(context: &Context<'_>, node: Node, call: &Call) -> Exit {
    let is_long = matches!(
        call.request,
        Request::Import(_)
            | Request::Export(_)
            | Request::File(_)
            | Request::Prefetch(_)
            | Request::Gc { .. }
            | Request::Fsck { .. }
            | Request::Verify(_)
            | Request::Backup { .. }
    );
    let node = Arc::new(node);
    // Git ends it, not a signal.
    let is_git = matches!(call.request, Request::GitStream { .. });
    let holder = Holder { keeps_mounts: false, listens: is_long || is_git };
    if is_long {
        context.terminal.stop_gently();
    }
    let server = if holder.listens { listen(&node, holder, Box::new(|| ())) } else { None };
    let exit = run::answer(&node, holder, call, context.terminal);
    if let Some(server) = server {
        server.close();
    }
    exit
}

/// Starts to answer others. Without the socket the command works all the same.
pub(super) fn listen(
    node: &Arc<Node>,
    holder: Holder,
    on_idle: Box<dyn Fn() + Send + Sync>,
) -> Option<Server> {
    let served = node.clone();
    let handler =
        move |call: &Call, reply: &dyn control::Reply| run::answer(&served, holder, call, reply);
    Server::start(node.store().path(), Arc::new(handler), on_idle)
        .inspect_err(
            |error| tracing::warn!(%error, "other commands cannot use the store meanwhile"),
        )
        .ok()
}
