//! `cargo x killnine`: kill -9 at random points. Proves that work is all or nothing, not that it is
//! durable.

use std::sync::mpsc;
use std::time::Duration;

use super::subject::{Subject, adopt_orphans, copy_store, kill_group, make_work, wait_group};
use super::{Plan, wait_for};
use crate::args::Args;
use crate::random::Random;

/// Runs `cargo x killnine`.
///
/// # Errors
/// Wrong arguments, or the first round that failed, with its number and delay.
pub fn run(args: Args) -> Result<(), String> {
    let plan = Plan::read(args, "killnine", 50)?;
    adopt_orphans();
    let work = make_work(&plan.folder, 2, plan.object_count, plan.seed)?;
    let (before, interrupted) = work.split_at(2);
    let first = plan.begun(before)?;
    let mut random = Random::labelled(plan.seed, "killnine");
    let mut unfinished_count = 0;
    for round in 0..plan.rounds {
        let piece = &interrupted[(round % 2) as usize];
        let subject = Subject::new(&plan.program, &plan.folder.join("store"), plan.serves);
        copy(&first, &subject)?;
        let took = subject.finish(piece)?;
        copy(&first, &subject)?;
        let delay = Duration::from_micros(random.below(took.as_micros() as usize) as u64);
        let mut child = subject.start(piece)?;
        let (_open, nobody) = mpsc::channel();
        wait_for(delay, &nobody);
        let running = matches!(child.try_wait(), Ok(None));
        kill_group(child.id())?;
        child.wait().map_err(|error| error.to_string())?;
        wait_group(child.id())?;
        unfinished_count += u64::from(running);
        let verify = || {
            for piece in before {
                subject.check(piece, &plan.folder)?;
            }
            subject.check_interrupted(piece, &plan.folder)?;
            subject.finish(piece)?;
            subject.check(piece, &plan.folder)
        };
        let at = format!("round {round}, {} ms of {}", delay.as_millis(), took.as_millis());
        verify().map_err(|error| format!("{at}: {error}"))?;
        println!("{at}: {}", if running { "killed, whole" } else { "was done already, whole" });
    }
    plan.clean()?;
    println!("killnine: {} rounds, {unfinished_count} killed in the middle, 0 failed", plan.rounds);
    Ok(())
}

/// Makes `to` a copy of the store `from`, which no process has open.
pub(super) fn copy(from: &Subject, to: &Subject) -> Result<(), String> {
    copy_store(&from.store, &to.store)
}
