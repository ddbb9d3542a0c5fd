//! From a remote's URL to its LFS server, as git-lfs's server discovery has it.

use std::path::PathBuf;

/// Where the LFS content of a remote is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// A server's URL, to which `/objects/batch` is added.
    Server(String),
    /// A git repository on this machine.
    Directory(PathBuf),
}

impl Endpoint {
    /// What `lfs.url` or `remote.<name>.lfsurl` names: the server's own URL.
    pub fn configured(url: &str) -> Option<Self> {
        let url = url.trim().trim_end_matches('/');
        if url.starts_with("https://") || url.starts_with("http://") {
            return Some(Self::Server(url.to_owned()));
        }
        Self::of_remote(url)
    }

    /// What git-lfs guesses from a remote's URL: `<url>.git/info/lfs` over HTTPS, or the directory
    /// itself.
    pub fn of_remote(url: &str) -> Option<Self> {
        let url = url.trim().trim_end_matches('/');
        if let Some(path) = url.strip_prefix("file://") {
            return Some(Self::Directory(PathBuf::from(path)));
        }
        if url.starts_with(['/', '.']) {
            return Some(Self::Directory(PathBuf::from(url)));
        }
        let base = if url.starts_with("https://") || url.starts_with("http://") {
            url.to_owned()
        } else if let Some((scheme, rest)) = url.split_once("://") {
            if !["ssh", "git+ssh", "ssh+git", "git"].contains(&scheme) {
                return None;
            }
            let (authority, path) = rest.split_once('/')?;
            let host = authority.rsplit('@').next()?;
            format!("https://{}/{path}", without_port(host))
        } else {
            let (authority, path) = url.split_once(':')?;
            if authority.contains('/') || path.starts_with(':') {
                return None;
            }
            format!("https://{}/{}", authority.rsplit('@').next()?, path.trim_start_matches('/'))
        };
        let dot_git = if base.ends_with(".git") { "" } else { ".git" };
        Some(Self::Server(format!("{base}{dot_git}/info/lfs")))
    }
}

/// A host without its port; the brackets of an IPv6 address stay.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_those_of_git_lfs() {
        for (remote, server) in [
            ("https://h/foo/bar", "https://h/foo/bar.git/info/lfs"),
            ("https://h/foo/bar.git", "https://h/foo/bar.git/info/lfs"),
            ("https://h:8443/foo/bar/", "https://h:8443/foo/bar.git/info/lfs"),
            ("git@h:foo/bar.git", "https://h/foo/bar.git/info/lfs"),
            ("ssh://git@h:22/foo/bar.git", "https://h/foo/bar.git/info/lfs"),
            ("ssh://git@[::1]:22/foo", "https://[::1]/foo.git/info/lfs"),
            ("git://h/foo", "https://h/foo.git/info/lfs"),
        ] {
            assert_eq!(Endpoint::of_remote(remote), Some(Endpoint::Server(server.into())));
        }
        for (remote, dir) in
            [("file:///srv/x.git", "/srv/x.git"), ("/srv/x", "/srv/x"), ("../x", "../x")]
        {
            assert_eq!(Endpoint::of_remote(remote), Some(Endpoint::Directory(dir.into())));
        }
        for remote in ["ext::sh -c x", "p2p://peer/x", "x"] {
            assert_eq!(Endpoint::of_remote(remote), None, "{remote}");
        }
        let configured = Endpoint::configured("https://h/lfs/");
        assert_eq!(configured, Some(Endpoint::Server("https://h/lfs".into())));
    }
}
