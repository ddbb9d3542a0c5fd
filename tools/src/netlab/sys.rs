//! The system calls behind hosts, links and probes, each as one safe function.
//!
//! With `interface` the only file of this room that has `unsafe`. Errors are the system's own.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Longest name of a congestion control, its end included (the kernel's `TCP_CA_NAME_MAX`).
const CONGESTION_LEN_MAX: usize = 16;
/// What a host has for itself: network, mounts, processes, name.
const NAMESPACES: libc::c_int =
    libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS;

/// Turns a call's -1 into the system's error.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Says whether this process may do everything.
pub fn is_root() -> bool {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Moves the calling thread into new namespaces named `host`. Its next child becomes the first
/// process there; other threads stay where they are. Mounts made outside still appear inside, never
/// the other way.
pub fn enter_new_namespaces(host: &str) -> io::Result<()> {
    // SAFETY: takes a number; concerns the calling thread only.
    checked(unsafe { libc::unshare(NAMESPACES) })?;
    keep_mounts_inside()?;
    // SAFETY: the name's bytes live through the call, and the length is theirs.
    checked(unsafe { libc::sethostname(host.as_ptr().cast(), host.len()) }).map(drop)
}

/// Has mounts made from now on stay in the namespace. In a changed root, which may be no mount
/// point itself, each mount that can be seen is told so.
fn keep_mounts_inside() -> io::Result<()> {
    match mount("/", libc::MS_REC | libc::MS_SLAVE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        result => return result,
    }
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    for point in table.lines().filter_map(|line| line.split(' ').nth(4)) {
        // What cannot be told stays as it was: hidden by another mount, or its name has blanks.
        let _ = mount(point, libc::MS_SLAVE);
    }
    Ok(())
}

/// Gives the namespace of processes that the caller is in a `/proc` of its own.
pub fn mount_proc() -> io::Result<()> {
    mount("/proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC)
}

fn mount(target: &str, flags: libc::c_ulong) -> io::Result<()> {
    let target = std::ffi::CString::new(target)?;
    let (none, kind) = (std::ptr::null(), c"proc".as_ptr());
    // SAFETY: all texts end with 0 and live through the call; there is no data.
    let done = unsafe { libc::mount(kind, target.as_ptr(), kind, flags, none) };
    checked(done).map(drop)
}

/// Moves the calling thread into the network of process `pid`.
pub fn join_network(pid: u32) -> io::Result<()> {
    join(pid, libc::CLONE_NEWNET)
}

/// Moves the process, which must have this thread only, into the host and the root folder of
/// process `pid`. Its next child is a process of the host.
pub fn join_host(pid: u32) -> io::Result<()> {
    let root = std::fs::File::open(format!("/proc/{pid}/root"))?;
    join(pid, NAMESPACES)?;
    // SAFETY: takes a number; the descriptor is open.
    checked(unsafe { libc::fchdir(root.as_raw_fd()) })?;
    // SAFETY: the text ends with 0.
    checked(unsafe { libc::chroot(c".".as_ptr()) }).map(drop)
}

fn join(pid: u32, kinds: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: takes numbers and returns a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = checked(fd as libc::c_int)?;
    // SAFETY: the descriptor is new, and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: takes numbers; the descriptor is open.
    checked(unsafe { libc::setns(fd.as_raw_fd(), kinds) }).map(drop)
}

/// Has the command's process killed when the calling thread ends.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let hook = || {
        // SAFETY: takes numbers only.
        checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }).map(drop)
    };
    // SAFETY: the hook makes one system call and touches no memory.
    unsafe { command.pre_exec(hook) }
}

/// Lets the calling thread run before all ordinary ones, on time: in a real-time class, since the
/// priority of an ordinary thread counts among its own session's only. Its children are ordinary
/// again. Where that is not allowed the thread stays as it was.
pub fn hurry() {
    let lowest = libc::sched_param { sched_priority: 1 };
    let class = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameter lives through the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, class, &raw const lowest) };
}

/// Waits until one of `fds` can be read or `timeout` is over. Returns which can be read. A signal
/// ends the wait too.
pub fn wait_readable(fds: &[RawFd], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let entry = |fd: &RawFd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<libc::pollfd> = fds.iter().map(entry).collect();
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = entries.len() as libc::nfds_t;
    // SAFETY: the entries and the time live through the call, and the count is theirs.
    match checked(unsafe { libc::ppoll(entries.as_mut_ptr(), count, limit, std::ptr::null()) }) {
        Ok(_) => Ok(entries.iter().map(|entry| entry.revents != 0).collect()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(vec![false; fds.len()]),
        Err(error) => Err(error),
    }
}

fn signal_set(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call makes the set, the others change it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Keeps `signals` for [`wait_signal`] or [`signal_reader`]. Commands started later are not
/// concerned: their mask is emptied.
pub fn keep_signals(signals: &[libc::c_int]) {
    let set = signal_set(signals);
    // SAFETY: the set lives through the call; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for one of the kept `signals`.
pub fn wait_signal(signals: &[libc::c_int]) -> io::Result<libc::c_int> {
    let set = signal_set(signals);
    loop {
        // SAFETY: the set lives through the call; no details are asked for.
        match checked(unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A descriptor that can be read when one of the kept `signals` has come.
pub fn signal_reader(signals: &[libc::c_int]) -> io::Result<std::fs::File> {
    let set = signal_set(signals);
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set lives through the call, which returns a new descriptor.
    let fd = checked(unsafe { libc::signalfd(-1, &raw const set, flags) })?;
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { std::fs::File::from_raw_fd(fd) })
}

/// Collects every child that has ended.
pub fn reap() {
    // SAFETY: no status is asked for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// Sends a signal; 0 only asks. Returns whether there was a process to get it. Process -1 is every
/// process of the host but its first, when that one asks.
pub fn signal(pid: libc::pid_t, signal: libc::c_int) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Chooses the congestion control of a TCP socket.
pub fn set_congestion(socket: &impl AsFd, name: &str) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let len = name.len() as libc::socklen_t;
    // SAFETY: the name's bytes live through the call, and the length is theirs.
    let done = unsafe {
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, name.as_ptr().cast(), len)
    };
    checked(done).map(drop)
}

/// Asks a TCP socket for its congestion control.
pub fn congestion(socket: &impl AsFd) -> io::Result<String> {
    let fd = socket.as_fd().as_raw_fd();
    let mut name = [0u8; CONGESTION_LEN_MAX];
    let mut len = name.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `name`, and says how many.
    let done = unsafe {
        let name = name.as_mut_ptr().cast();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, name, &raw mut len)
    };
    checked(done)?;
    let text = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}
