//! Git's smart HTTP, as `git http-backend` speaks it: versions 0, 1 and 2.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, ETAG};
use mega_storage::{NO_REPO, Repo, Visibility};

use super::answer::{Head, LateBody};
use super::bridge::BodyReader;
use super::call::Call;
use super::error::HttpError;
use super::{objects, ranges};
use crate::git::{GitError, Protocol, Service, receive_pack, upload_pack};

/// The service behind fetch and clone.
pub const UPLOAD: &str = "git-upload-pack";
/// The service behind push.
pub const RECEIVE: &str = "git-receive-pack";
/// What the body of a fetch's request is.
pub const UPLOAD_REQUEST: &str = "application/x-git-upload-pack-request";
/// What the body of a push's request is.
pub const RECEIVE_REQUEST: &str = "application/x-git-receive-pack-request";
/// What references for a fetch are announced as.
pub const UPLOAD_REFS: &str = "application/x-git-upload-pack-advertisement";
/// What references for a push are announced as.
pub const RECEIVE_REFS: &str = "application/x-git-receive-pack-advertisement";
/// What a fetch is answered with.
pub const UPLOAD_RESULT: &str = "application/x-git-upload-pack-result";
/// What a push is answered with.
pub const RECEIVE_RESULT: &str = "application/x-git-receive-pack-result";

/// A bundle (gitformat-bundle).
pub const BUNDLE: &str = "application/x-git-bundle";

/// A client asks with this whether it may push before it sends much.
const PROBE: &[u8] = b"0000";

/// `GET info/refs?service=git-upload-pack`.
pub(super) fn upload_refs(call: &mut Call<'_>) -> Result<(), HttpError> {
    let repo = call.repo()?.clone();
    // Git's own server leaves the line out in version 2.
    let has_banner = protocol(call) != Protocol::V2;
    advertise(call, &repo, Head::ok(UPLOAD_REFS), has_banner.then_some(UPLOAD), |service, out| {
        upload_pack::advertise(service, out)
    })
}

/// `GET info/refs?service=git-receive-pack`. A repository that the caller may make is announced as
/// empty, and made when the push comes.
pub(super) fn receive_refs(call: &mut Call<'_>) -> Result<(), HttpError> {
    if call.shared.is_read_only {
        return Err(HttpError::read_only());
    }
    let repo = match (&call.repo, call.repo_name()) {
        (Some(repo), _) => repo.clone(),
        (None, Some(name)) => {
            let visibility = Visibility::Private;
            Repo { id: NO_REPO, name, visibility, created_unix: 0, origin: None, partial: false }
        }
        (None, None) => return Err(HttpError::not_found()),
    };
    advertise(call, &repo, Head::ok(RECEIVE_REFS), Some(RECEIVE), |service, out| {
        receive_pack::advertise(service, out)
    })
}

fn advertise(
    call: &mut Call<'_>,
    repo: &Repo,
    head: Head,
    banner: Option<&str>,
    write: impl Fn(&Service<'_>, &mut dyn Write) -> Result<(), GitError>,
) -> Result<(), HttpError> {
    with_service(
        call,
        repo,
        |service, _, mut out| {
            if let Some(name) = banner {
                let line = format!("# service={name}\n");
                let sent = write!(out, "{:04x}{line}0000", line.len() + 4);
                sent.map_err(|error| HttpError::of_body(&error))?;
            }
            write(service, &mut out)?;
            out.finish()
        },
        head,
    )
}

/// `POST git-upload-pack`.
pub(super) fn upload(call: &mut Call<'_>) -> Result<(), HttpError> {
    let repo = call.repo()?.clone();
    let len_max = call.shared.limits.git_request_len_max;
    let is_gzip = is_gzip(call)?;
    with_service(
        call,
        &repo,
        |service, body, mut out| {
            let mut input = plain(body, is_gzip, len_max);
            upload_pack::serve(service, &mut input, &mut out)?;
            out.finish()
        },
        Head::ok(UPLOAD_RESULT),
    )
}

/// `POST git-receive-pack`.
pub(super) fn receive(call: &mut Call<'_>) -> Result<(), HttpError> {
    let is_gzip = is_gzip(call)?;
    // The pack's own limits hold for what is not compressed here.
    let len_max = if is_gzip { call.shared.limits.git_request_len_max } else { u64::MAX };
    let start = read_start(&mut call.body, PROBE.len() + 1);
    let start = start.map_err(|error| HttpError::of_body(&error))?;
    if call.repo.is_none() && start == PROBE {
        call.out.whole(Head::ok(RECEIVE_RESULT).git_no_cache(), "");
        return Ok(());
    }
    let repo = call.repo_or_new()?;
    with_service(
        call,
        &repo,
        |service, body, mut out| {
            let mut input = plain(start.chain(body), is_gzip, len_max);
            match receive_pack::serve(service, &mut input, &mut out) {
                // A refusal was told in the protocol's own words, to its end: the answer is whole.
                Ok(_) | Err(GitError::Refused { .. }) => out.finish(),
                Err(error) => Err(error.into()),
            }
        },
        Head::ok(RECEIVE_RESULT),
    )
}

/// `GET info/refs` without a service that is known: git's old protocol, that reads files.
pub(super) fn dumb(_: &mut Call<'_>) -> Result<(), HttpError> {
    let message = "this server speaks git's smart protocol: service=git-upload-pack or \
                   service=git-receive-pack";
    Err(HttpError::new(StatusCode::FORBIDDEN, "dumb_protocol", message)
        .hint("use git 1.6.6 or newer, without GIT_SMART_HTTP=0"))
}

/// `GET info/bundle/{oid}`: the history of a commit that the default branch reaches. The same
/// address gives the same objects for ever, though perhaps in other bytes: hence a weak tag.
pub(super) fn bundle(call: &mut Call<'_>) -> Result<(), HttpError> {
    let id = objects::id_in_path(call)?;
    let repo = call.repo()?.clone();
    let store = call.store();
    let settings = store.settings(repo.id)?;
    let (actor, stop) = (call.caller.name(), call.stop.clone());
    let protocol = protocol(call);
    let service = Service::new(store, &repo, &settings, protocol, &actor, &stop)?;
    let found = upload_pack::find_bundle(&service, &id)?.ok_or_else(HttpError::not_found)?;
    let etag = format!("\"{id}\"");
    let head = |status| {
        let head = Head::new(status, BUNDLE).with(ETAG, format_args!("W/{etag}"));
        head.immutable(repo.visibility == Visibility::Public)
    };
    if ranges::is_known(call.ask, &etag) {
        call.out.head_only(head(StatusCode::NOT_MODIFIED));
        return Ok(());
    }
    if call.ask.is_head() {
        call.out.head_only(head(StatusCode::OK));
        return Ok(());
    }
    let mut out = LateBody::new(&mut call.out, head(StatusCode::OK));
    found.write(&service, &mut out)?;
    out.finish()
}

fn protocol(call: &Call<'_>) -> Protocol {
    let name = hyper::header::HeaderName::from_static("git-protocol");
    Protocol::parse(call.ask.header(name).unwrap_or_default())
}

/// Runs a service with the request's body and the answer's, whose head is sent with its first byte.
fn with_service(
    call: &mut Call<'_>,
    repo: &Repo,
    run: impl FnOnce(&Service<'_>, &mut BodyReader, LateBody<'_>) -> Result<(), HttpError>,
    head: Head,
) -> Result<(), HttpError> {
    let store = call.store();
    let settings = store.settings(repo.id)?;
    let protocol = protocol(call);
    let (actor, stop) = (call.caller.name(), call.stop.clone());
    let service = Service::new(store, repo, &settings, protocol, &actor, &stop)?;
    let service = service.with_limits(call.shared.limits.push);
    run(&service, &mut call.body, LateBody::new(&mut call.out, head.git_no_cache()))
}

fn is_gzip(call: &Call<'_>) -> Result<bool, HttpError> {
    match call.ask.header(CONTENT_ENCODING) {
        None | Some("identity") => Ok(false),
        Some("gzip" | "x-gzip") => Ok(true),
        Some(_) => {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Err(HttpError::new(status, "content_encoding", "a body is plain, or gzip"))
        }
    }
}

/// The body as it was before it was compressed, which may not pass `len_max` bytes.
fn plain<'a>(
    body: impl Read + Send + 'a,
    is_gzip: bool,
    len_max: u64,
) -> Capped<Box<dyn Read + Send + 'a>> {
    let inner: Box<dyn Read + Send + 'a> =
        if is_gzip { Box::new(MultiGzDecoder::new(body)) } else { Box::new(body) };
    Capped { inner, left: len_max }
}

/// Reads up to `len` bytes, fewer only at the end.
fn read_start(body: &mut BodyReader, len: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(len);
    body.take(len as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// A body with a limit.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(out)?;
        let left = self.left.checked_sub(len as u64);
        self.left = left.ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "the request is longer than it may be")
        })?;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn read(body: &[u8], is_gzip: bool, len_max: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        plain(body, is_gzip, len_max).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn a_body_ends_at_its_limit_and_not_one_byte_later() {
        let text = vec![7; 100_000];
        assert_eq!(read(&gzip(&text), true, 100_000).expect("at the limit"), text);
        let error = read(&gzip(&text), true, 99_999).expect_err("one past it");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&text, false, 100_000).expect("at the limit"), text);
        assert!(read(&text, false, 99_999).is_err());
        assert!(read(b"not gzip", true, 100).is_err());
        let two = [gzip(b"a"), gzip(b"b")].concat();
        assert_eq!(read(&two, true, 100).expect("members"), b"ab");
    }
}
