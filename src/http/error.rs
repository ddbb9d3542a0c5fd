//! An answer that is an error: its status and what it says, in the shape that the client reads.
//!
//! Invariant: what a caller may not see and what is not there give the same answer, byte for byte.

use std::io;

use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use serde::Serialize;

use super::answer::{Answer, new_answer};
use super::bridge::Body;
use super::table::Group;

/// Why a request was not answered as it wished.
#[derive(Debug)]
pub struct HttpError {
    /// The status.
    pub status: StatusCode,
    /// A word for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
    /// The content's length, where a range was not in it.
    content_len: Option<u64>,
}

/// The body of an error on every route but git's and LFS's.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ErrorBody<'a> {
    /// A word for programs, as `not_found`.
    error: &'a str,
    /// For people.
    message: &'a str,
    /// What to do about it; null when nothing can be.
    hint: Option<&'a str>,
}

impl HttpError {
    /// An error of this status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, content_len: None }
    }

    /// The same with something to do about it.
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// The same for a content of this length.
    pub fn with_content_range(self, len: u64) -> Self {
        Self { content_len: Some(len), ..self }
    }

    /// The request is malformed.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Something in the request's head is longer than it may be.
    pub fn too_long(what: &str, limit: usize) -> Self {
        let message = format!("{what} is longer than {limit}");
        Self::new(StatusCode::URI_TOO_LONG, "too_long", message)
    }

    /// Not there, or not for this caller: nobody can tell which.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such thing, or not for you")
            .hint("check the name; a token that may read it goes into the password or as Bearer")
    }

    /// The caller did not say who they are, or nobody knows them.
    pub fn unauthorized() -> Self {
        let message = "a token is needed, and this request has none that is good";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message).hint(
            "give a token as password, with any user name; its owner makes one with 'token create'",
        )
    }

    /// The caller may read this, and no more.
    pub fn forbidden() -> Self {
        let message = "you may read this repository, but not write to it";
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
            .hint("its owner makes a token that may write with 'token create --write'")
    }

    /// The caller is known, and this is not for them.
    pub fn not_for_you() -> Self {
        let message = "this is for the server's operator";
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
            .hint("a token for all repositories may see it: 'token create --repo \'*\''")
    }

    /// The body is longer than it may be.
    pub fn too_large(limit: u64) -> Self {
        let message = format!("the body is longer than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// Nobody may write here.
    pub fn read_only() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "read_only",
            "this server takes no changes: it is read-only",
        )
    }

    /// The server has as much to do as it may.
    pub fn busy() -> Self {
        let message = "the server has too much to do at the moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
            .hint("try again in a few seconds")
    }

    /// Our fault. What happened is in the log, not in the answer.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("answering a request: {cause}");
        let message = "the server failed; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The request's body could not be read.
    pub fn of_body(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", error.to_string())
            }
            io::ErrorKind::FileTooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string())
            }
            _ => Self::bad(format!("the body cannot be read: {error}")),
        }
    }

    /// The answer, in the shape of the route's group.
    pub(super) fn into_answer(self, group: Group, is_git_program: bool) -> Answer {
        let (content_type, body) = match group {
            // git shows a text to its user, and nothing else.
            Group::Git if is_git_program => ("text/plain; charset=utf-8", self.text()),
            Group::Git | Group::Api => ("application/json", self.json()),
            Group::Lfs => ("application/vnd.git-lfs+json", self.lfs_json()),
        };
        let mut answer = new_answer(self.status, Body::Whole(body.into()));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        // What is refused now may be allowed with the next token.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        headers.insert(VARY, HeaderValue::from_static("Authorization"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge =
                HeaderValue::from_static("Basic realm=\"mega-store\", charset=\"UTF-8\"");
            headers.insert("lfs-authenticate", challenge.clone());
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        let range = self.content_len.map(|len| format!("bytes */{len}"));
        if let Some(Ok(range)) = range.map(HeaderValue::try_from) {
            headers.insert(CONTENT_RANGE, range);
        }
        answer
    }

    fn text(&self) -> Vec<u8> {
        let hint = self.hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        format!("{}\n{hint}", self.message).into_bytes()
    }

    fn json(&self) -> Vec<u8> {
        let body = ErrorBody { error: self.code, message: &self.message, hint: self.hint };
        serde_json::to_vec(&body).expect("texts")
    }

    fn lfs_json(&self) -> Vec<u8> {
        let message = match self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone(),
        };
        serde_json::to_vec(&serde_json::json!({ "message": message })).expect("a text")
    }
}
