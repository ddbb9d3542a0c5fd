//! An IP packet as the links carry it: whose it is, where it goes, and its address rewritten.
//!
//! Pure. Bytes come from a host's kernel and from whatever runs there, so nothing is indexed
//! without asking. A rewrite updates the checksums by the difference (RFC 1624), so that a packet
//! that was wrong before is wrong after.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// Offsets in an IPv4 header.
const V4_PROTOCOL: usize = 9;
const V4_CHECKSUM: usize = 10;
const V4_SOURCE: usize = 12;
const V4_DESTINATION: usize = 16;

/// What NAT translates; everything else has no ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// IP protocol 6.
    Tcp,
    /// IP protocol 17.
    Udp,
}

impl Protocol {
    /// Where its checksum is, from its header's start.
    fn checksum_at(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// Both ends of a TCP or UDP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who sends.
    pub source: SocketAddrV4,
    /// Who shall get it.
    pub destination: SocketAddrV4,
}

/// An end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Who sends.
    Source,
    /// Who shall get it.
    Destination,
}

/// An IP packet and the host that sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
    /// Index of the host that sent it.
    pub from: usize,
}

impl Packet {
    /// Takes the bytes that a host has sent.
    pub fn new(bytes: Vec<u8>, from: usize) -> Self {
        Self { bytes, from }
    }

    /// The packet's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the packet, its IP header included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Source and destination; `None` when it is no whole IPv4 or IPv6 header.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self.bytes.first()? >> 4 {
            4 if self.v4_header_len().is_some() => {
                let at = |offset| self.array(offset).map(|bytes: [u8; 4]| Ipv4Addr::from(bytes));
                Some((IpAddr::V4(at(V4_SOURCE)?), IpAddr::V4(at(V4_DESTINATION)?)))
            }
            6 => {
                let at = |offset| self.array(offset).map(|bytes: [u8; 16]| Ipv6Addr::from(bytes));
                Some((IpAddr::V6(at(8)?), IpAddr::V6(at(24)?)))
            }
            _ => None,
        }
    }

    /// Both ends when it is TCP or UDP over IPv4 and no fragment.
    pub fn flow(&self) -> Option<Flow> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = self.addresses()? else { return None };
        let header_len = self.v4_header_len()?;
        let protocol = match self.bytes.get(V4_PROTOCOL)? {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        // More-fragments, or an offset that is not 0: only the first piece has the ports.
        if self.u16_at(6)? & 0x3fff != 0 {
            return None;
        }
        // All that a rewrite touches must be there.
        self.u16_at(header_len + protocol.checksum_at())?;
        Some(Flow {
            protocol,
            source: SocketAddrV4::new(source, self.u16_at(header_len)?),
            destination: SocketAddrV4::new(destination, self.u16_at(header_len + 2)?),
        })
    }

    /// Gives one end another address and port. Does nothing to a packet without a [`Flow`].
    pub fn rewrite(&mut self, end: End, to: SocketAddrV4) {
        let (Some(flow), Some(header_len)) = (self.flow(), self.v4_header_len()) else { return };
        let (address_at, port_at) = match end {
            End::Source => (V4_SOURCE, header_len),
            End::Destination => (V4_DESTINATION, header_len + 2),
        };
        let checksum_at = header_len + flow.protocol.checksum_at();
        // A UDP packet may go without a checksum: 0.
        let is_summed = flow.protocol == Protocol::Tcp || self.u16_at(checksum_at) != Some(0);
        let [a, b, c, d] = to.ip().octets();
        let halves = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        for (index, half) in halves.into_iter().enumerate() {
            let at = address_at + 2 * index;
            let old = self.u16_at(at).unwrap_or_default();
            self.put_u16(at, half);
            self.adjust(V4_CHECKSUM, old, half);
            if is_summed {
                self.adjust(checksum_at, old, half);
            }
        }
        let old = self.u16_at(port_at).unwrap_or_default();
        self.put_u16(port_at, to.port());
        if is_summed {
            self.adjust(checksum_at, old, to.port());
        }
        if is_summed && flow.protocol == Protocol::Udp && self.u16_at(checksum_at) == Some(0) {
            // 0 would say that there is none; both are zero in one's complement.
            self.put_u16(checksum_at, 0xffff);
        }
    }

    /// Length of the IPv4 header, when it and the addresses are there.
    fn v4_header_len(&self) -> Option<usize> {
        let len = usize::from(self.bytes.first()? & 0xf) * 4;
        (len >= 20 && len <= self.bytes.len()).then_some(len)
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at + N)?.try_into().ok()
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn put_u16(&mut self, at: usize, value: u16) {
        if let Some(place) = self.bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Moves the checksum at `at` as a 16-bit word under it changes: HC' = ~(~HC + ~m + m').
    fn adjust(&mut self, at: usize, old: u16, new: u16) {
        let Some(checksum) = self.u16_at(at) else { return };
        let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        self.put_u16(at, !(sum as u16));
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Sum of 16-bit words in one's complement, the last byte padded.
    fn sum(pieces: &[&[u8]]) -> u16 {
        let words = pieces.iter().flat_map(|piece| piece.chunks(2));
        let sum = words.fold(0u32, |sum, word| {
            let low = word.get(1).copied().unwrap_or(0);
            sum + u32::from(u16::from_be_bytes([word[0], low]))
        });
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// Makes a right packet of `flow` with `body`.
    pub fn packet(flow: Flow, body: &[u8]) -> Packet {
        let (number, header_len) = match flow.protocol {
            Protocol::Tcp => (6u8, 20),
            Protocol::Udp => (17, 8),
        };
        let mut inner = vec![0u8; header_len];
        inner[..2].copy_from_slice(&flow.source.port().to_be_bytes());
        inner[2..4].copy_from_slice(&flow.destination.port().to_be_bytes());
        match flow.protocol {
            Protocol::Tcp => inner[12] = 5 << 4,
            Protocol::Udp => {
                inner[4..6].copy_from_slice(&((8 + body.len()) as u16).to_be_bytes());
            }
        }
        inner.extend_from_slice(body);
        let mut bytes = vec![0u8; 20];
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&((20 + inner.len()) as u16).to_be_bytes());
        bytes[8] = 64;
        bytes[V4_PROTOCOL] = number;
        bytes[12..16].copy_from_slice(&flow.source.ip().octets());
        bytes[16..20].copy_from_slice(&flow.destination.ip().octets());
        let header_sum = !sum(&[&bytes]);
        bytes[10..12].copy_from_slice(&header_sum.to_be_bytes());
        let inner_sum = !sum(&[&bytes[12..20], &[0, number], &word(inner.len()), &inner]);
        let at = flow.protocol.checksum_at();
        inner[at..at + 2].copy_from_slice(&inner_sum.to_be_bytes());
        bytes.extend_from_slice(&inner);
        Packet::new(bytes, 0)
    }

    fn word(len: usize) -> [u8; 2] {
        (len as u16).to_be_bytes()
    }

    /// Whether both checksums are right.
    pub fn is_right(packet: &Packet) -> bool {
        let (header, inner) = packet.bytes.split_at(20);
        let pseudo = [&header[12..20], &[0, header[V4_PROTOCOL]], &word(inner.len()), inner];
        sum(&[header]) == 0xffff && sum(&pseudo) == 0xffff
    }

    /// `a:b` as the address of an end.
    pub fn end(text: &str) -> SocketAddrV4 {
        text.parse().expect("an address")
    }

    /// Both ends.
    pub fn flow(protocol: Protocol, source: &str, destination: &str) -> Flow {
        Flow { protocol, source: end(source), destination: end(destination) }
    }

    #[test]
    fn a_rewrite_keeps_both_checksums_right() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for len in [0, 1, 2, 999] {
                let ends = flow(protocol, "192.168.1.10:5000", "11.0.2.10:80");
                let mut packet = packet(ends, &vec![0xa5; len]);
                assert!(is_right(&packet));
                for to in ["11.0.1.1:40000", "0.0.0.0:0", "255.255.255.255:65535"] {
                    packet.rewrite(End::Source, end(to));
                    assert!(is_right(&packet), "{protocol:?} {len} {to}");
                    assert_eq!(packet.flow().map(|flow| flow.source), Some(end(to)));
                }
                packet.rewrite(End::Destination, end("192.168.2.10:8080"));
                assert!(is_right(&packet));
                let expected = flow(protocol, "255.255.255.255:65535", "192.168.2.10:8080");
                assert_eq!(packet.flow(), Some(expected));
            }
        }
    }

    #[test]
    fn every_port_keeps_a_udp_checksum_that_is_never_zero() {
        let mut packet = packet(flow(Protocol::Udp, "10.0.0.1:1", "10.0.0.2:2"), b"body");
        for port in 0..=u16::MAX {
            packet.rewrite(End::Source, SocketAddrV4::new(Ipv4Addr::new(11, 0, 0, 1), port));
            assert!(is_right(&packet) && packet.u16_at(26) != Some(0), "port {port}");
        }
    }

    #[test]
    fn a_udp_packet_without_a_checksum_stays_without() {
        let mut packet = packet(flow(Protocol::Udp, "10.0.0.1:1", "10.0.0.2:2"), b"body");
        packet.put_u16(26, 0);
        packet.rewrite(End::Destination, end("10.0.0.9:9"));
        assert_eq!(packet.u16_at(26), Some(0));
        assert_eq!(sum(&[&packet.bytes[..20]]), 0xffff);
    }

    #[test]
    fn a_broken_packet_stays_broken() {
        let mut packet = packet(flow(Protocol::Tcp, "10.0.0.1:1", "10.0.0.2:2"), b"body");
        packet.bytes[41] ^= 1;
        packet.rewrite(End::Source, end("11.0.0.1:7"));
        assert!(!is_right(&packet));
    }

    #[test]
    fn short_and_strange_packets_have_no_flow() {
        let whole = packet(flow(Protocol::Tcp, "10.0.0.1:1", "10.0.0.2:2"), b"");
        for len in 0..whole.len() {
            let cut = Packet::new(whole.bytes[..len].to_vec(), 0);
            assert_eq!(cut.addresses().is_some(), len >= 20, "{len}");
            // The checksum ends at byte 38; the urgent pointer behind it is not looked at.
            assert_eq!(cut.flow().is_some(), len >= 38, "{len}");
        }
        let change = |at: usize, value: u8| {
            let mut bytes = whole.bytes.clone();
            bytes[at] = value;
            Packet::new(bytes, 0)
        };
        assert_eq!(change(V4_PROTOCOL, 1).flow(), None, "ICMP");
        assert_eq!(change(6, 0x20).flow(), None, "a first fragment");
        assert_eq!(change(7, 1).flow(), None, "a later fragment");
        assert_eq!(change(0, 0x44).addresses(), None, "a header of 16 bytes");
        assert_eq!(change(0, 0x4f).addresses(), None, "a header longer than the packet");
        assert_eq!(change(0, 0x55).addresses(), None, "version 5");
        let mut fragment = change(7, 1);
        fragment.rewrite(End::Source, end("1.2.3.4:5"));
        assert_eq!(fragment, change(7, 1));
    }

    #[test]
    fn addresses_of_version_6_are_read() {
        let mut bytes = vec![0u8; 40];
        bytes[0] = 0x60;
        bytes[23] = 1;
        bytes[24] = 0xff;
        let (source, destination) = Packet::new(bytes.clone(), 0).addresses().expect("addresses");
        assert_eq!((source.to_string(), destination.to_string()), ("::1".into(), "ff00::".into()));
        assert_eq!(Packet::new(bytes[..39].to_vec(), 0).addresses(), None);
    }
}
