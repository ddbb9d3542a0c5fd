//! `completions`: a script that completes our commands in a shell.

use super::exit;
use super::output::Terminal;
use crate::control::{Exit, Reply};
use crate::node::NodeError;

/// Print a shell's completion script
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store completions bash > ~/.local/share/bash-completion/completions/mega-store
  mega-store completions zsh > ~/.zfunc/_mega-store")]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args, command: &mut clap::Command, terminal: &Terminal) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "mega-store", &mut script);
    match Reply::out(terminal, &script) {
        Ok(()) => Exit::default(),
        Err(error) => exit::of_node(&NodeError::Output(error)),
    }
}
