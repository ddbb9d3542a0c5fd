//! The swarm's rows: their bytes, what is never lowered, and every limit at and past it.

use super::*;
use crate::db::Durability;
use crate::id::RepoId;
use crate::name::RepoName;
use crate::repos::{RepoStore, Visibility};
use crate::testing::TestDb;

fn fixture() -> (TestDb, SwarmStore) {
    let test = TestDb::new();
    let swarm = SwarmStore::new(test.db.clone());
    (test, swarm)
}

fn reopen(test: TestDb, swarm: SwarmStore) -> (TestDb, SwarmStore) {
    drop(swarm);
    let test = test.reopen();
    let swarm = SwarmStore::new(test.db.clone());
    (test, swarm)
}

fn name(text: &str) -> RepoName {
    RepoName::new(text).expect("a name")
}

fn peer(n: u16) -> PeerIdBytes {
    PeerIdBytes::new(&n.to_be_bytes()).expect("an id")
}

fn rid(n: u8) -> RepoKey {
    RepoKey::from_bytes([n; 32])
}

fn at(n: u16) -> DhtKey {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&n.to_be_bytes());
    DhtKey::from_bytes(key)
}

fn identity(n: u8) -> SwarmRepo {
    let nonce = RepoNonce::from_bytes([9; 16]);
    SwarmRepo { rid: rid(n), nonce, origin: peer(0x0102), name: name("a/b") }
}

fn record(seq: u64, bytes: &[u8]) -> SeenRecord {
    SeenRecord { seq, is_pinned: false, bytes: bytes.to_vec() }
}

fn is_limit<T: std::fmt::Debug>(result: Result<T>, max: usize) -> bool {
    matches!(&result, Err(StoreError::Limit { limit, .. }) if *limit == max as u64)
}

#[test]
fn row_bytes_are_those_of_the_format() {
    let (test, swarm) = fixture();
    let repos = RepoStore::new(test.db.clone());
    let repo = repos.create(&name("other"), Visibility::Public).expect("made");
    assert_eq!(swarm.bind(repo.id, &identity(7)).expect("bound"), Bound::New);
    swarm
        .update_peer(&peer(0x0304), |peer| {
            *peer = SwarmPeer {
                addresses: vec![vec![4, 1], vec![6]],
                is_allowed: true,
                last_good_unix: 1,
                banned_until_unix: 2,
                received_len: 3,
                sent_len: 4,
                verified_count: 5,
                failure_count: 6,
            };
        })
        .expect("written");
    let value = DhtValue { source: peer(5), expires_unix: 8, stored_unix: 7, bytes: vec![0xee] };
    swarm.put_dht_value(&at(0xffff), &value).expect("put");
    let provider = DhtProvider { expires_unix: 8, stored_unix: 7, addresses: vec![vec![1]] };
    swarm.put_dht_provider(&at(0x0101), &peer(6), &provider).expect("put");
    let seen = SeenRecord { is_pinned: true, ..record(3, b"r") };
    let row = seen::Row { record: seen.clone(), noted_unix: 4 };
    let mut batch = test.db.batch();
    batch.put(Family::Swarm, &seen::seen_key(&rid(7), &peer(2)), &seen::encode(&row));
    test.db.commit(batch, Durability::Synced).expect("written");

    let zeros = |count: usize| "00".repeat(count);
    let (seven, nine) = ("07".repeat(32), "09".repeat(16));
    let number = |n: u64| format!("{n:016x}");
    let peer_row: String = (1..=6).map(number).collect();
    let expected = [
        (format!("610101{}0006", zeros(30)), format!("01{}{}010101", number(8), number(7))),
        ("6900000001".to_owned(), format!("01{seven}{nine}02010203612f62")),
        ("700304".to_owned(), format!("0101{peer_row}020204010106")),
        (format!("72{seven}"), "00000001".to_owned()),
        (format!("73{seven}0002"), format!("0101{}{}72", number(3), number(4))),
        (format!("76ffff{}", zeros(30)), format!("01{}{}020005ee", number(8), number(7))),
    ];
    assert_eq!(test.rows(Family::Swarm), expected);
    assert_eq!(swarm.repos().expect("read"), [(repo.id, identity(7))]);
    assert_eq!(swarm.seen_of(&rid(7)).expect("read"), [(peer(2), seen)]);
    assert_eq!(swarm.dht_value(&at(0xffff)).expect("read"), Some(value));
    assert_eq!(swarm.dht_providers(&at(0x0101)).expect("read"), [(peer(6), provider)]);
}

#[test]
fn what_is_cut_off_is_a_damaged_row() {
    let (test, swarm) = fixture();
    let repos = RepoStore::new(test.db.clone());
    let repo = repos.create(&name("a"), Visibility::Public).expect("made");
    swarm.bind(repo.id, &identity(7)).expect("bound");
    let with_address = |peer: &mut SwarmPeer| peer.addresses = vec![vec![1, 2, 3]];
    swarm.update_peer(&peer(1), with_address).expect("written");
    let provider = DhtProvider { expires_unix: 8, stored_unix: 7, addresses: vec![vec![1, 2]] };
    swarm.put_dht_provider(&at(1), &peer(6), &provider).expect("put");
    let read = || {
        let results = [
            swarm.repos().map(|_| ()),
            swarm.peers().map(|_| ()),
            swarm.dht_providers(&at(1)).map(|_| ()),
        ];
        results.map(|result| matches!(result, Err(StoreError::DamagedRow { .. })))
    };
    assert_eq!(read(), [false; 3]);
    let number = repo.id.0.to_be_bytes();
    let keys =
        [key(REPO, &[&number]), key(PEER, &[&[0, 1]]), key(PROVIDER, &[at(1).as_bytes(), &[0, 6]])];
    let rows = keys
        .each_ref()
        .map(|key| test.db.get(Family::Swarm, key).expect("read").expect("there").to_vec());
    for (index, (key, row)) in keys.iter().zip(&rows).enumerate() {
        let put = |bytes: &[u8]| {
            let mut batch = test.db.batch();
            batch.put(Family::Swarm, key, bytes);
            test.db.commit(batch, Durability::Logged).expect("written");
        };
        for cut in 0..row.len() {
            put(&row[..cut]);
            assert!(read()[index], "row {index} cut at {cut}");
        }
        put(&[row.as_slice(), &[0]].concat());
        assert!(read()[index], "row {index} with a byte more");
        put(row);
    }
    assert_eq!(read(), [false; 3]);
}

#[test]
fn a_repository_and_an_id_belong_to_each_other_alone() {
    let (test, swarm) = fixture();
    let repos = RepoStore::new(test.db.clone());
    let ids = ["a", "b"].map(|n| repos.create(&name(n), Visibility::Public).expect("made").id);
    assert_eq!(swarm.repo(ids[0]).expect("read"), None);
    assert_eq!(swarm.bind(ids[0], &identity(1)).expect("bound"), Bound::New);
    let known = swarm.bind(ids[0], &identity(2)).expect("bound");
    assert_eq!(known, Bound::Known(identity(1)), "the first stays");
    assert_eq!(swarm.find_rid(&rid(2)).expect("read"), None);
    let elsewhere = swarm.bind(ids[1], &identity(1)).expect("bound");
    assert_eq!(elsewhere, Bound::Elsewhere(ids[0]));
    assert_eq!(swarm.repo(ids[1]).expect("read"), None);
    assert_eq!(swarm.bind(ids[1], &identity(2)).expect("bound"), Bound::New);
    let gone = swarm.bind(RepoId(99), &identity(3));
    assert!(matches!(gone, Err(StoreError::RepoGone { .. })), "{gone:?}");
    repos.rename(&name("a"), &name("c")).expect("renamed");
    let (_test, swarm) = reopen(drop_repos(test, repos), swarm);
    assert_eq!(swarm.find_rid(&rid(1)).expect("read"), Some(ids[0]));
    assert_eq!(swarm.repo(ids[0]).expect("read"), Some(identity(1)));
}

fn drop_repos(test: TestDb, repos: RepoStore) -> TestDb {
    drop(repos);
    test
}

#[test]
fn a_deleted_repository_leaves_nothing_and_takes_nothing_of_others() {
    let (test, swarm) = fixture();
    let repos = RepoStore::new(test.db.clone());
    for (n, text) in [(1, "a"), (2, "b")] {
        let repo = repos.create(&name(text), Visibility::Public).expect("made");
        swarm.bind(repo.id, &identity(n)).expect("bound");
        for publisher in [1, 2] {
            swarm.note_seen(&rid(n), &peer(publisher), &record(1, b"r")).expect("noted");
        }
    }
    repos.delete(&name("a")).expect("deleted");
    assert_eq!(swarm.find_rid(&rid(1)).expect("read"), None);
    assert_eq!(swarm.seen_of(&rid(1)).expect("read"), []);
    assert_eq!(swarm.repos().expect("read"), [(RepoId(2), identity(2))]);
    assert_eq!(swarm.seen_of(&rid(2)).expect("read").len(), 2);
    repos.delete(&name("b")).expect("deleted");
    assert_eq!(test.rows(Family::Swarm), []);
    // One that never was anything to peers.
    repos.create(&name("c"), Visibility::Private).expect("made");
    repos.delete(&name("c")).expect("deleted");
}

#[test]
fn what_was_seen_is_never_lowered_also_after_the_store_was_closed() {
    let (test, swarm) = fixture();
    let note = |swarm: &SwarmStore, seq, bytes: &[u8]| {
        swarm.note_seen(&rid(1), &peer(1), &record(seq, bytes)).expect("noted")
    };
    assert!(note(&swarm, 5, b"m"));
    assert!(note(&swarm, 5, b"m"), "the same again is the newest");
    assert!(!note(&swarm, 4, b"z"));
    assert!(!note(&swarm, 5, b"a"), "equal numbers: the larger bytes count");
    assert!(note(&swarm, 5, b"n"));
    let (_test, swarm) = reopen(test, swarm);
    assert!(!note(&swarm, 5, b"m") && !note(&swarm, 4, b"z"));
    assert_eq!(swarm.seen(&rid(1), &peer(1)).expect("read"), Some(record(5, b"n")));
    assert!(note(&swarm, u64::MAX, b""));
    assert!(!note(&swarm, 6, b"z"));
    assert_eq!(swarm.seen(&rid(1), &peer(2)).expect("read"), None);
    assert_eq!(swarm.seen(&rid(2), &peer(1)).expect("read"), None);
}

#[test]
fn records_that_were_seen_have_limits_and_pinned_ones_stay() {
    let (_test, swarm) = fixture();
    let pinned = SeenRecord { is_pinned: true, ..record(1, b"ours") };
    assert!(swarm.note_seen(&rid(0), &peer(0), &pinned).expect("noted"));
    assert!(swarm.note_seen(&rid(0), &peer(0), &record(2, b"newer")).expect("noted"));
    let kept = swarm.seen(&rid(0), &peer(0)).expect("read").expect("there");
    assert!(kept.is_pinned, "once pinned it stays so");
    let longest = record(1, &[7; SWARM_RECORD_LEN_MAX]);
    assert!(swarm.note_seen(&rid(1), &peer(1), &longest).expect("at the limit"));
    let past = record(2, &[7; SWARM_RECORD_LEN_MAX + 1]);
    assert!(is_limit(swarm.note_seen(&rid(1), &peer(1), &past), SWARM_RECORD_LEN_MAX));
    // Written as notes would be, without a sync each.
    let mut batch = swarm.db.batch();
    for n in 0..SEEN_RECORDS_MAX as u16 - 1 {
        let row = seen::Row { record: record(1, b""), noted_unix: u64::from(n) };
        let key = seen::seen_key(&rid(2), &peer(n));
        batch.put(Family::Swarm, &key, &seen::encode(&row));
    }
    swarm.db.commit(batch, Durability::Synced).expect("written");
    swarm.tallies.lock().seen = None;
    swarm.note_seen(&rid(3), &peer(1), &record(1, b"")).expect("noted");
    let left = swarm.seen_of(&rid(2)).expect("read").len();
    assert_eq!(left, SEEN_RECORDS_MAX - 1 - SEEN_RECORDS_MAX / 16, "one share goes");
    assert_eq!(swarm.seen(&rid(2), &peer(0)).expect("read"), None, "the first noted goes first");
    assert!(swarm.seen(&rid(1), &peer(1)).expect("read").is_some());
    assert!(swarm.seen(&rid(0), &peer(0)).expect("read").is_some());
    assert!(swarm.seen(&rid(3), &peer(1)).expect("read").is_some());
    swarm.note_seen(&rid(4), &peer(1), &record(1, b"")).expect("noted");
    assert_eq!(swarm.seen_of(&rid(2)).expect("read").len(), left, "there is room again");
}

#[test]
fn peers_keep_their_standing_and_their_addresses_have_limits() {
    let (test, swarm) = fixture();
    assert_eq!(swarm.peer(&peer(1)).expect("read"), None);
    let known = swarm.update_peer(&peer(1), |peer| {
        peer.is_allowed = true;
        peer.banned_until_unix = 100;
        assert!(peer.add_address(b"x") && peer.add_address(b"y") && peer.add_address(b"x"));
        assert!(!peer.add_address(b"") && !peer.add_address(&[1; PEER_ADDRESS_LEN_MAX + 1]));
        assert!(peer.add_address(&[1; PEER_ADDRESS_LEN_MAX]));
    });
    let known = known.expect("written");
    assert_eq!(known.addresses, [vec![1; PEER_ADDRESS_LEN_MAX], b"x".to_vec(), b"y".to_vec()]);
    assert!(known.is_banned(99) && !known.is_banned(100));
    let (_test, swarm) = reopen(test, swarm);
    assert_eq!(swarm.peers().expect("read"), [(peer(1), known)]);
    let mut many = SwarmPeer::default();
    for n in 0..=PEER_ADDRESSES_MAX as u8 {
        assert!(many.add_address(&[n]));
    }
    assert_eq!(many.addresses.len(), PEER_ADDRESSES_MAX);
    assert_eq!(many.addresses.last(), Some(&vec![1]), "the oldest goes");
    let put = |addresses| swarm.update_peer(&peer(2), |peer| peer.addresses = addresses);
    put(vec![vec![0; PEER_ADDRESS_LEN_MAX]; PEER_ADDRESSES_MAX]).expect("at the limits");
    assert!(is_limit(put(vec![vec![0]; PEER_ADDRESSES_MAX + 1]), PEER_ADDRESSES_MAX));
    assert!(is_limit(put(vec![vec![0; PEER_ADDRESS_LEN_MAX + 1]]), PEER_ADDRESS_LEN_MAX));
    assert!(swarm.remove_peer(&peer(1)).expect("written"));
    assert!(!swarm.remove_peer(&peer(1)).expect("written"));
    assert_eq!(swarm.peers().expect("read").len(), 1);
}

#[test]
fn the_longest_unheard_of_peer_goes_and_an_allowed_one_never() {
    let (_test, swarm) = fixture();
    let put = |n: u16, change: fn(&mut SwarmPeer)| {
        swarm.update_peer(&peer(n), |peer| {
            peer.last_good_unix = u64::from(n);
            change(peer);
        })
    };
    for n in 1..=PEERS_MAX as u16 {
        put(n, |_| ()).expect("known");
    }
    put(1, |peer| peer.is_allowed = true).expect("known");
    put(2, |peer| peer.banned_until_unix = u64::MAX).expect("known");
    put(5000, |_| ()).expect("known");
    let known = |n| swarm.peer(&peer(n)).expect("read").is_some();
    let share = (PEERS_MAX / 16) as u16;
    assert_eq!([1, 2, 3, share + 2].map(known), [true, true, false, false]);
    assert_eq!([share + 3, 5000].map(known), [true, true]);
    let mut batch = swarm.db.batch();
    for (id, peer) in swarm.peers().expect("read") {
        let peer = SwarmPeer { is_allowed: true, ..peer };
        batch.put(Family::Swarm, &peers::peer_key(&id), &peers::encode(&peer));
    }
    // There are PEERS_MAX - share + 1 now: one is left to come after these.
    for n in 6002..6000 + share {
        let peer_row = SwarmPeer { is_allowed: true, ..SwarmPeer::default() };
        batch.put(Family::Swarm, &peers::peer_key(&peer(n)), &peers::encode(&peer_row));
    }
    swarm.db.commit(batch, Durability::Synced).expect("written");
    swarm.tallies.lock().peers = None;
    put(7000, |peer| peer.is_allowed = true).expect("the last");
    assert_eq!(swarm.peers().expect("read").len(), PEERS_MAX);
    assert!(is_limit(put(7001, |_| ()), PEERS_MAX));
    assert_eq!(swarm.peers().expect("read").len(), PEERS_MAX);
    put(1, |peer| peer.sent_len = 1).expect("one that is known is changed all the same");
}

fn value(source: u16, bytes: &[u8]) -> DhtValue {
    DhtValue { source: peer(source), expires_unix: 10, stored_unix: 1, bytes: bytes.to_vec() }
}

fn provider(expires_unix: u64) -> DhtProvider {
    DhtProvider { expires_unix, stored_unix: 1, addresses: vec![vec![1]] }
}

#[test]
fn values_of_the_dht_have_limits_by_length_and_source() {
    let (test, swarm) = fixture();
    swarm.put_dht_value(&at(0), &value(1, &[0; SWARM_RECORD_LEN_MAX])).expect("at the limit");
    let past = swarm.put_dht_value(&at(0), &value(1, &[0; SWARM_RECORD_LEN_MAX + 1]));
    assert!(is_limit(past, SWARM_RECORD_LEN_MAX));
    for n in 1..DHT_KEYS_PER_PEER_MAX as u16 {
        swarm.put_dht_value(&at(n), &value(1, b"")).expect("put");
    }
    assert!(is_limit(swarm.put_dht_value(&at(600), &value(1, b"")), DHT_KEYS_PER_PEER_MAX));
    let as_provider = swarm.put_dht_provider(&at(600), &peer(1), &provider(10));
    assert!(is_limit(as_provider, DHT_KEYS_PER_PEER_MAX));
    swarm.put_dht_value(&at(1), &value(1, b"again")).expect("replaced");
    swarm.put_dht_value(&at(600), &value(2, b"")).expect("another peer's");
    let taken = swarm.put_dht_value(&at(600), &value(1, b""));
    assert!(is_limit(taken, DHT_KEYS_PER_PEER_MAX), "another's key counts too");
    swarm.put_dht_value(&at(2), &value(2, b"")).expect("taken over");
    swarm.put_dht_value(&at(601), &value(1, b"")).expect("there is room again");
    assert!(swarm.remove_dht_value(&at(3)).expect("removed"));
    assert!(!swarm.remove_dht_value(&at(3)).expect("removed"));
    swarm.put_dht_provider(&at(3), &peer(1), &provider(10)).expect("there is room again");
    let counts = DhtCounts { values: DHT_KEYS_PER_PEER_MAX + 1, providers: 1 };
    assert_eq!(swarm.dht_counts().expect("counted"), counts);
    let (_test, swarm) = reopen(test, swarm);
    assert_eq!(swarm.dht_counts().expect("counted"), counts);
    assert!(is_limit(swarm.put_dht_value(&at(602), &value(1, b"")), DHT_KEYS_PER_PEER_MAX));
    assert_eq!(swarm.dht_values().count(), counts.values);
    assert_eq!(swarm.drop_ended_dht(9).expect("dropped"), 0);
    assert_eq!(swarm.drop_ended_dht(10).expect("dropped"), counts.values + 1);
    assert_eq!(swarm.dht_counts().expect("counted"), DhtCounts::default());
}

#[test]
fn providers_of_the_dht_have_limits() {
    let (_test, swarm) = fixture();
    let put = |key, n, row: &DhtProvider| swarm.put_dht_provider(&at(key), &peer(n), row);
    for n in 0..DHT_PROVIDERS_PER_KEY_MAX as u16 {
        put(1, n, &provider(u64::from(n))).expect("put");
    }
    assert!(is_limit(put(1, 100, &provider(9)), DHT_PROVIDERS_PER_KEY_MAX));
    put(1, 5, &provider(99)).expect("replaced");
    put(2, 100, &provider(9)).expect("another key");
    let row = |addresses| DhtProvider { addresses, ..provider(9) };
    put(2, 1, &row(vec![vec![0; PEER_ADDRESS_LEN_MAX]; PEER_ADDRESSES_MAX])).expect("at them");
    assert!(is_limit(put(2, 2, &row(vec![vec![0]; PEER_ADDRESSES_MAX + 1])), PEER_ADDRESSES_MAX));
    let long = row(vec![vec![0; PEER_ADDRESS_LEN_MAX + 1]]);
    assert!(is_limit(put(2, 2, &long), PEER_ADDRESS_LEN_MAX));
    let listed = swarm.dht_providers(&at(1)).expect("read");
    assert_eq!((listed.len(), &listed[5]), (DHT_PROVIDERS_PER_KEY_MAX, &(peer(5), provider(99))));
    assert_eq!(swarm.all_dht_providers().count(), DHT_PROVIDERS_PER_KEY_MAX + 2);
    assert!(swarm.remove_dht_provider(&at(1), &peer(0)).expect("removed"));
    assert!(!swarm.remove_dht_provider(&at(1), &peer(0)).expect("removed"));
    put(1, 100, &provider(9)).expect("there is room again");
}

#[test]
fn the_dht_has_limits_in_all() {
    let (_test, swarm) = fixture();
    let mut batch = swarm.db.batch();
    for n in 0..DHT_VALUES_MAX as u16 - 1 {
        let row = [&[1][..], &[0; 16], &[2], &n.to_be_bytes()].concat();
        batch.put(Family::Swarm, &key(VALUE, &[at(n).as_bytes()]), &row);
    }
    for n in 0..DHT_PROVIDERS_MAX - 1 {
        let (row, n) = ([&[1][..], &[0; 17]].concat(), n as u16);
        let (at, peer) = (at(n / 60), n.to_be_bytes());
        batch.put(Family::Swarm, &key(PROVIDER, &[at.as_bytes(), &peer]), &row);
    }
    swarm.db.commit(batch, Durability::Logged).expect("written");
    swarm.put_dht_value(&at(60_000), &value(0, b"")).expect("the last");
    assert!(is_limit(swarm.put_dht_value(&at(60_001), &value(0, b"")), DHT_VALUES_MAX));
    swarm.put_dht_provider(&at(60_000), &peer(0), &provider(9)).expect("the last");
    let past = swarm.put_dht_provider(&at(60_001), &peer(0), &provider(9));
    assert!(is_limit(past, DHT_PROVIDERS_MAX));
    let counts = DhtCounts { values: DHT_VALUES_MAX, providers: DHT_PROVIDERS_MAX };
    assert_eq!(swarm.dht_counts().expect("counted"), counts);
}
