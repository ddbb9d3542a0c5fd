//! Whether what is stored is what was stored. Two questions, asked while others use the store:
//!
//! - [`Store::verify`]: **are the bytes right?** Every object is made from its rows and hashed,
//!   every file's chunks are hashed one by one and together, so is every chunk that no file has,
//!   and every other row is read and looked at. What was noted of one is compared with what it is:
//!   an LFS pointer's row with its blob, a chunk's length with the chunk. The database's own
//!   checksums are checked on the way; where it cannot read, the range is named and what is behind
//!   it is looked at all the same.
//! - [`Store::fsck`]: **does what is named exist?** From a repository's references over all links,
//!   git's content checks, then the LFS files that pointers name, their manifests and chunks'
//!   lengths. It reads no blob but `.gitmodules` and `.gitattributes`, and no chunk.
//!
//! [`Store::mend`] takes what verify found from sources, checks it against its hash and puts it in
//! the place of what is damaged. It removes nothing.
//!
//! Invariants:
//! - One damaged row ends neither: it is a finding. What fails otherwise (a full disk) is an error.
//! - Whatever went between two looks, by gc or the cache's limit, is no damage: before absence is
//!   reported, what names the thing is looked at again.
//! - In a repository that is filled as it is read absence is no damage; other bytes are.
//! - Memory: eight bytes an object and nine while a repository is followed; findings up to
//!   [`FINDINGS_MAX`].
//!
//! Left out: rows of `object_part` that no object names and of `chunk` without a meta. Nobody reads
//! them, and gc or the next ingest takes them away.

mod connect;
mod content;
mod fault;
mod finding;
mod fsck;
mod lfs;
mod local;
mod mend;
mod objects;
mod pace;
mod place;
mod replace;
mod rows;
mod scan;
mod shapes;
#[cfg(test)]
mod tests;
mod uses;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::db::{Db, Family};
use crate::error::{Result, StoreError};
use crate::gc::ShortSet;
use crate::id::FileId;
use crate::progress::{Progress, Unit};
use crate::store::Store;
pub use finding::{Damage, DamagedThing, Finding, Mend, Stands, Use, What};
pub use fsck::FsckReport;
pub use local::StoreSource;
pub use mend::MendSource;
use pace::Pace;
use place::{Place, phase};
use scan::Scan;

/// Findings that are kept with their names; more are counted.
pub(crate) const FINDINGS_MAX: usize = 100_000;

/// How to verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VerifyOptions {
    /// Most bytes a second that are read; as many as can be when absent.
    pub rate: Option<u64>,
    /// How long at most; the next run goes on where this one ended.
    pub time: Option<Duration>,
}

/// What was verified.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// What is damaged, by kind and id; at most 100,000.
    pub damages: Vec<Damage>,
    /// Damages that are not listed.
    pub more: u64,
    /// This run went on where an earlier one ended.
    pub is_resumed: bool,
    /// It came to the end; else the next run goes on here.
    pub is_whole: bool,
    /// Objects that have their hash.
    pub object_count: u64,
    /// Files that have their hash.
    pub file_count: u64,
    /// Chunks that have their hash; one of several files counts with each.
    pub chunk_count: u64,
    /// Rows that were read.
    pub row_count: u64,
    /// Bytes that were read, in rows as they are stored.
    pub read_len: u64,
}

/// One run.
struct Run<'a> {
    store: &'a Store,
    db: &'a Db,
    progress: &'a dyn Progress,
    pace: Pace<'a>,
    place: Place,
    report: VerifyReport,
    found: BTreeMap<DamagedThing, Damage>,
    /// Objects that have a row, by the front of their ids.
    seen: ShortSet,
    /// All of them, because this run began at the front.
    saw_all: bool,
}

impl Store {
    /// Hashes everything again. Each run goes on where the last one ended, and notes where it is.
    ///
    /// # Errors
    /// When the store cannot be used at all; damage is no error. A run that is interrupted or out
    /// of time returns what it found.
    pub fn verify(&self, options: &VerifyOptions, progress: &dyn Progress) -> Result<VerifyReport> {
        let db: &Db = self.db();
        let place = Place::load(db)?;
        let saw_all = place.is_at_the_front();
        let mut run = Run {
            store: self,
            db,
            progress,
            pace: Pace::new(options, progress),
            place,
            report: VerifyReport { is_resumed: !saw_all, ..VerifyReport::default() },
            found: BTreeMap::new(),
            seen: ShortSet::default(),
            saw_all,
        };
        match run.phases() {
            Ok(()) => run.report.is_whole = true,
            Err(StoreError::Interrupted) => {}
            Err(error) => return Err(error),
        }
        run.place.save(db);
        let mut report = run.report;
        report.read_len = run.pace.done();
        report.damages = run.found.into_values().collect();
        uses::fill(self, &mut report.damages, progress)?;
        Ok(report)
    }
}

impl Run<'_> {
    fn phases(&mut self) -> Result<()> {
        loop {
            match self.place.phase {
                phase::OBJECTS => self.objects()?,
                phase::MEMBERS => self.members()?,
                phase::FILES => self.files()?,
                phase::CHUNKS => self.chunks()?,
                phase::RIGHTS => self.rights()?,
                other => match rows::family_of(other) {
                    Some(family) => self.rows_of(family)?,
                    None => break,
                },
            }
            self.place.next_phase();
            self.place.save(self.db);
        }
        self.place.end_round();
        Ok(())
    }

    /// Goes through a family from where the run is, part by part.
    fn each_part(
        &mut self,
        family: Family,
        what: &'static str,
        visit: impl Fn(&mut Self, &[crate::db::OwnedRow]) -> Result<()>,
    ) -> Result<()> {
        self.progress.start(what, self.db.family_len(family).ok(), Unit::Bytes);
        let mut scan = Scan::from(family, &self.place.key);
        while let Some(part) = scan.part(self.db)? {
            if let Some(gap) = part.gap {
                self.add(gap.thing(family), gap.reason);
            }
            let len: usize = part.rows.iter().map(|(key, value)| key.len() + value.len()).sum();
            self.report.row_count += part.rows.len() as u64;
            visit(self, &part.rows)?;
            self.place.key = scan.next().to_vec();
            self.pace.moved();
            self.place.save_if_due(self.db);
            self.pace.spend(len as u64)?;
        }
        Ok(())
    }

    /// Notes damage; the first reason stays.
    fn add(&mut self, thing: DamagedThing, reason: impl Into<String>) {
        if self.found.len() >= FINDINGS_MAX && !self.found.contains_key(&thing) {
            self.report.more += 1;
            return;
        }
        let new = || Damage::new(thing.clone(), reason.into());
        self.found.entry(thing.clone()).or_insert_with(new);
    }

    /// As [`Self::add`], of something that a file needs.
    fn add_of_file(&mut self, thing: DamagedThing, reason: impl Into<String>, file: &FileId) {
        self.add(thing.clone(), reason);
        if let Some(damage) = self.found.get_mut(&thing) {
            damage.note_file(*file);
        }
    }
}
