//! Whose eyes: who asks, and what they may do with a repository.
//!
//! The owner is whoever reaches a loopback listener of a store in which no token was ever made.
//! Everyone else is what their token says, or nobody in particular. Invariant: no answer here
//! depends on whether a repository that the caller may not read exists.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use mega_storage::{Repo, Store, StoreError, Token, TokenScope, Visibility};

use super::ask::Ask;
use super::secret;

/// Fields that a proxy adds: a request that has one does not come from this machine's owner.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The store's owner: may do everything.
    Owner,
    /// Whoever has this token, which is live.
    Token(Token),
    /// Somebody without a token.
    Anonymous,
    /// Somebody with a token or password that is not good, or not any more.
    Unknown,
}

/// What a caller may do with one repository.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rights {
    /// Not even know that it is there.
    None,
    /// Fetch and look.
    Read,
    /// Push.
    Write,
    /// Everything.
    Owner,
}

impl Caller {
    /// Finds out who asks. Reads the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn of(ask: &Ask, store: &Store, now_unix: u64) -> Result<Self, StoreError> {
        if ask.is_loopback && !store.tokens().was_one_made() {
            let is_forwarded = FORWARDED.iter().any(|name| ask.headers.contains_key(*name));
            return Ok(if is_forwarded { Self::Anonymous } else { Self::Owner });
        }
        let Some(field) = ask.headers.get(AUTHORIZATION) else { return Ok(Self::Anonymous) };
        let Some(secret) = field.to_str().ok().and_then(secret_of) else {
            return Ok(Self::Unknown);
        };
        let hash = secret::hash(&secret);
        let token = store.tokens().find(&hash)?;
        let good = |token: &Token| secret::is_same(&token.hash, &hash) && token.is_live(now_unix);
        Ok(token.filter(good).map_or(Self::Unknown, Self::Token))
    }

    /// What they may do with a repository.
    pub fn rights(&self, repo: &Repo) -> Rights {
        let opened = match self {
            Self::Owner => return Rights::Owner,
            Self::Anonymous | Self::Unknown => None,
            Self::Token(token) => match token.scope {
                TokenScope::All => Some(token),
                TokenScope::Repo(id) => (id == repo.id).then_some(token),
            },
        };
        match (opened, repo.visibility) {
            (Some(token), _) if token.can_write => Rights::Write,
            (Some(_), _) | (None, Visibility::Public) => Rights::Read,
            (None, Visibility::Mesh | Visibility::Private) => Rights::None,
        }
    }

    /// Whether they may make repositories.
    pub fn may_create(&self) -> bool {
        match self {
            Self::Owner => true,
            Self::Token(token) => token.scope == TokenScope::All && token.can_write,
            Self::Anonymous | Self::Unknown => false,
        }
    }

    /// Whether they may see the server's own numbers.
    pub fn is_operator(&self) -> bool {
        match self {
            Self::Owner => true,
            Self::Token(token) => token.scope == TokenScope::All,
            Self::Anonymous | Self::Unknown => false,
        }
    }

    /// Whether a token could still change the answer.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Anonymous | Self::Unknown)
    }

    /// For the audit line, and the owner of locks that they make: the same for a token for ever.
    pub fn name(&self) -> String {
        match self {
            Self::Owner => "owner".to_owned(),
            Self::Token(token) if token.note.is_empty() => format!("token {}", token.id),
            Self::Token(token) => format!("{} (token {})", token.note, token.id),
            Self::Anonymous | Self::Unknown => "anonymous".to_owned(),
        }
    }
}

/// The secret in an `Authorization` field: the Bearer token, or Basic's password.
fn secret_of(field: &str) -> Option<String> {
    let (scheme, rest) = field.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, password) = plain.split_once(':')?;
    // Some tools have a place for one of them only.
    let is_user = password.is_empty() && user.starts_with(secret::PREFIX);
    Some(if is_user { user.to_owned() } else { password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mega_storage::{RepoId, RepoName};

    fn repo(id: u32, visibility: Visibility) -> Repo {
        let name = RepoName::new("a").expect("a name");
        Repo { id: RepoId(id), name, visibility, created_unix: 0, origin: None, partial: false }
    }

    fn token(scope: TokenScope, can_write: bool) -> Caller {
        let (hash, note) = ([0; 32], String::new());
        let token =
            Token { id: 1, hash, scope, can_write, created_unix: 0, expires_unix: None, note };
        Caller::Token(token)
    }

    #[test]
    fn rights_are_those_of_the_table() {
        let one = TokenScope::Repo(RepoId(1));
        // Caller; rights to its own private repository, another private one, another public one.
        let cases = [
            (Caller::Owner, Rights::Owner, Rights::Owner, Rights::Owner),
            (token(TokenScope::All, true), Rights::Write, Rights::Write, Rights::Write),
            (token(TokenScope::All, false), Rights::Read, Rights::Read, Rights::Read),
            (token(one, true), Rights::Write, Rights::None, Rights::Read),
            (token(one, false), Rights::Read, Rights::None, Rights::Read),
            (Caller::Anonymous, Rights::None, Rights::None, Rights::Read),
            (Caller::Unknown, Rights::None, Rights::None, Rights::Read),
        ];
        for (caller, own, other, public) in cases {
            assert_eq!(caller.rights(&repo(1, Visibility::Private)), own, "{caller:?}");
            assert_eq!(caller.rights(&repo(2, Visibility::Private)), other, "{caller:?}");
            assert_eq!(caller.rights(&repo(2, Visibility::Mesh)), other, "{caller:?}");
            assert_eq!(caller.rights(&repo(2, Visibility::Public)), public, "{caller:?}");
        }
        assert!(token(TokenScope::All, true).may_create());
        assert!(!token(TokenScope::All, false).may_create() && !token(one, true).may_create());
    }

    #[test]
    fn a_secret_comes_as_bearer_or_as_password() {
        let basic = |text: &str| secret_of(&format!("Basic {}", STANDARD.encode(text)));
        assert_eq!(secret_of("Bearer mst_x").as_deref(), Some("mst_x"));
        assert_eq!(secret_of("bearer  mst_x ").as_deref(), Some("mst_x"));
        assert_eq!(basic("anyone:mst_x").as_deref(), Some("mst_x"));
        assert_eq!(basic("a:b:c").as_deref(), Some("b:c"));
        assert_eq!(basic("mst_x:").as_deref(), Some("mst_x"));
        assert_eq!(basic("user:").as_deref(), Some(""));
        for bad in ["", "Bearer", "Digest x", "Basic ?", "Basic YQ=="] {
            assert_eq!(secret_of(bad), None, "{bad}");
        }
    }
}
