//! Every message, at random, through frames that are cut at random; cut short at each byte; with a
//! byte after its end.

use mega_storage::{
    CHUNK_LEN_MAX, ChunkId, ChunkRef, ChunkSpan, FILE_LEN_MAX, FileId, Held, HeldRun, ManifestPage,
    ObjectHeader, ObjectId, ObjectKind, PEER_ID_LEN_MAX, PageSignature, PeerIdBytes, RefName,
    RepoName, SIGNED_CHUNKS, StoredChunk,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn repo() -> impl Strategy<Value = RepoKey> {
    any::<[u8; 32]>().prop_filter("not any", |b| *b != [0; 32]).prop_map(RepoKey::from_bytes)
}

fn any_repo() -> impl Strategy<Value = RepoKey> {
    prop_oneof![Just(RepoKey::ANY), repo()]
}

fn file() -> impl Strategy<Value = FileId> {
    any::<[u8; 32]>().prop_map(FileId::from_bytes)
}

fn objects() -> impl Strategy<Value = Vec<ObjectId>> {
    vec(any::<[u8; 20]>().prop_map(ObjectId::from_bytes), 1..20)
}

fn ref_name() -> impl Strategy<Value = RefName> {
    let text = "refs/[a-z]{1,8}/[a-z0-9]{1,40}"
        .prop_map(|text| RefName::new(text.as_bytes()).unwrap_or_else(|_| RefName::head()));
    prop_oneof![1 => Just(RefName::head()), 9 => text]
}

/// Chunks with gaps, ascending.
fn spans(max: usize) -> impl Strategy<Value = Vec<ChunkSpan>> {
    vec((any::<[u8; 32]>(), 1..=CHUNK_LEN_MAX, 0u64..3), 1..max).prop_map(|parts| {
        let mut offset = 7;
        let span = |(id, len, gap): ([u8; 32], u32, u64)| {
            offset += gap;
            let chunk = ChunkRef { id: ChunkId::from_bytes(id), len };
            let span = ChunkSpan { chunk, offset };
            offset += u64::from(len);
            span
        };
        parts.into_iter().map(span).collect()
    })
}

fn request() -> impl Strategy<Value = Request> {
    let name = "[a-z]{1,9}(/[a-z0-9]{1,9}){0,3}"
        .prop_filter_map("reserved", |text| RepoName::new(&text).ok());
    let priority =
        prop_oneof![Just(Priority::Now), Just(Priority::Soon), Just(Priority::Background)];
    prop_oneof![
        name.prop_map(|name| Request::Resolve { name }),
        (repo(), proptest::option::of(ref_name()), vec(ref_name(), 0..9))
            .prop_map(|(repo, after, names)| Request::Refs { repo, after, names }),
        (repo(), objects()).prop_map(|(repo, ids)| Request::Headers { repo, ids }),
        (repo(), any::<(u32, u64, u32)>(), objects()).prop_map(|(repo, numbers, ids)| {
            let (levels, blob_len_max, history) = numbers;
            Request::Objects { repo, levels, blob_len_max, history, ids }
        }),
        (any_repo(), vec(file(), 1..9)).prop_map(|(repo, files)| Request::Files { repo, files }),
        (any_repo(), file()).prop_map(|(repo, file)| Request::Have { repo, file }),
        (any_repo(), file(), 0..=FILE_LEN_MAX, vec(any::<u8>(), 1..=PEER_ID_LEN_MAX)).prop_map(
            |(repo, file, offset, publisher)| {
                let publisher = PeerIdBytes::new(&publisher).expect("of a good length");
                Request::Manifest { repo, file, offset, publisher }
            }
        ),
        (any_repo(), file(), priority, spans(9)).prop_map(|(repo, file, priority, spans)| {
            Request::Chunks { repo, file, priority, spans }
        }),
        Just(Request::Cancel),
    ]
}

fn content(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 1..max).prop_map(Bytes::from)
}

fn held() -> impl Strategy<Value = (u64, Held)> {
    let runs = vec((1u64..9_000, 1u64..9_000), 1..40).prop_map(|parts| {
        let mut at = 0;
        let run = |(gap, len): (u64, u64)| {
            let run = HeldRun { offset: at + gap, len };
            at = run.end();
            run
        };
        let runs: Vec<HeldRun> = parts.into_iter().map(run).collect();
        (at + 5, Held::Runs(runs))
    });
    let bits = (1u64..4_000_000, 12u8..=40, any::<u8>()).prop_map(|(len, shift, byte)| {
        let count = usize::try_from(Held::bits_len(len, shift)).expect("small");
        let mut bits = vec![byte; count];
        let used = len.div_ceil(1 << shift) % 8;
        if used > 0
            && let Some(last) = bits.last_mut()
        {
            *last &= (1 << used) - 1;
        }
        (len, Held::Bits { shift, bits })
    });
    prop_oneof![
        (0..=FILE_LEN_MAX).prop_map(|len| (len, Held::None)),
        (0..=FILE_LEN_MAX).prop_map(|len| (len, Held::All)),
        runs,
        bits,
    ]
}

fn manifest() -> impl Strategy<Value = ManifestPage> {
    let some = (spans(9), 0u64..99, any::<u8>()).prop_map(|(mut spans, after, byte)| {
        let mut offset = spans[0].offset;
        for span in &mut spans {
            span.offset = offset;
            offset += u64::from(span.chunk.len);
        }
        let signatures = vec![PageSignature::from_bytes([byte; 64])];
        ManifestPage { len: offset + after, spans, signatures }
    });
    let many = (SIGNED_CHUNKS - 1..2 * SIGNED_CHUNKS).prop_map(|count| {
        let chunk = ChunkRef { id: ChunkId::from_bytes([3; 32]), len: 10 };
        let spans = (0..count as u64).map(|n| ChunkSpan { chunk, offset: n * 10 }).collect();
        let signatures = (0..count.div_ceil(SIGNED_CHUNKS)).map(|n| n as u8);
        let signatures = signatures.map(|n| PageSignature::from_bytes([n; 64])).collect();
        ManifestPage { len: 1 << 20, spans, signatures }
    });
    let none = Just(ManifestPage::unsigned(0, Vec::new()));
    prop_oneof![6 => some, 1 => many, 1 => none]
}

fn reply() -> impl Strategy<Value = Reply> {
    let id = proptest::option::of(any::<[u8; 20]>().prop_map(ObjectId::from_bytes));
    let line = (ref_name(), id, proptest::option::of(ref_name()));
    let refs = (vec(line, 0..9), any::<bool>()).prop_map(|(lines, more)| {
        let lines = lines.into_iter().map(|(name, id, target)| {
            let id = id.or_else(|| target.is_none().then_some(ObjectId::NULL));
            (name.clone(), RefLine { name, id, target })
        });
        let refs: std::collections::BTreeMap<_, _> = lines.collect();
        let refs: Vec<RefLine> = refs.into_values().collect();
        let more = more && !refs.is_empty();
        Reply::Refs { refs, more }
    });
    let kinds = [ObjectKind::Commit, ObjectKind::Tree, ObjectKind::Blob, ObjectKind::Tag];
    let header = (0..4usize, any::<u64>())
        .prop_map(move |(kind, len)| ObjectHeader { kind: kinds[kind], len });
    let chunk = (0u16..64, any::<u8>(), content(300), 0u32..99).prop_map(
        |(index, codec, payload, more)| {
            let plain_len = payload.len() as u32 + more;
            Reply::Chunk { index, chunk: StoredChunk { codec, plain_len, payload } }
        },
    );
    prop_oneof![
        content(300).prop_map(Reply::Record),
        refs,
        vec(proptest::option::of(header), 1..9).prop_map(Reply::Headers),
        content(300).prop_map(Reply::Bytes),
        proptest::collection::btree_set(0u16..64, 0..9)
            .prop_map(|absent| Reply::End { absent: absent.into_iter().collect() }),
        vec(proptest::option::of(0..=FILE_LEN_MAX), 1..9).prop_map(Reply::Files),
        held().prop_map(|(len, held)| Reply::Have { len, held }),
        manifest().prop_map(Reply::Manifest),
        chunk,
        Just(Reply::NotFound),
        any::<u32>().prop_map(|retry_ms| Reply::Busy { retry_ms }),
    ]
}

/// Feeds a stream in pieces of these lengths, over and over.
fn cut(from: Side, bytes: &[u8], lens: &[usize]) -> Vec<Frame> {
    let (mut frames, mut found, mut rest) = (Frames::new(from), Vec::new(), bytes);
    for len in lens.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut piece, after) = rest.split_at((*len).min(rest.len()));
        while let Some(frame) = frames.next(&mut piece).expect("good frames") {
            found.push(frame);
        }
        assert!(piece.is_empty(), "what was given was taken");
        rest = after;
    }
    assert!(frames.is_between());
    found
}

/// A frame of the same type with another body.
fn with_body(frame: &Frame, body: Bytes) -> Frame {
    Frame { body, ..frame.clone() }
}

proptest! {
    #[test]
    fn requests(
        all in vec((request(), any::<u32>()), 1..6),
        lens in vec(1usize..60, 1..9),
    ) {
        let mut bytes = Vec::new();
        for (request, id) in &all {
            request.encode(RequestId(*id), &mut bytes);
        }
        let frames = cut(Side::Asker, &bytes, &lens);
        prop_assert_eq!(frames.len(), all.len());
        for (frame, (request, id)) in frames.iter().zip(&all) {
            prop_assert_eq!(frame.id, RequestId(*id));
            prop_assert_eq!(Request::decode(frame), Ok(request.clone()));
            for len in 0..frame.body.len() {
                prop_assert!(Request::decode(&with_body(frame, frame.body.slice(..len))).is_err());
            }
            let longer = Bytes::from([&frame.body[..], &[0]].concat());
            prop_assert!(Request::decode(&with_body(frame, longer)).is_err());
            prop_assert!(Reply::decode(frame).is_err());
        }
    }

    #[test]
    fn replies(
        all in vec((reply(), any::<u32>()), 1..6),
        lens in vec(1usize..60, 1..9),
    ) {
        let mut bytes = Vec::new();
        for (reply, id) in &all {
            reply.encode(RequestId(*id), &mut bytes);
        }
        let frames = cut(Side::Answerer, &bytes, &lens);
        prop_assert_eq!(frames.len(), all.len());
        for (frame, (reply, id)) in frames.iter().zip(&all) {
            prop_assert_eq!(frame.id, RequestId(*id));
            prop_assert_eq!(Reply::decode(frame), Ok(reply.clone()));
            prop_assert!(Request::decode(frame).is_err());
            // What ends in content may end anywhere in it.
            let (front, has_content) = match reply {
                Reply::Record(_) | Reply::Bytes(_) => (1, true),
                Reply::Chunk { .. } => (8, true),
                _ => (frame.body.len(), false),
            };
            for len in 0..front {
                prop_assert!(Reply::decode(&with_body(frame, frame.body.slice(..len))).is_err());
            }
            if !has_content {
                let longer = Bytes::from([&frame.body[..], &[0]].concat());
                prop_assert!(Reply::decode(&with_body(frame, longer)).is_err());
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_and_written_the_same(
        code in proptest::sample::select(Kind::ALL.to_vec()),
        id in any::<u32>(),
        body in vec(any::<u8>(), 0..200),
    ) {
        let frame = Frame { kind: code, id: RequestId(id), body: body.into() };
        let written = raw(frame.kind, id, &frame.body);
        if let Ok(request) = Request::decode(&frame) {
            prop_assert_eq!(&encoded(&request, id), &written);
        }
        if let Ok(reply) = Reply::decode(&frame) {
            prop_assert_eq!(&encoded_reply(&reply, id), &written);
        }
    }
}

#[test]
fn content_is_not_copied_out_of_its_frame() {
    let chunk = StoredChunk { codec: 0, plain_len: 9, payload: Bytes::from_static(b"123456789") };
    let bytes = encoded_reply(&Reply::Chunk { index: 3, chunk }, 1);
    let frame = frame_in(Side::Answerer, &bytes).expect("a frame");
    let Ok(Reply::Chunk { chunk, .. }) = Reply::decode(&frame) else { panic!("a chunk") };
    assert_eq!(chunk.payload.as_ptr(), frame.body[7..].as_ptr());
    let mut front = Vec::new();
    let reply = Reply::Chunk { index: 3, chunk: chunk.clone() };
    let tail = reply.encode_front(RequestId(1), &mut front);
    assert_eq!(tail.as_ptr(), chunk.payload.as_ptr());
    assert_eq!([&front[..], &tail].concat(), bytes);
}
