//! A server of ours, and a wire to it that counts and can be cut.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use super::World;

/// `mega-store serve` of a world's store, killed when this goes.
pub struct Serving {
    child: Child,
    /// Host and port.
    pub host: String,
}

impl Serving {
    pub fn start(world: &World) -> Self {
        let mut command = world.mega();
        command.args(["serve", "--quiet", "--listen", "127.0.0.1:0"]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("its URL");
        let host = line.trim().strip_prefix("http://").expect("a URL").to_owned();
        Self { child, host }
    }

    /// Ends it as a power cut does.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes connections on to a server.
pub struct Wire {
    /// Where it listens.
    pub host: String,
    left: Arc<AtomicI64>,
}

impl Wire {
    pub fn to(server: &Serving) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let (target, shared) = (server.host.clone(), left.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&target)) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let from = from.try_clone().expect("a copy");
                    let (to, left) = (to.try_clone().expect("a copy"), shared.clone());
                    thread::spawn(move || pass(&from, &to, &left));
                }
            }
        });
        Self { host, left }
    }

    /// Lets so many bytes through from now on, both ways together, then none.
    pub fn allow(&self, count: i64) {
        self.left.store(count, Ordering::Relaxed);
    }

    /// Bytes that have come since `allow(count)`.
    pub fn passed(&self, count: i64) -> i64 {
        count - self.left.load(Ordering::Relaxed)
    }
}

/// Copies until an end, or until the wire is cut.
fn pass(mut from: &TcpStream, mut to: &TcpStream, left: &AtomicI64) -> Option<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return None;
            }
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        let is_cut = left.fetch_sub(count as i64, Ordering::Relaxed) < count as i64;
        if count == 0 || is_cut || to.write_all(&buffer[..count]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return None;
        }
    }
}
