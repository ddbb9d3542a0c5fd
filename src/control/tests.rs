//! The socket by itself, with handlers that do what the test needs.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use mega_storage::Unit;
use parking_lot::Mutex;

use super::*;

/// Keeps what comes; refuses output after `out_max` bytes.
struct Kept {
    out: Mutex<Vec<u8>>,
    notes: Mutex<Vec<String>>,
    out_max: usize,
}

impl Kept {
    fn new(out_max: usize) -> Self {
        Self { out: Mutex::default(), notes: Mutex::default(), out_max }
    }
}

impl Sink for Kept {
    fn out(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = self.out.lock();
        if out.len() + bytes.len() > self.out_max {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn note(&self, text: &str) {
        self.notes.lock().push(text.to_owned());
    }

    fn progress(&self, what: &str, _: Option<u64>, _: Unit, done: u64) {
        self.notes.lock().push(format!("{what} {done}"));
    }
}

fn status() -> Call {
    Call { version: PROTOCOL_VERSION, json: false, environment: vec![], request: Request::Status }
}

fn serve(
    dir: &Path,
    handler: impl Fn(&Call, &dyn Reply) -> Exit + Send + Sync + 'static,
) -> Server {
    Server::start(dir, Arc::new(handler), Box::new(|| ())).expect("listening")
}

fn dial(dir: &Path) -> UnixStream {
    connect(dir).expect("allowed").expect("somebody listens")
}

#[test]
fn an_answer_comes_whole_and_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = serve(dir.path(), |call, reply| {
        assert_eq!(call.request, Request::Status);
        reply.note("first");
        reply.out(&vec![7; OUT_LEN_MAX * 2 + 3]).expect("taken");
        reply.start("work", Some(4), Unit::Objects);
        Exit { code: 1, error: Some("no".into()), hint: Some("yes".into()) }
    });
    let kept = Kept::new(usize::MAX);
    let exit = call(dial(dir.path()), &status(), &kept).expect("answered");
    assert_eq!(exit, Exit { code: 1, error: Some("no".into()), hint: Some("yes".into()) });
    assert_eq!(*kept.out.lock(), vec![7; OUT_LEN_MAX * 2 + 3]);
    assert_eq!(*kept.notes.lock(), ["first", "work 0"]);
    server.close();
    assert!(connect(dir.path()).expect("allowed").is_none(), "the socket is gone");
}

#[test]
fn the_socket_is_closed_to_others_and_a_stale_one_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    assert!(connect(dir.path()).expect("allowed").is_none());
    let path = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(connect(dir.path()).expect("allowed").is_none(), "nobody behind a stale socket");
    let server = serve(dir.path(), |_, _| Exit::default());
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    call(dial(dir.path()), &status(), &Kept::new(0)).expect("answered");
    server.close();
}

#[test]
fn a_store_in_a_deep_directory_has_a_socket_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let deep = dir.path().join("d".repeat(200)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).expect("made");
    let server = serve(&deep, |_, _| Exit::default());
    call(dial(&deep), &status(), &Kept::new(0)).expect("answered");
    server.close();
}

#[test]
fn bad_requests_are_refused_and_the_next_call_is_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = serve(dir.path(), |_, _| Exit::default());
    let mut long = vec![b'x'; REQUEST_LEN_MAX + 1];
    long.push(b'\n');
    for (bytes, reason) in [
        (&b"hello\n"[..], "not of this protocol"),
        (b"{\"version\":2,\"request\":\"status\"}\n", "protocol version 2"),
        (
            b"{\"version\":1,\"json\":false,\"environment\":[],\"request\":\"reboot\"}\n",
            "not known",
        ),
        (b"{\"version\":1", "cut off"),
        (&long, "too long"),
    ] {
        let mut stream = dial(dir.path());
        // The other end may answer and close before it has read all.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(reason) || bytes.len() > REQUEST_LEN_MAX, "{reason}: {answer}");
    }
    let exit = call(dial(dir.path()), &status(), &Kept::new(0)).expect("answered");
    assert_eq!(exit.code, 0);
    server.close();
}

#[test]
fn a_request_at_the_limit_passes_and_one_past_it_is_not_sent() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = serve(dir.path(), |_, _| Exit::default());
    let mut request = status();
    request.request = Request::Stats { repo: Some(String::new()) };
    let base = serde_json::to_vec(&request).expect("serialised").len();
    for (len, is_sent) in [(REQUEST_LEN_MAX - base, true), (REQUEST_LEN_MAX - base + 1, false)] {
        request.request = Request::Stats { repo: Some("x".repeat(len)) };
        let answered = call(dial(dir.path()), &request, &Kept::new(0));
        match answered {
            Ok(_) => assert!(is_sent),
            Err(ControlError::RequestTooLong { len }) => {
                assert_eq!(len, REQUEST_LEN_MAX + 1);
                assert!(!is_sent);
            }
            Err(e) => panic!("{e}"),
        }
    }
    server.close();
}

#[test]
fn a_caller_that_goes_away_stops_the_work() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ended, wait) = crossbeam_channel::bounded(1);
    let server = serve(dir.path(), move |_, reply| {
        while reply.out(&[0; 65536]).is_ok() {}
        assert!(reply.interrupted());
        let _ = ended.send(());
        Exit::default()
    });
    let refused = call(dial(dir.path()), &status(), &Kept::new(1 << 20));
    assert!(matches!(refused, Err(ControlError::Output(_))));
    wait.recv().expect("the handler saw it");
    server.close();
}

#[test]
fn more_calls_than_the_limit_are_told_to_come_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (release, gate) = crossbeam_channel::bounded::<()>(0);
    let (began, begun) = crossbeam_channel::bounded(CALLS_MAX);
    let server = serve(dir.path(), move |_, _| {
        let _ = began.send(());
        let _ = gate.recv();
        Exit::default()
    });
    let waiting: Vec<_> = (0..CALLS_MAX)
        .map(|_| {
            let stream = dial(dir.path());
            std::thread::spawn(move || call(stream, &status(), &Kept::new(0)))
        })
        .collect();
    for _ in 0..CALLS_MAX {
        begun.recv().expect("began");
    }
    assert_eq!(server.running(), CALLS_MAX);
    let exit = call(dial(dir.path()), &status(), &Kept::new(0)).expect("answered");
    assert_eq!((exit.code, exit.error.is_some_and(|e| e.contains("already"))), (1, true));
    drop(release);
    for thread in waiting {
        assert_eq!(thread.join().expect("no panic").expect("answered").code, 0);
    }
    server.close();
}

#[test]
fn paths_that_are_not_utf8_travel() {
    use std::os::unix::ffi::OsStrExt;
    for bytes in [&b"plain"[..], b"\xff\xfe/x", b""] {
        let text = OsText::from(std::ffi::OsStr::from_bytes(bytes));
        let json = serde_json::to_string(&text).expect("serialised");
        let back: OsText = serde_json::from_str(&json).expect("read");
        assert_eq!(back.as_bytes(), bytes);
    }
}

#[test]
fn a_long_note_is_cut_and_fits() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = serve(dir.path(), |_, reply| {
        reply.note(&"\u{1}".repeat(FRAME_LEN_MAX * 2));
        reply.note(&"é".repeat(FRAME_LEN_MAX));
        Exit::default()
    });
    let kept = Kept::new(0);
    call(dial(dir.path()), &status(), &kept).expect("answered");
    assert_eq!(kept.notes.lock().len(), 2);
    server.close();
}
