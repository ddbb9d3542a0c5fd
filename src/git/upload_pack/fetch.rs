//! One round of a fetch: checks what is wanted, negotiates, and sends the pack when it is time.

use std::io::Write;

use mega_storage::ObjectId;

use super::common::Common;
use super::pack::{self, Outgoing};
use super::reachable::Reachable;
use super::refs::{VisibleRefs, sorted};
use super::report::Out;
use super::request::FetchRequest;
use super::shallow::History;
use super::{Stop, UploadReport};
use crate::git::Service;
use crate::git::wire::{PktWriter, shown};

/// Answers version 2's `fetch`: sections up to the pack.
pub(super) fn answer_command(
    service: &Service<'_>,
    mut request: FetchRequest,
    out: &mut Out<'_>,
    report: &mut UploadReport,
) -> Result<(), Stop> {
    let refs = VisibleRefs::read(service)?;
    let reachable = Reachable::new(service, &refs);
    let wanted_refs = find_wanted_refs(&refs, &mut request)?;
    report.want_count = request.wants.ids.len() as u64;
    check_wants(&reachable, &request.wants.ids)?;
    if request.wants.ids.is_empty() && !request.wait_for_done {
        return Ok(());
    }
    let mut common = Common::new(service, &request.wants.ids);
    let known = reachable.are_reachable_near(&request.haves, &request.wants.ids)?;
    for (have, _) in request.haves.iter().zip(known).filter(|(_, known)| *known) {
        common.add(*have)?;
    }
    report.common_count = common.known.ids.len() as u64;
    let has_acks = !request.done && !request.haves.is_empty();
    let is_ready = has_acks && !request.wait_for_done && common.is_ready()?;
    if has_acks && !is_ready {
        return acknowledge(out, &common.known.ids, false).map_err(Stop::gone);
    }
    let history = History::new(service, &request, &refs, &reachable, &request.wants.ids)?;
    let has_history = request.deepen.is_asked() || !request.shallow.ids.is_empty();
    let mut sections = || {
        if has_acks {
            acknowledge(out, &common.known.ids, true)?;
        }
        let mut lines = PktWriter::new(&mut *out);
        if has_history {
            lines.text("shallow-info")?;
            history.lines().try_for_each(|line| lines.data(line.as_bytes()))?;
            lines.delim()?;
        }
        if !wanted_refs.is_empty() {
            lines.text("wanted-refs")?;
            wanted_refs.iter().try_for_each(|line| lines.text(line))?;
            lines.delim()?;
        }
        lines.text("packfile")
    };
    sections().map_err(Stop::gone)?;
    let outgoing = Outgoing {
        service,
        request: &request,
        refs: &refs,
        common: &common.known.ids,
        history: &history,
    };
    pack::send(&outgoing, out, report)
}

/// Adds the objects of references wanted by name; returns the lines that tell the client.
fn find_wanted_refs(refs: &VisibleRefs, request: &mut FetchRequest) -> Result<Vec<Vec<u8>>, Stop> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let names = std::mem::take(&mut request.want_refs);
    let mut seen = std::collections::HashSet::new();
    for name in &names {
        let found = refs.find(name);
        let found = found.ok_or_else(|| Stop::refused(format!("unknown ref {}", shown(name))))?;
        if !seen.insert(name) {
            return Err(Stop::refused(format!("duplicate want-ref {}", shown(name))));
        }
        request.want(found.id)?;
        lines.push([found.id.to_string().as_bytes(), b" ", name].concat());
    }
    Ok(lines)
}

/// Refuses the first want that the visible references do not reach, whether it is here or not.
pub(super) fn check_wants(reachable: &Reachable<'_>, wants: &[ObjectId]) -> Result<(), Stop> {
    let known = reachable.are_reachable(wants)?;
    match wants.iter().zip(known).find(|(_, known)| !known) {
        Some((id, _)) => Err(Stop::refused(format!("upload-pack: not our ref {id}"))),
        None => Ok(()),
    }
}

/// The section `acknowledgments`; it ends the answer unless the client is told to get ready.
fn acknowledge(out: &mut dyn Write, common: &[ObjectId], is_ready: bool) -> std::io::Result<()> {
    let mut lines = PktWriter::new(out);
    lines.text("acknowledgments")?;
    if common.is_empty() {
        lines.text("NAK")?;
    }
    common.iter().try_for_each(|id| lines.text(format!("ACK {id}")))?;
    if is_ready {
        lines.text("ready")?;
        return lines.delim();
    }
    lines.flush()
}

/// What the client will have of what is sent, and what it has: wants and haves of the walk.
pub(super) fn walk_ends(outgoing: &Outgoing<'_>) -> (Vec<ObjectId>, Vec<ObjectId>) {
    let Outgoing { request, common, history, .. } = outgoing;
    let wants = [&request.wants.ids, history.more_wants()].concat();
    let haves = [common, history.unshallow()].concat();
    (sorted(wants), sorted(haves))
}
