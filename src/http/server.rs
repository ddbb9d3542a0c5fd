//! What the server says of itself: its repositories, its state, whether it is well.

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use mega_storage::{RefName, RefTarget};
use serde::Serialize;

use super::access::Rights;
use super::answer::Head;
use super::call::Call;
use super::error::HttpError;

/// The repositories that the caller may read.
#[derive(Serialize, utoipa::ToSchema)]
pub struct RepoList {
    /// By name.
    repos: Vec<ListedRepo>,
}

/// A repository in a list.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ListedRepo {
    /// Its name.
    name: String,
    /// `private`, `mesh` or `public`.
    visibility: &'static str,
    /// The branch that HEAD names, or the id; null when there is none.
    head: Option<String>,
    /// When it was made, in seconds since 1970.
    created_unix: u64,
    /// The caller may push to it.
    can_write: bool,
}

/// The server's state.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ServerStatus {
    /// `mega-store`.
    name: &'static str,
    /// The program's version.
    version: &'static str,
    /// Nothing can be changed.
    read_only: bool,
    /// What the caller is: `owner`, `token N` or `anonymous`.
    caller: String,
    /// For operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<OperatorStatus>,
}

/// What only the owner, or a token for all repositories, sees.
#[derive(Serialize, utoipa::ToSchema)]
pub struct OperatorStatus {
    /// Version of the store's format.
    format: u32,
    /// Repositories.
    repos: u64,
    /// Bytes on the disk.
    bytes: u64,
    /// Seconds since the server started.
    uptime_s: u64,
    /// Requests that were answered since then.
    requests: u64,
    /// Connections that are open.
    connections: u64,
    /// Packs on their way.
    packs: u64,
}

/// `GET /v1/repos`.
pub(super) fn repos(call: &mut Call<'_>) -> Result<(), HttpError> {
    let mut repos = Vec::new();
    for repo in call.store().repos().list()? {
        let rights = call.caller.rights(&repo);
        if rights < Rights::Read {
            continue;
        }
        let head = call.store().refs().get(repo.id, &RefName::head())?.map(|head| match head {
            RefTarget::Symbolic(name) => name.to_string(),
            RefTarget::Direct(id) => id.to_string(),
        });
        repos.push(ListedRepo {
            name: repo.name.to_string(),
            visibility: repo.visibility.as_str(),
            head,
            created_unix: repo.created_unix,
            can_write: rights >= Rights::Write && !call.shared.is_read_only,
        });
    }
    call.out.json(&RepoList { repos });
    Ok(())
}

/// `GET /v1/status`.
pub(super) fn status(call: &mut Call<'_>) -> Result<(), HttpError> {
    let metrics = &call.shared.metrics;
    let operator = match call.caller.is_operator() {
        false => None,
        true => Some(OperatorStatus {
            format: mega_storage::FORMAT_VERSION,
            repos: call.store().repos().list()?.len() as u64,
            bytes: call.store().family_lens()?.iter().map(|(_, len)| len).sum(),
            uptime_s: call.shared.started.elapsed().as_secs(),
            requests: metrics.answer_count(),
            connections: metrics.connections_open.count(),
            packs: metrics.packs_open.count(),
        }),
    };
    call.out.json(&ServerStatus {
        name: "mega-store",
        version: env!("CARGO_PKG_VERSION"),
        read_only: call.shared.is_read_only,
        caller: call.caller.name(),
        operator,
    });
    Ok(())
}

/// `GET /healthz`: the process answers.
pub(super) fn healthz(call: &mut Call<'_>) -> Result<(), HttpError> {
    call.out.whole(Head::ok("text/plain").fresh(), "ok\n");
    Ok(())
}

/// `GET /readyz`: requests can be answered: the store can be read, its disk has failed no write,
/// and the server does not end.
pub(super) fn readyz(call: &mut Call<'_>) -> Result<(), HttpError> {
    let is_ending = call.shared.is_ending.load(Ordering::Relaxed);
    let has_failed = call.store().stopped().is_some();
    if is_ending || has_failed || call.store().tokens().find(&[0; 32]).is_err() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(HttpError::new(status, "not_ready", "the server is not ready"));
    }
    call.out.whole(Head::ok("text/plain").fresh(), "ready\n");
    Ok(())
}
