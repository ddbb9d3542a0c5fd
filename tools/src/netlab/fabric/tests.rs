//! The network in virtual time: who reaches whom, when, and what is counted.

use super::super::link::Queue;
use super::super::packet::Protocol;
use super::super::packet::tests::{flow, is_right, packet};
use super::super::units::Share;
use super::*;

const MS: u64 = 1_000_000;
const IDLE_NS: u64 = 30_000 * MS;

/// What arrived: when, where, and the packet.
type Arrived = Vec<(u64, usize, Packet)>;

fn fabric(names: &[&str]) -> Fabric {
    let mut fabric = Fabric::new(1);
    for name in names {
        fabric.add(name, None, false).expect("room for a host");
    }
    fabric
}

/// Runs until nothing moves any more.
fn run(fabric: &mut Fabric) -> Arrived {
    let mut arrived = Vec::new();
    while let Some(due) = fabric.next_due_ns() {
        fabric.advance(due, &mut |to, bytes| {
            arrived.push((due, to, Packet::new(bytes.to_vec(), 0)));
        });
    }
    arrived
}

/// Sends a UDP packet of 100 bytes.
fn send(fabric: &mut Fabric, now_ns: u64, host: usize, source: &str, destination: &str) {
    let packet = packet(flow(Protocol::Udp, source, destination), &[7; 72]);
    fabric.enter(now_ns, host, packet.bytes());
}

fn ends(arrived: &Arrived) -> Vec<(usize, String, String)> {
    let ends = |(_, to, packet): &(u64, usize, Packet)| {
        assert!(is_right(packet), "checksums");
        let flow = packet.flow().expect("UDP");
        (*to, flow.source.to_string(), flow.destination.to_string())
    };
    arrived.iter().map(ends).collect()
}

fn set_delay(fabric: &mut Fabric, host: usize, delay_ns: u64) {
    let (up, down) = fabric.links(host);
    up.shape.delay_ns = delay_ns;
    down.shape.delay_ns = delay_ns;
}

const A: &str = "11.0.1.10:5000";
const B: &str = "11.0.2.10:6000";

#[test]
fn a_packet_takes_both_delays_and_both_links_times() {
    let mut fabric = fabric(&["a", "b"]);
    set_delay(&mut fabric, 0, 10 * MS);
    set_delay(&mut fabric, 1, 15 * MS);
    fabric.links(0).0.shape.rate_bps = Some(8_000_000);
    send(&mut fabric, MS, 0, A, B);
    let arrived = run(&mut fabric);
    assert_eq!(ends(&arrived), [(1, A.to_owned(), B.to_owned())]);
    assert_eq!(arrived[0].0, 26 * MS + 100_000, "100 bytes at a byte a microsecond");
    send(&mut fabric, 30 * MS, 1, B, A);
    assert_eq!(run(&mut fabric)[0].0, 55 * MS, "the rate is the other direction's");
}

#[test]
fn two_senders_share_the_link_of_a_third() {
    let mut fabric = fabric(&["a", "b", "c"]);
    let (_, down) = fabric.links(2);
    down.shape = Shape { rate_bps: Some(8_000_000), queue: Queue::Len(250), ..down.shape };
    for _ in 0..2 {
        send(&mut fabric, 0, 0, A, "11.0.3.10:1");
        send(&mut fabric, 0, 1, B, "11.0.3.10:1");
    }
    let times: Vec<u64> = run(&mut fabric).iter().map(|(at, ..)| *at).collect();
    assert_eq!(times, [100_000, 200_000]);
    assert_eq!(fabric.links(2).1.full_count, 2, "250 bytes hold two packets");
}

#[test]
fn counts_add_up() {
    let mut fabric = fabric(&["a", "b"]);
    fabric.links(1).1.shape.loss = Share::parse("50%").expect("a share");
    (0..1000).for_each(|at| send(&mut fabric, at * MS, 0, A, B));
    let arrived = run(&mut fabric).len() as u64;
    let lost = fabric.links(1).1.lost_count;
    assert_eq!(arrived + lost, 1000);
    assert!((400..600).contains(&lost), "{lost}");
    let (a, b) = (fabric.counts(0), fabric.counts(1));
    assert_eq!((a.up_packets, a.up_bytes), (1000, 100_000));
    assert_eq!((b.down_packets, b.down_bytes), (arrived, arrived * 100));
    let flows: Vec<_> = fabric.flows().collect();
    assert_eq!(flows, [("a", "b", arrived, arrived * 100)]);
}

#[test]
fn what_goes_nowhere_is_counted() {
    let mut fabric = fabric(&["a", "b"]);
    for nowhere in ["11.0.3.10:1", "11.0.2.11:1", "11.0.2.1:1", "11.0.0.10:1", "8.8.8.8:1"] {
        send(&mut fabric, 0, 0, A, nowhere);
    }
    send(&mut fabric, 0, 0, B, B);
    fabric.enter(0, 0, &[]);
    fabric.enter(0, 0, &[0x45; 19]);
    send(&mut fabric, 0, 0, A, "224.0.0.22:1");
    send(&mut fabric, 0, 0, A, "255.255.255.255:1");
    assert_eq!(run(&mut fabric), []);
    let counts = fabric.counts(0);
    assert_eq!((counts.unrouted, counts.odd, counts.up_packets), (5, 3, 10));
}

#[test]
fn a_cut_holds_both_ways_until_healed_and_for_its_pair_only() {
    let mut fabric = fabric(&["a", "b", "c"]);
    fabric.set_cut(&[0], &[0, 1], true);
    send(&mut fabric, 0, 0, A, B);
    send(&mut fabric, 0, 1, B, A);
    send(&mut fabric, 0, 0, A, "11.0.3.10:1");
    assert_eq!(ends(&run(&mut fabric)), [(2, A.to_owned(), "11.0.3.10:1".to_owned())]);
    assert_eq!((fabric.counts(0).cut, fabric.counts(1).cut), (1, 1));
    fabric.set_cut(&[0, 1, 2], &[0, 1, 2], false);
    send(&mut fabric, 0, 0, A, B);
    assert_eq!(run(&mut fabric).len(), 1);
}

#[test]
fn nat_hides_a_host_and_lets_answers_in() {
    let mut fabric = fabric(&["a", "b", "c"]);
    assert_eq!(fabric.set_nat(0, Some((Kind::Cone, IDLE_NS))), [0]);
    let addresses = fabric.addresses(0);
    assert_eq!(addresses.v4.to_string(), "192.168.1.10");
    assert_eq!(addresses.public.to_string(), "11.0.1.1");
    send(&mut fabric, 0, 0, "192.168.1.10:5000", B);
    assert_eq!(ends(&run(&mut fabric)), [(1, "11.0.1.1:40000".to_owned(), B.to_owned())]);
    send(&mut fabric, MS, 1, B, "11.0.1.1:40000");
    let back = (0, B.to_owned(), "192.168.1.10:5000".to_owned());
    assert_eq!(ends(&run(&mut fabric)), [back]);
    send(&mut fabric, MS, 2, "11.0.3.10:1", "11.0.1.1:40000");
    send(&mut fabric, MS, 2, "11.0.3.10:1", "11.0.1.1:22");
    assert_eq!(run(&mut fabric), []);
    assert_eq!(fabric.counts(2).refused, 2);
    for address in ["11.0.1.10:5000", "192.168.1.10:5000"] {
        send(&mut fabric, MS, 1, B, address);
    }
    assert_eq!((run(&mut fabric).len(), fabric.counts(1).unrouted), (0, 2));
    assert_eq!(fabric.nat(0), Some((Kind::Cone, 1)));
}

#[test]
fn nat_refuses_hairpins_and_what_has_no_ports() {
    let mut fabric = fabric(&["a", "b"]);
    fabric.set_nat(0, Some((Kind::FullCone, IDLE_NS)));
    send(&mut fabric, 0, 0, "192.168.1.10:5000", B);
    assert_eq!(run(&mut fabric).len(), 1);
    send(&mut fabric, 0, 0, "192.168.1.10:5001", "11.0.1.1:40000");
    let mut ping = packet(flow(Protocol::Udp, "192.168.1.10:1", B), &[]).bytes().to_vec();
    ping[9] = 1;
    fabric.enter(0, 0, &ping);
    assert_eq!((run(&mut fabric).len(), fabric.counts(0).refused), (0, 2));
}

#[test]
fn a_new_nat_knows_no_mappings_and_none_gives_the_own_address_back() {
    let mut fabric = fabric(&["a", "b"]);
    fabric.set_nat(0, Some((Kind::Cone, IDLE_NS)));
    send(&mut fabric, 0, 0, "192.168.1.10:5000", B);
    run(&mut fabric);
    fabric.set_nat(0, Some((Kind::FullCone, IDLE_NS)));
    send(&mut fabric, 0, 1, B, "11.0.1.1:40000");
    assert_eq!(run(&mut fabric), []);
    fabric.set_nat(0, None);
    assert_eq!(fabric.addresses(0).v4, fabric.addresses(0).public);
    send(&mut fabric, 0, 0, "192.168.1.10:5000", B);
    assert_eq!((run(&mut fabric).len(), fabric.counts(0).odd), (0, 1), "the address is gone");
    send(&mut fabric, 0, 0, A, B);
    assert_eq!(run(&mut fabric).len(), 1);
}

/// `a` and `b` in a LAN, `c` alone, `d` in another LAN; all with slow links.
fn with_lan() -> Fabric {
    let mut fabric = Fabric::new(1);
    for (name, lan) in [("a", Some("home")), ("b", Some("home")), ("c", None), ("d", Some("x"))] {
        let host = fabric.add(name, lan, name != "b").expect("room");
        set_delay(&mut fabric, host, 100 * MS);
    }
    fabric
}

#[test]
fn a_lan_is_direct_and_multicast_dns_stays_in_it() {
    let mut fabric = with_lan();
    fabric.set_nat(0, Some((Kind::Symmetric, IDLE_NS)));
    assert_eq!(fabric.addresses(1).v4.to_string(), "192.168.1.11", "a LAN shares its NAT");
    let (a, b) = ("192.168.1.10:5353", "192.168.1.11:5353");
    send(&mut fabric, 0, 0, a, "224.0.0.251:5353");
    assert_eq!(ends(&run(&mut fabric)), [(1, a.to_owned(), "224.0.0.251:5353".to_owned())]);
    send(&mut fabric, 0, 1, b, a);
    let arrived = run(&mut fabric);
    assert_eq!((arrived[0].0, ends(&arrived)), (0, vec![(0, b.to_owned(), a.to_owned())]));
    send(&mut fabric, 0, 2, "11.0.2.10:5353", "224.0.0.251:5353");
    assert_eq!(run(&mut fabric), []);
    fabric.set_cut(&[0], &[1], true);
    send(&mut fabric, 0, 0, a, b);
    send(&mut fabric, 0, 0, a, "224.0.0.251:5353");
    assert_eq!((run(&mut fabric), fabric.counts(0).cut), (vec![], 2));
}

/// An IPv6 packet without content.
fn send_v6(fabric: &mut Fabric, host: usize, source: &str, destination: &str) {
    let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
    let mut bytes = vec![0u8; 40];
    bytes[0] = 0x60;
    bytes[8..24].copy_from_slice(&address(source));
    bytes[24..40].copy_from_slice(&address(destination));
    fabric.enter(0, host, &bytes);
}

#[test]
fn version_6_goes_where_both_have_it_and_no_nat_is() {
    let mut fabric = with_lan();
    let to = |arrived: Arrived| arrived.iter().map(|(at, to, _)| (*at, *to)).collect::<Vec<_>>();
    let (a, b, c) = ("2a01:11:0:1::a", "2a01:11:0:1::b", "2a01:11:0:2::a");
    assert_eq!(fabric.addresses(0).v6.map(|v6| v6.to_string()).as_deref(), Some(a));
    assert_eq!(fabric.addresses(1).v6, None, "b has none");
    send_v6(&mut fabric, 0, a, c);
    assert_eq!(to(run(&mut fabric)), [(200 * MS, 2)]);
    send_v6(&mut fabric, 2, c, b);
    send_v6(&mut fabric, 1, b, c);
    assert_eq!((to(run(&mut fabric)), fabric.counts(1).odd), (vec![], 1));
    fabric.add("e", Some("home"), true).expect("room");
    send_v6(&mut fabric, 0, "fe80::1", "ff02::fb");
    assert_eq!(to(run(&mut fabric)), [(0, 4)], "b has no version 6");
    send_v6(&mut fabric, 0, "fe80::1", "fe80::2");
    assert_eq!(to(run(&mut fabric)), [(0, 4)]);
    send_v6(&mut fabric, 2, "fe80::1", "fe80::2");
    assert_eq!(to(run(&mut fabric)), [], "no LAN");
    fabric.set_nat(0, Some((Kind::Cone, IDLE_NS)));
    send_v6(&mut fabric, 2, c, a);
    assert_eq!((to(run(&mut fabric)), fabric.addresses(0).v6), (vec![], None));
}

#[test]
fn names_and_limits() {
    let mut fabric = fabric(&["a"]);
    assert!(fabric.add("a", None, false).is_err());
    assert_eq!((fabric.find("a"), fabric.find("b").is_err()), (Ok(0), true));
    for index in 0..SITE_HOSTS_MAX {
        fabric.add(&format!("l{index}"), Some("lan"), false).expect("room in the LAN");
    }
    assert!(fabric.add("one more", Some("lan"), false).is_err());
    for index in 2..SITES_MAX {
        fabric.add(&format!("s{index}"), None, false).expect("room for a site");
    }
    assert!(fabric.add("one more", None, false).is_err());
    let last = fabric.addresses(fabric.host_count() - 1);
    assert_eq!(last.v4.to_string(), "11.0.250.10");
}

#[test]
fn lateness_is_told() {
    let mut fabric = fabric(&["a", "b"]);
    send(&mut fabric, 0, 0, A, B);
    send(&mut fabric, 5 * MS, 0, A, B);
    fabric.advance(5 * MS + 1, &mut |_, _| {});
    assert_eq!(fabric.lateness(), (1, 5 * MS + 1));
}
