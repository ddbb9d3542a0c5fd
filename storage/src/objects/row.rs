//! A row of the family `object`, byte by byte (see `storage/README.md`).
//!
//! Invariants: a whole row has depth 0; a delta row's depth is from 1 to [`DEPTH_MAX`] and greater
//! than its base's. Both are asserted when a row is written, and again at every hop of a read.

use super::limits::DEPTH_MAX;
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::object::{ObjectHeader, ObjectKind};
use crate::row::{put_varint, take_varint};

const FLAG_DELTA: u8 = 0x04;
const FLAG_PARTS: u8 = 0x08;
const FLAGS_KNOWN: u8 = 0x03 | FLAG_DELTA | FLAG_PARTS;

/// How the content is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// The deflate stream holds the content.
    Whole,
    /// The deflate stream holds instructions against another object.
    Delta {
        /// Deltas from here to a whole object.
        depth: u8,
        /// The other object.
        base: ObjectId,
        /// Length of the inflated instructions, in bytes.
        delta_len: u64,
    },
}

impl Encoding {
    /// Deltas to a whole object: 0 for one that is whole.
    pub(crate) fn depth(&self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Delta { depth, .. } => *depth,
        }
    }

    /// Length of what the deflate stream inflates to, for an object of `len` bytes.
    pub(crate) fn stream_len(&self, len: u64) -> u64 {
        match self {
            Self::Whole => len,
            Self::Delta { delta_len, .. } => *delta_len,
        }
    }
}

/// Where the deflate stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body<'a> {
    /// In the row.
    Inline(&'a [u8]),
    /// In the family `object_part`.
    Parts(Parts),
}

impl Body<'_> {
    /// Length of the stream, in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Inline(stream) => stream.len() as u64,
            Self::Parts(parts) => parts.len,
        }
    }
}

/// A stream in the family `object_part`.
///
/// Parts are written before the commit lock is taken, and one object may come as several streams at
/// once: the name keeps those that lose from writing into the one that was committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parts {
    /// Length in bytes.
    pub(crate) len: u64,
    /// The first half of the stream's SHA-256.
    pub(crate) stream: [u8; 16],
}

/// A row, borrowed from its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) header: ObjectHeader,
    pub(crate) encoding: Encoding,
    pub(crate) body: Body<'a>,
}

impl<'a> Row<'a> {
    /// Reads a row.
    pub(crate) fn parse(id: &ObjectId, value: &'a [u8]) -> Result<Self> {
        Self::decode(value).map_err(|reason| StoreError::DamagedRow {
            family: "object",
            key: id.to_string(),
            reason,
        })
    }

    fn decode(value: &'a [u8]) -> Result<Self, &'static str> {
        let (&flags, rest) = value.split_first().ok_or("it is empty")?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err("it has unknown flags");
        }
        let (len, mut rest) = take_varint(rest)?;
        let header = ObjectHeader { kind: ObjectKind::from_code(flags), len };
        let mut encoding = Encoding::Whole;
        if flags & FLAG_DELTA != 0 {
            let (delta_len, tail) = take_varint(rest)?;
            let (&depth, tail) = tail.split_first().ok_or("it ends in its head")?;
            let (base, tail) = tail.split_at_checked(ObjectId::LEN).ok_or("it ends in its head")?;
            let base = ObjectId::from_slice(base).ok_or("it ends in its head")?;
            if depth == 0 || depth > DEPTH_MAX {
                return Err("a delta's depth is out of range");
            }
            encoding = Encoding::Delta { depth, base, delta_len };
            rest = tail;
        }
        let body = if flags & FLAG_PARTS == 0 {
            Body::Inline(rest)
        } else {
            let (len, tail) = take_varint(rest)?;
            let stream = tail.try_into().map_err(|_| "its head does not end in a stream's name")?;
            Body::Parts(Parts { len, stream })
        };
        Ok(Self { header, encoding, body })
    }

    /// Writes the head, and the stream when it is inline, to the end of `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = self.header.kind.code();
        if let Encoding::Delta { depth, .. } = self.encoding {
            assert!(depth > 0 && depth <= DEPTH_MAX, "a delta's depth is from 1 to the cap");
            flags |= FLAG_DELTA;
        }
        if let Body::Parts(_) = self.body {
            flags |= FLAG_PARTS;
        }
        out.push(flags);
        put_varint(out, self.header.len);
        if let Encoding::Delta { depth, base, delta_len } = &self.encoding {
            put_varint(out, *delta_len);
            out.push(*depth);
            out.extend_from_slice(base.as_bytes());
        }
        match self.body {
            Body::Inline(stream) => out.extend_from_slice(stream),
            Body::Parts(Parts { len, stream }) => {
                put_varint(out, len);
                out.extend_from_slice(&stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ObjectId {
        ObjectId::from_bytes([7; 20])
    }

    #[test]
    fn golden_rows() {
        let whole = Row {
            header: ObjectHeader { kind: ObjectKind::Blob, len: 300 },
            encoding: Encoding::Whole,
            body: Body::Inline(b"\x78\x9c"),
        };
        let mut out = Vec::new();
        whole.encode(&mut out);
        assert_eq!(out, [0x02, 0xac, 0x02, 0x78, 0x9c]);
        assert_eq!(Row::parse(&id(), &out).expect("reads"), whole);

        let delta = Row {
            header: ObjectHeader { kind: ObjectKind::Tree, len: 5 },
            encoding: Encoding::Delta { depth: 250, base: id(), delta_len: 130 },
            body: Body::Parts(Parts { len: 1_048_577, stream: [9; 16] }),
        };
        out.clear();
        delta.encode(&mut out);
        let mut expected = vec![0x0d, 0x05, 0x82, 0x01, 250];
        expected.extend([7; 20]);
        expected.extend([0x81, 0x80, 0x40]);
        expected.extend([9; 16]);
        assert_eq!(out, expected);
        assert_eq!(Row::parse(&id(), &out).expect("reads"), delta);
    }

    #[test]
    fn damaged_rows_are_named() {
        let cases: [&[u8]; 7] = [
            &[],
            &[0x80, 0],
            &[0x02, 0x80],
            &[0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x04, 1, 1, 0],
            &[0x0a, 1, 1, 9],
            &[0x04, 1, 1, 251, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        for bytes in cases {
            assert!(Row::parse(&id(), bytes).is_err(), "{bytes:?}");
        }
    }
}
