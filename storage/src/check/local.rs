//! Another store that is open in this process, as a source: a backup, or a second store.

use std::io::{Read, Seek, SeekFrom};

use crate::chunks::ChunkBytes;
use crate::error::StoreError;
use crate::id::{FileId, ObjectId};
use crate::object::ObjectHeader;
use crate::objects::SendOptions;
use crate::progress::NoProgress;
use crate::read::{Pointer, Urgency};
use crate::source::{
    ChunkSource, ChunkTake, ManifestPage, ObjectSource, ObjectWant, PAGE_CHUNKS_MAX, SourceError,
    SourceResult,
};
use crate::store::Store;

/// A pack up to this length waits in memory, a longer one in a temporary file.
const PACK_IN_MEMORY: usize = 64 << 20;

/// A store as a source, for its owner: all repositories of it.
pub struct StoreSource {
    store: Store,
    name: String,
}

impl StoreSource {
    /// A source that has what `store` has.
    pub fn new(store: Store, name: String) -> Self {
        Self { store, name }
    }
}

fn failed(error: &dyn std::fmt::Display) -> SourceError {
    SourceError::Unreachable { reason: error.to_string() }
}

impl ObjectSource for StoreSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn headers(&self, ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>> {
        let stats = self.store.objects().stat(ids).map_err(|e| failed(&e))?;
        Ok(stats.into_iter().map(|stat| stat.map(|stat| stat.header)).collect())
    }

    /// Those of the first repository that has some.
    fn objects<'a>(
        &'a self,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>> {
        let mut wanted = want.ids.to_vec();
        wanted.sort_unstable();
        let objects = self.store.objects();
        for repo in self.store.repos().list().map_err(|e| failed(&e))? {
            let members = objects.are_members(repo.id, &wanted).map_err(|e| failed(&e))?;
            let ids: Vec<ObjectId> =
                wanted.iter().zip(members).filter(|(_, is)| *is).map(|(id, _)| *id).collect();
            if ids.is_empty() {
                continue;
            }
            let mut pack = tempfile::spooled_tempfile(PACK_IN_MEMORY);
            let options = SendOptions { ofs_delta: true, ..SendOptions::default() };
            let sent = objects.send_pack(repo.id, &ids, &options, &mut pack, &NoProgress);
            sent.map_err(|e| failed(&e))?;
            pack.seek(SeekFrom::Start(0)).map_err(|e| failed(&e))?;
            return Ok(Some(Box::new(pack)));
        }
        Ok(None)
    }
}

impl ChunkSource for StoreSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>> {
        let len = |pointer: &Pointer| match self.store.files().head(&pointer.file) {
            Ok(head) => Ok(head.map(|head| head.len)),
            Err(error) => Err(failed(&error)),
        };
        files.iter().map(len).collect()
    }

    fn manifest(&self, file: &FileId, offset: u64) -> SourceResult<Option<ManifestPage>> {
        let files = self.store.files();
        let Some(head) = files.head(file).map_err(|e| failed(&e))? else { return Ok(None) };
        let spans = files.spans(file, offset, u64::MAX).map_err(|e| failed(&e))?;
        let spans = spans.take(PAGE_CHUNKS_MAX).collect::<Result<Vec<_>, StoreError>>();
        Ok(Some(ManifestPage::unsigned(head.len, spans.map_err(|e| failed(&e))?)))
    }

    fn chunks(
        &self,
        file: &FileId,
        spans: &[crate::read::ChunkSpan],
        _urgency: Urgency,
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<()> {
        for span in spans {
            let plain = match self.store.files().chunk(file, &span.chunk) {
                Ok(plain) => plain,
                Err(StoreError::MissingChunk { .. } | StoreError::DamagedChunk { .. }) => continue,
                Err(error) => return Err(failed(&error)),
            };
            if take(span, ChunkBytes::Plain(plain)).is_break() {
                break;
            }
        }
        Ok(())
    }
}
