//! How a handler answers: at once, or a head and then a body that it writes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use hyper::{Response, StatusCode};
use mega_storage::{Progress, Unit};
use tokio::sync::oneshot;

use super::bridge::{Body, BodyWriter};
use super::error::HttpError;

/// An answer on its way out.
pub type Answer = Response<Body>;

/// An answer with nothing but a status and a body.
pub(super) fn new_answer(status: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

/// The head of an answer in the making.
pub struct Head {
    answer: Response<()>,
}

impl Head {
    /// A head with this status and content type.
    pub fn new(status: StatusCode, content_type: &'static str) -> Self {
        let mut answer = Response::new(());
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { answer }
    }

    /// A head that says that all is well.
    pub fn ok(content_type: &'static str) -> Self {
        Self::new(StatusCode::OK, content_type)
    }

    /// Adds a field. A value that no field can have is left out.
    pub fn with(mut self, name: impl Into<HeaderName>, value: impl ToString) -> Self {
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            self.answer.headers_mut().insert(name.into(), value);
        }
        self
    }

    /// Content that is named by its hash never changes; who may keep it depends on who may see it.
    pub fn immutable(self, is_public: bool) -> Self {
        let whose = if is_public { "public" } else { "private" };
        let head = self.with(CACHE_CONTROL, format_args!("{whose}, max-age=31536000, immutable"));
        if is_public { head } else { head.with(VARY, "Authorization") }
    }

    /// What may be other in a moment.
    pub fn fresh(self) -> Self {
        self.with(CACHE_CONTROL, "private, no-cache").with(VARY, "Authorization")
    }

    /// As git's own server says it, in its order: clients' logs show it.
    pub fn git_no_cache(self) -> Self {
        self.with(hyper::header::EXPIRES, "Fri, 01 Jan 1980 00:00:00 GMT")
            .with(hyper::header::PRAGMA, "no-cache")
            .with(CACHE_CONTROL, "no-cache, max-age=0, must-revalidate")
    }
}

/// Takes one answer. Dropped without one, the client gets an error.
pub struct Responder {
    sender: Option<oneshot::Sender<Answer>>,
    status: Option<u16>,
    /// Counts the bytes of bodies.
    counter: Arc<AtomicU64>,
}

impl Responder {
    pub(super) fn new(sender: oneshot::Sender<Answer>, counter: Arc<AtomicU64>) -> Self {
        Self { sender: Some(sender), status: None, counter }
    }

    /// The status that was sent, if an answer was begun.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Answers with all of it.
    pub fn whole(&mut self, head: Head, body: impl Into<Bytes>) {
        self.send(head.answer.map(|()| Body::Whole(body.into())));
    }

    /// Answers with a head alone: to HEAD, and for 304.
    pub fn head_only(&mut self, head: Head) {
        self.send(head.answer.map(|()| Body::Ended));
    }

    /// Answers with JSON.
    pub fn json(&mut self, value: &impl serde::Serialize) {
        let body = serde_json::to_vec(value).expect("our own structures have text keys");
        self.whole(Head::ok("application/json").fresh(), body);
    }

    /// Begins an answer whose body follows. A body that is not finished is broken off.
    pub fn begin(&mut self, head: Head) -> BodyWriter {
        let (writer, body) = BodyWriter::new(self.counter.clone());
        self.send(head.answer.map(|()| body));
        writer
    }

    /// Whether an answer was begun.
    pub fn has_begun(&self) -> bool {
        self.sender.is_none()
    }

    pub(super) fn send(&mut self, answer: Answer) {
        if let Some(sender) = self.sender.take() {
            self.status = Some(answer.status().as_u16());
            if let Body::Whole(bytes) = answer.body() {
                self.counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            // A client that went away wants no answer.
            let _ = sender.send(answer);
        }
    }
}

/// A body whose head goes out with its first byte: until then the answer may still become an error.
pub struct LateBody<'a> {
    responder: &'a mut Responder,
    head: Option<Head>,
    writer: Option<BodyWriter>,
}

impl<'a> LateBody<'a> {
    /// A body with this head.
    pub fn new(responder: &'a mut Responder, head: Head) -> Self {
        Self { responder, head: Some(head), writer: None }
    }

    /// Ends the body; with no byte written the answer is the head and an empty body.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn finish(mut self) -> Result<(), HttpError> {
        self.writer();
        let finished = self.writer.take().map_or(Ok(()), BodyWriter::finish);
        finished.map_err(|error| HttpError::of_body(&error))
    }

    fn writer(&mut self) -> Option<&mut BodyWriter> {
        if let Some(head) = self.head.take() {
            self.writer = Some(self.responder.begin(head));
        }
        self.writer.as_mut()
    }
}

impl Write for LateBody<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.writer() {
            Some(writer) => writer.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // A flush before the first byte sends nothing: the head may still become an error's.
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// Tells long work whether to stop: the client is gone, or the server ends at once.
#[derive(Clone, Default)]
pub struct Stop {
    is_cut: Arc<AtomicBool>,
    server_ends: Arc<AtomicBool>,
}

impl Stop {
    /// For one request of a server that ends at once when `server_ends` is set.
    pub(super) fn new(server_ends: Arc<AtomicBool>) -> Self {
        Self { is_cut: Arc::default(), server_ends }
    }

    /// Stops the work when it is dropped. It goes where the answer goes.
    pub(super) fn on_drop(&self) -> CutOnDrop {
        CutOnDrop(self.is_cut.clone())
    }
}

impl Progress for Stop {
    fn start(&self, _: &'static str, _: Option<u64>, _: Unit) {}

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed) || self.server_ends.load(Ordering::Relaxed)
    }
}

/// Dropped when nobody waits for the answer any more.
pub(super) struct CutOnDrop(Arc<AtomicBool>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
