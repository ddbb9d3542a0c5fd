//! The agent's requests as a peer sends them ([`crate::lfs::pieces`]).

use std::io::{self, Read, Write};

use mega_storage::FileId;

use super::transfer::upload;
use super::{LfsContext, LfsError, chunked, limits};
use crate::lfs::pieces::{GOOD, PieceReader, PieceWriter, read_ask};
use crate::lfs::wire::{self, Claim, Route, Step};

/// What somebody sent who may write, and how that ended.
pub struct Written {
    /// The request.
    pub route: Route,
    /// The file.
    pub file: FileId,
    /// As HTTP has it.
    pub status: u16,
    /// Bytes that came.
    pub len: u64,
}

/// Answers requests until there are no more. `note` is told of each that writes.
///
/// # Errors
/// When the stream breaks or the asker does not keep to the protocol. A request that is refused is
/// an answer.
pub fn serve(
    context: &LfsContext<'_>,
    input: &mut dyn Read,
    output: &mut (dyn Write + Send),
    note: &dyn Fn(&Written),
) -> io::Result<()> {
    while let Some((route, file)) = read_ask(input)? {
        let mut body = PieceReader::new(&mut *input);
        let mut answer = Answer { out: output, has_begun: false };
        let answered = answer_one(context, route, &file, &mut body, &mut answer);
        if route.is_write() && context.must_write().is_ok() {
            let status = answered.as_ref().map_or_else(LfsError::status, |()| GOOD);
            note(&Written { route, file, status, len: body.read_len() });
        }
        match answered {
            Ok(()) => {
                answer.begin(GOOD)?;
                PieceWriter::new(&mut *output).finish()?;
            }
            Err(LfsError::Output(error) | LfsError::Body(error)) => return Err(error),
            Err(error) if answer.has_begun => {
                tracing::error!(%error, "an answer to a peer broke off");
                return PieceWriter::new(&mut *output).break_off();
            }
            Err(error) => {
                if error.status() == 500 {
                    tracing::error!(%error, "answering an LFS request of a peer");
                }
                answer.begin(error.status())?;
                let mut told = PieceWriter::new(&mut *output);
                told.write_all(error.body(None).message.as_bytes())?;
                told.finish()?;
            }
        }
        // Nobody wanted the rest of it; what is too long ends the stream.
        if !body.finish(limits::REST_LEN_MAX)? {
            return Ok(());
        }
    }
    Ok(())
}

fn answer_one(
    context: &LfsContext<'_>,
    route: Route,
    file: &FileId,
    body: &mut dyn Read,
    out: &mut Answer<'_>,
) -> Result<(), LfsError> {
    match route {
        Route::Missing if is_here(context, file)? => {
            let _: Claim = wire::read_head(body).map_err(LfsError::Body)?;
            let mut count = 0usize;
            while count < wire::ENTRIES_MAX
                && wire::read_entry(body).map_err(LfsError::Body)?.is_some()
            {
                count += 1;
            }
            out.write_all(&vec![0; count.div_ceil(8)]).map_err(LfsError::Output)
        }
        Route::Missing => {
            let bitmap = chunked::missing(context, file, body)?;
            out.write_all(&bitmap).map_err(LfsError::Output)
        }
        Route::Send => chunked::send(context, file, body).map(|_| ()),
        Route::Finish if is_here(context, file)? => {
            chunked::write_step(out, &Step::Done).map_err(LfsError::Output)
        }
        Route::Finish => chunked::finish(context, file, body, out),
        Route::Chunks => chunked::list(context, file)?.write_to(out),
        Route::Fetch => {
            let mut wanted = Vec::new();
            body.take(limits::JSON_LEN_MAX).read_to_end(&mut wanted).map_err(LfsError::Body)?;
            chunked::fetch(context, file, &wanted)?.write_to(out)
        }
        Route::Put => {
            let claim: Claim = wire::read_head(body).map_err(LfsError::Body)?;
            upload(context, file, Some(claim.size), body).map(|_| ())
        }
    }
}

/// Whether the repository has the file: nobody has asked before the upload began, as git-lfs asks a
/// server. Who may only read is refused.
fn is_here(context: &LfsContext<'_>, file: &FileId) -> Result<bool, LfsError> {
    context.must_write()?;
    Ok(context.store.files().has_for_push(context.repo.id, file)?)
}

/// Says that it is an answer before the first of it.
struct Answer<'a> {
    out: &'a mut (dyn Write + Send),
    has_begun: bool,
}

impl Answer<'_> {
    fn begin(&mut self, status: u16) -> io::Result<()> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.out.write_all(&status.to_be_bytes())?;
        }
        Ok(())
    }
}

impl Write for Answer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begin(GOOD)?;
        PieceWriter::new(&mut *self.out).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
