//! Holding mounts: the process that has the store open for as long as a mount of it is there, and
//! answers others.

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use mega_storage::{Progress, Unit};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::reach::{self, Context};
use super::run::{self, Holder};
use crate::control::{Call, Exit, Reply};
use crate::node::Node;

/// How long open files may keep a mount after a signal to end.
pub(super) const END_WAIT: Duration = Duration::from_secs(2);

/// What the background process says once, on its standard output: its answer, and how it went.
#[derive(Serialize, Deserialize)]
pub(super) struct Word {
    out: String,
    notes: Vec<String>,
    exit: Exit,
}

impl Word {
    /// Says the same here.
    pub(super) fn repeat(self, context: &Context<'_>) -> Exit {
        for note in &self.notes {
            Reply::note(context.terminal, note);
        }
        match Reply::out(context.terminal, self.out.as_bytes()) {
            Ok(()) => self.exit,
            Err(error) => super::exit::of_node(&crate::node::NodeError::Output(error)),
        }
    }

    fn say(&self) {
        let mut line = serde_json::to_vec(self).expect("strings and numbers");
        line.push(b'\n');
        // When nobody listens any more, the mount stays all the same.
        let _ = std::io::stdout().write_all(&line).and_then(|()| std::io::stdout().flush());
    }
}

/// An end that is not a mount of our own: said to whoever started this process.
pub(super) fn report(exit: Exit, is_daemon: bool) -> Exit {
    if is_daemon {
        Word { out: String::new(), notes: Vec::new(), exit: exit.clone() }.say();
    }
    exit
}

pub(super) enum Event {
    /// A signal to end.
    Stop,
    /// A mount has gone, or the last call has ended.
    Changed,
}

/// Mounts, then serves until the last mount is gone or a signal comes.
pub(super) fn hold(context: &Context<'_>, node: Node, call: &Call, is_daemon: bool) -> Exit {
    if is_daemon {
        // Ctrl-C in the shell that started it is not for the daemon. Fails only for a leader, which
        // is as well.
        let _ = rustix::process::setsid();
    }
    let (send, events) = unbounded();
    let node = Arc::new(node);
    let holder = Holder { keeps_mounts: true, listens: true };
    watch_signals(send.clone());
    let changed = send.clone();
    node.mounts().watch(Box::new(move || drop(changed.send(Event::Changed))));
    let exit = if is_daemon {
        let heard = Heard::default();
        let exit = run::answer(&node, holder, call, &heard);
        let (out, notes) = (heard.out.into_inner(), heard.notes.into_inner());
        let out = String::from_utf8_lossy(&out).into_owned();
        (exit.clone(), Some(Word { out, notes, exit }))
    } else {
        (run::answer(&node, holder, call, context.terminal), None)
    };
    let (exit, word) = exit;
    if exit.code == super::OK {
        serve(&node, holder, &send, &events, word.as_ref());
    } else if let Some(word) = word {
        word.say();
    }
    exit
}

/// Answers others until there is nothing to hold the store for.
fn serve(
    node: &Arc<Node>,
    holder: Holder,
    send: &Sender<Event>,
    events: &Receiver<Event>,
    word: Option<&Word>,
) {
    let listen = || {
        let idle = send.clone();
        reach::listen(node, holder, Box::new(move || drop(idle.send(Event::Changed))))
    };
    let mut server = listen();
    // Only now: whoever started this process finds the socket when it goes on.
    if let Some(word) = word {
        word.say();
    }
    for event in events {
        match event {
            Event::Stop => break,
            Event::Changed => {
                let is_busy = server.as_ref().is_some_and(|server| server.running() > 0);
                if is_busy || !node.mounts().is_empty() {
                    continue;
                }
                if let Some(server) = server.take() {
                    server.close();
                }
                // A call that came at the last moment may have mounted.
                if node.mounts().is_empty() {
                    return;
                }
                server = listen();
            }
        }
    }
    node.mounts().unmount_all(END_WAIT);
    drop(server);
}

/// Sends [`Event::Stop`] for each signal to end.
pub(super) fn watch_signals(send: Sender<Event>) {
    let started = Signals::new([SIGINT, SIGTERM, SIGHUP]).and_then(|mut signals| {
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for _ in signals.forever() {
                let _ = send.send(Event::Stop);
            }
        })
    });
    if let Err(error) = started {
        tracing::warn!(%error, "signals end the process at once and leave a dead mount");
    }
}

/// Keeps an answer to say it later.
#[derive(Default)]
struct Heard {
    out: Mutex<Vec<u8>>,
    notes: Mutex<Vec<String>>,
}

impl Reply for Heard {
    fn out(&self, bytes: &[u8]) -> std::io::Result<()> {
        self.out.lock().extend_from_slice(bytes);
        Ok(())
    }

    fn note(&self, text: &str) {
        self.notes.lock().push(text.to_owned());
    }
}

impl Progress for Heard {
    fn start(&self, _: &'static str, _: Option<u64>, _: Unit) {}

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        false
    }
}
