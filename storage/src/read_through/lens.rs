//! What can be said of blobs and files that are not here: lengths as told, in batches.

use std::collections::{HashMap, HashSet};

use super::flights::Failure;
use super::sources::Reasons;
use super::{Result, Shared};
use crate::error::StoreError;
use crate::id::{FileId, ObjectId};
use crate::manifest::FILE_LEN_MAX;
use crate::object::{ObjectHeader, ObjectKind, POINTER_LEN_MAX};
use crate::read::{ObjectStat, Pointer, ReadStore};
use crate::source::{FILES_MAX, LENS_MAX, OBJECTS_MAX, ObjectWant, SourceError};

/// Longest blob that is believed to be one, in bytes: what an ingest takes.
const BLOB_LEN_MAX: u64 = 2 << 30;

/// What is known of a blob that is not here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Len(u64),
    /// Nobody can say: only the blob itself will tell.
    Unsaid,
    /// It is absent, or nobody could be asked.
    Nothing,
}

impl Shared {
    /// What is known of each object. One that could not be asked for counts as absent: an error
    /// would hide its neighbours, which may be here.
    pub(super) fn stat(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectStat>>> {
        let mut stats = self.view.stat(ids)?;
        let absent: Vec<usize> = (0..ids.len()).filter(|&i| stats[i].is_none()).collect();
        if absent.is_empty() {
            return Ok(stats);
        }
        let wanted: Vec<ObjectId> = absent.iter().map(|&i| ids[i]).collect();
        let told = self.told_lens(&wanted)?;
        // A short blob may be a pointer, which only its bytes can tell.
        let is_short = |told: &Told| match told {
            Told::Len(len) => *len <= POINTER_LEN_MAX as u64,
            Told::Unsaid => true,
            Told::Nothing => false,
        };
        let short = wanted.iter().zip(&told).filter(|(_, told)| is_short(told));
        self.bring_short(short.map(|(id, _)| *id).collect())?;
        let come = self.view.stat(&wanted)?;
        let mut listing = Vec::new();
        for ((&index, told), come) in absent.iter().zip(&told).zip(come) {
            stats[index] = come.or(match told {
                Told::Len(len) if !is_short(told) => {
                    listing.push((ids[index], *len));
                    let header = ObjectHeader { kind: ObjectKind::Blob, len: *len };
                    Some(ObjectStat { header, pointer: None })
                }
                Told::Len(_) | Told::Unsaid | Told::Nothing => None,
            });
        }
        if !listing.is_empty() {
            self.walk.lock().note_listing(listing);
        }
        Ok(stats)
    }

    /// Brings short blobs, filled up to a batch with others that were seen lately.
    fn bring_short(&self, mut ids: Vec<ObjectId>) -> Result<()> {
        ids = self.absent(&ids)?;
        if ids.is_empty() {
            return Ok(());
        }
        let room = OBJECTS_MAX.saturating_sub(ids.len());
        let wanted: HashSet<ObjectId> = ids.iter().copied().collect();
        let others = self.walk.lock().take_short(room);
        let others: Vec<ObjectId> = others.into_iter().filter(|id| !wanted.contains(id)).collect();
        ids.extend(self.absent(&others)?);
        for ids in ids.chunks(OBJECTS_MAX) {
            self.obtain(&ObjectWant::exactly(ids))?;
        }
        Ok(())
    }

    /// Asks for the lengths of blobs that were seen lately, one batch of them.
    pub(super) fn measure_seen(&self) -> Result<()> {
        let seen = self.unmeasured(LENS_MAX)?;
        self.told_lens(&seen).map(|_| ())
    }

    /// Lengths of blobs that are not here, kept or asked for; a batch is filled up with others that
    /// were seen lately.
    fn told_lens(&self, ids: &[ObjectId]) -> Result<Vec<Told>> {
        let mut told = self.kept_lens(ids)?;
        let unknown: Vec<ObjectId> = unknown(ids, &told);
        if unknown.is_empty() {
            return Ok(told);
        }
        let mut unsaid = false;
        for batch in unknown.chunks(LENS_MAX) {
            let mut batch = batch.to_vec();
            let room = LENS_MAX - batch.len();
            let seen = self.unmeasured(room)?;
            let known = self.kept_lens(&seen)?;
            batch.extend(self::unknown(&seen, &known));
            unsaid |= self.measure(&batch)?;
        }
        told = self.kept_lens(ids)?;
        if unsaid {
            for told in told.iter_mut().filter(|told| **told == Told::Nothing) {
                *told = Told::Unsaid;
            }
        }
        Ok(told)
    }

    fn kept_lens(&self, ids: &[ObjectId]) -> Result<Vec<Told>> {
        let kept = self.partial.blob_lens(ids)?;
        Ok(kept.into_iter().map(|len| len.map_or(Told::Nothing, Told::Len)).collect())
    }

    /// Asks for lengths, alone with each id, and keeps them. Whether a source would have to be
    /// asked for the blobs themselves.
    fn measure(&self, ids: &[ObjectId]) -> Result<bool> {
        let deadline = self.deadline();
        let (boarded, others) = self.len_flights.board_all(ids);
        let mut unsaid = false;
        if !boarded.keys().is_empty() {
            unsaid = self.ask_lens(boarded.keys())?;
            boarded.land(|_| Ok(unsaid));
        }
        for (_, flight) in others {
            unsaid |= matches!(flight.wait(deadline), Some(Ok(true)));
        }
        Ok(unsaid)
    }

    fn ask_lens(&self, ids: &[ObjectId]) -> Result<bool> {
        let panel = &self.object_sources;
        let mut reasons = Reasons::default();
        let mut unsaid = false;
        let mut missing = ids.to_vec();
        for source in panel.order(&mut reasons) {
            if missing.is_empty() {
                break;
            }
            panel.asked();
            match source.source.headers(&missing) {
                Ok(headers) if headers.len() == missing.len() => {
                    let mut lens = Vec::new();
                    let mut rest = Vec::new();
                    for (id, header) in missing.iter().zip(headers) {
                        match header {
                            Some(h) if h.kind == ObjectKind::Blob && h.len <= BLOB_LEN_MAX => {
                                lens.push((*id, h.len));
                            }
                            Some(_) | None => rest.push(*id),
                        }
                    }
                    self.partial.put_blob_lens(&lens)?;
                    let short = lens.iter().filter(|(_, len)| *len <= POINTER_LEN_MAX as u64);
                    self.walk.lock().note_short(short.map(|(id, _)| *id));
                    missing = rest;
                }
                Ok(_) => panel.lied(source, &"it answered another question", &mut reasons),
                Err(SourceError::Unsupported { .. }) => unsaid = true,
                Err(error) => panel.failed(source, &error, &mut reasons),
            }
        }
        Ok(unsaid && !missing.is_empty())
    }

    /// Fails for a blob whose length was told wrong: programs have seen it.
    pub(super) fn check_told(&self, id: &ObjectId) -> Result<()> {
        let lie = || StoreError::NotFetched {
            what: format!("blob {id}"),
            reason: "its source gave it another length than it has".to_owned(),
        };
        if self.mistold.lock().contains(id) {
            return Err(lie());
        }
        let Some(&Some(told)) = self.partial.blob_lens(&[*id])?.first() else { return Ok(()) };
        let Some(stat) = self.view.stat(&[*id])?.pop().flatten() else { return Ok(()) };
        let is_right = stat.header.len == told;
        if !is_right {
            self.mistold.lock().insert(*id);
            super::sources::add(&self.counters.wrong, 1);
            (self.options.note)(&format!(
                "blob {id} has {} bytes; its source said {told}",
                stat.header.len
            ));
        }
        // The blob itself says it from now on.
        self.partial.drop_blob_lens(&[*id])?;
        if is_right { Ok(()) } else { Err(lie()) }
    }

    /// Lengths of files by their pointers: here, kept as told, or asked for in one go.
    pub(super) fn file_lens(&self, pointers: &[Pointer]) -> Result<Vec<Option<u64>>> {
        let mut lens = Vec::with_capacity(pointers.len());
        let mut unknown: HashMap<FileId, Pointer> = HashMap::new();
        for pointer in pointers {
            let here = self.view.file_len(&pointer.file)?;
            let len = match here {
                Some(len) => Some(len),
                None => self.partial.file_len(&pointer.file)?,
            };
            if len.is_none() {
                unknown.insert(pointer.file, *pointer);
            }
            lens.push(len);
        }
        if unknown.is_empty() {
            return Ok(lens);
        }
        let unknown: Vec<Pointer> = unknown.into_values().collect();
        let mut told = HashMap::new();
        for batch in unknown.chunks(FILES_MAX) {
            self.ask_files(batch, &mut told)?;
        }
        for (pointer, len) in pointers.iter().zip(&mut lens) {
            *len = len.or_else(|| told.get(&pointer.file).copied());
        }
        Ok(lens)
    }

    fn ask_files(&self, pointers: &[Pointer], told: &mut HashMap<FileId, u64>) -> Result<()> {
        let panel = &self.chunk_sources;
        let mut reasons = Reasons::default();
        let mut missing = pointers.to_vec();
        let mut lens = Vec::new();
        for source in panel.order(&mut reasons) {
            if missing.is_empty() {
                break;
            }
            panel.asked();
            match source.source.files(&missing) {
                Ok(answers) if answers.len() == missing.len() => {
                    let mut rest = Vec::new();
                    for (pointer, answer) in missing.into_iter().zip(answers) {
                        match answer {
                            // The pointer has a hash; the answer has none.
                            Some(len) if len == pointer.len && len <= FILE_LEN_MAX => {
                                lens.push((pointer.file, len));
                            }
                            Some(_) | None => rest.push(pointer),
                        }
                    }
                    missing = rest;
                }
                Ok(_) => panel.lied(source, &"it answered another question", &mut reasons),
                Err(error) => panel.failed(source, &error, &mut reasons),
            }
        }
        self.partial.put_file_lens(&lens)?;
        told.extend(lens);
        if matches!(reasons.failure(), Failure::Failed(_)) {
            // Not known to be absent: shown as the pointer says, and reading it says why it fails.
            told.extend(missing.iter().map(|pointer| (pointer.file, pointer.len)));
        }
        Ok(())
    }
}

fn unknown(ids: &[ObjectId], told: &[Told]) -> Vec<ObjectId> {
    let unknown = ids.iter().zip(told).filter(|(_, told)| **told == Told::Nothing);
    unknown.map(|(id, _)| *id).collect()
}
