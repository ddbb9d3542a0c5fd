//! `token`: who may use the server.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use mega_storage::{NewToken, RepoId, RepoName, Token, TokenScope};
use serde::Serialize;

use super::output::{Done, Output, name};
use super::parse;
use crate::control::{Request, TokenCall};
use crate::http::secret::Secret;
use crate::node::{Node, NodeError};

/// The word for all repositories.
const ALL: &str = "*";

/// Make, list and revoke access tokens
///
/// A token is a password for git, git-lfs and the HTTP routes: with any user name, or as Bearer.
/// Once the first is made, the server answers nobody as the owner any more.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Verb {
    /// Make a token and print it, once
    #[command(after_long_help = "\
With --json one object: id, token, repo, write, expires_unix, note.

Examples:
  mega-store token create --repo team/model --write --expires 30d --note ci
  mega-store token create --repo '*' --write          may make repositories by pushing")]
    Create {
        /// The repository that it opens; '*' for all, those to come too
        #[arg(long, value_name = "NAME|'*'", value_parser = scope)]
        repo: String,
        /// It may push; else it may only read
        #[arg(long)]
        write: bool,
        /// When it ends: a number with s, m, h, d or w, as 30d; never when not given
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        expires: Option<u64>,
        /// What you call it
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// List tokens, without their secrets
    #[command(after_long_help = "\
With --json one object a line: id, repo (null: deleted), write, created_unix, expires_unix,
expired, note.")]
    List,
    /// Take a token away, at once
    Revoke {
        /// Its number in 'token list'
        id: u32,
    },
}

impl Verb {
    pub(super) fn request(&self) -> Request {
        Request::Token(match self {
            Self::Create { repo, write, expires, note } => TokenCall::Create {
                repo: (repo != ALL).then(|| repo.clone()),
                write: *write,
                expires_s: *expires,
                note: note.clone(),
            },
            Self::List => TokenCall::List,
            Self::Revoke { id } => TokenCall::Revoke(*id),
        })
    }
}

fn scope(text: &str) -> Result<String, String> {
    if text == ALL { Ok(text.to_owned()) } else { parse::repo_name(text) }
}

/// `30d` as seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let time = parse::duration(text)?;
    if time == 0 { Err("it would have ended already".to_owned()) } else { Ok(time) }
}

pub(super) fn answer(node: &Node, call: &TokenCall, out: &Output<'_>) -> Result<Done, NodeError> {
    match call {
        TokenCall::Create { repo, write, expires_s, note } => {
            create(node, repo.as_deref(), *write, *expires_s, note, out)?;
        }
        TokenCall::List => list(node, out)?,
        TokenCall::Revoke(id) => {
            if !node.store().tokens().revoke(*id)? {
                return Err(NodeError::NoToken { id: *id });
            }
            out.note(format_args!("token {id}: revoked"));
        }
    }
    Ok(Done::Whole)
}

#[derive(Serialize)]
struct Made<'a> {
    id: u32,
    token: &'a str,
    repo: &'a str,
    write: bool,
    expires_unix: Option<u64>,
    note: &'a str,
}

fn create(
    node: &Node,
    repo: Option<&str>,
    can_write: bool,
    expires_s: Option<u64>,
    note: &str,
    out: &Output<'_>,
) -> Result<(), NodeError> {
    let scope = match repo {
        None => TokenScope::All,
        Some(repo) => TokenScope::Repo(node.store().repos().get(&RepoName::new(repo)?)?.id),
    };
    let secret = Secret::new().map_err(|error| {
        NodeError::io(
            "asking the system for random bytes",
            std::io::Error::other(error.to_string()),
        )
    })?;
    let expires_unix = expires_s.map(|seconds| now_unix().saturating_add(seconds));
    let (hash, note) = (secret.hash(), note.to_owned());
    let token = NewToken { hash, scope, can_write, expires_unix, note };
    let token = node.store().tokens().create(&token)?;
    let made = Made {
        id: token.id,
        token: secret.reveal(),
        repo: repo.unwrap_or(ALL),
        write: can_write,
        expires_unix,
        note: &token.note,
    };
    out.either(&made, format_args!("{}", secret.reveal()))?;
    out.note(format_args!("token {}: keep it, it is not shown again", token.id));
    Ok(())
}

#[derive(Serialize)]
struct Row<'a> {
    id: u32,
    repo: Option<&'a str>,
    write: bool,
    created_unix: u64,
    expires_unix: Option<u64>,
    expired: bool,
    note: &'a str,
}

fn list(node: &Node, out: &Output<'_>) -> Result<(), NodeError> {
    let repos = node.store().repos().list()?;
    let names: HashMap<RepoId, &str> =
        repos.iter().map(|repo| (repo.id, repo.name.as_str())).collect();
    let now = now_unix();
    for token in node.store().tokens().list()? {
        let repo = match token.scope {
            TokenScope::All => Some(ALL),
            TokenScope::Repo(id) => names.get(&id).copied(),
        };
        let Token { id, can_write, created_unix, expires_unix, note, .. } = &token;
        let expired = !token.is_live(now);
        let row = Row {
            id: *id,
            repo,
            write: *can_write,
            created_unix: *created_unix,
            expires_unix: *expires_unix,
            expired,
            note,
        };
        let rights = if *can_write { "write" } else { "read" };
        let ends = match (expires_unix, expired) {
            (None, _) => "no end".to_owned(),
            (Some(_), true) => "ended".to_owned(),
            (Some(end), false) => format!("{} days left", end.saturating_sub(now) / 86_400),
        };
        let repo = repo.unwrap_or("(deleted)");
        let note = name(note.as_bytes());
        out.either(&row, format_args!("{id:>4}  {rights:<5}  {repo}  {ends}  {note}"))?;
    }
    Ok(())
}

fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(seconds("30d"), Ok(30 * 86_400));
        assert_eq!(seconds("1s"), Ok(1));
        assert_eq!(seconds("2w"), Ok(14 * 86_400));
        for bad in ["", "d", "30", "-1d", "0d", "1y", "99999999999999999999d", "1.5d", "30ä"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_scope_is_a_name_or_all() {
        assert!(scope("*").is_ok() && scope("team/model").is_ok());
        assert!(scope("team/*").is_err() && scope("").is_err());
    }
}
