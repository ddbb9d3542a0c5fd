//! Requests: kept connections, time limits, the password where the server asks for one.

use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use mega_storage::{SourceError, SourceResult};
use parking_lot::Mutex;
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::limits::{ANSWER_LEN_MAX, CONNECT_MAX_S, SILENCE_MAX_S, WORDS_LEN_MAX};
use super::url::RemoteUrl;
use crate::git::credential::{self, Credential};
use crate::git::{Git, config, trust};

/// Tries of one request where the connection breaks before an answer: one that was kept may have
/// been closed by the server meanwhile.
const TRIES: usize = 2;

/// Sends requests to one server.
pub(super) struct Web {
    client: Client,
    git: Git,
    /// The repository's address, for credential helpers.
    address: String,
    login: Mutex<Login>,
}

#[derive(Clone, Default)]
struct Login {
    credential: Option<Credential>,
    /// The helpers have been asked: they are asked once.
    is_asked: bool,
}

impl Web {
    pub(super) fn new(url: &RemoteUrl, git: &Git) -> SourceResult<Self> {
        let address = url.as_shown();
        let setting = |key| config::get_for_url(git, Path::new("/"), key, &address).ok().flatten();
        let trusted = trust::client_builder(git, Path::new("/"), &address);
        let mut builder = trusted
            .map_err(|e| SourceError::Refused { reason: e.to_string() })?
            .connect_timeout(Duration::from_secs(CONNECT_MAX_S))
            // In this blocking client it bounds each read, not the whole transfer.
            .timeout(Duration::from_secs(SILENCE_MAX_S))
            .user_agent(concat!("mega-store/", env!("CARGO_PKG_VERSION")));
        if let Some(line) = setting("http.extraHeader") {
            builder = builder.default_headers(extra_header(&line)?);
        }
        let client = builder.build().map_err(|e| unreachable(&e))?;
        let credential = url.login().map(|(user, password)| Credential {
            user: user.to_owned(),
            password: password.to_owned(),
        });
        let login = Mutex::new(Login { credential, is_asked: false });
        Ok(Self { client, git: git.clone(), address, login })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request that only reads; `None` for what is not there, or not shown to us.
    pub(super) fn send(&self, make: &dyn Fn() -> RequestBuilder) -> SourceResult<Option<Response>> {
        let mut login = self.login.lock().clone();
        loop {
            let response = self.try_send(make, login.credential.as_ref())?;
            match response.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(Some(response)),
                StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::UNAUTHORIZED => login = self.log_in(&login)?,
                status => return Err(refusal(status, response)),
            }
        }
    }

    fn try_send(
        &self,
        make: &dyn Fn() -> RequestBuilder,
        credential: Option<&Credential>,
    ) -> SourceResult<Response> {
        let mut tries = TRIES;
        loop {
            let mut request = make();
            if let Some(Credential { user, password }) = credential {
                request = request.basic_auth(user, Some(password));
            }
            tries -= 1;
            match request.send() {
                Ok(response) => return Ok(response),
                Err(e) if tries > 0 && !e.is_timeout() && !e.is_connect() => {}
                Err(e) => return Err(unreachable(&e)),
            }
        }
    }

    /// Finds a credential after `used` was not good enough.
    fn log_in(&self, used: &Login) -> SourceResult<Login> {
        let refused = |reason: &str| SourceError::Refused { reason: reason.to_owned() };
        // One thread asks; the others find what it found.
        let mut login = self.login.lock();
        if login.credential != used.credential {
            return Ok(login.clone());
        }
        if login.is_asked {
            return Err(refused("it does not accept the name and password"));
        }
        login.is_asked = true;
        let found = credential::fill(&self.git, &self.address)
            .map_err(|e| refused(&format!("it asks for a password: {e}")))?;
        let credential = found.ok_or_else(|| refused("it asks for a name and a password"))?;
        let tried = Login { credential: Some(credential), is_asked: true };
        *login = tried.clone();
        Ok(tried)
    }

    /// Tells the helpers that what they gave works, the first time.
    pub(super) fn logged_in(&self) {
        let login = self.login.lock().clone();
        if let Login { credential: Some(credential), is_asked: true } = login
            && let Err(error) = credential::tell(&self.git, &self.address, &credential, true)
        {
            tracing::warn!(%error, "the credential helper was not told");
        }
    }
}

/// Reads an answer of bounded length.
pub(super) fn whole(response: Response) -> SourceResult<Vec<u8>> {
    let mut body = Vec::new();
    let read = response.take(ANSWER_LEN_MAX + 1).read_to_end(&mut body);
    read.map_err(|e| SourceError::Unreachable { reason: e.to_string() })?;
    if body.len() as u64 > ANSWER_LEN_MAX {
        return Err(wrong(format!("it is longer than {ANSWER_LEN_MAX} bytes")));
    }
    Ok(body)
}

pub(super) fn wrong(reason: impl Into<String>) -> SourceError {
    SourceError::Wrong { reason: reason.into() }
}

/// The deepest cause says most: those above it repeat the address.
pub(super) fn unreachable(error: &reqwest::Error) -> SourceError {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let what = match error {
        e if e.is_timeout() => "it is silent",
        e if e.is_connect() => "it cannot be reached",
        _ => "the connection broke",
    };
    SourceError::Unreachable { reason: format!("{what}: {cause}") }
}

fn refusal(status: StatusCode, response: Response) -> SourceError {
    let mut words = Vec::new();
    let _ = response.take(WORDS_LEN_MAX as u64).read_to_end(&mut words);
    let words: String = String::from_utf8_lossy(&words)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let reason = format!("it answered {status} {}", words.trim());
    if status.is_server_error() {
        SourceError::Unreachable { reason }
    } else {
        SourceError::Refused { reason }
    }
}

fn extra_header(line: &str) -> SourceResult<HeaderMap> {
    let bad = || SourceError::Refused { reason: "http.extraHeader is no header".to_owned() };
    let (name, value) = line.split_once(':').ok_or_else(bad)?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| bad())?;
    let mut value = HeaderValue::try_from(value.trim()).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(name, value)]))
}
