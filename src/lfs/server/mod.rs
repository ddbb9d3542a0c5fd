//! The LFS server: batch API, basic transfer, locks, Mega's slices and the agent's chunks.
//!
//! Blocking, over slices and `Read`/`Write`; no HTTP types. Whoever serves it finds the repository
//! and the caller's rights, makes a [`LfsContext`] and calls one function a route:
//!
//! | method | route below `<repo>.git/info/lfs` | right | function |
//! |---|---|---|---|
//! | POST | `objects/batch` | read | [`parse`], [`batch`] |
//! | PUT | `objects/{oid}` | write | [`upload`] |
//! | GET, HEAD | `objects/{oid}` | read | [`open_download`] |
//! | POST | `objects/verify` | read | [`parse`], [`verify`] |
//! | POST | `locks` | write | [`parse`], [`locks::create`] (201) |
//! | GET | `locks?path&id&cursor&limit&refspec` | read | [`locks::list`] |
//! | POST | `locks/verify` | write | [`parse`], [`locks::verify`] |
//! | POST | `locks/{id}/unlock` | write | [`parse`], [`locks::delete`] |
//! | GET | `objects/{oid}/chunks` | read | [`slices::list`] |
//! | GET | `objects/{oid}/{sub_oid}?offset&size` | read | [`slices::open`] |
//! | POST | `mega/v1/objects/{oid}/missing` | write | [`chunked::missing`] |
//! | POST | `mega/v1/objects/{oid}/send` | write | [`chunked::send`] |
//! | POST | `mega/v1/objects/{oid}/finish` | write | [`chunked::finish`] |
//! | GET | `mega/v1/objects/{oid}/chunks` | read | [`chunked::list`] |
//! | POST | `mega/v1/objects/{oid}/fetch` | read | [`chunked::fetch`] |
//!
//! Peers ask the agent's routes over one stream: [`serve`].
//!
//! Bodies of JSON are at most [`limits::JSON_LEN_MAX`] bytes. Answers are [`MEDIA_TYPE`], content
//! is `application/octet-stream`, errors are [`LfsError::body`] with [`LfsError::status`].
//!
//! Invariants: a repository's caller reaches only files that the repository has a right to, and an
//! upload gives that right only for bytes that it brought, whatever other repositories hold.

mod batch;
pub mod chunked;
mod context;
mod error;
pub mod limits;
pub mod locks;
mod message;
pub mod slices;
mod stream;
mod time;
mod transfer;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::noise;

pub use batch::batch;
pub use context::{LfsContext, Links, Rights};
pub use error::{ErrorBody, LfsError};
pub use message::{
    Action, Actions, BatchRequest, BatchResponse, ObjectAnswer, ObjectError, ObjectRequest,
    RefSpec, VerifyRequest, parse,
};
pub use stream::{Written, serve};
pub use transfer::{Download, Uploaded, open_download, upload, verify};

/// The protocol's media type.
pub const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";
