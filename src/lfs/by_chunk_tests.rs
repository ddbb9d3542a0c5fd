//! Downloads by chunk, from a server that says what each test scripts.

use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::sync::Arc;

use mega_storage::{FileId, NoProgress, Store, StoreOptions};
use mega_tools::random::Random;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::super::Access;
use super::super::answer::BatchAnswer;
use super::*;

/// What a server says to one request: so many bytes of a body, and the length that it announces.
struct Said(Vec<u8>, usize);

impl Said {
    fn whole(body: Vec<u8>) -> Self {
        let len = body.len();
        Self(body, len)
    }
}

/// A server that answers so, one connection each; its URL, and the bodies of the requests.
fn serve(answers: Vec<Said>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/r.git/info/lfs", listener.local_addr().expect("an address"));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = asked.clone();
    std::thread::spawn(move || {
        for Said(body, announced) in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|len| len > 2) {}
            let len = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length: ").and_then(|len| len.parse().ok())
            });
            let mut sent = vec![0; len.unwrap_or(0)];
            reader.read_exact(&mut sent).expect("the body");
            kept.lock().push(String::from_utf8_lossy(&sent).into_owned());
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    (url, asked)
}

/// A store, and a file that it does not have.
struct Scene {
    dir: TempDir,
    store: Store,
    bytes: Vec<u8>,
    chunks: Vec<ChunkRef>,
}

impl Scene {
    /// The store has a file that begins as the other one does, for a third of it.
    fn new(len: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        let mut bytes = vec![0; len];
        Random::new(5).fill(&mut bytes);
        let mut other = bytes.clone();
        Random::new(6).fill(&mut other[len / 3..]);
        store.files().ingest(None, &mut &other[..], None, &NoProgress).expect("taken in");
        // The chunks are those that any store cuts.
        let chunks = mega_storage::ChunkCutter::new(&bytes[..]);
        let chunks = chunks.map(|chunk| chunk.expect("in memory").0).collect();
        Self { dir, store, bytes, chunks }
    }

    fn pointer(&self) -> Pointer {
        use sha2::{Digest, Sha256};
        let file = FileId::from_bytes(Sha256::digest(&self.bytes).into());
        Pointer { file, len: self.bytes.len() as u64 }
    }

    fn list(&self) -> Vec<u8> {
        list(self.bytes.len() as u64, &self.chunks)
    }

    /// Opens the file at a server, as its answer to a batch tells.
    fn open<T>(&self, url: &str, read: impl FnOnce(Result<ByChunk<'_>, LfsError>) -> T) -> T {
        let pointer = self.pointer();
        let (oid, size) = (pointer.file, pointer.len);
        let href = format!("{url}/mega/v1/objects/{oid}");
        let answer = serde_json::json!({"transfer": "mega", "objects": [
            {"oid": oid.to_string(), "size": size, "actions": {"download": {"href": href}}},
        ]});
        let answer: BatchAnswer = serde_json::from_value(answer).expect("an answer");
        let (_, download) = answer.sort(&[pointer]).expect("sorted").remove(0);
        let download = download.expect("offered");
        assert!(download.is_by_chunk());
        let access = Access {
            fill: &|_| None,
            tell: &|_, _, _| (),
            build: &|_| Ok(reqwest::blocking::Client::builder()),
            extra_header: None,
            interrupted: &|| false,
        };
        let client = Client::new(url, access).expect("a client");
        read(client.open_by_chunk(&download, self.store.files(), self.dir.path()))
    }

    /// The bytes of the chunks from `index` on.
    fn from(&self, index: usize) -> (u64, &[u8]) {
        let offset: u64 = self.chunks[..index].iter().map(|chunk| u64::from(chunk.len)).sum();
        (offset, &self.bytes[offset as usize..])
    }
}

fn list(size: u64, chunks: &[ChunkRef]) -> Vec<u8> {
    let mut list = Vec::new();
    let listing = Listing { size, count: chunks.len() as u64 };
    wire::write_head(&listing, &mut list).expect("in memory");
    list.extend(chunks.iter().flat_map(wire::entry));
    list
}

fn read(opened: Result<ByChunk<'_>, LfsError>) -> Vec<u8> {
    let mut bytes = Vec::new();
    opened.expect("opened").read_to_end(&mut bytes).expect("read");
    bytes
}

fn asked_for(body: &str) -> Vec<(u64, u64)> {
    let wanted: Wanted = serde_json::from_str(body).expect("ranges");
    wanted.ranges.iter().map(|range| (range.offset, range.len)).collect()
}

#[test]
fn what_is_here_is_not_asked_for() {
    let scene = Scene::new(3_000_000);
    let stored = scene.store.files();
    let ids: Vec<ChunkId> = scene.chunks.iter().map(|chunk| chunk.id).collect();
    let here = stored.stored_chunks(&ids).expect("read").iter().take_while(|here| **here).count();
    assert!(here > 3, "{here}");
    let (offset, rest) = scene.from(here);
    let (url, asked) = serve(vec![Said::whole(scene.list()), Said::whole(rest.to_vec())]);
    assert!(scene.open(&url, read) == scene.bytes);
    assert_eq!(asked_for(&asked.lock()[1]), [(offset, rest.len() as u64)]);
}

#[test]
fn a_connection_that_breaks_costs_one_chunk() {
    let scene = Scene::new(3_000_000);
    let count = scene.chunks.len();
    let (offset, rest) = scene.from(count - 4);
    let cut = (scene.chunks[count - 4].len + 10) as usize;
    let (_, all) = scene.from(0);
    let (second, after) = scene.from(count - 3);
    let (url, asked) = serve(vec![
        // The list broke off too.
        Said(scene.list()[..500].to_vec(), scene.list().len()),
        Said::whole(scene.list()),
        Said(rest[..cut].to_vec(), rest.len()),
        Said::whole(after.to_vec()),
    ]);
    let mut bytes = Vec::new();
    scene.open(&url, |opened| {
        let mut opened = opened.expect("opened");
        opened.fill_window().expect("filled");
        // As if all but the last four were here; they are taken away again.
        opened.window.drain(..count - 4);
        assert_eq!(opened.window[0].offset, offset);
        opened.read_to_end(&mut bytes).expect("read");
    });
    assert!(bytes == all[offset as usize..]);
    assert_eq!(asked_for(&asked.lock()[2]), [(offset, rest.len() as u64)]);
    assert_eq!(asked_for(&asked.lock()[3]), [(second, after.len() as u64)]);
}

#[test]
fn a_chunk_that_has_gone_since_is_asked_for_alone() {
    let scene = Scene::new(2_000_000);
    let count = scene.chunks.len();
    let (offset, rest) = scene.from(count - 3);
    let [a, b, _] = [0, 1, 2].map(|at| scene.chunks[count - 3 + at].len as usize);
    let others = [&rest[..a], &rest[a + b..]].concat();
    let (url, asked) = serve(vec![
        Said::whole(scene.list()),
        Said::whole(others),
        Said::whole(rest[a..a + b].to_vec()),
    ]);
    let mut bytes = Vec::new();
    scene.open(&url, |opened| {
        let mut opened = opened.expect("opened");
        opened.fill_window().expect("filled");
        opened.window.drain(..count - 3);
        opened.window[1].is_here = true;
        opened.read_to_end(&mut bytes).expect("read");
    });
    assert!(bytes == rest);
    let second = offset + a as u64;
    assert_eq!(asked_for(&asked.lock()[1]).len(), 2);
    assert_eq!(asked_for(&asked.lock()[2]), [(second, b as u64)]);
}

#[test]
fn short_files_need_no_list_and_empty_ones_no_request() {
    for len in [1, 50_000, LISTED_LEN_MIN as usize] {
        let scene = Scene::new(len);
        let (url, asked) = serve(vec![Said::whole(scene.bytes.clone())]);
        assert!(scene.open(&url, read) == scene.bytes);
        assert_eq!(asked_for(&asked.lock()[0]), [(0, len as u64)]);
        // One that is one chunk, and here, is not asked for.
        scene.store.files().ingest(None, &mut &scene.bytes[..], None, &NoProgress).expect("taken");
        if scene.chunks.len() == 1 {
            let (url, asked) = serve(Vec::new());
            assert!(scene.open(&url, read) == scene.bytes);
            assert!(asked.lock().is_empty());
        }
    }
    let scene = Scene::new(0);
    assert_eq!(scene.open("http://127.0.0.1:1/r.git/info/lfs", read), b"");
}

#[test]
fn a_list_that_cannot_be_the_files_is_refused() {
    let scene = Scene::new(2_000_000);
    let size = scene.bytes.len() as u64;
    let tiny = vec![ChunkRef { len: 1, ..scene.chunks[0] }; 2_000];
    let mut strange = scene.list();
    let last = strange.len() - 4;
    strange[last..].copy_from_slice(&[0xff; 4]);
    for (list, words) in [
        (list(size + 1, &scene.chunks), "not the file's"),
        (list(size, &tiny), "not the file's"),
        (list(size, &scene.chunks[1..]), "do not add up"),
        (strange, "a chunk's length is impossible"),
        (b"\xff\xff\xff\xff".to_vec(), "too long"),
    ] {
        let (url, _) = serve(vec![Said::whole(list)]);
        let error = scene.open(&url, |opened| opened.map(|_| ()).expect_err("refused"));
        assert!(matches!(error, LfsError::Answer { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn other_bytes_of_a_chunk_are_not_taken_in() {
    let scene = Scene::new(500_000);
    let wrong: Vec<u8> = scene.bytes.iter().map(|byte| byte ^ 1).collect();
    let (url, _) = serve(vec![Said::whole(wrong)]);
    let pointer = scene.pointer();
    let taken = scene.open(&url, |opened| {
        let files = scene.store.files();
        files.ingest(None, &mut opened.expect("opened"), Some(pointer), &NoProgress)
    });
    assert!(matches!(taken, Err(StoreError::FileHashMismatch { .. })), "{taken:?}");
    assert_eq!(scene.store.files().head(&pointer.file).expect("read"), None);
}
