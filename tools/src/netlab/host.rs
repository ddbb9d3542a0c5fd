//! A host: network, mounts, processes and name of its own, which all go with the lab.
//!
//! A host is kept by its first process, `x netlab host NAME`. When that process ends, the kernel
//! kills every other process of the host, and with the last one mounts and network go. It ends when
//! its standard input does: when the lab ends, by whatever signal. Nothing is left in `/run/netns`,
//! because nothing was ever there.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::fabric::Addresses;
use super::{interface, sys};

/// Time that processes have to go after they were killed. Longer means that one hangs in a system
/// call.
const KILL_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether they have gone; a child's end wakes earlier.
const KILL_POLL: Duration = Duration::from_millis(5);
/// Signals that are passed on to a command in a host.
const PASSED: [libc::c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];
/// What the first process of a host understands, and what it answers.
const KILL: &str = "kill";
const DONE: &str = "done";

/// A running host.
pub struct Host {
    /// Its first process, as seen from outside.
    pub pid: u32,
    first: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Host {
    /// Makes a host. Returns it with the device that its packets go through.
    ///
    /// # Errors
    /// What could not be made.
    pub fn start(
        name: &str,
        addresses: &Addresses,
        has_v6: bool,
    ) -> Result<(Self, fs::File), String> {
        let make = || -> io::Result<(Self, fs::File)> {
            sys::enter_new_namespaces(name)?;
            set_network_options(has_v6)?;
            interface::bring_up_loopback()?;
            let device = interface::open()?;
            interface::configure(addresses)?;
            Ok((Self::start_first(name)?, device))
        };
        in_thread(make).map_err(|error| format!("host '{name}' cannot be made: {error}"))
    }

    /// Starts the first process from a thread that is in the host's namespaces.
    fn start_first(name: &str) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.args(["netlab", "host", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut first = command.spawn()?;
        let gone = || io::Error::other("its first process has no pipes");
        let orders = first.stdin.take().ok_or_else(gone)?;
        let answers = BufReader::new(first.stdout.take().ok_or_else(gone)?);
        let mut host = Self { pid: first.id(), first, orders: Some(orders), answers };
        host.wait_done()?;
        Ok(host)
    }

    fn wait_done(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line.trim_end() {
            DONE => Ok(()),
            "" => Err(io::Error::other("its first process has ended")),
            other => Err(io::Error::other(other.to_owned())),
        }
    }

    /// Gives the interface other addresses; `left` is a global IPv6 that it has no more.
    ///
    /// # Errors
    /// The system's.
    pub fn set_addresses(&self, addresses: &Addresses, left: &Addresses) -> io::Result<()> {
        in_thread(|| {
            sys::join_network(self.pid)?;
            if let (Some(v6), None) = (left.v6, addresses.v6) {
                interface::remove_v6(v6)?;
            }
            interface::configure(addresses)
        })
    }

    /// Sets what sockets of this host take as their congestion control, and asks whether it is so.
    ///
    /// # Errors
    /// The system's, or that it stayed as it was.
    pub fn set_congestion(&self, name: &str) -> Result<(), String> {
        let path = "/proc/sys/net/ipv4/tcp_congestion_control";
        let set = || -> io::Result<String> {
            sys::join_network(self.pid)?;
            fs::write(path, name)?;
            fs::read_to_string(path)
        };
        let is = in_thread(set).map_err(|error| format!("congestion control {name}: {error}"))?;
        if is.trim_end() == name {
            return Ok(());
        }
        Err(format!("the congestion control stays {}", is.trim_end()))
    }

    /// Packets from the host that its kernel has dropped before the lab saw them.
    pub fn kernel_dropped(&self) -> u64 {
        let table = fs::read_to_string(format!("/proc/{}/net/dev", self.pid)).unwrap_or_default();
        let line = table.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
        // Eight columns of what came in; then bytes, packets, errors, drops of what went out.
        let column = line.and_then(|line| line.split_whitespace().nth(11));
        column.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Kills every process of the host and waits until they have gone.
    ///
    /// # Errors
    /// That one does not go.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(orders) = &mut self.orders {
            orders.write_all(format!("{KILL}\n").as_bytes())?;
        }
        self.wait_done()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The first process ends with its input. Nothing can be done when it does not.
        self.orders = None;
        let _ = self.first.wait();
    }
}

/// Runs `work` in a thread of its own, which may change its namespaces.
fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(_) => Err(io::Error::other("the thread has panicked")),
    })
}

/// Says whether hosts can be made here.
///
/// # Errors
/// What is missing.
pub fn trial() -> Result<(), String> {
    if !sys::is_root() {
        return Err("it needs root".to_owned());
    }
    let namespaces = in_thread(|| sys::enter_new_namespaces("trial"));
    namespaces.map_err(|error| format!("it needs new namespaces: {error}"))?;
    let device = fs::OpenOptions::new().read(true).write(true).open(interface::DEVICE);
    device.map(drop).map_err(|error| format!("it needs {}: {error}", interface::DEVICE))
}

/// Options of a network namespace that make runs alike.
fn set_network_options(has_v6: bool) -> io::Result<()> {
    // What a connection has learned about its path is not for the next one.
    fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")?;
    // A kernel without IPv6 has no such options, and needs none.
    if !has_v6 && fs::exists("/proc/sys/net/ipv6/conf")? {
        for name in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        }
    }
    Ok(())
}

/// Runs `x netlab host`: the first process of a host, until its input ends.
///
/// # Errors
/// The system's.
pub fn run_first() -> Result<(), String> {
    let work = || -> io::Result<()> {
        sys::keep_signals(&[libc::SIGCHLD]);
        let mut ends = sys::signal_reader(&[libc::SIGCHLD])?;
        sys::mount_proc()?;
        println!("{DONE}");
        let mut input = io::stdin().lock();
        loop {
            let fds = [input.as_raw_fd(), ends.as_raw_fd()];
            let ready = sys::wait_readable(&fds, None)?;
            reap(&mut ends);
            if ready.first() != Some(&true) {
                continue;
            }
            let mut order = [0; KILL.len() + 1];
            if input.read_exact(&mut order).is_err() {
                return Ok(());
            }
            println!("{}", kill_all(&mut ends)?);
        }
    };
    work().map_err(|error| format!("first process of a host: {error}"))
}

/// Collects children that have ended; what the descriptor tells of each is not needed.
fn reap(ends: &mut fs::File) {
    while matches!(ends.read(&mut [0; 1024]), Ok(len) if len > 0) {}
    sys::reap();
}

fn kill_all(ends: &mut fs::File) -> io::Result<&'static str> {
    let start = Instant::now();
    while sys::signal(-1, libc::SIGKILL) {
        sys::wait_readable(&[ends.as_raw_fd()], Some(KILL_POLL))?;
        reap(ends);
        if start.elapsed() > KILL_MAX {
            return Ok("a process does not end");
        }
    }
    Ok(DONE)
}

/// Starts a command in the host of process `pid`, in the caller's folder. It is killed when the
/// caller dies.
///
/// # Errors
/// What is wrong with the host or the command.
fn start_inside(pid: u32, words: &[String]) -> Result<Child, String> {
    let [program, arguments @ ..] = words else { return Err("a command is missing".to_owned()) };
    let folder = std::env::current_dir().map_err(|error| format!("the folder: {error}"))?;
    sys::join_host(pid).map_err(|error| format!("host of process {pid}: {error}"))?;
    let mut command = Command::new(program);
    // Entering the host's mounts has moved this process to their root.
    command.args(arguments).current_dir(folder);
    sys::die_with_parent(&mut command).spawn().map_err(|error| format!("{program}: {error}"))
}

/// Runs `x netlab exec`: a command in the host named or kept by process `host`, with this process's
/// input and output. Passes signals on. Returns the command's exit code, or 128 + its signal.
///
/// # Errors
/// What is wrong with the host or the command.
pub fn exec(host: &str, words: &[String]) -> Result<u8, String> {
    let pid = match host.parse() {
        Ok(pid) => pid,
        Err(_) => find(host)?,
    };
    let mut signals = PASSED.to_vec();
    signals.push(libc::SIGCHLD);
    sys::keep_signals(&signals);
    let mut child = start_inside(pid, words)?;
    loop {
        let signal = sys::wait_signal(&signals).map_err(|error| error.to_string())?;
        if signal != libc::SIGCHLD {
            // Not collected yet, so the number is still the child's.
            sys::signal(child.id() as libc::pid_t, signal);
        } else if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(exit_code(status));
        }
    }
}

/// The exit code that a shell would show.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Finds the first process of the one host with this name on the machine.
fn find(name: &str) -> Result<u32, String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0).skip(1);
        if [b"netlab".as_slice(), b"host", name.as_bytes()]
            .iter()
            .all(|word| words.next() == Some(*word))
        {
            found.push(pid);
        }
    }
    match found.as_slice() {
        [pid] => Ok(*pid),
        [] => Err(format!("no lab has a host '{name}'")),
        _ => Err(format!("{} labs have a host '{name}': give its process", found.len())),
    }
}
