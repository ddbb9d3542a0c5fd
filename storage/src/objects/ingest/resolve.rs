//! The one pass over a pack: every object is hashed, checked, searched for a pointer, while its
//! bytes are at hand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::bases::Entry;
use super::content::Contents;
use super::links::Links;
use super::quarantine::{Quarantine, malformed};
use super::traverse::traverse;
use super::{IngestOptions, limits};
use crate::error::{PackError, Result, StoreError};
use crate::id::ObjectId;
use crate::object::check::{self, Problem, SpecialBlobs};
use crate::object::pointer::{POINTER_LEN_MAX, parse_pointer};
use crate::object::{ObjectKind, hash_object};
use crate::progress::Progress;
use crate::read::Pointer;

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

/// What the content checks found: so many are listed, the others counted. The first of each check
/// is kept whatever comes before it, since somebody may weigh the checks.
#[derive(Default)]
pub(super) struct Problems {
    pub(super) listed: Vec<(ObjectId, Problem)>,
    pub(super) firsts: BTreeMap<&'static str, (ObjectId, Problem)>,
    pub(super) count: u64,
}

impl Problems {
    pub(super) fn add(&mut self, id: ObjectId, problem: Problem) {
        self.count += 1;
        self.firsts.entry(problem.id).or_insert_with(|| (id, problem.clone()));
        if self.listed.len() < limits::PROBLEMS_MAX {
            self.listed.push((id, problem));
        }
    }
}

/// All objects of a pack, in the order of its entries.
pub(super) struct Resolved {
    pub(super) entries: Vec<Entry>,
    pub(super) objects: Vec<PackObject>,
    pub(super) problems: Problems,
    /// What the objects name, when it was asked for.
    pub(super) links: Option<Links>,
    /// Blobs that trees name `.gitmodules` or `.gitattributes`.
    pub(super) special: SpecialBlobs,
    pub(super) inflated_len: u64,
    /// Bytes that later reads of the pack may inflate.
    pub(super) replay_len_max: u64,
}

struct Inspection<'a> {
    progress: &'a dyn Progress,
    offsets: &'a [u64],
    inflated_len: AtomicU64,
    inflated_len_max: u64,
    pack_len: u64,
    done: AtomicU64,
    problems: Mutex<Problems>,
    links: Option<Links>,
    special: Mutex<SpecialBlobs>,
}

/// Resolves and inspects every entry, on all cores.
pub(super) fn resolve(
    quarantine: &Quarantine,
    entries: Vec<Entry>,
    options: &IngestOptions,
    progress: &dyn Progress,
) -> Result<Resolved> {
    let limits = &options.limits;
    let inspection = Inspection {
        progress,
        offsets: &quarantine.offsets,
        inflated_len: AtomicU64::new(0),
        inflated_len_max: quarantine.inflated_len_max(limits),
        pack_len: quarantine.pack_len,
        done: AtomicU64::new(0),
        problems: Mutex::new(Problems::default()),
        links: options.links.then(|| Links::new(quarantine.entry_count)),
        special: Mutex::new(SpecialBlobs::default()),
    };
    let contents = Contents::new(quarantine, &entries, limits)?;
    let inspect = |position: u32, kind, data: &[u8]| inspection.inspect(position, kind, data);
    let objects = traverse(&contents, &entries, &inspect)?;
    let objects: Option<Vec<PackObject>> = objects.into_iter().collect();
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
        links: inspection.links,
        special: inspection.special.into_inner(),
        inflated_len: inspection.inflated_len.into_inner(),
        replay_len_max: inspection.inflated_len_max.saturating_mul(REPLAY_FACTOR),
    })
}

impl Inspection<'_> {
    fn inspect(&self, position: u32, kind: ObjectKind, data: &[u8]) -> Result<PackObject> {
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
        let attack = PackError::CollisionAttack { offset: self.offsets[position as usize] };
        let id = hash_object(kind, data).map_err(|_| attack)?;
        let pointer = if kind == ObjectKind::Blob && data.len() <= POINTER_LEN_MAX {
            parse_pointer(data).map(Box::new)
        } else {
            None
        };
        self.check(kind, &id, data);
        if let Some(links) = &self.links {
            links.add(kind, &id, data)?;
        }
        Ok(PackObject { id, kind, len, pointer })
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
        let mut problems = self.problems.lock();
        for problem in found {
            problems.add(*id, problem);
        }
    }
}
