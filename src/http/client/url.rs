//! Addresses of repositories on a server: `http(s)://HOST/NAME.git`.

use std::fmt;

use mega_storage::{NameError, RepoName};
use reqwest::Url;

/// Why a text is no address of a repository.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// It does not read as `http(s)://HOST/NAME.git`.
    #[error("an address of a repository is http(s)://HOST/NAME.git: {0}")]
    Form(String),
    /// No name for the repository here can be made from it.
    #[error("no name for the repository can be made from the address: {0}")]
    Name(#[from] NameError),
}

/// A repository on a server.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    /// Scheme, host and port, without user and password or a slash at the end.
    base: String,
    /// Its name on the server.
    repo: String,
    /// The name of its copy here.
    local: RepoName,
    user: String,
    password: Option<String>,
}

impl RemoteUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// [`UrlError`], without the text: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let form = |reason: &str| UrlError::Form(reason.to_owned());
        let url = Url::parse(text).map_err(|e| UrlError::Form(e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(form("it has another scheme"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(form("it has a '?' or '#'"));
        }
        let host = url.host_str().ok_or_else(|| form("it has no host"))?;
        let path = url.path().trim_matches('/');
        let repo = path.strip_suffix(".git").ok_or_else(|| form("it does not end in .git"))?;
        if repo.is_empty() || repo.contains('%') || repo.split('/').any(str::is_empty) {
            return Err(form("its path is no name"));
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        };
        Ok(Self {
            base: format!("{}://{host}{port}", url.scheme()),
            repo: repo.to_owned(),
            local: local_name(host, url.port(), repo)?,
            user: decode(url.username()),
            password: url.password().map(decode),
        })
    }

    /// The address without user and password.
    pub fn as_shown(&self) -> String {
        format!("{}/{}.git", self.base, self.repo)
    }

    /// What the copy here is called: host and path.
    pub fn local_name(&self) -> &RepoName {
        &self.local
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn repo(&self) -> &str {
        &self.repo
    }

    /// User and password that the address brings.
    pub(super) fn login(&self) -> Option<(&str, &str)> {
        let password = self.password.as_deref();
        (!self.user.is_empty() || password.is_some())
            .then(|| (self.user.as_str(), password.unwrap_or_default()))
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteUrl").field(&self.as_shown()).finish()
    }
}

/// Host (and port) and path as a name of at most four segments.
fn local_name(host: &str, port: Option<u16>, repo: &str) -> Result<RepoName, NameError> {
    // A name may not begin with a dash, as an address of version 6 may with a colon.
    let host = host.replace('[', "ip6-").replace(']', "").replace(':', "-");
    let host = port.map_or(host.clone(), |port| format!("{host}-{port}"));
    let joint = if repo.split('/').count() < 4 { '/' } else { '-' };
    RepoName::new(&format!("{host}{joint}{repo}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_without_its_password() {
        let url = RemoteUrl::parse("https://me:s%40cret@Host.example:8417/team/model.git");
        let url = url.expect("an address");
        assert_eq!(url.as_shown(), "https://host.example:8417/team/model.git");
        assert_eq!(url.local_name().as_str(), "host.example-8417/team/model");
        assert_eq!(url.login(), Some(("me", "s@cret")));
        assert!(!format!("{url:?}").contains("cret"));
        let long = RemoteUrl::parse("http://h:1/a/b/c/d.git").expect("an address");
        assert_eq!(long.local_name().as_str(), "h-1-a/b/c/d");
        let v6 = RemoteUrl::parse("http://[::1]:8417/a.git").expect("an address");
        assert_eq!(v6.local_name().as_str(), "ip6---1-8417/a");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "ftp://h/x.git",
            "http://h/x",
            "http://h/.git",
            "http://h/a//b.git",
            "http://h/a%20b.git",
            "http://h/x.git?y",
            "http:///x.git",
            "nothing",
        ] {
            assert!(RemoteUrl::parse(text).is_err(), "{text}");
        }
    }
}
