//! `discover`: what the network of peers knows of a repository.

use serde::Serialize;

use super::output::{Done, Output, count};
use crate::control::Request;
use crate::node::{Discovery, Node, NodeError, SwarmOptions};
use crate::swarm::record::{RepoRecord, RepoSought};

/// Show what peers know of a repository: who made it, its newest state, forks, who serves it
///
/// A repository is named by its id, which 'mega-store peer record NAME' shows where it is, or by
/// its name at a peer. The peer is asked first; when it is away, and for who else serves it, the
/// network is. Only public repositories are known there. What is shown is signed by its publisher.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store discover team/model@12D3KooW...
  mega-store discover bafkq...

With --json one object: repo, origin, publisher, name, seq, head, refs, issued_unix, eol_unix,
public, forks [{peer, name, seq, head, issued_unix}], serving [{peer, addresses}]. What is not known
is null; addresses are those at which a connection stands.")]
pub(super) struct Args {
    /// A repository's id, or its name at a peer
    #[arg(value_name = "REPO-ID|NAME@PEER", value_parser = sought)]
    repo: String,
}

fn sought(text: &str) -> Result<String, String> {
    text.parse::<RepoSought>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Discover { repo: self.repo.clone() }
    }
}

#[derive(Serialize)]
struct Shown {
    repo: String,
    origin: Option<String>,
    #[serde(flatten)]
    latest: Option<RecordRow>,
    forks: Vec<Fork>,
    serving: Vec<Serving>,
}

/// What a record says.
#[derive(Serialize)]
pub(super) struct RecordRow {
    pub(super) publisher: String,
    pub(super) name: String,
    pub(super) seq: u64,
    pub(super) head: Option<String>,
    pub(super) refs: String,
    pub(super) issued_unix: u64,
    pub(super) eol_unix: u64,
    pub(super) public: bool,
}

impl RecordRow {
    pub(super) fn new(record: &RepoRecord) -> Self {
        let claims = record.claims();
        Self {
            publisher: claims.publisher.to_string(),
            name: claims.current_name().to_string(),
            seq: claims.seq,
            head: claims.head.map(|id| id.to_string()),
            refs: format!("{:?}", claims.refs),
            issued_unix: claims.issued_unix,
            eol_unix: claims.eol_unix,
            public: claims.is_public,
        }
    }
}

#[derive(Serialize)]
struct Fork {
    peer: String,
    name: String,
    seq: u64,
    head: Option<String>,
    issued_unix: u64,
}

#[derive(Serialize)]
struct Serving {
    peer: String,
    addresses: Vec<String>,
}

impl Shown {
    fn new(found: &Discovery) -> Self {
        let newest = found.origin.iter().chain(&found.forks).next();
        let fork = |record: &RepoRecord| Fork {
            peer: record.claims().publisher.to_string(),
            name: record.claims().current_name().to_string(),
            seq: record.claims().seq,
            head: record.claims().head.map(|id| id.to_string()),
            issued_unix: record.claims().issued_unix,
        };
        let serving = found.serving.iter().map(|(peer, addresses)| Serving {
            peer: peer.to_string(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        });
        Self {
            repo: found.rid.to_string(),
            origin: newest.map(|record| record.claims().origin.to_string()),
            latest: found.origin.as_ref().map(RecordRow::new),
            forks: found.forks.iter().map(fork).collect(),
            serving: serving.collect(),
        }
    }
}

pub(super) fn answer(node: &Node, repo: &str, out: &Output<'_>) -> Result<Done, NodeError> {
    let expected = "a repository's id or NAME@PEER";
    let bad = |_| NodeError::BadArgument { text: repo.to_owned(), expected };
    let sought: RepoSought = repo.parse().map_err(bad)?;
    let swarm = node.swarm(&SwarmOptions::default())?;
    let shown = Shown::new(&swarm.discover(node.store(), &sought)?);
    if out.is_json() {
        out.json(&shown)?;
        return Ok(Done::Whole);
    }
    out.line(format_args!("repo     {}", shown.repo))?;
    out.line(format_args!("origin   {}", shown.origin.as_deref().unwrap_or("not known")))?;
    match &shown.latest {
        Some(latest) => {
            let head = latest.head.as_deref().unwrap_or("none");
            out.line(format_args!("name     {}", latest.name))?;
            out.line(format_args!("latest   {head}, record {}", latest.seq))?;
        }
        None => out.line(format_args!("latest   not known"))?,
    }
    out.line(format_args!("forks    {}", count(shown.forks.len() as u64, "fork")))?;
    for fork in &shown.forks {
        let head = fork.head.as_deref().unwrap_or("none");
        out.line(format_args!("  {} {} {head}, record {}", fork.peer, fork.name, fork.seq))?;
    }
    out.line(format_args!("serving  {}", count(shown.serving.len() as u64, "peer")))?;
    for peer in &shown.serving {
        let addresses =
            if peer.addresses.is_empty() { "away".to_owned() } else { peer.addresses.join(" ") };
        out.line(format_args!("  {} {addresses}", peer.peer))?;
    }
    Ok(Done::Whole)
}
