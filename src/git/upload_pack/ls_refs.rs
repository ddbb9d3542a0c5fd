//! Version 2's `ls-refs`: the references, or those with certain prefixes.

#![deny(clippy::indexing_slicing)]

use std::io::Write;

use mega_storage::ObjectId;

use super::Stop;
use super::command::{Arguments, unexpected};
use super::limits::REF_PREFIXES_MAX;
use super::refs::{Peeled, VisibleRef, VisibleRefs};
use crate::git::Service;
use crate::git::wire::PktWriter;

/// A list of references.
#[derive(Debug, Default)]
pub(super) struct LsRefs {
    peel: bool,
    symrefs: bool,
    unborn: bool,
    prefixes: Vec<Vec<u8>>,
}

impl LsRefs {
    pub(super) fn read(arguments: &mut Arguments<'_, '_>) -> Result<Self, Stop> {
        let mut request = Self::default();
        let mut prefix_count = 0;
        while let Some(argument) = arguments.next()? {
            match argument {
                b"peel" => request.peel = true,
                b"symrefs" => request.symrefs = true,
                b"unborn" => request.unborn = true,
                _ => match argument.strip_prefix(b"ref-prefix ") {
                    Some(prefix) if prefix_count < REF_PREFIXES_MAX => {
                        prefix_count += 1;
                        request.prefixes.push(prefix.to_vec());
                    }
                    Some(_) => prefix_count += 1,
                    None => return Err(unexpected(argument)),
                },
            }
        }
        // As in git: a list that is too long is none at all, never a part of one.
        if prefix_count >= REF_PREFIXES_MAX {
            request.prefixes.clear();
        }
        request.prefixes = without_covered(request.prefixes);
        Ok(request)
    }

    /// Answers it: `HEAD` first, the others by name.
    pub(super) fn answer(&self, service: &Service<'_>, out: &mut dyn Write) -> Result<(), Stop> {
        let refs = VisibleRefs::read(service)?;
        let matching = || refs.list.iter().filter(|r| self.matches(r.name.as_bytes()));
        let some;
        let peeled = if !self.peel {
            None
        } else if self.prefixes.is_empty() {
            Some(refs.peeled(service.store)?)
        } else {
            let ids: Vec<ObjectId> = matching().map(|r| r.id).collect();
            some = Peeled::read(service.store, &ids)?;
            Some(&some)
        };
        let mut lines = PktWriter::new(out);
        if let Some(branch) = &refs.unborn_head
            && self.unborn
            && self.symrefs
            && self.matches(b"HEAD")
        {
            let line = [b"unborn HEAD symref-target:", branch.as_bytes()].concat();
            lines.text(line).map_err(Stop::gone)?;
        }
        for r in matching() {
            let target = peeled.and_then(|peeled| peeled.target(&r.id));
            lines.text(self.line(r, target)).map_err(Stop::gone)?;
        }
        lines.flush().map_err(Stop::gone)
    }

    /// Whether the name has one of the prefixes: of those that are no longer than it, only the last
    /// one before it can be its prefix, because none has another as prefix.
    fn matches(&self, name: &[u8]) -> bool {
        if self.prefixes.is_empty() {
            return true;
        }
        let index = self.prefixes.partition_point(|prefix| prefix.as_slice() <= name);
        let before = index.checked_sub(1).and_then(|index| self.prefixes.get(index));
        before.is_some_and(|prefix| name.starts_with(prefix))
    }

    fn line(&self, r: &VisibleRef, target: Option<&ObjectId>) -> Vec<u8> {
        let mut line = Vec::with_capacity(2 * ObjectId::LEN + 1 + r.name.as_bytes().len());
        let _ = write!(line, "{} ", r.id);
        line.extend_from_slice(r.name.as_bytes());
        if let Some(branch) = r.leads_to.as_ref().filter(|_| self.symrefs) {
            line.extend_from_slice(b" symref-target:");
            line.extend_from_slice(branch.as_bytes());
        }
        if let Some(target) = target {
            let _ = write!(line, " peeled:{target}");
        }
        line
    }
}

/// Sorts prefixes and leaves out those that have another as prefix.
fn without_covered(mut prefixes: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    prefixes.sort_unstable();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for prefix in prefixes {
        if !kept.last().is_some_and(|last| prefix.starts_with(last)) {
            kept.push(prefix);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_as_a_plain_search_would() {
        let words: [&[u8]; 7] =
            [b"HEAD", b"refs/heads/", b"refs/heads/a", b"refs/h", b"refs/tags/v1", b"x", b"HE"];
        let names: [&[u8]; 7] = [
            b"HEAD",
            b"refs/heads/a",
            b"refs/heads/b",
            b"refs/tags/v1",
            b"refs/tags/v10",
            b"refs/tags/v",
            b"refs/notes/x",
        ];
        for mask in 0..1u32 << words.len() {
            let chosen = words.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
            let prefixes: Vec<Vec<u8>> = chosen.map(|(_, word)| word.to_vec()).collect();
            let request =
                LsRefs { prefixes: without_covered(prefixes.clone()), ..LsRefs::default() };
            for name in names {
                let expected = mask == 0 || prefixes.iter().any(|p| name.starts_with(p));
                assert_eq!(request.matches(name), expected, "{prefixes:?} {name:?}");
            }
        }
    }
}
