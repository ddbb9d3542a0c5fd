//! Packs written entry by entry, right or wrong on purpose.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use mega_storage::object::{ObjectKind, hash_object};

pub const OFS_DELTA: u8 = 6;
pub const REF_DELTA: u8 = 7;

/// What an entry's delta is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Base {
    None,
    /// So many entries before, or a distance in bytes as it is.
    Entry(usize),
    Distance(u64),
    Id([u8; 20]),
}

/// An entry of a pack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// 0 to 7.
    pub kind: u8,
    pub base: Base,
    /// Inflated: an object, or a delta's instructions.
    pub data: Vec<u8>,
    /// A length that is not the data's.
    pub lie: Option<u64>,
    /// The deflate stream, when it is not to be made of the data.
    pub stream: Option<Vec<u8>>,
}

/// A pack of entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pack {
    pub version: u32,
    /// A count that is not the entries'.
    pub count: Option<u32>,
    pub entries: Vec<Entry>,
}

impl Entry {
    pub fn whole(kind: u8, data: &[u8]) -> Self {
        Self { kind, base: Base::None, data: data.to_vec(), lie: None, stream: None }
    }
}

impl Pack {
    pub fn new(entries: Vec<Entry>) -> Self {
        Self { version: 2, count: None, entries }
    }

    /// Writes the pack with its checksum.
    pub fn write(&self) -> Vec<u8> {
        let mut out = b"PACK".to_vec();
        out.extend(self.version.to_be_bytes());
        out.extend(self.count.unwrap_or(self.entries.len() as u32).to_be_bytes());
        let mut starts = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            starts.push(out.len());
            let len = entry.lie.unwrap_or(entry.data.len() as u64);
            put_header(&mut out, entry.kind, len);
            match &entry.base {
                Base::None => {}
                Base::Id(id) => out.extend(id),
                Base::Distance(distance) => put_distance(&mut out, *distance),
                Base::Entry(back) => {
                    let base = index.checked_sub(*back).and_then(|base| starts.get(base));
                    let distance = base.map_or(1, |base| starts[index] - base);
                    put_distance(&mut out, distance as u64);
                }
            }
            match &entry.stream {
                Some(stream) => out.extend(stream),
                None => out.extend(deflate(&entry.data)),
            }
        }
        checksum(&mut out);
        out
    }
}

/// An entry's header: kind and length.
pub fn put_header(out: &mut Vec<u8>, kind: u8, len: u64) {
    let mut byte = (kind << 4) | (len & 15) as u8;
    let mut rest = len >> 4;
    while rest > 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

fn put_distance(out: &mut Vec<u8>, distance: u64) {
    let mut bytes = vec![(distance & 0x7f) as u8];
    let mut rest = distance >> 7;
    while rest > 0 {
        rest -= 1;
        bytes.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.extend(bytes.iter().rev());
}

pub fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

/// Adds the SHA-1 of what is there.
pub fn checksum(out: &mut Vec<u8>) {
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
    hasher.update(out);
    let id = hasher.try_finalize().expect("no attack");
    out.extend(id.as_slice());
}

/// The id of an entry that is an object.
pub fn id_of(entry: &Entry) -> Option<[u8; 20]> {
    let kinds = [ObjectKind::Commit, ObjectKind::Tree, ObjectKind::Blob, ObjectKind::Tag];
    let kind = kinds.get(usize::from(entry.kind).checked_sub(1)?)?;
    hash_object(*kind, &entry.data).ok().map(|id| *id.as_bytes())
}
