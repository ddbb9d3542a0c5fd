//! Git objects over version 2 of git's protocol: exact wants, filters, lengths.

use std::io::{self, Read};
use std::sync::atomic::Ordering;

use mega_storage::{
    ObjectHeader, ObjectId, ObjectKind, ObjectSource, ObjectWant, SourceError, SourceResult,
};
use reqwest::blocking::Response;

use super::HttpSource;
use super::limits::{ABSENT_MAX, LINES_MAX, PACK_LEN_MAX};
use super::url::RemoteUrl;
use super::web::{Web, wrong};
use crate::git::wire::{Budget, Pkt, PktReader, PktWriter, WireError, shown, text};

impl ObjectSource for HttpSource {
    fn name(&self) -> String {
        self.url.as_shown()
    }

    fn headers(&self, ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>> {
        let unsupported = || SourceError::Unsupported { what: "lengths" };
        if self.no_object_info.load(Ordering::Relaxed) {
            return Err(unsupported());
        }
        let mut arguments = vec![b"size".to_vec()];
        arguments.extend(ids.iter().map(|id| format!("oid {id}").into_bytes()));
        let Some(response) = post(&self.web, &self.url, &command("object-info", &arguments))?
        else {
            return Ok(vec![None; ids.len()]);
        };
        match read_lens(response, ids) {
            Err(Stop::Said(words)) if words.contains("object-info") => {
                self.no_object_info.store(true, Ordering::Relaxed);
                Err(unsupported())
            }
            Err(Stop::Said(words)) => Err(SourceError::Refused { reason: words }),
            Err(Stop::Source(error)) => Err(error),
            Ok(lens) => Ok(lens),
        }
    }

    fn objects<'a>(
        &'a self,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>> {
        let mut ids = want.ids.to_vec();
        for _ in 0..ABSENT_MAX {
            if ids.is_empty() {
                return Ok(None);
            }
            let body = command("fetch", &fetch_arguments(&ObjectWant { ids: &ids, ..*want }));
            let Some(response) = post(&self.web, &self.url, &body)? else { return Ok(None) };
            match PackStream::open(response) {
                Ok(pack) => return Ok(Some(Box::new(pack))),
                Err(Stop::Source(error)) => return Err(error),
                Err(Stop::Said(words)) => {
                    let absent = absent_id(&words).filter(|id| ids.contains(id));
                    let absent = absent.ok_or(SourceError::Refused { reason: words })?;
                    ids.retain(|id| *id != absent);
                }
            }
        }
        // So many absent ones are a repository that is being rewritten, or a game.
        Err(SourceError::Refused { reason: "it lacks too many of the objects".to_owned() })
    }
}

/// Why an answer is no answer.
pub(super) enum Stop {
    /// The server's own words.
    Said(String),
    Source(SourceError),
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// Room for lists of references and lengths.
pub(super) fn budget() -> Budget {
    Budget { lines: LINES_MAX, bytes: LINES_MAX * 100 }
}

/// A command of version 2.
pub(super) fn command(name: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut lines = PktWriter::new(Vec::new());
    let mut write = || -> io::Result<()> {
        lines.text(format!("command={name}"))?;
        lines.text(concat!("agent=mega-store/", env!("CARGO_PKG_VERSION")))?;
        lines.text("object-format=sha1")?;
        lines.delim()?;
        for argument in arguments {
            lines.text(argument)?;
        }
        lines.flush()
    };
    write().expect("writing to memory does not fail, and lines are short");
    lines.into_inner()
}

/// Sends a command; `None` when there is no such repository.
pub(super) fn post(web: &Web, url: &RemoteUrl, body: &[u8]) -> SourceResult<Option<Response>> {
    let address = format!("{}/git-upload-pack", url.as_shown());
    web.send(&|| {
        web.client()
            .post(&address)
            .header("Content-Type", "application/x-git-upload-pack-request")
            .header("Accept", "application/x-git-upload-pack-result")
            .header("Git-Protocol", "version=2")
            .body(body.to_vec())
    })
}

pub(super) fn read_error(error: &WireError) -> SourceError {
    match error {
        WireError::Io(_) | WireError::Ended => {
            SourceError::Unreachable { reason: "the connection broke".to_owned() }
        }
        error => wrong(error.to_string()),
    }
}

fn fetch_arguments(want: &ObjectWant<'_>) -> Vec<Vec<u8>> {
    let mut arguments = vec![b"no-progress".to_vec(), b"ofs-delta".to_vec()];
    let filter = match (want.levels, want.blob_len_max) {
        // What is wanted comes whatever the filter says, and its depth is counted below it.
        (0 | 1, 0) | (0, _) => "tree:0".to_owned(),
        (levels, 0) => format!("combine:tree:{}+blob:none", levels - 1),
        (levels, max) => {
            let (depth, limit) = (levels.saturating_sub(1), max.saturating_add(1));
            format!("combine:tree:{depth}+blob:limit={limit}")
        }
    };
    arguments.push(format!("filter {filter}").into_bytes());
    if want.history > 0 {
        arguments.push(format!("deepen {}", want.history).into_bytes());
    }
    arguments.extend(want.ids.iter().map(|id| format!("want {id}").into_bytes()));
    arguments.push(b"done".to_vec());
    arguments
}

/// The id in "not our ref ID", as git says it of an object that it lacks.
fn absent_id(words: &str) -> Option<ObjectId> {
    let (_, after) = words.split_once("not our ref ")?;
    after.split_whitespace().next()?.parse().ok()
}

fn read_lens(response: Response, ids: &[ObjectId]) -> Result<Vec<Option<ObjectHeader>>, Stop> {
    let mut lines = PktReader::new(response, budget());
    let mut lens = Vec::with_capacity(ids.len());
    let mut is_headed = false;
    loop {
        let line = match lines.next().map_err(|e| read_error(&e))? {
            Pkt::Flush => break,
            Pkt::Data(line) => text(line),
            Pkt::Delim | Pkt::ResponseEnd => return Err(wrong("object-info ends early").into()),
        };
        if let Some(words) = line.strip_prefix(b"ERR ") {
            return Err(Stop::Said(shown(words)));
        }
        if !is_headed {
            is_headed = true;
            if line == b"size" {
                continue;
            }
        }
        let mut words = line.split(|&b| b == b' ');
        let id = words.next().and_then(|hex| ObjectId::from_hex(hex).ok());
        if id.is_none() || id != ids.get(lens.len()).copied() {
            return Err(wrong("object-info answers out of order").into());
        }
        let len = words.next().and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        // It tells no kinds; only blobs are asked for.
        lens.push(len.map(|len| ObjectHeader { kind: ObjectKind::Blob, len }));
    }
    if lens.len() != ids.len() {
        return Err(wrong("object-info answers too little").into());
    }
    Ok(lens)
}

/// The pack of a fetch's answer, out of its side band.
struct PackStream {
    lines: PktReader<Response>,
    at_hand: Vec<u8>,
    at: usize,
    has_ended: bool,
}

impl PackStream {
    /// Reads up to where the pack begins.
    fn open(response: Response) -> Result<Self, Stop> {
        let budget = Budget { lines: u64::MAX, bytes: PACK_LEN_MAX };
        let mut lines = PktReader::new(response, budget);
        loop {
            match lines.next().map_err(|e| read_error(&e))? {
                Pkt::Data(line) => {
                    let line = text(line);
                    if let Some(words) = line.strip_prefix(b"ERR ") {
                        return Err(Stop::Said(shown(words)));
                    }
                    if line == b"packfile" {
                        break;
                    }
                    // The lines of other sections, as shallow-info, say nothing new.
                }
                Pkt::Delim => {}
                Pkt::Flush | Pkt::ResponseEnd => return Err(wrong("it sent no pack").into()),
            }
        }
        Ok(Self { lines, at_hand: Vec::new(), at: 0, has_ended: false })
    }

    /// Takes the next piece of the pack.
    fn fill(&mut self) -> io::Result<()> {
        self.at_hand.clear();
        self.at = 0;
        while self.at_hand.is_empty() && !self.has_ended {
            let line = self.lines.next().map_err(|e| io::Error::other(read_error(&e)))?;
            match line {
                Pkt::Flush | Pkt::ResponseEnd => self.has_ended = true,
                Pkt::Data([1, bytes @ ..]) => self.at_hand.extend_from_slice(bytes),
                Pkt::Data([2, ..] | []) => {}
                Pkt::Data([3, words @ ..]) => return Err(io::Error::other(shown(words))),
                Pkt::Data(_) | Pkt::Delim => {
                    return Err(io::Error::other("a line of the pack makes no sense"));
                }
            }
        }
        Ok(())
    }
}

impl Read for PackStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.at_hand.len() {
            self.fill()?;
        }
        let rest = self.at_hand.get(self.at..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}
