//! Files and their chunks.

use libp2p::PeerId;
use mega_storage::{ChunkSpan, FileId, HeldFile, ManifestPage, PeerIdBytes, StoreError};

use super::{Answerer, Asker, NOBODY, Sink, Stop, put};
use crate::swarm::vouch;
use crate::swarm::wire::limits::PAGES_MAX;
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
        publisher: &PeerIdBytes,
    ) -> Result<Option<Reply>, StoreError> {
        let Some(held) = self.held(asker, key, file)? else { return Ok(None) };
        let Ok(publisher) = PeerId::from_bytes(publisher.as_bytes()) else { return Ok(None) };
        // Who goes on asks for where its last page ended; anybody else waits for its first byte.
        let here = self.vouched_for(&held, file, &publisher, offset, 1)?;
        let starts = here.as_ref().and_then(|page| page.spans.first().map(|span| span.offset));
        let page = match offset > 0 && starts == Some(offset) {
            true => self.vouched_for(&held, file, &publisher, offset, PAGES_MAX)?,
            false => here,
        };
        Ok(page.map(Reply::Manifest))
    }

    /// At most `max` pages of a manifest that `publisher` vouches for: this store, or another whose
    /// signatures are here.
    fn vouched_for(
        &self,
        held: &HeldFile,
        file: &FileId,
        publisher: &PeerId,
        offset: u64,
        max: usize,
    ) -> Result<Option<ManifestPage>, StoreError> {
        let identity = self.directory.identity();
        if *publisher == identity.peer_id() && !self.is_copy(held)? {
            let Some(mut page) = held.manifest(offset, max)? else { return Ok(None) };
            vouch::sign(identity, file, &mut page);
            return Ok(Some(page));
        }
        let Some(mut page) = held.signed_manifest(offset, max)? else { return Ok(None) };
        // Also what lies here is looked at: who passes on what nobody signed counts as a liar.
        page.truncate(vouch::signed_count(publisher, file, &page));
        Ok(vouch::is_vouched_for(publisher, file, &page).then_some(page))
    }

    /// Whether it is of a repository that is filled from elsewhere.
    fn is_copy(&self, held: &HeldFile) -> Result<bool, StoreError> {
        Ok(self.store.repos().record(held.repo())?.is_none_or(|repo| repo.partial))
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
