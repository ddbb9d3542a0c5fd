//! What a client asks for in a fetch, the same for every version of the protocol; the lines that
//! all versions share.

#![deny(clippy::indexing_slicing)]

use std::collections::HashSet;

use mega_storage::{Filter, ObjectId};

use super::Stop;
use super::filter::{self, parse_number};
use super::limits::{DEEPEN_NOT_MAX, DEPTH_INFINITE, HAVES_MAX, SHALLOW_MAX, WANTS_MAX};
use crate::git::wire::{BandKind, shown};

/// Ids in the order in which they came, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct IdList {
    pub(super) ids: Vec<ObjectId>,
    known: HashSet<ObjectId>,
}

impl IdList {
    /// Adds an id; says whether it is new.
    pub(super) fn push(&mut self, id: ObjectId) -> bool {
        let is_new = self.known.insert(id);
        if is_new {
            self.ids.push(id);
        }
        is_new
    }
}

/// How history is to be cut off.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct DeepenLines {
    /// Commits from the wants; [`DEPTH_INFINITE`] for all.
    pub(super) depth: Option<u32>,
    /// The depth counts from where the client's history ends.
    pub(super) relative: bool,
    /// Commits not older than this, in seconds since 1970.
    pub(super) since: Option<i64>,
    /// Commits that these references do not reach.
    pub(super) not: Vec<Vec<u8>>,
}

impl DeepenLines {
    /// Whether a new boundary is asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.depth.is_some() || self.by_history()
    }

    /// Whether the boundary is drawn by time or references.
    pub(super) fn by_history(&self) -> bool {
        self.since.is_some() || !self.not.is_empty()
    }
}

/// A fetch.
#[derive(Clone, Debug)]
pub(super) struct FetchRequest {
    pub(super) wants: IdList,
    /// References wanted by name (version 2).
    pub(super) want_refs: Vec<Vec<u8>>,
    /// What the client says it has; most may be unknown here.
    pub(super) haves: Vec<ObjectId>,
    /// Where the client's history ends now.
    pub(super) shallow: IdList,
    pub(super) deepen: DeepenLines,
    pub(super) filter: Option<Filter>,
    pub(super) band: BandKind,
    pub(super) thin_pack: bool,
    pub(super) ofs_delta: bool,
    pub(super) no_progress: bool,
    pub(super) include_tag: bool,
    pub(super) done: bool,
    pub(super) wait_for_done: bool,
}

impl Default for FetchRequest {
    fn default() -> Self {
        Self {
            wants: IdList::default(),
            want_refs: Vec::new(),
            haves: Vec::new(),
            shallow: IdList::default(),
            deepen: DeepenLines::default(),
            filter: None,
            band: BandKind::Off,
            thin_pack: false,
            ofs_delta: false,
            no_progress: false,
            include_tag: false,
            done: false,
            wait_for_done: false,
        }
    }
}

impl FetchRequest {
    /// Adds a want.
    pub(super) fn want(&mut self, id: ObjectId) -> Result<(), Stop> {
        self.wants.push(id);
        within("wants", self.wants.ids.len() + self.want_refs.len(), WANTS_MAX)
    }

    /// Adds a have.
    pub(super) fn have(&mut self, id: ObjectId) -> Result<(), Stop> {
        self.haves.push(id);
        within("haves", self.haves.len(), HAVES_MAX)
    }

    /// Takes a line about where history ends or ended; says whether it is one.
    pub(super) fn take_shallow_line(&mut self, line: &[u8]) -> Result<bool, Stop> {
        let shown = || shown(line);
        if let Some(hex) = line.strip_prefix(b"shallow ") {
            let id = ObjectId::from_hex(hex);
            let id = id.map_err(|_| Stop::refused(format!("invalid shallow line: {}", shown())))?;
            self.shallow.push(id);
            within("shallow commits", self.shallow.ids.len(), SHALLOW_MAX)?;
        } else if let Some(depth) = line.strip_prefix(b"deepen ") {
            let depth = parse_number(depth).filter(|depth| *depth > 0);
            let depth =
                depth.ok_or_else(|| Stop::refused(format!("Invalid deepen: {}", shown())))?;
            let depth = u32::try_from(depth).unwrap_or(DEPTH_INFINITE);
            self.deepen.depth = Some(depth.min(DEPTH_INFINITE));
        } else if let Some(time) = line.strip_prefix(b"deepen-since ") {
            let time = parse_number(time).and_then(|time| i64::try_from(time).ok());
            let wrong = || Stop::refused(format!("Invalid deepen-since: {}", shown()));
            self.deepen.since = Some(time.ok_or_else(wrong)?);
        } else if let Some(name) = line.strip_prefix(b"deepen-not ") {
            self.deepen.not.push(name.to_vec());
            within("deepen-not lines", self.deepen.not.len(), DEEPEN_NOT_MAX)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes the filter of a line `filter <spec>`.
    pub(super) fn take_filter(&mut self, spec: &[u8]) -> Result<(), Stop> {
        if self.filter.is_some() {
            return Err(Stop::refused("multiple filter-specs cannot be combined"));
        }
        self.filter = Some(filter::parse(spec).map_err(Stop::refused)?);
        Ok(())
    }
}

/// Refuses what is over a limit.
pub(super) fn within(what: &str, count: usize, max: usize) -> Result<(), Stop> {
    if count > max {
        return Err(Stop::refused(format!("more than {max} {what}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "8ab686eafeb1f44702738c8b0f24f2567c36da6d";

    fn taken(lines: &[&str]) -> Result<FetchRequest, String> {
        let mut request = FetchRequest::default();
        for line in lines {
            assert!(request.take_shallow_line(line.as_bytes()).map_err(|e| e.words())?, "{line}");
        }
        Ok(request)
    }

    #[test]
    fn lines_about_the_end_of_history() {
        let shallow = format!("shallow {HEX}");
        let request = taken(&[&shallow, &shallow, "deepen 3"]).expect("taken");
        assert_eq!(request.shallow.ids.len(), 1);
        assert_eq!(request.deepen.depth, Some(3));
        let request = taken(&["deepen-since 1700000000", "deepen-not v1"]).expect("taken");
        assert_eq!(request.deepen.since, Some(1_700_000_000));
        assert_eq!(request.deepen.not, [b"v1"]);
        assert!(request.deepen.by_history());
        assert_eq!(taken(&["deepen 0x10"]).expect("taken").deepen.depth, Some(16));
        let huge = taken(&["deepen 99999999999"]).expect("taken");
        assert_eq!(huge.deepen.depth, Some(DEPTH_INFINITE));
        for wrong in ["deepen 0", "deepen -1", "deepen x", "deepen ", "deepen-since x", "shallow 1"]
        {
            assert!(taken(&[wrong]).is_err(), "{wrong}");
        }
        let mut request = FetchRequest::default();
        assert!(!request.take_shallow_line(b"want x").expect("not one"));
    }

    #[test]
    fn limits_hold_at_and_past_the_limit() {
        let id = |number: usize| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            ObjectId::from_bytes(bytes)
        };
        let mut request = FetchRequest::default();
        for number in 0..WANTS_MAX {
            assert!(request.want(id(number)).is_ok());
        }
        assert!(request.want(id(0)).is_ok(), "a duplicate is no other");
        assert!(request.want(id(WANTS_MAX)).is_err());
        for number in 0..HAVES_MAX {
            assert!(request.have(id(number)).is_ok());
        }
        assert!(request.have(id(0)).is_err(), "haves count as they come");
        for number in 0..=DEEPEN_NOT_MAX {
            let taken = request.take_shallow_line(format!("deepen-not {number}").as_bytes());
            assert_eq!(taken.is_ok(), number < DEEPEN_NOT_MAX);
        }
        for number in 0..=SHALLOW_MAX {
            let taken = request.take_shallow_line(format!("shallow {}", id(number)).as_bytes());
            assert_eq!(taken.is_ok(), number < SHALLOW_MAX);
        }
        assert!(request.take_filter(b"tree:1").is_ok());
        assert!(request.take_filter(b"tree:1").is_err(), "only one");
    }
}
