//! What a stranger gets of private and mesh repositories, over the network: the bytes that it gets
//! of those that are not there, and nothing in the DHT.

use libp2p::Stream;
use libp2p::futures::{AsyncReadExt, AsyncWriteExt};
use mega_storage::{NoProgress, ObjectId};

use super::lies::{commit, read_by};
use super::*;
use crate::node::swarm::announce::FILE_LEN_MIN;
use crate::swarm::record::{Slot, forks_key, name_key, providers_key};
use crate::swarm::serve::tests::scene::noise;
use crate::swarm::wire::{
    Answering, Frames, GitService, Hello, Open, Priority, Reply, Request, RequestId, Side, Step,
};

/// Long enough to be announced by itself.
const LEN: usize = FILE_LEN_MIN as usize + 1_000_000;

/// A repository, or what might be one.
struct Content {
    name: RepoName,
    rid: RepoKey,
    file: FileId,
    /// Some of its chunks.
    spans: Vec<ChunkSpan>,
    objects: Vec<ObjectId>,
}

impl Content {
    /// Makes a repository with a history and a large file, and its record.
    fn new(home: &Peer, text: &str, visibility: Visibility, seed: u64) -> Self {
        let repo = home.store.repos().create(&name(text), visibility).expect("made");
        let (blobs, tip) = commit(home, &repo, &[noise(seed, 3_000), noise(seed + 1, 50)]);
        let data = noise(seed + 2, LEN);
        let files = home.store.files();
        let taken = files.ingest(Some(repo.id), &mut &data[..], None, &NoProgress);
        let file = taken.expect("taken in").id;
        let held = home.store.held_file(repo.id, &file).expect("read").expect("there");
        let mut spans = held.manifest(0, 1).expect("read").expect("whole").spans;
        spans.truncate(4);
        let record = home.swarm.directory.own_record(&repo).expect("made").expect("made");
        let objects = [blobs, vec![tip]].concat();
        Self { name: name(text), rid: record.claims().rid, file, spans, objects }
    }

    /// Names for as much as this has, of nothing.
    fn absent(&self) -> Self {
        let mut spans = self.spans.clone();
        for (number, span) in (200..).zip(&mut spans) {
            span.chunk.id = ChunkId::from_bytes([number; 32]);
        }
        let objects = (200..).take(self.objects.len());
        Self {
            name: name("a/none"),
            rid: RepoKey::from_bytes([201; 32]),
            file: FileId::from_bytes([202; 32]),
            spans,
            objects: objects.map(|number| ObjectId::from_bytes([number; 20])).collect(),
        }
    }

    /// Questions about what is in it, asked of the repository of this key.
    fn questions(&self, repo: RepoKey, publisher: PeerId) -> Vec<Request> {
        let (file, publisher) = (self.file, peer_bytes(&publisher));
        let (spans, priority) = (self.spans.clone(), Priority::Now);
        let mut all = vec![
            Request::Files { repo, files: vec![file] },
            Request::Have { repo, file },
            Request::Manifest { repo, file, offset: 0, publisher: publisher.clone() },
            Request::Manifest { repo, file, offset: LEN as u64 / 2, publisher },
            Request::Chunks { repo, file, priority, spans: spans.clone() },
            Request::Chunks { repo, file, priority: Priority::Background, spans },
        ];
        if repo != RepoKey::ANY {
            let ids = self.objects.clone();
            all.extend([
                Request::Refs { repo, after: None, names: Vec::new() },
                Request::Refs { repo, after: None, names: vec![mega_storage::RefName::head()] },
                Request::Headers { repo, ids: ids.clone() },
                Request::Objects { repo, levels: 3, blob_len_max: 1 << 20, history: 9, ids },
            ]);
        }
        all
    }

    /// Everything that could stand in the DHT for it, published by one of these.
    fn keys(&self, publishers: &[PeerId]) -> Vec<DhtKey> {
        let mut keys = vec![providers_key(&self.rid), forks_key(&self.rid), file_key(&self.file)];
        for publisher in publishers {
            keys.push(Slot { rid: self.rid, publisher: *publisher }.key());
            keys.push(name_key(publisher, &self.name));
            for other in publishers {
                let local = local_name(other, &self.name).expect("a name");
                keys.push(name_key(publisher, &local));
            }
        }
        keys
    }

    /// What would betray it, wherever it stands.
    fn needles(&self) -> Vec<Vec<u8>> {
        let chunks = self.spans.iter().map(|span| span.chunk.id.as_bytes().to_vec());
        let objects = self.objects.iter().map(|id| id.as_bytes().to_vec());
        let own = [
            self.rid.as_bytes().to_vec(),
            self.rid.to_string().into_bytes(),
            self.file.as_bytes().to_vec(),
            self.name.as_str().as_bytes().to_vec(),
        ];
        own.into_iter().chain(chunks).chain(objects).collect()
    }
}

/// A stream on which a peer is asked.
struct Line {
    net: Net,
    stream: Stream,
    frames: Frames,
}

impl Line {
    fn open(asker: &Peer, asked: PeerId) -> Self {
        let net = asker.swarm.exchange().net().clone();
        let opened = net.block_on(async {
            net.connect(asked, Vec::new()).await?;
            let mut stream = net.open(asked, URGENT).await?;
            let mut hello = Vec::new();
            Hello::default().encode(&mut hello);
            stream.write_all(&hello).await.expect("it is there");
            stream.flush().await.expect("it is there");
            Ok::<_, crate::swarm::net::NetError>(stream)
        });
        let stream = opened.flatten().expect("opened");
        let mut line = Self { net, stream, frames: Frames::new(Side::Answerer) };
        line.read(|_| true);
        line
    }

    /// The bytes to the end of the frame that is the last; nothing follows it.
    fn read(&mut self, mut is_last: impl FnMut(&crate::swarm::wire::Frame) -> bool) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let read = self.net.block_on(self.stream.read(&mut buffer)).expect("it runs");
            let mut rest = &buffer[..read.expect("it is there")];
            assert!(!rest.is_empty(), "it broke off");
            all.extend_from_slice(rest);
            while let Some(frame) = self.frames.next(&mut rest).expect("good frames") {
                if is_last(&frame) {
                    assert!(rest.is_empty());
                    return all;
                }
            }
        }
    }

    /// All bytes that are answered.
    fn ask(&mut self, request: &Request) -> Vec<u8> {
        let mut question = Vec::new();
        request.encode(RequestId(7), &mut question);
        let asked = async {
            self.stream.write_all(&question).await?;
            self.stream.flush().await
        };
        self.net.block_on(asked).expect("it runs").expect("it is there");
        let mut answering = Answering::new(request);
        self.read(|frame| {
            let reply = Reply::decode(frame).expect("an answer");
            answering.take(&reply).expect("to what was asked") == Step::Last
        })
    }

    fn ask_all(&mut self, requests: &[Request]) -> Vec<Vec<u8>> {
        requests.iter().map(|request| self.ask(request)).collect()
    }
}

/// The first bytes that come on a stream of git's own, all of them when it is refused.
fn git_says(asker: &Peer, asked: PeerId, service: GitService, repo: RepoKey) -> Vec<u8> {
    let net = asker.swarm.exchange().net();
    let mut question = Vec::new();
    Open { service, repo, protocol: "version=2".to_owned() }.encode(&mut question);
    let mut refused = Vec::new();
    crate::swarm::wire::OpenAnswer::NotFound.encode(&mut refused);
    let said = net.block_on(async {
        let mut stream = net.open(asked, GIT).await.expect("opened");
        stream.write_all(&question).await.expect("it is there");
        stream.flush().await.expect("it is there");
        let mut said = vec![0; refused.len()];
        stream.read_exact(&mut said).await.expect("it is there");
        if said == refused {
            stream.read_to_end(&mut said).await.expect("it is there");
        }
        said
    });
    said.expect("it runs")
}

/// Public, mesh, private; at home, read by a friend, served beside each other.
struct Scene {
    home: Peer,
    friend: Peer,
    stranger: Peer,
    bystander: Peer,
    open: Content,
    hidden: [Content; 2],
}

impl Scene {
    fn new() -> Self {
        let home = peer(&[]);
        let open = Content::new(&home, "a/open", Visibility::Public, 10);
        let meshed = Content::new(&home, "a/meshed", Visibility::Mesh, 20);
        let secret = Content::new(&home, "a/secret", Visibility::Private, 30);
        let bystander = peer(&[&home]);
        let (friend, stranger) = (peer(&[&home, &bystander]), peer(&[&home, &bystander]));
        let known = friend.swarm.identity().peer_id();
        let let_in = |known: &mut mega_storage::SwarmPeer| known.is_allowed = true;
        home.store.swarm().update_peer(&peer_bytes(&known), let_in).expect("noted");
        let id = home.store.repos().get(&secret.name).expect("there").id;
        let reader = SettingChange::Add(known.to_base58());
        home.store.set_setting(id, "swarm.allowRead", &reader).expect("set");
        let scene = Self { home, friend, stranger, bystander, open, hidden: [meshed, secret] };
        scene.announce();
        scene
    }

    fn publisher(&self) -> PeerId {
        self.home.swarm.identity().peer_id()
    }

    /// The friend reads what is hidden, and would serve everything on.
    fn announce(&self) {
        for node in [&self.home, &self.friend, &self.stranger, &self.bystander] {
            until("it knows others", || own_state(node).table_len > 0);
        }
        self.home.swarm.announce();
        let read = |content: &Content| {
            let (there, swarm) = (self.publisher(), &self.friend.swarm);
            let record = resolve(&self.friend.store, swarm, there, &content.name);
            let record = record.expect("it is let in");
            (copy(&self.friend, there, &record), record)
        };
        for content in &self.hidden {
            let (repo, record) = read(content);
            let reading = read_by(&self.friend, &repo, &record);
            let piece = reading.read(content.file, LEN - 1000, 1000).expect("it is let in");
            assert_eq!(piece.len(), 1000);
        }
        let (repo, _) = read(&self.open);
        self.friend.swarm.announce();
        // Its provider record, that of the forks, that of the file.
        let is_told = |node, count| {
            let own = own_state(node);
            own.announced_count == count && own.running_count == 0 && own.query_count > 0
        };
        until("the public one is announced", || is_told(&self.home, 3));
        until("it is served on", || {
            self.friend.swarm.directory.serves_on(repo.id) && is_told(&self.friend, 1)
        });
        for content in &self.hidden {
            let repo = self.friend.store.swarm().find_rid(&content.rid).expect("read");
            assert!(!self.friend.swarm.directory.serves_on(repo.expect("it has a copy")));
        }
    }

    /// Everything that all nodes keep of the DHT.
    fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let nodes = [&self.home, &self.friend, &self.stranger, &self.bystander];
        let rows = nodes.map(|node| {
            let net = node.swarm.exchange().net();
            net.block_on(net.rows()).flatten().expect("it runs")
        });
        rows.concat()
    }

    /// Whether the DHT has a trace of it.
    fn is_betrayed(&self, content: &Content) -> bool {
        let publishers = [self.publisher(), self.friend.swarm.identity().peer_id()];
        let keys = content.keys(&publishers);
        let needles = content.needles();
        let has = |bytes: &[u8]| {
            needles.iter().any(|n| bytes.windows(n.len()).any(|window| window == &n[..]))
        };
        let is_its = |key: &[u8]| keys.iter().any(|its| its.as_bytes() == key);
        self.rows().iter().any(|(key, value)| is_its(key) || has(key) || has(value))
    }
}

#[test]
fn a_stranger_is_answered_the_same_bytes_as_for_what_is_not_there() {
    let scene = Scene::new();
    let (publisher, open) = (scene.publisher(), &scene.open);
    let absent = open.absent();
    for asked in [publisher, scene.friend.swarm.identity().peer_id()] {
        let mut line = Line::open(&scene.stranger, asked);
        let resolved =
            |line: &mut Line, name: &RepoName| line.ask(&Request::Resolve { name: name.clone() });
        let not_found = resolved(&mut line, &absent.name);
        for hidden in &scene.hidden {
            let none = hidden.absent();
            assert_eq!(resolved(&mut line, &hidden.name), not_found);
            let local = local_name(&publisher, &hidden.name).expect("a name");
            assert_eq!(resolved(&mut line, &local), not_found);
            // By its own key, by one that nobody has, of any public one, and of the one that is.
            for (repo, other) in
                [(hidden.rid, none.rid), (RepoKey::ANY, RepoKey::ANY), (open.rid, open.rid)]
            {
                let found = line.ask_all(&hidden.questions(repo, publisher));
                let expected = line.ask_all(&none.questions(other, publisher));
                assert_eq!(found, expected, "{} of {repo}", hidden.name);
            }
            let of_none = line.ask_all(&none.questions(hidden.rid, publisher));
            assert_eq!(of_none, line.ask_all(&none.questions(none.rid, publisher)));
            // Chunks of the private file, as if they were the public one's.
            for repo in [RepoKey::ANY, open.rid] {
                let chunks = |spans: &[ChunkSpan]| Request::Chunks {
                    repo,
                    file: open.file,
                    priority: Priority::Now,
                    spans: spans.to_vec(),
                };
                let moved = |from: &Content| {
                    let mut span = open.spans[1];
                    span.chunk.id = from.spans[0].chunk.id;
                    vec![span]
                };
                let found = [line.ask(&chunks(&hidden.spans)), line.ask(&chunks(&moved(hidden)))];
                let expected = [line.ask(&chunks(&none.spans)), line.ask(&chunks(&moved(&none)))];
                assert_eq!(found, expected);
            }
        }
    }
    // The public one answers all of that.
    let mut line = Line::open(&scene.stranger, publisher);
    for repo in [open.rid, RepoKey::ANY] {
        let found = line.ask_all(&open.questions(repo, publisher));
        let refused = line.ask_all(&absent.questions(absent.rid, publisher));
        for (found, refused) in found.iter().zip(&refused) {
            assert_ne!(found, refused);
        }
    }
}

#[test]
fn a_stranger_s_git_hears_the_same_bytes_as_for_what_is_not_there() {
    let scene = Scene::new();
    let (publisher, absent) = (scene.publisher(), scene.open.absent());
    let says = |service, repo| git_says(&scene.stranger, publisher, service, repo);
    for service in [GitService::UploadPack, GitService::ReceivePack, GitService::Lfs] {
        let refused = says(service, absent.rid);
        for hidden in &scene.hidden {
            assert_eq!(says(service, hidden.rid), refused, "{service:?} of {}", hidden.name);
        }
        // Everybody reads the public one, nobody pushes to it.
        let is_refused = says(service, scene.open.rid) == refused;
        assert_eq!(is_refused, service == GitService::ReceivePack, "{service:?}");
    }
}

#[test]
fn nothing_of_private_and_mesh_repositories_is_in_the_dht() {
    let scene = Scene::new();
    let friend = scene.friend.swarm.identity().peer_id();
    let publishers = [scene.publisher(), friend];
    until("the record of the public one is kept by others", || scene.is_betrayed(&scene.open));
    let net = scene.stranger.swarm.exchange().net();
    let found = |key: &DhtKey| {
        net.block_on(async {
            let mut values = net.get(key_of(key)).await;
            let mut providers = net.providers(key_of(key)).await;
            let mut count = 0;
            while values.recv().await.is_some() {
                count += 1;
            }
            while providers.recv().await.is_some() {
                count += 1;
            }
            count
        })
        .expect("it runs")
    };
    let count = |content: &Content| -> usize {
        content.keys(&publishers).iter().map(|key| usize::from(found(key) > 0)).sum()
    };
    // Providers, forks, the file, the record at two places.
    until("the public one is found", || count(&scene.open) == 5);
    for hidden in &scene.hidden {
        assert_eq!(count(hidden), 0, "{}", hidden.name);
        assert!(!scene.is_betrayed(hidden), "{}", hidden.name);
    }
}
