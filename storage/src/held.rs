//! A file that is here, whole or in parts, as it is served to other stores: which parts there are,
//! its manifest, its chunks as they are stored.
//!
//! Every way in names a repository, and the caller has found out that its asker may read that. The
//! file is held when the repository has the right to it, or when it is being filled: then only the
//! chunks that came for this file and this repository are here (see [`crate::partial`]). The
//! manifest of a whole file is proven by the file's hash. Of one that is not whole, and of one that
//! another peer published, there is what that peer signed, for who checks the signature.
//!
//! Invariant: a chunk is given to who names its file, offset, id and length, all of them right. A
//! chunk that only another repository has is as absent as one that nobody has.

use crate::chunks::StoredChunk;
use crate::error::Result;
use crate::id::{FileId, RepoId};
use crate::manifest::FILE_LEN_MAX;
use crate::partial::SignedRun;
use crate::read::ChunkSpan;
use crate::source::{ManifestPage, SIGNED_CHUNKS};
use crate::store::Store;

/// Runs of bytes by which parts are told; more are told as bits.
pub const HELD_RUNS_MAX: usize = 4_096;
/// Bytes of bits by which parts are told.
pub const HELD_BITS_LEN_MAX: usize = 64 << 10;
/// The smallest granule that a bit stands for, as a power of two: 4 KiB.
pub const HELD_SHIFT_MIN: u8 = 12;
/// The largest.
pub const HELD_SHIFT_MAX: u8 = 40;

/// Chunks that are looked up at once.
const LOOKUP_COUNT: usize = 1024;

/// A part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldRun {
    /// Offset of its first byte.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

impl HeldRun {
    /// The offset after its last byte.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// Which parts of a file are here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// Not a byte.
    None,
    /// Every byte.
    All,
    /// These runs, ascending, not touching each other: 1 to [`HELD_RUNS_MAX`].
    Runs(Vec<HeldRun>),
    /// A bit for each granule of `1 << shift` bytes, the last one cut at the file's end: set when
    /// all of its bytes are here.
    Bits {
        /// From [`HELD_SHIFT_MIN`] to [`HELD_SHIFT_MAX`].
        shift: u8,
        /// Granule `i` is bit `i % 8`, the lowest first, of byte `i / 8`. At most
        /// [`HELD_BITS_LEN_MAX`] bytes, and as few as hold all granules.
        bits: Vec<u8>,
    },
}

impl Held {
    /// How many bytes of bits a file of `len` bytes takes.
    pub fn bits_len(len: u64, shift: u8) -> u64 {
        granule_count(len, shift).div_ceil(8)
    }
}

fn granule_count(len: u64, shift: u8) -> u64 {
    len.div_ceil(1u64.checked_shl(shift.into()).unwrap_or(u64::MAX))
}

/// Gathers runs, which come in ascending order, within the limits.
struct Gathered {
    file_len: u64,
    runs: Vec<HeldRun>,
    bits: Option<(u8, Vec<u8>)>,
}

impl Gathered {
    fn new(file_len: u64) -> Self {
        Self { file_len, runs: Vec::new(), bits: None }
    }

    /// Adds a run that begins at or after the beginning of the one before.
    fn add(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.file_len);
        if let Some(last) = self.runs.last_mut()
            && offset <= last.end()
        {
            last.len = last.len.max(end.saturating_sub(last.offset));
            return;
        }
        if end <= offset {
            return;
        }
        if self.runs.len() == HELD_RUNS_MAX {
            self.turn_to_bits();
        }
        self.runs.push(HeldRun { offset, len: end - offset });
    }

    /// Turns the runs so far into bits.
    fn turn_to_bits(&mut self) {
        let file_len = self.file_len;
        let (shift, bits) = self.bits.get_or_insert_with(|| {
            let fits = |shift: &u8| Held::bits_len(file_len, *shift) <= HELD_BITS_LEN_MAX as u64;
            let shift = (HELD_SHIFT_MIN..HELD_SHIFT_MAX).find(fits).unwrap_or(HELD_SHIFT_MAX);
            (shift, vec![0; usize::try_from(Held::bits_len(file_len, shift)).unwrap_or(0)])
        });
        for run in self.runs.drain(..) {
            let first = granule_count(run.offset, *shift);
            let after = match run.end() == file_len {
                true => granule_count(file_len, *shift),
                false => run.end() >> *shift,
            };
            for granule in first..after {
                let byte = usize::try_from(granule / 8).ok().and_then(|byte| bits.get_mut(byte));
                if let Some(byte) = byte {
                    *byte |= 1 << (granule % 8);
                }
            }
        }
    }

    fn finish(mut self) -> Held {
        if self.bits.is_some() {
            self.turn_to_bits();
        }
        match (self.bits, self.runs.as_slice()) {
            (Some((shift, bits)), _) => Held::Bits { shift, bits },
            (None, []) => Held::None,
            (None, [run]) if run.offset == 0 && run.len == self.file_len => Held::All,
            (None, _) => Held::Runs(self.runs),
        }
    }
}

/// A file of a repository that is here, whole or in parts.
pub struct HeldFile {
    store: Store,
    repo: RepoId,
    file: FileId,
    len: u64,
    is_whole: bool,
}

impl Store {
    /// The file as `repo` holds it; `None` when it has no part in it. Whether the repository may be
    /// read is the caller's question.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn held_file(&self, repo: RepoId, file: &FileId) -> Result<Option<HeldFile>> {
        let has_right = self.files().has(repo, file)?;
        let told = self.partial(repo).file_len(file)?;
        // A file that only others have is not looked at: that takes as long as for none at all.
        let whole = if has_right { self.files().head(file)?.map(|head| head.len) } else { None };
        let len = whole.or(told.filter(|len| *len <= FILE_LEN_MAX));
        let (store, file, is_whole) = (self.clone(), *file, whole.is_some());
        Ok(len.map(|len| HeldFile { store, repo, file, len, is_whole }))
    }

    /// Files of at least `len_min` bytes that `repo` holds, whole or a part of, each once, with
    /// their lengths; in no order. At most `max`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn held_files(&self, repo: RepoId, len_min: u64, max: usize) -> Result<Vec<(FileId, u64)>> {
        let mut held = Vec::new();
        for file in self.files().files(repo) {
            let file = file?;
            let len = self.files().head(&file)?.map(|head| head.len);
            if let Some(len) = len.filter(|len| *len >= len_min && held.len() < max) {
                held.push((file, len));
            }
        }
        let partial = self.partial(repo);
        for told in partial.told_files() {
            let (file, len) = told?;
            if held.len() >= max || len < len_min || len > FILE_LEN_MAX {
                continue;
            }
            if partial.came(&file).next().transpose()?.is_some() {
                held.push((file, len));
            }
        }
        held.sort_unstable();
        held.dedup_by_key(|(file, _)| *file);
        Ok(held)
    }

    /// The file as the first public repository holds it that has it whole; when there is none, as
    /// the first that has a part in it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn public_held_file(&self, file: &FileId) -> Result<Option<HeldFile>> {
        let repo = match self.first_public_of_file(file)? {
            None => self.first_public_told_of(file)?,
            found => found,
        };
        repo.map_or(Ok(None), |repo| self.held_file(repo, file))
    }
}

impl HeldFile {
    /// The repository that holds it.
    pub fn repo(&self) -> RepoId {
        self.repo
    }

    /// Length of the file, in bytes; proven when it is whole.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// Whether it is here whole, its hash proven.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Which parts are here. For one that is not whole a row a chunk is read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn parts(&self) -> Result<Held> {
        if self.is_whole {
            return Ok(Held::All);
        }
        let mut gathered = Gathered::new(self.len);
        let partial = self.store.partial(self.repo);
        let mut came = partial.came(&self.file);
        loop {
            let spans = came.by_ref().take(LOOKUP_COUNT).collect::<Result<Vec<_>>>()?;
            if spans.is_empty() {
                return Ok(gathered.finish());
            }
            // One may have gone with another file that had it too.
            let ids: Vec<_> = spans.iter().map(|span| span.chunk.id).collect();
            let stored = self.store.files().stored_chunks(&ids)?;
            for (span, _) in spans.iter().zip(stored).filter(|(_, is_stored)| *is_stored) {
                gathered.add(span.offset, span.chunk.len.into());
            }
        }
    }

    /// The manifest by pages of [`SIGNED_CHUNKS`], at most `max` of them, from the one that has the
    /// byte at `offset`; the last one when the file ends before. `None` for a file that is not
    /// whole.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn manifest(&self, offset: u64, max: usize) -> Result<Option<ManifestPage>> {
        if !self.is_whole {
            return Ok(None);
        }
        let spans = self.store.files().spans_on_grid(&self.file, offset, SIGNED_CHUNKS)?;
        let spans = spans.take(max.saturating_mul(SIGNED_CHUNKS)).collect::<Result<Vec<_>>>()?;
        Ok(Some(ManifestPage::unsigned(self.len, spans)))
    }

    /// As [`Self::manifest`], as it was told this repository with signatures, of a file whole or
    /// not; `None` when there is none of this place. Whether the signatures are good, and whose, is
    /// for the caller to see.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn signed_manifest(&self, offset: u64, max: usize) -> Result<Option<ManifestPage>> {
        let mut page = ManifestPage::unsigned(self.len, Vec::new());
        let Some(last) = self.len.checked_sub(1) else { return Ok(Some(page)) };
        let partial = self.store.partial(self.repo);
        let mut at = offset.min(last);
        while page.signatures.len() < max {
            let Some(run) = partial.signed_up_to(&self.file, at)? else { break };
            if run.offset != at && !page.spans.is_empty() {
                break;
            }
            let Some(spans) = self.run(&run)? else { break };
            let end = spans.last().map_or(0, |span| span.offset + u64::from(span.chunk.len));
            if end <= at {
                break;
            }
            page.spans.extend(spans);
            page.signatures.push(run.signature);
            at = end;
            if usize::from(run.count) < SIGNED_CHUNKS || at > last {
                break;
            }
        }
        Ok((!page.spans.is_empty()).then_some(page))
    }

    /// The chunks that were signed, as they stand here; `None` when they are not all known.
    fn run(&self, run: &SignedRun) -> Result<Option<Vec<ChunkSpan>>> {
        if !self.is_whole {
            return self.store.partial(self.repo).told_run(&self.file, run);
        }
        let count = usize::from(run.count);
        let spans = self.store.files().spans(&self.file, run.offset, u64::MAX)?.take(count);
        let spans = spans.collect::<Result<Vec<_>>>()?;
        let starts = spans.first().is_some_and(|span| span.offset == run.offset);
        Ok((starts && spans.len() == count).then_some(spans))
    }

    /// The chunk at this place as it is stored; `None` when the file has another one there, or it
    /// is not here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn chunk(&self, span: &ChunkSpan) -> Result<Option<StoredChunk>> {
        let files = self.store.files();
        let is_its = match self.is_whole {
            true => files.chunk_spans(&self.file, span.offset, 1)?.first() == Some(span),
            false => self.store.partial(self.repo).has_come(&self.file, span)?,
        };
        if is_its { files.stored_chunk(&span.chunk) } else { Ok(None) }
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
