//! The loop: mutate, feed, watch, keep what ends in a new way, write down what fails.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::failure::{Failure, catch, listen, stop_listening};
use super::{Ending, Meter, Target};
use crate::random::Random;

/// Inputs that are kept as seeds, the first ones included.
const CORPUS_MAX: usize = 8_192;
/// Longest input that is kept as a seed, in bytes.
const KEPT_LEN_MAX: usize = 256 << 10;
/// Failures of different kinds after which a run ends.
const FAILURES_MAX: usize = 20;
/// Runs that making an input smaller may take.
const SMALLER_RUNS_MAX: usize = 500;
/// Longest time that making an input smaller may take.
const SMALLER_TIME_MAX: Duration = Duration::from_secs(10);

/// How long and how hard.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long, in seconds.
    pub seconds: f64,
    /// The same seed gives the same inputs in the same order.
    pub seed: u64,
    /// Longest time for one input: a cap against hangs.
    pub time_max: Duration,
    /// Most memory for one input, in bytes.
    pub memory_max: usize,
    /// Where inputs that fail are written.
    pub failures: PathBuf,
    /// Feed this file alone.
    pub only: Option<PathBuf>,
}

/// What a run did.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Inputs that were fed.
    pub input_count: u64,
    /// Ways in which they ended.
    pub ending_count: usize,
    /// Kinds of failure.
    pub failure_count: usize,
}

/// What a run did, and where the inputs are that failed.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// Counts.
    pub tally: Tally,
    /// A sentence for each kind of failure, with the file's name.
    pub failures: Vec<String>,
}

/// Plays a target.
///
/// # Errors
/// When a file cannot be written. Failures of the target are in the report.
pub fn play(target: &mut dyn Target, plan: &Plan, meter: &dyn Meter) -> io::Result<Report> {
    std::fs::create_dir_all(&plan.failures)?;
    let running = plan.failures.join(format!("{}-{}-running", target.name(), plan.seed));
    let file = File::create(&running)?;
    let watch = Watch::start(plan.time_max, running.clone());
    listen();
    let mut player = Player {
        target,
        plan,
        meter,
        file,
        watch,
        kinds: HashSet::new(),
        report: Report::default(),
    };
    let played = match &plan.only {
        Some(path) => std::fs::read(path).and_then(|input| player.feed_and_note(&input).map(drop)),
        None => player.play(),
    };
    stop_listening();
    played?;
    let Player { report, watch, .. } = player;
    drop(watch);
    std::fs::remove_file(&running)?;
    Ok(report)
}

struct Player<'a> {
    target: &'a mut dyn Target,
    plan: &'a Plan,
    meter: &'a dyn Meter,
    /// Holds the input that is being fed: what is left of a run that ended the process.
    file: File,
    watch: Watch,
    /// Kinds of failure so far.
    kinds: HashSet<String>,
    report: Report,
}

impl Player<'_> {
    fn play(&mut self) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs_f64(self.plan.seconds);
        let mut random = Random::labelled(self.plan.seed, self.target.name());
        let mut endings: HashSet<Ending> = HashSet::new();
        let mut corpus = self.target.seeds();
        for seed in corpus.clone() {
            endings.extend(self.feed_and_note(&seed)?);
        }
        while Instant::now() < end && self.report.failures.len() < FAILURES_MAX {
            let input = self.target.mutate(&corpus, &mut random);
            let Some(ending) = self.feed_and_note(&input)? else { continue };
            let is_new = endings.insert(ending);
            if is_new && corpus.len() < CORPUS_MAX && input.len() <= KEPT_LEN_MAX {
                corpus.push(input);
            }
        }
        self.report.tally.ending_count = endings.len();
        Ok(())
    }

    fn feed_and_note(&mut self, input: &[u8]) -> io::Result<Option<Ending>> {
        self.report.tally.input_count += 1;
        let failure = match self.feed(input)? {
            Ok(ending) => return Ok(Some(ending)),
            Err(failure) => failure,
        };
        if self.kinds.insert(failure.kind.clone()) {
            let name = file_name(self.target.name(), &failure.kind);
            let path = self.plan.failures.join(name);
            let small = self.smaller(input.to_vec(), &failure)?;
            std::fs::write(&path, &small)?;
            let sentence = format!("{}: {}", path.display(), failure.reason);
            self.report.failures.push(sentence);
            self.report.tally.failure_count += 1;
        }
        Ok(None)
    }

    fn feed(&mut self, input: &[u8]) -> io::Result<Result<Ending, Failure>> {
        self.file.set_len(input.len() as u64)?;
        self.file.write_all_at(input, 0)?;
        self.meter.reset();
        let start = Instant::now();
        self.watch.begin();
        let result = catch(|| self.target.feed(input));
        self.watch.end();
        let (took, peak) = (start.elapsed(), self.meter.peak());
        Ok(match result {
            Ok(_) if took > self.plan.time_max => {
                Err(Failure::new(format!("took {} ms", took.as_millis())))
            }
            Ok(_) if peak > self.plan.memory_max => {
                Err(Failure::new(format!("took {peak} bytes of memory")))
            }
            result => result,
        })
    }

    /// Takes bytes away for as long as it fails in the same way.
    fn smaller(&mut self, mut input: Vec<u8>, failure: &Failure) -> io::Result<Vec<u8>> {
        let (mut run_count, start) = (0, Instant::now());
        let mut len = input.len().div_ceil(2);
        while len > 0 {
            let mut at = 0;
            while at < input.len() {
                if run_count == SMALLER_RUNS_MAX || start.elapsed() > SMALLER_TIME_MAX {
                    return Ok(input);
                }
                run_count += 1;
                let mut less = input.clone();
                less.drain(at..less.len().min(at + len));
                match self.feed(&less)? {
                    Err(same) if same.kind == failure.kind => input = less,
                    _ => at += len,
                }
            }
            len /= 2;
        }
        Ok(input)
    }
}

/// A name that the same kind of failure always has.
fn file_name(target: &str, kind: &str) -> String {
    let hash = kind.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{target}-{hash:016x}")
}

/// Ends the process when one input takes ten times as long as it may: nothing else can.
struct Watch {
    sender: mpsc::Sender<bool>,
}

impl Watch {
    fn start(time_max: Duration, running: PathBuf) -> Self {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || watch(&receiver, time_max * 10, &running));
        Self { sender }
    }

    fn begin(&self) {
        // The watcher lives until this is dropped.
        let _ = self.sender.send(true);
    }

    fn end(&self) {
        let _ = self.sender.send(false);
    }
}

fn watch(receiver: &mpsc::Receiver<bool>, time_max: Duration, running: &Path) {
    let mut is_running = false;
    loop {
        let next = match is_running {
            true => receiver.recv_timeout(time_max),
            false => receiver.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(running) => is_running = running,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                eprintln!("fuzz: an input hangs; it is in {}", running.display());
                std::process::abort();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::NoMeter;

    /// Panics at an `x`, and gives a wrong answer at `y` after `q`.
    struct Touchy;

    impl Target for Touchy {
        fn name(&self) -> &'static str {
            "touchy"
        }

        fn seeds(&mut self) -> Vec<Vec<u8>> {
            vec![b"abcdefgh q and more of it".to_vec()]
        }

        fn dictionary(&self) -> &'static [&'static [u8]] {
            &[b"x", b"y"]
        }

        fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
            assert!(!input.contains(&b'x'), "an x at last");
            match input.contains(&b'q') && input.contains(&b'y') {
                true => Err("q and y".to_owned()),
                false => Ok(Ending::of("fine").and(input.len())),
            }
        }
    }

    #[test]
    fn failures_are_found_once_each_and_made_small() {
        let name = format!("mega-fuzz-{}", std::process::id());
        let failures = std::env::temp_dir().join(name);
        let plan = Plan {
            seconds: 0.5,
            seed: 1,
            time_max: Duration::from_secs(60),
            memory_max: usize::MAX,
            failures: failures.clone(),
            only: None,
        };
        let report = play(&mut Touchy, &plan, &NoMeter).expect("files");
        assert_eq!(report.failures.len(), 2, "{:?}", report.failures);
        let mut found: Vec<Vec<u8>> = std::fs::read_dir(&failures)
            .expect("there")
            .map(|entry| std::fs::read(entry.expect("an entry").path()).expect("reads"))
            .collect();
        found.sort_by_key(Vec::len);
        assert_eq!(found[0], b"x");
        assert_eq!(found[1].len(), 2, "a q and a y");
        assert!(report.tally.ending_count > 1 && report.tally.input_count > 10);
        std::fs::remove_dir_all(&failures).expect("removed");
    }
}
