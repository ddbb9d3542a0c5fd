//! Removing content, in steps that each are one batch.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::survey::Holding;
use crate::db::{Durability, Family};
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId, RepoId};
use crate::progress::Progress;
use crate::read::ChunkSpan;
use crate::store::Store;

/// Chunks in one step: takers-in wait for so much.
const STEP_COUNT: usize = 1024;
/// A limit is gone below by a sixteenth of it, so that not every chunk that comes sets off a look.
const BELOW: u64 = 16;
/// After so many bytes the database is told to give their place back: it looks at all keys of
/// chunks for that.
const GONE_LEN: u64 = 256 << 20;

/// What was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EvictReport {
    /// Plain bytes that count no more.
    pub len: u64,
    /// Files of which something went.
    pub file_count: u64,
    /// Plain bytes that may go and are still here.
    pub left_len: u64,
    /// More had to go, and is in use, or somebody takes content in.
    pub is_short: bool,
}

/// What came of one step.
enum Step {
    /// So many bytes went.
    Gone(u64),
    /// There is nothing more of this file that may go now.
    End,
    /// Somebody takes content in.
    Busy,
}

impl Store {
    /// Removes what exceeds the limit. It may be ended between any two steps, and cut off anywhere.
    ///
    /// # Errors
    /// When the store fails; [`StoreError::Interrupted`].
    pub fn evict(&self, progress: &dyn Progress) -> Result<EvictReport> {
        let mut report = EvictReport::default();
        let state = self.cache_state();
        let _turn = state.turn.lock();
        let Some(limit) = self.cache_limit()? else {
            report.left_len = self.cache_use()?.len;
            return Ok(report);
        };
        let (holdings, _) = self.survey()?;
        let len: u64 = holdings.iter().map(|holding| holding.len).sum();
        report.left_len = len;
        if len <= limit {
            return Ok(report);
        }
        let mut over = len - (limit - limit / BELOW);
        let claimed = self.claimed()?;
        for holding in &holdings {
            if over == 0 {
                break;
            }
            let gone = self.evict_holding(holding, over, &claimed, progress)?;
            report.file_count += u64::from(gone > 0);
            report.len += gone;
            over = over.saturating_sub(gone);
        }
        report.left_len = len.saturating_sub(report.len);
        report.is_short = report.left_len > limit;
        state.len.store(report.left_len, Ordering::Relaxed);
        let gone = state.gone.fetch_add(report.len, Ordering::Relaxed) + report.len;
        if gone >= GONE_LEN.min(limit) {
            state.gone.store(0, Ordering::Relaxed);
            self.db().drop_dead_values(Family::Chunk)?;
        }
        Ok(report)
    }

    fn evict_holding(
        &self,
        holding: &Holding,
        len: u64,
        claimed: &HashSet<ChunkId>,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let Some(&repo) = holding.repos.first() else { return Ok(0) };
        if holding.is_whole && !self.take_apart(holding)? {
            return Ok(0);
        }
        let (mut gone, mut from) = (0, 0);
        while gone < len {
            if progress.interrupted() {
                return Err(StoreError::Interrupted);
            }
            match self.evict_step(repo, &holding.file, &mut from, len - gone, claimed)? {
                Step::Gone(step) => gone += step,
                Step::End | Step::Busy => break,
            }
        }
        if self.partial(repo).came(&holding.file).next().is_none() {
            self.partial(repo).drop_use(&holding.file)?;
        }
        Ok(gone)
    }

    /// Makes a whole file one of which all chunks came; `false` when it is not to be had now.
    fn take_apart(&self, holding: &Holding) -> Result<bool> {
        let Holding { file, repos, .. } = holding;
        let Some(head) = self.files().head(file)? else { return Ok(false) };
        if self.files().try_sweep().is_none() {
            return Ok(false);
        }
        for (index, repo) in repos.iter().enumerate() {
            let partial = self.partial(*repo);
            partial.drop_told(file)?;
            let mut spans = self.files().spans_of(file)?;
            loop {
                let page: Vec<ChunkSpan> =
                    spans.by_ref().take(STEP_COUNT).collect::<Result<_>>()?;
                if page.is_empty() {
                    break;
                }
                // Only once: the chunks go once.
                partial.put_page_that_came(file, &page, index == 0)?;
            }
            partial.put_file_lens(&[(*file, head.len)])?;
        }
        self.files().give_up(file, repos)
    }

    /// Removes some chunks of a file that is being filled, from an offset on: about `len` bytes.
    fn evict_step(
        &self,
        repo: RepoId,
        file: &FileId,
        from: &mut u64,
        len: u64,
        claimed: &HashSet<ChunkId>,
    ) -> Result<Step> {
        let (state, partial) = (self.cache_state(), self.partial(repo));
        let (mut looked_at, mut sum) = (Vec::new(), 0);
        for span in partial.came_from(file, *from).take(STEP_COUNT) {
            let span = span?;
            sum += u64::from(span.chunk.len);
            looked_at.push(span);
            if sum >= len {
                break;
            }
        }
        let Some(last) = looked_at.last() else { return Ok(Step::End) };
        *from = last.offset + 1;
        let Some(_alone) = self.files().try_sweep() else { return Ok(Step::Busy) };
        let mut going = looked_at;
        going.retain(|span| !state.is_in_use(&span.chunk.id));
        let kept = self.leased(&going)?;
        let mut batch = self.db().batch();
        let mut gone = 0;
        for span in &going {
            partial.take_came(&mut batch, file, span.offset);
            let id = &span.chunk.id;
            gone += u64::from(span.chunk.len);
            let is_kept = kept.contains(id) || claimed.contains(id);
            if !is_kept && !self.files().is_in_a_file(id)? {
                batch.delete(Family::Chunk, id.as_bytes());
                batch.delete(Family::ChunkMeta, id.as_bytes());
            }
        }
        self.db().commit(batch, Durability::Logged)?;
        state.bump();
        Ok(Step::Gone(gone))
    }

    /// Chunks that came for files of whole repositories: an import that is not done.
    fn claimed(&self) -> Result<HashSet<ChunkId>> {
        let mut claimed = HashSet::new();
        for repo in self.repos().list()?.into_iter().filter(|repo| !repo.partial) {
            for chunk in self.partial(repo.id).chunks_of_all() {
                claimed.insert(chunk?);
            }
        }
        Ok(claimed)
    }

    /// Those of the chunks that uploads have brought and no file has yet.
    fn leased(&self, going: &[ChunkSpan]) -> Result<HashSet<ChunkId>> {
        let going: HashSet<ChunkId> = going.iter().map(|span| span.chunk.id).collect();
        let mut leased = HashSet::new();
        for row in self.db().scan(Family::Lease, b"v") {
            let (key, _) = row?;
            let id = key.last_chunk::<{ ChunkId::LEN }>().map(|id| ChunkId::from_bytes(*id));
            leased.extend(id.filter(|id| going.contains(id)));
        }
        Ok(leased)
    }
}
