//! `cargo x diskfault`: the disk fails a write or a sync at a random point, once or from then on,
//! or has no room left. What was acknowledged is there afterwards, and the work can be finished.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Plan;
use super::killnine::copy;
use super::subject::{Subject, Work, make_work, text};
use crate::args::Args;
use crate::random::Random;

const SOURCE: &str = include_str!("fault.c");
const KINDS: [&str; 3] = ["sync", "write", "full"];

/// The library that makes the disk fail, and the file in which it counts.
struct Fault {
    preloaded: PathBuf,
    counter: PathBuf,
}

impl Fault {
    fn build(folder: &Path) -> Result<Self, String> {
        let (source, preloaded) = (folder.join("fault.c"), folder.join("fault.so"));
        fs::write(&source, SOURCE).map_err(|e| format!("{}: {e}", source.display()))?;
        let compile = ["-shared", "-fPIC", "-O1", "-o"];
        text(Command::new("cc").args(compile).args([&preloaded, &source]).arg("-ldl"))?;
        Ok(Self { preloaded, counter: folder.join("fault.count") })
    }

    /// What makes the call of this number fail; 0: none, they are only counted.
    fn env(&self, store: &Path, kind: &str, at: u64, lasts: bool) -> Result<Env, String> {
        fs::write(&self.counter, [0; 8]).map_err(|e| format!("{}: {e}", self.counter.display()))?;
        let mut env = vec![
            ("LD_PRELOAD", self.preloaded.clone().into_os_string()),
            ("FAULT_UNDER", store.as_os_str().to_owned()),
            ("FAULT_COUNTER", self.counter.clone().into_os_string()),
            ("FAULT_KIND", kind.into()),
            ("FAULT_AT", at.to_string().into()),
        ];
        if lasts {
            env.push(("FAULT_LASTS", "1".into()));
        }
        Ok(env)
    }

    fn count(&self) -> Result<u64, String> {
        let bytes = fs::read(&self.counter).map_err(|e| e.to_string())?;
        bytes.try_into().map(u64::from_ne_bytes).map_err(|_| "the counter is torn".to_owned())
    }
}

type Env = Vec<(&'static str, std::ffi::OsString)>;

/// Runs `cargo x diskfault`.
///
/// # Errors
/// Wrong arguments, or the first round that failed, with what the disk did.
pub fn run(args: Args) -> Result<(), String> {
    let plan = Plan::read(args, "diskfault", 60)?;
    let fault = Fault::build(&plan.folder)?;
    let work = make_work(&plan.folder, 2, plan.object_count, plan.seed)?;
    let (before, interrupted) = work.split_at(2);
    let first = plan.begun(before)?;
    let mut random = Random::labelled(plan.seed, "diskfault");
    let mut counts = [0u64; 3];
    for round in 0..plan.rounds {
        let piece = &interrupted[(round % 2) as usize];
        let kind = KINDS[random.below(KINDS.len())];
        let lasts = random.below(2) == 1;
        let subject = Subject::new(&plan.program, &plan.folder.join("store"), plan.serves);
        copy(&first, &subject)?;
        let env = fault.env(&subject.store, kind, 0, false)?;
        subject.start_with(piece, &env)?.wait().map_err(|error| error.to_string())?;
        let calls = fault.count()?;
        if calls == 0 {
            return Err(format!("harness, not program: no {kind} was seen"));
        }
        let at = 1 + random.below(calls as usize) as u64;
        copy(&first, &subject)?;
        let env = fault.env(&subject.store, kind, at, lasts)?;
        let status = subject.start_with(piece, &env)?.wait().map_err(|error| error.to_string())?;
        let end = match (status.success(), status.code()) {
            (true, _) => 0,
            (false, Some(_)) => 1,
            // An abort is no clean end.
            (false, None) => {
                return Err(format!("round {round}: it was ended by a signal: {status}"));
            }
        };
        counts[end] += 1;
        counts[2] += u64::from(lasts);
        let said = ["acknowledged", "refused"][end];
        let at = format!(
            "round {round}, {kind} {at} of {calls} failed{}",
            if lasts { " and all later" } else { "" }
        );
        verify(&subject, before, piece, end == 0, &plan.folder)
            .map_err(|e| format!("{at}: {e}"))?;
        println!("{at}: {said}, whole");
    }
    plan.clean()?;
    let [acked, refused, lasting] = counts;
    println!(
        "diskfault: {} rounds, {lasting} with a disk that stayed broken, {refused} refused, \
         {acked} acknowledged, 0 failed",
        plan.rounds
    );
    Ok(())
}

/// With a sound disk again: what was acknowledged is whole, the rest can be finished.
fn verify(
    subject: &Subject,
    before: &[Work],
    piece: &Work,
    is_acked: bool,
    folder: &Path,
) -> Result<(), String> {
    for piece in before {
        subject.check(piece, folder)?;
    }
    if is_acked {
        subject.check(piece, folder)?;
    }
    subject.check_interrupted(piece, folder)?;
    subject.finish(piece)?;
    subject.check(piece, folder)
}
