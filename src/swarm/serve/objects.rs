//! Git objects by id: kinds and lengths, packs.

use std::io::{self, Write};
use std::ops::ControlFlow;

use bytes::BytesMut;
use mega_storage::{ObjectId, ObjectWant, Progress, StoreError};

use super::{Answerer, Asker, Sink, Stop, put};
use crate::swarm::wire::limits::PIECE_LEN_MAX;
use crate::swarm::wire::{Reply, RepoKey};

impl Answerer {
    pub(super) fn headers(
        &self,
        asker: &Asker,
        key: &RepoKey,
        ids: &[ObjectId],
        progress: &dyn Progress,
    ) -> Result<Option<Reply>, StoreError> {
        let Some(seen) = self.see(asker, key)? else { return Ok(None) };
        let readable = self.readable(&seen, progress)?.are_readable(ids)?;
        let wanted = ids.iter().zip(&readable).filter(|(_, is)| **is).map(|(id, _)| *id);
        let wanted: Vec<ObjectId> = wanted.collect();
        let mut stats = self.store.objects().stat(&wanted)?.into_iter();
        let header = |is_readable: &bool| match is_readable {
            true => stats.next().flatten().map(|stat| stat.header),
            false => None,
        };
        Ok(Some(Reply::Headers(readable.iter().map(header).collect())))
    }

    pub(super) fn objects(
        &self,
        asker: &Asker,
        key: &RepoKey,
        want: &ObjectWant<'_>,
        progress: &dyn Progress,
        sink: &mut Sink<'_>,
    ) -> Result<(), Stop> {
        let Some(seen) = self.see(asker, key)? else { return put(sink, Reply::NotFound) };
        let readable = self.readable(&seen, progress)?;
        let mut pieces = Pieces { sink, gathered: BytesMut::new(), has_enough: false };
        let sent = self.store.send_want(&readable, want, &mut pieces, progress);
        let sent = sent.and_then(|sent| match sent {
            Some(_) => pieces.flush().map(|()| true).map_err(|_| StoreError::Interrupted),
            None => Ok(false),
        });
        match sent {
            _ if pieces.has_enough => Err(Stop::Enough),
            Ok(true) => put(pieces.sink, Reply::End { absent: Vec::new() }),
            Ok(false) => put(pieces.sink, Reply::NotFound),
            Err(error) => Err(error.into()),
        }
    }
}

/// Cuts a pack into pieces.
struct Pieces<'a, 'b> {
    sink: &'a mut Sink<'b>,
    gathered: BytesMut,
    has_enough: bool,
}

impl Pieces<'_, '_> {
    fn send(&mut self, len: usize) -> io::Result<()> {
        let piece = self.gathered.split_to(len).freeze();
        if let ControlFlow::Break(()) = (self.sink)(Reply::Bytes(piece)) {
            self.has_enough = true;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

impl Write for Pieces<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        while self.gathered.len() >= PIECE_LEN_MAX {
            self.send(PIECE_LEN_MAX)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.gathered.len() {
            0 => Ok(()),
            len => self.send(len),
        }
    }
}
