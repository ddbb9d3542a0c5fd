//! Pages of references, without those that fetches do not see.

use mega_storage::{RefName, RefTarget, RepoId, SYMREF_HOPS_MAX, StoreError};

use super::limits::REFS_LOOKED_AT;
use super::{Answerer, Asker, Seen};
use crate::swarm::wire::limits::REFS_PAGE_MAX;
use crate::swarm::wire::{Kind, RefLine, Reply, RepoKey};

/// Bytes of a page beside its lines.
const AROUND_LEN: usize = 3;

impl Answerer {
    pub(super) fn refs(
        &self,
        asker: &Asker,
        key: &RepoKey,
        after: Option<&RefName>,
        names: &[RefName],
    ) -> Result<Option<Reply>, StoreError> {
        let Some(seen) = self.see(asker, key)? else { return Ok(None) };
        let after = after.map_or(&b""[..], RefName::as_bytes);
        let page = match names.is_empty() {
            true => self.page(&seen, after)?,
            false => self.named(&seen, after, names)?,
        };
        Ok(Some(page))
    }

    /// Those of `names` that are there.
    fn named(&self, seen: &Seen, after: &[u8], names: &[RefName]) -> Result<Reply, StoreError> {
        let mut names: Vec<&RefName> = names.iter().filter(|n| n.as_bytes() > after).collect();
        names.sort_unstable();
        names.dedup();
        let mut page = Page::default();
        for name in names {
            if let Some(target) = self.store.refs().get(seen.repo.id, name)?
                && let Some(line) = self.line(seen, name.clone(), target)?
                && !page.add(line)
            {
                // 64 of the longest are far from filling a frame.
                page.more = true;
                break;
            }
        }
        Ok(page.finish())
    }

    /// A page of all.
    fn page(&self, seen: &Seen, after: &[u8]) -> Result<Reply, StoreError> {
        let mut page = Page::default();
        let mut after = after.to_vec();
        loop {
            let rows = self.store.refs().list_after(seen.repo.id, &after, REFS_LOOKED_AT)?;
            let is_end = rows.len() < REFS_LOOKED_AT;
            for (name, target) in rows {
                after = name.as_bytes().to_vec();
                let Some(line) = self.line(seen, name, target)? else { continue };
                if !page.add(line) {
                    page.more = true;
                    return Ok(page.finish());
                }
            }
            if is_end {
                return Ok(page.finish());
            }
        }
    }

    /// A reference as it is told; `None` for one that is hidden.
    fn line(
        &self,
        seen: &Seen,
        name: RefName,
        target: RefTarget,
    ) -> Result<Option<RefLine>, StoreError> {
        if seen.settings.hides_from_fetch(&name) {
            return Ok(None);
        }
        Ok(Some(match target {
            RefTarget::Direct(id) => RefLine { name, id: Some(id), target: None },
            RefTarget::Symbolic(next) => {
                let id = self.store.refs().resolve(seen.repo.id, &name)?;
                let target = Some(self.end_of_chain(seen.repo.id, next)?);
                RefLine { name, id, target }
            }
        }))
    }

    fn end_of_chain(&self, repo: RepoId, mut name: RefName) -> Result<RefName, StoreError> {
        for _ in 0..SYMREF_HOPS_MAX {
            match self.store.refs().get(repo, &name)? {
                Some(RefTarget::Symbolic(next)) => name = next,
                Some(RefTarget::Direct(_)) | None => break,
            }
        }
        Ok(name)
    }
}

/// Lines that fit into a frame.
#[derive(Default)]
struct Page {
    lines: Vec<RefLine>,
    len: usize,
    more: bool,
}

impl Page {
    /// Adds a line; says whether there was room.
    fn add(&mut self, line: RefLine) -> bool {
        let len = self.len + line.wire_len();
        let has_room =
            self.lines.len() < REFS_PAGE_MAX && len <= Kind::RefsPage.body_len_max() - AROUND_LEN;
        if has_room {
            self.len = len;
            self.lines.push(line);
        }
        has_room
    }

    fn finish(self) -> Reply {
        Reply::Refs { refs: self.lines, more: self.more }
    }
}
