//! The command line: arguments in, an answer on standard output, words on standard error, an exit
//! code.
//!
//! Each verb has a file: its arguments, the request that they make, what is done for it and how it
//! is shown. A request is done by the process that has the store open, by this one when there is
//! none: see `reach`.

mod backup;
mod cache;
mod cat;
mod completions;
mod debug;
mod discover;
mod exit;
mod export;
mod file;
mod fsck;
mod gc;
mod git_remote;
mod hold;
mod import;
mod init;
mod lfs_agent;
mod ls;
mod mount;
mod mount_helper;
mod output;
mod parse;
mod peer;
mod peer_stream;
mod pin;
mod prefetch;
mod progress;
mod reach;
mod repo;
mod run;
mod serve;
mod stats;
mod status;
mod token;
mod unmount;
mod verify;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::panic;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{self, ConfigError, StoreLocation};
use crate::control::Exit;
use output::Terminal;

/// Exit code: well.
const OK: u8 = 0;
/// Exit code: the answer is no, or it failed.
const FAILED: u8 = 1;
/// Exit code: the command line is wrong.
const USAGE: u8 = 2;
/// Exit code: our bug.
const BUG: u8 = 3;

const AFTER_HELP: &str = "\
Exit codes: 0 well; 1 the answer is no, or it failed; 2 wrong usage; 3 a bug in this program.
Standard output has the answer and nothing else; words and progress go to standard error.

Examples:
  mega-store import ~/src/model            take a repository in, LFS content included
  mega-store mount model@v1.0 /mnt/model   its tag v1.0 as a directory, at once
  mega-store unmount /mnt/model
  mega-store export model /tmp/model.git   back out, as plain git";

/// One content-addressed store for code and LLM weights.
#[derive(Parser, Debug)]
#[command(
    name = "mega-store",
    version,
    about,
    long_about = "One content-addressed store for code and LLM weights.\n\n\
        It takes in git repositories with their LFS content, stores everything once, and shows any \
        revision as a directory: only the bytes that a program reads are read from the store.",
    after_long_help = AFTER_HELP,
    max_term_width = 100,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Verb,
}

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
struct Global {
    /// The store's directory
    ///
    /// Without it: $MEGA_STORE, else $XDG_DATA_HOME/mega-store, else ~/.local/share/mega-store.
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Answer in JSON, one object a line
    ///
    /// Field names are stable. A value that is not known is null.
    #[arg(long, global = true)]
    json: bool,
    /// No words and no progress, only errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log what is done; twice for more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Init(init::Args),
    Import(import::Args),
    Export(export::Args),
    #[command(subcommand)]
    Repo(repo::Verb),
    #[command(subcommand)]
    File(file::Verb),
    Ls(ls::Args),
    Cat(cat::Args),
    Mount(mount::Args),
    Unmount(unmount::Args),
    Prefetch(prefetch::Args),
    Pin(pin::Args),
    Cache(cache::Args),
    Serve(serve::Args),
    #[command(subcommand)]
    Token(token::Verb),
    #[command(subcommand)]
    Peer(peer::Verb),
    Discover(discover::Args),
    Status(status::Args),
    Stats(stats::Args),
    Gc(gc::Args),
    Fsck(fsck::Args),
    Verify(verify::Args),
    #[command(subcommand)]
    Backup(backup::Verb),
    LfsAgent(lfs_agent::Args),
    #[command(hide = true)]
    GitRemote(git_remote::Args),
    #[command(subcommand)]
    Debug(debug::Verb),
    Completions(completions::Args),
}

/// Runs the program; returns its exit code.
pub fn main(args: Vec<OsString>) -> u8 {
    match panic::catch_unwind(|| main_inner(args)) {
        Ok(code) => code,
        Err(_) => {
            eprintln!("error: this is a bug in mega-store, sorry");
            eprintln!("hint: please report it with the lines above and the command that led to it");
            BUG
        }
    }
}

fn main_inner(args: Vec<OsString>) -> u8 {
    let args = match mount_helper::translate(git_remote::translate(args)) {
        Ok(args) => args,
        Err(exit) => return finish(exit, &Terminal::new(false)),
    };
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    start_log(&cli.global);
    let terminal = Terminal::new(cli.global.quiet);
    let exit = match locate(&cli.global) {
        Ok(location) => run(&cli, &location, &terminal),
        Err(error) => exit::of_config(&error),
    };
    finish(exit, &terminal)
}

fn run(cli: &Cli, location: &StoreLocation, terminal: &Terminal) -> Exit {
    let context = reach::Context { location, terminal, global: &cli.global };
    match &cli.command {
        Verb::Init(args) => init::run(args, &context),
        Verb::Completions(args) => completions::run(args, &mut Cli::command(), terminal),
        Verb::Mount(args) => mount::run(args, &context),
        Verb::Unmount(args) => unmount::run(args, &context),
        Verb::LfsAgent(args) => lfs_agent::run(args, &context),
        Verb::GitRemote(args) => git_remote::run(args, &context),
        Verb::Import(args) => reach::perform(&context, args.request()),
        Verb::Export(args) => reach::perform(&context, args.request()),
        Verb::Repo(verb) => reach::perform(&context, verb.request()),
        Verb::File(verb) => reach::perform(&context, verb.request()),
        Verb::Ls(args) => reach::perform(&context, args.request()),
        Verb::Cat(args) => reach::perform(&context, args.request()),
        Verb::Prefetch(args) => reach::perform(&context, args.request()),
        Verb::Pin(args) => reach::perform(&context, args.request()),
        Verb::Cache(args) => reach::perform(&context, args.request()),
        Verb::Serve(args) => serve::run(args, &context),
        Verb::Token(verb) => reach::perform(&context, verb.request()),
        Verb::Peer(verb) => reach::perform(&context, verb.request()),
        Verb::Discover(args) => reach::perform(&context, args.request()),
        Verb::Status(args) => reach::perform(&context, args.request()),
        Verb::Stats(args) => reach::perform(&context, args.request()),
        Verb::Gc(args) => reach::perform(&context, args.request()),
        Verb::Fsck(args) => reach::perform(&context, args.request()),
        Verb::Verify(args) => reach::perform(&context, args.request()),
        Verb::Backup(verb) => backup::run(verb, &context),
        Verb::Debug(verb) => match verb.request() {
            Ok(request) => reach::perform(&context, request),
            Err(error) => Exit {
                code: FAILED,
                error: Some(format!("standard input cannot be read: {error}")),
                hint: Some("give ids, one a line".to_owned()),
            },
        },
    }
}

fn locate(global: &Global) -> Result<StoreLocation, ConfigError> {
    config::store_location(global.store.as_deref(), &|name| std::env::var_os(name))
}

/// Says how it ended.
fn finish(exit: Exit, terminal: &Terminal) -> u8 {
    terminal.end_progress();
    if let Some(error) = &exit.error {
        terminal.say(&format!("error: {error}"));
    }
    if let Some(hint) = &exit.hint {
        terminal.say(&format!("hint: {hint}"));
    }
    exit.code
}

/// Shows help where it was asked for, else what is wrong with the command line.
fn refuse(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        // A reader that closed the pipe has read enough.
        let _ = error.print();
        return OK;
    }
    let text = error.render().to_string();
    let text = text.trim_end();
    let text = text.strip_suffix("For more information, try '--help'.").unwrap_or(text).trim_end();
    eprintln!("{text}");
    if !text.contains("\nUsage: mega-store <COMMAND>") || text.starts_with("error") {
        eprintln!("hint: add --help to see what the command takes");
    }
    USAGE
}

/// Logs to standard error; `$MEGA_LOG` overrides what is logged.
fn start_log(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("MEGA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

/// A path that means the same in every process.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
