//! From a request to its answer: find the route, wait for a turn, do the work on a thread.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONTENT_TYPE, EXPECT, HOST, HeaderValue, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};
use mega_storage::RepoDraft;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::access::Caller;
use super::answer::{Answer, Responder, Stop};
use super::ask::{self, Ask};
use super::bridge::{Body, BodyReader};
use super::call::Call;
use super::error::HttpError;
use super::metrics::{Entered, Gauge};
use super::routes::ROUTES;
use super::table::{self, Found, Group, Load, Names, Route};
use super::{Shared, host, now_unix};

/// What all requests of a connection have in common.
pub(super) struct Connection {
    /// The other end.
    pub(super) from: SocketAddr,
    /// It is encrypted.
    pub(super) is_tls: bool,
    /// Its listener answers on this machine only.
    pub(super) is_loopback: bool,
    /// Its requests that are being answered.
    pub(super) open: Gauge,
}

/// A request that fits a route.
struct Routed {
    ask: Ask,
    route: &'static Route,
    index: usize,
    names: Names,
}

/// A turn to work, given back when it is dropped.
struct Turn {
    _request: OwnedSemaphorePermit,
    _pack: Option<(OwnedSemaphorePermit, Entered)>,
    _open: Entered,
}

/// Answers a request, whatever it is.
pub(super) async fn answer(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Answer {
    let open = connection.open.enter();
    let (parts, body) = request.into_parts();
    let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    let is_git_program = agent.is_some_and(|agent| agent.starts_with("git/"));
    let routed = match find_route(&connection, parts) {
        Ok(routed) => routed,
        Err(answer) => {
            shared.metrics.unrouted.fetch_add(1, Ordering::Relaxed);
            return finish(*answer);
        }
    };
    let (group, index) = (routed.route.group, routed.index);
    let refuse = |error: HttpError| {
        shared.metrics.answered(index, error.status.as_u16());
        finish(error.into_answer(group, is_git_program))
    };
    let checked =
        host::check_host(&routed.ask).and_then(|()| host::check_type(&routed.ask, routed.route));
    if let Err(error) = checked {
        return refuse(error);
    }
    let Some(turn) = take_turn(&shared, routed.route).await else {
        shared.metrics.requests_refused.fetch_add(1, Ordering::Relaxed);
        return refuse(HttpError::busy());
    };
    let stop = Stop::new(shared.ends_now.clone());
    let cut = stop.on_drop();
    let (sender, receiver) = oneshot::channel();
    let body = BodyReader::new(body, shared.limits.body_timeout);
    let worker = shared.clone();
    tokio::task::spawn_blocking(move || {
        let out = Responder::new(sender, worker.metrics.bytes_out.clone());
        work(&worker, &routed, body, out, stop, is_git_program);
        drop(turn);
    });
    let Ok(mut answer) = receiver.await else {
        return refuse(HttpError::internal(&"the handler gave no answer"));
    };
    if let Body::Written { guard, .. } = answer.body_mut() {
        *guard = Some(Box::new((cut, open)));
    }
    finish(answer)
}

/// What every answer has, but for git's: no browser looks into those, and git shows every field.
fn finish(mut answer: Answer) -> Answer {
    let kind = answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"application/x-git-")) {
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    answer
}

fn find_route(connection: &Connection, parts: Parts) -> Result<Routed, Box<Answer>> {
    let refuse = |error: HttpError| Box::new(error.into_answer(Group::Api, false));
    let segments = ask::split_path(&parts.uri).map_err(refuse)?;
    let query = ask::split_query(&parts.uri).map_err(refuse)?;
    let service = query.iter().find(|(key, _)| key == "service").map(|(_, value)| value.as_str());
    let (route, names) = match table::find(ROUTES, &parts.method, &segments, service) {
        Found::Route(route, names) => (route, names),
        Found::Nothing => return Err(refuse(HttpError::not_found())),
        Found::OtherMethod(methods) => {
            let allowed = methods.join(", ");
            let message = format!("this takes {allowed}");
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let mut answer = refuse(HttpError::new(status, "method", message));
            if let Ok(value) = HeaderValue::from_str(&allowed) {
                answer.headers_mut().insert(ALLOW, value);
            }
            return Err(answer);
        }
    };
    let index = ROUTES.iter().position(|other| std::ptr::eq(other, route)).unwrap_or_default();
    let named = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = || parts.headers.get(HOST)?.to_str().ok().map(str::to_owned);
    let ask = Ask {
        authority: named.or_else(host),
        method: parts.method,
        query,
        headers: parts.headers,
        from: connection.from,
        is_tls: connection.is_tls,
        is_loopback: connection.is_loopback,
    };
    Ok(Routed { ask, route, index, names })
}

/// Waits for a turn as long as the route may; `None` when there is none.
async fn take_turn(shared: &Arc<Shared>, route: &Route) -> Option<Turn> {
    let pack = match route.load {
        Load::Light => None,
        Load::Pack => {
            let taken = Semaphore::acquire_owned(shared.packs.clone());
            let taken = tokio::time::timeout(shared.limits.pack_wait, taken).await;
            Some((taken.ok()?.ok()?, shared.metrics.packs_open.enter()))
        }
    };
    let request = shared.requests.clone().try_acquire_owned().ok()?;
    Some(Turn { _request: request, _pack: pack, _open: shared.metrics.requests_open.enter() })
}

/// Admits the caller and runs the handler. Blocks.
fn work(
    shared: &Shared,
    routed: &Routed,
    body: BodyReader,
    out: Responder,
    stop: Stop,
    is_git_program: bool,
) {
    let Routed { ask, route, index, names } = routed;
    let (caller, failed) = match Caller::of(ask, &shared.store, now_unix()) {
        Ok(caller) => (caller, None),
        Err(error) => (Caller::Unknown, Some(HttpError::from(error))),
    };
    let names = names.clone();
    let (repo, draft) = (None, None);
    let mut call = Call { shared, ask, route, names, caller, repo, draft, body, out, stop };
    let mut was_admitted = false;
    let result = match failed {
        Some(error) => Err(error),
        None => catch_unwind(AssertUnwindSafe(|| {
            call.admit()?;
            was_admitted = true;
            (route.handler)(&mut call)
        }))
        .unwrap_or_else(|_| Err(HttpError::internal(&"a handler panicked: a bug"))),
    };
    if let Err(error) = result {
        if call.out.has_begun() {
            tracing::info!(route = route.pattern, "broken off: {}", error.message);
        } else {
            call.out.send(error.into_answer(route.group, is_git_program));
        }
    }
    if !ask.headers.contains_key(EXPECT) {
        call.body.drain();
    }
    let status = call.out.status().unwrap_or(500);
    shared.metrics.answered(*index, status);
    shared.metrics.bytes_in.fetch_add(call.body.read_len(), Ordering::Relaxed);
    if call.draft.as_ref().is_some_and(RepoDraft::tell_made) {
        call.note("create", 201);
    }
    if was_admitted && route.is_write() {
        call.note("write", status);
    }
}
