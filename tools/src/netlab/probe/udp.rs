//! Round trips by UDP: `echo` answers each packet with the sender's address as it sees it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::{ms, port, time_option};
use crate::args::Args;

/// A question: its number, padded. With IP and UDP headers 60 bytes.
const QUESTION_LEN: usize = 32;
/// Longest answer: the question and an address.
const ANSWER_LEN_MAX: usize = 128;
/// Questions of one run.
const COUNT_MAX: u64 = 10_000_000;

/// Answers until it is killed.
///
/// # Errors
/// The system's, when it cannot listen.
pub fn echo(args: Args) -> Result<(), String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port(args)?)).map_err(text)?;
    println!("ready");
    let mut buffer = [0; ANSWER_LEN_MAX];
    loop {
        // Errors are those of earlier answers that nobody took: not this packet's.
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let mut answer = buffer.get(..len.min(QUESTION_LEN)).unwrap_or_default().to_vec();
        answer.extend_from_slice(from.to_string().as_bytes());
        let _ = socket.send_to(&answer, from);
    }
}

/// What came back.
struct Heard {
    /// By the question's number.
    times: Vec<Option<Duration>>,
    /// As whom the echo saw this host at last.
    seen: Option<String>,
}

/// Asks an echo and prints what came back.
///
/// # Errors
/// Wrong words, or the system's. That nothing came back is no error.
pub fn ping(mut args: Args) -> Result<(), String> {
    let count = args.option("--count")?.unwrap_or(100u64);
    if count == 0 || count > COUNT_MAX {
        return Err(format!("--count is from 1 to {COUNT_MAX}"));
    }
    let interval = time_option(&mut args, "--interval")?.unwrap_or(Duration::from_millis(10));
    let wait = time_option(&mut args, "--wait")?.unwrap_or(Duration::from_secs(1));
    let from = args.option("--from")?.unwrap_or(0u16);
    let to = args.required("ADDRESS:PORT")?;
    let to: SocketAddr = to.parse().map_err(|_| format!("'{to}' is no ADDRESS:PORT"))?;
    args.finish()?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, from)).map_err(text)?;
    let heard = ask(&socket, to, count, interval, wait).map_err(text)?;
    let mut times: Vec<Duration> = heard.times.into_iter().flatten().collect();
    times.sort_unstable();
    print!("sent {count} received {}", times.len());
    let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share).round() as usize);
    for (name, share) in [("min", 0.0), ("median", 0.5), ("p99", 0.99), ("max", 1.0)] {
        if let Some(time) = at(share) {
            print!(" {name}-ms {:.3}", ms(*time));
        }
    }
    println!(" seen {}", heard.seen.as_deref().unwrap_or("never"));
    Ok(())
}

fn ask(
    socket: &UdpSocket,
    to: SocketAddr,
    count: u64,
    interval: Duration,
    wait: Duration,
) -> io::Result<Heard> {
    let start = Instant::now();
    let mut heard = Heard { times: vec![None; count as usize], seen: None };
    let mut sent = Vec::with_capacity(count as usize);
    let mut missing = count;
    while missing > 0 {
        let next = sent.len() as u64;
        let due = start + interval * u32::try_from(next).unwrap_or(u32::MAX);
        let now = Instant::now();
        if next < count && now >= due {
            let mut question = [0; QUESTION_LEN];
            question[..8].copy_from_slice(&next.to_be_bytes());
            sent.push(now);
            // A host that is cut off or moved may refuse to send: then the packet is lost.
            let _ = socket.send_to(&question, to);
            continue;
        }
        let until = if next < count { due } else { sent.last().map_or(now, |last| *last + wait) };
        if now >= until {
            return Ok(heard);
        }
        socket.set_read_timeout(Some(until - now))?;
        missing -= u64::from(hear(socket, &sent, &mut heard));
    }
    Ok(heard)
}

/// Waits for an answer. Says whether one came that had not come before.
fn hear(socket: &UdpSocket, sent: &[Instant], heard: &mut Heard) -> bool {
    let mut buffer = [0; ANSWER_LEN_MAX];
    let Ok(len) = socket.recv(&mut buffer) else { return false };
    let answer = buffer.get(..len).unwrap_or_default();
    let Some((number, rest)) = answer.split_first_chunk::<8>() else { return false };
    let index = u64::from_be_bytes(*number) as usize;
    let (Some(sent), Some(slot)) = (sent.get(index), heard.times.get_mut(index)) else {
        return false;
    };
    let is_new = slot.is_none();
    slot.get_or_insert(sent.elapsed());
    let seen = rest.get(QUESTION_LEN - 8..).unwrap_or_default();
    heard.seen = Some(String::from_utf8_lossy(seen).into_owned());
    is_new
}

fn text(error: io::Error) -> String {
    error.to_string()
}
