//! A client of the LFS batch API: asks for downloads, a hundred at a time, and reads them as
//! streams.

use std::collections::HashMap;
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use mega_storage::Pointer;
use parking_lot::Mutex;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::blocking::{Client as Http, ClientBuilder, RequestBuilder, Response};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};

use super::answer::{BatchAnswer, BatchRequest, Message};
use super::{
    ANSWER_LEN_MAX, Download, LfsError, Offer, RETRY_AFTER_MAX_S, SILENCE_MAX_S, TRIES_MAX, tidy,
};

/// The protocol's media type.
const LFS_JSON: &str = "application/vnd.git-lfs+json";

/// A name and its password.
#[derive(Clone)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password or token.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Finds name and password for a URL.
pub type Ask<'a> = dyn Fn(&str) -> Option<Login> + Sync + 'a;
/// Begins an HTTP client that trusts the right certificates for a URL, or says why there is none.
pub type Build<'a> = dyn Fn(&str) -> Result<ClientBuilder, String> + Sync + 'a;
/// Is told whether name and password for a URL worked.
pub type Tell<'a> = dyn Fn(&str, &Login, bool) + Sync + 'a;

/// How a server is convinced: given by whoever knows git's configuration and helpers.
pub struct Access<'a> {
    /// Name and password for a URL.
    pub fill: &'a Ask<'a>,
    /// Whether the name and password for the URL worked.
    pub tell: &'a Tell<'a>,
    /// Clients for a URL's server.
    pub build: &'a Build<'a>,
    /// One `Name: value` line that is sent with every request to the URL's server.
    pub extra_header: Option<String>,
    /// Whether the work should stop.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// Where a download is.
pub(super) struct Place {
    /// Trusts what that host is to be trusted with.
    pub(super) http: Http,
    pub(super) href: Url,
    pub(super) headers: HeaderMap,
    /// The server itself has it, and wants our login for it.
    pub(super) is_ours: bool,
}

/// A client of one LFS server.
pub struct Client<'a> {
    http: Http,
    /// For content that the server has on others, by scheme, host and port: who is trusted there
    /// is another question.
    others: Mutex<HashMap<String, Http>>,
    /// Without user and password.
    base: Url,
    host: String,
    access: Access<'a>,
    login: Mutex<Option<Login>>,
}

impl<'a> Client<'a> {
    /// A client of the server at `url`, as [`super::Endpoint::Server`] has it. Nothing is sent yet.
    ///
    /// # Errors
    /// [`LfsError::Endpoint`] when the URL is none, [`LfsError::Trust`].
    pub fn new(url: &str, access: Access<'a>) -> Result<Self, LfsError> {
        let bad = |url: &str, reason: String| LfsError::Endpoint { url: url.to_owned(), reason };
        let mut base = Url::parse(url).map_err(|e| bad("the URL", e.to_string()))?;
        let user = base.username().to_owned();
        let login = base.password().map(|password| Login { user, password: password.to_owned() });
        let _ = base.set_username("");
        let _ = base.set_password(None);
        let host = base.host_str().ok_or_else(|| bad(base.as_str(), "no host".to_owned()))?;
        let host = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let http = build_http(&access, base.as_str(), &host)?;
        let (others, login) = (Mutex::default(), Mutex::new(login));
        Ok(Self { http, others, base, host, access, login })
    }

    /// The HTTP client for `url`: the server's own, or one for another server.
    fn http_for(&self, url: &Url) -> Result<Http, LfsError> {
        if url.origin() == self.base.origin() {
            return Ok(self.http.clone());
        }
        let mut others = self.others.lock();
        let origin = url.origin().ascii_serialization();
        if let Some(http) = others.get(&origin) {
            return Ok(http.clone());
        }
        let http = build_http(&self.access, &origin, url.host_str().unwrap_or_default())?;
        others.insert(origin, http.clone());
        Ok(http)
    }

    /// Asks where `wanted` (at most [`super::BATCH_LEN_MAX`]) can be downloaded. The answer is in
    /// their order; an object that the server does not have carries its reason.
    ///
    /// # Errors
    /// When the server cannot be asked or refuses the question.
    pub fn batch(&self, wanted: &[Pointer]) -> Result<Vec<Offer>, LfsError> {
        let url = format!("{}/objects/batch", self.base.as_str().trim_end_matches('/'));
        let request = BatchRequest::new(wanted);
        let response = self.send(
            &|| {
                self.http
                    .post(&url)
                    .header(ACCEPT, LFS_JSON)
                    .json(&request)
                    .header(CONTENT_TYPE, LFS_JSON)
            },
            true,
        )?;
        let mut body = Vec::new();
        response
            .take(ANSWER_LEN_MAX + 1)
            .read_to_end(&mut body)
            .map_err(|e| self.network(&e.to_string()))?;
        let answer = |reason: String| LfsError::Answer { host: self.host.clone(), reason };
        if body.len() as u64 > ANSWER_LEN_MAX {
            return Err(answer(format!("it is longer than {ANSWER_LEN_MAX} bytes")));
        }
        let parsed: BatchAnswer =
            serde_json::from_slice(&body).map_err(|e| answer(e.to_string()))?;
        parsed.sort(wanted).map_err(answer)
    }

    /// Downloads one object: `take` reads it as a stream, and is called again from the start after
    /// the connection broke. The outer error is the network's, the inner one `take`'s.
    ///
    /// # Errors
    /// When the server refuses, or the connection breaks [`TRIES_MAX`] times.
    pub fn download<T, E>(
        &self,
        download: &Download,
        take: &mut dyn FnMut(&mut (dyn Read + Send)) -> Result<T, E>,
    ) -> Result<Result<T, E>, LfsError> {
        let Place { http, href, headers, is_ours } = self.place(download)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let request = || http.get(href.clone()).headers(headers.clone());
            let mut body = Body { response: self.send(&request, is_ours)?, failure: None };
            let taken = take(&mut body);
            match body.failure {
                Some(reason) if tries >= TRIES_MAX => return Err(self.network(&reason)),
                Some(_) => self.pause(backoff(tries))?,
                None => return Ok(taken),
            }
        }
    }

    /// Where a download is, and what it takes to get it.
    pub(super) fn place(&self, download: &Download) -> Result<Place, LfsError> {
        let bad = |reason: String| LfsError::Answer { host: self.host.clone(), reason };
        let href = Url::parse(&download.href).map_err(|e| bad(format!("an address: {e}")))?;
        let http = self.http_for(&href)?;
        let headers = header_map(&self.host, &download.headers)?;
        let is_ours = href.origin() == self.base.origin() && !headers.contains_key(AUTHORIZATION);
        Ok(Place { http, href, headers, is_ours })
    }

    /// Sends until there is an answer worth reading: tries again what may pass, and once more with
    /// a credential.
    pub(super) fn send(
        &self,
        request: &dyn Fn() -> RequestBuilder,
        is_ours: bool,
    ) -> Result<Response, LfsError> {
        let mut tries = 0;
        let mut has_asked = false;
        loop {
            tries += 1;
            if (self.access.interrupted)() {
                return Err(LfsError::Interrupted);
            }
            let login = self.login.lock().clone().filter(|_| is_ours);
            let response = match self.authorize(request(), is_ours, login.as_ref()).send() {
                Ok(response) => response,
                Err(e) if e.is_builder() || tries >= TRIES_MAX => {
                    return Err(self.network(&cause(&e)));
                }
                Err(_) => {
                    self.pause(backoff(tries))?;
                    continue;
                }
            };
            let status = response.status();
            if status.is_success() {
                if let Some(login) = login.filter(|_| has_asked) {
                    (self.access.tell)(self.base.as_str(), &login, true);
                }
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && is_ours {
                if let Some(login) = login.filter(|_| has_asked) {
                    (self.access.tell)(self.base.as_str(), &login, false);
                }
                let filled = if has_asked { None } else { (self.access.fill)(self.base.as_str()) };
                if filled.is_none() {
                    return Err(LfsError::Unauthorized { host: self.host.clone(), status: 401 });
                }
                *self.login.lock() = filled;
                has_asked = true;
                continue;
            }
            if tries >= TRIES_MAX || !may_pass(status) {
                return Err(self.refused(response));
            }
            self.pause(retry_after(&response).unwrap_or(backoff(tries)))?;
        }
    }

    fn authorize(
        &self,
        request: RequestBuilder,
        is_ours: bool,
        login: Option<&Login>,
    ) -> RequestBuilder {
        if !is_ours {
            return request;
        }
        if let Some(Login { user, password }) = login {
            return request.basic_auth(user, Some(password));
        }
        match self.access.extra_header.as_deref().and_then(|line| line.split_once(':')) {
            Some((name, value)) => request.header(name.trim(), value.trim()),
            None => request,
        }
    }

    fn refused(&self, response: Response) -> LfsError {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let _ = response.take(64 << 10).read_to_end(&mut body);
        let message = serde_json::from_slice::<Message>(&body)
            .map_or_else(|_| String::new(), |m| format!(": {}", tidy(&m.message)));
        LfsError::Status { host: self.host.clone(), status, message }
    }

    /// Makes requests to the server itself.
    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    /// The server's name, with its port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// An error of the connection.
    pub(super) fn network(&self, reason: &str) -> LfsError {
        LfsError::Network { host: self.host.clone(), reason: tidy(reason) }
    }

    /// Waits before the next try, unless the work should stop.
    pub(super) fn pause(&self, time: Duration) -> Result<(), LfsError> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if (self.access.interrupted)() {
                return Err(LfsError::Interrupted);
            }
            thread::park_timeout((end - Instant::now()).min(Duration::from_millis(100)));
        }
        Ok(())
    }
}

fn build_http(access: &Access<'_>, url: &str, host: &str) -> Result<Http, LfsError> {
    let bad = |reason: String| LfsError::Trust { host: host.to_owned(), reason };
    (access.build)(url)
        .map_err(bad)?
        .connect_timeout(Duration::from_secs(30))
        // In this blocking client it bounds each read, not the whole download.
        .timeout(Duration::from_secs(SILENCE_MAX_S))
        .user_agent(concat!("mega-store/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| bad(e.to_string()))
}

/// The headers that a server wants to see again.
pub(super) fn header_map(
    host: &str,
    headers: &HashMap<String, String>,
) -> Result<HeaderMap, LfsError> {
    let bad = |what: &str| LfsError::Answer { host: host.to_owned(), reason: what.to_owned() };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| bad("a header's name"))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| bad("a header's value"))?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(map)
}

/// A download's bytes. Remembers that the network failed, so that it is not taken for the reader's
/// own trouble.
struct Body {
    response: Response,
    failure: Option<String>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.response.read(buffer);
        if let Err(e) = &read {
            self.failure = Some(e.to_string());
        }
        read
    }
}

/// How long to wait after so many tries: half a second, one, two.
pub(super) fn backoff(tries: u32) -> Duration {
    Duration::from_millis(250 << tries.min(10))
}

/// Answers that another try may change.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S)))
}

/// An error's innermost cause, without the URL: that may carry a token.
fn cause(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(next) = source.source() {
        source = next;
    }
    if std::ptr::addr_eq(source, error) {
        "the connection failed".to_owned()
    } else {
        source.to_string()
    }
}
