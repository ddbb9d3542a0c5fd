//! The bytes of a record, made by a program of its own (canonical CBOR by hand, another ed25519).

use mega_storage::FileId;

use super::*;

const RECORD: &str = "\
    a2637369675840df6e1e76578255c505b25c0031f95018dbdcc3f21fc03018371ce8236326f42b51a950\
    e4062f14cc2b7de29616333ca2610d7f82c6909b98221e2e4b9059c4076576616c7565590165ad617601\
    63656f6c1a6b4c7500637269645820faf640e956b1a2f59a5b775659c9afa83ef798b20939bc051d1c48\
    1be2e5a70e63736571056468656164540202020202020202020202020202020202020202646e616d656c\
    6d6f64656c732f6c6c616d61647265667358200101010101010101010101010101010101010101010101\
    0101010101010101016561646472738148047f000001060fa165666f726b7381a3637365710364706565\
    7258260024080112201398f62c6d1a457c51ba6a4b5f3dbd2f69fca93216218dc8997e416bd17d93ca66\
    6973737565641a6b49d1f6656e6f6e63655009090909090909090909090909090909666973737565641a\
    6b49d200666f726967696e5826002408011220ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b\
    92421eea691446d22c697075626c69736865725826002408011220ea4a6c63e29c520abef5507b132ec5\
    f9954776aebebe7b92421eea691446d22c";

#[test]
fn the_bytes_of_a_record() {
    let one = identity(7);
    let record = signed(&one, |_| ());
    let hex: String = record.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, RECORD);
    assert_eq!(accept_as(&claims(&one, &one), record.bytes()), Ok(record));
}

#[test]
fn ids_and_places() {
    let one = identity(7);
    let claims = claims(&one, &one);
    let rid = "b7l3eb2kwwgrplgs3o5lftsnpva7ppgfsbe43ybi5drebxyxfu4ha";
    assert_eq!(claims.rid.to_string(), rid);
    let keys = [
        (claims.slot().key(), "876da119de0a67a1081e539e013a88d5c33a516c3a5ff32901c0d81a845121ae"),
        (
            providers_key(&claims.rid),
            "5f5dd709058cb70a22a5d294ec27c3ff7765c6536f090cf638814642a23661a5",
        ),
        (
            forks_key(&claims.rid),
            "e3fbda2b4fc124fddc056bf8918e1d29105792b0050906599abd707db6e6cf35",
        ),
        (
            file_key(&FileId::from_bytes([3; 32])),
            "a57b65f3052db0c46cd89b3fadbfd1704abd8ea6730681f140f76706d347f547",
        ),
    ];
    let at = name_key(&claims.publisher, &claims.name);
    let hex = "bd931a514d4e1d5d1c09a01a33af5758d48f8f2742698adb83f9a49c2c33116a";
    assert_eq!(format!("{at:?}"), hex);
    for (key, hex) in keys {
        assert_eq!(format!("{key:?}"), hex);
    }
    assert_ne!(new_nonce().expect("random"), new_nonce().expect("random"));
}

#[test]
fn fields_are_those_that_are_described() {
    let mut all = claims(&identity(7), &identity(7));
    all.called = Some(name("other"));
    all.is_public = true;
    let mut few = all.clone();
    (few.called, few.head, few.is_public) = (None, None, false);
    (few.addresses, few.forks) = (Vec::new(), Vec::new());
    for claims in [all, few] {
        assert_eq!(codec::encode_claims(&claims), cbor::encode(&Cbor::Map(cbor::fields(&claims))));
    }
}
