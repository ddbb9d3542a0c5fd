//! `cargo x TASK`: one door to the project's own tasks.
//!
//! Exit code 0: done; 1: the answer is no, or it failed; 2: usage. `netlab` has more of them.

use std::process::ExitCode;

use mega_tools::args::Args;
use mega_tools::{corpus, fuzz, licences, netlab, tidy, torture};

const USAGE: &str = "\
cargo x TASK

  tidy [--fix] [--rules]           checks the house rules; --fix wraps long comments first
  licences                         checks licences and sources of all dependencies by deny.toml
  weights OUT --mib N [--dtype bf16|fp16|fp32] [--seed S]
                                   writes N MiB of .safetensors with a LLaMA's shapes
  weights OUT --finetune FROM [--percent 10] [--seed S]
                                   writes FROM with that share of its bytes trained on
  repo OUT [--objects N] [--seed S] [--no-repack]
                                   makes a git repository: merges, tags, links, modes
  tree OUT [--files 50000] [--seed S]
                                   writes a directory of small source files, without git
  fuzz TARGET [--seconds 60] [--seed S] [--jobs N] [--record] [--input FILE] [--failures DIR]
                                   feeds mutated inputs to what reads bytes from outside
  killnine --program BIN [--served] [--rounds 50] [--seed S] [--dir DIR]
                                   kills imports at random points and checks what is left;
                                   --served: a server, during pushes and LFS uploads
  powercut --program BIN [--served] [--rounds 20] [--seed S] [--dir DIR]
                                   cuts the power under the same on a loop image (root only)
  diskfault --program BIN [--served] [--rounds 60] [--seed S] [--dir DIR]
                                   fails a write or sync of the same, or has no room for it
  flips --program BIN [--rounds 300] [--seed S] [--dir DIR]
                                   changes a bit of a file of a store: named, never wrong, mended
  mixed --program BIN [--rounds 50] [--minutes M] [--seed S] [--dir DIR]
                                   pushes, deletions, clones, mounts and gc at once on a server
                                   that is killed; for M minutes: that is not, and gives space back
  netlab lab|exec|PROBE ...        hosts with links as bad as asked (root only; netlab alone: how)
";

fn main() -> ExitCode {
    let mut args = Args::new(std::env::args().skip(1).collect());
    let Some(task) = args.positional() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = |()| ExitCode::SUCCESS;
    let result = match task.as_str() {
        "tidy" => tidy::run(args).map(done),
        "licences" => licences::run(args).map(done),
        "weights" => corpus::weights::run(args).map(done),
        "repo" => corpus::repo::run(args).map(done),
        "tree" => corpus::tree::run(args).map(done),
        "fuzz" => fuzz::run(args).map(done),
        "killnine" => torture::killnine::run(args).map(done),
        "powercut" => torture::powercut::run(args).map(done),
        "diskfault" => torture::diskfault::run(args).map(done),
        "flips" => torture::flips::run(args).map(done),
        "mixed" => torture::mixed::run(args).map(done),
        "netlab" => netlab::run(args),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("cargo x: no task '{other}'\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            eprintln!("cargo x {task}: {message}");
            ExitCode::FAILURE
        }
    }
}
