//! A tiny HTTP server before the room, so that real clients can be pointed at it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use flate2::read::GzDecoder;

use super::*;

/// Starts a server; its threads end with the test's process.
pub(super) fn start(world: &Arc<World>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/one.git", listener.local_addr().expect("an address"));
    let world = world.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let world = world.clone();
            std::thread::spawn(move || talk(&world, stream));
        }
    });
    url
}

/// Answers one request and closes: that is where an answer ends.
fn talk(world: &World, mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let lower = head.to_ascii_lowercase();
    let header = |name: &str| {
        let found = lower.lines().find_map(|line| line.strip_prefix(name));
        found.and_then(|rest| rest.strip_prefix(':')).map(str::trim)
    };
    let protocol = Protocol::parse(header("git-protocol").unwrap_or_default());
    let settings = world.settings();
    let service = world.service(protocol, &settings);
    if head.starts_with("GET ") {
        reply(&mut stream, "advertisement")?;
        stream.write_all(b"001e# service=git-upload-pack\n0000")?;
        return advertise(&service, &mut stream).map_err(io::Error::other);
    }
    if header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body: Box<dyn Read> = match header("content-length") {
        Some(len) => Box::new(reader.take(len.parse().map_err(io::Error::other)?)),
        None => Box::new(Chunked { reader, left: 0 }),
    };
    let mut body: Box<dyn Read> = match header("content-encoding") {
        Some("gzip") => Box::new(GzDecoder::new(body)),
        _ => body,
    };
    reply(&mut stream, "result")?;
    let served = serve(&service, &mut body, &mut stream);
    served.map(drop).map_err(io::Error::other)
}

fn reply(stream: &mut TcpStream, kind: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\n\
         Cache-Control: no-cache\r\nConnection: close\r\n\r\n"
    )
}

/// A chunked body.
struct Chunked<R> {
    reader: R,
    left: u64,
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            self.left = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let len = (&mut self.reader).take(self.left).read(out)?;
        self.left -= len as u64;
        if self.left == 0 {
            self.reader.read_line(&mut String::new())?;
        }
        Ok(len)
    }
}
