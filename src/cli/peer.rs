//! `peer`: who this store is among peers, and who the others are.

use std::collections::BTreeMap;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use mega_storage::{RepoKey, RepoName};
use serde::Serialize;

use super::discover::RecordRow;
use super::output::{Done, Output};
use crate::control::{PeerCall, Request};
use crate::node::{Node, NodeError, repo_record, unix_now};
use crate::swarm::identity::Identity;
use crate::swarm::record::{ForkHint, SlidesHint, parse_peer_id, peer_bytes};

/// Show this store among peers, and the peers it knows
///
/// Peers find one another on the local network, by addresses that were added, and through those
/// that they know. A peer that is added here belongs to the mesh of this store: it may read
/// repositories whose visibility is 'mesh'.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Verb {
    /// Print the peer id of this store
    #[command(after_long_help = "With --json one object: peer.")]
    Id,
    /// List the peers that are known
    #[command(after_long_help = "\
With --json one object a line: peer, addresses, mesh, connected, relayed, rtt_ms, received, sent,
rate (bytes a second; null: not measured), good_chunks, wrong_chunks, failures,
banned_until_unix.")]
    List,
    /// Know a peer at an address, and let it into the mesh
    #[command(after_long_help = "\
Example:
  mega-store peer add /ip4/192.168.1.7/tcp/4001/p2p/12D3KooW...")]
    Add {
        /// The peer's address with its id at the end: /ip4/.../tcp/.../p2p/12D3KooW...
        #[arg(value_name = "MULTIADDR", value_parser = address)]
        address: String,
    },
    /// Forget a peer and put it out of the mesh
    Remove {
        /// Its id
        #[arg(value_name = "PEER", value_parser = peer_id)]
        peer: String,
    },
    /// Show what this store tells peers of a repository
    ///
    /// It is signed: of a repository of this store by this store, of a copy by the peer that it is
    /// a copy of.
    #[command(after_long_help = "\
json: repo, origin, nonce, publisher, name, seq, head, refs, issued_unix, eol_unix, public,
addresses, forks [{peer, seq, head, issued_unix}]. slides: {origin, name, latest, forks [{peer,
latest, timestamp}], timestamp}.")]
    Record {
        /// The repository
        #[arg(value_name = "NAME|REPO-ID")]
        repo: String,
        /// The form
        #[arg(long, value_enum, default_value = "json")]
        format: Format,
    },
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// All that it says
    Json,
    /// The short form, which is not signed
    Slides,
}

/// An address with a peer's id at its end.
fn address(text: &str) -> Result<String, String> {
    split(text).map(|_| text.to_owned())
}

fn peer_id(text: &str) -> Result<String, String> {
    let wrong = || "it is no peer's id: it looks like 12D3KooW...".to_owned();
    parse_peer_id(text).map(|_| text.to_owned()).ok_or_else(wrong)
}

/// The peer and its address without it.
pub(super) fn split(text: &str) -> Result<(PeerId, Multiaddr), String> {
    let wrong = "it is not an address with a peer's id at its end, as \
                 /ip4/192.168.1.7/tcp/4001/p2p/12D3KooW...";
    let mut address: Multiaddr = text.parse().map_err(|e| format!("{wrong}: {e}"))?;
    match address.pop() {
        Some(Protocol::P2p(peer)) if !address.is_empty() => Ok((peer, address)),
        _ => Err(wrong.to_owned()),
    }
}

impl Verb {
    pub(super) fn request(&self) -> Request {
        Request::Peer(match self {
            Self::Id => PeerCall::Id,
            Self::List => PeerCall::List,
            Self::Add { address } => PeerCall::Add(address.clone()),
            Self::Remove { peer } => PeerCall::Remove(peer.clone()),
            Self::Record { repo, format } => {
                PeerCall::Record { repo: repo.clone(), slides: *format == Format::Slides }
            }
        })
    }
}

pub(super) fn answer(node: &Node, call: &PeerCall, out: &Output<'_>) -> Result<Done, NodeError> {
    match call {
        PeerCall::Id => {
            let peer = Identity::open_or_create(node.store().path())?.peer_id().to_string();
            out.either(&serde_json::json!({ "peer": peer }), format_args!("{peer}"))?;
        }
        PeerCall::List => list(node, out)?,
        PeerCall::Add(text) => {
            let bad = |_| NodeError::BadArgument { text: text.clone(), expected: "an address" };
            let (peer, address) = split(text).map_err(bad)?;
            node.store().swarm().update_peer(&peer_bytes(&peer), |known| {
                known.is_allowed = true;
                known.add_address(&address.to_vec());
            })?;
            out.note(format_args!("peer {peer}: added"));
        }
        PeerCall::Record { repo, slides } => record(node, repo, *slides, out)?,
        PeerCall::Remove(text) => {
            let expected = "a peer's id";
            let bad = || NodeError::BadArgument { text: text.clone(), expected };
            let peer = parse_peer_id(text).ok_or_else(bad)?;
            match node.store().swarm().remove_peer(&peer_bytes(&peer))? {
                true => out.note(format_args!("peer {peer}: removed")),
                false => return Err(NodeError::NoPeer { peer: text.clone() }),
            }
        }
    }
    Ok(Done::Whole)
}

#[derive(Serialize)]
struct Record {
    repo: String,
    origin: String,
    nonce: String,
    #[serde(flatten)]
    row: RecordRow,
    addresses: Vec<String>,
    forks: Vec<Fork>,
}

#[derive(Serialize)]
struct Fork {
    peer: String,
    seq: u64,
    head: Option<String>,
    issued_unix: u64,
}

fn record(node: &Node, repo: &str, slides: bool, out: &Output<'_>) -> Result<(), NodeError> {
    let repo = match repo.parse::<RepoKey>() {
        Ok(rid) => {
            let found = node.store().swarm().find_rid(&rid)?;
            let found = found.map(|id| node.store().repos().record(id)).transpose()?.flatten();
            let expected = "the id of a repository of this store";
            found.ok_or_else(|| NodeError::BadArgument { text: repo.to_owned(), expected })?
        }
        Err(_) => node.store().repos().get(&RepoName::new(repo)?)?,
    };
    let Some(record) = repo_record(node, &repo)? else {
        let url = repo.origin.unwrap_or_else(|| repo.name.to_string());
        let reason = "no record of it is known that has not ended".to_owned();
        return Err(NodeError::Remote { url, reason });
    };
    let claims = record.claims();
    if slides {
        return out.line(format_args!("{}", SlidesHint::of(claims).to_json()));
    }
    let fork = |fork: &ForkHint| Fork {
        peer: fork.peer.to_string(),
        seq: fork.seq,
        head: fork.head.map(|id| id.to_string()),
        issued_unix: fork.issued_unix,
    };
    out.json(&Record {
        repo: claims.rid.to_string(),
        origin: claims.origin.to_string(),
        nonce: format!("{:?}", claims.nonce),
        row: RecordRow::new(&record),
        addresses: claims.addresses.iter().map(ToString::to_string).collect(),
        forks: claims.forks.iter().map(fork).collect(),
    })
}

#[derive(Serialize, Default)]
struct Row {
    peer: String,
    addresses: Vec<String>,
    mesh: bool,
    connected: bool,
    relayed: bool,
    rtt_ms: Option<f64>,
    received: u64,
    sent: u64,
    rate: Option<u64>,
    good_chunks: u64,
    wrong_chunks: u64,
    failures: u64,
    banned_until_unix: Option<u64>,
}

fn list(node: &Node, out: &Output<'_>) -> Result<(), NodeError> {
    for row in rows(node)?.values() {
        let way = match (row.connected, row.relayed) {
            (false, _) => "away",
            (true, false) => "direct",
            (true, true) => "relayed",
        };
        let mesh = if row.mesh { " mesh" } else { "" };
        let banned = if row.banned_until_unix.is_some() { " banned" } else { "" };
        let rtt = row.rtt_ms.map(|ms| format!(" {ms:.0} ms")).unwrap_or_default();
        let address = row.addresses.first().map(String::as_str).unwrap_or("-");
        out.either(
            row,
            format_args!(
                "{} {way}{mesh}{banned}{rtt} in {} out {} good {} wrong {} failed {} {address}",
                row.peer, row.received, row.sent, row.good_chunks, row.wrong_chunks, row.failures
            ),
        )?;
    }
    Ok(())
}

fn rows(node: &Node) -> Result<BTreeMap<String, Row>, NodeError> {
    let now = unix_now();
    let mut rows = BTreeMap::new();
    for (id, known) in node.store().swarm().peers()? {
        let Ok(peer) = PeerId::from_bytes(id.as_bytes()) else { continue };
        let shown = |a: &Vec<u8>| Multiaddr::try_from(a.clone()).ok().map(|a| a.to_string());
        let row = Row {
            peer: peer.to_string(),
            addresses: known.addresses.iter().filter_map(shown).collect(),
            mesh: known.is_allowed,
            received: known.received_len,
            sent: known.sent_len,
            failures: known.failure_count,
            banned_until_unix: known.is_banned(now).then_some(known.banned_until_unix),
            ..Row::default()
        };
        rows.insert(peer.to_string(), row);
    }
    let Some(swarm) = node.running_swarm() else { return Ok(rows) };
    let exchange = swarm.exchange();
    let connected = exchange.net().block_on(exchange.net().peers())??;
    for peer in connected {
        let id = peer.peer.to_string();
        let row = rows.entry(id.clone()).or_insert_with(|| Row { peer: id, ..Row::default() });
        (row.connected, row.relayed) = (true, peer.is_relayed);
        row.rtt_ms = peer.rtt.map(|rtt| rtt.as_secs_f64() * 1e3);
        row.addresses = peer.addresses.iter().map(ToString::to_string).collect();
    }
    for status in exchange.status().1 {
        let Some(row) = rows.get_mut(&status.peer.to_string()) else { continue };
        row.sent += status.sent_len;
        row.failures += status.failures;
        if let Some(progress) = status.progress {
            row.received += progress.counts.good_len;
            row.good_chunks = progress.counts.good;
            row.wrong_chunks = progress.counts.bad;
            row.rate = progress.rate;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_peer_at_the_end() {
        let peer = PeerId::random();
        let text = format!("/ip4/10.0.0.1/tcp/4001/p2p/{peer}");
        let expected = "/ip4/10.0.0.1/tcp/4001".parse().expect("an address");
        assert_eq!(split(&text), Ok((peer, expected)));
        let alone = format!("/p2p/{peer}");
        for bad in ["", "10.0.0.1", "/ip4/10.0.0.1/tcp/4001", "/p2p/x", alone.as_str()] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
