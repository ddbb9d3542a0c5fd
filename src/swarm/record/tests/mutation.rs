//! Records that were changed on the way, in one bit or many.

use proptest::prelude::*;

use super::*;

#[test]
fn any_flipped_bit_is_refused() {
    let one = identity(7);
    let record = signed(&one, |claims| claims.called = Some(name("other")));
    let mut bytes = record.bytes().to_vec();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let taken = check(&bytes, NOW);
        assert!(taken.is_err(), "bit {bit}");
        assert!(accept_as(record.claims(), &bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(check(&bytes, NOW), Ok(record));
}

#[test]
fn any_cut_is_refused() {
    let record = signed(&identity(7), |_| ());
    for len in 0..record.bytes().len() {
        assert!(check(&record.bytes()[..len], NOW).is_err(), "{len}");
    }
}

fn any_name() -> impl Strategy<Value = RepoName> {
    (any::<u32>(), 1..=4usize).prop_map(|(n, count)| name(&vec![format!("x{n}"); count].join("/")))
}

fn any_head() -> impl Strategy<Value = Option<ObjectId>> {
    proptest::option::of(any::<[u8; 20]>().prop_map(ObjectId::from_bytes))
}

fn any_address() -> impl Strategy<Value = Multiaddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| {
            let ip = std::net::Ipv4Addr::from(ip);
            address(&format!("/ip4/{ip}/udp/{port}/quic-v1"))
        }),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| {
            let ip = std::net::Ipv6Addr::from(ip);
            address(&format!("/ip6/{ip}/tcp/{port}"))
        }),
    ]
}

fn any_fork() -> impl Strategy<Value = ForkHint> {
    (any::<u8>(), any::<u64>(), any_head(), any::<u64>()).prop_map(|(n, seq, head, issued_unix)| {
        ForkHint { peer: identity(n).peer_id(), seq, head, issued_unix }
    })
}

fn any_claims() -> impl Strategy<Value = (u8, RecordClaims)> {
    let names = (any_name(), proptest::option::of(any_name()));
    let ids = (any::<u8>(), any::<u8>(), any::<[u8; 16]>(), any::<[u8; 32]>());
    let times = (any::<u64>(), 0..=NOW + 600, 1..=EOL_AHEAD_MAX_S);
    let lists = (
        proptest::collection::vec(any_address(), 0..=16),
        proptest::collection::vec(any_fork(), 0..=16),
    );
    (names, ids, any_head(), times, lists).prop_map(|(names, ids, head, times, lists)| {
        let (origin, publisher, nonce, refs) = ids;
        let (seq, issued_unix, left) = times;
        let mut claims = RecordClaims {
            nonce: RepoNonce::from_bytes(nonce),
            called: names.1.filter(|called| *called != names.0),
            name: names.0,
            refs: RefsDigest::from_bytes(refs),
            head,
            seq,
            issued_unix,
            eol_unix: issued_unix.max(NOW + left),
            addresses: lists.0,
            forks: lists.1,
            ..claims(&identity(origin), &identity(publisher))
        };
        claims.rid = claims.derived_rid();
        (publisher, claims)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_signed_is_what_is_read((publisher, claims) in any_claims()) {
        let signer = identity(publisher);
        let bytes = envelope(&signer, &codec::encode_claims(&claims));
        let record = accept_as(&claims, &bytes).expect("keeps the rules");
        prop_assert_eq!(record.claims(), &claims);
        prop_assert_eq!(record.bytes(), &bytes[..]);
        let named = cbor::encode(&Cbor::Map(cbor::fields(&claims)));
        prop_assert_eq!(named, codec::encode_claims(&claims));
    }

    #[test]
    fn what_was_changed_is_refused(
        (publisher, claims) in any_claims(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..8),
    ) {
        let signer = identity(publisher);
        let good = envelope(&signer, &codec::encode_claims(&claims));
        let mut bytes = good.clone();
        for (at, change) in changes {
            bytes[at.index(good.len())] ^= change;
        }
        if bytes != good {
            prop_assert!(check(&bytes, NOW).is_err());
            prop_assert!(accept_as(&claims, &bytes).is_err());
        }
    }

    #[test]
    fn junk_is_refused_without_a_fall(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(check(&bytes, NOW).is_err());
        let signed = envelope(&identity(7), &bytes);
        prop_assert!(check(&signed, NOW).is_err());
    }
}
