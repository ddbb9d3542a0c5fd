//! git's own server: `git http-backend` behind the smallest HTTP server that it can do with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use super::World;

/// Serves every bare repository of a world by git's own program. Its threads end with the test's
/// process.
pub struct GitServer {
    pub url: String,
}

impl GitServer {
    pub fn start(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let root = world.path("");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let root = root.clone();
                thread::spawn(move || while answer(&stream, &root).is_some() {});
            }
        });
        Self { url }
    }
}

/// Answers one request. `None` when the connection ends.
fn answer(mut stream: &TcpStream, root: &Path) -> Option<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut head = String::new();
    while reader.read_line(&mut head).ok()? > 2 {}
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let mut words = head.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let body = match field("Transfer-Encoding") {
        Some(_) => chunks(&mut reader)?,
        None => {
            let len = field("Content-Length").and_then(|len| len.parse().ok()).unwrap_or(0);
            let mut body = vec![0; len];
            reader.read_exact(&mut body).ok()?;
            body
        }
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut command = backend(root);
    command.env("PATH_INFO", path).env("QUERY_STRING", query).env("REQUEST_METHOD", method);
    command.env("CONTENT_LENGTH", body.len().to_string());
    let passed = [
        ("CONTENT_TYPE", "Content-Type"),
        ("HTTP_CONTENT_ENCODING", "Content-Encoding"),
        ("GIT_PROTOCOL", "Git-Protocol"),
    ];
    for (variable, name) in passed {
        field(name).map(|value| command.env(variable, value));
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let mut input = child.stdin.take()?;
    let writer = thread::spawn(move || drop(input.write_all(&body)));
    let output = child.wait_with_output().ok()?.stdout;
    writer.join().ok()?;
    let at = output.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (fields, content) = (String::from_utf8_lossy(&output[..at]), &output[at + 4..]);
    let status = fields.lines().find_map(|line| line.strip_prefix("Status: "));
    let status = status.unwrap_or("200 OK");
    let len = content.len();
    let head = format!("HTTP/1.1 {status}\r\n{fields}\r\nContent-Length: {len}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(content).ok()
}

fn backend(root: &Path) -> Command {
    let mut command = Command::new("git");
    let home: PathBuf = root.join("home");
    command.arg("http-backend").env_clear().env("HOME", home).current_dir(root);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    // Whoever has a name may push.
    command.env("REMOTE_USER", "journey").stderr(Stdio::null());
    command
}

/// A chunked body.
fn chunks(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let len = usize::from_str_radix(line.trim(), 16).ok()?;
        let start = body.len();
        body.resize(start + len, 0);
        reader.read_exact(&mut body[start..]).ok()?;
        reader.read_line(&mut line).ok()?;
        if len == 0 {
            return Some(body);
        }
    }
}
