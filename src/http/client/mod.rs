//! Another mega-store over HTTP: its objects through git's protocol, its files by range, as sources
//! that a repository here is filled from.
//!
//! Nothing is asked for before it is needed. Every call blocks, ends by time limits on connecting
//! and on silence, and may come from several threads: connections are kept and used again.
//! Invariant: a password or token is in no error, log line or `Debug` text.

mod files;
mod limits;
mod objects;
mod refs;
#[cfg(test)]
mod tests;
mod url;
mod web;

use std::sync::atomic::AtomicBool;

use mega_storage::{RefName, SourceResult};

use crate::git::Git;
pub use refs::RemoteRef;
pub use url::{RemoteUrl, UrlError};
use web::Web;

/// One repository of a server.
pub struct HttpSource {
    web: Web,
    url: RemoteUrl,
    /// The server cannot say how long a blob is.
    no_object_info: AtomicBool,
}

impl HttpSource {
    /// A client for the repository at `url`. Nothing is sent yet. `git` finds passwords,
    /// certificates and headers as git itself would.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(url: &RemoteUrl, git: &Git) -> SourceResult<Self> {
        let web = Web::new(url, git)?;
        Ok(Self { web, url: url.clone(), no_object_info: AtomicBool::new(false) })
    }

    /// Where HEAD and those of `names` stand that the server has: one request.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn refs(&self, names: &[RefName]) -> SourceResult<Vec<RemoteRef>> {
        refs::list(&self.web, &self.url, names)
    }

    /// The repository's address, without password.
    pub fn url(&self) -> &RemoteUrl {
        &self.url
    }
}
