//! The locking API (git-lfs docs/api/locking.md).
//!
//! Locks are the repository's, whatever ref a request names: the documents have refs for
//! authorization only, and git-lfs names the branch that is checked out when it looks for a lock
//! that may have been made on another.

use mega_storage::{FileLock, LockError, LockFilter, LockId};
use serde::{Deserialize, Serialize};

use super::time::rfc3339;
use super::{LfsContext, LfsError, RefSpec, limits};

/// A lock, as it is told.
#[derive(Serialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct Lock {
    /// Its id.
    pub id: String,
    /// The locked path, from the root of the repository.
    pub path: String,
    /// When it was made, RFC 3339.
    pub locked_at: String,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a lock is.
#[derive(Serialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The caller's name when it was made.
    pub name: String,
}

/// Asks for a lock.
#[derive(Deserialize, utoipa::ToSchema, Clone, Debug)]
pub struct CreateRequest {
    /// The path, from the root of the repository.
    pub path: String,
    /// The ref that is checked out.
    #[serde(default, rename = "ref")]
    pub reference: Option<RefSpec>,
}

/// One lock, made or deleted.
#[derive(Serialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct LockAnswer {
    /// The lock.
    pub lock: Lock,
}

/// The query of a list, as it comes in the URL.
#[derive(Deserialize, utoipa::IntoParams, Clone, Default, Debug)]
pub struct ListQuery {
    /// Only the lock of this path.
    pub path: Option<String>,
    /// Only the lock with this id.
    pub id: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Most locks in the answer.
    pub limit: Option<String>,
    /// The ref that is checked out. Changes nothing.
    pub refspec: Option<String>,
}

/// A page of locks.
#[derive(Serialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct ListAnswer {
    /// The locks, oldest first.
    pub locks: Vec<Lock>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Asks for all locks before a push.
#[derive(Deserialize, utoipa::ToSchema, Clone, Default, Debug)]
pub struct VerifyLocksRequest {
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Most locks in the answer.
    #[serde(default)]
    pub limit: Option<u64>,
    /// The ref that is pushed.
    #[serde(default, rename = "ref")]
    pub reference: Option<RefSpec>,
}

/// A page of locks, by whose they are.
#[derive(Serialize, utoipa::ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct VerifyLocksAnswer {
    /// The caller's.
    pub ours: Vec<Lock>,
    /// All others'.
    pub theirs: Vec<Lock>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Asks to delete a lock.
#[derive(Deserialize, utoipa::ToSchema, Clone, Default, Debug)]
pub struct DeleteRequest {
    /// Also when it is another's.
    #[serde(default, deserialize_with = "super::message::or_default")]
    pub force: bool,
    /// The ref that is checked out.
    #[serde(default, rename = "ref")]
    pub reference: Option<RefSpec>,
}

/// Locks a path.
///
/// # Errors
/// [`LfsError::Locked`] with the lock that is there, [`LfsError::ReadOnly`], [`LfsError::Invalid`].
pub fn create(context: &LfsContext<'_>, request: &CreateRequest) -> Result<LockAnswer, LfsError> {
    context.must_write()?;
    check_ref(request.reference.as_ref())?;
    let made = context.store.locks().create(context.repo.id, &request.path, context.actor);
    match made {
        Ok(lock) => Ok(LockAnswer { lock: to_json(lock) }),
        Err(LockError::Exists(lock)) => Err(LfsError::Locked { lock: Box::new(to_json(*lock)) }),
        Err(LockError::Path(reason)) => {
            Err(LfsError::Invalid { reason: format!("the path cannot be locked: {reason}") })
        }
        Err(LockError::Store(error)) => Err(error.into()),
    }
}

/// A page of the repository's locks.
///
/// # Errors
/// [`LfsError::Parameter`] for a cursor or limit that is none.
pub fn list(context: &LfsContext<'_>, query: &ListQuery) -> Result<ListAnswer, LfsError> {
    let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let limit = match given(&query.limit) {
        Some(text) => Some(
            text.parse::<u64>()
                .map_err(|_| LfsError::Parameter { name: "limit", reason: "is not a number" })?,
        ),
        None => None,
    };
    let filter = LockFilter { path: given(&query.path), id: None };
    let filter = match given(&query.id) {
        // An id of another form is the id of no lock.
        Some(id) => match id.parse::<LockId>() {
            Ok(id) => LockFilter { id: Some(id), ..filter },
            Err(_) => return Ok(ListAnswer { locks: Vec::new(), next_cursor: None }),
        },
        None => filter,
    };
    let (locks, next_cursor) = page(context, &filter, given(&query.cursor).as_deref(), limit)?;
    Ok(ListAnswer { locks: locks.into_iter().map(to_json).collect(), next_cursor })
}

/// A page of the repository's locks, the caller's and the others' apart.
///
/// # Errors
/// [`LfsError::ReadOnly`]; as [`list`].
pub fn verify(
    context: &LfsContext<'_>,
    request: &VerifyLocksRequest,
) -> Result<VerifyLocksAnswer, LfsError> {
    context.must_write()?;
    check_ref(request.reference.as_ref())?;
    let cursor = request.cursor.as_deref().filter(|text| !text.is_empty());
    let (locks, next_cursor) = page(context, &LockFilter::default(), cursor, request.limit)?;
    let (ours, theirs): (Vec<_>, Vec<_>) =
        locks.into_iter().partition(|lock| lock.owner == context.actor);
    let to_json = |locks: Vec<FileLock>| locks.into_iter().map(to_json).collect();
    Ok(VerifyLocksAnswer { ours: to_json(ours), theirs: to_json(theirs), next_cursor })
}

/// Deletes a lock: the caller's own, or with `force` any.
///
/// # Errors
/// [`LfsError::NoLock`], [`LfsError::LockOfOther`], [`LfsError::ReadOnly`].
pub fn delete(
    context: &LfsContext<'_>,
    id: &str,
    request: &DeleteRequest,
) -> Result<LockAnswer, LfsError> {
    context.must_write()?;
    check_ref(request.reference.as_ref())?;
    let no_lock = || LfsError::NoLock { id: id.chars().take(64).collect() };
    let number = id.parse::<LockId>().map_err(|_| no_lock())?;
    let locks = context.store.locks();
    let lock = locks.get(context.repo.id, number)?.ok_or_else(no_lock)?;
    if lock.owner != context.actor && !request.force {
        return Err(LfsError::LockOfOther { owner: lock.owner });
    }
    let deleted = locks.delete(context.repo.id, number)?.ok_or_else(no_lock)?;
    Ok(LockAnswer { lock: to_json(deleted) })
}

fn page(
    context: &LfsContext<'_>,
    filter: &LockFilter,
    cursor: Option<&str>,
    limit: Option<u64>,
) -> Result<(Vec<FileLock>, Option<String>), LfsError> {
    let from = match cursor {
        Some(text) => text.parse::<LockId>().map_err(|_| LfsError::Parameter {
            name: "cursor",
            reason: "did not come from this server",
        })?,
        None => LockId::FIRST,
    };
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(limits::LOCKS_PAGE_DEFAULT);
    let limit = limit.min(limits::LOCKS_PAGE_MAX);
    let (locks, next) = context.store.locks().list(context.repo.id, filter, from, limit)?;
    Ok((locks, next.map(|id| id.to_string())))
}

fn check_ref(reference: Option<&RefSpec>) -> Result<(), LfsError> {
    let (limit, actual) = (limits::REF_LEN_MAX, reference.map_or(0, |r| r.name.len()));
    if actual > limit {
        let (limit, actual) = (limit as u64, actual as u64);
        return Err(LfsError::TooMuch { what: "bytes of a ref's name", limit, actual });
    }
    Ok(())
}

fn to_json(lock: FileLock) -> Lock {
    Lock {
        id: lock.id.to_string(),
        path: lock.path,
        locked_at: rfc3339(lock.created_unix),
        owner: Owner { name: lock.owner },
    }
}
