//! What became of each command: `report-status`, and its second version, which differs only where a
//! server does something else than it was asked.

use std::io;

use super::channel::Channel;
use super::commands::Command;
use crate::git::limits::LINE_DATA_LEN_MAX;
use crate::git::wire::{Capabilities, PktWriter};

/// Lines are gathered up to this length, in bytes, before they go out.
const PART_LEN: usize = 60 << 10;

/// Sends the report, if the client asked for one.
pub(super) fn send(
    capabilities: &Capabilities,
    commands: &[Command],
    unpacked: &Result<(), String>,
    channel: &Channel<'_>,
) -> io::Result<()> {
    if let Err(reason) = unpacked {
        channel.say("error", reason);
    }
    if !capabilities.has("report-status") && !capabilities.has("report-status-v2") {
        return Ok(());
    }
    let mut lines = PktWriter::new(Vec::new());
    let status = unpacked.as_ref().err().map_or("ok", String::as_str);
    lines.text(cut(format!("unpack {status}").as_bytes()))?;
    for command in commands {
        let name = command.name_bytes();
        let line = match &command.refusal {
            None => [b"ok ", name].concat(),
            Some(reason) => [b"ng ", name, b" ", reason.as_bytes()].concat(),
        };
        lines.text(cut(&line))?;
        if lines.get_mut().len() > PART_LEN {
            channel.report(&std::mem::take(lines.get_mut()))?;
        }
    }
    lines.flush()?;
    channel.report(&lines.into_inner())
}

/// A name that fills a whole line leaves no room for the reason.
fn cut(line: &[u8]) -> &[u8] {
    line.get(..LINE_DATA_LEN_MAX - 1).unwrap_or(line)
}
