//! Peers, and a server that the user named beside them: the upstream of a repository at a peer.
//!
//! Peers are asked first. What none of them has answered within [`HEDGE_AFTER`] is asked of the
//! upstream as well, and so is, at once, what nobody is there for or those who are do not have. Who
//! answers first has answered; the other's bytes are not looked at. An upstream that fails never
//! fails what peers can still answer.
//!
//! Invariant: what has a hash is held to it, whoever brings it. What has none (lengths, lists of
//! chunks, references) is believed from the upstream as it is of a server that a repository is
//! mounted from, because the user named it, and by the readers here alone: it is unsigned, so that
//! no peer is ever told of it.

mod race;
mod upstream;

use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use mega_storage::{
    ChunkSource, ChunkSpan, ChunkTake, FileId, ManifestPage, ObjectHeader, ObjectId, ObjectSource,
    ObjectWant, Pointer, SourceError, SourceResult, Urgency,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::fetcher::Fetcher;
pub use upstream::Upstream;

/// How long peers may be silent before the upstream is asked too.
pub const HEDGE_AFTER: Duration = Duration::from_millis(300);

/// What cannot be known while peers fail and the upstream, which answers, does not have it.
const LACKED: &str = "what its upstream lacks while no peer answers";

/// Answers to a question about several things, in their order; `None` for what is absent.
type Rows<T> = SourceResult<Vec<Option<T>>>;

/// One repository, read from peers and its upstream.
pub struct Hedge {
    fetcher: Arc<Fetcher>,
    upstream: Arc<Upstream>,
    after: Duration,
    /// When peers last brought a chunk.
    came_at: Mutex<Instant>,
}

impl Hedge {
    /// Asks the upstream what peers have not answered `after` that long.
    pub fn new(fetcher: &Arc<Fetcher>, upstream: &Arc<Upstream>, after: Duration) -> Self {
        let came_at = Mutex::new(Instant::now());
        Self { fetcher: fetcher.clone(), upstream: upstream.clone(), after, came_at }
    }

    /// How long peers are waited for: not at all when none is there.
    fn patience(&self) -> Duration {
        if self.fetcher.is_served() { self.after } else { Duration::ZERO }
    }

    /// Asks peers, and the upstream when they have not answered everything in time: the first whole
    /// answer, else what both know together. `upstream` tells its answer as soon as it has it.
    ///
    /// # Errors
    /// When neither knows anything.
    fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        peers: impl FnOnce(&Fetcher) -> Rows<T> + Send + 'static,
        upstream: impl FnOnce(&Arc<Upstream>, &dyn Fn(Rows<T>)) + Send + 'static,
    ) -> Rows<T> {
        let (gives_up, given_up) = watch::channel(false);
        let (send, answers) = bounded(2);
        let (fetcher, tell) = (self.fetcher.until(given_up), send.clone());
        let asking = move || {
            let _ = tell.send((true, peers(&fetcher)));
        };
        let started = thread::Builder::new().name("hedge".to_owned()).spawn(asking);
        started.map_err(|e| SourceError::Unreachable { reason: e.to_string() })?;
        let (mut from_peers, mut from_upstream) = (None, None);
        match answers.recv_timeout(patience) {
            Ok((_, rows)) if is_whole(&rows) => return rows,
            Ok((_, rows)) => from_peers = Some(rows),
            Err(_) => {}
        }
        let asked = self.upstream.ask(move |server| {
            upstream(server, &|rows| {
                let _ = send.send((false, server.noted(rows)));
            });
        });
        if let Err(error) = asked {
            from_upstream = Some(Err(error));
        }
        while from_peers.is_none() || from_upstream.is_none() {
            let Ok((is_of_peers, rows)) = answers.recv() else { break };
            if is_whole(&rows) {
                gives_up.send_replace(true);
                return rows;
            }
            *(if is_of_peers { &mut from_peers } else { &mut from_upstream }) = Some(rows);
        }
        together(from_peers, from_upstream)
    }

    /// Asks something that has one answer or none; waits `after` for peers that are not there yet,
    /// too.
    ///
    /// # Errors
    /// When neither has answered.
    pub fn ask_one<T: Send + 'static>(
        &self,
        peers: impl FnOnce() -> SourceResult<T> + Send + 'static,
        upstream: impl FnOnce() -> SourceResult<T> + Send + 'static,
    ) -> SourceResult<T> {
        let row = |answer: SourceResult<T>| answer.map(|answer| vec![Some(answer)]);
        let rows =
            self.ask(self.after, move |_| row(peers()), move |_, tell| tell(row(upstream())));
        rows?.pop().flatten().ok_or(SourceError::Unsupported { what: LACKED })
    }
}

fn is_whole<T>(rows: &Rows<T>) -> bool {
    rows.as_ref().is_ok_and(|rows| rows.iter().all(Option::is_some))
}

/// What two answers say of which none is whole.
fn together<T>(peers: Option<Rows<T>>, upstream: Option<Rows<T>>) -> Rows<T> {
    let panicked = || {
        let reason = "who asked it panicked: a bug".to_owned();
        Err(SourceError::Unreachable { reason })
    };
    match (peers.unwrap_or_else(panicked), upstream.unwrap_or_else(panicked)) {
        (Ok(peers), Ok(upstream)) => {
            Ok(peers.into_iter().zip(upstream).map(|(peer, server)| peer.or(server)).collect())
        }
        (Ok(rows), Err(_)) => Ok(rows),
        (Err(_), Ok(rows)) if rows.iter().any(Option::is_some) => Ok(rows),
        (Err(error @ SourceError::Unsupported { .. }), _)
        | (Err(_), Err(error @ SourceError::Unsupported { .. })) => Err(error),
        // It is not known to be absent, and the upstream is not to be left alone for it.
        (Err(_), Ok(_)) => Err(SourceError::Unsupported { what: LACKED }),
        (Err(peers), Err(upstream)) => Err(neither(&peers.to_string(), &upstream.to_string())),
    }
}

fn neither(peers: &str, upstream: &str) -> SourceError {
    SourceError::Unreachable { reason: format!("{peers}; its upstream: {upstream}") }
}

impl ObjectSource for Hedge {
    fn name(&self) -> String {
        ObjectSource::name(&*self.fetcher)
    }

    fn headers(&self, ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>> {
        let (ids, same) = (ids.to_vec(), ids.to_vec());
        self.ask(
            self.patience(),
            move |peers| peers.headers(&ids),
            move |upstream, tell| tell(upstream.objects().headers(&same)),
        )
    }

    fn objects<'a>(
        &'a self,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>> {
        let ObjectWant { ids, levels, blob_len_max, history } = *want;
        let (ids, same) = (ids.to_vec(), ids.to_vec());
        let hints = ObjectWant { ids: &[], levels, blob_len_max, history };
        let rows = self.ask(
            self.patience(),
            move |peers| {
                let pack = peers.pack(&ObjectWant { ids: &ids, ..hints })?;
                Ok(vec![pack.map(|pack| pack as Box<dyn Read + Send>)])
            },
            move |upstream, tell| upstream.pack(&ObjectWant { ids: &same, ..hints }, tell),
        );
        Ok(rows?.pop().flatten())
    }
}

impl ChunkSource for Hedge {
    fn name(&self) -> String {
        ChunkSource::name(&*self.fetcher)
    }

    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>> {
        let (files, same) = (files.to_vec(), files.to_vec());
        self.ask(
            self.patience(),
            move |peers| peers.files(&files),
            move |upstream, tell| tell(upstream.chunks().files(&same)),
        )
    }

    fn manifest(&self, file: &FileId, offset: u64) -> SourceResult<Option<ManifestPage>> {
        let file = *file;
        let rows = self.ask(
            self.patience(),
            move |peers| Ok(vec![peers.manifest(&file, offset)?]),
            move |upstream, tell| tell(upstream.manifest(&file, offset).map(|page| vec![page])),
        );
        Ok(rows?.pop().flatten())
    }

    fn chunks(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        urgency: Urgency,
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<()> {
        race::run(self, file, spans, urgency, take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answers_say_what_both_know_and_an_error_says_nothing() {
        let away = |reason: &str| Err(SourceError::Unreachable { reason: reason.to_owned() });
        let unsaid = || Err(SourceError::Unsupported { what: "lengths" });
        let both = |peers: Rows<u8>, upstream| together(Some(peers), Some(upstream));
        let (one, other) = (|| Ok(vec![Some(1), None]), || Ok(vec![Some(7), Some(2)]));
        assert_eq!(both(one(), other()), Ok(vec![Some(1), Some(2)]));
        assert_eq!(both(one(), away("a")), one(), "the upstream costs nobody an answer");
        assert_eq!(both(away("a"), one()), one());
        // What the upstream lacks is not known to be absent; nor is the upstream to be left alone.
        let lacked = Err(SourceError::Unsupported { what: LACKED });
        assert_eq!(both(away("a"), Ok(vec![None])), lacked);
        assert_eq!(both(unsaid(), Ok(vec![None])), unsaid());
        assert_eq!(both(away("a"), unsaid()), unsaid(), "then the blobs themselves are asked for");
        assert_eq!(both(away("a"), away("b")), away("a; its upstream: b"));
        assert!(together(None, Some(one())) == one() && together::<u8>(None, None).is_err());
    }
}
