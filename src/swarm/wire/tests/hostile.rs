//! What a hostile peer may send: every limit at the limit and one past it, and all that makes no
//! sense.

use mega_storage::{
    CHUNK_LEN_MAX, FILE_LEN_MAX, HELD_BITS_LEN_MAX, HELD_RUNS_MAX, Held, PEER_ID_LEN_MAX,
    SIGNED_CHUNKS,
};

use super::limits::*;
use super::*;

/// The front of a frame that announces `len` bytes.
fn front(len: u32, code: u8) -> Vec<u8> {
    [&len.to_be_bytes()[..], &[code]].concat()
}

#[test]
fn a_frame_is_judged_by_its_first_five_bytes() {
    for kind in Kind::ALL {
        for side in [Side::Asker, Side::Answerer] {
            let limit = u32::try_from(kind.body_len_max() + HEAD_LEN).expect("a mebibyte at most");
            let judge = |len: u32| {
                let bytes = [&front(len, kind.code())[..], &[0xee; 100]].concat();
                let mut input = &bytes[..];
                let found = Frames::new(side).next(&mut input).map(|_| ());
                (found, bytes.len() - input.len())
            };
            if !kind.is_from(side) {
                assert_eq!(judge(limit), (Err(WireError::Misplaced { kind }), 5));
                continue;
            }
            assert_eq!(judge(limit).0, Ok(()), "{kind}");
            let (found, taken) = judge(limit + 1);
            assert_eq!(taken, 5, "nothing of it is taken");
            let len = limit + 1;
            assert_eq!(found, Err(WireError::Oversize { kind, len, limit: limit as usize }));
            assert!(matches!(judge(u32::MAX), (Err(WireError::Oversize { .. }), 5)));
            assert_eq!(judge(4), (Err(WireError::Undersize { len: 4 }), 5));
            assert!(limit as usize <= REST_LEN_MAX);
        }
    }
    for code in (0..=255).filter(|code| Kind::from_code(*code).is_none()) {
        let mut frames = Frames::new(Side::Asker);
        let unknown = Err(WireError::UnknownType { code });
        assert_eq!(frames.next(&mut &front(5, code)[..]), unknown);
        // It stays so, whatever comes after.
        assert_eq!(frames.next(&mut &raw(Kind::Cancel, 1, b"")[..]), unknown);
    }
    assert!(Kind::ALL.map(Kind::code).is_sorted_by(|a, b| a < b), "each has its own number");
}

#[test]
fn a_frame_that_never_ends_is_no_frame() {
    let file = mega_storage::FileId::from_bytes([1; 32]);
    let bytes = encoded(&Request::Have { repo: key(1), file }, 9);
    for len in 0..bytes.len() {
        let mut frames = Frames::new(Side::Asker);
        let mut input = &bytes[..len];
        assert_eq!(frames.next(&mut input), Ok(None));
        assert!(input.is_empty());
        assert_eq!(frames.is_between(), len == 0, "{len}");
        let mut input = &bytes[len..];
        assert!(frames.next(&mut input).expect("good").is_some() && frames.is_between());
    }
}

#[test]
fn hello_says_its_version_first() {
    let hello = |body: &[u8]| Hello::decode(&frame_in(Side::Asker, &raw(Kind::Hello, 0, body))?);
    let body = |version: u16, features: u32, max: u32| {
        [&version.to_be_bytes()[..], &features.to_be_bytes(), &max.to_be_bytes()].concat()
    };
    let good = Hello { features: u32::MAX, max_inflight: CHUNK_LEN_MAX };
    assert_eq!(hello(&body(1, u32::MAX, CHUNK_LEN_MAX)), Ok(good), "unknown features mean nothing");
    for found in [0, 2, u16::MAX] {
        assert_eq!(hello(&body(found, 0, 1 << 20)), Err(WireError::Version { found }));
    }
    // A version that says less is a version all the same.
    assert_eq!(hello(&[0, 2]), Err(WireError::Version { found: 2 }));
    let kind = Kind::Hello;
    assert_eq!(hello(&[0]), Err(WireError::Truncated { kind }));
    assert_eq!(hello(&body(1, 0, 1 << 20)[..9]), Err(WireError::Truncated { kind }));
    assert!(matches!(hello(&body(1, 0, CHUNK_LEN_MAX - 1)), Err(WireError::Malformed { .. })));
    let numbered = raw(Kind::Hello, 1, &body(1, 0, 1 << 20));
    let frame = frame_in(Side::Answerer, &numbered).expect("a frame");
    assert!(matches!(Hello::decode(&frame), Err(WireError::Malformed { .. })));
    assert_eq!(Request::decode(&frame), Err(WireError::Misplaced { kind }), "no second one");
    assert_eq!(Reply::decode(&frame), Err(WireError::Misplaced { kind }));
    let first = frame_in(Side::Asker, &raw(Kind::Cancel, 1, b"")).expect("a frame");
    assert_eq!(Hello::decode(&first), Err(WireError::Misplaced { kind: Kind::Cancel }));
}

fn refused_request(kind: Kind, body: &[u8]) -> String {
    request_in(&raw(kind, 1, body)).expect_err("refused").to_string()
}

fn refused_reply(kind: Kind, body: &[u8]) -> String {
    reply_in(&raw(kind, 1, body)).expect_err("refused").to_string()
}

/// A repository, then a list of so many items of so many bytes.
fn listed(front: &[u8], count: usize, item_len: usize) -> Vec<u8> {
    let count = u16::try_from(count).expect("small");
    let items = vec![7; usize::from(count) * item_len];
    [front, &count.to_be_bytes(), &items].concat()
}

#[test]
fn lists_of_requests_at_their_limits_and_past_them() {
    let rid = [1u8; 32];
    let numbers = [&rid[..], &[0; 16]].concat();
    let lists = [
        (Kind::Headers, &rid[..], HEADERS_MAX, 20),
        (Kind::Objects, &numbers[..], OBJECTS_MAX, 20),
        (Kind::Files, &rid[..], FILES_MAX, 32),
    ];
    for (kind, front, limit, item_len) in lists {
        request_in(&raw(kind, 1, &listed(front, limit, item_len))).expect("at the limit");
        // A longer frame is refused as such; a count that lies, by itself.
        let mut body = listed(front, limit, item_len);
        let count = u16::try_from(limit + 1).expect("small").to_be_bytes();
        body[front.len()..][..2].copy_from_slice(&count);
        assert!(refused_request(kind, &body).contains("over the limit"), "{kind}");
        let longer = raw(kind, 1, &listed(front, limit + 1, item_len));
        assert!(matches!(request_in(&longer), Err(WireError::Oversize { .. })));
        assert!(refused_request(kind, &listed(front, 0, item_len)).contains("empty"), "{kind}");
    }
    let refs = |after: &[u8], names: &[&[u8]]| {
        let mut body = rid.to_vec();
        body.extend_from_slice(&u16::try_from(after.len()).expect("small").to_be_bytes());
        body.extend_from_slice(after);
        body.extend_from_slice(&u16::try_from(names.len()).expect("small").to_be_bytes());
        for name in names {
            body.extend_from_slice(&u16::try_from(name.len()).expect("small").to_be_bytes());
            body.extend_from_slice(name);
        }
        body
    };
    request_in(&raw(Kind::Refs, 1, &refs(b"", &[&b"HEAD"[..]; 64]))).expect("at the limit");
    assert!(refused_request(Kind::Refs, &refs(b"", &[&b"HEAD"[..]; 65])).contains("65 names"));
    let long = [b"refs/", &[b'x'; 1019][..]].concat();
    request_in(&raw(Kind::Refs, 1, &refs(&long, &[&long]))).expect("at the limit");
    let longer = [b"refs/", &[b'x'; 1020][..]].concat();
    assert!(refused_request(Kind::Refs, &refs(&longer, &[])).contains("1025 bytes"));
    assert!(refused_request(Kind::Refs, &refs(b"", &[&longer])).contains("1025 bytes"));
    for name in [&b"refs/a..b"[..], b"heads/a", b"refs/\xff\0"] {
        assert!(refused_request(Kind::Refs, &refs(name, &[])).contains("no reference's name"));
    }
    let resolve = |name: &[u8]| {
        let len = u16::try_from(name.len()).expect("small");
        [&len.to_be_bytes()[..], name].concat()
    };
    let long = ["x"; 4].map(|x| x.repeat(100)).join("/");
    assert_eq!(long.len(), REPO_NAME_LEN_MAX);
    request_in(&raw(Kind::Resolve, 1, &resolve(long.as_bytes()))).expect("at the limit");
    for name in [&b"../x"[..], b"", b"\xff", b"v1/x"] {
        refused_request(Kind::Resolve, &resolve(name));
    }
    assert!(refused_request(Kind::Resolve, &[0xff, 0xff, b'a']).contains("over the limit"));
}

#[test]
fn any_repository_is_for_files_alone() {
    let (any, file) = ([0u8; 32], [9u8; 32]);
    let refs = [&any[..], &[0, 0, 0, 0]].concat();
    let objects = [&any[..], &[0; 16]].concat();
    for (kind, body) in [
        (Kind::Refs, refs),
        (Kind::Headers, listed(&any, 1, 20)),
        (Kind::Objects, listed(&objects, 1, 20)),
    ] {
        assert!(refused_request(kind, &body).contains("name a repository"), "{kind}");
    }
    request_in(&raw(Kind::Have, 1, &[any, file].concat())).expect("any public one");
    let open = [&[0u8][..], &any, &[0, 0]].concat();
    let frame = frame_in(Side::Asker, &raw(Kind::Open, 0, &open)).expect("a frame");
    assert!(matches!(Open::decode(&frame), Err(WireError::Malformed { .. })));
}

fn chunks(urgency: u8, spans: &[(u64, u32)]) -> Vec<u8> {
    let mut body = vec![1; 64];
    body.push(urgency);
    body.extend_from_slice(&u16::try_from(spans.len()).expect("small").to_be_bytes());
    for (offset, len) in spans {
        body.extend_from_slice(&offset.to_be_bytes());
        body.extend_from_slice(&[5; 32]);
        body.extend_from_slice(&len.to_be_bytes());
    }
    body
}

#[test]
fn chunks_ascend_within_a_file() {
    let max = CHUNK_LEN_MAX;
    let all: Vec<(u64, u32)> = (0..64).map(|i| (i * u64::from(max), max)).collect();
    let request = request_in(&raw(Kind::Chunks, 1, &chunks(2, &all))).expect("at the limit");
    assert_eq!(request.asked_len(), u64::from(IN_FLIGHT_LEN_MAX));
    let more = [&all[..], &[(1 << 40, 1)]].concat();
    assert!(matches!(
        request_in(&raw(Kind::Chunks, 1, &chunks(2, &more))),
        Err(WireError::Oversize { .. })
    ));
    request_in(&raw(Kind::Chunks, 1, &chunks(0, &[(FILE_LEN_MAX, 1)]))).expect("at the limit");
    for spans in [
        &[(0, 0)][..],
        &[(0, max + 1)],
        &[(FILE_LEN_MAX + 1, 1)],
        &[(u64::MAX, max)],
        &[(0, 10), (9, 10)],
        &[(10, 10), (0, 10)],
        &[(0, 10), (0, 10)],
        &[],
    ] {
        refused_request(Kind::Chunks, &chunks(0, spans));
    }
    assert!(refused_request(Kind::Chunks, &chunks(3, &[(0, 1)])).contains("urgency"));
    let manifest = |offset: u64, id_len: usize| {
        let count = u16::try_from(id_len).expect("small").to_be_bytes();
        [&[1; 64][..], &offset.to_be_bytes(), &count, &vec![7; id_len]].concat()
    };
    let longest = manifest(FILE_LEN_MAX, PEER_ID_LEN_MAX);
    request_in(&raw(Kind::Manifest, 1, &longest)).expect("at the limits");
    refused_request(Kind::Manifest, &manifest(FILE_LEN_MAX + 1, 38));
    refused_request(Kind::Manifest, &manifest(0, 0));
    let longer = raw(Kind::Manifest, 1, &manifest(0, PEER_ID_LEN_MAX + 1));
    assert!(matches!(request_in(&longer), Err(WireError::Oversize { .. })));
}

fn have(len: u64, kind: u8, rest: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes()[..], &[kind], rest].concat()
}

fn runs(all: &[(u64, u64)]) -> Vec<u8> {
    let mut out = u16::try_from(all.len()).expect("small").to_be_bytes().to_vec();
    for (offset, len) in all {
        out.extend_from_slice(&offset.to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
    }
    out
}

#[test]
fn lists_of_what_is_here_make_sense() {
    let good = |len, kind, rest: &[u8]| reply_in(&raw(Kind::HaveList, 1, &have(len, kind, rest)));
    let bad = |len, kind, rest: &[u8]| refused_reply(Kind::HaveList, &have(len, kind, rest));
    let many: Vec<(u64, u64)> = (0..HELD_RUNS_MAX as u64).map(|i| (i * 2, 1)).collect();
    good(10_000, 2, &runs(&many)).expect("at the limit");
    let more = [&many[..], &[(9_000, 1)]].concat();
    assert!(bad(10_000, 2, &runs(&more)).contains("over the limit"));
    let lie = [&4_097u16.to_be_bytes()[..], &runs(&many)[2..]].concat();
    assert!(bad(10_000, 2, &lie).contains("4097 runs"));
    good(10, 2, &runs(&[(0, 3), (4, 6)])).expect("a byte between them, up to the end");
    for wrong in [
        &[][..],
        &[(0, 0)],
        &[(0, 3), (3, 2)],
        &[(0, 3), (2, 2)],
        &[(5, 1), (0, 1)],
        &[(0, 11)],
        &[(10, 1)],
        &[(u64::MAX, 2)],
        &[(2, u64::MAX)],
    ] {
        bad(10, 2, &runs(wrong));
    }
    good(FILE_LEN_MAX, 1, &[]).expect("at the limit");
    bad(FILE_LEN_MAX + 1, 1, &[]);
    bad(10, 4, &[]);
    assert!(bad(10, 0, &[0]).contains("follow"));
    // Bits: as many bytes as there are granules for, of a size that may be.
    good(4096 * 8, 3, &[12, 0xff]).expect("eight granules");
    for wrong in [&[12][..], &[12, 1, 1], &[11, 1], &[41, 1], &[]] {
        bad(4096 * 8, 3, wrong);
    }
    good(4096 * 8 + 1, 3, &[12, 0xff, 1]).expect("nine");
    assert!(bad(4096 * 8 + 1, 3, &[12, 0xff, 2]).contains("beyond"));
    let len = (HELD_BITS_LEN_MAX as u64 * 8) << 12;
    let bits = [&[12][..], &vec![0xff; HELD_BITS_LEN_MAX]].concat();
    assert!(matches!(good(len, 3, &bits), Ok(Reply::Have { held: Held::Bits { .. }, .. })));
    let longer = [&bits[..], &[1]].concat();
    assert!(bad(len + 1, 3, &longer).contains("over the limit"));
}

#[test]
fn pages_and_lists_of_answers_make_sense() {
    let page = |len: u64, first: u64, lens: &[u32]| {
        let mut body = [len.to_be_bytes(), first.to_be_bytes()].concat();
        body.extend_from_slice(&u16::try_from(lens.len()).expect("small").to_be_bytes());
        for len in lens {
            body.extend_from_slice(&[5; 32]);
            body.extend_from_slice(&len.to_be_bytes());
        }
        body.extend(vec![8; 64 * lens.len().div_ceil(SIGNED_CHUNKS)]);
        body
    };
    let max = CHUNK_LEN_MAX;
    let good = |body: &[u8]| reply_in(&raw(Kind::ManifestPage, 1, body));
    good(&page(1 << 40, 0, &vec![max; PAGE_CHUNKS_MAX])).expect("at the limit");
    let more = page(1 << 40, 0, &vec![max; PAGE_CHUNKS_MAX + 1]);
    assert!(matches!(good(&more), Err(WireError::Oversize { .. })));
    good(&page(10, 4, &[3, 3])).expect("up to the end");
    good(&page(0, 0, &[])).expect("an empty file");
    for wrong in [
        page(10, 4, &[3, 4]),
        page(10, 4, &[]),
        page(10, 10, &[]),
        page(10, 11, &[]),
        // One signature more than there are parts, and one less.
        [&page(10, 4, &[3])[..], &[8; 64]].concat(),
        page(1 << 30, 0, &vec![1; SIGNED_CHUNKS + 1])[..18 + 36 * (SIGNED_CHUNKS + 1) + 64]
            .to_vec(),
        page(10, 4, &[3])[..18 + 36 + 63].to_vec(),
        page(10, 4, &[0]),
        page(1 << 30, 0, &[max + 1]),
        page(FILE_LEN_MAX + 1, 0, &[1]),
    ] {
        refused_reply(Kind::ManifestPage, &wrong);
    }
    let header = |kind: u8, len: u64| [&[0, 1, kind][..], &len.to_be_bytes()].concat();
    for wrong in [header(0, 1), header(5, 1), header(255, 1)] {
        refused_reply(Kind::ObjectHeaders, &wrong);
    }
    for wrong in [header(0, 1), header(2, 1), header(1, FILE_LEN_MAX + 1)] {
        refused_reply(Kind::FileLens, &wrong);
    }
    refused_reply(Kind::End, &[0, 2, 0, 1, 0, 1]);
    refused_reply(Kind::End, &[0, 2, 0, 2, 0, 1]);
    refused_reply(Kind::End, &[0, 1, 0, 64]);
    let line = |flags: u8, rest: &[u8], more: u8| {
        [&[0, 1, 0, 4][..], b"HEAD", &[flags], rest, &[more]].concat()
    };
    reply_in(&raw(Kind::RefsPage, 1, &line(1, &[7; 20], 0))).expect("good");
    for wrong in [line(0, &[], 0), line(4, &[], 0), line(1, &[7; 20], 2), vec![0, 0, 1]] {
        refused_reply(Kind::RefsPage, &wrong);
    }
    let twice = [&[0, 2][..], &line(1, &[7; 20], 0)[2..29], &line(1, &[7; 20], 0)[2..]].concat();
    assert!(refused_reply(Kind::RefsPage, &twice).contains("ascend"));
}

#[test]
fn content_has_its_limits() {
    let chunk = |index: u16, plain_len: u32, len: usize| {
        let front = [&index.to_be_bytes()[..], &[1], &plain_len.to_be_bytes()].concat();
        [&front[..], &vec![0; len]].concat()
    };
    let max = CHUNK_LEN_MAX;
    reply_in(&raw(Kind::Chunk, 1, &chunk(63, max, max as usize))).expect("at the limit");
    let longer = raw(Kind::Chunk, 1, &chunk(63, max, max as usize + 1));
    assert!(matches!(reply_in(&longer), Err(WireError::Oversize { .. })));
    for wrong in [
        chunk(64, 10, 10),
        chunk(0, 0, 1),
        chunk(0, max + 1, 10),
        chunk(0, 10, 0),
        // Longer than what it stands for.
        chunk(0, 10, 11),
    ] {
        refused_reply(Kind::Chunk, &wrong);
    }
    for (kind, limit) in [(Kind::Record, RECORD_LEN_MAX), (Kind::Bytes, PIECE_LEN_MAX)] {
        reply_in(&raw(kind, 1, &vec![0; limit])).expect("at the limit");
        let longer = raw(kind, 1, &vec![0; limit + 1]);
        assert!(matches!(reply_in(&longer), Err(WireError::Oversize { .. })));
        assert!(refused_reply(kind, &[]).contains("empty"));
    }
    let bye = |len: usize| {
        let front = u16::try_from(len).expect("small").to_be_bytes();
        raw(Kind::Bye, 0, &[&front[..], &vec![b'x'; len]].concat())
    };
    reply_in(&bye(REASON_LEN_MAX)).expect("at the limit");
    assert!(matches!(reply_in(&bye(REASON_LEN_MAX + 1)), Err(WireError::Oversize { .. })));
    assert!(refused_reply(Kind::Bye, &[0, 1, b'x']).contains("request's id"));
    assert!(matches!(
        request_in(&raw(Kind::Bye, 0, &[0, 1, 0xff])),
        Err(WireError::Malformed { .. })
    ));
}

#[test]
#[should_panic(expected = "are written")]
fn nothing_over_a_limit_is_written() {
    let ids = vec![mega_storage::ObjectId::NULL; HEADERS_MAX + 1];
    encoded(&Request::Headers { repo: key(1), ids }, 1);
}
