//! Answers that do not belong to what was asked.

use mega_storage::{
    ChunkId, ChunkRef, ChunkSpan, FileId, Held, ManifestPage, ObjectId, StoredChunk,
};

use super::*;

fn chunks(count: u32) -> Answering {
    let span = |i: u32| ChunkSpan {
        chunk: ChunkRef { id: ChunkId::from_bytes([0; 32]), len: 100 + i },
        offset: u64::from(i) * 1_000,
    };
    let spans = (0..count).map(span).collect();
    let (repo, file) = (RepoKey::ANY, FileId::from_bytes([1; 32]));
    Answering::new(&Request::Chunks { repo, file, priority: Priority::Now, spans })
}

fn chunk(index: u16) -> Reply {
    let (plain_len, payload) = (100 + u32::from(index), Bytes::from_static(b"x"));
    Reply::Chunk { index, chunk: StoredChunk { codec: 0, plain_len, payload } }
}

fn end(absent: &[u16]) -> Reply {
    Reply::End { absent: absent.to_vec() }
}

#[test]
fn chunks_come_in_order_and_what_did_not_come_is_absent() {
    let mut answering = chunks(4);
    assert_eq!(answering.take(&chunk(0)), Ok(Step::More));
    assert_eq!(answering.take(&chunk(2)), Ok(Step::More));
    assert_eq!(answering.clone().take(&end(&[1, 3])), Ok(Step::Last));
    for wrong in [end(&[]), end(&[1]), end(&[1, 2, 3]), end(&[3]), chunk(2), chunk(1), chunk(4)] {
        assert!(answering.clone().take(&wrong).is_err(), "{wrong:?}");
    }
    let other_len = Reply::Chunk {
        index: 3,
        chunk: StoredChunk { codec: 0, plain_len: 102, payload: Bytes::from_static(b"x") },
    };
    assert!(answering.clone().take(&other_len).is_err());
    assert_eq!(answering.take(&Reply::NotFound), Ok(Step::Last), "cancelled in between");
    assert!(answering.is_over() && answering.take(&Reply::NotFound).is_err());
}

#[test]
fn each_question_has_its_kind_of_answer() {
    let (repo, file) = (key(1), FileId::from_bytes([1; 32]));
    let name = mega_storage::RepoName::new("a").expect("a name");
    let publisher = mega_storage::PeerIdBytes::new(&[1; 38]).expect("an id");
    let ids = vec![ObjectId::NULL; 2];
    let objects =
        Request::Objects { repo, levels: 0, blob_len_max: 0, history: 0, ids: ids.clone() };
    let requests = [
        Request::Resolve { name },
        Request::Refs { repo, after: None, names: Vec::new() },
        Request::Headers { repo, ids },
        objects,
        Request::Files { repo, files: vec![file; 3] },
        Request::Have { repo, file },
        Request::Manifest { repo, file, offset: 0, publisher },
    ];
    let replies = [
        Reply::Record(Bytes::from_static(b"r")),
        Reply::Refs { refs: Vec::new(), more: false },
        Reply::Headers(vec![None; 2]),
        end(&[]),
        Reply::Files(vec![None; 3]),
        Reply::Have { len: 1, held: Held::All },
        Reply::Manifest(ManifestPage::unsigned(0, Vec::new())),
    ];
    for (asked, request) in requests.iter().enumerate() {
        for (given, reply) in replies.iter().enumerate() {
            let step = Answering::new(request).take(reply);
            assert_eq!(step == Ok(Step::Last), asked == given, "{request:?} {reply:?}");
        }
        for last in [Reply::NotFound, Reply::Busy { retry_ms: 1 }] {
            let mut answering = Answering::new(request);
            assert_eq!(answering.take(&last), Ok(Step::Last));
            assert!(answering.take(&last).is_err());
        }
    }
    for (asked, wrong) in [
        (2, Reply::Headers(vec![None; 3])),
        (4, Reply::Files(vec![None; 2])),
        (3, end(&[0])),
        (3, chunk(0)),
    ] {
        assert!(Answering::new(&requests[asked]).take(&wrong).is_err());
    }
    let mut pack = Answering::new(&requests[3]);
    let piece = Reply::Bytes(Bytes::from_static(b"PACK"));
    assert_eq!((pack.take(&piece), pack.take(&piece)), (Ok(Step::More), Ok(Step::More)));
    assert_eq!(pack.take(&end(&[])), Ok(Step::Last));
    assert!(Answering::new(&Request::Cancel).take(&Reply::NotFound).is_err());
}
