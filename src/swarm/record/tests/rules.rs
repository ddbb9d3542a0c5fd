//! Each rule by a record that breaks it alone; its signature is good unless that is the rule.

use super::cbor::{Fields, bytes, encode, fields};
use super::*;

fn refused(bytes: &[u8]) -> RecordError {
    let one = identity(7);
    let claims = claims(&one, &one);
    let error = accept_as(&claims, bytes).expect_err("refused");
    assert_eq!(check(bytes, NOW).expect_err("refused"), error);
    error
}

/// A well signed record with other fields than it should have.
fn with_fields(change: impl FnOnce(&mut Fields)) -> Vec<u8> {
    let one = identity(7);
    let mut fields = fields(&claims(&one, &one));
    change(&mut fields);
    envelope(&one, &encode(&Cbor::Map(fields)))
}

#[test]
fn a_record_has_a_longest_length() {
    let junk = vec![0; RECORD_LEN_MAX];
    assert!(matches!(refused(&junk), RecordError::Malformed { .. }));
    let past = RecordError::TooLong { len: RECORD_LEN_MAX + 1, limit: RECORD_LEN_MAX };
    assert_eq!(refused(&[0; RECORD_LEN_MAX + 1]), past);
    let fat = with_fields(|fields| drop(fields.insert("refs", bytes(&[1; RECORD_LEN_MAX]))));
    assert!(matches!(refused(&fat), RecordError::TooLong { .. }));
}

#[test]
fn the_largest_record_is_far_below_the_limit() {
    let segment = "x".repeat(100);
    let long = |first: &str| name(&[first, &segment, &segment, &segment].join("/"));
    let one = identity(7);
    let record = signed(&one, |claims| {
        (claims.name, claims.called) = (long(&segment), Some(long("y")));
        claims.rid = claims.derived_rid();
        let host = format!("/dns4/{}", "x".repeat(126));
        claims.addresses = vec![address(&host); 16];
        assert_eq!(claims.addresses[0].len(), 128);
        let fork = ForkHint { head: Some(ObjectId::from_bytes([3; 20])), seq: u64::MAX, ..fork(8) };
        claims.forks = vec![fork; RECORD_FORKS_MAX];
        claims.seq = u64::MAX;
    });
    assert!(record.bytes().len() < RECORD_LEN_MAX * 3 / 4, "{}", record.bytes().len());
}

#[test]
fn what_is_no_map_of_the_known_fields_is_refused() {
    let good = with_fields(|_| ());
    let unknown = with_fields(|fields| drop(fields.insert("x", Cbor::Number(1))));
    let fork = |fields: &mut Fields| match fields.get_mut("forks") {
        Some(Cbor::List(forks)) => match forks.first_mut() {
            Some(Cbor::Map(fork)) => drop(fork.insert("x", Cbor::Null)),
            _ => panic!("a fork"),
        },
        _ => panic!("forks"),
    };
    let mut cases = vec![
        Vec::new(),
        b"{}".to_vec(),
        good[1..].to_vec(),
        [&good[..], &[0]].concat(),
        unknown,
        with_fields(fork),
        envelope(&identity(7), b""),
        envelope(&identity(7), &encode(&Cbor::List(Vec::new()))),
        encode(&Cbor::Map(Fields::from([("sig", bytes(&[0; 64]))]))),
        encode(&Cbor::Map(Fields::from([("sig", bytes(&[0; 63])), ("value", bytes(b""))]))),
    ];
    for key in fields(&claims(&identity(7), &identity(7))).into_keys() {
        if !["head", "addrs", "forks"].contains(&key) {
            cases.push(with_fields(|fields| drop(fields.remove(key))));
        }
        for other in [Cbor::List(vec![Cbor::Null]), Cbor::Text("\0".repeat(32))] {
            if !(key == "name" && matches!(other, Cbor::Text(_))) {
                cases.push(with_fields(|fields| drop(fields.insert(key, other))));
            }
        }
    }
    for (key, len) in [("rid", 31), ("nonce", 17), ("refs", 33), ("head", 32)] {
        cases.push(with_fields(|fields| drop(fields.insert(key, bytes(&vec![0; len])))));
    }
    for bytes in cases {
        let error = refused(&bytes);
        assert!(matches!(error, RecordError::Malformed { .. }), "{error} of {bytes:02x?}");
    }
}

#[test]
fn only_public_records_have_places_in_the_dht_and_only_their_own() {
    let one = identity(7);
    let in_dht = |record: &RepoRecord, key: &DhtKey, old: Option<&RepoRecord>| {
        accept_in_dht(record.bytes(), key, NOW, old.map(RepoRecord::as_highest))
    };
    let public = signed(&one, |claims| claims.is_public = true);
    let (slot, at_name) =
        (public.claims().slot().key(), name_key(&one.peer_id(), &name("models/llama")));
    for key in [slot, at_name] {
        assert_eq!(in_dht(&public, &key, None).as_ref(), Ok(&public));
        let hidden = signed(&one, |_| ());
        let refused = in_dht(&hidden, &key, None);
        assert!(matches!(refused, Err(RecordError::NotPublic { .. })), "{refused:?}");
        let newer = signed(&one, |claims| (claims.is_public, claims.seq) = (true, 6));
        assert_eq!(in_dht(&newer, &key, Some(&public)).as_ref(), Ok(&newer));
        let replayed = in_dht(&public, &key, Some(&newer));
        assert_eq!(replayed, Err(RecordError::Replayed { seq: 5, highest: 6 }));
    }
    // It has another name now; and another peer's repository of this name is elsewhere.
    let renamed = signed(&one, |claims| {
        (claims.is_public, claims.called) = (true, Some(name("other")));
    });
    let theirs = name_key(&identity(8).peer_id(), &name("models/llama"));
    for (record, key) in
        [(&renamed, at_name), (&public, theirs), (&public, providers_key(&public.claims().rid))]
    {
        let refused = in_dht(record, &key, None);
        assert!(matches!(refused, Err(RecordError::WrongKey { .. })), "{refused:?}");
    }
    assert!(in_dht(&renamed, &name_key(&one.peer_id(), &name("other")), None).is_ok());
}

#[test]
fn other_versions_are_refused_by_name_whatever_they_have() {
    for version in [0, 2, u64::MAX] {
        let bytes = with_fields(|fields| {
            fields.insert("v", Cbor::Number(version));
            fields.insert("new", Cbor::Null);
        });
        assert_eq!(refused(&bytes), RecordError::Version { found: version });
    }
}

#[test]
fn there_is_one_encoding_of_a_record() {
    let one = identity(7);
    let value = codec::encode_claims(&claims(&one, &one));
    // A map of 13 (ad); its first entry is "v": 1 (61 76 01).
    assert_eq!(value[..4], [0xad, 0x61, 0x76, 0x01]);
    let longer_number = [&value[..3], &[0x18, 0x01], &value[4..]].concat();
    let longer_key = [&value[..1], &[0x78, 0x01], &value[2..]].concat();
    let longer_map = [&[0xb8, 0x0d][..], &value[1..]].concat();
    let other_order = [&value[..1], &value[4..], &value[1..4]].concat();
    let null = with_fields(|fields| drop(fields.insert("called", Cbor::Null)));
    let empty = |key| with_fields(|fields| drop(fields.insert(key, Cbor::List(Vec::new()))));
    let not_public = with_fields(|fields| drop(fields.insert("public", Cbor::False)));
    let mut cases = vec![null, not_public, empty("addrs"), empty("forks")];
    for value in [longer_number, longer_key, longer_map, other_order] {
        cases.push(envelope(&one, &value));
    }
    let good = envelope(&one, &value);
    // The envelope: a map of 2, "sig", 64 bytes (58 40).
    assert_eq!(good[..7], [0xa2, 0x63, b's', b'i', b'g', 0x58, 0x40]);
    cases.push([&good[..5], &[0x59, 0, 0x40], &good[7..]].concat());
    cases.push([&[0xb8, 0x02][..], &good[1..]].concat());
    cases.push([&good[..1], &good[71..], &good[1..71]].concat());
    for bytes in cases {
        assert_eq!(refused(&bytes), RecordError::NotCanonical, "{bytes:02x?}");
    }
    let doubled = [&[0xae][..], &value[1..4], &value[1..]].concat();
    assert!(matches!(refused(&envelope(&one, &doubled)), RecordError::Malformed { .. }));
    let endless = [&[0xbf][..], &value[1..], &[0xff]].concat();
    assert!(matches!(refused(&envelope(&one, &endless)), RecordError::Malformed { .. }));
}

#[test]
fn fields_hold_what_they_should() {
    let text = |text: &str| Cbor::Text(text.to_owned());
    let cases = [
        ("name", text("../x")),
        ("name", text("")),
        ("name", text("\0")),
        ("called", text("a.git")),
        ("called", text("models/llama")),
        ("origin", bytes(b"")),
        ("origin", bytes(&[0; 38])),
        ("publisher", bytes(&[0x12, 32, 1])),
        ("addrs", Cbor::List(vec![bytes(b"")])),
        ("addrs", Cbor::List(vec![bytes(b"\xff\xff")])),
        ("forks", {
            let fork =
                [("peer", bytes(b"x")), ("seq", Cbor::Number(1)), ("issued", Cbor::Number(1))];
            Cbor::List(vec![Cbor::Map(Fields::from(fork))])
        }),
    ];
    for (key, value) in cases {
        let error = refused(&with_fields(|fields| drop(fields.insert(key, value))));
        assert!(matches!(&error, RecordError::Field { field, .. } if *field == key), "{error}");
    }
}

#[test]
fn addresses_and_forks_have_limits() {
    let one = identity(7);
    let past = |change: fn(&mut RecordClaims)| refused(&forged(&one, change));
    let error = past(|claims| claims.addresses = vec![address("/ip4/1.2.3.4"); 17]);
    assert_eq!(error, RecordError::Limit { what: "addresses", limit: 16, actual: 17 });
    let error = past(|claims| claims.forks = vec![fork(8); 17]);
    assert_eq!(error, RecordError::Limit { what: "forks", limit: 16, actual: 17 });
    let error = past(|claims| {
        claims.addresses = vec![address(&format!("/dns4/{}", "x".repeat(127)))];
    });
    assert_eq!(error, RecordError::Limit { what: "bytes in an address", limit: 128, actual: 129 });
}

#[test]
fn nobody_squats_on_another_repository() {
    let (victim, squatter) = (identity(7), identity(8));
    let theirs = claims(&victim, &victim);
    // The victim's id with a key of one's own, under any other origin, nonce or name.
    let rid = theirs.rid;
    let as_origin = forged(&squatter, |claims| claims.rid = rid);
    let error = check(&as_origin, NOW).expect_err("refused");
    assert!(matches!(error, RecordError::WrongRepo { claimed, .. } if claimed == rid), "{error}");
    let changes: [fn(&mut RecordClaims); 3] = [
        |claims| claims.nonce = RepoNonce::from_bytes([10; 16]),
        |claims| claims.name = name("models/llama2"),
        |claims| claims.origin = identity(9).peer_id(),
    ];
    for change in changes {
        let error = refused(&forged(&victim, change));
        assert!(matches!(error, RecordError::WrongRepo { claimed, .. } if claimed == rid));
    }
    let any = forged(&victim, |claims| claims.rid = RepoKey::ANY);
    assert!(matches!(check(&any, NOW), Err(RecordError::WrongRepo { .. })));
    // A fork is good in its own slot, and nowhere else.
    let fork = RecordClaims { publisher: squatter.peer_id(), ..theirs.clone() };
    let fork = RepoRecord::sign(&squatter, &fork).expect("a fork");
    assert!(!fork.is_origins());
    assert_eq!(accept_as(fork.claims(), fork.bytes()).as_ref(), Ok(&fork));
    let publisher = squatter.peer_id();
    let elsewhere = accept_as(&theirs, fork.bytes());
    assert_eq!(elsewhere, Err(RecordError::WrongKey { rid, publisher }));
}

#[test]
fn a_record_lies_where_it_belongs() {
    let one = identity(7);
    let record = signed(&one, |_| ());
    let (rid, publisher) = (record.claims().rid, one.peer_id());
    let wrong = Err(RecordError::WrongKey { rid, publisher });
    for key in [providers_key(&rid), forks_key(&rid), DhtKey::from_bytes(*rid.as_bytes())] {
        assert_eq!(accept(record.bytes(), &key, NOW, None), wrong);
    }
    let other = signed(&one, |claims| {
        claims.name = name("other");
        claims.rid = claims.derived_rid();
    });
    assert_eq!(accept_as(other.claims(), record.bytes()), wrong);
}

#[test]
fn keys_are_in_the_ids() {
    let one = identity(7);
    let peer = hashed_peer();
    let origin = forged(&one, |claims| {
        claims.origin = peer;
        claims.rid = claims.derived_rid();
    });
    let error = check(&origin, NOW).expect_err("refused");
    assert_eq!(error, RecordError::NoKey { role: "origin", peer });
    let publisher = forged(&one, |claims| claims.publisher = peer);
    let error = check(&publisher, NOW).expect_err("refused");
    assert_eq!(error, RecordError::NoKey { role: "publisher", peer });
}

#[test]
fn the_publisher_has_signed_just_this() {
    let (one, two) = (identity(7), identity(8));
    let value = codec::encode_claims(&claims(&one, &one));
    let error = RecordError::Signature { publisher: one.peer_id() };
    for domain in [&b""[..], b"mega-record-sig/2:", b"libp2p-peer-record"] {
        let signature = one.sign(domain, &value);
        assert_eq!(refused(&codec::encode_record(value.clone(), signature)), error);
    }
    assert_eq!(refused(&envelope(&two, &value)), error);
    assert_eq!(refused(&codec::encode_record(value.clone(), [0; 64])), error);
    let other = codec::encode_claims(&RecordClaims { seq: 6, ..claims(&one, &one) });
    assert_eq!(refused(&codec::encode_record(value, one.sign(DOMAIN, &other))), error);
}

#[test]
fn a_record_holds_for_a_time_from_about_now() {
    let one = identity(7);
    let times = |issued_unix, eol_unix| {
        let bytes = forged(&one, |claims| {
            (claims.issued_unix, claims.eol_unix) = (issued_unix, eol_unix);
        });
        accept_as(&claims(&one, &one), &bytes).map(|_| ())
    };
    let (week, ten) = (EOL_AHEAD_MAX_S, ISSUED_AHEAD_MAX_S);
    assert_eq!((week, ten), (604_800, 600));
    assert_eq!(times(NOW, NOW + week), Ok(()));
    let limit_s = week;
    assert_eq!(
        times(NOW, NOW + week + 1),
        Err(RecordError::EolTooFar { ahead_s: week + 1, limit_s })
    );
    let ahead_s = u64::MAX - NOW;
    assert_eq!(times(NOW, u64::MAX), Err(RecordError::EolTooFar { ahead_s, limit_s }));
    assert_eq!(times(0, NOW + 1), Ok(()));
    assert_eq!(times(0, NOW), Err(RecordError::Ended { ago_s: 0 }));
    assert_eq!(times(0, NOW - 5), Err(RecordError::Ended { ago_s: 5 }));
    assert_eq!(times(0, 0), Err(RecordError::Ended { ago_s: NOW }));
    assert_eq!(times(NOW + ten, NOW + ten), Ok(()));
    let limit_s = ten;
    let error = RecordError::IssuedAhead { ahead_s: ten + 1, limit_s };
    assert_eq!(times(NOW + ten + 1, NOW + 2 * ten), Err(error));
    assert_eq!(times(NOW, NOW - 1), Err(RecordError::EolBeforeIssue));
    assert_eq!(times(u64::MAX, NOW + 1), Err(RecordError::EolBeforeIssue));
}

#[test]
fn ours_are_held_to_the_same_rules() {
    let one = identity(7);
    let mut claims = claims(&one, &one);
    claims.addresses = vec![address("/ip4/1.2.3.4"); 17];
    assert!(matches!(RepoRecord::sign(&one, &claims), Err(RecordError::Limit { .. })));
    claims.addresses.clear();
    claims.eol_unix = claims.issued_unix + EOL_AHEAD_MAX_S + 1;
    assert!(matches!(RepoRecord::sign(&one, &claims), Err(RecordError::EolTooFar { .. })));
}

#[test]
fn slides_show_a_record() {
    let one = identity(7);
    let record = signed(&one, |claims| claims.called = Some(name("now")));
    let hint = SlidesHint::of(record.claims());
    let (head, peer) = ("02".repeat(20), identity(8).peer_id());
    let expected = format!(
        r#"{{"origin":"{}","name":"now","latest":"{head}","forks":[{{"peer":"{peer}","#,
        one.peer_id()
    );
    let rest = r#""latest":null,"timestamp":1799999990}],"timestamp":1800000000}"#;
    assert_eq!(hint.to_json(), expected + rest);
    assert_eq!(SlidesHint::parse(hint.to_json().as_bytes()), Ok(hint.clone()));
    // It is no record, whoever wrote it.
    assert!(matches!(refused(hint.to_json().as_bytes()), RecordError::Malformed { .. }));
}
