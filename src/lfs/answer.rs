//! The batch API's messages (git-lfs docs/api/batch.md), as far as downloads need them.

use std::collections::HashMap;

use mega_storage::{FileId, Pointer};
use serde::{Deserialize, Serialize};

use super::{tidy, wire};

/// An object that was asked for, and how to fetch it or why that cannot be.
pub type Offer = (Pointer, Result<Download, String>);

/// How to fetch one object.
#[derive(Clone)]
pub struct Download {
    /// The object.
    pub pointer: Pointer,
    pub(super) href: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) is_by_chunk: bool,
}

impl Download {
    /// Whether it is fetched by chunk ([`super::Client::open_by_chunk`]), else as a whole.
    pub fn is_by_chunk(&self) -> bool {
        self.is_by_chunk
    }
}

impl std::fmt::Debug for Download {
    // Both the address and the headers may carry secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("pointer", &self.pointer).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
pub(super) struct BatchRequest {
    operation: &'static str,
    transfers: [&'static str; 2],
    objects: Vec<Wanted>,
    hash_algo: &'static str,
}

#[derive(Serialize)]
struct Wanted {
    oid: String,
    size: u64,
}

impl BatchRequest {
    pub(super) fn new(wanted: &[Pointer]) -> Self {
        let objects =
            wanted.iter().map(|p| Wanted { oid: p.file.to_string(), size: p.len }).collect();
        let transfers = [wire::TRANSFER, "basic"];
        Self { operation: "download", transfers, objects, hash_algo: "sha256" }
    }
}

#[derive(Deserialize)]
pub(super) struct BatchAnswer {
    transfer: Option<String>,
    #[serde(default)]
    objects: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    oid: String,
    actions: Option<Actions>,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Actions {
    download: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) message: String,
}

impl BatchAnswer {
    /// Sorts the answer by what was asked. Objects that nobody asked for are dropped; those without
    /// an answer fail.
    ///
    /// # Errors
    /// When the server chose a way of transfer that it was not offered.
    pub(super) fn sort(self, wanted: &[Pointer]) -> Result<Vec<Offer>, String> {
        let is_by_chunk = match self.transfer.as_deref() {
            Some(wire::TRANSFER) => true,
            None | Some("basic" | "") => false,
            Some(other) => return Err(format!("it wants to transfer by '{}'", tidy(other))),
        };
        let mut answered: HashMap<FileId, Answered> = self
            .objects
            .into_iter()
            .filter_map(|a| Some((a.oid.parse::<FileId>().ok()?, a)))
            .collect();
        let result = |pointer: &Pointer| match answered.remove(&pointer.file) {
            None => Err("the server does not mention it".to_owned()),
            Some(Answered { error: Some(error), .. }) => {
                Err(format!("the server says: {} ({})", tidy(&error.message), error.code))
            }
            Some(Answered { actions, .. }) => actions
                .and_then(|actions| actions.download)
                .map(|Action { href, header }| Download {
                    pointer: *pointer,
                    href,
                    headers: header,
                    is_by_chunk,
                })
                .ok_or_else(|| "the server offers no download".to_owned()),
        };
        Ok(wanted.iter().copied().zip(wanted.iter().map(result)).collect())
    }
}
