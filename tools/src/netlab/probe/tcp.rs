//! A transfer by plain TCP, pipelined as the swarm's is: what the network gives at best.
//!
//! The client names the congestion control, since the sender's counts: 16 bytes, filled with zeros
//! (all zeros: the host's own). The server answers with the one that it now has, in the same form.
//! Then each request is a length (u32, big-endian), answered by so many bytes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::super::sys;
use super::port;
use crate::args::Args;

/// Bytes of one request, as the swarm's batches have.
const REQUEST_LEN: u32 = 1 << 20;
/// Requests on the way.
const PIPELINE_LEN: u64 = 8;
/// Longest request that is answered.
const ANSWER_LEN_MAX: u32 = 16 << 20;
/// A congestion control's name on the wire.
const NAME_LEN: usize = 16;
/// Time in which windows grow: a transfer's rate is also given without it.
const START: Duration = Duration::from_secs(1);
/// Bytes read at once.
const PIECE_LEN: usize = 256 << 10;

/// Serves until it is killed.
///
/// # Errors
/// The system's, when it cannot listen.
pub fn serve(args: Args) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port(args)?));
    let listener = listener.map_err(|error| error.to_string())?;
    println!("ready");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            if let Err(error) = answer(stream) {
                eprintln!("tcp-serve: {error}");
            }
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut name = [0; NAME_LEN];
    stream.read_exact(&mut name)?;
    let wanted = name_text(&name);
    if !wanted.is_empty() {
        sys::set_congestion(&stream, &wanted)?;
    }
    stream.write_all(&name_bytes(&sys::congestion(&stream)?))?;
    let bytes = vec![0x5a; REQUEST_LEN as usize];
    let mut request = [0; 4];
    loop {
        match stream.read_exact(&mut request) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let mut left = u32::from_be_bytes(request).min(ANSWER_LEN_MAX) as usize;
        while left > 0 {
            let piece = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            stream.write_all(piece)?;
            left -= piece.len();
        }
    }
}

/// One peer's transfer.
struct Taken {
    congestion: String,
    /// From the first request to the last byte.
    time: Duration,
    /// Bytes that came in the first [`START`].
    start_len: u64,
}

/// Takes bytes from one or more servers at once and prints the rates.
///
/// # Errors
/// Wrong words, or the first connection's error.
pub fn get(mut args: Args) -> Result<(), String> {
    let mb: u64 = args.option("--mb")?.ok_or("--mb N is missing")?;
    let congestion: String = args.option("--congestion")?.unwrap_or_default();
    if mb == 0 || mb > 1_000_000 || congestion.len() >= NAME_LEN {
        return Err(
            "--mb is from 1 to 1000000, a congestion control's name has 15 bytes".to_owned()
        );
    }
    let mut peers = vec![args.required("ADDRESS:PORT")?];
    while let Some(peer) = args.positional() {
        peers.push(peer);
    }
    let (len, ready) = (mb * 1_000_000, Barrier::new(peers.len()));
    let start = Instant::now();
    let taken: Vec<Result<Taken, String>> = std::thread::scope(|scope| {
        let begin = peers.iter().map(|peer| {
            let (ready, congestion) = (&ready, &congestion);
            let work = move || take(peer, len, congestion, ready);
            scope.spawn(move || work().map_err(|error| format!("{peer}: {error}")))
        });
        let threads: Vec<_> = begin.collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err("the thread has panicked".to_owned()))
        };
        threads.into_iter().map(join).collect()
    });
    let whole = start.elapsed();
    let taken = taken.into_iter().collect::<Result<Vec<_>, _>>()?;
    for (peer, taken) in peers.iter().zip(&taken) {
        println!("peer {peer} {}", rates(len, taken.start_len, taken.time, &taken.congestion));
    }
    let longest = taken.iter().map(|taken| taken.time).max().unwrap_or(whole);
    let start_len = taken.iter().map(|taken| taken.start_len).sum();
    let names: Vec<&str> = taken.iter().map(|taken| taken.congestion.as_str()).collect();
    let name = if names.iter().all(|name| name == &names[0]) { names[0] } else { "mixed" };
    println!("all {}", rates(len * peers.len() as u64, start_len, longest, name));
    Ok(())
}

fn rates(len: u64, start_len: u64, time: Duration, congestion: &str) -> String {
    let seconds = time.as_secs_f64();
    let steady_len = len.saturating_sub(start_len) as f64;
    // Too short for a rate of its own: the whole one.
    let steady = match time.checked_sub(START) {
        Some(rest) if rest > START / 2 => steady_len / rest.as_secs_f64(),
        _ => len as f64 / seconds,
    };
    format!(
        "bytes {len} seconds {seconds:.3} mb-per-s {:.3} steady-mb-per-s {:.3} \
         congestion {congestion}",
        len as f64 / seconds / 1e6,
        steady / 1e6,
    )
}

fn take(peer: &str, len: u64, congestion: &str, ready: &Barrier) -> io::Result<Taken> {
    let connected = connect(peer, congestion);
    // Waited for also after an error, or the others would wait for ever.
    ready.wait();
    let (mut stream, congestion) = connected?;
    let (start, mut asked, mut come, mut start_len) = (Instant::now(), 0, 0, 0);
    let mut piece = vec![0; PIECE_LEN];
    while come < len {
        while asked < len && asked - come < PIPELINE_LEN * u64::from(REQUEST_LEN) {
            let request = REQUEST_LEN.min(u32::try_from(len - asked).unwrap_or(u32::MAX));
            stream.write_all(&request.to_be_bytes())?;
            asked += u64::from(request);
        }
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        come += count as u64;
        if start.elapsed() < START {
            start_len = come;
        }
    }
    Ok(Taken { congestion, time: start.elapsed(), start_len })
}

fn connect(peer: &str, congestion: &str) -> io::Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect(peer)?;
    stream.set_nodelay(true)?;
    stream.write_all(&name_bytes(congestion))?;
    let mut name = [0; NAME_LEN];
    stream.read_exact(&mut name)?;
    Ok((stream, name_text(&name)))
}

fn name_bytes(name: &str) -> [u8; NAME_LEN] {
    let mut bytes = [0; NAME_LEN];
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

fn name_text(bytes: &[u8; NAME_LEN]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_wire() {
        assert_eq!(name_text(&name_bytes("cubic")), "cubic");
        assert_eq!(name_text(&name_bytes("")), "");
        assert_eq!(name_text(&name_bytes("exactly-16-bytes")), "exactly-16-bytes");
    }

    #[test]
    fn a_rate_without_its_start_needs_time_after_it() {
        let text = rates(30_000_000, 5_000_000, Duration::from_secs(3), "bbr");
        assert!(text.contains("mb-per-s 10.000 steady-mb-per-s 12.500 congestion bbr"), "{text}");
        let text = rates(10_000_000, 9_000_000, Duration::from_millis(1100), "bbr");
        assert!(text.contains("mb-per-s 9.091 steady-mb-per-s 9.091"), "{text}");
    }

    #[test]
    fn a_transfer_brings_every_byte() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            answer(stream).expect("answered");
        });
        let taken = take(&address, 20_000_001, "reno", &Barrier::new(1)).expect("taken");
        assert_eq!(taken.congestion, "reno", "every kernel has it");
        server.join().expect("the server ends with its client");
    }
}
