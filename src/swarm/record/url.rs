//! Addresses of what peers have: `p2p://<peer id>/<type>/...`.
//!
//! ```text
//! p2p://PEER/repo/NAME[@REV]     a repository by its name at that peer (also /pack/, NAME.git)
//! p2p://PEER/object/SHA-1        a git object of a public repository
//! p2p://PEER/file/SHA-256        LFS content of a public repository (also /sha256/)
//! ```
//!
//! The peer's id holds its key, so whoever answers proves to be the one that is named. `REV` comes
//! after the last `@`. Nothing is percent-encoded: no part may have what would need it.

use std::fmt;
use std::str::FromStr;

use libp2p::PeerId;
use mega_storage::{
    FileId, IdParseError, NameError, ObjectId, REVISION_LEN_MAX, RepoKey, RepoKeyParseError,
    RepoName,
};

use super::key::parse_peer_id;
use crate::swarm::identity::public_key;

/// Longest address, in bytes.
pub const P2P_URL_LEN_MAX: usize = 8 << 10;

const SCHEME: &str = "p2p://";

/// An address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct P2pUrl {
    /// Who is asked.
    pub peer: PeerId,
    /// For what.
    pub target: P2pTarget,
}

/// What an address leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum P2pTarget {
    /// A repository, and a revision of it.
    Repo {
        /// Its name at the peer.
        name: RepoName,
        /// The revision; HEAD when absent.
        revision: Option<String>,
    },
    /// A git object.
    Object(ObjectId),
    /// LFS content.
    File(FileId),
}

/// A text is no such address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum P2pUrlError {
    /// It is larger than any.
    #[error("an address has at most {P2P_URL_LEN_MAX} bytes, not {len}")]
    TooLong {
        /// Its bytes.
        len: usize,
    },
    /// It starts otherwise.
    #[error("an address of a peer starts with p2p://")]
    Scheme,
    /// What comes first is no peer.
    #[error("'{text}' is no peer's id: it looks like 12D3KooW...")]
    Peer {
        /// What is there, cut short.
        text: String,
    },
    /// There is a type missing, or another than there is.
    #[error("after the peer's id come /repo/NAME, /object/SHA-1 or /file/SHA-256, not '/{text}'")]
    Type {
        /// What is there, cut short.
        text: String,
    },
    /// The repository's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The revision.
    #[error("the revision after '@' {reason}")]
    Revision {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The object's or file's id.
    #[error("{0}")]
    Id(#[from] IdParseError),
}

impl P2pUrl {
    /// The address of a repository at a peer.
    pub fn repo(peer: PeerId, name: RepoName) -> Self {
        Self { peer, target: P2pTarget::Repo { name, revision: None } }
    }
}

impl FromStr for P2pUrl {
    type Err = P2pUrlError;

    fn from_str(text: &str) -> Result<Self, P2pUrlError> {
        if text.len() > P2P_URL_LEN_MAX {
            return Err(P2pUrlError::TooLong { len: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(P2pUrlError::Scheme)?;
        let (peer, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let peer = parse_peer(peer)?;
        let wrong_type = || P2pUrlError::Type { text: short(rest) };
        let (kind, rest) = rest.split_once('/').ok_or_else(wrong_type)?;
        let target = match kind {
            "repo" | "pack" => parse_repo(rest)?,
            "object" => P2pTarget::Object(rest.parse()?),
            "file" | "sha256" => P2pTarget::File(rest.parse()?),
            _ => return Err(wrong_type()),
        };
        Ok(Self { peer, target })
    }
}

impl fmt::Display for P2pUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/", self.peer)?;
        match &self.target {
            P2pTarget::Repo { name, revision: None } => write!(f, "repo/{name}"),
            P2pTarget::Repo { name, revision: Some(revision) } => {
                write!(f, "repo/{name}@{revision}")
            }
            P2pTarget::Object(id) => write!(f, "object/{id}"),
            P2pTarget::File(id) => write!(f, "file/{id}"),
        }
    }
}

/// A repository to be looked for: `REPO-ID` or `NAME@PEER`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RepoSought {
    /// By its id.
    Key(RepoKey),
    /// By its name at a peer.
    Named {
        /// The name.
        name: RepoName,
        /// The peer.
        peer: PeerId,
    },
}

/// A text names no repository among peers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RepoSoughtError {
    /// There is no `@`, so it should be an id.
    #[error("{0}; or say NAME@PEER")]
    Key(#[from] RepoKeyParseError),
    /// What stands before or after `@`.
    #[error(transparent)]
    Named(#[from] P2pUrlError),
}

impl FromStr for RepoSought {
    type Err = RepoSoughtError;

    fn from_str(text: &str) -> Result<Self, RepoSoughtError> {
        let Some((name, peer)) = text.rsplit_once('@') else {
            return Ok(Self::Key(text.parse()?));
        };
        let name = RepoName::new(name).map_err(P2pUrlError::Name)?;
        Ok(Self::Named { name, peer: parse_peer(peer)? })
    }
}

fn parse_peer(text: &str) -> Result<PeerId, P2pUrlError> {
    let peer = parse_peer_id(text).filter(|peer| public_key(peer).is_some());
    peer.ok_or_else(|| P2pUrlError::Peer { text: short(text) })
}

fn parse_repo(text: &str) -> Result<P2pTarget, P2pUrlError> {
    let (name, revision) = match text.rsplit_once('@') {
        Some((name, revision)) => (name, Some(check_revision(revision)?)),
        None => (text, None),
    };
    let name = RepoName::new(name.strip_suffix(".git").unwrap_or(name))?;
    Ok(P2pTarget::Repo { name, revision })
}

fn check_revision(text: &str) -> Result<String, P2pUrlError> {
    let reason = match text {
        "" => "is missing",
        _ if text.len() > REVISION_LEN_MAX => "is too long",
        _ if text.chars().any(char::is_control) => "has a control character",
        _ => return Ok(text.to_owned()),
    };
    Err(P2pUrlError::Revision { reason })
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
    const SHA1: &str = "8ab686eafeb1f44702738c8b0f24f2567c36da6d";
    const SHA256: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    fn parse(rest: &str) -> Result<P2pUrl, P2pUrlError> {
        format!("p2p://{PEER}/{rest}").parse()
    }

    #[test]
    fn all_forms_are_read_and_one_of_each_is_written() {
        let cases = [
            ("repo/a/b", "repo/a/b"),
            ("repo/a/b@refs/heads/x~2", "repo/a/b@refs/heads/x~2"),
            ("repo/a.git", "repo/a"),
            ("pack/a.git@v1", "repo/a@v1"),
            ("pack/a", "repo/a"),
            (&format!("object/{SHA1}"), &format!("object/{SHA1}")),
            (&format!("file/{SHA256}"), &format!("file/{SHA256}")),
            (&format!("sha256/{SHA256}"), &format!("file/{SHA256}")),
        ];
        for (text, written) in cases {
            let url = parse(text).expect(text);
            assert_eq!(url.to_string(), format!("p2p://{PEER}/{written}"));
            assert_eq!(url.to_string().parse(), Ok(url));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| text.parse::<P2pUrl>().expect_err(text);
        for bad in ["", "http://h/a", "P2P://x", "p2p:/x"] {
            assert_eq!(error(bad), P2pUrlError::Scheme);
        }
        let hashed = PeerId::from_bytes(&[&[0x12, 32][..], &[7; 32]].concat()).expect("an id");
        for bad in ["", "x", &hashed.to_base58(), &PEER[1..], &"1".repeat(1000)] {
            let text = format!("p2p://{bad}/repo/a");
            assert_eq!(error(&text), P2pUrlError::Peer { text: short(bad) });
        }
        for bad in ["", "repo", "x/y", "Repo/a", "/repo/a"] {
            assert_eq!(parse(bad), Err(P2pUrlError::Type { text: bad.to_owned() }));
        }
        for bad in ["repo/", "repo/../a", "repo/a b", "repo/a/", "repo/a@b@c", "repo/.git"] {
            assert!(matches!(parse(bad), Err(P2pUrlError::Name(_))), "{bad}");
        }
        for bad in
            ["repo/a@", "repo/a@x\ny", &format!("repo/a@{}", "x".repeat(REVISION_LEN_MAX + 1))]
        {
            assert!(matches!(parse(bad), Err(P2pUrlError::Revision { .. })), "{bad}");
        }
        parse(&format!("repo/a@{}", "x".repeat(REVISION_LEN_MAX))).expect("at the limit");
        for bad in ["object/", "object/8ab6", &format!("file/{SHA1}"), &format!("object/{SHA256}")]
        {
            assert!(matches!(parse(bad), Err(P2pUrlError::Id(_))), "{bad}");
        }
        let long = format!("p2p://{}", "x".repeat(P2P_URL_LEN_MAX));
        assert_eq!(error(&long), P2pUrlError::TooLong { len: long.len() });
        assert_eq!(error(&long[..P2P_URL_LEN_MAX]), P2pUrlError::Peer { text: "x".repeat(100) });
        let words = parse("x/y").expect_err("refused").to_string();
        assert_eq!(
            words,
            "after the peer's id come /repo/NAME, /object/SHA-1 or /file/SHA-256, not '/x/y'"
        );
    }

    #[test]
    fn what_is_sought_is_an_id_or_a_name_at_a_peer() {
        let key = RepoKey::from_bytes([7; 32]);
        assert_eq!(key.to_string().parse(), Ok(RepoSought::Key(key)));
        let peer = PEER.parse().expect("a peer");
        let name = RepoName::new("a/b").expect("a name");
        assert_eq!(format!("a/b@{PEER}").parse(), Ok(RepoSought::Named { name, peer }));
        let error = |text: &str| text.parse::<RepoSought>().expect_err(text).to_string();
        assert_eq!(error("mega"), "a repository's id starts with 'b'; or say NAME@PEER");
        assert!(error("a@b").starts_with("'b' is no peer's id"));
        assert!(error(&format!("../a@{PEER}")).contains("cannot be a repository's name"));
    }
}
