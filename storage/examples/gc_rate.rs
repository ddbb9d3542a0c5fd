//! What gc costs: processor time, memory, and how long others wait for it.
//!
//! `gc_rate DIR OBJECTS CHUNKS`: fills a store in DIR with made-up content of which a tenth is
//! dead, collects while one thread pushes and one reads, and prints a line: seconds of processor
//! time by step, bytes of memory at the most above what was there before, and the longest waits of
//! the other threads with gc and for ten seconds without. Waits are what is left of the time after
//! what a thread computed and waited for a processor to be free. Run it with several sizes, each a
//! process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mega_storage::{
    Expect, GcOptions, NoProgress, ObjectId, Progress, RefEdit, RefName, RefTarget, RefTransaction,
    RepoId, RepoName, Result, Store, StoreOptions, Synthetic, Unit, Visibility,
};
use rustix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, dir, objects, chunks] = &args[..] else {
        eprintln!("usage: gc_rate DIR OBJECTS CHUNKS");
        return ExitCode::from(2);
    };
    let (Ok(objects), Ok(chunks)) = (objects.parse(), chunks.parse()) else {
        eprintln!("error: OBJECTS and CHUNKS are numbers");
        return ExitCode::from(2);
    };
    match run(Path::new(dir), objects, chunks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Seconds of processor time of the process.
fn cpu_s() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A number of `/proc/self/status`, in bytes.
fn memory(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let digits = line.unwrap_or_default().trim_start_matches(':').trim().trim_end_matches(" kB");
    digits.parse::<u64>().unwrap_or(0) * 1024
}

/// Prints the processor time of each step.
struct Steps(std::sync::Mutex<(&'static str, f64)>);

impl Progress for Steps {
    fn start(&self, what: &'static str, _: Option<u64>, _: Unit) {
        let now = cpu_s();
        if let Ok(mut last) = self.0.lock() {
            if !last.0.is_empty() {
                println!("  {:24} {:7.2} CPU-s", last.0, now - last.1);
            }
            *last = (what, now);
        }
    }

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        false
    }
}

fn run(dir: &Path, objects: u64, chunks: u64) -> Result<()> {
    {
        let store = Store::create(dir, &StoreOptions::default())?;
        Synthetic { objects, chunks, dead_share: 10 }.fill(&store)?;
        store.compact()?;
    }
    // Opened anew: what filling took is not gc's.
    let store = Store::open(dir, &StoreOptions::default())?;
    let other = store.repos().create(&RepoName::new("other")?, Visibility::Private)?.id;
    let of = store.repos().get(&RepoName::new("made/up")?)?.id;
    let ids: Vec<ObjectId> =
        store.objects().members(of).step_by(997).take(1_000).collect::<Result<_>>()?;
    let fast = beside(&store, other, of, &ids, |_| thread::park_timeout(Duration::from_secs(10)))?;
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (start, before) = (cpu_s(), memory("VmRSS"));
    let options = GcOptions { grace_s: 0, dry_run: false };
    let report = store.gc(&GcOptions { dry_run: true, ..options }, &NoProgress)?;
    let planned = cpu_s() - start;
    println!(
        "dry run: {planned:.2} CPU-s, {} objects, {} chunks",
        report.object_count, report.chunk_count
    );
    let steps = Steps(std::sync::Mutex::new(("", 0.0)));
    let start = cpu_s();
    let alone = std::env::var_os("GC_RATE_ALONE").is_some();
    let mut report = None;
    let slow = if alone {
        report = Some(store.gc(&options, &steps)?);
        Waits::default()
    } else {
        beside(&store, other, of, &ids, |_| report = store.gc(&options, &steps).ok())?
    };
    steps.start("", None, Unit::Objects);
    let total = cpu_s() - start;
    let Some(report) = report else { return Ok(()) };
    let peak = memory("VmHWM").saturating_sub(before);
    println!(
        "{objects} objects, {chunks} chunks: {total:.2} CPU-s, {} MiB at most, {} objects and \
         {} chunks gone, {} -> {} MiB",
        peak >> 20,
        report.object_count,
        report.chunk_count,
        report.before_len >> 20,
        report.after_len >> 20
    );
    println!("  without gc: {fast}\n  with gc:    {slow}");
    Ok(())
}

/// Times what one thread waits for others and for the disk.
struct Waiting {
    /// The scheduler's account of the thread. `None`: this system keeps none, and waits for a
    /// processor count.
    account: Option<File>,
}

impl Waiting {
    fn new() -> Self {
        Self { account: File::open("/proc/thread-self/schedstat").ok() }
    }

    /// Seconds that the thread computed, and that it waited for a processor.
    fn scheduled_s(&self) -> f64 {
        let mut bytes = [0; 64];
        let account = self.account.as_ref();
        let len = account.and_then(|file| file.read_at(&mut bytes, 0).ok()).unwrap_or(0);
        let text = std::str::from_utf8(&bytes[..len]).unwrap_or_default();
        let waited_ns = text.split_ascii_whitespace().nth(1).and_then(|ns| ns.parse::<f64>().ok());
        seconds(ClockId::ThreadCPUTime) + waited_ns.unwrap_or_default() / 1e9
    }

    /// Does something; milliseconds that it waited.
    fn of<T>(&self, work: impl FnOnce() -> T) -> (T, f64) {
        let (start, before) = (Instant::now(), self.scheduled_s());
        let done = work();
        let scheduled = self.scheduled_s() - before;
        (done, (start.elapsed().as_secs_f64() - scheduled).max(0.0) * 1e3)
    }
}

/// How long others waited, in milliseconds.
#[derive(Default)]
struct Waits {
    pushes: Vec<f64>,
    reads: Vec<f64>,
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, waits) in [("push", &self.pushes), ("read", &self.reads)] {
            let mut waits = waits.clone();
            waits.sort_unstable_by(f64::total_cmp);
            let at = |share: f64| {
                let index = (waits.len() as f64 * share) as usize;
                waits.get(index.min(waits.len().saturating_sub(1))).copied().unwrap_or(0.0)
            };
            let (half, most, max) = (at(0.5), at(0.999), at(1.0));
            write!(
                f,
                "{what} {} x: {half:.3} ms, 99.9 % {most:.2} ms, max {max:.1} ms; ",
                waits.len()
            )?;
        }
        Ok(())
    }
}

/// Does `work` while others push and read.
fn beside(
    store: &Store,
    other: RepoId,
    of: RepoId,
    ids: &[ObjectId],
    work: impl FnOnce(&Store),
) -> Result<Waits> {
    let done = AtomicBool::new(false);
    let (pushes, reads) = thread::scope(|scope| {
        let pushes = scope.spawn(|| push(store, other, of, ids, &done));
        let reads = scope.spawn(|| {
            let (waiting, mut waits) = (Waiting::new(), Vec::new());
            while !done.load(Ordering::Relaxed) {
                for id in ids {
                    let look = || store.objects().is_member(of, id);
                    let (_, waited) = waiting.of(|| look().and_then(|_| store.objects().read(id)));
                    waits.push(waited);
                }
                thread::park_timeout(Duration::from_millis(5));
            }
            waits
        });
        work(store);
        done.store(true, Ordering::Relaxed);
        (pushes.join(), reads.join())
    });
    let pushes = pushes.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let reads = reads.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(Waits { pushes, reads })
}

/// The locks of a push, without its fsync of a reference: a lease, a look, the commit lock.
fn push(
    store: &Store,
    other: RepoId,
    of: RepoId,
    ids: &[ObjectId],
    done: &AtomicBool,
) -> Result<Vec<f64>> {
    let name = RefName::new(b"refs/heads/x")?;
    let nothing = RefTransaction {
        edits: vec![RefEdit { name, expect: Expect::Any, new: None::<RefTarget> }],
    };
    let (waiting, mut waits) = (Waiting::new(), Vec::new());
    while !done.load(Ordering::Relaxed) {
        let (applied, waited) = waiting.of(|| {
            drop(store.hold(of, ids.get(..1).unwrap_or_default()));
            store.refs().apply(other, &nothing)
        });
        applied?;
        waits.push(waited);
        thread::park_timeout(Duration::from_millis(1));
    }
    Ok(waits)
}
