//! Measures how fast files are taken in and read back.
//!
//! `ingest_rate STORE FILE...` makes a store in the new directory STORE (or opens the one that is
//! there), takes each file in and prints megabytes per second of wall clock and of processor time
//! (user and system, all threads), the stored ratio and the process's peak memory. `--read` after
//! the files reads each back through the sequential reader.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use mega_storage::{FileId, NoProgress, Store, StoreOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let read = args.last().is_some_and(|last| last == "--read");
    args.truncate(args.len() - usize::from(read));
    let Some((store_path, files)) = args.split_first() else {
        return Err("usage: ingest_rate STORE FILE... [--read]".into());
    };
    let store_path = PathBuf::from(store_path);
    let options = StoreOptions::default();
    let store = match store_path.join("FORMAT").exists() {
        true => Store::open(&store_path, &options)?,
        false => Store::create(&store_path, &options)?,
    };
    let mut ids = Vec::new();
    for path in files {
        let start = Clocks::now()?;
        let report = store.files().ingest(None, &mut File::open(path)?, None, &NoProgress)?;
        let ratio = report.stored_len as f64 / (report.new_len.max(1)) as f64;
        let new = report.new_chunk_count;
        println!("{path}: {} bytes, {} chunks, {new} new", report.len, report.chunk_count);
        println!("  ingest {}, ratio of the new {ratio:.4}", start.rate(report.len)?);
        ids.push(report.id);
    }
    for id in ids.iter().filter(|_| read) {
        let start = Clocks::now()?;
        let len = read_back(&store, id)?;
        println!("{id}: read {}", start.rate(len)?);
    }
    println!("peak memory {} MiB", peak_kib()? / 1024);
    Ok(())
}

fn read_back(store: &Store, id: &FileId) -> Result<u64, Box<dyn std::error::Error>> {
    let mut reader = store.files().reader(id)?;
    let mut sink = io::sink();
    let mut len = 0;
    loop {
        let bytes = reader.next_bytes()?;
        if bytes.is_empty() {
            return Ok(len);
        }
        len += bytes.len() as u64;
        sink.write_all(&bytes)?;
    }
}

struct Clocks {
    wall: Instant,
    cpu_s: f64,
}

impl Clocks {
    fn now() -> io::Result<Self> {
        Ok(Self { wall: Instant::now(), cpu_s: cpu_seconds()? })
    }

    fn rate(&self, len: u64) -> io::Result<String> {
        let megabytes = len as f64 / 1e6;
        let wall = megabytes / self.wall.elapsed().as_secs_f64();
        let cpu = megabytes / (cpu_seconds()? - self.cpu_s);
        Ok(format!("{wall:.0} MB/s, {cpu:.0} MB per CPU-second"))
    }
}

/// Processor time of this process, user and system, in seconds.
fn cpu_seconds() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    // Fields 14 and 15, counted from the one after the name; Linux counts 100 a second.
    let total = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    total.map(|t| t / 100.0).ok_or_else(|| io::Error::other("/proc/self/stat is not as expected"))
}

/// The highest resident size of this process so far, in KiB.
fn peak_kib() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/status has no VmHWM"))
}
