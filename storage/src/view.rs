//! One repository of the local store, seen through the readers' door.
//!
//! Objects are hashed again before they leave; a large blob that is read in pieces is held by
//! RocksDB's and zlib's checksums instead, since its hash covers all of it. A file is readable only
//! with this repository's right to it.

use bytes::Bytes;

use crate::error::{Result, StoreError};
use crate::id::{FileId, ObjectId, RepoId};
use crate::manifest::ChunkRef;
use crate::object::Object;
use crate::read::{ChunkSpan, Content, ObjectStat, ReadStore};
use crate::store::Store;

/// A repository's content, for reading. Clones share the store.
#[derive(Clone)]
pub struct View {
    store: Store,
    repo: RepoId,
}

impl Store {
    /// Opens the readers' door to one repository.
    pub fn view(&self, repo: RepoId) -> View {
        View { store: self.clone(), repo }
    }
}

impl View {
    /// Invariant: an id is no key to what only other repositories have. A tree may name any id.
    fn check_member(&self, id: &ObjectId) -> Result<()> {
        if self.store.objects().is_member(self.repo, id)? {
            Ok(())
        } else {
            Err(StoreError::MissingObject { id: *id })
        }
    }

    fn check_right(&self, id: &FileId) -> Result<()> {
        if self.store.files().has(self.repo, id)? {
            Ok(())
        } else {
            Err(StoreError::MissingFile { id: *id })
        }
    }
}

impl ReadStore for View {
    fn stat(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectStat>>> {
        let members = self.store.objects().are_members(self.repo, ids)?;
        let mut stats = self.store.objects().stat(ids)?;
        for (stat, member) in stats.iter_mut().zip(members) {
            *stat = stat.filter(|_| member);
        }
        Ok(stats)
    }

    fn object(&self, id: &ObjectId) -> Result<Object> {
        self.check_member(id)?;
        let found = self.store.objects().read_verified(id)?;
        found.ok_or(StoreError::MissingObject { id: *id })
    }

    fn file_len(&self, id: &FileId) -> Result<Option<u64>> {
        if !self.store.files().has(self.repo, id)? {
            return Ok(None);
        }
        Ok(self.store.files().head(id)?.map(|head| head.len))
    }

    fn chunk_spans(&self, id: &FileId, offset: u64, len: u64) -> Result<Vec<ChunkSpan>> {
        self.check_right(id)?;
        self.store.files().chunk_spans(id, offset, len)
    }

    fn chunk(&self, file: &FileId, chunk: &ChunkRef) -> Result<Bytes> {
        self.check_right(file)?;
        self.store.files().chunk(file, chunk)
    }

    fn read_at(&self, content: &Content, offset: u64, out: &mut [u8]) -> Result<usize> {
        match content {
            Content::Blob(id) => {
                self.check_member(id)?;
                self.store.objects().read_at(id, offset, out)
            }
            Content::File(id) => {
                self.check_right(id)?;
                self.store.files().read_at(id, offset, out)
            }
        }
    }

    fn resident(&self, content: &Content) -> Result<u64> {
        match content {
            Content::Blob(id) if !self.store.objects().is_member(self.repo, id)? => Ok(0),
            Content::Blob(id) => Ok(self.store.objects().header(id)?.map_or(0, |h| h.len)),
            Content::File(id) => Ok(self.file_len(id)?.unwrap_or(0)),
        }
    }
}
