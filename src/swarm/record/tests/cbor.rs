//! Any dag-cbor, to make what no honest encoder would.

use std::collections::BTreeMap;

use serde::ser::{Serialize, Serializer};

use super::*;

#[derive(Clone)]
pub(super) enum Cbor {
    Null,
    True,
    False,
    Number(u64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Cbor>),
    Map(Fields),
}

pub(super) type Fields = BTreeMap<&'static str, Cbor>;

impl Serialize for Cbor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::False => serializer.serialize_bool(false),
            Self::True => serializer.serialize_bool(true),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::List(list) => list.serialize(serializer),
            Self::Map(fields) => fields.serialize(serializer),
        }
    }
}

pub(super) fn bytes(of: &[u8]) -> Cbor {
    Cbor::Bytes(of.to_vec())
}

pub(super) fn encode(value: &Cbor) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("encoded")
}

/// The fields of a record, named here once more.
pub(super) fn fields(claims: &RecordClaims) -> Fields {
    let mut fields = Fields::from([
        ("v", Cbor::Number(1)),
        ("rid", bytes(claims.rid.as_bytes())),
        ("origin", bytes(&claims.origin.to_bytes())),
        ("nonce", bytes(claims.nonce.as_bytes())),
        ("name", Cbor::Text(claims.name.to_string())),
        ("publisher", bytes(&claims.publisher.to_bytes())),
        ("refs", bytes(claims.refs.as_bytes())),
        ("seq", Cbor::Number(claims.seq)),
        ("issued", Cbor::Number(claims.issued_unix)),
        ("eol", Cbor::Number(claims.eol_unix)),
    ]);
    if let Some(head) = &claims.head {
        fields.insert("head", bytes(head.as_bytes()));
    }
    if claims.is_public {
        fields.insert("public", Cbor::True);
    }
    if let Some(called) = &claims.called {
        fields.insert("called", Cbor::Text(called.to_string()));
    }
    let addresses: Vec<_> = claims.addresses.iter().map(|addr| bytes(addr.as_ref())).collect();
    let forks: Vec<_> = claims.forks.iter().map(fork_fields).map(Cbor::Map).collect();
    for (key, list) in [("addrs", addresses), ("forks", forks)] {
        if !list.is_empty() {
            fields.insert(key, Cbor::List(list));
        }
    }
    fields
}

fn fork_fields(fork: &ForkHint) -> Fields {
    let mut fields = Fields::from([
        ("peer", bytes(&fork.peer.to_bytes())),
        ("seq", Cbor::Number(fork.seq)),
        ("issued", Cbor::Number(fork.issued_unix)),
    ]);
    if let Some(head) = &fork.head {
        fields.insert("head", bytes(head.as_bytes()));
    }
    fields
}
