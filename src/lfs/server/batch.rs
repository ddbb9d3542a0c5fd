//! The batch API: what to do for each of many objects.

use std::collections::BTreeMap;

use mega_storage::FileId;

use super::{
    Action, Actions, BatchRequest, BatchResponse, LfsContext, LfsError, Links, ObjectAnswer,
    ObjectError, ObjectRequest, limits, transfer,
};
use crate::lfs::wire;

/// What a client wants to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Download,
    Upload,
}

/// Says for each object how to transfer it, that it is there, or why it cannot be transferred.
///
/// # Errors
/// When the request as a whole is refused; what is wrong with one object is in its answer.
pub fn batch(
    context: &LfsContext<'_>,
    request: &BatchRequest,
    links: &Links<'_>,
) -> Result<BatchResponse, LfsError> {
    let operation = match request.operation.as_str() {
        "download" => Operation::Download,
        "upload" => Operation::Upload,
        _ => {
            let reason = "the operation is neither 'download' nor 'upload'".to_owned();
            return Err(LfsError::Invalid { reason });
        }
    };
    if operation == Operation::Upload {
        context.must_write()?;
    }
    check_counts(request)?;
    let way = choose_transfer(&request.transfers)?;
    let is_sha256 = request.hash_algo.as_deref().is_none_or(|name| ["", "sha256"].contains(&name));
    let mut room = match operation {
        Operation::Upload => transfer::room(context)?,
        Operation::Download => None,
    };
    let mut objects = Vec::with_capacity(request.objects.len());
    for object in &request.objects {
        let answer = if is_sha256 {
            let asked = Asked { context, operation, way, links };
            asked.answer(object, &mut room)?
        } else {
            Err(error(409, "objects are named by sha256 here"))
        };
        objects.push(to_json(object, answer));
    }
    Ok(BatchResponse { transfer: way, objects, hash_algo: "sha256" })
}

/// Refuses requests with too much in them.
fn check_counts(request: &BatchRequest) -> Result<(), LfsError> {
    let name_len = request.reference.as_ref().map_or(0, |reference| reference.name.len());
    for (what, actual, limit) in [
        ("objects in a batch", request.objects.len(), limits::BATCH_OBJECTS_MAX),
        ("transfers in a batch", request.transfers.len(), limits::TRANSFERS_MAX),
        ("bytes of a ref's name", name_len, limits::REF_LEN_MAX),
    ] {
        if actual > limit {
            let (limit, actual) = (limit as u64, actual as u64);
            return Err(LfsError::TooMuch { what, limit, actual });
        }
    }
    Ok(())
}

/// The best way of transfer that the client knows.
fn choose_transfer(known: &[String]) -> Result<&'static str, LfsError> {
    let knows = |name| known.iter().any(|transfer| transfer == name);
    if knows(wire::TRANSFER) {
        return Ok(wire::TRANSFER);
    }
    if known.is_empty() || knows("basic") {
        return Ok("basic");
    }
    let reason = format!("this server transfers by 'basic' and '{}' only", wire::TRANSFER);
    Err(LfsError::Invalid { reason })
}

/// One object's answer: actions, nothing to do, or its error.
type Answer = Result<Option<Actions>, ObjectError>;

/// What is the same for all objects of a request.
struct Asked<'a> {
    context: &'a LfsContext<'a>,
    operation: Operation,
    way: &'static str,
    links: &'a Links<'a>,
}

impl Asked<'_> {
    /// `room` is what is left of the quota.
    fn answer(&self, object: &ObjectRequest, room: &mut Option<u64>) -> Result<Answer, LfsError> {
        let (id, len) = match check(object) {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error)),
        };
        let files = self.context.store.files();
        // Who is told that it need not upload counts on what is here.
        let has = match self.operation {
            Operation::Download => files.has(self.context.repo.id, &id)?,
            Operation::Upload => files.has_for_push(self.context.repo.id, &id)?,
        };
        let stored = match has {
            true => files.head(&id)?.map(|head| head.len),
            false => None,
        };
        if let Some(stored) = stored.filter(|stored| *stored != len) {
            return Ok(Err(error(422, &format!("the object has {stored} bytes, not {len}"))));
        }
        match (self.operation, stored) {
            (Operation::Download, None) => Ok(Err(error(404, "Object does not exist"))),
            (Operation::Download, Some(_)) => {
                Ok(Ok(Some(Actions { download: Some(self.action(&id)), ..Actions::default() })))
            }
            (Operation::Upload, Some(_)) => Ok(Ok(None)),
            (Operation::Upload, None) => {
                if let Some(left) = room {
                    match left.checked_sub(len) {
                        Some(rest) => *left = rest,
                        None => return Ok(Err(error(507, "the repository's quota is used up"))),
                    }
                }
                Ok(Ok(Some(Actions { upload: Some(self.action(&id)), ..Actions::default() })))
            }
        }
    }

    fn action(&self, id: &FileId) -> Action {
        let Links { base_url, authorization, expires_in_s } = self.links;
        let href = if self.way == wire::TRANSFER {
            format!("{base_url}{}{id}", wire::OBJECTS_PATH)
        } else {
            format!("{base_url}/objects/{id}")
        };
        let header = authorization.iter().map(|value| ("Authorization".into(), (*value).into()));
        Action { href, header: header.collect::<BTreeMap<_, _>>(), expires_in: *expires_in_s }
    }
}

/// The object's id and length, when they can be ones.
pub(super) fn check(object: &ObjectRequest) -> Result<(FileId, u64), ObjectError> {
    let is_plain = object.oid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let id = object.oid.parse::<FileId>().ok().filter(|_| is_plain);
    let id = id.ok_or_else(|| error(422, "the oid is not a SHA-256 in lower-case hex"))?;
    let len = u64::try_from(object.size).map_err(|_| error(422, "the size is negative"))?;
    if len > limits::OBJECT_LEN_MAX {
        return Err(error(422, "the size is larger than any object may be"));
    }
    Ok((id, len))
}

fn error(code: u16, message: &str) -> ObjectError {
    ObjectError { code, message: message.to_owned() }
}

fn to_json(object: &ObjectRequest, answer: Answer) -> ObjectAnswer {
    let mut json = ObjectAnswer {
        oid: object.oid.clone(),
        size: object.size,
        authenticated: None,
        actions: None,
        error: None,
    };
    match answer {
        Ok(Some(actions)) => {
            json.authenticated = Some(true);
            json.actions = Some(actions);
        }
        Ok(None) => {}
        Err(error) => json.error = Some(error),
    }
    json
}
