//! The bytes of each message, written down: others speak this too.

use mega_storage::{
    ChunkId, ChunkRef, ChunkSpan, FileId, Held, HeldRun, ManifestPage, ObjectHeader, ObjectId,
    ObjectKind, PageSignature, PeerIdBytes, RefName, RepoName, StoredChunk,
};

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name(text: &str) -> RefName {
    RefName::new(text.as_bytes()).expect("a name")
}

fn object(byte: u8) -> ObjectId {
    ObjectId::from_bytes([byte; 20])
}

fn file(byte: u8) -> FileId {
    FileId::from_bytes([byte; 32])
}

fn span(byte: u8, offset: u64, len: u32) -> ChunkSpan {
    ChunkSpan { chunk: ChunkRef { id: ChunkId::from_bytes([byte; 32]), len }, offset }
}

#[test]
fn hello_and_open() {
    let mut out = Vec::new();
    Hello { features: 5, max_inflight: 0x0100_0000 }.encode(&mut out);
    assert_eq!(hex(&out), spelled("0000000f 00 00000000 0001 00000005 01000000"));
    let mut out = Vec::new();
    let protocol = "version=2".to_owned();
    Open { service: GitService::ReceivePack, repo: key(0x11), protocol }.encode(&mut out);
    let expected = "00000031 0a 00000000 01 (11*32) 0009 76657273696f6e3d32";
    assert_eq!(hex(&out), spelled(expected));
    let mut out = Vec::new();
    OpenAnswer::Opened.encode(&mut out);
    OpenAnswer::NotFound.encode(&mut out);
    assert_eq!(hex(&out), spelled("00000005 19 00000000 00000005 20 00000000"));
}

#[test]
fn requests() {
    let cases = [
        (
            Request::Resolve { name: RepoName::new("a/b").expect("a name") },
            "0000000a 01 00000007 0003 612f62",
        ),
        (
            Request::Refs { repo: key(1), after: Some(name("HEAD")), names: Vec::new() },
            "0000002d 02 00000007 (01*32) 0004 48454144 0000",
        ),
        (
            Request::Refs { repo: key(1), after: None, names: vec![name("HEAD")] },
            "0000002f 02 00000007 (01*32) 0000 0001 0004 48454144",
        ),
        (
            Request::Headers { repo: key(1), ids: vec![object(2)] },
            "0000003b 03 00000007 (01*32) 0001 (02*20)",
        ),
        (
            Request::Objects {
                repo: key(1),
                levels: 3,
                blob_len_max: 1024,
                history: 4,
                ids: vec![object(2)],
            },
            "0000004b 04 00000007 (01*32) 00000003 0000000000000400 00000004 0001 (02*20)",
        ),
        (
            Request::Files { repo: RepoKey::ANY, files: vec![file(9)] },
            "00000047 05 00000007 (00*32) 0001 (09*32)",
        ),
        (Request::Have { repo: key(1), file: file(9) }, "00000045 06 00000007 (01*32) (09*32)"),
        (
            Request::Manifest {
                repo: key(1),
                file: file(9),
                offset: 65_536,
                publisher: PeerIdBytes::new(&[6; 3]).expect("an id"),
            },
            "00000052 07 00000007 (01*32) (09*32) 0000000000010000 0003 (06*3)",
        ),
        (
            Request::Chunks {
                repo: key(1),
                file: file(9),
                priority: Priority::Soon,
                spans: vec![span(5, 65_536, 300)],
            },
            "00000074 08 00000007 (01*32) (09*32) 01 0001 0000000000010000 (05*32) 0000012c",
        ),
        (Request::Cancel, "00000005 09 00000007"),
    ];
    for (request, expected) in cases {
        let bytes = encoded(&request, 7);
        assert_eq!(hex(&bytes), spelled(expected), "{request:?}");
        assert_eq!(request_in(&bytes), Ok(request));
    }
    let bye = Request::Bye { reason: "so".to_owned() };
    assert_eq!(hex(&encoded(&bye, 0)), spelled("00000009 22 00000000 0002 736f"));
}

/// Hex without blanks, `(byte*count)` written out.
fn spelled(text: &str) -> String {
    let word = |word: &str| match word.strip_prefix('(').and_then(|w| w.strip_suffix(')')) {
        Some(run) => {
            let (byte, count) = run.split_once('*').expect("a byte and a count");
            byte.repeat(count.parse().expect("a count"))
        }
        None => word.to_owned(),
    };
    text.split(' ').map(word).collect()
}

#[test]
fn replies() {
    let both = RefLine { name: name("HEAD"), id: Some(object(2)), target: Some(name("refs/a/b")) };
    let header = ObjectHeader { kind: ObjectKind::Tag, len: 255 };
    let runs = vec![HeldRun { offset: 1, len: 2 }];
    let chunk = StoredChunk { codec: 2, plain_len: 300, payload: Bytes::from_static(b"xyz") };
    let signatures = vec![PageSignature::from_bytes([8; 64])];
    let page = ManifestPage { len: 70_000, spans: vec![span(5, 65_536, 300)], signatures };
    let cases = [
        (Reply::Record(Bytes::from_static(b"r")), "00000006 10 00000007 72"),
        (
            Reply::Refs { refs: vec![both], more: true },
            "0000002d 11 00000007 0001 0004 48454144 03 (02*20) 0008 726566732f612f62 01",
        ),
        (
            Reply::Headers(vec![None, Some(header)]),
            "00000019 12 00000007 0002 00 0000000000000000 04 00000000000000ff",
        ),
        (Reply::Bytes(Bytes::from_static(b"PA")), "00000007 13 00000007 5041"),
        (Reply::End { absent: vec![1, 63] }, "0000000b 14 00000007 0002 0001 003f"),
        (
            Reply::Files(vec![Some(5), None]),
            "00000019 15 00000007 0002 01 0000000000000005 00 0000000000000000",
        ),
        (Reply::Have { len: 9, held: Held::None }, "0000000e 16 00000007 0000000000000009 00"),
        (Reply::Have { len: 9, held: Held::All }, "0000000e 16 00000007 0000000000000009 01"),
        (
            Reply::Have { len: 9, held: Held::Runs(runs) },
            "00000020 16 00000007 0000000000000009 02 0001 0000000000000001 0000000000000002",
        ),
        (
            Reply::Have { len: 40_000, held: Held::Bits { shift: 12, bits: vec![0x81, 0x02] } },
            "00000011 16 00000007 0000000000009c40 03 0c 8102",
        ),
        (
            Reply::Manifest(page),
            "0000007b 17 00000007 0000000000011170 0000000000010000 0001 (05*32) 0000012c (08*64)",
        ),
        (Reply::Chunk { index: 4, chunk }, "0000000f 18 00000007 0004 02 0000012c 78797a"),
        (Reply::NotFound, "00000005 20 00000007"),
        (Reply::Busy { retry_ms: 250 }, "00000009 21 00000007 000000fa"),
    ];
    for (reply, expected) in cases {
        let bytes = encoded_reply(&reply, 7);
        assert_eq!(hex(&bytes), spelled(expected), "{reply:?}");
        assert_eq!(reply_in(&bytes), Ok(reply));
    }
    let bye = Reply::Bye { reason: "so".to_owned() };
    assert_eq!(hex(&encoded_reply(&bye, 0)), spelled("00000009 22 00000000 0002 736f"));
}
