//! A router's address translation: many inner ends behind one public address.
//!
//! Pure: time comes in as nanoseconds. Mapping and filtering as RFC 4787 names them:
//!
//! | kind | one public port for | lets in |
//! |---|---|---|
//! | full-cone | an inner end | anyone |
//! | cone | an inner end | ends that the inner end has sent to |
//! | symmetric | an inner end and a remote end | that remote end |
//!
//! Ports are given in order from [`PORT_FIRST`], so an inner port tells nothing about its public
//! one. Only packets from inside keep a mapping alive. What it will not do: hairpins (an inner end
//! that sends to its own public address), fragments, anything but TCP and UDP.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use super::packet::{Flow, Protocol};

/// First public port that is given.
pub const PORT_FIRST: u16 = 40_000;
/// Time without a packet from inside after which a UDP mapping goes: what many home routers have.
pub const UDP_IDLE_DEFAULT_NS: u64 = 30_000_000_000;
/// The same for TCP: RFC 5382 asks for 2 h 4 min.
const TCP_IDLE_NS: u64 = 7440 * 1_000_000_000;
/// Remote ends that one mapping remembers for its filter.
const REMOTES_MAX: usize = 4096;

/// How a router maps and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Endpoint-independent mapping and filtering.
    FullCone,
    /// Endpoint-independent mapping, address- and port-dependent filtering: most home routers.
    Cone,
    /// Address- and port-dependent mapping and filtering: carriers and firewalls.
    Symmetric,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "full-cone" => Ok(Self::FullCone),
            "cone" => Ok(Self::Cone),
            "symmetric" => Ok(Self::Symmetric),
            _ => Err(format!("'{text}' is no NAT: full-cone, cone, symmetric, none")),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FullCone => "full-cone",
            Self::Cone => "cone",
            Self::Symmetric => "symmetric",
        })
    }
}

/// What one public port stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    protocol: Protocol,
    inner: SocketAddrV4,
    /// Only where the mapping depends on it.
    remote: Option<SocketAddrV4>,
}

struct Mapping {
    key: Key,
    used_ns: u64,
    /// Remote ends that were sent to, and when.
    remotes: HashMap<SocketAddrV4, u64>,
}

/// One router with its mappings.
pub struct Nat {
    /// How it maps and filters.
    pub kind: Kind,
    public: Ipv4Addr,
    udp_idle_ns: u64,
    ports: HashMap<Key, u16>,
    mappings: HashMap<(Protocol, u16), Mapping>,
    next_port: u16,
}

impl Nat {
    /// Makes a router without mappings.
    pub fn new(kind: Kind, public: Ipv4Addr, udp_idle_ns: u64) -> Self {
        Self {
            kind,
            public,
            udp_idle_ns,
            ports: HashMap::new(),
            mappings: HashMap::new(),
            next_port: PORT_FIRST,
        }
    }

    /// Mappings that it has, those that have run out but were not asked for again included.
    pub fn mapping_count(&self) -> usize {
        self.mappings.len()
    }

    /// Translates the source of a packet from inside, making a mapping when there is none. `None`
    /// when every port is taken.
    pub fn outbound(&mut self, now_ns: u64, flow: &Flow) -> Option<SocketAddrV4> {
        let remote = (self.kind == Kind::Symmetric).then_some(flow.destination);
        let key = Key { protocol: flow.protocol, inner: flow.source, remote };
        self.expire(now_ns, key.protocol, self.ports.get(&key).copied());
        let port = match self.ports.get(&key) {
            Some(port) => *port,
            None => self.open(now_ns, key)?,
        };
        let mapping = self.mappings.get_mut(&(key.protocol, port))?;
        mapping.used_ns = now_ns;
        if mapping.remotes.len() >= REMOTES_MAX && !mapping.remotes.contains_key(&flow.destination)
        {
            let stalest = mapping.remotes.iter().min_by_key(|(_, used)| **used);
            if let Some(stalest) = stalest.map(|(remote, _)| *remote) {
                mapping.remotes.remove(&stalest);
            }
        }
        mapping.remotes.insert(flow.destination, now_ns);
        Some(SocketAddrV4::new(self.public, port))
    }

    /// Finds the inner end that a packet to the public address is for. `None` when no mapping or
    /// the filter does not let it in.
    pub fn inbound(&mut self, now_ns: u64, flow: &Flow) -> Option<SocketAddrV4> {
        let port = flow.destination.port();
        self.expire(now_ns, flow.protocol, Some(port));
        let idle_ns = self.idle_ns(flow.protocol);
        let mapping = self.mappings.get(&(flow.protocol, port))?;
        let is_let_in = self.kind == Kind::FullCone
            || mapping.remotes.get(&flow.source).is_some_and(|used| now_ns <= used + idle_ns);
        is_let_in.then_some(mapping.key.inner)
    }

    fn idle_ns(&self, protocol: Protocol) -> u64 {
        match protocol {
            Protocol::Tcp => TCP_IDLE_NS,
            Protocol::Udp => self.udp_idle_ns,
        }
    }

    /// Takes a mapping away when its time has run out. Returns whether the port is free.
    fn expire(&mut self, now_ns: u64, protocol: Protocol, port: Option<u16>) -> bool {
        let Some(port) = port else { return true };
        let idle_ns = self.idle_ns(protocol);
        match self.mappings.get(&(protocol, port)) {
            None => true,
            Some(mapping) if now_ns <= mapping.used_ns + idle_ns => false,
            Some(mapping) => {
                self.ports.remove(&mapping.key);
                self.mappings.remove(&(protocol, port));
                true
            }
        }
    }

    fn open(&mut self, now_ns: u64, key: Key) -> Option<u16> {
        for _ in PORT_FIRST..=u16::MAX {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(PORT_FIRST);
            if self.expire(now_ns, key.protocol, Some(port)) {
                let mapping = Mapping { key, used_ns: now_ns, remotes: HashMap::new() };
                self.mappings.insert((key.protocol, port), mapping);
                self.ports.insert(key, port);
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{end, flow};
    use super::*;

    const S: u64 = 1_000_000_000;
    const ALL: [Kind; 3] = [Kind::FullCone, Kind::Cone, Kind::Symmetric];

    fn nat(kind: Kind) -> Nat {
        Nat::new(kind, Ipv4Addr::new(11, 0, 1, 1), 30 * S)
    }

    /// Sends from `inner` to `remote`. Returns the public end.
    fn out(nat: &mut Nat, now_ns: u64, inner: &str, remote: &str) -> SocketAddrV4 {
        nat.outbound(now_ns, &flow(Protocol::Udp, inner, remote)).expect("a port is free")
    }

    /// Answers from `remote` to `public`. Returns the inner end.
    fn back(nat: &mut Nat, now_ns: u64, remote: &str, public: SocketAddrV4) -> Option<String> {
        let flow = flow(Protocol::Udp, remote, &public.to_string());
        nat.inbound(now_ns, &flow).map(|end| end.to_string())
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("none".parse::<Kind>().is_err());
    }

    #[test]
    fn a_cone_maps_an_inner_end_once_and_a_symmetric_one_for_each_remote() {
        for kind in ALL {
            let mut nat = nat(kind);
            let one = out(&mut nat, 0, "192.168.1.10:5000", "11.0.2.10:80");
            let two = out(&mut nat, 0, "192.168.1.10:5000", "11.0.3.10:80");
            let port = out(&mut nat, 0, "192.168.1.10:5000", "11.0.2.10:81");
            assert_eq!(one, end("11.0.1.1:40000"));
            assert_eq!(one == two, kind != Kind::Symmetric, "{kind}");
            assert_eq!(one == port, kind != Kind::Symmetric, "{kind}");
            assert_eq!(out(&mut nat, 0, "192.168.1.10:5000", "11.0.2.10:80"), one);
            let other = out(&mut nat, 0, "192.168.1.11:5000", "11.0.2.10:80");
            assert_ne!(other, one, "another inner host has another port");
        }
    }

    #[test]
    fn each_kind_lets_in_whom_it_says() {
        for kind in ALL {
            let mut nat = nat(kind);
            let public = out(&mut nat, 0, "192.168.1.10:5000", "11.0.2.10:80");
            let inner = Some("192.168.1.10:5000".to_owned());
            assert_eq!(back(&mut nat, 0, "11.0.2.10:80", public), inner, "who was asked");
            let stranger = if kind == Kind::FullCone { inner } else { None };
            assert_eq!(back(&mut nat, 0, "11.0.2.10:81", public), stranger, "{kind}: its port");
            assert_eq!(back(&mut nat, 0, "11.0.3.10:80", public), stranger, "{kind}: its host");
            assert_eq!(back(&mut nat, 0, "11.0.2.10:80", end("11.0.1.1:40001")), None);
            let tcp = flow(Protocol::Tcp, "11.0.2.10:80", &public.to_string());
            assert_eq!(nat.inbound(0, &tcp), None, "TCP has mappings of its own");
        }
    }

    #[test]
    fn a_hole_is_punched_through_two_cones_but_not_through_symmetric_ones() {
        for (kind, is_open) in [(Kind::Cone, true), (Kind::Symmetric, false)] {
            let mut a = nat(kind);
            let mut b = Nat::new(kind, Ipv4Addr::new(11, 0, 2, 1), 30 * S);
            let (inner_a, inner_b) = ("192.168.1.10:5000", "192.168.2.10:5000");
            // A third host tells each the public end of the other.
            let public_a = out(&mut a, 0, inner_a, "11.0.3.10:80");
            let public_b = out(&mut b, 0, inner_b, "11.0.3.10:80");
            let from_a = out(&mut a, 0, inner_a, &public_b.to_string());
            assert_eq!(back(&mut b, 0, &from_a.to_string(), public_b), None, "b has not sent");
            out(&mut b, 0, inner_b, &public_a.to_string());
            let arrived = back(&mut b, 0, &from_a.to_string(), public_b);
            assert_eq!(arrived.is_some(), is_open, "{kind}");
        }
    }

    #[test]
    fn a_mapping_lives_as_long_as_the_inside_talks() {
        for kind in ALL {
            let mut nat = nat(kind);
            let (inner, remote) = ("192.168.1.10:5000", "11.0.2.10:80");
            let first = out(&mut nat, 0, inner, remote);
            assert_eq!(out(&mut nat, 30 * S, inner, remote), first, "at the limit");
            assert!(back(&mut nat, 60 * S, remote, first).is_some(), "at the limit");
            assert!(back(&mut nat, 60 * S + 1, remote, first).is_none(), "one past it");
            assert_ne!(out(&mut nat, 60 * S + 2, inner, remote), first, "a new one");
            assert_eq!(nat.mapping_count(), 1);
        }
    }

    #[test]
    fn a_filter_forgets_whom_the_inside_has_left() {
        let mut nat = nat(Kind::Cone);
        let public = out(&mut nat, 0, "192.168.1.10:5000", "11.0.2.10:80");
        out(&mut nat, 20 * S, "192.168.1.10:5000", "11.0.3.10:80");
        assert!(back(&mut nat, 31 * S, "11.0.2.10:80", public).is_none());
        assert!(back(&mut nat, 31 * S, "11.0.3.10:80", public).is_some());
    }

    #[test]
    fn ports_run_out_and_come_back() {
        let mut nat = nat(Kind::Symmetric);
        let count = u32::from(u16::MAX - PORT_FIRST) + 1;
        let remote = |index: u32| format!("11.{}.{}.1:80", index >> 8, index & 0xff);
        for index in 0..count {
            out(&mut nat, 0, "192.168.1.10:5000", &remote(index));
        }
        let one_more = flow(Protocol::Udp, "192.168.1.10:5000", &remote(count));
        assert_eq!(nat.outbound(30 * S, &one_more), None);
        assert!(nat.outbound(30 * S + 1, &one_more).is_some());
        assert_eq!(nat.mapping_count(), count as usize);
    }

    #[test]
    fn a_filter_remembers_so_many_and_forgets_the_stalest() {
        let mut nat = nat(Kind::Cone);
        let remote = |index: usize| format!("11.9.{}.{}:80", index >> 8, index & 0xff);
        let mut public = end("0.0.0.0:0");
        for index in 0..=REMOTES_MAX {
            public = out(&mut nat, index as u64, "192.168.1.10:5000", &remote(index));
        }
        assert!(back(&mut nat, S, &remote(0), public).is_none());
        assert!(back(&mut nat, S, &remote(1), public).is_some());
        assert!(back(&mut nat, S, &remote(REMOTES_MAX), public).is_some());
    }
}
