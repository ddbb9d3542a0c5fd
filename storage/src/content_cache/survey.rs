//! Counting: a row a chunk of files that are being filled, a row a file of the others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;

use super::{CacheUse, CachedRepo};
use crate::error::Result;
use crate::id::{FileId, RepoId};
use crate::store::Store;

/// Content that may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holding {
    pub(super) file: FileId,
    /// Those that have a right to the whole of it; else the one for which parts came.
    pub(super) repos: Vec<RepoId>,
    pub(super) is_whole: bool,
    /// Plain bytes that are here.
    pub(super) len: u64,
    /// When it was read last, in seconds since 1970; 0 when that is not known.
    used_unix: u64,
}

impl Store {
    /// What there is, by repository.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn cache_use(&self) -> Result<CacheUse> {
        let (holdings, repos) = self.survey()?;
        let len = holdings.iter().map(|holding| holding.len).sum();
        Ok(CacheUse { limit_len: self.cache_limit()?, len, repos })
    }

    /// Bytes of large files that a repository has here, whole or in parts.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn content_len(&self, repo: RepoId) -> Result<u64> {
        let mut len = self.files().repo_len(repo)?;
        let mut known: Option<(FileId, bool)> = None;
        for row in self.partial(repo).came_of_all() {
            let (file, chunk_len) = row?;
            let is_whole = match known {
                Some((before, is_whole)) if before == file => is_whole,
                _ => self.files().has(repo, &file)?,
            };
            known = Some((file, is_whole));
            len += if is_whole { 0 } else { chunk_len };
        }
        Ok(len)
    }

    /// Everything that may go, least recently used first.
    pub(super) fn survey(&self) -> Result<(Vec<Holding>, Vec<CachedRepo>)> {
        let repos: Vec<_> = self.repos().list()?.into_iter().filter(|repo| repo.partial).collect();
        let mut free = HashSet::new();
        for repo in &repos {
            if !self.is_pinned(repo.id)? {
                free.insert(repo.id);
            }
        }
        let (mut holdings, mut rows) = (Vec::new(), Vec::new());
        let mut whole = HashSet::new();
        for repo in repos {
            let is_free = free.contains(&repo.id);
            let partial = self.partial(repo.id);
            let used: HashMap<FileId, u64> = partial.uses().collect::<Result<_>>()?;
            let used_unix = |file: &FileId| used.get(file).copied().unwrap_or(0);
            let (mut file_count, mut len) = (0, 0);
            for file in self.files().files(repo.id) {
                let file = file?;
                let file_len = self.files().head(&file)?.map_or(0, |head| head.len);
                (file_count, len) = (file_count + 1, len + file_len);
                if is_free && whole.insert(file) {
                    let holders = self.files().holders(&file)?;
                    if holders.iter().all(|holder| free.contains(holder)) {
                        holdings.push(Holding {
                            file,
                            repos: holders,
                            is_whole: true,
                            len: file_len,
                            used_unix: used_unix(&file),
                        });
                    }
                }
            }
            let mut parts: BTreeMap<FileId, u64> = BTreeMap::new();
            for row in partial.came_of_all() {
                let (file, chunk_len) = row?;
                *parts.entry(file).or_default() += chunk_len;
            }
            for (file, came_len) in parts {
                // Of a whole file rows may be left by a crash: they count for nothing.
                if self.files().has(repo.id, &file)? {
                    continue;
                }
                (file_count, len) = (file_count + 1, len + came_len);
                if is_free {
                    let (repos, used_unix) = (vec![repo.id], used_unix(&file));
                    holdings.push(Holding {
                        file,
                        repos,
                        is_whole: false,
                        len: came_len,
                        used_unix,
                    });
                }
            }
            rows.push(CachedRepo { name: repo.name, is_pinned: !is_free, file_count, len });
        }
        self.newest_uses(&mut holdings)?;
        holdings.sort_by_key(|holding| (holding.used_unix, holding.file));
        let len = holdings.iter().map(|holding| holding.len).sum();
        self.cache_state().len.store(len, Ordering::Relaxed);
        Ok((holdings, rows))
    }

    /// A file of several repositories was used when any of them used it last.
    fn newest_uses(&self, holdings: &mut [Holding]) -> Result<()> {
        for holding in holdings.iter_mut().filter(|holding| holding.repos.len() > 1) {
            for repo in &holding.repos {
                let used = self.partial(*repo).used_unix(&holding.file)?;
                holding.used_unix = holding.used_unix.max(used);
            }
        }
        Ok(())
    }
}
