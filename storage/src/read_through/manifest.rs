//! Manifests of files that are not here, as sources tell them: run by run, as far as readers go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use sha2::{Digest, Sha256};

use super::flights::Failure;
use super::sources::Reasons;
use super::{Result, Shared};
use crate::chunk::CHUNK_LEN_MAX;
use crate::error::StoreError;
use crate::id::{ChunkId, FileId};
use crate::manifest::FILE_LEN_MAX;
use crate::partial::SignedRun;
use crate::read::ChunkSpan;
use crate::source::{ManifestPage, PAGE_CHUNKS_MAX};

/// Files whose state is remembered.
const FILES_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");
/// Pages of one file kept decoded: each up to 3 MB, usually a tenth of that.
const PAGES_MAX: usize = 8;
/// Chunks whose place in the file is remembered, of one file: 64 windows of reading ahead.
const OFFSETS_MAX: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("not zero");
/// Readers within one such stretch of a file wait for one question.
const STRETCH_LEN: u64 = 16 << 20;

/// A run of chunks as kept.
pub(super) type Page = Arc<[ChunkSpan]>;

/// What is remembered of files that are not here.
pub(super) struct Files {
    states: LruCache<FileId, FileState>,
    /// Removals of content that were seen.
    epoch: u64,
}

/// One of them.
pub(super) struct FileState {
    pages: BTreeMap<u64, Page>,
    offsets: LruCache<ChunkId, u64>,
    /// Pages of which all chunks are here, by their start.
    pub(super) full: BTreeSet<u64>,
    /// Chunks that other pages lack, as far as that was counted.
    pub(super) lacking: HashMap<u64, usize>,
}

impl Default for Files {
    fn default() -> Self {
        Self { states: LruCache::new(FILES_MAX), epoch: 0 }
    }
}

impl Files {
    pub(super) fn state(&mut self, file: &FileId) -> &mut FileState {
        self.states.get_or_insert_mut(*file, || FileState {
            pages: BTreeMap::new(),
            offsets: LruCache::new(OFFSETS_MAX),
            full: BTreeSet::new(),
            lacking: HashMap::new(),
        })
    }

    /// Forgets which chunks were here when some have been removed since.
    pub(super) fn look_again(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            for (_, state) in &mut self.states {
                state.full.clear();
                state.lacking.clear();
            }
        }
    }

    pub(super) fn forget(&mut self, file: &FileId) {
        self.states.pop(file);
    }
}

impl FileState {
    fn page(&self, at: u64) -> Option<Page> {
        let (_, page) = self.pages.range(..=at).next_back()?;
        (end_of(page) > at).then(|| page.clone())
    }

    fn keep(&mut self, page: Page) {
        let Some(first) = page.first() else { return };
        self.pages.insert(first.offset, page.clone());
        if self.pages.len() > PAGES_MAX {
            // The one furthest from where is read now.
            let at = first.offset;
            let far = self.pages.keys().copied().max_by_key(|start| start.abs_diff(at));
            far.and_then(|far| self.pages.remove(&far));
        }
    }

    /// Where a chunk that was handed out stands.
    pub(super) fn offset(&mut self, chunk: &ChunkId) -> Option<u64> {
        self.offsets.get(chunk).copied()
    }
}

/// End of the last chunk.
pub(super) fn end_of(spans: &[ChunkSpan]) -> u64 {
    spans.last().map_or(0, |span| span.offset + u64::from(span.chunk.len))
}

impl Shared {
    /// The length of a file that is not here, as told; `None` when no source has it.
    pub(super) fn told_file_len(&self, file: &FileId) -> Result<Option<u64>> {
        if let Some(len) = self.partial.file_len(file)? {
            return Ok(Some(len));
        }
        match self.ask_page_once(file, None, 0) {
            Ok(()) => self.partial.file_len(file),
            Err(StoreError::MissingFile { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The chunks that cover a part of a file that is not here, as told.
    pub(super) fn told_spans(
        &self,
        file: &FileId,
        offset: u64,
        len: u64,
    ) -> Result<Vec<ChunkSpan>> {
        let missing = StoreError::MissingFile { id: *file };
        let file_len = self.told_file_len(file)?.ok_or(missing)?;
        let end = offset.saturating_add(len).min(file_len);
        let (mut spans, mut at) = (Vec::<ChunkSpan>::new(), offset);
        while at < end {
            let page = self.page(file, file_len, at)?;
            let first = page.partition_point(|s| s.offset + u64::from(s.chunk.len) <= at);
            spans.extend(page.iter().skip(first).take_while(|s| s.offset < end));
            at = end_of(&page).max(at + 1);
        }
        let mut files = self.files.lock();
        let state = files.state(file);
        for span in &spans {
            state.offsets.put(span.chunk.id, span.offset);
        }
        Ok(spans)
    }

    /// Where a chunk of a file that is not here stands: as it was handed out, else by a search.
    pub(super) fn place_of(&self, file: &FileId, chunk: &ChunkId) -> Result<Option<u64>> {
        if let Some(offset) = self.files.lock().state(file).offset(chunk) {
            return Ok(Some(offset));
        }
        let mut at = 0;
        while let Some(page) = self.partial.page_from(file, at)? {
            if let Some(span) = page.iter().find(|span| span.chunk.id == *chunk) {
                return Ok(Some(span.offset));
            }
            at = end_of(&page).max(at + 1);
        }
        Ok(None)
    }

    /// The page that has the byte at `at`: remembered, kept, or asked for.
    pub(super) fn page(&self, file: &FileId, file_len: u64, at: u64) -> Result<Page> {
        for _ in 0..2 {
            if let Some(page) = self.kept_page(file, at)? {
                return Ok(page);
            }
            self.ask_page_once(file, Some(file_len), at)?;
        }
        // Another reader's question, in the same stretch, brought a page that ends before this.
        self.ask_page(file, Some(file_len), at).and_then(|failure| self.ended(file, failure))?;
        self.kept_page(file, at)?.ok_or(StoreError::MissingFile { id: *file })
    }

    pub(super) fn kept_page(&self, file: &FileId, at: u64) -> Result<Option<Page>> {
        if let Some(page) = self.files.lock().state(file).page(at) {
            return Ok(Some(page));
        }
        let kept = self.partial.page_up_to(file, at)?.filter(|page| end_of(page) > at);
        let Some(page) = kept.map(Page::from) else { return Ok(None) };
        self.files.lock().state(file).keep(page.clone());
        Ok(Some(page))
    }

    fn ask_page_once(&self, file: &FileId, file_len: Option<u64>, at: u64) -> Result<()> {
        let deadline = self.deadline();
        let key = (*file, at / STRETCH_LEN);
        let (boarded, others) = self.page_flights.board_all(&[key]);
        if !boarded.keys().is_empty() {
            let failure = match self.ask_page(file, file_len, at) {
                Ok(failure) => failure,
                Err(error) => {
                    let told = Failure::Failed(error.to_string().into());
                    boarded.land(|_| Err(told.clone()));
                    return Err(error);
                }
            };
            boarded.land(|_| failure.clone().map_or(Ok(()), Err));
            return self.ended(file, failure);
        }
        for (_, flight) in others {
            let failure = match flight.wait(deadline) {
                Some(outcome) => outcome.err(),
                None => Some(Failure::Failed(self.too_late().into())),
            };
            self.ended(file, failure)?;
        }
        Ok(())
    }

    fn ended(&self, file: &FileId, failure: Option<Failure>) -> Result<()> {
        match failure {
            None => Ok(()),
            Some(Failure::Absent) => Err(StoreError::MissingFile { id: *file }),
            Some(Failure::Failed(reason)) => Err(StoreError::NotFetched {
                what: format!("the chunk list of file {file}"),
                reason: reason.to_string(),
            }),
        }
    }

    /// Asks source after source for the page that has `at`, and keeps it.
    fn ask_page(&self, file: &FileId, len: Option<u64>, at: u64) -> Result<Option<Failure>> {
        let panel = &self.chunk_sources;
        let mut reasons = Reasons::default();
        for source in panel.order(&mut reasons) {
            panel.asked();
            match source.source.manifest(file, at) {
                Ok(None) => {}
                Ok(Some(page)) => match self.keep_page(file, len, at, page)? {
                    Ok(()) => return Ok(None),
                    Err(reason) => panel.lied(source, &reason, &mut reasons),
                },
                Err(error) => panel.failed(source, &error, &mut reasons),
            }
        }
        Ok(Some(reasons.failure()))
    }

    /// Keeps what of a page is new, when it fits what is known.
    fn keep_page(
        &self,
        file: &FileId,
        len: Option<u64>,
        at: u64,
        mut page: ManifestPage,
    ) -> Result<std::result::Result<(), &'static str>> {
        if let Err(reason) = check_page(file, &page, len, at) {
            return Ok(Err(reason));
        }
        let below = self.partial.page_up_to(file, at)?.map_or(0, |below| end_of(&below));
        let above = self.partial.page_from(file, at)?;
        let above = above.and_then(|page| page.first().map(|s| s.offset)).unwrap_or(page.len);
        if below <= at {
            let end = |span: &ChunkSpan| span.offset + u64::from(span.chunk.len);
            let signed = page.signed().filter_map(|(spans, signature)| {
                let run = SignedRun::new(spans, signature)?;
                (run.offset >= below && end_of(spans) <= above).then_some(run)
            });
            let signed: Vec<SignedRun> = signed.collect();
            page.spans.retain(|span| span.offset >= below && end(span) <= above);
            let covers = page.spans.iter().any(|span| span.offset <= at && at < end(span));
            if !covers && at < page.len {
                return Ok(Err("its chunks do not meet those that are known"));
            }
            self.partial.put_page(file, &page.spans, &signed)?;
        }
        if len.is_none() {
            self.partial.put_file_lens(&[(*file, page.len)])?;
        }
        Ok(Ok(()))
    }
}

fn check_page(
    file: &FileId,
    page: &ManifestPage,
    len: Option<u64>,
    at: u64,
) -> std::result::Result<(), &'static str> {
    if page.len > FILE_LEN_MAX || len.is_some_and(|len| len != page.len) {
        return Err("the file's length is another");
    }
    let is_empty = file.as_bytes()[..] == Sha256::digest(b"")[..];
    if is_empty != (page.len == 0) {
        return Err("it is told to be empty and is not, or the other way round");
    }
    if page.spans.len() > PAGE_CHUNKS_MAX {
        return Err("the list of chunks is too long");
    }
    if !page.signatures.is_empty() && !page.is_signed() {
        return Err("it has signatures of no chunks, or chunks without signatures");
    }
    let mut next = page.spans.first().map_or(at, |span| span.offset);
    let starts = next <= at;
    for span in &page.spans {
        if span.offset != next || span.chunk.len == 0 || span.chunk.len > CHUNK_LEN_MAX {
            return Err("the chunks have gaps, or impossible lengths");
        }
        next += u64::from(span.chunk.len);
        if next > page.len {
            return Err("the chunks go beyond the file's end");
        }
    }
    if !starts || (next <= at && at < page.len) {
        return Err("the chunks are of another part of the file");
    }
    Ok(())
}
