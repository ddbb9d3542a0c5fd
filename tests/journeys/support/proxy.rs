//! A proxy before a server that stops at a chosen byte, so that a test can break things there.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Up,
    Down,
}

/// Passes bytes on, and counts them.
pub struct Proxy {
    pub url: String,
    counts: Arc<[AtomicU64; 2]>,
    stop: Arc<Mutex<Option<Stop>>>,
}

struct Stop {
    way: Way,
    left: u64,
    /// Whom to tell; the connection is cut when there is nobody.
    reached: Option<mpsc::Sender<()>>,
}

impl Proxy {
    /// Starts a proxy before `address`. Its threads end with the test's process.
    pub fn start(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let proxy = Self { url, counts: Arc::default(), stop: Arc::default() };
        let (counts, stop) = (proxy.counts.clone(), proxy.stop.clone());
        let address = address.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&address) else { continue };
                let pairs = [(&client, &server, Way::Up), (&server, &client, Way::Down)];
                for (from, to, way) in pairs {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let (counts, stop) = (counts.clone(), stop.clone());
                    thread::spawn(move || pass(from, to, way, &counts, &stop));
                }
            }
        });
        proxy
    }

    /// From now on lets `len` bytes through in one direction; then holds everything that goes that
    /// way, and says so once.
    pub fn stop_after(&self, way: Way, len: u64) -> mpsc::Receiver<()> {
        let (reached, told) = mpsc::channel();
        *self.stop.lock().expect("whole") = Some(Stop { way, left: len, reached: Some(reached) });
        told
    }

    /// From now on lets `len` bytes through in one direction, then cuts that connection. What comes
    /// later goes through.
    pub fn cut_after(&self, way: Way, len: u64) {
        *self.stop.lock().expect("whole") = Some(Stop { way, left: len, reached: None });
    }

    /// Lets everything through again: on new connections, for what was held is lost.
    pub fn go_on(&self) {
        *self.stop.lock().expect("whole") = None;
    }

    /// Bytes that went through in one direction.
    pub fn count(&self, way: Way) -> u64 {
        self.counts[way as usize].load(Ordering::SeqCst)
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    way: Way,
    counts: &[AtomicU64; 2],
    stop: &Mutex<Option<Stop>>,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut is_held = false;
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let mut may_pass = if is_held { 0 } else { len };
        let mut is_cut = false;
        let mut stop = stop.lock().expect("whole");
        if let Some(at) = stop.as_mut().filter(|stop| stop.way == way) {
            may_pass = may_pass.min(usize::try_from(at.left).unwrap_or(usize::MAX));
            at.left -= may_pass as u64;
            if may_pass < len && !is_held {
                match &at.reached {
                    // A held direction stays open: the other side waits, as for a slow network.
                    Some(reached) => is_held = reached.send(()).is_ok(),
                    None => is_cut = true,
                }
            }
        }
        if is_cut {
            *stop = None;
        }
        drop(stop);
        counts[way as usize].fetch_add(may_pass as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..may_pass]).is_err() || is_cut {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(if is_held { Shutdown::Both } else { Shutdown::Write });
}
