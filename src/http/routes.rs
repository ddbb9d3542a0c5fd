//! The table of routes: the only place that says what there is, who may, and who answers.
//!
//! The first that fits answers, so a route with a literal stands before one with a name.

use super::openapi::named;
use super::table::{Group, Need, Offer, Parameter, Route};
use super::{files, git, lfs, metrics, objects, openapi, server};
use crate::lfs::server as lfs_server;
use crate::lfs::wire;

use Group::{Api, Git, Lfs};
use Need::{Nothing, Operator, OwnEyes, Read, Write};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const LFS_JSON: &[&str] = &[lfs_server::MEDIA_TYPE, JSON];
const AGENT: &[&str] = &[files::CONTENT, lfs_server::MEDIA_TYPE, JSON];

const REPO: Parameter =
    Parameter { name: "repo", doc: "The repository to look in; without it all public ones." };

const fn plain(media_type: &'static str) -> Offer {
    Offer { media_type, schema: None }
}

const fn json_of<T: utoipa::ToSchema>(media_type: &'static str) -> Offer {
    Offer { media_type, schema: Some(named::<T>) }
}

/// Every route.
pub static ROUTES: &[Route] = &[
    Route::get(Api, "/healthz", Nothing, server::healthz, "The process answers")
        .offers(&[plain(TEXT)]),
    Route::get(Api, "/readyz", Nothing, server::readyz, "Requests can be answered")
        .offers(&[plain(TEXT)]),
    Route::get(Api, "/metrics", Operator, metrics::show, "Counters for Prometheus")
        .offers(&[plain(TEXT)]),
    Route::get(Api, "/v1/openapi.json", Nothing, openapi::show, "This document")
        .offers(&[plain(JSON)]),
    Route::get(Api, "/v1/status", OwnEyes, server::status, "The server's state")
        .offers(&[json_of::<server::ServerStatus>(JSON)]),
    Route::get(Api, "/v1/repos", OwnEyes, server::repos, "Repositories that the caller may read")
        .offers(&[json_of::<server::RepoList>(JSON)]),
    Route::get(Api, "/v1/object/{oid}", OwnEyes, objects::content, "A git object's content")
        .parameters(&[REPO])
        .offers(&[plain(files::CONTENT), plain(objects::LOOSE)]),
    Route::get(Api, "/v1/file/chunks/{oid}", OwnEyes, files::chunk, "A chunk's plain bytes")
        .parameters(&[
            REPO,
            Parameter { name: "file", doc: "SHA-256 of a file that has the chunk." },
            Parameter { name: "offset", doc: "Where the file has it: saves a search." },
        ])
        .offers(&[plain(files::CONTENT)]),
    Route::get(Api, "/v1/file/{oid}/chunks", OwnEyes, files::chunks, "The chunks of a file")
        .parameters(&[
            REPO,
            Parameter { name: "from", doc: "An offset in the file: begin at the chunk with it." },
            Parameter { name: "limit", doc: "Most chunks in the answer." },
        ])
        .offers(&[json_of::<files::ChunkList>(JSON)]),
    Route::get(Api, "/v1/file/{oid}", OwnEyes, files::content, "A file's content, ranges too")
        .parameters(&[REPO])
        .offers(&[plain(files::CONTENT)]),
    Route::get(Api, "/v1/{repo}/objects", Read, objects::all, "All reachable objects as a pack")
        .with_pack()
        .parameters(&[Parameter { name: "list", doc: "Id, type and size of each instead." }])
        .offers(&[plain(objects::PACK), json_of::<objects::ListedObject>(objects::LINES)]),
    Route::get(Git, "/{repo}.git/info/refs", Read, git::upload_refs, "References for a fetch")
        .of_service(git::UPLOAD)
        .offers(&[plain(git::UPLOAD_REFS)]),
    Route::get(Git, "/{repo}.git/info/refs", Write, git::receive_refs, "References for a push")
        .of_service(git::RECEIVE)
        .makes_repo()
        .offers(&[plain(git::RECEIVE_REFS)]),
    Route::get(Git, "/{repo}.git/info/refs", Nothing, git::dumb, "Refused: the dumb protocol"),
    Route::get(Git, "/{repo}.git/info/bundle/{oid}", Read, git::bundle, "A branch as a bundle")
        .with_pack()
        .offers(&[plain(git::BUNDLE)]),
    Route::post(Git, "/{repo}.git/git-upload-pack", Read, git::upload, UPLOAD_TYPES, "A fetch")
        .with_pack()
        .offers(&[plain(git::UPLOAD_RESULT)]),
    Route::post(Git, "/{repo}.git/git-receive-pack", Write, git::receive, RECEIVE_TYPES, "A push")
        .with_pack()
        .makes_repo()
        .offers(&[plain(git::RECEIVE_RESULT)]),
    Route::post(Lfs, "/{repo}.git/info/lfs/objects/batch", Read, lfs::batch, LFS_JSON, "LFS batch")
        .makes_repo()
        .offers(&[json_of::<lfs_server::BatchResponse>(lfs_server::MEDIA_TYPE)]),
    Route::post(
        Lfs,
        "/{repo}.git/info/lfs/objects/verify",
        Read,
        lfs::verify,
        LFS_JSON,
        "Whether an LFS object arrived",
    )
    .offers(&[plain(lfs_server::MEDIA_TYPE)]),
    Route::get(
        Lfs,
        "/{repo}.git/info/lfs/objects/{oid}/chunks",
        Read,
        lfs::list_slices,
        "An LFS object in equal slices, as Mega's clients ask",
    )
    .offers(&[json_of::<lfs_server::slices::SliceList>(lfs_server::MEDIA_TYPE)]),
    Route::get(
        Lfs,
        "/{repo}.git/info/lfs/objects/{oid}/{sub_oid}",
        Read,
        lfs::slice,
        "A slice of an LFS object",
    )
    .parameters(&[
        Parameter { name: "offset", doc: "Where the slice begins." },
        Parameter { name: "size", doc: "Its length in bytes." },
    ])
    .offers(&[plain(files::CONTENT)]),
    Route::get(Lfs, "/{repo}.git/info/lfs/objects/{oid}", Read, lfs::download, "LFS content")
        .offers(&[plain(files::CONTENT)]),
    Route::put(Lfs, "/{repo}.git/info/lfs/objects/{oid}", Write, lfs::upload, "LFS content in")
        .makes_repo()
        .offers(&[plain(lfs_server::MEDIA_TYPE)]),
    Route::post(
        Lfs,
        "/{repo}.git/info/lfs/locks/verify",
        Write,
        lfs::verify_locks,
        LFS_JSON,
        "LFS locks, one's own and others'",
    )
    .makes_repo()
    .offers(&[json_of::<lfs_server::locks::VerifyLocksAnswer>(lfs_server::MEDIA_TYPE)]),
    Route::post(
        Lfs,
        "/{repo}.git/info/lfs/locks/{id}/unlock",
        Write,
        lfs::unlock,
        LFS_JSON,
        "Deletes an LFS lock",
    )
    .offers(&[json_of::<lfs_server::locks::LockAnswer>(lfs_server::MEDIA_TYPE)]),
    Route::get(Lfs, "/{repo}.git/info/lfs/locks", Read, lfs::list_locks, "LFS locks")
        .parameters(&[
            Parameter { name: "path", doc: "Only the lock of this path." },
            Parameter { name: "id", doc: "Only the lock with this id." },
            Parameter { name: "cursor", doc: "Where to go on." },
            Parameter { name: "limit", doc: "Most locks in the answer." },
            Parameter { name: "refspec", doc: "The branch; changes nothing." },
        ])
        .offers(&[json_of::<lfs_server::locks::ListAnswer>(lfs_server::MEDIA_TYPE)]),
    Route::post(Lfs, "/{repo}.git/info/lfs/locks", Write, lfs::lock, LFS_JSON, "Makes an LFS lock")
        .makes_repo()
        .offers(&[json_of::<lfs_server::locks::LockAnswer>(lfs_server::MEDIA_TYPE)]),
    Route::post(
        Lfs,
        "/{repo}.git/info/lfs/mega/v1/objects/{oid}/missing",
        Write,
        lfs::missing,
        AGENT,
        "Which chunks of an upload have to be sent",
    )
    .makes_repo()
    .offers(&[plain(files::CONTENT)]),
    Route::post(
        Lfs,
        "/{repo}.git/info/lfs/mega/v1/objects/{oid}/send",
        Write,
        lfs::send,
        AGENT,
        "Chunks of an upload",
    )
    .makes_repo()
    .offers(&[json_of::<wire::Received>(lfs_server::MEDIA_TYPE)]),
    Route::post(
        Lfs,
        "/{repo}.git/info/lfs/mega/v1/objects/{oid}/finish",
        Write,
        lfs::finish,
        AGENT,
        "Puts an upload together",
    )
    .makes_repo()
    .offers(&[json_of::<wire::Step>(objects::LINES)]),
    Route::get(
        Lfs,
        "/{repo}.git/info/lfs/mega/v1/objects/{oid}/chunks",
        Read,
        lfs::list_chunks,
        "The chunks of an LFS object, for the agent",
    )
    .offers(&[plain(files::CONTENT)]),
    Route::post(
        Lfs,
        "/{repo}.git/info/lfs/mega/v1/objects/{oid}/fetch",
        Read,
        lfs::fetch_chunks,
        AGENT,
        "Ranges of an LFS object, for the agent",
    )
    .offers(&[plain(files::CONTENT)]),
];

const UPLOAD_TYPES: &[&str] = &[git::UPLOAD_REQUEST];
const RECEIVE_TYPES: &[&str] = &[git::RECEIVE_REQUEST];
