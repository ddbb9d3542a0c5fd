//! Checks of tags.

#![deny(clippy::indexing_slicing)]

use super::commit::{after_id, check_headers, check_ident};
use super::{Problem, shown};
use crate::object::parse::kind_from_name;

/// Checks a tag; the first error ends it. Headers after the tagger are let through, as git does by
/// default.
pub(super) fn check(data: &[u8], out: &mut Vec<Problem>) -> Result<(), Problem> {
    check_headers(data)?;
    let rest = data.strip_prefix(b"object ").ok_or_else(|| {
        Problem::error("missingObject", "it does not start with an 'object' line")
    })?;
    let rest = after_id(rest).ok_or_else(|| {
        Problem::error("badObjectSha1", "its 'object' line does not name an object")
    })?;
    let rest = rest
        .strip_prefix(b"type ")
        .ok_or_else(|| Problem::error("missingTypeEntry", "there is no 'type' line"))?;
    let (kind, rest) = split_line(rest)
        .ok_or_else(|| Problem::error("missingType", "the 'type' line has no end"))?;
    if kind_from_name(kind).is_none() {
        return Err(Problem::error("badType", format!("'{}' is no type", shown(kind))));
    }
    let rest = rest
        .strip_prefix(b"tag ")
        .ok_or_else(|| Problem::error("missingTagEntry", "there is no 'tag' line"))?;
    let (name, rest) = split_line(rest)
        .ok_or_else(|| Problem::error("missingTag", "the 'tag' line has no end"))?;
    let full_name = [b"refs/tags/", name].concat();
    if gix_validate::reference::name(full_name[..].into()).is_err() {
        let detail = format!("'{}' cannot be a tag's name", shown(name));
        out.push(Problem::info("badTagName", detail));
    }
    match rest.strip_prefix(b"tagger ") {
        Some(ident) => {
            check_ident(ident)?;
        }
        None => out.push(Problem::info("missingTaggerEntry", "there is no 'tagger' line")),
    }
    Ok(())
}

/// A line without its end, and what follows; `None` when it has no end.
fn split_line(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = data.iter().position(|&b| b == b'\n')?;
    let (line, rest) = data.split_at_checked(len)?;
    Some((line, rest.get(1..)?))
}
