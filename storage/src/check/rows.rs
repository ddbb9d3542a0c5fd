//! The other families: every row read, and looked at by its shape; of names and records, whether
//! they lead to each other.

use super::{Run, fault, place, shapes};
use crate::db::{Family, OwnedRow};
use crate::error::Result;
use crate::id::RepoId;
use crate::name::RepoName;

/// Families that no earlier phase goes through, in the order in which they are looked at.
const FAMILIES: [Family; 13] = [
    Family::ObjectPointer,
    Family::FileSegment,
    Family::ChunkFile,
    Family::FileRepo,
    Family::Ref,
    Family::Repo,
    Family::Store,
    Family::Lease,
    Family::Outbox,
    Family::Event,
    Family::Partial,
    Family::Swarm,
    Family::Gone,
];

/// The family of a phase.
pub(super) fn family_of(phase: u8) -> Option<Family> {
    let index = phase.checked_sub(place::phase::ROWS)?;
    FAMILIES.get(usize::from(index)).copied()
}

impl Run<'_> {
    /// Looks at all rows of a family.
    pub(super) fn rows_of(&mut self, family: Family) -> Result<()> {
        self.each_part(family, "reading the rest", |run, rows| {
            for row in rows {
                if !shapes::fits(family, &row.0, &row.1) {
                    run.add_row(family, &row.0, "it does not look like one");
                } else if family == Family::Repo {
                    run.repo_row(row)?;
                }
            }
            Ok(())
        })
    }

    /// A name leads to a record with this name, and a record's name to its number.
    fn repo_row(&mut self, (key, value): &OwnedRow) -> Result<()> {
        let repos = self.store.repos();
        let checked = match key.split_first() {
            Some((b'n', name)) => {
                let name = std::str::from_utf8(name).ok().and_then(|n| RepoName::new(n).ok());
                name.map_or(Ok(false), |name| repos.find(&name).map(|repo| repo.is_some()))
            }
            Some((b'r', id)) => {
                let id = id.try_into().map(|id| RepoId(u32::from_be_bytes(id)));
                let record = id.map_or(Ok(None), |id| repos.record(id));
                record.and_then(|record| match record {
                    Some(repo) => Ok(repos.find(&repo.name)?.is_some_and(|r| r.id == repo.id)),
                    None => Ok(false),
                })
            }
            Some((b's', id)) => {
                let id = id.try_into().map(|id| RepoId(u32::from_be_bytes(id)));
                id.map_or(Ok(false), |id| self.store.settings(id).map(|_| true))
            }
            _ => Ok(true),
        };
        let reason = match checked {
            Ok(true) => return Ok(()),
            Ok(false) => "the name and the record do not lead to each other".to_owned(),
            Err(error) => fault::reason_of(error)?,
        };
        // Renamed or deleted since.
        match self.db.get(Family::Repo, key) {
            Ok(row) if row.as_deref() != Some(value) => {}
            _ => self.add_row(Family::Repo, key, &reason),
        }
        Ok(())
    }
}
