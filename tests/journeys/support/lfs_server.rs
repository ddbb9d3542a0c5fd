//! A tiny LFS server: the batch API and basic downloads, with faults on request.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// Sends other bytes of the same length.
    WrongBytes,
    /// Wants a password: `user` and `secret`.
    Login,
}

/// A running server. Its thread ends with the test's process.
pub struct LfsServer {
    pub url: String,
    pub requests: Arc<Mutex<Vec<String>>>,
    objects: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

impl LfsServer {
    pub fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Self { url: url.clone(), requests: Arc::default(), objects: Arc::default() };
        let (requests, objects) = (server.requests.clone(), server.objects.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, objects, url) = (requests.clone(), objects.clone(), url.clone());
                std::thread::spawn(move || answer(&stream, fault, &url, &requests, &objects));
            }
        });
        server
    }

    pub fn put(&self, oid: &str, bytes: &[u8]) {
        self.objects.lock().expect("whole").insert(oid.to_owned(), bytes.to_vec());
    }

    pub fn take(&self, oid: &str) {
        self.objects.lock().expect("whole").remove(oid);
    }

    pub fn count(&self, part: &str) -> usize {
        self.requests.lock().expect("whole").iter().filter(|r| r.contains(part)).count()
    }
}

fn answer(
    stream: &TcpStream,
    fault: Fault,
    url: &str,
    requests: &Mutex<Vec<String>>,
    objects: &Mutex<HashMap<String, Vec<u8>>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).ok()? > 2 {}
    let lower = head.to_ascii_lowercase();
    let len = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; len.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    requests.lock().ok()?.push(head.clone());
    let path = head.split(' ').nth(1)?.to_owned();
    // user:secret
    let may_enter = fault != Fault::Login || head.contains("dXNlcjpzZWNyZXQ=");
    if !may_enter {
        return reply(stream, "401 Unauthorized", b"{\"message\":\"who?\"}");
    }
    let objects = objects.lock().ok()?;
    if path.ends_with("/objects/batch") {
        return reply(stream, "200 OK", batch(&body, url, &objects)?.to_string().as_bytes());
    }
    match objects.get(path.rsplit('/').next()?) {
        Some(bytes) if fault == Fault::WrongBytes => {
            let wrong: Vec<u8> = bytes.iter().map(|b| b ^ 1).collect();
            reply(stream, "200 OK", &wrong)
        }
        Some(bytes) => reply(stream, "200 OK", bytes),
        None => reply(stream, "404 Not Found", b""),
    }
}

fn batch(body: &[u8], url: &str, objects: &HashMap<String, Vec<u8>>) -> Option<serde_json::Value> {
    let asked: serde_json::Value = serde_json::from_slice(body).ok()?;
    let answered = asked["objects"].as_array()?.iter().map(|object| {
        let oid = object["oid"].as_str().unwrap_or_default();
        if objects.contains_key(oid) {
            let href = format!("{url}/content/{oid}");
            let actions = serde_json::json!({"download": {"href": href}});
            serde_json::json!({"oid": oid, "size": object["size"], "actions": actions})
        } else {
            let error = serde_json::json!({"code": 404, "message": "not here"});
            serde_json::json!({"oid": oid, "size": object["size"], "error": error})
        }
    });
    Some(serde_json::json!({"transfer": "basic", "objects": answered.collect::<Vec<_>>()}))
}

fn reply(mut stream: &TcpStream, status: &str, body: &[u8]) -> Option<()> {
    let len = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()
}
