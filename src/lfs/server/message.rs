//! The batch API's messages (git-lfs docs/api/batch.md) as the server reads and writes them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{LfsError, limits};

/// Reads a JSON body.
///
/// # Errors
/// [`LfsError::TooMuch`] past [`limits::JSON_LEN_MAX`], [`LfsError::Unreadable`].
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, LfsError> {
    let (limit, actual) = (limits::JSON_LEN_MAX, body.len() as u64);
    if actual > limit {
        return Err(LfsError::TooMuch { what: "bytes of a request", limit, actual });
    }
    serde_json::from_slice(body).map_err(|e| LfsError::Unreadable { reason: e.to_string() })
}

/// What a client wants to transfer.
#[derive(Deserialize, utoipa::ToSchema, Clone, Debug)]
pub struct BatchRequest {
    /// `download` or `upload`.
    pub operation: String,
    /// Ways of transfer that the client knows; none means `basic`.
    #[serde(default, deserialize_with = "or_default")]
    pub transfers: Vec<String>,
    /// The server's ref that the objects belong to.
    #[serde(default, rename = "ref")]
    pub reference: Option<RefSpec>,
    /// The objects.
    #[serde(default, deserialize_with = "or_default")]
    pub objects: Vec<ObjectRequest>,
    /// How objects are named; none means `sha256`.
    #[serde(default)]
    pub hash_algo: Option<String>,
}

/// A ref, named in full.
#[derive(Deserialize, utoipa::ToSchema, Clone, Debug)]
pub struct RefSpec {
    /// As `refs/heads/main`.
    #[serde(default)]
    pub name: String,
}

/// An object that a client names.
#[derive(Deserialize, utoipa::ToSchema, Clone, Debug)]
pub struct ObjectRequest {
    /// SHA-256 in hex.
    pub oid: String,
    /// Length in bytes.
    pub size: i64,
}

/// An object that should be there.
pub type VerifyRequest = ObjectRequest;

/// What to do for each object.
#[derive(Serialize, utoipa::ToSchema, Clone, Debug)]
pub struct BatchResponse {
    /// The way of transfer, one of the client's.
    pub transfer: &'static str,
    /// In the order of the request.
    pub objects: Vec<ObjectAnswer>,
    /// Always `sha256`.
    pub hash_algo: &'static str,
}

/// What to do for one object: actions, an error, or nothing because it is there.
#[derive(Serialize, utoipa::ToSchema, Clone, Debug)]
pub struct ObjectAnswer {
    /// As it was asked for.
    pub oid: String,
    /// As it was asked for.
    pub size: i64,
    /// The actions need no other credential than their headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// What the client does next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Actions>,
    /// Why nothing can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ObjectError>,
}

/// What the client does next.
#[derive(Serialize, utoipa::ToSchema, Clone, Debug, Default)]
pub struct Actions {
    /// Fetch it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download: Option<Action>,
    /// Bring it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<Action>,
    /// Then ask here whether it arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Action>,
}

/// One request that the client makes.
#[derive(Serialize, utoipa::ToSchema, Clone, Debug)]
pub struct Action {
    /// Where.
    pub href: String,
    /// With which headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// For how long, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// Why nothing can be done for an object.
#[derive(Serialize, utoipa::ToSchema, Clone, Debug)]
pub struct ObjectError {
    /// As an HTTP status.
    pub code: u16,
    /// For a person.
    pub message: String,
}

/// Reads `null` as the default, as git-lfs's own Go server does.
pub(super) fn or_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(input).map(Option::unwrap_or_default)
}
