//! `cargo x fuzz`: plays a target by its test in `tests/fuzz/`, and keeps the counts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use super::{Plan, Report, Tally};
use crate::args::Args;
use crate::checkout;

/// Every target, each a test of this name (with `_` for `-`) in `tests/fuzz/`.
pub const TARGETS: [&str; 11] = [
    "pkt-line", "objects", "pointer", "names", "ingest", "receive", "upload", "lfs-json", "http",
    "record", "exchange",
];
/// Where counts are kept, from the checkout's root.
const COUNTS: &str = "tools/fuzz-counts.txt";
/// How long a target is played by the test suite, in seconds.
const SMOKE_SECONDS: f64 = 2.0;
/// Longest time for one input.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Most memory for one input, RocksDB's own aside.
const MEMORY_MAX: usize = 256 << 20;

const SECONDS: &str = "MEGA_FUZZ_SECONDS";
const SEED: &str = "MEGA_FUZZ_SEED";
const REPORT: &str = "MEGA_FUZZ_REPORT";
const FAILURES: &str = "MEGA_FUZZ_FAILURES";
const INPUT: &str = "MEGA_FUZZ_INPUT";

impl Plan {
    /// What the task asked for by variables; without them a short run with a fixed seed.
    pub fn from_environment() -> Self {
        let text = |name| std::env::var(name).ok();
        let own = format!("mega-fuzz-{}", std::process::id());
        Self {
            seconds: text(SECONDS).and_then(|t| t.parse().ok()).unwrap_or(SMOKE_SECONDS),
            seed: text(SEED).and_then(|t| t.parse().ok()).unwrap_or(1),
            time_max: TIME_MAX,
            memory_max: MEMORY_MAX,
            failures: text(FAILURES).map_or(std::env::temp_dir().join(own), PathBuf::from),
            only: text(INPUT).map(PathBuf::from),
        }
    }
}

impl Report {
    /// Tells the task that started this.
    ///
    /// # Panics
    /// When the report cannot be written, or when there was a failure.
    pub fn settle(&self, plan: &Plan) {
        let Tally { input_count, ending_count, failure_count } = self.tally;
        if let Ok(path) = std::env::var(REPORT) {
            let line = format!("{input_count} {ending_count} {failure_count}\n");
            std::fs::write(path, line).expect("the task made the folder");
        }
        println!("{input_count} inputs, {ending_count} endings, {failure_count} failures");
        assert!(self.failures.is_empty(), "seed {}:\n{}", plan.seed, self.failures.join("\n"));
        if std::env::var(FAILURES).is_err() {
            // Empty: what failed would have ended the test above.
            let _ = std::fs::remove_dir(&plan.failures);
        }
    }
}

/// Runs `cargo x fuzz`.
///
/// # Errors
/// Wrong arguments, or a target that failed: its files are named.
pub fn run(mut args: Args) -> Result<(), String> {
    let seconds: f64 = args.option("--seconds")?.unwrap_or(60.0);
    let seed: u64 = args.option("--seed")?.unwrap_or(1);
    let jobs: u64 = args.option("--jobs")?.unwrap_or(1);
    let input: Option<PathBuf> = args.option("--input")?;
    let failures: Option<PathBuf> = args.option("--failures")?;
    let is_recorded = args.flag("--record");
    let target = args.required(&format!("a target ({})", TARGETS.join(", ")))?;
    args.finish()?;
    if !TARGETS.contains(&target.as_str()) {
        return Err(format!("no target '{target}': it is one of {}", TARGETS.join(", ")));
    }
    let failures = failures.unwrap_or_else(|| std::env::temp_dir().join("mega-fuzz"));
    std::fs::create_dir_all(&failures).map_err(|e| format!("{}: {e}", failures.display()))?;
    let mut children = Vec::new();
    for job in 0..jobs {
        let report = failures.join(format!("{target}-{}-report", seed + job));
        let _ = std::fs::remove_file(&report);
        let mut command = test_command(&target);
        command.env(SECONDS, seconds.to_string()).env(SEED, (seed + job).to_string());
        command.env(REPORT, &report).env(FAILURES, &failures);
        if let Some(input) = &input {
            command.env(INPUT, std::path::absolute(input).map_err(|e| e.to_string())?);
        }
        children.push((command.spawn().map_err(|e| format!("cargo: {e}"))?, report));
    }
    let tally = gather(children)?;
    println!("{target}: {} inputs, {} failures", tally.input_count, tally.failure_count);
    if is_recorded {
        record(&target, seconds * jobs as f64, &tally)?;
    }
    match tally.failure_count {
        0 => Ok(()),
        count => Err(format!("{count} failures; the inputs are in {}", failures.display())),
    }
}

fn test_command(target: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(checkout());
    // What the outer cargo says of this program's package: build scripts that look at it would have
    // half of the dependencies compiled anew, here and by the next build.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|front| name.starts_with(front)) {
            command.env_remove(&*name);
        }
    }
    command.args(["test", "--quiet", "--package", "mega-store", "--test", "fuzz", "--"]);
    command.args(["--exact", "--nocapture", &target.replace('-', "_")]);
    command
}

/// Waits for the runs. One that ended without a report counts as a failure.
fn gather(children: Vec<(Child, PathBuf)>) -> Result<Tally, String> {
    let mut sum = Tally::default();
    for (mut child, path) in children {
        child.wait().map_err(|e| e.to_string())?;
        match read_report(&path) {
            Some(tally) => {
                sum.input_count += tally.input_count;
                sum.failure_count += tally.failure_count;
                sum.ending_count = sum.ending_count.max(tally.ending_count);
            }
            None => sum.failure_count += 1,
        }
    }
    Ok(sum)
}

fn read_report(path: &Path) -> Option<Tally> {
    let text = std::fs::read_to_string(path).ok()?;
    let _ = std::fs::remove_file(path);
    let mut words = text.split_whitespace();
    Some(Tally {
        input_count: words.next()?.parse().ok()?,
        ending_count: words.next()?.parse().ok()?,
        failure_count: words.next()?.parse().ok()?,
    })
}

fn record(target: &str, seconds: f64, tally: &Tally) -> Result<(), String> {
    let date = output("date", &["-u", "+%Y-%m-%d"])?;
    let commit = output("git", &["rev-parse", "--short=10", "HEAD"])?;
    let Tally { input_count, ending_count, failure_count } = tally;
    let line = format!(
        "{target} {seconds} {input_count} {ending_count} {failure_count} {date} {commit}\n"
    );
    let path = checkout().join(COUNTS);
    let file = std::fs::OpenOptions::new().append(true).open(&path);
    let mut file = file.map_err(|e| format!("{}: {e}", path.display()))?;
    file.write_all(line.as_bytes()).map_err(|e| format!("{}: {e}", path.display()))
}

fn output(program: &str, words: &[&str]) -> Result<String, String> {
    let ran = Command::new(program).args(words).current_dir(checkout()).output();
    let ran = ran.map_err(|e| format!("{program}: {e}"))?;
    Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}
