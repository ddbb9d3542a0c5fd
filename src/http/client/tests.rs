//! The client against git's own server, and what it makes of answers that are wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use mega_storage::object::hash_object;
use mega_storage::{ObjectId, ObjectKind, ObjectSource, ObjectWant, RefName, SourceError};
use parking_lot::Mutex;

use super::{HttpSource, RemoteUrl};
use crate::git::Git;

/// Answers one request: path, headers, body.
type Answer = dyn Fn(&str, &str, &[u8]) -> (u16, Vec<u8>) + Send + Sync;

/// A server of one thread a connection. It ends with the test's process.
fn serve(answer: Arc<Answer>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || connection(stream, &*answer));
        }
    });
    format!("http://{address}")
}

fn connection(stream: TcpStream, answer: &Answer) {
    let mut input = BufReader::new(stream.try_clone().expect("a socket"));
    let mut output = stream;
    loop {
        let (mut first, mut headers) = (String::new(), String::new());
        if input.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut len = 0;
        loop {
            let mut line = String::new();
            if input.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                len = text.trim().parse().expect("a number");
            }
            headers.push_str(&line);
        }
        let mut body = vec![0; len];
        input.read_exact(&mut body).expect("a body");
        let path = first.split(' ').nth(1).unwrap_or_default();
        let (status, body) = answer(path, &headers, &body);
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
        if output.write_all(head.as_bytes()).and_then(|()| output.write_all(&body)).is_err() {
            return;
        }
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=x", "-c", "user.email=x@x"])
        .args(args)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// `git upload-pack` in `dir`, over HTTP.
fn upload_pack(dir: &Path) -> Arc<Answer> {
    let dir = dir.to_owned();
    Arc::new(move |path, headers, body| {
        assert_eq!(path, "/x.git/git-upload-pack");
        assert!(headers.to_ascii_lowercase().contains("git-protocol: version=2"), "{headers}");
        let mut child = Command::new("git")
            .args(["-c", "uploadpack.allowFilter=true", "-c", "transfer.advertiseObjectInfo=true"])
            .args(["upload-pack", "--stateless-rpc"])
            .arg(&dir)
            .env("GIT_PROTOCOL", "version=2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("git runs");
        let mut input = child.stdin.take().expect("piped");
        let body = body.to_vec();
        let feed = thread::spawn(move || input.write_all(&body));
        let output = child.wait_with_output().expect("git ends");
        let _ = feed.join();
        (200, output.stdout)
    })
}

fn source(base: &str) -> HttpSource {
    let url = RemoteUrl::parse(&format!("{base}/x.git")).expect("an address");
    HttpSource::new(&url, &Git::default()).expect("a client")
}

fn objects_in(pack: &[u8]) -> u32 {
    u32::from_be_bytes(pack[8..12].try_into().expect("four bytes"))
}

fn fetch(source: &HttpSource, want: &ObjectWant<'_>) -> Vec<u8> {
    let mut pack = Vec::new();
    source.objects(want).expect("asked").expect("there").read_to_end(&mut pack).expect("read");
    pack
}

#[test]
fn gits_own_server_answers_refs_objects_and_lengths() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    git(path, &["init", "-q", "-b", "main"]);
    std::fs::create_dir_all(path.join("a/b")).expect("made");
    std::fs::write(path.join("a/b/small"), "small").expect("written");
    std::fs::write(path.join("a/large"), vec![7; 5000]).expect("written");
    std::fs::write(path.join("top"), "top").expect("written");
    git(path, &["add", "."]);
    git(path, &["commit", "-qm", "one"]);
    git(path, &["commit", "-qm", "two", "--allow-empty"]);
    git(path, &["tag", "-am", "tag", "v1"]);
    let id = |name: &str| git(path, &["rev-parse", name]).parse::<ObjectId>().expect("an id");
    let source = source(&serve(upload_pack(&path.join(".git"))));

    let name = |text: &str| RefName::new(text.as_bytes()).expect("a name");
    let refs = source.refs(&[name("refs/tags/v1"), name("refs/tags/v")]).expect("asked");
    let found = |text: &str| refs.iter().find(|line| line.name == name(text)).cloned();
    assert_eq!(refs.len(), 2, "{refs:?}");
    let head = found("HEAD").expect("there");
    assert_eq!((head.id, head.target), (Some(id("HEAD")), Some(name("refs/heads/main"))));
    assert_eq!(found("refs/tags/v1").expect("there").id, Some(id("v1")));

    let commit = [id("HEAD")];
    let pack = fetch(&source, &ObjectWant { history: 1, ..ObjectWant::exactly(&commit) });
    assert_eq!(objects_in(&pack), 1, "the commit alone");
    let pack = fetch(&source, &ObjectWant { history: 2, ..ObjectWant::exactly(&commit) });
    assert_eq!(objects_in(&pack), 2, "and the one before");
    let tree = [id("HEAD^{tree}")];
    assert_eq!(objects_in(&fetch(&source, &ObjectWant::exactly(&tree))), 1);
    let want = ObjectWant { ids: &tree, levels: 2, blob_len_max: 1024, history: 0 };
    assert_eq!(objects_in(&fetch(&source, &want)), 3, "two directories and a blob");
    let want = ObjectWant { levels: 9, ..want };
    assert_eq!(objects_in(&fetch(&source, &want)), 5, "all but the large blob");

    let absent = hash_object(ObjectKind::Blob, b"absent").expect("no attack");
    let both = [absent, id("HEAD:top")];
    assert_eq!(objects_in(&fetch(&source, &ObjectWant::exactly(&both))), 1);
    assert!(source.objects(&ObjectWant::exactly(&[absent])).expect("asked").is_none());

    let ids = [id("HEAD:a/large"), absent, id("HEAD:top")];
    let lens = source.headers(&ids[..1]).expect("asked");
    assert_eq!(lens[0].map(|h| h.len), Some(5000));
    if let Ok(lens) = source.headers(&ids) {
        let lens: Vec<_> = lens.into_iter().map(|h| h.map(|h| h.len)).collect();
        assert_eq!(lens, [Some(5000), None, Some(3)]);
    }
}

#[test]
fn what_a_server_may_not_say_is_an_error() {
    let id = [hash_object(ObjectKind::Blob, b"x").expect("no attack")];
    type Fits = fn(&SourceError) -> bool;
    let cases: [(u16, &[u8], Fits); 7] = [
        (200, b"zzzz", |e| matches!(e, SourceError::Wrong { .. })),
        (200, b"0000", |e| matches!(e, SourceError::Wrong { .. })),
        (200, b"", |e| matches!(e, SourceError::Unreachable { .. })),
        (200, b"000fERR no way", |e| matches!(e, SourceError::Unreachable { .. })),
        (200, b"000eERR no way", |e| matches!(e, SourceError::Refused { .. })),
        (403, b"no", |e| matches!(e, SourceError::Refused { .. })),
        (500, b"oh", |e| matches!(e, SourceError::Unreachable { .. })),
    ];
    for (status, body, fits) in cases {
        let answer = move |_: &str, _: &str, _: &[u8]| (status, body.to_vec());
        let source = source(&serve(Arc::new(answer)));
        let asked = source.objects(&ObjectWant::exactly(&id));
        let error = asked.map(|_| ()).expect_err("refused");
        assert!(fits(&error), "{status} {body:?}: {error:?}");
    }
    // A pack that breaks off is an error in its stream, never its end.
    let cut = b"000dpackfile\n0009\x01PACK".to_vec();
    let answer = move |_: &str, _: &str, _: &[u8]| (200, cut.clone());
    let source = source(&serve(Arc::new(answer)));
    let mut pack = source.objects(&ObjectWant::exactly(&id)).expect("asked").expect("there");
    assert!(pack.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn the_addresss_password_is_sent_and_in_no_error() {
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = seen.clone();
    let answer = move |_: &str, headers: &str, _: &[u8]| {
        *noted.lock() = headers.to_ascii_lowercase();
        (401, b"who?".to_vec())
    };
    let base = serve(Arc::new(answer)).replace("http://", "http://me:hunter2@");
    let url = RemoteUrl::parse(&format!("{base}/x.git")).expect("an address");
    let quiet = [
        ("GIT_TERMINAL_PROMPT".to_owned(), "0".into()),
        ("GIT_CONFIG_GLOBAL".to_owned(), "/dev/null".into()),
        ("GIT_ASKPASS".to_owned(), "false".into()),
    ];
    let source = HttpSource::new(&url, &Git::new(quiet)).expect("a client");
    let error = source.refs(&[]).expect_err("refused");
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
    assert!(seen.lock().contains("authorization: basic bwu6ahvudgvymg=="), "{}", seen.lock());
    assert!(!format!("{error:?} {:?}", source.url()).contains("hunter2"));
}
