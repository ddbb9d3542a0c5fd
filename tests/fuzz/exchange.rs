//! The exchange protocol between peers: frames of both sides, however they are cut. What is read is
//! written again as it came; nothing past a frame's limit is held. The first byte of an input says
//! whose frames they are, the second how they are cut.

use mega_storage::{
    ChunkId, ChunkRef, ChunkSpan, FileId, Held, HeldRun, ManifestPage, ObjectHeader, ObjectId,
    ObjectKind, PageSignature, PeerIdBytes, RefName, RepoName, StoredChunk,
};
use mega_store::swarm::wire::{
    Answering, Frame, Frames, GitService, Hello, Kind, Open, OpenAnswer, Priority, RefLine, Reply,
    RepoKey, Request, RequestId, Side,
};
use mega_tools::fuzz::{Ending, Target};

pub struct Exchange;

impl Target for Exchange {
    fn name(&self) -> &'static str {
        "exchange"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut asked = vec![0, 7];
        Hello::default().encode(&mut asked);
        for (id, request) in (1..).zip(requests()) {
            request.encode(RequestId(id), &mut asked);
        }
        let mut answered = vec![1, 200];
        Hello::default().encode(&mut answered);
        for (id, reply) in (1..).zip(replies()) {
            reply.encode(RequestId(id), &mut answered);
        }
        let mut git = vec![0, 1];
        let (service, repo) = (GitService::UploadPack, RepoKey::from_bytes([1; 32]));
        Open { service, repo, protocol: "version=2".to_owned() }.encode(&mut git);
        let mut opened = vec![1, 1];
        OpenAnswer::Opened.encode(&mut opened);
        let mut all = vec![asked, answered, git, opened];
        for request in requests() {
            let mut one = vec![0, 255];
            request.encode(RequestId(1), &mut one);
            all.push(one);
        }
        for reply in replies() {
            let mut one = vec![1, 255];
            reply.encode(RequestId(1), &mut one);
            all.push(one);
        }
        all
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[b"\0\0\0\x05", b"\0\x10\x01\0", b"HEAD", b"refs/heads/a", b"\0\x01", b"\x10\0", b"\x0c"]
    }

    fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
        let [side, cut, stream @ ..] = input else { return Ok(Ending::of("empty")) };
        let side = if side % 2 == 0 { Side::Asker } else { Side::Answerer };
        let (frames, error) = split(side, stream, stream.len().max(1));
        if split(side, stream, usize::from(*cut).max(1)) != (frames.clone(), error.clone()) {
            return Err("cut otherwise it reads otherwise".to_owned());
        }
        let mut written = Vec::new();
        let mut said = String::new();
        for frame in &frames {
            if frame.body.len() > frame.kind.body_len_max() {
                return Err(format!("a frame {} of {} bytes", frame.kind, frame.body.len()));
            }
            let start = written.len();
            match again(frame, &mut written) {
                Ok(()) => {}
                Err(reason) => {
                    said = reason;
                    break;
                }
            }
            let same = [&frame.id.0.to_be_bytes()[..], &frame.body].concat();
            if written[start + 5..] != same {
                return Err(format!("a frame {} is written otherwise", frame.kind));
            }
        }
        let said = if said.is_empty() { error.unwrap_or_default() } else { said };
        let kinds = frames.iter().fold(0u64, |all, frame| all | 1 << frame.kind.code());
        Ok(Ending(Ending::of(&said).and(frames.len()).0 ^ kinds))
    }
}

/// The frames of a stream that comes in pieces of `len` bytes, and what ends them.
fn split(side: Side, stream: &[u8], len: usize) -> (Vec<Frame>, Option<String>) {
    let (mut frames, mut found) = (Frames::new(side), Vec::new());
    for mut piece in stream.chunks(len) {
        loop {
            match frames.next(&mut piece) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Some(error.to_string())),
            }
        }
        assert!(piece.is_empty(), "what was given was taken");
    }
    let end = if frames.is_between() { None } else { Some("in the middle".to_owned()) };
    (found, end)
}

/// Reads a message and writes it again.
fn again(frame: &Frame, out: &mut Vec<u8>) -> Result<(), String> {
    let (is_hello, is_open) = (frame.kind == Kind::Hello, frame.kind == Kind::Open);
    if is_hello {
        Hello::decode(frame).map_err(|e| e.to_string())?.encode(out);
    } else if is_open {
        Open::decode(frame).map_err(|e| e.to_string())?.encode(out);
    } else if frame.kind == Kind::Opened {
        OpenAnswer::decode(frame).map_err(|e| e.to_string())?.encode(out);
    } else if frame.kind.is_from(Side::Asker) {
        Request::decode(frame).map_err(|e| e.to_string())?.encode(frame.id, out);
    } else {
        let reply = Reply::decode(frame).map_err(|e| e.to_string())?;
        for request in requests() {
            let _ = Answering::new(&request).take(&reply);
        }
        if let Reply::Chunk { chunk, .. } = &reply
            && let Ok(plain) = chunk.decode()
        {
            assert_eq!(plain.len(), chunk.plain_len as usize);
        }
        reply.encode(frame.id, out);
    }
    Ok(())
}

fn span(byte: u8, offset: u64, len: u32) -> ChunkSpan {
    ChunkSpan { chunk: ChunkRef { id: ChunkId::from_bytes([byte; 32]), len }, offset }
}

fn requests() -> Vec<Request> {
    let repo = RepoKey::from_bytes([1; 32]);
    let (file, any) = (FileId::from_bytes([9; 32]), RepoKey::ANY);
    let ids = vec![ObjectId::from_bytes([2; 20]), ObjectId::from_bytes([3; 20])];
    let name = |text: &str| RefName::new(text.as_bytes()).expect("a name");
    let publisher = PeerIdBytes::new(&[7; 38]).expect("an id");
    vec![
        Request::Resolve { name: RepoName::new("a/b").expect("a name") },
        Request::Refs { repo, after: Some(name("HEAD")), names: Vec::new() },
        Request::Refs { repo, after: None, names: vec![name("HEAD"), name("refs/heads/a")] },
        Request::Headers { repo, ids: ids.clone() },
        Request::Objects { repo, levels: 2, blob_len_max: 1024, history: 1, ids },
        Request::Files { repo: any, files: vec![file; 3] },
        Request::Have { repo: any, file },
        Request::Manifest { repo, file, offset: 70_000, publisher },
        Request::Chunks {
            repo,
            file,
            priority: Priority::Soon,
            spans: vec![span(1, 0, 65_536), span(2, 65_536, 300), span(3, 1 << 30, 262_144)],
        },
        Request::Cancel,
    ]
}

fn replies() -> Vec<Reply> {
    let name = |text: &str| RefName::new(text.as_bytes()).expect("a name");
    let id = Some(ObjectId::from_bytes([2; 20]));
    let header = ObjectHeader { kind: ObjectKind::Tree, len: 300 };
    let signatures = vec![PageSignature::from_bytes([8; 64])];
    let page = ManifestPage { len: 70_000, spans: vec![span(1, 5, 100)], signatures };
    let runs = vec![HeldRun { offset: 0, len: 65_536 }, HeldRun { offset: 70_000, len: 5 }];
    let chunk = StoredChunk { codec: 0, plain_len: 3, payload: (&b"abc"[..]).into() };
    vec![
        Reply::Record((&b"record"[..]).into()),
        Reply::Refs {
            refs: vec![
                RefLine { name: name("HEAD"), id, target: Some(name("refs/heads/a")) },
                RefLine { name: name("refs/heads/a"), id, target: None },
            ],
            more: true,
        },
        Reply::Headers(vec![None, Some(header)]),
        Reply::Bytes((&b"PACK"[..]).into()),
        Reply::End { absent: vec![0, 2] },
        Reply::Files(vec![Some(70_000), None, Some(0)]),
        Reply::Have { len: 80_000, held: Held::Runs(runs) },
        Reply::Have { len: 80_000, held: Held::All },
        Reply::Have { len: 40_000, held: Held::Bits { shift: 12, bits: vec![0xff, 3] } },
        Reply::Manifest(page),
        Reply::Chunk { index: 0, chunk },
        Reply::NotFound,
        Reply::Busy { retry_ms: 10 },
    ]
}
