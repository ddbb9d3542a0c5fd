//! Packs taken apart into entries, changed, and written again with right offsets, lengths, deflate
//! streams and checksum, so that a change gets past them; now and then one of them is left wrong.

use std::io::Read;

use flate2::bufread::ZlibDecoder;
use mega_tools::fuzz::mutate;
use mega_tools::random::Random;

pub use crate::pack_write::{Base, Entry, Pack, id_of};
use crate::pack_write::{OFS_DELTA, REF_DELTA, checksum, deflate};

const HEADER_LEN: usize = 12;
const TRAILER_LEN: usize = 20;
/// Longest entry that is taken apart, inflated, in bytes.
const DATA_LEN_MAX: u64 = 4 << 20;

/// Takes a pack apart, as far as it can be.
pub fn parse(input: &[u8]) -> Option<Pack> {
    let (header, _) = input.split_at_checked(HEADER_LEN)?;
    let version = u32::from_be_bytes(header[4..8].try_into().ok()?);
    let end = input.len().checked_sub(TRAILER_LEN)?;
    let mut starts = Vec::new();
    let mut entries = Vec::new();
    let mut at = HEADER_LEN;
    while at < end {
        starts.push(at);
        let Some((entry, len)) = parse_entry(&input[at..end], at, &starts) else { break };
        entries.push(entry);
        at += len;
    }
    header.starts_with(b"PACK").then_some(Pack { version, count: None, entries })
}

/// Inflated data of all entries that could be taken apart, one after the other.
pub fn contents(pack: &Pack) -> Vec<u8> {
    pack.entries.iter().flat_map(|entry| entry.data.iter().copied()).collect()
}

fn parse_entry(input: &[u8], at: usize, starts: &[usize]) -> Option<(Entry, usize)> {
    let mut bytes = input.iter().copied();
    let mut byte = bytes.next()?;
    let (kind, mut len, mut shift) = ((byte >> 4) & 7, u64::from(byte & 15), 4);
    while byte & 0x80 != 0 {
        byte = bytes.next()?;
        len |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
    }
    let base = match kind {
        OFS_DELTA => {
            byte = bytes.next()?;
            let mut distance = u64::from(byte & 0x7f);
            while byte & 0x80 != 0 {
                byte = bytes.next()?;
                distance = (distance.checked_add(1)? << 7) | u64::from(byte & 0x7f);
            }
            let start = at.checked_sub(usize::try_from(distance).ok()?);
            let entry = start.and_then(|start| starts.binary_search(&start).ok());
            entry.map_or(Base::Distance(distance), |base| Base::Entry(starts.len() - 1 - base))
        }
        REF_DELTA => {
            let id: Vec<u8> = bytes.by_ref().take(20).collect();
            Base::Id(id.try_into().ok()?)
        }
        _ => Base::None,
    };
    let head_len = input.len() - bytes.len();
    let mut decoder = ZlibDecoder::new(&input[head_len..]);
    let mut data = Vec::new();
    decoder.by_ref().take(DATA_LEN_MAX).read_to_end(&mut data).ok()?;
    let stream_len = usize::try_from(decoder.total_in()).ok()?;
    let lie = (data.len() as u64 != len).then_some(len);
    Some((Entry { kind, base, data, lie, stream: None }, head_len + stream_len))
}

/// A new pack: mostly entries changed and all written right, sometimes bytes changed and the
/// checksum made anew, now and then anything.
pub fn mutated(corpus: &[Vec<u8>], dictionary: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let parsed = mutate::pick(corpus, random).and_then(|seed| parse(seed));
    match (parsed, random.below(8)) {
        (Some(mut pack), 0..=5) => {
            for _ in 0..1 + random.below(4) {
                change(&mut pack, corpus, dictionary, random);
            }
            pack.write()
        }
        (_, 7) => mutate::bytes(corpus, dictionary, random),
        _ => {
            let mut input = mutate::bytes(corpus, dictionary, random);
            input.truncate(input.len().saturating_sub(TRAILER_LEN));
            checksum(&mut input);
            input
        }
    }
}

fn change(pack: &mut Pack, corpus: &[Vec<u8>], dictionary: &[&[u8]], random: &mut Random) {
    let count = pack.entries.len();
    let at = random.below(count);
    match random.below(16) {
        0 => pack.count = Some(mutate::number(random) as u32),
        1 if random.once_in(4) => pack.version = mutate::number(random) as u32,
        2 if count > 1 => drop(pack.entries.remove(at)),
        3 if count > 1 => pack.entries.swap(at, random.below(count)),
        4 if count > 0 => {
            let copy = pack.entries[at].clone();
            pack.entries.insert(random.below(count + 1), copy);
        }
        5 => {
            let other = mutate::pick(corpus, random).and_then(|seed| parse(seed));
            if let Some(entry) = other.and_then(|p| mutate::pick(&p.entries, random).cloned()) {
                pack.entries.insert(random.below(count + 1), entry);
            }
        }
        _ => {
            let ids: Vec<[u8; 20]> = pack.entries.iter().filter_map(id_of).collect();
            if let Some(entry) = pack.entries.get_mut(at) {
                change_entry(entry, &ids, dictionary, random);
            }
        }
    }
}

fn change_entry(entry: &mut Entry, ids: &[[u8; 20]], dictionary: &[&[u8]], random: &mut Random) {
    match random.below(10) {
        0 => entry.lie = Some(mutate::number(random)),
        1 => {
            let mut stream = deflate(&entry.data);
            mutate::once(&mut stream, &[], dictionary, random);
            entry.stream = Some(stream);
        }
        2 => {
            entry.kind = random.below(8) as u8;
            entry.base = match entry.kind {
                OFS_DELTA => Base::Entry(random.below(8)),
                REF_DELTA => Base::Id(mutate::pick(ids, random).copied().unwrap_or([7; 20])),
                _ => Base::None,
            };
        }
        3 => {
            entry.base = match (&entry.base, random.below(3)) {
                (Base::None, _) => return,
                (_, 0) => {
                    entry.kind = REF_DELTA;
                    Base::Id(mutate::pick(ids, random).copied().unwrap_or([7; 20]))
                }
                (_, kind) => {
                    entry.kind = OFS_DELTA;
                    let distance = mutate::number(random) & (u64::MAX >> 1);
                    if kind == 1 { Base::Entry(random.below(16)) } else { Base::Distance(distance) }
                }
            };
        }
        4 if matches!(entry.base, Base::None) => {
            // Says that it is a delta of the same.
            entry.kind = REF_DELTA;
            entry.base = Base::Id(mutate::pick(ids, random).copied().unwrap_or([7; 20]));
            entry.data = vec![entry.data.len() as u8 & 0x7f, 0x90, 0x90, random.next() as u8];
        }
        _ => mutate::once(&mut entry.data, &[], dictionary, random),
    }
}
