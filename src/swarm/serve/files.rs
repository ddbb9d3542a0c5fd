//! Files and their chunks.

use mega_storage::{ChunkSpan, FileId, HeldFile, StoreError};

use super::limits::PAGE_CHUNKS_FIRST;
use super::{Answerer, Asker, NOBODY, Sink, Stop, put};
use crate::swarm::wire::limits::PAGE_CHUNKS_MAX;
use crate::swarm::wire::{Reply, RepoKey};

impl Answerer {
    /// The file as the asker may see it: in one repository, or in any public one. What may not be
    /// seen is looked for where nothing is.
    fn held(
        &self,
        asker: &Asker,
        key: &RepoKey,
        file: &FileId,
    ) -> Result<Option<HeldFile>, StoreError> {
        if *key == RepoKey::ANY {
            return self.store.public_held_file(file);
        }
        let seen = self.see(asker, key)?;
        self.store.held_file(seen.map_or(NOBODY, |seen| seen.repo.id), file)
    }

    /// Lengths of files that are here whole. A repository that may not be read has none of them.
    pub(super) fn file_lens(
        &self,
        asker: &Asker,
        key: &RepoKey,
        files: &[FileId],
    ) -> Result<Option<Reply>, StoreError> {
        let mut lens = Vec::with_capacity(files.len());
        for file in files {
            let held = self.held(asker, key, file)?;
            lens.push(held.filter(HeldFile::is_whole).map(|held| held.file_len()));
        }
        Ok(lens.iter().any(Option::is_some).then_some(Reply::Files(lens)))
    }

    pub(super) fn have(
        &self,
        asker: &Asker,
        key: &RepoKey,
        file: &FileId,
    ) -> Result<Option<Reply>, StoreError> {
        let Some(held) = self.held(asker, key, file)? else { return Ok(None) };
        Ok(Some(Reply::Have { len: held.file_len(), held: held.parts()? }))
    }

    pub(super) fn manifest(
        &self,
        asker: &Asker,
        key: &RepoKey,
        file: &FileId,
        offset: u64,
    ) -> Result<Option<Reply>, StoreError> {
        let Some(held) = self.held(asker, key, file)? else { return Ok(None) };
        // Who goes on asks for where its last page ended; anybody else waits for its first byte.
        let here = held.manifest(offset, 1)?;
        let starts = here.and_then(|page| page.spans.first().map(|span| span.offset));
        let goes_on = offset > 0 && starts == Some(offset);
        let page =
            held.manifest(offset, if goes_on { PAGE_CHUNKS_MAX } else { PAGE_CHUNKS_FIRST })?;
        Ok(page.map(Reply::Manifest))
    }

    pub(super) fn chunks(
        &self,
        asker: &Asker,
        key: &RepoKey,
        file: &FileId,
        spans: &[ChunkSpan],
        sink: &mut Sink<'_>,
    ) -> Result<(), Stop> {
        let Some(held) = self.held(asker, key, file)? else { return put(sink, Reply::NotFound) };
        let mut absent = Vec::new();
        for (index, span) in (0u16..).zip(spans) {
            match held.chunk(span)? {
                Some(chunk) => put(sink, Reply::Chunk { index, chunk })?,
                None => absent.push(index),
            }
        }
        put(sink, Reply::End { absent })
    }
}
