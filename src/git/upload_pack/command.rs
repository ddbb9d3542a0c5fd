//! Version 2: one command with its capabilities and arguments.

#![deny(clippy::indexing_slicing)]

use std::io::Read;

use mega_storage::ObjectId;

use super::limits::{CAPABILITIES_MAX, WANTS_MAX};
use super::ls_refs::LsRefs;
use super::report::Out;
use super::request::{FetchRequest, within};
use super::{Command, Stop, UploadReport, bundle, fetch, object_info};
use crate::git::Service;
use crate::git::wire::{BandKind, Pkt, PktReader, WireError, shown, text};

/// Capabilities that a client may name and that change nothing here.
const CAPABILITIES: [&str; 2] = ["agent", "server-option"];

/// Reads a command and answers it. An empty request is answered with nothing.
pub(super) fn serve(
    service: &Service<'_>,
    lines: &mut PktReader<&mut dyn Read>,
    out: &mut Out<'_>,
    report: &mut UploadReport,
) -> Result<(), Stop> {
    let Some((command, has_arguments)) = read_command(lines)? else { return Ok(()) };
    report.command = command;
    let mut arguments = Arguments { lines, is_over: !has_arguments };
    match command {
        Command::None => Ok(()),
        Command::LsRefs => {
            let request = LsRefs::read(&mut arguments)?;
            request.answer(service, out)
        }
        Command::Fetch => {
            let request = read_fetch(&mut arguments)?;
            fetch::answer_command(service, request, out, report)
        }
        Command::ObjectInfo => {
            let request = object_info::ObjectInfo::read(&mut arguments)?;
            report.want_count = request.ids.len() as u64;
            request.answer(service, out)
        }
        Command::BundleUri => bundle::answer(service, &mut arguments, out),
    }
}

/// A command's arguments, one a line, up to the flush.
pub(super) struct Arguments<'a, 'r> {
    lines: &'a mut PktReader<&'r mut dyn Read>,
    is_over: bool,
}

impl Arguments<'_, '_> {
    /// The next one, without its newline.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Stop> {
        if self.is_over {
            return Ok(None);
        }
        match self.lines.next()? {
            Pkt::Data(line) => Ok(Some(text(line))),
            Pkt::Flush => {
                self.is_over = true;
                Ok(None)
            }
            Pkt::Delim | Pkt::ResponseEnd => Err(Stop::refused("expected flush after arguments")),
        }
    }
}

/// Reads up to the arguments; `None` for a request without anything. Also says whether arguments
/// follow.
fn read_command(lines: &mut PktReader<&mut dyn Read>) -> Result<Option<(Command, bool)>, Stop> {
    let mut command = None;
    let mut count = 0;
    let mut format = b"sha1".to_vec();
    let has_arguments = loop {
        match lines.next_or_end()? {
            None if count == 0 => return Ok(None),
            None => return Err(WireError::Ended.into()),
            Some(Pkt::Flush) if count == 0 => return Ok(None),
            Some(Pkt::Flush) => break false,
            Some(Pkt::Delim) => break true,
            Some(Pkt::ResponseEnd) => return Err(Stop::refused("unexpected response end packet")),
            Some(Pkt::Data(line)) => {
                let line = text(line);
                count += 1;
                within("capabilities", count, CAPABILITIES_MAX)?;
                if let Some(name) = line.strip_prefix(b"command=") {
                    command = Some(choose(command, name)?);
                } else if let Some(name) = line.strip_prefix(b"object-format=") {
                    format = name.to_vec();
                } else {
                    check_capability(line)?;
                }
            }
        }
    };
    let command = command.ok_or_else(|| Stop::refused("no command requested"))?;
    if format != b"sha1" {
        let format = shown(&format);
        let words = match format.as_str() {
            "sha256" => format!("mismatched object format: server sha1; client {format}"),
            _ => format!("unknown object format '{format}'"),
        };
        return Err(Stop::refused(words));
    }
    Ok(Some((command, has_arguments)))
}

fn choose(earlier: Option<Command>, name: &[u8]) -> Result<Command, Stop> {
    let name_shown = shown(name);
    if earlier.is_some() {
        let words = format!("command '{name_shown}' requested after already requesting a command");
        return Err(Stop::refused(words));
    }
    match name {
        b"ls-refs" => Ok(Command::LsRefs),
        b"fetch" => Ok(Command::Fetch),
        b"object-info" => Ok(Command::ObjectInfo),
        b"bundle-uri" => Ok(Command::BundleUri),
        _ => Err(Stop::refused(format!("invalid command '{name_shown}'"))),
    }
}

fn check_capability(line: &[u8]) -> Result<(), Stop> {
    let name = line.split(|&b| b == b'=').next().unwrap_or_default();
    if name == b"object-format" {
        return Err(Stop::refused("object-format capability requires an argument"));
    }
    if CAPABILITIES.iter().any(|known| known.as_bytes() == name) {
        return Ok(());
    }
    Err(Stop::refused(format!("unknown capability '{}'", shown(line))))
}

/// Reads the arguments of a fetch.
fn read_fetch(arguments: &mut Arguments<'_, '_>) -> Result<FetchRequest, Stop> {
    let mut request = FetchRequest { band: BandKind::Large, ..FetchRequest::default() };
    while let Some(argument) = arguments.next()? {
        match argument {
            b"thin-pack" => request.thin_pack = true,
            b"ofs-delta" => request.ofs_delta = true,
            b"no-progress" => request.no_progress = true,
            b"include-tag" => request.include_tag = true,
            b"done" => request.done = true,
            b"wait-for-done" => request.wait_for_done = true,
            b"deepen-relative" => request.deepen.relative = true,
            _ => take_argument(&mut request, argument)?,
        }
    }
    Ok(request)
}

fn take_argument(request: &mut FetchRequest, argument: &[u8]) -> Result<(), Stop> {
    if let Some(hex) = argument.strip_prefix(b"want ") {
        let wrong = || {
            let line = shown(argument);
            Stop::refused(format!("git upload-pack: protocol error, expected oid, not '{line}'"))
        };
        return request.want(ObjectId::from_hex(hex).map_err(|_| wrong())?);
    }
    if let Some(hex) = argument.strip_prefix(b"have ") {
        let wrong = || {
            let hex = shown(hex);
            Stop::refused(format!("git upload-pack: expected SHA1 object, got '{hex}'"))
        };
        return request.have(ObjectId::from_hex(hex).map_err(|_| wrong())?);
    }
    if let Some(name) = argument.strip_prefix(b"want-ref ") {
        request.want_refs.push(name.to_vec());
        return within("wants", request.wants.ids.len() + request.want_refs.len(), WANTS_MAX);
    }
    if let Some(spec) = argument.strip_prefix(b"filter ") {
        return request.take_filter(spec);
    }
    if request.take_shallow_line(argument)? {
        return Ok(());
    }
    Err(unexpected(argument))
}

pub(super) fn unexpected(argument: &[u8]) -> Stop {
    Stop::refused(format!("unexpected line: '{}'", shown(argument)))
}
