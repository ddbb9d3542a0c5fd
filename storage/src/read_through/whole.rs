//! When all chunks of a file are here: the whole is hashed, and becomes a file like any other, or
//! nothing.

use std::collections::HashSet;

use super::manifest::end_of;
use super::{Result, Shared};
use crate::error::StoreError;
use crate::id::{ChunkId, FileId};
use crate::read::ChunkSpan;

impl Shared {
    /// Looks whether chunks that came were the last ones. Runs on the threads that fetch.
    pub(super) fn landed(&self, file: &FileId, spans: &[ChunkSpan]) {
        let looked = self.note_landed(file, spans).and_then(|is_near| match is_near {
            true => self.finish_file(file),
            false => Ok(()),
        });
        match looked {
            Ok(()) | Err(StoreError::Interrupted) => {}
            Err(error) => (self.options.note)(&format!("file {file}: {error}")),
        }
    }

    /// Counts chunks that came against their pages; whether a page has become full.
    fn note_landed(&self, file: &FileId, spans: &[ChunkSpan]) -> Result<bool> {
        let mut is_near = false;
        self.files.lock().look_again(self.store.cache_state().epoch());
        let mut rest = spans;
        while let Some(first) = rest.first() {
            let Some(page) = self.kept_page(file, first.offset)? else { return Ok(is_near) };
            let start = page.first().map_or(0, |span| span.offset);
            let count = rest.partition_point(|span| span.offset < end_of(&page));
            let known = self.files.lock().state(file).lacking.get(&start).copied();
            let left = match known {
                Some(left) if left > count => left - count,
                // Counted anew: some chunks stand twice, and some are other files' too.
                Some(_) | None => self.lacking(&page)?,
            };
            let mut files = self.files.lock();
            let state = files.state(file);
            state.lacking.insert(start, left);
            if left == 0 {
                is_near |= state.full.insert(start);
            }
            rest = rest.get(count.max(1)..).unwrap_or_default();
        }
        Ok(is_near)
    }

    /// Chunks of a page that are not here, each once.
    fn lacking(&self, page: &[ChunkSpan]) -> Result<usize> {
        let ids: HashSet<ChunkId> = page.iter().map(|span| span.chunk.id).collect();
        let ids: Vec<ChunkId> = ids.into_iter().collect();
        let stored = self.store.files().stored_chunks(&ids)?;
        Ok(stored.iter().filter(|is_stored| !**is_stored).count())
    }

    /// Makes a file of what came, when it is all here.
    pub(super) fn finish_file(&self, file: &FileId) -> Result<()> {
        let Some(len) = self.partial.file_len(file)? else { return Ok(()) };
        self.files.lock().look_again(self.store.cache_state().epoch());
        let mut at = 0;
        while at < len {
            let Some(page) = self.kept_page(file, at)? else { return Ok(()) };
            let start = page.first().map_or(0, |span| span.offset);
            if !self.files.lock().state(file).full.contains(&start) {
                let left = self.lacking(&page)?;
                let mut files = self.files.lock();
                let state = files.state(file);
                state.lacking.insert(start, left);
                if left > 0 {
                    return Ok(());
                }
                state.full.insert(start);
            }
            at = end_of(&page).max(at + 1);
        }
        let (is_ours, _) = self.whole_flights.board_all(&[*file]);
        if is_ours.keys().is_empty() {
            return Ok(());
        }
        let mut at = 0;
        let pages = std::iter::from_fn(|| {
            (at < len).then(|| {
                let missing = StoreError::MissingFile { id: *file };
                let page = self.kept_page(file, at)?.ok_or(missing)?;
                at = end_of(&page);
                Ok(page)
            })
        });
        let chunks = pages.flat_map(|page: Result<_>| match page {
            Ok(page) => page.iter().map(|span| Ok(span.chunk)).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        });
        let adopted = self.store.files().adopt(self.repo, file, chunks, &|| self.is_closing());
        match adopted {
            Ok(()) => self.partial.drop_told(file)?,
            Err(error @ StoreError::FileHashMismatch { .. }) => {
                super::sources::add(&self.counters.wrong, 1);
                (self.options.note)(&format!("the chunks told of file {file} are not it: {error}"));
                self.partial.drop_file(file)?;
            }
            // A chunk that turned out to be damaged is fetched again when it is read.
            Err(error) => return Err(error),
        }
        self.files.lock().forget(file);
        is_ours.land(|_| Ok(()));
        Ok(())
    }

    /// Bytes of a file that are here, as far as its manifest is known.
    pub(super) fn resident_of_told(&self, file: &FileId) -> Result<u64> {
        let Some(len) = self.partial.file_len(file)? else { return Ok(0) };
        let (mut at, mut here) = (0, 0);
        while at < len {
            let Some(page) = self.partial.page_from(file, at)? else { break };
            let ids: Vec<ChunkId> = page.iter().map(|span| span.chunk.id).collect();
            let stored = self.store.files().stored_chunks(&ids)?;
            let stored = page.iter().zip(stored).filter(|(_, is_stored)| *is_stored);
            here += stored.map(|(span, _)| u64::from(span.chunk.len)).sum::<u64>();
            at = end_of(&page);
        }
        Ok(here)
    }
}
