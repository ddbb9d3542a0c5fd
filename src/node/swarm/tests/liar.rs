//! A peer that answers as another would, and changes what it says.

use std::sync::Arc;

use libp2p::futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{Multiaddr, PeerId, Stream};
use mega_storage::{NoProgress, RepoKey};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::*;
use crate::swarm::exchange::Following;
use crate::swarm::net::NetEvent;
use crate::swarm::serve::Asker;
use crate::swarm::wire::{Frames, Hello, Kind, Reply, Request, Side};

/// What it says in place of a true answer.
type Lie = dyn Fn(&Request, Reply) -> Reply + Send + Sync;

/// It ends when it is dropped.
pub(super) struct Liar {
    pub(super) identity: Identity,
    answers: Arc<Answers>,
    net: Net,
    runtime: Option<Runtime>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Its tasks hold the store: none may outlive the test.
            runtime.shutdown_timeout(LONG);
        }
    }
}

struct Answers {
    answerer: Answerer,
    lie: Box<Lie>,
    asked: Mutex<Vec<Kind>>,
    /// Where the chunks are that it gives, whatever place it is asked for.
    places: Mutex<Vec<(FileId, Vec<ChunkSpan>)>>,
}

impl Answers {
    /// The question to which it knows an answer.
    fn honest(&self, request: Request) -> Request {
        let Request::Chunks { repo, priority, spans, .. } = &request else { return request };
        let places = self.places.lock();
        let find = |(file, all): &(FileId, Vec<ChunkSpan>)| {
            let place = |span: &ChunkSpan| all.iter().find(|s| s.chunk == span.chunk).copied();
            let spans = spans.iter().map(place).collect::<Option<Vec<_>>>()?;
            Some(Request::Chunks { repo: *repo, file: *file, priority: *priority, spans })
        };
        places.iter().find_map(find).unwrap_or(request.clone())
    }
}

impl Liar {
    /// Serves what `honest` serves.
    pub(super) fn new(
        honest: &Peer,
        number: u8,
        lie: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let identity = Identity::from_secret([number; 32]);
        let directory: Arc<dyn Directory> = honest.swarm.directory.clone();
        let answerer = Answerer::new(&honest.store, directory);
        let (lie, asked, places) = (Box::new(lie), Mutex::default(), Mutex::default());
        let answers = Arc::new(Answers { answerer, lie, asked, places });
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let options = NetOptions {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
            mdns: false,
            reach: Reach::Yes,
            ..Default::default()
        };
        let used = NetUse { check: Arc::new(RecordCheck), accept: vec![URGENT, BULK] };
        let started = Net::start(identity.keypair(), options, used, runtime.handle());
        let (net, mut events) = started.expect("it starts");
        let serving = answers.clone();
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                if let NetEvent::Stream { peer, stream, .. } = event {
                    tokio::spawn(serve(serving.clone(), peer, stream));
                }
            }
        });
        Self { identity, answers, net, runtime: Some(runtime) }
    }

    pub(super) fn peer(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// Has it give the chunks of a file for any place.
    pub(super) fn gives(&self, file: FileId, spans: &[ChunkSpan]) {
        self.answers.places.lock().push((file, spans.to_vec()));
    }

    /// Whether it was asked such a thing.
    pub(super) fn was_asked(&self, kind: Kind) -> bool {
        self.answers.asked.lock().contains(&kind)
    }

    fn address(&self) -> Multiaddr {
        let mut found = None;
        until("it listens", || {
            let own = self.net.runtime().block_on(self.net.own_state()).expect("it runs");
            found = own.listening.first().cloned();
            found.is_some()
        });
        found.expect("waited for")
    }

    /// Is asked for a repository by `reader` from now on.
    pub(super) fn is_asked_by(&self, reader: &Peer, rid: RepoKey) -> Following {
        let exchange = reader.swarm.exchange();
        exchange.follow(rid, vec![(self.peer(), vec![self.address()])], false)
    }
}

/// Answers on one stream until it ends.
async fn serve(answers: Arc<Answers>, peer: PeerId, mut stream: Stream) {
    let mut hello = Vec::new();
    Hello::default().encode(&mut hello);
    if stream.write_all(&hello).await.is_err() {
        return;
    }
    let (mut frames, mut buffer) = (Frames::new(Side::Asker), vec![0; 64 << 10]);
    loop {
        let Ok(len @ 1..) = stream.read(&mut buffer).await else { return };
        let mut rest = &buffer[..len];
        while let Some(frame) = frames.next(&mut rest).expect("who asks keeps to the protocol") {
            if frame.kind == Kind::Hello {
                continue;
            }
            let request = Request::decode(&frame).expect("a request");
            answers.asked.lock().push(frame.kind);
            let this = answers.clone();
            let answer = move || {
                let mut out = Vec::new();
                let mut sink = |reply: Reply| {
                    (this.lie)(&request, reply).encode(frame.id, &mut out);
                    ControlFlow::Continue(())
                };
                let asker = Asker::new(&peer, false);
                let honest = this.honest(request.clone());
                let answered = this.answerer.answer(&asker, &honest, &NoProgress, &mut sink);
                answered.expect("answered");
                out
            };
            let out = tokio::task::spawn_blocking(answer).await.expect("no panic");
            if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }
}
