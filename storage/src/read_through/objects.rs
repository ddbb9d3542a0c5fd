//! Git objects from sources: as packs, through the ingest of a push.

use std::collections::HashSet;
use std::io::{self, Read};

use super::flights::Failure;
use super::sources::{Reasons, Tracked, add};
use super::{Result, Shared};
use crate::error::StoreError;
use crate::id::ObjectId;
use crate::objects::{IngestOptions, PackInput};
use crate::progress::NoProgress;
use crate::source::{OBJECTS_MAX, ObjectSource, ObjectWant, SourceError};

/// Objects that were asked for and did not come.
pub(super) type Missing = Vec<(ObjectId, Failure)>;

impl Shared {
    /// Brings what of `want` is not here; all of it must come.
    pub(super) fn bring(&self, want: &ObjectWant<'_>) -> Result<()> {
        for ids in want.ids.chunks(OBJECTS_MAX) {
            let missing = self.obtain(&ObjectWant { ids, ..*want })?;
            if let Some((id, failure)) = missing.into_iter().next() {
                return Err(failure_of(id, failure));
            }
        }
        Ok(())
    }

    /// Brings what of `want` is not here and waits for what others bring; says what did not come.
    pub(super) fn obtain(&self, want: &ObjectWant<'_>) -> Result<Missing> {
        let deadline = self.deadline();
        let (boarded, others) = self.object_flights.board_all(&self.absent(want.ids)?);
        let mut missing = Missing::new();
        if !boarded.keys().is_empty() {
            let ids = boarded.keys().to_vec();
            let failure = match self.ask_objects(&ObjectWant { ids: &ids, ..*want }) {
                Ok(failure) => failure,
                Err(error) => {
                    // Ours, not the sources': those who wait with us are told the same.
                    let told = Failure::Failed(error.to_string().into());
                    boarded.land(|_| Err(told.clone()));
                    return Err(error);
                }
            };
            let still: HashSet<ObjectId> = self.absent(&ids)?.into_iter().collect();
            boarded.land(|id| match still.contains(id) {
                true => Err(failure.clone()),
                false => Ok(()),
            });
            missing.extend(still.into_iter().map(|id| (id, failure.clone())));
        }
        for (id, flight) in others {
            let failure = match flight.wait(deadline) {
                Some(Ok(())) => continue,
                Some(Err(failure)) => failure,
                None => Failure::Failed(self.too_late().into()),
            };
            missing.push((id, failure));
        }
        Ok(missing)
    }

    /// Those of `ids` that the repository does not have.
    pub(super) fn absent(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>> {
        let members = self.store.objects().are_members(self.repo, ids)?;
        Ok(ids.iter().zip(members).filter(|(_, is_here)| !is_here).map(|(id, _)| *id).collect())
    }

    /// Asks source after source until all is here; why what is not here did not come.
    fn ask_objects(&self, want: &ObjectWant<'_>) -> Result<Failure> {
        let mut reasons = Reasons::default();
        let mut missing = self.absent(want.ids)?;
        for source in self.object_sources.order(&mut reasons) {
            if missing.is_empty() {
                break;
            }
            self.object_sources.asked();
            match source.source.objects(&ObjectWant { ids: &missing, ..*want }) {
                Ok(None) => {}
                Ok(Some(pack)) => {
                    let count = self.take_pack(source, pack, &mut reasons)?;
                    let before = missing.len();
                    missing = self.absent(&missing)?;
                    if count > 0 && missing.len() == before {
                        let what = &"it sent objects that nobody asked for";
                        self.object_sources.lied(source, what, &mut reasons);
                    }
                }
                Err(error) => self.object_sources.failed(source, &error, &mut reasons),
            }
        }
        Ok(reasons.failure())
    }

    /// Takes a pack in; how many objects it had, 0 when it was refused.
    fn take_pack(
        &self,
        source: &Tracked<dyn ObjectSource>,
        pack: Box<dyn Read + Send + '_>,
        reasons: &mut Reasons,
    ) -> Result<u64> {
        let mut pack = Watched { inner: pack, broke: None, len: 0 };
        let options = IngestOptions::default();
        let input = PackInput::Stream(&mut pack);
        let taken = self.store.objects().ingest_pack(self.repo, input, &options, &NoProgress);
        let panel = &self.object_sources;
        match taken {
            Ok(report) => {
                add(&self.counters.packs, 1);
                add(&self.counters.pack_len, pack.len);
                self.counters.meter.add(pack.len);
                return Ok(report.object_count);
            }
            Err(_) if pack.broke.is_some() => {
                let reason = pack.broke.unwrap_or_default();
                panel.failed(source, &SourceError::Unreachable { reason }, reasons);
            }
            Err(error @ (StoreError::Pack(_) | StoreError::Collision { .. })) => {
                panel.lied(source, &error, reasons);
            }
            Err(error) => return Err(error),
        }
        Ok(0)
    }

    pub(super) fn too_late(&self) -> String {
        format!("nothing came within {} s", self.options.wait.as_secs())
    }
}

/// The error for an object that did not come.
pub(super) fn failure_of(id: ObjectId, failure: Failure) -> StoreError {
    match failure {
        Failure::Absent => StoreError::MissingObject { id },
        Failure::Failed(reason) => {
            StoreError::NotFetched { what: format!("object {id}"), reason: reason.to_string() }
        }
    }
}

/// Tells trouble of the source from trouble of the store: to the ingest both are I/O.
struct Watched<'a> {
    inner: Box<dyn Read + Send + 'a>,
    broke: Option<String>,
    len: u64,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        match &read {
            Ok(len) => self.len += *len as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.broke = Some(error.to_string()),
        }
        read
    }
}
