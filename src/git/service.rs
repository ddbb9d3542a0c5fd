//! What one request is served with: the repository, its settings, who asks and how.

use mega_storage::{Progress, Repo, RepoSettings, Store, StoreError};

use super::limits::PushLimits;

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

/// What one request is served with. Invariant: the repository is whole.
#[derive(Clone, Copy)]
pub struct Service<'a> {
    /// The store.
    pub(in crate::git) store: &'a Store,
    /// The repository.
    pub(in crate::git) repo: &'a Repo,
    /// Its settings.
    pub(in crate::git) settings: &'a RepoSettings,
    /// What the client speaks.
    pub(in crate::git) protocol: Protocol,
    /// Who asks, for the audit line.
    pub(in crate::git) actor: &'a str,
    /// Tells when to stop.
    pub(in crate::git) stop: &'a dyn Progress,
    /// Limits on a push.
    pub(in crate::git) limits: PushLimits,
}

impl<'a> Service<'a> {
    /// Serves `repo` to `actor`, named so in the audit line, until `stop` says so.
    ///
    /// # Errors
    /// [`StoreError::Partial`]: neither a fetch nor a push can be answered from parts.
    pub fn new(
        store: &'a Store,
        repo: &'a Repo,
        settings: &'a RepoSettings,
        protocol: Protocol,
        actor: &'a str,
        stop: &'a dyn Progress,
    ) -> Result<Self, StoreError> {
        repo.check_whole()?;
        let limits = PushLimits::default();
        Ok(Self { store, repo, settings, protocol, actor, stop, limits })
    }

    /// The same with other limits on a push.
    pub fn with_limits(self, limits: PushLimits) -> Self {
        Self { limits, ..self }
    }
}

#[cfg(test)]
mod tests {
    use mega_storage::{NoProgress, RepoName, StoreOptions};

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
    #[test]
    fn parts_of_a_repository_are_not_served() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        let name = RepoName::new("parts").expect("a name");
        let repo = store.repos().create_partial(&name, "https://example.org/a.git").expect("made");
        let settings = store.settings(repo.id).expect("read");
        let service = |repo: &Repo| {
            Service::new(&store, repo, &settings, Protocol::V2, "me", &NoProgress).map(|_| ())
        };
        assert!(matches!(service(&repo), Err(StoreError::Partial { .. })));
        service(&Repo { partial: false, ..repo }).expect("whole");
    }
}
