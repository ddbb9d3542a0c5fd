//! The program: all of it is in the library, so that tests and benches reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(mega_store::cli::main(std::env::args_os().collect()))
}
