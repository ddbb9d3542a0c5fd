//! The agent's server over HTTP, with the same credentials and retries as every LFS download.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::Url;
use reqwest::blocking::{RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};

use super::Target;
use super::carrier::{Carrier, Take};
use crate::lfs::LfsError;
use crate::lfs::client::{Access, Client, header_map};
use crate::lfs::wire::{OBJECTS_PATH, Route};

/// Finds how to convince the server at a URL.
pub type AccessTo<'a> = dyn Fn(&str) -> Access<'a> + Sync + 'a;

/// LFS servers, reached over HTTP.
pub struct HttpRemote<'a> {
    access_to: &'a AccessTo<'a>,
    clients: Mutex<HashMap<String, Arc<Client<'a>>>>,
}

/// One file on one server.
struct Place<'a> {
    client: Arc<Client<'a>>,
    target: &'a Target,
    /// The LFS server's URL.
    base: &'a str,
    oid: &'a str,
}

impl<'a> HttpRemote<'a> {
    /// Servers that are convinced as `access_to` says.
    pub fn new(access_to: &'a AccessTo<'a>) -> Self {
        Self { access_to, clients: Mutex::default() }
    }

    fn place<'b>(&self, target: &'b Target) -> Result<Place<'b>, LfsError>
    where
        'a: 'b,
    {
        let parts = target.href.rsplit_once(OBJECTS_PATH);
        let parts = parts.filter(|(_, oid)| oid.bytes().all(|b| b.is_ascii_hexdigit()));
        let (base, oid) = parts.ok_or_else(|| LfsError::Answer {
            host: host_of(target),
            reason: "it speaks another version of this transfer".to_owned(),
        })?;
        let mut clients = self.clients.lock();
        let client = match clients.get(base) {
            Some(client) => client.clone(),
            None => {
                let client = Arc::new(Client::new(base, (self.access_to)(base))?);
                clients.insert(base.to_owned(), client.clone());
                client
            }
        };
        Ok(Place { client, target, base, oid })
    }
}

impl Place<'_> {
    fn url(&self, route: Route) -> String {
        let (base, oid) = (self.base, self.oid);
        match route.name() {
            Some(name) => format!("{base}{OBJECTS_PATH}{oid}/{name}"),
            None => format!("{base}/objects/{oid}"),
        }
    }

    fn request(&self, build: &dyn Fn(&Client<'_>) -> RequestBuilder) -> Result<Response, LfsError> {
        let headers = header_map(self.client.host(), &self.target.header)?;
        let is_ours = !headers.contains_key(AUTHORIZATION);
        self.client.send(&|| build(&self.client).headers(headers.clone()), is_ours)
    }

    /// Bytes that make no sense are the server's, others did not come.
    fn broken(&self, error: &io::Error) -> LfsError {
        match error.kind() {
            io::ErrorKind::InvalidData => {
                LfsError::Answer { host: self.client.host().to_owned(), reason: error.to_string() }
            }
            io::ErrorKind::UnexpectedEof => self.client.network("the answer broke off"),
            _ => self.client.network(&error.to_string()),
        }
    }
}

/// The server's name in the address of an action.
fn host_of(target: &Target) -> String {
    let url = Url::parse(&target.href).ok();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

impl Carrier for HttpRemote<'_> {
    fn host(&self, target: &Target) -> String {
        host_of(target)
    }

    fn ask(
        &self,
        target: &Target,
        route: Route,
        body: Bytes,
        take: &mut Take<'_>,
    ) -> Result<(), LfsError> {
        let place = self.place(target)?;
        let url = place.url(route);
        let response = place.request(&|client| {
            let request = match route {
                Route::Chunks => return client.http().get(&url),
                Route::Put => client.http().put(&url).header(CONTENT_LENGTH, body.len()),
                Route::Missing | Route::Send | Route::Finish | Route::Fetch => {
                    client.http().post(&url)
                }
            };
            request.header(CONTENT_TYPE, "application/octet-stream").body(body.clone())
        })?;
        let mut input = BufReader::with_capacity(256 << 10, response);
        take(&mut input).map_err(|error| place.broken(&error))
    }
}
