//! Versions 0 and 1 over stateless requests: wants and where history ends, a flush, then haves up
//! to a flush or `done`. Every request tells everything again.

#![deny(clippy::indexing_slicing)]

use std::io::Read;

use mega_storage::ObjectId;

use super::common::Common;
use super::fetch::check_wants;
use super::pack::{self, Outgoing};
use super::reachable::Reachable;
use super::refs::VisibleRefs;
use super::report::Out;
use super::request::FetchRequest;
use super::shallow::History;
use super::{Command, Stop, UploadReport};
use crate::git::Service;
use crate::git::wire::{BandKind, Capabilities, Pkt, PktReader, PktWriter, WireError, shown, text};

/// How known haves are acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum MultiAck {
    /// Only the first one.
    #[default]
    Off,
    /// Each, with `continue`.
    Continue,
    /// Each, with `common`; `ready` when a pack can be made.
    Detailed,
}

/// What the client said it understands, beyond what every version has.
#[derive(Clone, Copy, Debug, Default)]
struct Features {
    multi_ack: MultiAck,
    no_done: bool,
    filter: bool,
}

/// Where a request's haves end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Flush,
    Done,
}

/// Reads a request and answers it. A request that wants nothing is answered with nothing.
pub(super) fn serve(
    service: &Service<'_>,
    lines: &mut PktReader<&mut dyn Read>,
    out: &mut Out<'_>,
    report: &mut UploadReport,
) -> Result<(), Stop> {
    let Some((mut request, features)) = read_wants(lines)? else { return Ok(()) };
    if request.wants.ids.is_empty() {
        return Ok(());
    }
    report.command = Command::Fetch;
    report.want_count = request.wants.ids.len() as u64;
    let end = read_haves(lines, &mut request)?;
    let refs = VisibleRefs::read(service)?;
    let reachable = Reachable::new(service, &refs);
    check_wants(&reachable, &request.wants.ids)?;
    let history = History::new(service, &request, &refs, &reachable, &request.wants.ids)?;
    let mut answer: Vec<String> = history.lines().collect();
    let history_len = answer.len();
    let mut negotiation = Negotiation {
        common: Common::new(service, &request.wants.ids),
        features,
        lines: &mut answer,
        last: None,
    };
    let sends_pack = match end {
        None => false,
        Some(end) => {
            let known = reachable.are_reachable_near(&request.haves, &request.wants.ids)?;
            negotiation.run(&request.haves, &known, end)?
        }
    };
    let common = negotiation.common.known.ids;
    report.common_count = common.len() as u64;
    let mut write = || {
        let mut lines = PktWriter::new(&mut *out);
        for (index, line) in answer.iter().enumerate() {
            if index == history_len && request.deepen.is_asked() {
                lines.flush()?;
            }
            // As git: lines about history have no newline, acknowledgements do.
            match index < history_len {
                true => lines.data(line.as_bytes())?,
                false => lines.text(line)?,
            }
        }
        if answer.len() == history_len && request.deepen.is_asked() {
            lines.flush()?;
        }
        Ok(())
    };
    write().map_err(Stop::gone)?;
    if !sends_pack {
        return Ok(());
    }
    let outgoing =
        Outgoing { service, request: &request, refs: &refs, common: &common, history: &history };
    pack::send(&outgoing, out, report)
}

/// Reads up to the first flush; `None` when there is nothing at all.
fn read_wants(
    lines: &mut PktReader<&mut dyn Read>,
) -> Result<Option<(FetchRequest, Features)>, Stop> {
    let mut request = FetchRequest::default();
    let mut features = Features::default();
    let mut is_first = true;
    loop {
        let line = match lines.next_or_end()? {
            None if is_first => return Ok(None),
            None => return Err(WireError::Ended.into()),
            Some(Pkt::Flush) => return Ok(Some((request, features))),
            Some(Pkt::Delim | Pkt::ResponseEnd) => {
                return Err(Stop::refused("unexpected packet among the wants"));
            }
            Some(Pkt::Data(line)) => text(line),
        };
        is_first = false;
        if request.take_shallow_line(line)? {
            continue;
        }
        if let Some(spec) = line.strip_prefix(b"filter ") {
            if !features.filter {
                return Err(Stop::refused("git upload-pack: filtering capability not negotiated"));
            }
            request.take_filter(spec)?;
            continue;
        }
        let want = line.strip_prefix(b"want ").and_then(|rest| rest.split_at_checked(40));
        let want = want.and_then(|(hex, rest)| Some((ObjectId::from_hex(hex).ok()?, rest)));
        let Some((id, words)) = want else {
            return Err(Stop::refused(format!(
                "git upload-pack: protocol error, expected to get object ID, not '{}'",
                shown(line)
            )));
        };
        request.want(id)?;
        take_features(&Capabilities::parse(words), &mut request, &mut features);
    }
}

fn take_features(words: &Capabilities, request: &mut FetchRequest, features: &mut Features) {
    if words.has("multi_ack_detailed") {
        features.multi_ack = MultiAck::Detailed;
    } else if words.has("multi_ack") {
        features.multi_ack = MultiAck::Continue;
    }
    if words.has("side-band-64k") {
        request.band = BandKind::Large;
    } else if words.has("side-band") {
        request.band = BandKind::Small;
    }
    features.no_done |= words.has("no-done");
    features.filter |= words.has("filter");
    request.deepen.relative |= words.has("deepen-relative");
    request.thin_pack |= words.has("thin-pack");
    request.ofs_delta |= words.has("ofs-delta");
    request.no_progress |= words.has("no-progress");
    request.include_tag |= words.has("include-tag");
}

/// Reads haves; `None` when the client only wanted to know where history will end.
fn read_haves(
    lines: &mut PktReader<&mut dyn Read>,
    request: &mut FetchRequest,
) -> Result<Option<End>, Stop> {
    let mut is_first = true;
    loop {
        let line = match lines.next_or_end()? {
            None if is_first => return Ok(None),
            None => return Err(WireError::Ended.into()),
            Some(Pkt::Flush | Pkt::Delim | Pkt::ResponseEnd) => return Ok(Some(End::Flush)),
            Some(Pkt::Data(line)) => text(line),
        };
        is_first = false;
        if line == b"done" {
            return Ok(Some(End::Done));
        }
        let Some(hex) = line.strip_prefix(b"have ") else {
            let line = shown(line);
            return Err(Stop::refused(format!(
                "git upload-pack: expected SHA1 list, got '{line}'"
            )));
        };
        let id = ObjectId::from_hex(hex).map_err(|_| {
            let hex = shown(hex);
            Stop::refused(format!("git upload-pack: expected SHA1 object, got '{hex}'"))
        })?;
        request.have(id)?;
    }
}

/// The answer to haves, line by line.
struct Negotiation<'a, 'l> {
    common: Common<'a>,
    features: Features,
    lines: &'l mut Vec<String>,
    /// The last have that is known here.
    last: Option<ObjectId>,
}

impl Negotiation<'_, '_> {
    /// Answers all haves; says whether the pack follows.
    fn run(&mut self, haves: &[ObjectId], known: &[bool], end: End) -> Result<bool, Stop> {
        let mut got_other = false;
        let mut sent_ready = false;
        for (have, known) in haves.iter().zip(known) {
            if *known {
                self.take_known(*have)?;
            } else {
                got_other = true;
                sent_ready |= self.take_unknown(have)?;
            }
        }
        if end == End::Done {
            match self.last {
                None => self.lines.push("NAK".to_owned()),
                Some(last) if self.features.multi_ack != MultiAck::Off => {
                    self.lines.push(format!("ACK {last}"));
                }
                Some(_) => {}
            }
            return Ok(true);
        }
        if self.features.multi_ack == MultiAck::Detailed
            && let Some(last) = self.last
            && !got_other
            && self.common.is_ready()?
        {
            sent_ready = true;
            self.lines.push(format!("ACK {last} ready"));
        }
        if self.last.is_none() || self.features.multi_ack != MultiAck::Off {
            self.lines.push("NAK".to_owned());
        }
        match self.last {
            Some(last) if self.features.no_done && sent_ready => {
                self.lines.push(format!("ACK {last}"));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn take_known(&mut self, have: ObjectId) -> Result<(), Stop> {
        self.common.add(have)?;
        self.last = Some(have);
        match self.features.multi_ack {
            MultiAck::Detailed => self.lines.push(format!("ACK {have} common")),
            MultiAck::Continue => self.lines.push(format!("ACK {have} continue")),
            MultiAck::Off if self.common.told_count == 1 => {
                self.lines.push(format!("ACK {have}"));
            }
            MultiAck::Off => {}
        }
        Ok(())
    }

    /// An unknown have is acknowledged all the same once a pack can be made: so the client stops.
    fn take_unknown(&mut self, have: &ObjectId) -> Result<bool, Stop> {
        if self.features.multi_ack == MultiAck::Off || !self.common.is_ready()? {
            return Ok(false);
        }
        if self.features.multi_ack == MultiAck::Detailed {
            self.lines.push(format!("ACK {have} ready"));
            return Ok(true);
        }
        self.lines.push(format!("ACK {have} continue"));
        Ok(false)
    }
}
