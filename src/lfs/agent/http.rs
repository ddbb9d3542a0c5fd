//! The agent's server over HTTP, with the same credentials and retries as every LFS download.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use mega_storage::ChunkRef;
use parking_lot::Mutex;
use reqwest::Url;
use reqwest::blocking::{RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use serde::Serialize;

use super::{Remote, Target};
use crate::lfs::client::{Access, Client, header_map};
use crate::lfs::wire::{self, Claim, Listing, OBJECTS_PATH, Range, Step, Wanted};
use crate::lfs::{ANSWER_LEN_MAX, LfsError};

/// Longest line of progress, in bytes.
const STEP_LEN_MAX: u64 = 64 << 10;

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
            host: Url::parse(&target.href)
                .ok()
                .and_then(|u| u.host_str().map(str::to_owned))
                .unwrap_or_default(),
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
    fn url(&self, route: &str) -> String {
        format!("{}{OBJECTS_PATH}{}/{route}", self.base, self.oid)
    }

    fn request(&self, build: &dyn Fn(&Client<'_>) -> RequestBuilder) -> Result<Response, LfsError> {
        let headers = header_map(self.client.host(), &self.target.header)?;
        let is_ours = !headers.contains_key(AUTHORIZATION);
        self.client.send(&|| build(&self.client).headers(headers.clone()), is_ours)
    }

    fn post(&self, route: &str, body: Bytes) -> Result<Response, LfsError> {
        let url = self.url(route);
        self.request(&|client| {
            let request = client.http().post(&url);
            request.header(CONTENT_TYPE, "application/octet-stream").body(body.clone())
        })
    }

    /// The whole of an answer that has at most `len_max` bytes.
    fn read(&self, response: Response, len_max: u64) -> Result<Vec<u8>, LfsError> {
        let mut body = Vec::new();
        let read = response.take(len_max + 1).read_to_end(&mut body);
        read.map_err(|e| self.client.network(&e.to_string()))?;
        if body.len() as u64 > len_max {
            return Err(self.wrong(&format!("it is longer than {len_max} bytes")));
        }
        Ok(body)
    }

    /// Bytes that make no sense are the server's, others did not come.
    fn broken(&self, error: &io::Error) -> LfsError {
        match error.kind() {
            io::ErrorKind::InvalidData => self.wrong(&error.to_string()),
            _ => self.client.network(&error.to_string()),
        }
    }

    fn wrong(&self, reason: &str) -> LfsError {
        LfsError::Answer { host: self.client.host().to_owned(), reason: reason.to_owned() }
    }
}

/// JSON and what follows it.
fn body<T: Serialize>(head: &T, rest: &[u8]) -> Result<Bytes, LfsError> {
    let mut body = Vec::with_capacity(rest.len() + 1024);
    wire::write_head(head, &mut body)
        .map_err(|source| LfsError::Io { action: "making a request".to_owned(), source })?;
    body.extend_from_slice(rest);
    Ok(body.into())
}

fn entries(chunks: &[ChunkRef]) -> Vec<u8> {
    chunks.iter().flat_map(wire::entry).collect()
}

impl Remote for HttpRemote<'_> {
    fn missing(
        &self,
        target: &Target,
        claim: &Claim,
        chunks: &[ChunkRef],
    ) -> Result<Vec<bool>, LfsError> {
        let place = self.place(target)?;
        let response = place.post("missing", body(claim, &entries(chunks))?)?;
        let bitmap = place.read(response, chunks.len().div_ceil(8) as u64)?;
        if bitmap.len() != chunks.len().div_ceil(8) {
            return Err(place.wrong("a bitmap of another length"));
        }
        let bit = |index: usize| bitmap.get(index / 8).is_some_and(|b| b >> (index % 8) & 1 == 1);
        Ok((0..chunks.len()).map(bit).collect())
    }

    fn send(&self, target: &Target, claim: &Claim, frames: Vec<u8>) -> Result<(), LfsError> {
        let place = self.place(target)?;
        let response = place.post("send", body(claim, &frames)?)?;
        place.read(response, ANSWER_LEN_MAX).map(|_| ())
    }

    fn finish(
        &self,
        target: &Target,
        claim: &Claim,
        chunks: &[ChunkRef],
        hashed: &mut dyn FnMut(u64),
    ) -> Result<(), LfsError> {
        let place = self.place(target)?;
        let response = place.post("finish", body(claim, &entries(chunks))?)?;
        let mut lines = BufReader::new(response);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines.by_ref().take(STEP_LEN_MAX).read_until(b'\n', &mut line);
            read.map_err(|e| place.client.network(&e.to_string()))?;
            if line.is_empty() {
                return Err(place.client.network("the answer broke off"));
            }
            match serde_json::from_slice(&line) {
                Ok(Step::Hashed(count)) => hashed(count),
                Ok(Step::Done) => return Ok(()),
                Ok(Step::Error { code, message }) => {
                    let message = format!(": {}", crate::lfs::tidy(&message));
                    let host = place.client.host().to_owned();
                    return Err(LfsError::Status { host, status: code, message });
                }
                Err(error) => return Err(place.wrong(&error.to_string())),
            }
        }
    }

    fn chunks(&self, target: &Target) -> Result<Vec<ChunkRef>, LfsError> {
        let place = self.place(target)?;
        let url = place.url("chunks");
        let response = place.request(&|client| client.http().get(&url))?;
        let network = |e| place.broken(&e);
        let mut input = BufReader::new(response);
        let listing: Listing = wire::read_head(&mut input).map_err(network)?;
        let mut chunks = Vec::new();
        while let Some(chunk) = wire::read_entry(&mut input).map_err(network)? {
            if chunks.len() as u64 == listing.count {
                return Err(place.wrong("more chunks than it said"));
            }
            chunks.push(chunk);
        }
        if chunks.len() as u64 != listing.count {
            return Err(place.client.network("the answer broke off"));
        }
        Ok(chunks)
    }

    fn fetch(
        &self,
        target: &Target,
        ranges: &[Range],
        take: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), LfsError> {
        let place = self.place(target)?;
        let wanted = serde_json::to_vec(&Wanted { ranges: ranges.to_vec() });
        let wanted = wanted.map_err(|e| place.wrong(&e.to_string()))?;
        let response = place.post("fetch", wanted.into())?;
        take(&mut BufReader::with_capacity(256 << 10, response)).map_err(|e| place.broken(&e))
    }

    fn put(&self, target: &Target, content: Vec<u8>) -> Result<(), LfsError> {
        let place = self.place(target)?;
        let url = format!("{}/objects/{}", place.base, place.oid);
        let content = Bytes::from(content);
        let response = place.request(&|client| {
            let request = client.http().put(&url).header(CONTENT_LENGTH, content.len());
            request.header(CONTENT_TYPE, "application/octet-stream").body(content.clone())
        })?;
        place.read(response, ANSWER_LEN_MAX).map(|_| ())
    }
}
