//! Chunks from peers, and from the upstream when they are silent.
//!
//! Peers are asked for all of them to the end. The upstream is asked for those that have not come,
//! and again after a rest when it failed, for as long as peers may still answer.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Instant;

use crossbeam_channel::{Receiver, at, bounded, never, select};
use mega_storage::{
    ChunkBytes, ChunkId, ChunkSpan, ChunkTake, FileId, SourceError, SourceResult, Urgency,
};

use super::upstream::REST;
use super::{Hedge, LACKED, neither};
use crate::swarm::exchange::{Told, Wanting};
use crate::swarm::fetcher::WORD_TIME;

/// Chunks of the upstream that wait to be looked at.
const CAME_MAX: usize = 8;

/// What the upstream says.
enum Came {
    Chunk(ChunkId, ChunkBytes),
    Ended(SourceResult<()>),
}

/// How far the upstream is.
enum Asked {
    /// It has not been asked, or has failed: then why.
    Not(Option<String>),
    Is(Receiver<Came>),
    /// It has answered, and does not have what is still open.
    Lacks,
}

struct Race<'a, 't> {
    hedge: &'a Hedge,
    file: FileId,
    spans: &'a [ChunkSpan],
    urgency: Urgency,
    take: &'a mut ChunkTake<'t>,
    /// What has not come yet.
    open: HashMap<ChunkId, ChunkSpan>,
    /// Or why they have failed.
    peers: Result<Wanting, String>,
    upstream: Asked,
    /// When the upstream is asked if nothing comes.
    due: Instant,
    /// When peers have failed if they say nothing.
    deadline: Instant,
}

/// Brings chunks of a file from both, as [`mega_storage::ChunkSource::chunks`] says.
pub(super) fn run(
    hedge: &Hedge,
    file: &FileId,
    spans: &[ChunkSpan],
    urgency: Urgency,
    take: &mut ChunkTake<'_>,
) -> SourceResult<()> {
    let now = Instant::now();
    let race = Race {
        hedge,
        file: *file,
        spans,
        urgency,
        take,
        open: spans.iter().map(|span| (span.chunk.id, *span)).collect(),
        peers: Ok(hedge.fetcher.want(file, spans, urgency)),
        upstream: Asked::Not(None),
        due: now + hedge.patience(),
        deadline: now + hedge.fetcher.wait() + WORD_TIME,
    };
    race.run()
}

impl Race<'_, '_> {
    fn run(mut self) -> SourceResult<()> {
        while !self.open.is_empty() {
            if let Err(peers) = &self.peers {
                match &self.upstream {
                    Asked::Is(_) => {}
                    Asked::Lacks => return Err(SourceError::Unsupported { what: LACKED }),
                    Asked::Not(Some(reason)) => return Err(neither(peers, reason)),
                    Asked::Not(None) => {
                        self.ask();
                        continue;
                    }
                }
            }
            let (mut told, mut came, mut wake) = (never(), never(), never());
            if let Ok(wanting) = &self.peers {
                told = wanting.told.clone();
                let is_to_ask = matches!(self.upstream, Asked::Not(_));
                wake = at(if is_to_ask { self.due.min(self.deadline) } else { self.deadline });
            }
            if let Asked::Is(answers) = &self.upstream {
                came = answers.clone();
            }
            let flow = select! {
                recv(told) -> word => self.told(word.ok()),
                recv(came) -> word => self.came(word.ok()),
                recv(wake) -> _ => self.woken(),
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// A word from peers; `None` when there will be none any more.
    fn told(&mut self, word: Option<Told>) -> ControlFlow<()> {
        match word {
            Some(Told::Chunk(chunk)) => {
                let now = Instant::now();
                *self.hedge.came_at.lock() = now;
                self.due = self.due.max(now + self.hedge.after);
                let Some(span) = self.open.remove(&chunk.chunk().id) else {
                    return ControlFlow::Continue(());
                };
                return (self.take)(&span, ChunkBytes::Verified(chunk));
            }
            Some(Told::Done) => return ControlFlow::Break(()),
            Some(Told::Failed(reason)) => self.peers = Err(reason),
            None => self.peers = Err("the swarm has stopped".to_owned()),
        }
        ControlFlow::Continue(())
    }

    /// A word from the upstream. It blames nobody but the upstream, and peers go on.
    fn came(&mut self, word: Option<Came>) -> ControlFlow<()> {
        let failure = match word {
            Some(Came::Chunk(id, bytes)) => {
                // Peers may have been first.
                let Some(span) = self.open.get(&id).copied() else {
                    return ControlFlow::Continue(());
                };
                match bytes.verify(&span.chunk) {
                    Ok(verified) => {
                        self.open.remove(&id);
                        self.hedge.upstream.count(verified.plain().len());
                        return (self.take)(&span, ChunkBytes::Verified(verified));
                    }
                    Err(reason) => {
                        let file = self.file;
                        let lie = format!("wrong bytes for chunk {id} of file {file}: {reason}");
                        self.hedge.upstream.failed(&lie);
                        lie
                    }
                }
            }
            Some(Came::Ended(Ok(()))) => {
                self.upstream = Asked::Lacks;
                return ControlFlow::Continue(());
            }
            Some(Came::Ended(Err(error))) => error.to_string(),
            None => "who asked it panicked: a bug".to_owned(),
        };
        self.failed(failure);
        ControlFlow::Continue(())
    }

    fn failed(&mut self, reason: String) {
        self.upstream = Asked::Not(Some(reason));
        self.due = Instant::now() + REST;
    }

    fn woken(&mut self) -> ControlFlow<()> {
        let now = Instant::now();
        // Nobody waits for it: while peers bring anything at all they bring this too.
        if self.urgency != Urgency::Now {
            self.due = self.due.max(*self.hedge.came_at.lock() + self.hedge.after);
        }
        if now >= self.deadline {
            self.peers = Err("the swarm has stopped".to_owned());
        } else if now >= self.due && matches!(self.upstream, Asked::Not(_)) {
            self.ask();
        }
        ControlFlow::Continue(())
    }

    /// Asks the upstream for what is open.
    fn ask(&mut self) {
        let is_open = |span: &&ChunkSpan| self.open.contains_key(&span.chunk.id);
        let spans: Vec<ChunkSpan> = self.spans.iter().filter(is_open).copied().collect();
        let (send, answers) = bounded(CAME_MAX);
        let (file, urgency) = (self.file, self.urgency);
        let asked = self.hedge.upstream.ask(move |upstream| {
            let take =
                &mut |span: &ChunkSpan, bytes| match send.send(Came::Chunk(span.chunk.id, bytes)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                };
            let ended = upstream.chunks().chunks(&file, &spans, urgency, take);
            let _ = send.send(Came::Ended(upstream.noted(ended)));
        });
        match asked {
            Ok(()) => self.upstream = Asked::Is(answers),
            Err(error) => self.failed(error.to_string()),
        }
    }
}
