//! HTTP by hand: requests that no client sends, and what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::server::Server;

/// A cap against hangs: no answer takes this long.
const TIME_MAX: Duration = Duration::from_secs(150);
/// The most that is read of an answer, in bytes.
const ANSWER_LEN_MAX: u64 = 256 << 20;

/// An answer, its body without chunks.
#[derive(Debug)]
pub struct Answer {
    /// 0 when the connection ended without one.
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text, whatever it is.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection to the server.
pub fn connect(server: &Server<'_>) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(TIME_MAX)).expect("set");
    stream.set_write_timeout(Some(TIME_MAX)).expect("set");
    stream
}

/// Sends bytes as they are, and reads to the end of the connection. A server that has heard enough
/// may close it while this still sends.
pub fn send(server: &Server<'_>, request: &[u8]) -> Answer {
    let mut stream = connect(server);
    let mut reader = stream.try_clone().expect("cloned");
    let answer = std::thread::spawn(move || read(&mut reader));
    let _ = stream.write_all(request);
    let _ = stream.flush();
    answer.join().expect("read")
}

fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    match stream.take(ANSWER_LEN_MAX).read_to_end(&mut bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("the server hangs; so far: {}", String::from_utf8_lossy(&bytes));
        }
        // A reset after the answer is an answer.
        Ok(_) | Err(_) => parse(&bytes),
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else { return Answer { status: 0, body: vec![] } };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let body = &bytes[end + 4..];
    if status == 100 {
        return parse(body);
    }
    let is_chunked = head.contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunk(body) } else { body.to_vec() };
    Answer { status, body }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let text = String::from_utf8_lossy(&bytes[..end]);
        let len = usize::from_str_radix(&text, 16).unwrap_or(0);
        let rest = &bytes[end + 2..];
        if len == 0 || rest.len() < len {
            body.extend(&rest[..len.min(rest.len())]);
            break;
        }
        body.extend(&rest[..len]);
        bytes = rest.get(len + 2..).unwrap_or_default();
    }
    body
}

/// A request's bytes; the connection ends with its answer.
pub fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// Asks for a path.
pub fn get(server: &Server<'_>, path: &str, fields: &[(&str, &str)]) -> Answer {
    send(server, &request("GET", path, fields, b""))
}

/// Posts to a git service.
pub fn git(server: &Server<'_>, repo: &str, service: &str, version: &str, body: &[u8]) -> Answer {
    let media_type = format!("application/x-{service}-request");
    let fields = [("Content-Type", media_type.as_str()), ("Git-Protocol", version)];
    send(server, &request("POST", &format!("/{repo}.git/{service}"), &fields, body))
}

/// A pkt-line.
pub fn line(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [format!("{:04x}", text.len() + 4).as_bytes(), text].concat()
}

/// The lines of an answer, marks left out.
pub fn lines(mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(4) {
        let text = std::str::from_utf8(head).unwrap_or("0000");
        let len = usize::from_str_radix(text, 16).unwrap_or(0).saturating_sub(4);
        let Some((data, rest)) = rest.split_at_checked(len) else { break };
        if len > 0 {
            lines.push(String::from_utf8_lossy(data).trim_end().to_owned());
        }
        bytes = rest;
    }
    lines
}
