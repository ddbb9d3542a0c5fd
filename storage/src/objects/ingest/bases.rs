//! Which entry each delta is made against, before anything is resolved.
//!
//! A base named by offset is in the pack. One named by id is a thin pack's, looked for in the
//! pusher's repository alone and appended to the quarantine file; or it is in the pack as well, and
//! an index tells where.

use std::collections::{BTreeMap, BTreeSet};

use gix_pack::data::entry::Header;

use super::quarantine::{Quarantine, io_error, malformed};
use super::{PackLimits, by_id};
use crate::error::{PackError, Result, StoreError};
use crate::id::{ObjectId, RepoId};
use crate::object::ObjectKind;
use crate::objects::ObjectStore;
use crate::row::put_varint;

const SHA1: gix_hash::Kind = gix_hash::Kind::Sha1;
/// Appended bases are read once and thrown away: speed before size.
const APPENDED_LEVEL: u32 = 1;

/// An entry of the quarantine file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Offset of the deflate stream.
    pub(super) stream: u64,
    /// Where the entry ends.
    pub(super) end: u64,
    /// Length that the stream inflates to, as the header says.
    pub(super) stream_len: u64,
    /// Position of the entry that this one is a delta against.
    pub(super) base: Option<u32>,
    /// For a base that was appended: the object that it must be.
    pub(super) outside: Option<ObjectId>,
}

/// How an entry names its base.
pub(super) enum BaseName {
    None,
    Offset(u64),
    Id(ObjectId),
}

/// All entries in the order of their offsets, every delta's base known. Bases from outside become
/// entries too.
pub(super) fn link(
    store: &ObjectStore,
    repo: RepoId,
    quarantine: &mut Quarantine,
    limits: &PackLimits,
) -> Result<Vec<Entry>> {
    let (mut entries, mut names) = read_headers(quarantine)?;
    let wanted: BTreeSet<ObjectId> = names
        .iter()
        .filter_map(|name| if let BaseName::Id(id) = name { Some(*id) } else { None })
        .collect();
    let mut outside = BTreeMap::new();
    if quarantine.index.is_none() && !wanted.is_empty() {
        let first = entries.len();
        let ids = append_bases(store, repo, wanted, quarantine, limits)?;
        let (all, all_names) = read_headers(quarantine)?;
        (entries, names) = (all, all_names);
        for (number, id) in ids.into_iter().enumerate() {
            let position = first + number;
            entries[position].outside = Some(id);
            outside.insert(id, position as u32);
        }
    }
    let inside = if quarantine.index.is_none()
        && names.iter().any(|n| matches!(n, BaseName::Id(id) if !outside.contains_key(id)))
    {
        by_id::find(quarantine, &entries, &names, &outside, limits)?
    } else {
        BTreeMap::new()
    };
    for (position, name) in names.iter().enumerate() {
        let base = match name {
            BaseName::None => continue,
            BaseName::Offset(offset) => position_at(quarantine, *offset),
            BaseName::Id(id) => match &quarantine.index {
                Some(index) => {
                    let entry = index.lookup(gix_hash::ObjectId::from(*id));
                    entry.and_then(|e| position_at(quarantine, index.pack_offset_at_index(e)))
                }
                None => outside.get(id).or_else(|| inside.get(id)).copied(),
            },
        };
        entries[position].base = Some(base.ok_or_else(|| unresolved(1, name))?);
    }
    Ok(entries)
}

fn read_headers(quarantine: &Quarantine) -> Result<(Vec<Entry>, Vec<BaseName>)> {
    let pack = quarantine.map()?;
    let mut entries = Vec::with_capacity(quarantine.offsets.len());
    let mut names = Vec::with_capacity(quarantine.offsets.len());
    for (position, &offset) in quarantine.offsets.iter().enumerate() {
        let end = quarantine.entry_end(position);
        let bytes = pack.entry_slice(offset..end).filter(|b| !b.is_empty());
        let bytes =
            bytes.ok_or_else(|| malformed(format!("there is no entry at offset {offset}")))?;
        let entry = gix_pack::data::Entry::from_bytes(bytes, offset, SHA1)
            .map_err(|e| malformed(format!("the entry at offset {offset}: {e}")))?;
        names.push(match entry.header {
            Header::OfsDelta { base_distance } => {
                let base = Header::verified_base_pack_offset(offset, base_distance);
                BaseName::Offset(base.ok_or_else(|| {
                    malformed(format!("the delta at offset {offset} has its base before the pack"))
                })?)
            }
            Header::RefDelta { base_id } => BaseName::Id(ObjectId::from(base_id.as_ref())),
            Header::Commit | Header::Tree | Header::Blob | Header::Tag => BaseName::None,
        });
        entries.push(Entry {
            stream: offset + entry.header_size() as u64,
            end,
            stream_len: entry.decompressed_size,
            base: None,
            outside: None,
        });
    }
    Ok((entries, names))
}

/// Invariant 3: bases come from this repository only, whatever else the store holds.
///
/// Their lengths are known before any is inflated: a pack of 26-byte entries could name all that
/// the repository has.
fn append_bases(
    store: &ObjectStore,
    repo: RepoId,
    wanted: BTreeSet<ObjectId>,
    quarantine: &mut Quarantine,
    limits: &PackLimits,
) -> Result<Vec<ObjectId>> {
    let wanted: Vec<ObjectId> = wanted.into_iter().collect();
    let members = store.are_members(repo, &wanted)?;
    let limit = limits.inflated_len(quarantine.pack_len);
    let mut ids = Vec::new();
    for (id, _) in wanted.into_iter().zip(members).filter(|(_, member)| *member) {
        let Some(header) = store.header(&id)? else { continue };
        quarantine.base_len_max = quarantine.base_len_max.max(header.len);
        quarantine.base_len = quarantine.base_len.saturating_add(header.len);
        if quarantine.base_len > limit {
            return Err(PackError::Expansion { limit, pack_len: quarantine.pack_len }.into());
        }
        ids.push(id);
    }
    quarantine.append(ids.iter().map(|id| {
        let object = store.read(id)?.ok_or(StoreError::MissingObject { id: *id })?;
        whole_entry(object.kind, &object.data, APPENDED_LEVEL)
    }))?;
    Ok(ids)
}

/// A pack entry that holds an object whole.
fn whole_entry(kind: ObjectKind, data: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut entry = Vec::new();
    entry_header(&mut entry, kind.pack_type(), data.len() as u64);
    super::whole::deflate(data, level, &mut entry).map_err(io_error)?;
    Ok(entry)
}

/// Type and length at the front of a pack entry (gitformat-pack).
pub(in crate::objects) fn entry_header(out: &mut Vec<u8>, pack_type: u8, len: u64) {
    let first = (pack_type << 4) | (len & 0x0f) as u8;
    let rest = len >> 4;
    if rest == 0 {
        out.push(first);
    } else {
        out.push(first | 0x80);
        put_varint(out, rest);
    }
}

/// Position of the entry that starts at `offset`.
pub(super) fn position_at(quarantine: &Quarantine, offset: u64) -> Option<u32> {
    quarantine.offsets.binary_search(&offset).ok().map(|position| position as u32)
}

pub(super) fn unresolved(count: usize, name: &BaseName) -> PackError {
    let base = match name {
        BaseName::Id(id) => id.to_string(),
        BaseName::Offset(offset) => format!("the entry at offset {offset}"),
        BaseName::None => "an unknown object".to_owned(),
    };
    PackError::UnresolvedDeltas { count, base }
}
