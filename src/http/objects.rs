//! Git objects: one by its SHA-1, or a repository's as a pack.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use hyper::StatusCode;
use hyper::header::{ACCEPT, CONTENT_LENGTH, ETAG, VARY};
use mega_storage::{ObjectHeader, ObjectId, Progress, RefTarget, SendOptions, Visibility};
use serde::Serialize;

use super::answer::Head;
use super::call::Call;
use super::error::HttpError;
use super::files::CONTENT;
use super::ranges;

/// The media type of an object as git keeps it in a file of its own.
pub const LOOSE: &str = "application/x-git-loose-object";
/// The media type of a pack.
pub const PACK: &str = "application/x-git-pack";
/// The media type of one JSON object a line.
pub const LINES: &str = "application/x-ndjson";

/// Objects up to this length are held in memory and hashed before the first byte goes out.
const WHOLE_LEN_MAX: u64 = 1 << 20;
/// Bytes of a larger object that are read at once.
const STEP_LEN: usize = 256 << 10;
/// Objects whose kind and length are looked up at once.
const LOOKUP_COUNT: usize = 1_024;

/// One line of a list of objects.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ListedObject {
    /// SHA-1.
    oid: String,
    /// `commit`, `tree`, `blob` or `tag`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Length of the content in bytes.
    size: u64,
}

/// `GET /v1/object/{oid}`.
pub(super) fn content(call: &mut Call<'_>) -> Result<(), HttpError> {
    let id = id_in_path(call)?;
    let is_public = find(call, &id)?;
    let objects = call.store().objects();
    let header = objects.header(&id)?.ok_or_else(HttpError::not_found)?;
    let is_loose = call.ask.header(ACCEPT).is_some_and(|accept| accept.contains(LOOSE));
    let (etag, media_type) = match is_loose {
        true => (format!("\"{id}-loose\""), LOOSE),
        false => (format!("\"{id}\""), CONTENT),
    };
    let head = |status| {
        let vary = if is_public { "Accept" } else { "Accept, Authorization" };
        Head::new(status, media_type)
            .with(ETAG, &etag)
            .immutable(is_public)
            .with(VARY, vary)
            .with(hyper::header::HeaderName::from_static("x-git-object-type"), header.kind.as_str())
    };
    if ranges::is_known(call.ask, &etag) {
        call.out.head_only(head(StatusCode::NOT_MODIFIED));
        return Ok(());
    }
    let head = head(StatusCode::OK);
    match (is_loose, header.len <= WHOLE_LEN_MAX) {
        (false, _) if call.ask.is_head() => {
            call.out.head_only(head.with(CONTENT_LENGTH, header.len));
            Ok(())
        }
        (is_loose, true) => {
            let object = objects.read_verified(&id)?.ok_or_else(HttpError::not_found)?;
            let body = match is_loose {
                true => deflate(&header, &object.data)?.into(),
                false => object.data,
            };
            call.out.whole(head.with(CONTENT_LENGTH, body.len()), body);
            Ok(())
        }
        (true, false) if call.ask.is_head() => {
            call.out.head_only(head);
            Ok(())
        }
        (true, false) => {
            let mut out = call.out.begin(head);
            let mut encoder = ZlibEncoder::new(&mut out, Compression::fast());
            encoder.write_all(loose_head(&header).as_bytes()).map_err(gone)?;
            copy(call, &id, &mut encoder)?;
            encoder.finish().map_err(gone)?;
            out.finish().map_err(gone)
        }
        (false, false) => {
            let mut out = call.out.begin(head.with(CONTENT_LENGTH, header.len));
            copy(call, &id, &mut out)?;
            out.finish().map_err(gone)
        }
    }
}

/// The object's id in the path.
///
/// # Errors
/// 400.
pub(super) fn id_in_path(call: &Call<'_>) -> Result<ObjectId, HttpError> {
    let id = call.names.get("oid").and_then(|text| text.parse().ok());
    id.ok_or_else(|| HttpError::bad("an id is the SHA-1 as 40 hexadecimal digits"))
}

fn gone(error: std::io::Error) -> HttpError {
    HttpError::of_body(&error)
}

/// Looks for an object in what the caller may see; whether everybody may see it.
fn find(call: &Call<'_>, id: &ObjectId) -> Result<bool, HttpError> {
    if call.sees_all() {
        return Ok(false);
    }
    let (is_there, is_public) = match call.scope()? {
        Some(repo) => {
            let is_public = repo.visibility == Visibility::Public;
            (call.store().objects().is_member(repo.id, id)?, is_public)
        }
        None => (call.store().is_public_object(id)?, true),
    };
    if is_there { Ok(is_public) } else { Err(HttpError::not_found()) }
}

fn loose_head(header: &ObjectHeader) -> String {
    format!("{} {}\0", header.kind.as_str(), header.len)
}

fn deflate(header: &ObjectHeader, content: &[u8]) -> Result<Vec<u8>, HttpError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(loose_head(header).as_bytes());
    let written = written.and_then(|()| encoder.write_all(content));
    written.and_then(|()| encoder.finish()).map_err(|error| HttpError::internal(&error))
}

/// Copies an object's content.
fn copy(call: &Call<'_>, id: &ObjectId, out: &mut dyn Write) -> Result<(), HttpError> {
    let mut buffer = vec![0; STEP_LEN];
    let mut offset = 0;
    loop {
        let len = call.store().objects().read_at(id, offset, &mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..len]).map_err(gone)?;
        offset += len as u64;
    }
}

/// `GET /v1/{repo}/objects`.
pub(super) fn all(call: &mut Call<'_>) -> Result<(), HttpError> {
    let repo = call.repo()?.id;
    let tips = tips(call)?;
    let stop = call.stop.clone();
    let _held = call.store().hold(repo, &tips)?;
    let reach = call.store().closure(repo, &tips, &stop)?;
    let is_list = call.ask.parameter("list").is_some();
    let head = Head::ok(if is_list { LINES } else { PACK }).fresh();
    if call.ask.is_head() {
        call.out.head_only(head);
        return Ok(());
    }
    let mut out = call.out.begin(head);
    if is_list {
        list(call, &reach.ids, &mut out)?;
    } else {
        let options = SendOptions { ofs_delta: true, thin_bases: None, keep: true };
        call.store().objects().send_pack(repo, &reach.ids, &options, &mut out, &stop)?;
    }
    out.finish().map_err(gone)
}

/// The objects that the references name which a fetch may see.
fn tips(call: &Call<'_>) -> Result<Vec<ObjectId>, HttpError> {
    let repo = call.repo()?.id;
    let settings = call.store().settings(repo)?;
    let mut tips = Vec::new();
    for (name, target) in call.store().refs().list(repo, b"")? {
        // What a symbolic reference stands for has a line of its own.
        if let RefTarget::Direct(id) = target
            && !settings.hides_from_fetch(&name)
        {
            tips.push(id);
        }
    }
    tips.sort_unstable();
    tips.dedup();
    Ok(tips)
}

fn list(call: &Call<'_>, ids: &[ObjectId], out: &mut dyn Write) -> Result<(), HttpError> {
    for ids in ids.chunks(LOOKUP_COUNT) {
        if call.stop.interrupted() {
            return Err(mega_storage::StoreError::Interrupted.into());
        }
        for (id, stat) in ids.iter().zip(call.store().objects().stat(ids)?) {
            let missing = || mega_storage::StoreError::MissingObject { id: *id };
            let header = stat.ok_or_else(missing)?.header;
            let (oid, kind, size) = (id.to_string(), header.kind.as_str(), header.len);
            let mut line =
                serde_json::to_vec(&ListedObject { oid, kind, size }).expect("texts and a number");
            line.push(b'\n');
            out.write_all(&line).map_err(gone)?;
        }
    }
    Ok(())
}
