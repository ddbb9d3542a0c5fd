//! Whose certificates count, as git's configuration and environment say for a URL: the well-known
//! authorities, those in `http.<url>.sslCAInfo` or `GIT_SSL_CAINFO`, and anyone's where
//! `http.<url>.sslVerify` is off or `GIT_SSL_NO_VERIFY` is set. The environment goes first.

use std::path::Path;

use reqwest::Certificate;
use reqwest::blocking::{Client, ClientBuilder};

use super::{Git, SourceError, config};

/// Why it is not known whom to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Git could not be asked.
    #[error(transparent)]
    Git(#[from] SourceError),
    /// The file with certificates is not one.
    #[error("{setting} {path}: {reason}")]
    File {
        /// What names it.
        setting: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Begins a client that trusts whom git, in `dir`, trusts for `url`.
///
/// # Errors
/// When git cannot be run, or the file that is named has no certificates.
pub fn client_builder(git: &Git, dir: &Path, url: &str) -> Result<ClientBuilder, TrustError> {
    let mut builder = Client::builder();
    let verify = config::get_typed_for_url(git, dir, "bool", "http.sslVerify", url)?;
    if git.variable("GIT_SSL_NO_VERIFY").is_some() || verify.as_deref() == Some("false") {
        return Ok(builder.danger_accept_invalid_certs(true));
    }
    let (setting, file) = match git.variable("GIT_SSL_CAINFO") {
        Some(file) => ("GIT_SSL_CAINFO", Some(file)),
        None => {
            let file = config::get_typed_for_url(git, dir, "path", "http.sslCAInfo", url)?;
            ("http.sslCAInfo", file.map(Into::into))
        }
    };
    let Some(file) = file.filter(|file| !file.is_empty()) else { return Ok(builder) };
    let file = dir.join(file);
    let bad = |reason: String| {
        let path = file.display().to_string();
        TrustError::File { setting, path, reason }
    };
    let pem = std::fs::read(&file).map_err(|e| bad(e.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| bad(e.to_string()))?;
    if certificates.is_empty() {
        return Err(bad("it has no certificate".to_owned()));
    }
    for certificate in certificates {
        builder = builder.add_root_certificate(certificate);
    }
    Ok(builder)
}
