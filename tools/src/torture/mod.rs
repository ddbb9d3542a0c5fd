//! Torture of the real program: killed, its power cut, its disk broken or full, at random points of
//! its work; and a bit of its files changed while it rests.
//!
//! Each round starts from a store with work that was acknowledged, interrupts more work, and then
//! demands: the store opens, what was acknowledged is whole, the interrupted work can be finished,
//! and git says that it is right. With `--served` the work is pushes and LFS uploads to a running
//! server, which is killed the moment a client was told that its work is done. Seeds are printed;
//! the same seed gives the same inputs and delays, the machine's own timing aside.

pub mod diskfault;
pub mod flips;
pub mod killnine;
mod load;
pub mod mixed;
pub mod powercut;
mod subject;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use self::subject::{Subject, Work};
use crate::args::Args;

/// What both tortures take from the command line.
struct Plan {
    /// The program under test.
    program: PathBuf,
    rounds: u64,
    seed: u64,
    /// A folder of our own, made fresh.
    folder: PathBuf,
    /// Objects of each repository that is imported.
    object_count: usize,
    /// Work comes by push and upload to a server, not by commands.
    serves: bool,
}

impl Plan {
    fn read(mut args: Args, name: &str, rounds: u64) -> Result<Self, String> {
        let program: String = args.option("--program")?.ok_or("--program BIN is missing")?;
        let program = Path::new(&program).canonicalize().map_err(|e| format!("{program}: {e}"))?;
        let rounds = args.option("--rounds")?.unwrap_or(rounds);
        let seed = args.option("--seed")?.unwrap_or(1);
        let object_count = args.option("--objects")?.unwrap_or(6000);
        let folder: Option<PathBuf> = args.option("--dir")?;
        let folder = folder.unwrap_or_else(std::env::temp_dir);
        let serves = args.flag("--served");
        args.finish()?;
        let folder = folder.join(format!("mega-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        println!("{name}: {rounds} rounds, seed {seed}, in {}", folder.display());
        Ok(Self { program, rounds, seed, folder, object_count, serves })
    }

    /// A store in which this work has been acknowledged.
    fn begun(&self, before: &[Work]) -> Result<Subject, String> {
        let first = Subject::new(&self.program, &self.folder.join("first"), self.serves);
        first.init()?;
        for piece in before {
            first.finish(piece)?;
        }
        Ok(first)
    }

    /// Takes the folder away; after a failure it is left for whoever looks into it.
    fn clean(&self) -> Result<(), String> {
        std::fs::remove_dir_all(&self.folder).map_err(|e| format!("{}: {e}", self.folder.display()))
    }
}

/// Waits for `delay`, or until every sender of `done` has gone. Returns whether the delay passed
/// first.
fn wait_for(delay: Duration, done: &mpsc::Receiver<()>) -> bool {
    matches!(done.recv_timeout(delay), Err(mpsc::RecvTimeoutError::Timeout))
}
