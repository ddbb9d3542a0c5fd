//! The answering end: a socket in the store, a thread a call, at most [`CALLS_MAX`] at once.

use std::fs;
use std::io::{self, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mega_storage::{Progress, Unit};
use parking_lot::{Condvar, Mutex};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tracing::warn;

use super::wire::{self, Exit, Frame};
use super::{
    CALLS_MAX, Call, ControlError, OUT_LEN_MAX, PROTOCOL_VERSION, REQUEST_LEN_MAX,
    REQUEST_TIMEOUT_MS, Reply, SOCKET_NAME, short_path,
};

/// Shortest time between two progress frames of one call.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Answers one call.
pub type Handler = dyn Fn(&Call, &dyn Reply) -> Exit + Send + Sync;

/// A listening control socket. The caller must own the store.
pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    listener: UnixListener,
    socket: PathBuf,
    handler: Arc<Handler>,
    on_idle: Box<dyn Fn() + Send + Sync>,
    is_closing: AtomicBool,
    running: Mutex<usize>,
    ended: Condvar,
}

impl Server {
    /// Listens in `store`. `on_idle` is called, from any thread, each time the last running call
    /// has ended.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(
        store: &Path,
        handler: Arc<Handler>,
        on_idle: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, ControlError> {
        let socket = store.join(SOCKET_NAME);
        let listener = listen(store)
            .map_err(|e| ControlError::io(format!("listening on {}", socket.display()), e))?;
        let shared = Arc::new(Shared {
            listener,
            socket,
            handler,
            on_idle,
            is_closing: AtomicBool::new(false),
            running: Mutex::new(0),
            ended: Condvar::new(),
        });
        let accepting = shared.clone();
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept_all(&accepting))
            .map_err(|e| ControlError::io("starting a thread", e))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Calls that are being answered.
    pub fn running(&self) -> usize {
        *self.shared.running.lock()
    }

    /// Stops listening, then waits for the calls that are being answered. A caller that comes later
    /// finds nobody.
    pub fn close(mut self) {
        self.stop();
        let mut running = self.shared.running.lock();
        while *running > 0 {
            self.shared.ended.wait(&mut running);
        }
    }

    fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // The name goes first, so that nobody connects to a socket that nobody will accept from.
        let _ = fs::remove_file(&self.shared.socket);
        self.shared.is_closing.store(true, Ordering::SeqCst);
        let _ = shutdown(&self.shared.listener, Shutdown::Both);
        if thread.join().is_err() {
            warn!("the control socket's thread panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes the socket under another name, closes it to others, and only then gives it its name.
fn listen(store: &Path) -> io::Result<UnixListener> {
    let draft_name = format!("{SOCKET_NAME}.new");
    let draft = store.join(&draft_name);
    // Left by a process that was killed: this process owns the store, so nobody else is at it.
    let _ = fs::remove_file(&draft);
    let (_dir, short) = short_path(store, &draft_name)?;
    let listener = UnixListener::bind(short)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    fs::rename(&draft, store.join(SOCKET_NAME))?;
    Ok(listener)
}

fn accept_all(shared: &Arc<Shared>) {
    loop {
        let accepted = shared.listener.accept();
        if shared.is_closing.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, _)) => begin(shared, stream),
            // Out of descriptors, say: callers wait in the queue meanwhile.
            Err(e) => {
                warn!("accepting on the control socket: {e}");
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }
}

/// Starts the thread for one connection, unless there are too many.
fn begin(shared: &Arc<Shared>, stream: UnixStream) {
    {
        let mut running = shared.running.lock();
        if *running >= CALLS_MAX {
            let busy = format!("{CALLS_MAX} commands are running on this store already");
            refuse(&stream, &busy, "try again when some have ended");
            return;
        }
        *running += 1;
    }
    let call_shared = shared.clone();
    let spawned = thread::Builder::new().name("call".to_owned()).spawn(move || {
        let running = Running(&call_shared);
        answer(&call_shared, stream);
        drop(running);
    });
    if let Err(e) = spawned {
        warn!("starting a thread for a call: {e}");
        drop(Running(shared));
    }
}

/// Counts a call as ended when it goes, whether it returned or panicked.
struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.0.running.lock();
        *running -= 1;
        let is_idle = *running == 0;
        self.0.ended.notify_all();
        drop(running);
        if is_idle {
            (self.0.on_idle)();
        }
    }
}

fn answer(shared: &Shared, stream: UnixStream) {
    match rustix::net::sockopt::socket_peercred(&stream) {
        Ok(peer) if peer.uid.is_root() || peer.uid == rustix::process::geteuid() => {}
        Ok(peer) => {
            warn!(uid = peer.uid.as_raw(), "a stranger's call was refused");
            return refuse(&stream, "the store belongs to another user", "ask its owner");
        }
        Err(e) => return warn!("asking who calls: {e}"),
    }
    let call = match read_call(&stream) {
        Ok(Some(call)) => call,
        Ok(None) => return,
        Err(reason) => return refuse(&stream, &reason, "use the same version of mega-store"),
    };
    let reply = SocketReply::new(stream);
    let exit = (shared.handler)(&call, &reply);
    reply.finish(&exit);
}

/// Reads the call. `None` when the caller only looked whether somebody is here.
fn read_call(stream: &UnixStream) -> Result<Option<Call>, String> {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(REQUEST_TIMEOUT_MS)));
    let line = wire::read_line(&mut BufReader::new(stream), REQUEST_LEN_MAX)
        .map_err(|e| format!("the request cannot be read: {e}"))?;
    let Some(line) = line else { return Ok(None) };
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(&line)
        .map_err(|e| format!("the request is not of this protocol: {e}"))?;
    if version != PROTOCOL_VERSION {
        return Err(format!(
            "the request has protocol version {version}, this process speaks {PROTOCOL_VERSION}"
        ));
    }
    serde_json::from_slice(&line).map(Some).map_err(|e| format!("the request is not known: {e}"))
}

fn refuse(stream: &UnixStream, error: &str, hint: &str) {
    let exit = Exit { code: 1, error: Some(error.to_owned()), hint: Some(hint.to_owned()) };
    // Whoever it was may be gone already.
    let _ = wire::write_line(&mut &*stream, &Frame::Exit(exit));
}

/// A reply that travels. The connection closed at the other end is the wish to stop.
struct SocketReply {
    stream: UnixStream,
    /// Held while a frame is written.
    writing: Mutex<()>,
    state: Mutex<ProgressState>,
    done: AtomicU64,
    is_cut: AtomicBool,
}

struct ProgressState {
    what: &'static str,
    total: Option<u64>,
    unit: Unit,
    sent_at: Instant,
    looked_at: Instant,
}

impl SocketReply {
    fn new(stream: UnixStream) -> Self {
        let now = Instant::now();
        Self {
            stream,
            writing: Mutex::new(()),
            state: Mutex::new(ProgressState {
                what: "",
                total: None,
                unit: Unit::Objects,
                sent_at: now,
                looked_at: now,
            }),
            done: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
        }
    }

    fn send(&self, frame: &Frame, bytes: &[u8]) -> io::Result<()> {
        let _writing = self.writing.lock();
        let mut stream = &self.stream;
        let sent = wire::write_line(&mut stream, frame).and_then(|()| stream.write_all(bytes));
        if sent.is_err() {
            self.is_cut.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn finish(&self, exit: &Exit) {
        let exit = Exit {
            code: exit.code,
            error: exit.error.as_deref().map(wire::fit),
            hint: exit.hint.as_deref().map(wire::fit),
        };
        // A caller that went away does not want it.
        let _ = self.send(&Frame::Exit(exit), &[]);
    }

    fn send_progress(&self, state: &ProgressState) {
        let frame = Frame::Progress {
            what: state.what.to_owned(),
            total: state.total,
            is_bytes: matches!(state.unit, Unit::Bytes),
            done: self.done.load(Ordering::Relaxed),
        };
        // The next send, or the next look, notices that nobody listens.
        let _ = self.send(&frame, &[]);
    }
}

impl Reply for SocketReply {
    fn out(&self, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(OUT_LEN_MAX).try_for_each(|part| {
            let len = u32::try_from(part.len()).expect("OUT_LEN_MAX fits in 32 bits");
            self.send(&Frame::Out { len }, part)
        })
    }

    fn note(&self, text: &str) {
        let _ = self.send(&Frame::Note { text: wire::fit(text) }, &[]);
    }
}

impl Progress for SocketReply {
    fn start(&self, what: &'static str, total: Option<u64>, unit: Unit) {
        let mut state = self.state.lock();
        self.done.store(0, Ordering::Relaxed);
        (state.what, state.total, state.unit) = (what, total, unit);
        state.sent_at = Instant::now();
        self.send_progress(&state);
    }

    fn advance(&self, n: u64) {
        self.done.fetch_add(n, Ordering::Relaxed);
        // Another thread that is at it sends the new number too.
        let Some(mut state) = self.state.try_lock() else { return };
        if state.sent_at.elapsed() >= PROGRESS_INTERVAL {
            state.sent_at = Instant::now();
            self.send_progress(&state);
        }
    }

    fn interrupted(&self) -> bool {
        if self.is_cut.load(Ordering::Relaxed) {
            return true;
        }
        let Some(mut state) = self.state.try_lock() else { return false };
        if state.looked_at.elapsed() < PROGRESS_INTERVAL {
            return false;
        }
        state.looked_at = Instant::now();
        let mut byte = [0u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let is_gone = matches!(recv(&self.stream, &mut byte, flags), Ok((_, 0)));
        if is_gone {
            self.is_cut.store(true, Ordering::Relaxed);
        }
        is_gone
    }
}
