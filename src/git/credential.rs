//! Names and passwords from git's credential helpers.
//!
//! Invariant: a password is never in a `Debug` text, an error or a log line.

use std::fmt;

use super::{Git, SourceError, run};

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user's name.
    pub user: String,
    /// The password or token.
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Asks the helpers, and the person where git may, for the credential of `url`; `None` when there
/// is none.
///
/// # Errors
/// When git cannot be run, or the URL would be read as more than one line.
pub fn fill(git: &Git, url: &str) -> Result<Option<Credential>, SourceError> {
    let output = match run(
        git.anywhere().args(["credential", "fill"]),
        "credential fill",
        &question(url, None)?,
    ) {
        Ok(output) => output,
        Err(SourceError::Failed { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let text = String::from_utf8_lossy(&output);
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
    };
    Ok(value("username")
        .zip(value("password"))
        .map(|(user, password)| Credential { user, password }))
}

/// Tells the helpers whether the credential worked, so that they keep or forget it.
///
/// # Errors
/// As [`fill`].
pub fn tell(
    git: &Git,
    url: &str,
    credential: &Credential,
    worked: bool,
) -> Result<(), SourceError> {
    let verb = if worked { "approve" } else { "reject" };
    let input = question(url, Some(credential))?;
    run(git.anywhere().args(["credential", verb]), verb, &input).map(|_| ())
}

/// What the helpers are asked. A line break in it would let a URL ask for another server's
/// password.
fn question(url: &str, credential: Option<&Credential>) -> Result<Vec<u8>, SourceError> {
    let mut text = format!("url={url}\n");
    let mut parts = vec![url];
    if let Some(Credential { user, password }) = credential {
        text.push_str(&format!("username={user}\npassword={password}\n"));
        parts.extend([user.as_str(), password.as_str()]);
    }
    let is_broken = |part: &&str| {
        part.bytes().any(|b| b.is_ascii_control())
            || ["%0a", "%0d", "%00"].iter().any(|code| url.to_ascii_lowercase().contains(code))
    };
    if parts.iter().any(is_broken) {
        return Err(SourceError::Unsafe {
            text: super::redact(url),
            reason: "a line break in a URL",
        });
    }
    text.push('\n');
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_cannot_ask_for_another_servers_password() {
        for url in ["https://a/x\nhost=b", "https://a/x%0ahost=b", "https://a/x%0Dhost=b"] {
            assert!(matches!(question(url, None), Err(SourceError::Unsafe { .. })), "{url}");
        }
        assert!(question("https://a/x", None).is_ok());
    }

    #[test]
    fn debug_text_has_no_password() {
        let secret = Credential { user: "u".into(), password: "hunter2".into() };
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
