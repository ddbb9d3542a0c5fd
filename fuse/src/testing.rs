//! Stores for tests and examples: one in memory, and one that fails on demand.
//!
//! Uses public names only, so that examples can include the file.

#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mega_storage::object::hash_object;
use mega_storage::{
    ChunkId, ChunkRef, ChunkSpan, Content, FileId, Object, ObjectHeader, ObjectId, ObjectKind,
    ObjectStat, Pointer, ReadStore, StoreError,
};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, StoreError>;

/// A file cut into chunks of varying length.
pub struct MemFile {
    pub data: Bytes,
    pub spans: Vec<ChunkSpan>,
    pub index: HashMap<ChunkId, usize>,
}

/// A store in memory that counts what is asked of it.
#[derive(Default)]
pub struct MemStore {
    pub objects: HashMap<ObjectId, Object>,
    pub pointers: HashMap<ObjectId, Pointer>,
    pub files: HashMap<FileId, MemFile>,
    /// Check each chunk's hash as a real store does.
    pub verifies: bool,
    pub chunk_len_read: AtomicU64,
    pub blob_len_read: AtomicU64,
    pub object_count: AtomicU64,
    pub stat_count: AtomicU64,
}

impl MemStore {
    pub fn put(&mut self, kind: ObjectKind, data: &[u8]) -> ObjectId {
        let id = hash_object(kind, data).expect("no attack");
        self.objects.insert(id, Object { kind, data: Bytes::copy_from_slice(data) });
        id
    }

    pub fn blob(&mut self, data: &[u8]) -> ObjectId {
        self.put(ObjectKind::Blob, data)
    }

    /// A tree with the entries as given: in any order, with any names.
    pub fn tree(&mut self, entries: &[(u32, &[u8], ObjectId)]) -> ObjectId {
        let mut data = Vec::new();
        for (mode, name, id) in entries {
            data.extend_from_slice(format!("{mode:o} ").as_bytes());
            data.extend_from_slice(name);
            data.push(0);
            data.extend_from_slice(id.as_bytes());
        }
        self.put(ObjectKind::Tree, &data)
    }

    /// A pointer blob, whose file is here or not.
    pub fn pointer(&mut self, data: &[u8], is_here: bool) -> (ObjectId, FileId) {
        let file = FileId::from_bytes(Sha256::digest(data).into());
        let text = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{file}\nsize {}\n",
            data.len()
        );
        let id = self.blob(text.as_bytes());
        self.pointers.insert(id, Pointer { file, len: data.len() as u64 });
        if is_here {
            self.file(file, Bytes::copy_from_slice(data));
        }
        (id, file)
    }

    pub fn file(&mut self, file: FileId, data: Bytes) {
        let (mut spans, mut at, mut step) = (Vec::new(), 0usize, 7usize);
        while at < data.len() {
            // 16 to 140 KiB, odd lengths, always the same.
            step = step * 1_103_515_245 % 126_989;
            let len = (16_384 + step).min(data.len() - at);
            let id = ChunkId::from_bytes(Sha256::digest(&data[at..at + len]).into());
            let chunk = ChunkRef { id, len: u32::try_from(len).expect("a chunk's length") };
            spans.push(ChunkSpan { chunk, offset: at as u64 });
            at += len;
        }
        let index = spans.iter().enumerate().map(|(index, span)| (span.chunk.id, index)).collect();
        self.files.insert(file, MemFile { data, spans, index });
    }

    /// Takes a directory in, as `git add` would.
    pub fn import(&mut self, dir: &Path) -> ObjectId {
        let mut entries = BTreeMap::new();
        for entry in fs::read_dir(dir).expect("a directory") {
            let entry = entry.expect("an entry");
            let meta = entry.metadata().expect("metadata");
            let mut name = entry.file_name().as_bytes().to_vec();
            let (mode, id) = if meta.is_dir() {
                name.push(b'/');
                (0o40_000, self.import(&entry.path()))
            } else if meta.is_symlink() {
                let target = fs::read_link(entry.path()).expect("a target");
                (0o120_000, self.blob(target.as_os_str().as_bytes()))
            } else {
                let is_executable = meta.permissions().mode() & 0o100 != 0;
                let id = self.blob(&fs::read(entry.path()).expect("content"));
                (if is_executable { 0o100_755 } else { 0o100_644 }, id)
            };
            entries.insert(name, (mode, id));
        }
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, (mode, id))| (*mode, name.strip_suffix(b"/").unwrap_or(name), *id))
            .collect();
        self.tree(&entries)
    }

    fn get(&self, id: &ObjectId) -> Result<&Object> {
        self.objects.get(id).ok_or(StoreError::MissingObject { id: *id })
    }

    fn get_file(&self, id: &FileId) -> Result<&MemFile> {
        self.files.get(id).ok_or(StoreError::MissingFile { id: *id })
    }
}

impl ReadStore for MemStore {
    fn stat(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectStat>>> {
        self.stat_count.fetch_add(1, Ordering::Relaxed);
        let stat = |id| {
            let object: &Object = self.objects.get(id)?;
            let header = ObjectHeader { kind: object.kind, len: object.data.len() as u64 };
            Some(ObjectStat { header, pointer: self.pointers.get(id).copied() })
        };
        Ok(ids.iter().map(stat).collect())
    }

    fn object(&self, id: &ObjectId) -> Result<Object> {
        self.object_count.fetch_add(1, Ordering::Relaxed);
        self.get(id).cloned()
    }

    fn file_len(&self, id: &FileId) -> Result<Option<u64>> {
        Ok(self.files.get(id).map(|file| file.data.len() as u64))
    }

    fn chunk_spans(&self, id: &FileId, offset: u64, len: u64) -> Result<Vec<ChunkSpan>> {
        let spans = &self.get_file(id)?.spans;
        let first = spans.partition_point(|s| s.offset + u64::from(s.chunk.len) <= offset);
        let end = offset.saturating_add(len);
        Ok(spans[first..].iter().take_while(|s| s.offset < end).copied().collect())
    }

    fn chunk(&self, file: &FileId, chunk: &ChunkRef) -> Result<Bytes> {
        let found = self.get_file(file)?;
        let span = found.index.get(&chunk.id).map(|&index| found.spans[index]);
        let span = span.ok_or(StoreError::MissingChunk { id: chunk.id, file: *file })?;
        let at = usize::try_from(span.offset).expect("in memory");
        // As a decoder would: into memory of its own.
        let bytes = found.data[at..at + chunk.len as usize].to_vec();
        self.chunk_len_read.fetch_add(u64::from(chunk.len), Ordering::Relaxed);
        if self.verifies && Sha256::digest(&bytes).as_slice() != chunk.id.as_bytes() {
            return Err(StoreError::DamagedChunk { id: chunk.id, reason: "its hash" });
        }
        Ok(bytes.into())
    }

    fn read_at(&self, content: &Content, offset: u64, out: &mut [u8]) -> Result<usize> {
        let data = match content {
            Content::Blob(id) => &self.get(id)?.data,
            Content::File(id) => &self.get_file(id)?.data,
        };
        let at = usize::try_from(offset).expect("in memory").min(data.len());
        let len = out.len().min(data.len() - at);
        out[..len].copy_from_slice(&data[at..at + len]);
        self.blob_len_read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }

    fn resident(&self, content: &Content) -> Result<u64> {
        Ok(match content {
            Content::Blob(id) => self.get(id)?.data.len() as u64,
            Content::File(id) => self.get_file(id)?.data.len() as u64,
        })
    }
}

/// A store that fails for what it is told to.
pub struct FailingStore {
    pub inner: Arc<dyn ReadStore>,
    pub objects: Mutex<HashSet<ObjectId>>,
    pub chunks: Mutex<HashSet<ChunkId>>,
    pub panics: Mutex<HashSet<ObjectId>>,
}

impl FailingStore {
    pub fn new(inner: Arc<dyn ReadStore>) -> Self {
        let (objects, chunks, panics) = Default::default();
        Self { inner, objects, chunks, panics }
    }

    fn check(&self, id: &ObjectId) -> Result<()> {
        assert!(!self.panics.lock().contains(id), "on purpose");
        if self.objects.lock().contains(id) {
            return Err(StoreError::MissingObject { id: *id });
        }
        Ok(())
    }
}

impl ReadStore for FailingStore {
    fn stat(&self, ids: &[ObjectId]) -> Result<Vec<Option<ObjectStat>>> {
        let mut stats = self.inner.stat(ids)?;
        for (stat, id) in stats.iter_mut().zip(ids) {
            if self.objects.lock().contains(id) {
                *stat = None;
            }
        }
        Ok(stats)
    }

    fn object(&self, id: &ObjectId) -> Result<Object> {
        self.check(id)?;
        self.inner.object(id)
    }

    fn file_len(&self, id: &FileId) -> Result<Option<u64>> {
        self.inner.file_len(id)
    }

    fn chunk_spans(&self, id: &FileId, offset: u64, len: u64) -> Result<Vec<ChunkSpan>> {
        self.inner.chunk_spans(id, offset, len)
    }

    fn chunk(&self, file: &FileId, chunk: &ChunkRef) -> Result<Bytes> {
        if self.chunks.lock().contains(&chunk.id) {
            return Err(StoreError::DamagedChunk { id: chunk.id, reason: "on purpose" });
        }
        self.inner.chunk(file, chunk)
    }

    fn read_at(&self, content: &Content, offset: u64, out: &mut [u8]) -> Result<usize> {
        if let Content::Blob(id) = content {
            self.check(id)?;
        }
        self.inner.read_at(content, offset, out)
    }

    fn resident(&self, content: &Content) -> Result<u64> {
        self.inner.resident(content)
    }
}
