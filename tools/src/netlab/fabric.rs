//! The network between hosts: sites, access links, routes, NAT, cuts and counters.
//!
//! Pure: packets and nanoseconds in, packets out; sockets are in `emulator`. A host's packet goes
//! up its own link, through its site's NAT, across (which takes no time), through the other site's
//! NAT, and down the other host's link. Hosts of one LAN reach each other directly: no link, no
//! NAT, no time; multicast DNS stays among them.
//!
//! Addresses: site `s` is 11.0.s.0/24 (global for every program that asks, and nobody's here),
//! host `n` of it 11.0.s.n. Behind NAT the site shares 11.0.s.1 and host `n` is 192.168.s.n. With
//! IPv6 a host without NAT is also 2a01:11:0:s::n.
//!
//! Invariant: a packet whose source is not its host's address goes nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::link::{Link, Shape};
use super::nat::{Kind, Nat};
use super::packet::{End, Packet};
use crate::random::Random;

/// Sites of one lab: what fits one byte of an address.
pub const SITES_MAX: usize = 250;
/// Hosts of one site.
pub const SITE_HOSTS_MAX: usize = 200;
/// Number of a site's first host; its router is 1.
const HOST_FIRST: usize = 10;
/// Groups of multicast DNS.
const MDNS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const MDNS_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// A packet handed over this much after its time is counted: the machine was too busy.
pub const LATE_NS: u64 = 5_000_000;

/// Packets and bytes of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent by the host, whatever became of it.
    pub up_packets: u64,
    /// Bytes of them, IP headers included.
    pub up_bytes: u64,
    /// Handed to the host.
    pub down_packets: u64,
    /// Bytes of them, IP headers included.
    pub down_bytes: u64,
    /// Its packets that met a cut.
    pub cut: u64,
    /// Its packets that a NAT did not translate or let in.
    pub refused: u64,
    /// Its packets to where nobody is.
    pub unrouted: u64,
    /// Its packets that are no IP or lie about their source.
    pub odd: u64,
}

/// A host's place in the network.
struct Port {
    name: String,
    site: usize,
    /// Within the site: the address's last byte.
    number: u8,
    has_v6: bool,
    up: Link,
    down: Link,
    counts: Counts,
}

/// Where hosts share a LAN, or a host stands alone.
struct Site {
    lan: Option<String>,
    nat: Option<Nat>,
    hosts: Vec<usize>,
}

/// Addresses that a host's interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// On the interface.
    pub v4: Ipv4Addr,
    /// As others see it: its own, or the router's.
    pub public: Ipv4Addr,
    /// Global IPv6, when it is asked for and there is no NAT.
    pub v6: Option<Ipv6Addr>,
}

/// The state of the whole network.
pub struct Fabric {
    seed: u64,
    ports: Vec<Port>,
    sites: Vec<Site>,
    /// Pairs of hosts, the lower index first.
    cuts: BTreeSet<(usize, usize)>,
    /// Packets and bytes handed over, by sender and receiver.
    flows: BTreeMap<(usize, usize), (u64, u64)>,
    /// Handed over at once, between hosts of a LAN.
    direct: Vec<(usize, Packet)>,
    late_count: u64,
    late_max_ns: u64,
}

impl Fabric {
    /// Makes a network without hosts. Losses come from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ports: Vec::new(),
            sites: Vec::new(),
            cuts: BTreeSet::new(),
            flows: BTreeMap::new(),
            direct: Vec::new(),
            late_count: 0,
            late_max_ns: 0,
        }
    }

    /// Adds a host, alone or in a LAN, which is made by its first host. Returns its index.
    ///
    /// # Errors
    /// When the name is taken or a limit is reached.
    pub fn add(&mut self, name: &str, lan: Option<&str>, has_v6: bool) -> Result<usize, String> {
        if self.ports.iter().any(|port| port.name == name) {
            return Err(format!("there is a host '{name}' already"));
        }
        let known =
            lan.and_then(|lan| self.sites.iter().position(|site| site.lan.as_deref() == Some(lan)));
        let site = known.unwrap_or(self.sites.len());
        if site >= SITES_MAX {
            return Err(format!("there are {SITES_MAX} sites, and no room for more"));
        }
        if known.is_none() {
            self.sites.push(Site { lan: lan.map(str::to_owned), nat: None, hosts: Vec::new() });
        }
        let index = self.ports.len();
        let hosts = &mut self.sites[site].hosts;
        if hosts.len() >= SITE_HOSTS_MAX {
            return Err(format!("there are {SITE_HOSTS_MAX} hosts in this LAN"));
        }
        let number = (HOST_FIRST + hosts.len()) as u8;
        hosts.push(index);
        let link = |way| {
            let random = Random::labelled(self.seed, &format!("{name} {way}"));
            Link::new(Shape::default(), random)
        };
        let (up, down) = (link("up"), link("down"));
        let counts = Counts::default();
        self.ports.push(Port { name: name.to_owned(), site, number, has_v6, up, down, counts });
        Ok(index)
    }

    /// Finds a host by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &str) -> Result<usize, String> {
        let found = self.ports.iter().position(|port| port.name == name);
        found.ok_or_else(|| format!("there is no host '{name}'"))
    }

    /// Hosts that there are.
    pub fn host_count(&self) -> usize {
        self.ports.len()
    }

    /// The host's name.
    pub fn name(&self, host: usize) -> &str {
        &self.ports[host].name
    }

    /// The host's addresses, as NAT has it now.
    pub fn addresses(&self, host: usize) -> Addresses {
        let Port { site, number, has_v6, .. } = self.ports[host];
        let has_nat = self.sites[site].nat.is_some();
        let byte = site as u8 + 1;
        let own = Ipv4Addr::new(11, 0, byte, number);
        let (v4, public) = if has_nat {
            (Ipv4Addr::new(192, 168, byte, number), router(site))
        } else {
            (own, own)
        };
        let v6 = Ipv6Addr::new(0x2a01, 0x11, 0, byte.into(), 0, 0, 0, number.into());
        Addresses { v4, public, v6: (has_v6 && !has_nat).then_some(v6) }
    }

    /// Says whether the host was made with IPv6.
    pub fn has_v6(&self, host: usize) -> bool {
        self.ports[host].has_v6
    }

    /// The host's links, up and down.
    pub fn links(&mut self, host: usize) -> (&mut Link, &mut Link) {
        let port = &mut self.ports[host];
        (&mut port.up, &mut port.down)
    }

    /// Puts the host's site behind a NAT without mappings, or in front of one. Returns the hosts of
    /// the site, whose addresses have changed with it.
    pub fn set_nat(&mut self, host: usize, kind: Option<(Kind, u64)>) -> Vec<usize> {
        let index = self.ports[host].site;
        let site = &mut self.sites[index];
        site.nat = kind.map(|(kind, idle_ns)| Nat::new(kind, router(index), idle_ns));
        site.hosts.clone()
    }

    /// The kind of the host's NAT and how many mappings it has.
    pub fn nat(&self, host: usize) -> Option<(Kind, usize)> {
        let nat = self.sites[self.ports[host].site].nat.as_ref();
        nat.map(|nat| (nat.kind, nat.mapping_count()))
    }

    /// Cuts or heals the way between each of `a` and each of `b`, both directions.
    pub fn set_cut(&mut self, a: &[usize], b: &[usize], is_cut: bool) {
        for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b))) {
            let pair = (a.min(b), a.max(b));
            if is_cut && a != b {
                self.cuts.insert(pair);
            } else {
                self.cuts.remove(&pair);
            }
        }
    }

    /// What the host has sent and got so far.
    pub fn counts(&self, host: usize) -> Counts {
        self.ports[host].counts
    }

    /// Packets and bytes handed over so far, by sender and receiver.
    pub fn flows(&self) -> impl Iterator<Item = (&str, &str, u64, u64)> {
        self.flows.iter().map(|((from, to), (packets, bytes))| {
            (self.name(*from), self.name(*to), *packets, *bytes)
        })
    }

    /// Packets that were handed over more than [`LATE_NS`] late, and the longest that any was.
    pub fn lateness(&self) -> (u64, u64) {
        (self.late_count, self.late_max_ns)
    }

    /// Takes a packet that a host has sent.
    pub fn enter(&mut self, now_ns: u64, host: usize, bytes: &[u8]) {
        let packet = Packet::new(bytes.to_vec(), host);
        let counts = &mut self.ports[host].counts;
        counts.up_packets += 1;
        counts.up_bytes += bytes.len() as u64;
        match packet.addresses() {
            Some((source, destination)) if self.is_own(host, source) => {
                match self.neighbours(host, destination) {
                    Some(hosts) => self.enter_lan(host, &hosts, &packet),
                    None if is_local(destination) => {}
                    None => self.ports[host].up.push(now_ns, packet),
                }
            }
            _ => self.ports[host].counts.odd += 1,
        }
    }

    /// When the next packet moves.
    pub fn next_due_ns(&self) -> Option<u64> {
        if !self.direct.is_empty() {
            return Some(0);
        }
        let dues = self.ports.iter().flat_map(|port| [&port.up, &port.down]);
        dues.filter_map(Link::next_due_ns).min()
    }

    /// Moves all that is due by `now_ns`, in the order of its time, and hands what has arrived to
    /// `deliver` with the receiving host's index.
    pub fn advance(&mut self, now_ns: u64, deliver: &mut dyn FnMut(usize, &[u8])) {
        for (to, packet) in std::mem::take(&mut self.direct) {
            self.hand_over(to, &packet, deliver);
        }
        loop {
            let first = |link: &Link, host, is_up| Some((link.next_due_ns()?, host, is_up));
            let dues = self.ports.iter().enumerate().flat_map(|(host, port)| {
                [first(&port.up, host, true), first(&port.down, host, false)]
            });
            let Some((due, host, is_up)) = dues.flatten().min() else { return };
            if due > now_ns {
                return;
            }
            let port = &mut self.ports[host];
            let link = if is_up { &mut port.up } else { &mut port.down };
            let Some((due, packet)) = link.pop() else { return };
            if is_up {
                self.cross(due, packet);
            } else {
                let late = now_ns - due;
                self.late_count += u64::from(late > LATE_NS);
                self.late_max_ns = self.late_max_ns.max(late);
                self.hand_over(host, &packet, deliver);
            }
        }
    }

    fn hand_over(&mut self, to: usize, packet: &Packet, deliver: &mut dyn FnMut(usize, &[u8])) {
        let len = packet.len() as u64;
        let counts = &mut self.ports[to].counts;
        counts.down_packets += 1;
        counts.down_bytes += len;
        let flow = self.flows.entry((packet.from, to)).or_default();
        *flow = (flow.0 + 1, flow.1 + len);
        deliver(to, packet.bytes());
    }

    fn is_own(&self, host: usize, source: IpAddr) -> bool {
        let addresses = self.addresses(host);
        match source {
            IpAddr::V4(source) => source == addresses.v4,
            IpAddr::V6(source) => {
                Some(source) == addresses.v6
                    || (self.has_v6(host) && source.is_unicast_link_local())
            }
        }
    }

    /// Hosts of the same LAN that a packet to `destination` reaches directly; `None` when it goes
    /// up the link. Link-local unicast goes to all: who does not know the address drops it.
    fn neighbours(&self, host: usize, destination: IpAddr) -> Option<Vec<usize>> {
        let site = &self.sites[self.ports[host].site];
        let others = || site.hosts.iter().copied().filter(move |other| *other != host);
        let is_group = match destination {
            IpAddr::V4(group) => group == MDNS_V4,
            IpAddr::V6(group) => group == MDNS_V6 || group.is_unicast_link_local(),
        };
        if is_group {
            let hears = |other: &usize| destination.is_ipv4() || self.has_v6(*other);
            return Some(others().filter(hears).collect());
        }
        let is_at = |other: &usize| {
            let addresses = self.addresses(*other);
            match destination {
                IpAddr::V4(to) => to == addresses.v4,
                IpAddr::V6(to) => Some(to) == addresses.v6,
            }
        };
        others().find(is_at).map(|other| vec![other])
    }

    fn enter_lan(&mut self, from: usize, to: &[usize], packet: &Packet) {
        for to in to {
            if self.cuts.contains(&(from.min(*to), from.max(*to))) {
                self.ports[from].counts.cut += 1;
            } else {
                self.direct.push((*to, packet.clone()));
            }
        }
    }

    /// Brings a packet from its sender's link to its receiver's.
    fn cross(&mut self, at_ns: u64, mut packet: Packet) {
        let from = packet.from;
        let Some((_, destination)) = packet.addresses() else { return };
        let site = self.ports[from].site;
        if let Some(nat) = &mut self.sites[site].nat {
            let outer = packet.flow().and_then(|flow| nat.outbound(at_ns, &flow));
            let Some(outer) = outer else {
                self.ports[from].counts.refused += 1;
                return;
            };
            packet.rewrite(End::Source, outer);
        }
        let to = match self.route(destination) {
            Route::Host(to) => to,
            Route::Router(there) => {
                let Some(inner) = self.let_in(at_ns, there, site, &packet) else {
                    self.ports[from].counts.refused += 1;
                    return;
                };
                packet.rewrite(End::Destination, inner);
                match self.host_at(there, inner.ip().octets()[3]) {
                    Some(to) => to,
                    None => return,
                }
            }
            Route::Nowhere => {
                self.ports[from].counts.unrouted += 1;
                return;
            }
        };
        if self.cuts.contains(&(from.min(to), from.max(to))) {
            self.ports[from].counts.cut += 1;
        } else {
            self.ports[to].down.push(at_ns, packet);
        }
    }

    /// The inner end behind the router of site `there`. A packet from the same site is a hairpin.
    fn let_in(
        &mut self,
        at_ns: u64,
        there: usize,
        from: usize,
        packet: &Packet,
    ) -> Option<SocketAddrV4> {
        let flow = packet.flow().filter(|_| there != from)?;
        self.sites[there].nat.as_mut()?.inbound(at_ns, &flow)
    }

    fn route(&self, destination: IpAddr) -> Route {
        let site_of = |byte: u16| usize::from(byte).checked_sub(1);
        let (site, number) = match destination {
            IpAddr::V4(address) => match address.octets() {
                [11, 0, site, number] => (site_of(site.into()), number),
                _ => return Route::Nowhere,
            },
            IpAddr::V6(address) => match address.segments() {
                [0x2a01, 0x11, 0, site, 0, 0, 0, number @ 0..=255] => (site_of(site), number as u8),
                _ => return Route::Nowhere,
            },
        };
        let Some(index) = site else { return Route::Nowhere };
        let has_nat = self.sites.get(index).is_some_and(|site| site.nat.is_some());
        match self.host_at(index, number) {
            _ if has_nat && destination == IpAddr::V4(router(index)) => Route::Router(index),
            Some(host) if !has_nat && (destination.is_ipv4() || self.has_v6(host)) => {
                Route::Host(host)
            }
            _ => Route::Nowhere,
        }
    }

    fn host_at(&self, site: usize, number: u8) -> Option<usize> {
        let index = usize::from(number).checked_sub(HOST_FIRST)?;
        self.sites.get(site)?.hosts.get(index).copied()
    }
}

/// Where a packet goes after its sender's site.
enum Route {
    Host(usize),
    Router(usize),
    Nowhere,
}

/// Public address that a site shares behind NAT.
fn router(site: usize) -> Ipv4Addr {
    Ipv4Addr::new(11, 0, site as u8 + 1, 1)
}

/// What never leaves a network segment: other multicast, broadcast. Kernels send it unasked, so it
/// is not worth a count.
fn is_local(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

#[cfg(test)]
mod tests;
