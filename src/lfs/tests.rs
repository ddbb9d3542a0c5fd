//! The client against a server in the same process that says what each test scripts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mega_storage::{FileId, Pointer};
use parking_lot::Mutex;

use super::*;

/// A server that gives the scripted answers in order and keeps the heads of the requests.
struct Scripted {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

fn serve(answers: Vec<Vec<u8>>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/repo.git/info/lfs", listener.local_addr().expect("an address"));
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = heads.clone();
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|len| len > 2) {}
            let len = head.lines().find_map(|l| {
                l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
            });
            let mut body = vec![0; len.unwrap_or(0)];
            reader.read_exact(&mut body).expect("the body");
            kept.lock().push(head + &String::from_utf8_lossy(&body));
            let _ = stream.write_all(&answer);
        }
    });
    Scripted { url, heads }
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn login() -> Login {
    Login { user: "u".to_owned(), password: "p".to_owned() }
}

fn pointer(byte: u8) -> Pointer {
    Pointer { file: FileId::from_bytes([byte; 32]), len: 4 }
}

fn offer(server: &str, byte: u8) -> String {
    let oid = pointer(byte).file;
    let actions = format!(r#"{{"download":{{"href":"{server}/x"}}}}"#);
    format!(r#"{{"objects":[{{"oid":"{oid}","size":4,"actions":{actions}}}]}}"#)
}

fn access<'a>(fill: &'a Ask<'a>, tell: &'a Tell) -> Access<'a> {
    let build = &|_: &str| Ok(reqwest::blocking::Client::builder());
    Access { fill, tell, build, extra_header: None, interrupted: &|| false }
}

fn read_all(client: &Client<'_>, download: &Download) -> Result<Vec<u8>, LfsError> {
    let taken = client.download(download, &mut |body| {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).map(|_| bytes)
    })?;
    Ok(taken.expect("read"))
}

#[test]
fn a_credential_is_asked_for_once_and_kept() {
    let base = "http://127.0.0.1:1";
    let server = serve(vec![
        http("401 Unauthorized", "", "{}"),
        http("200 OK", "", &offer(base, 1)),
        http("200 OK", "", &offer(base, 1)),
    ]);
    let asked = AtomicUsize::new(0);
    let told = Mutex::new(Vec::new());
    let fill = |_: &str| {
        asked.fetch_add(1, Ordering::SeqCst);
        Some(login())
    };
    let tell = |_: &str, _: &Login, worked| told.lock().push(worked);
    let client = Client::new(&server.url, access(&fill, &tell)).expect("a client");
    client.batch(&[pointer(1)]).expect("answered");
    client.batch(&[pointer(1)]).expect("answered");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(*told.lock(), [true]);
    let heads = server.heads.lock();
    assert!(!heads[0].to_lowercase().contains("authorization"));
    assert!(heads[1].contains("Basic dTpw") && heads[2].contains("Basic dTpw"));
}

#[test]
fn a_refused_credential_is_forgotten() {
    let server = serve(vec![http("401 No", "", ""), http("401 No", "", "")]);
    let told = Mutex::new(Vec::new());
    let tell = |_: &str, _: &Login, worked| told.lock().push(worked);
    let fill = |_: &str| Some(login());
    let client = Client::new(&server.url, access(&fill, &tell)).expect("a client");
    assert!(matches!(client.batch(&[pointer(1)]), Err(LfsError::Unauthorized { .. })));
    assert_eq!(*told.lock(), [false]);
}

#[test]
fn a_broken_download_is_tried_again_and_a_strange_host_gets_no_password() {
    let content = serve(vec![
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec(),
        http("200 OK", "", "abcd"),
    ]);
    let api = serve(vec![http("200 OK", "", &offer(&content.url, 2))]);
    let url = api.url.replace("http://", "http://u:p@");
    let client = Client::new(&url, access(&|_| None, &|_, _, _| ())).expect("a client");
    let mut answers = client.batch(&[pointer(2)]).expect("answered");
    let download = answers.remove(0).1.expect("offered");
    assert_eq!(read_all(&client, &download).expect("read"), b"abcd");
    assert!(api.heads.lock()[0].to_lowercase().contains("authorization: basic"));
    let heads = content.heads.lock();
    assert_eq!(heads.len(), 2);
    assert!(heads.iter().all(|head| !head.to_lowercase().contains("authorization")));
}

#[test]
fn whom_to_trust_is_asked_for_each_server() {
    let content = serve(vec![http("200 OK", "", "abcd"), http("200 OK", "", "abcd")]);
    let api = serve(vec![http("200 OK", "", &offer(&content.url, 2))]);
    let asked = Mutex::new(Vec::new());
    let build = |url: &str| {
        asked.lock().push(url.to_owned());
        Ok(reqwest::blocking::Client::builder())
    };
    let access = Access { build: &build, ..access(&|_| None, &|_, _, _| ()) };
    let client = Client::new(&api.url, access).expect("a client");
    let download = client.batch(&[pointer(2)]).expect("answered").remove(0).1.expect("offered");
    for _ in 0..2 {
        assert_eq!(read_all(&client, &download).expect("read"), b"abcd");
    }
    let origin = content.url.trim_end_matches("/repo.git/info/lfs");
    assert_eq!(*asked.lock(), [api.url.as_str(), origin]);
}

#[test]
fn nobody_is_asked_when_it_is_not_known_whom_to_trust() {
    let api = serve(vec![]);
    let build = |_: &str| Err("http.sslCAInfo /x: no such file".to_owned());
    let access = Access { build: &build, ..access(&|_| None, &|_, _, _| ()) };
    let error = Client::new(&api.url, access).map(drop).expect_err("refused");
    assert!(matches!(error, LfsError::Trust { .. }), "{error:?}");
    assert!(error.to_string().ends_with("http.sslCAInfo /x: no such file"), "{error}");
    assert_eq!(api.heads.lock().len(), 0);
}

#[test]
fn refusals_carry_their_reason_and_no_secret() {
    let (one, two) = (pointer(1).file, pointer(2).file);
    let body = format!(
        r#"{{"objects":[{{"oid":"{one}","error":{{"code":404,"message":"gone\u001b[1m"}}}},
            {{"oid":"{two}"}},{{"oid":"zz"}}]}}"#
    );
    let server = serve(vec![
        http("200 OK", "", &body),
        http("200 OK", "", r#"{"transfer":"tus","objects":[]}"#),
        http("200 OK", "", "<html>"),
        http("403 Forbidden", "", r#"{"message":"not you"}"#),
    ]);
    let url = server.url.replace("http://", "http://u:secret@");
    let client = Client::new(&url, access(&|_| None, &|_, _, _| ())).expect("a client");
    let wanted = [pointer(1), pointer(2), pointer(3)];
    let answers = client.batch(&wanted).expect("answered");
    let reasons: Vec<String> = answers.into_iter().map(|(_, r)| r.expect_err("refused")).collect();
    assert_eq!(reasons[0], "the server says: gone[1m (404)");
    assert_eq!(reasons[1], "the server offers no download");
    assert_eq!(reasons[2], "the server does not mention it");
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(client.batch(&wanted).expect_err("refused").to_string());
    }
    assert!(errors[0].contains("'tus'") && errors[1].contains("cannot be read"), "{errors:?}");
    assert!(errors[2].contains("HTTP 403: not you"), "{errors:?}");
    assert!(errors.iter().all(|e| !e.contains("secret")));
}

#[test]
fn an_answer_over_the_limit_is_refused() {
    let len = usize::try_from(ANSWER_LEN_MAX).expect("small");
    let padded = |len: usize| format!("{{{}}}", " ".repeat(len - 2));
    let server =
        serve(vec![http("200 OK", "", &padded(len)), http("200 OK", "", &padded(len + 1))]);
    let client = Client::new(&server.url, access(&|_| None, &|_, _, _| ())).expect("a client");
    client.batch(&[pointer(1)]).expect("at the limit");
    let error = client.batch(&[pointer(1)]).expect_err("past it").to_string();
    assert!(error.contains("longer than"), "{error}");
}

#[test]
fn work_that_should_stop_stops_before_it_asks() {
    let mut access = access(&|_| None, &|_, _, _| ());
    access.interrupted = &|| true;
    let client = Client::new("http://127.0.0.1:1/lfs", access).expect("a client");
    assert!(matches!(client.batch(&[pointer(1)]), Err(LfsError::Interrupted)));
}

#[test]
fn local_content_must_have_the_pointers_length() {
    let dir = tempfile::tempdir().expect("a directory");
    let wanted = pointer(0xab);
    let path = LocalObjects::path_in(dir.path(), &wanted.file);
    assert!(path.ends_with(format!("objects/ab/ab/{}", wanted.file)));
    let local = LocalObjects::new(vec![dir.path().join("other"), dir.path().to_owned()]);
    assert!(local.open(&wanted).expect("looked").is_none());
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    std::fs::write(&path, b"abc").expect("written");
    assert!(local.open(&wanted).expect("looked").is_none());
    std::fs::write(&path, b"abcd").expect("written");
    assert!(local.open(&wanted).expect("looked").is_some());
}
