//! `cargo x netlab`: hosts as network namespaces, with links between them that are as bad as asked.
//!
//! A packet of a host leaves its namespace through a TUN device; one thread (`emulator`) moves it
//! through the network (`fabric`: `link`, `nat`) and into the device of another. So it needs no
//! netem, no bridge, no firewall, and leaves nothing behind. Scenarios drive a lab by its input and
//! output (`lab`, `command`) and run programs inside hosts (`host`); `probe` is what a scenario
//! measures the network itself with. They are written in Python: `tools/scenarios/README.md`.
//!
//! Exit code: 0 done; 1 the answer is no, or it failed; 2 usage; 77 SKIPPED, since the machine has
//! no root or no TUN; of `exec`, the command's own.

mod command;
mod emulator;
mod fabric;
mod host;
mod interface;
mod lab;
mod link;
mod nat;
mod packet;
mod probe;
mod sys;
mod units;

use std::process::ExitCode;

use crate::args::Args;

/// Exit code when the machine cannot do it, as automake has it.
const SKIPPED: u8 = 77;
const USAGE: &str = "\
cargo x netlab lab [--seed S]        a lab: commands in, answers out (help lists them)
cargo x netlab exec HOST -- COMMAND  runs a command in a host, by name or by its first process
Probes, to be run in hosts:
cargo x netlab echo PORT             answers UDP with who has asked
cargo x netlab ping ADDRESS:PORT [--count 100] [--interval 10ms] [--wait 1s] [--from PORT]
                                     asks an echo; prints times, losses, and who it was seen as
cargo x netlab tcp-serve PORT        sends as many bytes as are asked for
cargo x netlab tcp-get ADDRESS:PORT... --mb N [--congestion NAME]
                                     takes N MB from each at once by requests of 1 MiB, 8 on the way
";

/// Runs `cargo x netlab`.
///
/// # Errors
/// What has failed, or what is wrong with the words.
pub fn run(mut args: Args) -> Result<ExitCode, String> {
    let command = args.rest();
    let done = |()| ExitCode::SUCCESS;
    match args.positional().as_deref() {
        Some("lab") => {
            let seed = args.option("--seed")?.unwrap_or(1);
            args.finish()?;
            if let Err(why) = host::trial() {
                eprintln!("netlab: SKIPPED: {why}");
                return Ok(ExitCode::from(SKIPPED));
            }
            lab::run(seed).map(done)
        }
        Some("exec") => {
            let host = args.required("HOST")?;
            args.finish()?;
            host::exec(&host, &command).map(ExitCode::from)
        }
        // What a lab starts for itself.
        Some("host") => host::run_first().map(done),
        Some("echo") => probe::udp::echo(args).map(done),
        Some("ping") => probe::udp::ping(args).map(done),
        Some("tcp-serve") => probe::tcp::serve(args).map(done),
        Some("tcp-get") => probe::tcp::get(args).map(done),
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}
