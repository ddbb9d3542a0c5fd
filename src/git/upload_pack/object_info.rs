//! Version 2's `object-info`: sizes of objects without their content.

#![deny(clippy::indexing_slicing)]

use std::io::Write;

use mega_storage::ObjectId;

use super::Stop;
use super::command::{Arguments, unexpected};
use super::limits::OBJECT_INFO_MAX;
use super::reachable::Reachable;
use super::refs::VisibleRefs;
use super::request::within;
use crate::git::Service;
use crate::git::wire::{PktWriter, shown};

/// The question.
#[derive(Debug, Default)]
pub(super) struct ObjectInfo {
    size: bool,
    pub(super) ids: Vec<ObjectId>,
}

impl ObjectInfo {
    pub(super) fn read(arguments: &mut Arguments<'_, '_>) -> Result<Self, Stop> {
        let mut request = Self::default();
        while let Some(argument) = arguments.next()? {
            if argument == b"size" {
                request.size = true;
            } else if let Some(hex) = argument.strip_prefix(b"oid ") {
                let wrong = || {
                    let hex = shown(hex);
                    let words = "object-info: protocol error, expected to get oid, not";
                    Stop::refused(format!("{words} '{hex}'"))
                };
                request.ids.push(ObjectId::from_hex(hex).map_err(|_| wrong())?);
                within("objects", request.ids.len(), OBJECT_INFO_MAX)?;
            } else {
                return Err(unexpected(argument));
            }
        }
        Ok(request)
    }

    /// One line an id, in the order of the question; an id that the client may not see is followed
    /// by a space and nothing, like one that is not there.
    pub(super) fn answer(&self, service: &Service<'_>, out: &mut dyn Write) -> Result<(), Stop> {
        let refs = VisibleRefs::read(service)?;
        let reachable = Reachable::new(service, &refs);
        let visible = reachable.are_reachable(&self.ids)?;
        let stats = service.store.objects().stat(&self.ids)?;
        let mut lines = PktWriter::new(out);
        if self.size && !self.ids.is_empty() {
            lines.data(b"size").map_err(Stop::gone)?;
        }
        for ((id, stat), visible) in self.ids.iter().zip(stats).zip(visible) {
            let line = match stat.filter(|_| visible) {
                None => format!("{id} "),
                Some(stat) if self.size => format!("{id} {}", stat.header.len),
                Some(_) => id.to_string(),
            };
            lines.data(line.as_bytes()).map_err(Stop::gone)?;
        }
        lines.flush().map_err(Stop::gone)
    }
}
