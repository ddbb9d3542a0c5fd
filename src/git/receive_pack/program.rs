//! The program that a repository's owner has run after each push (`receive.postReceive`).
//!
//! It gets `<old> <new> <name>` lines for what was changed, like git's post-receive hook, and no
//! repository on a disk: `MEGA_REPO` and `MEGA_ACTOR` say where and who, `GIT_PUSH_OPTION_*` what
//! the client gave along. The push is done and stays done, whatever it does; what it says goes to
//! the client, made harmless. It has a time limit, and its output one of length.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::Change;
use super::audit::hex;
use super::channel::Channel;
use crate::git::Service;
use crate::git::limits::PROGRAM_OUTPUT_LEN_MAX;
use crate::git::wire::sanitise;

/// Between two looks at whether it has ended while it is silent.
const LOOK: Duration = Duration::from_millis(20);
/// How long its output is waited for once it has ended.
const GRACE: Duration = Duration::from_secs(1);
/// Variables that it gets from this process.
const PASSED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// Runs the program to its end, or to the end of its time.
pub(super) fn run(
    program: &str,
    service: &Service<'_>,
    changes: &[Change<'_>],
    options: &[Vec<u8>],
    channel: &Channel<'_>,
) {
    let mut lines = Vec::new();
    for (name, old, new) in changes {
        lines.extend_from_slice(format!("{} {} ", hex(*old), hex(*new)).as_bytes());
        lines.extend_from_slice(name.as_bytes());
        lines.push(b'\n');
    }
    if let Err(words) = run_within(program, service, lines, options, channel) {
        tracing::warn!(repo = %service.repo.name, program, words, "the program after a push");
        channel.say("warning", &format!("the program after the push {words}"));
    }
}

fn run_within(
    program: &str,
    service: &Service<'_>,
    lines: Vec<u8>,
    options: &[Vec<u8>],
    channel: &Channel<'_>,
) -> Result<(), String> {
    let time_max = service.limits.program_time;
    let deadline = Instant::now() + time_max;
    let (mut child, output) = start(program, service, lines, options)
        .map_err(|error| format!("could not be run: {error}"))?;
    let mut len = 0;
    let mut ended: Option<(ExitStatus, Instant)> = None;
    let status = loop {
        let is_closed = match output.recv_timeout(LOOK) {
            Ok(bytes) => {
                show(&bytes, &mut len, channel);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if let (None, Ok(Some(status))) = (ended, child.try_wait()) {
            ended = Some((status, Instant::now()));
        }
        match ended {
            // What it has started may hold its output open for as long as it likes.
            Some((status, at)) if is_closed || at.elapsed() >= GRACE => break Some(status),
            None if Instant::now() >= deadline => break None,
            Some(_) => {}
            // It has closed its output and runs on.
            None if is_closed => thread::park_timeout(LOOK),
            None => {}
        }
    };
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
        }),
        None => {
            end_group(&mut child);
            Err(format!("took more than {time_max:?} and was ended"))
        }
    }
}

fn start(
    program: &str,
    service: &Service<'_>,
    lines: Vec<u8>,
    options: &[Vec<u8>],
) -> std::io::Result<(Child, Receiver<Vec<u8>>)> {
    use std::os::unix::ffi::OsStrExt;
    let (mut reader, writer) = std::io::pipe()?;
    let mut command = Command::new(program);
    command.env_clear().current_dir("/").process_group(0);
    for name in PASSED {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.env("MEGA_REPO", service.repo.name.as_str()).env("MEGA_ACTOR", service.actor);
    command.env("GIT_PUSH_OPTION_COUNT", options.len().to_string());
    for (index, option) in options.iter().enumerate() {
        let option: Vec<u8> = option.iter().copied().filter(|byte| *byte != 0).collect();
        command.env(format!("GIT_PUSH_OPTION_{index}"), std::ffi::OsStr::from_bytes(&option));
    }
    command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command still holds the pipe's writing end: the reader would never see its end.
    drop(command);
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input loses nothing but that.
        thread::spawn(move || drop(stdin.write_all(&lines)));
    }
    let (sender, receiver) = sync_channel(4);
    thread::spawn(move || {
        let mut buffer = vec![0; 8 << 10];
        while let Ok(len @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    Ok((child, receiver))
}

fn show(bytes: &[u8], len: &mut usize, channel: &Channel<'_>) {
    let room = PROGRAM_OUTPUT_LEN_MAX.saturating_sub(*len);
    let was_told = *len > PROGRAM_OUTPUT_LEN_MAX;
    *len += bytes.len();
    if was_told {
        return;
    }
    channel.show(&sanitise(&bytes[..bytes.len().min(room)]));
    if *len > PROGRAM_OUTPUT_LEN_MAX {
        channel.show("\n... and more\n");
    }
}

/// Ends the program and what it has started.
fn end_group(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}
