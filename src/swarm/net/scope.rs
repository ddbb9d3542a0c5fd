//! Which addresses are worth keeping: those that can be reached from where we are.
//!
//! A peer names every address that it has. One of its own loopback or of a network that we are not
//! in leads nowhere, or to somebody else, so an address is kept only when it reaches at least as
//! far as the way on which it was heard.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p::kad::ProviderRecord;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::DialError;
use libp2p::{Multiaddr, PeerId};

/// How far an address reaches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// This machine.
    Machine,
    /// A private network.
    Site,
    /// Everywhere, as far as can be seen.
    World,
}

/// How far an address reaches; `None` for one that leads nowhere.
pub fn scope_of(address: &Multiaddr) -> Option<Scope> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => of_v4(ip),
        Protocol::Ip6(ip) => of_v6(ip),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_) => {
            Some(Scope::World)
        }
        Protocol::Memory(_) => Some(Scope::Machine),
        _ => None,
    }
}

fn of_v4(ip: Ipv4Addr) -> Option<Scope> {
    if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() {
        return None;
    }
    if ip.is_loopback() {
        return Some(Scope::Machine);
    }
    // Carriers' shared addresses (RFC 6598) lead nowhere from outside, as private ones do.
    let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    match ip.is_private() || ip.is_link_local() || is_shared {
        true => Some(Scope::Site),
        false => Some(Scope::World),
    }
}

fn of_v6(ip: Ipv6Addr) -> Option<Scope> {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return of_v4(v4);
    }
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    if ip.is_loopback() {
        return Some(Scope::Machine);
    }
    match ip.is_unique_local() || ip.is_unicast_link_local() {
        true => Some(Scope::Site),
        false => Some(Scope::World),
    }
}

/// Whether an address that was heard over a way of scope `via` is worth keeping.
pub fn is_useful(address: &Multiaddr, via: Scope) -> bool {
    scope_of(address).is_some_and(|scope| scope >= via)
}

/// Whether an address leads through a relay.
pub fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether an address leads through that peer.
pub(super) fn names(address: &Multiaddr, peer: &PeerId) -> bool {
    address.iter().any(|part| part == Protocol::P2p(*peer))
}

/// Without addresses that lead nowhere. Which of the others can be reached, who asks knows best.
pub(super) fn useful_only(mut record: ProviderRecord) -> ProviderRecord {
    record.addresses.retain(|address| is_useful(address, Scope::Machine));
    record
}

/// A failed dial in one line.
pub(super) fn shown(error: &DialError) -> String {
    match error {
        DialError::NoAddresses => "no address of it is known".to_owned(),
        DialError::Transport(tried) => {
            let lines = tried.iter().map(|(at, error)| format!("{at}: {}", causes(error)));
            lines.collect::<Vec<_>>().join("; ")
        }
        DialError::WrongPeerId { obtained, address } => {
            format!("at {address} is another peer, {obtained}")
        }
        other => other.to_string(),
    }
}

/// An error with what caused it, each thing said once: transports wrap errors, and some say nothing
/// themselves.
fn causes(error: &dyn Error) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !text.is_empty() && said.last().is_none_or(|before| !before.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Option<Scope> {
        scope_of(&text.parse().expect("an address"))
    }

    #[test]
    fn a_failed_dial_says_why() {
        use libp2p::TransportError;
        use std::io;
        let cause = io::Error::from_raw_os_error(111);
        let wrapped = TransportError::Other(io::Error::other(TransportError::Other(cause)));
        let tried = vec![("/ip4/10.0.0.1/tcp/1".parse().expect("an address"), wrapped)];
        let line = shown(&DialError::Transport(tried));
        assert_eq!(line, "/ip4/10.0.0.1/tcp/1: Connection refused (os error 111)");
    }

    #[test]
    fn addresses_reach_as_far_as_their_networks() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/tcp/1", Some(Scope::Machine)),
            ("/ip6/::1/tcp/1", Some(Scope::Machine)),
            ("/ip4/10.1.2.3/tcp/1", Some(Scope::Site)),
            ("/ip4/172.16.0.1/udp/1/quic-v1", Some(Scope::Site)),
            ("/ip4/192.168.1.1/tcp/1", Some(Scope::Site)),
            ("/ip4/169.254.1.1/tcp/1", Some(Scope::Site)),
            ("/ip4/100.64.0.1/tcp/1", Some(Scope::Site)),
            ("/ip4/100.128.0.1/tcp/1", Some(Scope::World)),
            ("/ip6/fd00::1/tcp/1", Some(Scope::Site)),
            ("/ip6/fe80::1/tcp/1", Some(Scope::Site)),
            ("/ip6/::ffff:10.0.0.1/tcp/1", Some(Scope::Site)),
            ("/ip4/8.8.8.8/tcp/1", Some(Scope::World)),
            ("/ip6/2001:db8::1/tcp/1", Some(Scope::World)),
            ("/dns4/example.org/tcp/1", Some(Scope::World)),
            ("/ip4/0.0.0.0/tcp/1", None),
            ("/ip4/224.0.0.1/udp/1", None),
            ("/ip6/ff02::fb/udp/1", None),
            ("/tcp/1", None),
        ] {
            assert_eq!(scope(text), expected, "{text}");
        }
    }

    #[test]
    fn what_reaches_less_far_than_the_way_it_came_is_dropped() {
        let private: Multiaddr = "/ip4/192.168.1.1/tcp/1".parse().expect("an address");
        assert!(is_useful(&private, Scope::Machine));
        assert!(is_useful(&private, Scope::Site));
        assert!(!is_useful(&private, Scope::World));
    }
}
