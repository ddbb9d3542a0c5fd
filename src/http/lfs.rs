//! The LFS routes: each calls the one function of the LFS room that answers it.

use std::io::{self, Read};

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH};
use mega_storage::{FileId, Repo, RepoSettings};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::access::{Caller, Rights};
use super::answer::{Head, LateBody, Stop};
use super::call::Call;
use super::error::HttpError;
use super::files::{self, CONTENT, Seen};
use super::{Shared, now_unix};
use crate::lfs::server::{
    self, BatchRequest, LfsContext, LfsError, Links, MEDIA_TYPE, Uploaded, VerifyRequest, chunked,
    limits, locks, slices,
};

/// Everything that a request's context borrows, so that body and answer stay free.
struct Ground<'a> {
    shared: &'a Shared,
    stop: Stop,
    repo: Repo,
    settings: RepoSettings,
    rights: server::Rights,
    actor: String,
    base_url: String,
    authorization: Option<String>,
    expires_in_s: Option<u64>,
}

impl<'a> Ground<'a> {
    /// For the repository in the path, or one to be made by those who may, when `may_make`.
    fn new(call: &mut Call<'a>, may_make: bool) -> Result<Self, HttpError> {
        let repo = if may_make { call.repo_or_new()? } else { call.repo()?.clone() };
        let rights = match call.caller.rights(&repo) {
            Rights::None => return Err(HttpError::not_found()),
            Rights::Owner if !call.shared.is_read_only => server::Rights::Owner,
            Rights::Write if !call.shared.is_read_only => server::Rights::Write,
            Rights::Read | Rights::Write | Rights::Owner => server::Rights::Read,
        };
        let expires = match &call.caller {
            Caller::Token(token) => token.expires_unix,
            Caller::Owner | Caller::Anonymous | Caller::Unknown => None,
        };
        Ok(Self {
            shared: call.shared,
            stop: call.stop.clone(),
            settings: call.store().settings(repo.id)?,
            rights,
            actor: call.caller.name(),
            base_url: format!("{}/{}.git/info/lfs", call.ask.base_url(), repo.name),
            authorization: call.ask.header(AUTHORIZATION).map(str::to_owned),
            expires_in_s: expires.map(|end| end.saturating_sub(now_unix())),
            repo,
        })
    }

    fn context(&self) -> LfsContext<'_> {
        LfsContext {
            store: &self.shared.store,
            repo: &self.repo,
            rights: self.rights,
            actor: &self.actor,
            quota: self.settings.quota_len(),
            slices: &self.shared.slices,
            stop: &self.stop,
        }
    }

    fn links(&self) -> Links<'_> {
        Links {
            base_url: &self.base_url,
            authorization: self.authorization.as_deref(),
            expires_in_s: self.expires_in_s,
        }
    }
}

/// Answers with JSON, or with the error in LFS's own shape.
fn reply<T: Serialize>(
    call: &mut Call<'_>,
    status: StatusCode,
    answer: Result<T, LfsError>,
) -> Result<(), HttpError> {
    match answer {
        Ok(value) => {
            let body = serde_json::to_vec(&value).expect("text keys");
            call.out.whole(Head::new(status, MEDIA_TYPE).fresh(), body);
            Ok(())
        }
        Err(error) => fail(call, &error),
    }
}

fn fail(call: &mut Call<'_>, error: &LfsError) -> Result<(), HttpError> {
    match error {
        LfsError::ReadOnly if call.shared.is_read_only => return Err(HttpError::read_only()),
        LfsError::ReadOnly => return Err(call.refusal(Rights::Read)),
        LfsError::Store(cause) if error.status() == 500 => {
            tracing::error!("answering an LFS request: {cause}");
        }
        _ => {}
    }
    let status = StatusCode::from_u16(error.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&error.body(None)).expect("text keys");
    call.out.whole(Head::new(status, MEDIA_TYPE).fresh(), body);
    Ok(())
}

/// Reads a JSON body.
fn parse<T: DeserializeOwned>(call: &mut Call<'_>) -> Result<Result<T, LfsError>, HttpError> {
    Ok(server::parse(&call.small_body(limits::JSON_LEN_MAX)?))
}

fn id_in(call: &Call<'_>, name: &str) -> Result<FileId, HttpError> {
    files::id_of(call.names.get(name))
}

/// `POST objects/batch`.
pub(super) fn batch(call: &mut Call<'_>) -> Result<(), HttpError> {
    let request = match parse::<BatchRequest>(call)? {
        Ok(request) => request,
        Err(error) => return fail(call, &error),
    };
    // An upload comes before the push that would make the repository.
    let ground = Ground::new(call, request.operation == "upload")?;
    let answer = server::batch(&ground.context(), &request, &ground.links());
    reply(call, StatusCode::OK, answer)
}

/// `GET objects/{oid}`.
pub(super) fn download(call: &mut Call<'_>) -> Result<(), HttpError> {
    let (id, repo) = (id_in(call, "oid")?, call.repo()?.id);
    let store_files = call.store().files();
    if !store_files.has(repo, &id)? {
        return fail(call, &LfsError::NoObject { id });
    }
    let Some(head) = store_files.head(&id)? else {
        return fail(call, &LfsError::NoObject { id });
    };
    let is_public = call.repo()?.visibility == mega_storage::Visibility::Public;
    files::send(call, Seen { id, len: head.len, is_public })
}

/// `PUT objects/{oid}`.
pub(super) fn upload(call: &mut Call<'_>) -> Result<(), HttpError> {
    let id = id_in(call, "oid")?;
    let ground = Ground::new(call, true)?;
    let len = call.ask.header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let context = ground.context();
    match server::upload(&context, &id, len, &mut call.body) {
        Ok(uploaded) => {
            if uploaded == Uploaded::Present {
                // The client reads the answer when it has sent everything.
                io::copy(&mut call.body, &mut io::sink())
                    .map_err(|error| HttpError::of_body(&error))?;
            }
            call.out.whole(Head::ok(MEDIA_TYPE).fresh(), "");
            Ok(())
        }
        Err(error) => fail(call, &error),
    }
}

/// `POST objects/verify`.
pub(super) fn verify(call: &mut Call<'_>) -> Result<(), HttpError> {
    let ground = Ground::new(call, false)?;
    let request = parse::<VerifyRequest>(call)?;
    let answer = request.and_then(|request| server::verify(&ground.context(), &request));
    reply(call, StatusCode::OK, answer.map(|()| serde_json::json!({})))
}

/// `POST locks`.
pub(super) fn lock(call: &mut Call<'_>) -> Result<(), HttpError> {
    let ground = Ground::new(call, true)?;
    let request = parse(call)?;
    let answer = request.and_then(|request| locks::create(&ground.context(), &request));
    reply(call, StatusCode::CREATED, answer)
}

/// `GET locks`.
pub(super) fn list_locks(call: &mut Call<'_>) -> Result<(), HttpError> {
    let ground = Ground::new(call, false)?;
    let given = |name| call.ask.parameter(name).map(str::to_owned);
    let query = locks::ListQuery {
        path: given("path"),
        id: given("id"),
        cursor: given("cursor"),
        limit: given("limit"),
        refspec: given("refspec"),
    };
    let answer = locks::list(&ground.context(), &query);
    reply(call, StatusCode::OK, answer)
}

/// `POST locks/verify`.
pub(super) fn verify_locks(call: &mut Call<'_>) -> Result<(), HttpError> {
    let ground = Ground::new(call, true)?;
    let request = parse(call)?;
    let answer = request.and_then(|request| locks::verify(&ground.context(), &request));
    reply(call, StatusCode::OK, answer)
}

/// `POST locks/{id}/unlock`.
pub(super) fn unlock(call: &mut Call<'_>) -> Result<(), HttpError> {
    let ground = Ground::new(call, false)?;
    let request = parse(call)?;
    let id = call.names.get("id").unwrap_or_default().to_owned();
    let answer = request.and_then(|request| locks::delete(&ground.context(), &id, &request));
    reply(call, StatusCode::OK, answer)
}

/// `GET objects/{oid}/chunks`.
pub(super) fn list_slices(call: &mut Call<'_>) -> Result<(), HttpError> {
    let id = id_in(call, "oid")?;
    let ground = Ground::new(call, false)?;
    let answer = slices::list(&ground.context(), &id, &ground.links());
    reply(call, StatusCode::OK, answer)
}

/// `GET objects/{oid}/{sub_oid}`.
pub(super) fn slice(call: &mut Call<'_>) -> Result<(), HttpError> {
    let (id, sub_id) = (id_in(call, "oid")?, id_in(call, "sub_oid")?);
    let ground = Ground::new(call, false)?;
    let number = |name| call.ask.parameter(name).and_then(|text| text.parse().ok());
    let (offset, size) = (number("offset"), number("size"));
    let mut content = match slices::open(&ground.context(), &id, &sub_id, offset, size) {
        Ok(content) => content,
        Err(error) => return fail(call, &error),
    };
    let head = Head::ok(CONTENT).with(CONTENT_LENGTH, content.len).fresh();
    if call.ask.is_head() {
        call.out.head_only(head);
        return Ok(());
    }
    let mut out = call.out.begin(head);
    let gone = |error: io::Error| HttpError::of_body(&error);
    loop {
        let bytes = content.reader.next_bytes()?;
        if bytes.is_empty() {
            return out.finish().map_err(gone);
        }
        out.put(bytes).map_err(gone)?;
    }
}

/// `POST mega/v1/objects/{oid}/missing`.
pub(super) fn missing(call: &mut Call<'_>) -> Result<(), HttpError> {
    let answer = with_body(call, |context, id, body| chunked::missing(context, id, body))?;
    match answer {
        Ok(bitmap) => {
            call.out.whole(Head::ok(CONTENT).fresh(), bitmap);
            Ok(())
        }
        Err(error) => fail(call, &error),
    }
}

/// `POST mega/v1/objects/{oid}/send`.
pub(super) fn send(call: &mut Call<'_>) -> Result<(), HttpError> {
    let answer = with_body(call, |context, id, body| chunked::send(context, id, body))?;
    reply(call, StatusCode::OK, answer)
}

/// Runs `act` with the request's body.
fn with_body<T>(
    call: &mut Call<'_>,
    act: impl FnOnce(&LfsContext<'_>, &FileId, &mut dyn Read) -> T,
) -> Result<T, HttpError> {
    let id = id_in(call, "oid")?;
    let ground = Ground::new(call, true)?;
    let context = ground.context();
    Ok(act(&context, &id, &mut call.body))
}

/// `POST mega/v1/objects/{oid}/finish`.
pub(super) fn finish(call: &mut Call<'_>) -> Result<(), HttpError> {
    let id = id_in(call, "oid")?;
    let ground = Ground::new(call, true)?;
    let context = ground.context();
    let head = Head::ok(super::objects::LINES).fresh();
    let mut out = LateBody::new(&mut call.out, head);
    match chunked::finish(&context, &id, &mut call.body, &mut out) {
        Ok(()) => out.finish(),
        Err(error) => {
            drop(out);
            fail(call, &error)
        }
    }
}

/// `GET mega/v1/objects/{oid}/chunks`.
pub(super) fn list_chunks(call: &mut Call<'_>) -> Result<(), HttpError> {
    let id = id_in(call, "oid")?;
    let ground = Ground::new(call, false)?;
    stream(call, &ground, |context| chunked::list(context, &id))
}

/// `POST mega/v1/objects/{oid}/fetch`.
pub(super) fn fetch_chunks(call: &mut Call<'_>) -> Result<(), HttpError> {
    let id = id_in(call, "oid")?;
    let ground = Ground::new(call, false)?;
    let body = call.small_body(limits::JSON_LEN_MAX)?;
    stream(call, &ground, |context| chunked::fetch(context, &id, &body))
}

/// Sends what `open` opens.
fn stream(
    call: &mut Call<'_>,
    ground: &Ground<'_>,
    open: impl for<'b> FnOnce(&LfsContext<'b>) -> Result<chunked::Outgoing<'b>, LfsError>,
) -> Result<(), HttpError> {
    let context = ground.context();
    let outgoing = match open(&context) {
        Ok(outgoing) => outgoing,
        Err(error) => return fail(call, &error),
    };
    let head = Head::ok(CONTENT).with(CONTENT_LENGTH, outgoing.len).fresh();
    if call.ask.is_head() {
        call.out.head_only(head);
        return Ok(());
    }
    let mut out = call.out.begin(head);
    let sent = outgoing.write_to(&mut out);
    sent.map_err(|error| HttpError::bad(format!("broken off: {error}")))?;
    out.finish().map_err(|error| HttpError::of_body(&error))
}
