//! LFS files that pointers name: the right to them, their manifests, what is noted of their chunks.
//! No chunk is read.

use std::collections::HashMap;

use super::fault;
use crate::chunks::ChunkMeta;
use crate::db::{Family, keys};
use crate::error::Result;
use crate::id::{FileId, RepoId};
use crate::manifest::{FileHead, Segment};
use crate::read::{ChunkSpan, Pointer};
use crate::repos::Repo;
use crate::store::Store;

/// Chunks that are looked up at once.
const META_COUNT: usize = 1_024;

/// Looks at files, each manifest once.
pub(super) struct Manifests<'a> {
    store: &'a Store,
    repo: RepoId,
    is_partial: bool,
    /// Length of those that are sound, what is wrong with the others; `None` for absent ones.
    looked: HashMap<FileId, Option<Result<u64, String>>>,
}

impl<'a> Manifests<'a> {
    pub(super) fn new(store: &'a Store, repo: &Repo) -> Self {
        Self { store, repo: repo.id, is_partial: repo.partial, looked: HashMap::new() }
    }

    /// What is wrong with a file that a pointer names.
    pub(super) fn problem(&mut self, pointer: &Pointer) -> Result<Option<String>> {
        let has_right = match self.store.files().has(self.repo, &pointer.file) {
            Ok(has_right) => has_right,
            Err(error) => return fault::reason_of(error).map(Some),
        };
        if !has_right {
            let reason = || "its content is not in this repository".to_owned();
            return Ok((!self.is_partial).then(reason));
        }
        if !self.looked.contains_key(&pointer.file) {
            let found = self.look(&pointer.file)?;
            self.looked.insert(pointer.file, found);
        }
        let right = keys::repo_file(self.repo, &pointer.file);
        Ok(match self.looked.get(&pointer.file).and_then(Option::as_ref) {
            // Its right may have gone since.
            None if fault::is_absent(self.store.db(), Family::RepoFile, &right)? => None,
            None => Some("the repository has a right to it, and it is not here".to_owned()),
            Some(Err(reason)) => Some(reason.clone()),
            Some(Ok(len)) if *len != pointer.len => {
                Some(format!("it has {len} bytes, the pointer says {}", pointer.len))
            }
            Some(Ok(_)) => None,
        })
    }

    fn look(&self, file: &FileId) -> Result<Option<Result<u64, String>>> {
        let db = self.store.db();
        let row = match db.get(Family::File, file.as_bytes()) {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(None),
            Err(error) => return fault::reason_of(error).map(|reason| Some(Err(reason))),
        };
        let head = match FileHead::decode(file, &row) {
            Ok(head) => head,
            Err(error) => return fault::reason_of(error).map(|reason| Some(Err(reason))),
        };
        for index in 0..head.segment_count() {
            let row = match db.get(Family::FileSegment, &keys::file_segment(file, index)) {
                Ok(Some(row)) => row,
                Ok(None) if fault::is_absent(db, Family::File, file.as_bytes())? => {
                    return Ok(None);
                }
                Ok(None) => return Ok(Some(Err(format!("segment {index} is missing")))),
                Err(error) => return fault::reason_of(error).map(|reason| Some(Err(reason))),
            };
            let segment = match Segment::decode(file, &head, index, &row) {
                Ok(segment) => segment,
                Err(error) => return fault::reason_of(error).map(|reason| Some(Err(reason))),
            };
            for spans in segment.spans().chunks(META_COUNT) {
                if let Some(reason) = self.metas(spans)? {
                    return Ok(Some(Err(reason)));
                }
            }
        }
        Ok(Some(Ok(head.len)))
    }

    /// What is wrong with what is noted of chunks.
    fn metas(&self, spans: &[ChunkSpan]) -> Result<Option<String>> {
        let keys = spans.iter().map(|span| span.chunk.id.as_bytes());
        let rows = match self.store.db().multi_get(Family::ChunkMeta, keys, false) {
            Ok(rows) => rows,
            Err(error) => return fault::reason_of(error).map(Some),
        };
        for (span, row) in spans.iter().zip(rows) {
            let id = span.chunk.id;
            match row.map(|row| ChunkMeta::decode(id.as_bytes(), &row)) {
                None => return Ok(Some(format!("its chunk {id} is missing"))),
                Some(Err(error)) => return fault::reason_of(error).map(Some),
                Some(Ok(meta)) if meta.len != span.chunk.len => {
                    return Ok(Some(format!("its chunk {id} is noted with another length")));
                }
                Some(Ok(_)) => {}
            }
        }
        Ok(None)
    }
}
