//! What one request is served with: the repository, its settings, who asks and how.

use mega_storage::{Progress, Repo, RepoSettings, Store};

/// Version of the protocol that a client asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Nothing was asked for.
    V0,
    /// As version 0, with a line that names the version.
    V1,
    /// Commands (fetch only).
    V2,
}

impl Protocol {
    /// Reads what `Git-Protocol` or `GIT_PROTOCOL` says, a list separated by colons: the highest
    /// version that is known, as git does.
    pub fn parse(text: &str) -> Self {
        let mut best = Self::V0;
        for word in text.split(':') {
            best = match (word.trim(), best) {
                ("version=2", _) => Self::V2,
                ("version=1", Self::V0) => Self::V1,
                (_, best) => best,
            };
        }
        best
    }
}

/// What one request is served with.
#[derive(Clone, Copy)]
pub struct Service<'a> {
    /// The store.
    pub store: &'a Store,
    /// The repository.
    pub repo: &'a Repo,
    /// Its settings.
    pub settings: &'a RepoSettings,
    /// What the client speaks.
    pub protocol: Protocol,
    /// Who asks, for the audit line.
    pub actor: &'a str,
    /// Tells when to stop.
    pub stop: &'a dyn Progress,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_known_version_counts() {
        let cases = [
            ("", Protocol::V0),
            ("version=0", Protocol::V0),
            ("version=1", Protocol::V1),
            ("version=2", Protocol::V2),
            ("version=2:version=1", Protocol::V2),
            ("version=1:version=2:version=3", Protocol::V2),
            ("version=3", Protocol::V0),
            ("key:version=1:x=y", Protocol::V1),
        ];
        for (text, expected) in cases {
            assert_eq!(Protocol::parse(text), expected, "{text}");
        }
    }
}
