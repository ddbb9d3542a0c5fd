//! The one pass over a pack: every object inflated once by gix-pack's delta tree, hashed, checked,
//! searched for a pointer, while its bytes are at hand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gix_error::ErrorExt;
use gix_pack::cache::delta::Tree;
use gix_pack::cache::delta::traverse::{Context, Options};
use gix_utils::progress::Discard;
use parking_lot::Mutex;

use super::bases::{Entry, Linked};
use super::quarantine::{Quarantine, malformed};
use super::{PackLimits, limits};
use crate::error::{PackError, Result, StoreError};
use crate::id::ObjectId;
use crate::object::check::{self, Problem, SpecialBlobs};
use crate::object::pointer::{POINTER_LEN_MAX, parse_pointer};
use crate::object::{ObjectKind, hash_object};
use crate::objects::delta;
use crate::progress::Progress;
use crate::read::Pointer;

const SHA1: gix_hash::Kind = gix_hash::Kind::Sha1;
/// Objects between two looks at whether to stop, and two words of progress.
const STEP: u64 = 512;

/// Later reads of a pack may inflate this many times what its objects may in the one pass.
const REPLAY_FACTOR: u64 = 2;

/// An object of the pack, its content known to be what its id says.
#[derive(Clone, Debug)]
pub(super) struct PackObject {
    pub(super) id: ObjectId,
    pub(super) kind: ObjectKind,
    pub(super) len: u64,
    pub(super) pointer: Option<Box<Pointer>>,
}

/// All objects of a pack, in the order of its entries.
pub(super) struct Resolved {
    pub(super) entries: Vec<Entry>,
    pub(super) objects: Vec<PackObject>,
    pub(super) problems: Vec<(ObjectId, Problem)>,
    pub(super) problem_count: u64,
    /// Blobs that trees name `.gitmodules` or `.gitattributes`.
    pub(super) special: SpecialBlobs,
    pub(super) inflated_len: u64,
    /// Bytes that later reads of the pack may inflate.
    pub(super) replay_len_max: u64,
}

/// An entry on its way through the tree.
struct Slot {
    offset: u64,
    object: Option<PackObject>,
}

struct Inspection<'a> {
    /// Set for a pack whose entries were found by its index alone: nobody has seen yet that they
    /// end where it says.
    ends_unknown: Option<gix_pack::data::File>,
    progress: &'a dyn Progress,
    inflated_len: AtomicU64,
    inflated_len_max: u64,
    pack_len: u64,
    done: AtomicU64,
    stop: AtomicBool,
    failure: Mutex<Option<StoreError>>,
    problems: Mutex<Vec<(ObjectId, Problem)>>,
    problem_count: AtomicU64,
    special: Mutex<SpecialBlobs>,
}

/// Resolves and inspects every entry, on all cores.
pub(super) fn resolve(
    quarantine: &Quarantine,
    linked: Linked,
    limits: &PackLimits,
    progress: &dyn Progress,
) -> Result<Resolved> {
    let object_len_max = quarantine.object_len_max(limits);
    let too_large =
        PackError::ObjectTooLarge { limit: object_len_max, pack_len: quarantine.pack_len };
    if linked.entries.iter().any(|e| e.stream_len > object_len_max) {
        return Err(too_large.into());
    }
    let inspection = Inspection {
        ends_unknown: quarantine.index.is_some().then(|| quarantine.map()).transpose()?,
        progress,
        inflated_len: AtomicU64::new(0),
        inflated_len_max: quarantine.inflated_len_max(limits),
        pack_len: quarantine.pack_len,
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
        problems: Mutex::new(Vec::new()),
        problem_count: AtomicU64::new(0),
        special: Mutex::new(SpecialBlobs::default()),
    };
    let mut slots = Vec::new();
    if !linked.entries.is_empty() {
        slots = traverse(quarantine, &linked, object_len_max, &inspection).map_err(|error| {
            inspection.failure.lock().take().unwrap_or_else(|| tree_error(&error, too_large))
        })?;
    }
    let entries = linked.entries;
    slots.sort_unstable_by_key(|slot| slot.offset);
    let objects: Option<Vec<PackObject>> = slots.into_iter().map(|slot| slot.object).collect();
    let objects = objects.filter(|o| o.len() == entries.len());
    let objects = objects.ok_or_else(|| malformed("deltas form a cycle"))?;
    for (entry, object) in entries.iter().zip(&objects) {
        if entry.outside.is_some_and(|id| id != object.id) {
            return Err(StoreError::Collision { id: object.id });
        }
    }
    Ok(Resolved {
        entries,
        objects,
        problems: inspection.problems.into_inner(),
        problem_count: inspection.problem_count.into_inner(),
        special: inspection.special.into_inner(),
        inflated_len: inspection.inflated_len.into_inner(),
        replay_len_max: inspection.inflated_len_max.saturating_mul(REPLAY_FACTOR),
    })
}

fn traverse(
    quarantine: &Quarantine,
    linked: &Linked,
    object_len_max: u64,
    inspection: &Inspection<'_>,
) -> gix_error::Result<Vec<Slot>> {
    let slots = quarantine.offsets.iter().map(|&offset| Slot { offset, object: None });
    let tree = Tree::from_offsets_in_pack(
        &quarantine.path,
        slots,
        &|slot: &Slot| slot.offset,
        &|id| Ok(linked.by_id.get(&ObjectId::from(id)).copied()),
        &mut Discard,
        &inspection.stop,
        SHA1,
    )?;
    let pack = gix_pack::data::File::at(&quarantine.path, SHA1)?;
    let outcome = tree.traverse(
        |range, pack: &gix_pack::data::File| pack.entry_slice(range),
        &pack,
        quarantine.end,
        |slot: &mut Slot, _progress: &_, context: Context<'_>| {
            inspection.inspect(slot, &context).map_err(|error| {
                inspection.failure.lock().get_or_insert(error);
                gix_error::message("refused").raise()
            })
        },
        Options {
            object_progress: Box::new(Discard),
            size_progress: &mut Discard,
            thread_limit: None,
            should_interrupt: &inspection.stop,
            object_hash: SHA1,
            alloc_limit_bytes: Some(usize::try_from(object_len_max).unwrap_or(usize::MAX)),
        },
    )?;
    Ok(outcome.roots.into_iter().chain(outcome.children).map(|item| item.data).collect())
}

impl Inspection<'_> {
    fn inspect(&self, slot: &mut Slot, context: &Context<'_>) -> Result<()> {
        let data = context.decompressed;
        let len = data.len() as u64;
        let inflated = self.inflated_len.fetch_add(len, Ordering::Relaxed) + len;
        if inflated > self.inflated_len_max {
            let limit = self.inflated_len_max;
            return Err(PackError::Expansion { limit, pack_len: self.pack_len }.into());
        }
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(STEP) {
            self.progress.advance(STEP);
            if self.progress.interrupted() {
                return Err(StoreError::Interrupted);
            }
        }
        let kind = context.entry.header.as_kind().ok_or_else(|| malformed("a base is a delta"))?;
        let kind = ObjectKind::from(kind);
        if let Some(pack) = &self.ends_unknown {
            check_stream(pack, slot.offset, context)?;
        }
        let attack = PackError::CollisionAttack { offset: slot.offset };
        let id = hash_object(kind, data).map_err(|_| attack)?;
        let pointer = if kind == ObjectKind::Blob && data.len() <= POINTER_LEN_MAX {
            parse_pointer(data).map(Box::new)
        } else {
            None
        };
        self.check(kind, &id, data);
        slot.object = Some(PackObject { id, kind, len, pointer });
        Ok(())
    }

    fn check(&self, kind: ObjectKind, id: &ObjectId, data: &[u8]) {
        if kind == ObjectKind::Blob {
            return;
        }
        let mut found = Vec::new();
        let mut special = SpecialBlobs::default();
        check::check_object_noting(kind, data, &mut special, &mut found);
        if !special.is_empty() {
            self.special.lock().merge(special);
        }
        if found.is_empty() {
            return;
        }
        self.problem_count.fetch_add(found.len() as u64, Ordering::Relaxed);
        let mut problems = self.problems.lock();
        if problems.len() < limits::PROBLEMS_MAX {
            problems.extend(found.into_iter().map(|problem| (*id, problem)));
        }
    }
}

/// Inflates an entry once more, to its very end. gix-pack stops where the announced length is
/// reached: a stream that goes on, is cut off or is followed by other bytes would be taken in and
/// never be read again.
fn check_stream(pack: &gix_pack::data::File, offset: u64, context: &Context<'_>) -> Result<()> {
    let start = offset + context.entry.header_size() as u64;
    let stream = pack.entry_slice(start..context.entry_end);
    let stream = stream.ok_or_else(|| malformed("an entry is outside of the pack"))?;
    let checked = delta::inflate(stream, context.entry.decompressed_size, &mut Vec::new());
    Ok(checked.map_err(|why| malformed(format!("the entry at offset {offset}: {why}")))?)
}

/// What the tree itself refused: lengths, instructions, streams.
fn tree_error(error: &gix_error::Error, too_large: PackError) -> StoreError {
    let exhausted =
        error.classify().any(|c| matches!(c.class(), gix_error::Class::ResourceExhaustion(_)));
    if exhausted {
        return too_large.into();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    malformed(text).into()
}
