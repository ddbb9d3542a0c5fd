//! Mounting and unmounting: what is checked before, who serves meanwhile, what is left after.
//! Nothing is left.
//!
//! We mount and unmount ourselves, by system call when we may and by `fusermount3` when not: fuser
//! 0.18 leaves a busy mount in place and may unmount another's. Before every unmount
//! `/proc/self/mountinfo` says whether the mount on top is the one that is meant.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mega_storage::ReadStore;
use parking_lot::{Condvar, Mutex};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::adapter::{self, Connected, PlainOpens, Serve};
use crate::counters::Counters;
use crate::fs::MountFs;
use crate::mountinfo::{FS_TYPE, MountEntry, mount_at, resolve};
use crate::plain::PlainCache;
use crate::{MountOptions, ViewSpec};

/// How long a dropped session waits for readers before it leaves them to the end of the process.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// Dead mounts of ours that are removed from one directory.
const DEAD_MAX: usize = 64;

/// Why something could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// There is nothing at the path.
    #[error("{path} does not exist")]
    NotFound {
        /// The mountpoint as given.
        path: PathBuf,
    },
    /// Only a directory can be mounted on.
    #[error("{path} is not a directory")]
    NotADirectory {
        /// The mountpoint as given.
        path: PathBuf,
    },
    /// The directory would hide what is in it.
    #[error("{path} is not empty")]
    NotEmpty {
        /// The mountpoint.
        path: PathBuf,
    },
    /// Something is mounted there already.
    #[error("{path} has {origin} ({fs_type}) mounted on it already")]
    AlreadyMounted {
        /// The mountpoint.
        path: PathBuf,
        /// What is mounted, as its mounter named it.
        origin: String,
        /// Its type.
        fs_type: String,
    },
    /// Another program's mount died there; it is not ours to remove.
    #[error("{path} has a dead mount of another program on it")]
    DeadForeign {
        /// The mountpoint.
        path: PathBuf,
    },
    /// Nothing is mounted there.
    #[error("nothing is mounted on {path}")]
    NotMounted {
        /// The directory.
        path: PathBuf,
    },
    /// What is mounted there is another program's.
    #[error("{path} has {fs_type} mounted on it, which is not ours")]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Type of what is mounted.
        fs_type: String,
    },
    /// The kernel has no FUSE, or this process may not use it.
    #[error("/dev/fuse cannot be opened: {source}")]
    NoFuse {
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A user who is not root needs `fusermount3`.
    #[error("fusermount3 cannot be run: {source}")]
    NoFusermount {
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// `fusermount3` refused.
    #[error("fusermount3 refused: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// The operating system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl MountError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

struct State {
    path: PathBuf,
    device: (u32, u32),
    /// Why the session ended, once it has.
    ended: Mutex<Option<Option<String>>>,
    end: Condvar,
    counters: Arc<Counters>,
    plain_refusal: Option<io::Error>,
    /// Calls off the plain copies that this mount wants.
    stop_copying: Arc<AtomicBool>,
}

/// A live mount. Dropping it unmounts.
pub struct Session {
    state: Arc<State>,
    server: Option<JoinHandle<()>>,
}

/// Mounts `view` on the directory `mountpoint`, which has to be empty. Blocks until the kernel has
/// shaken hands; from then on the mount answers.
///
/// With `plain`, large files that are opened get a copy there, and those that have one the kernel
/// reads by itself, when it can: see [`Session::plain_refusal`].
///
/// # Errors
/// [`MountError`]; nothing is left mounted then.
pub fn mount(
    store: Arc<dyn ReadStore>,
    view: ViewSpec,
    mountpoint: &Path,
    options: &MountOptions,
    plain: Option<Arc<PlainCache>>,
) -> Result<Session, MountError> {
    let path = prepare(mountpoint)?;
    let counters = Arc::new(Counters::default());
    let source = source_name(&view.label);
    let device = attach(&path, &source, options.allow_other)?;
    let stop_copying = Arc::new(AtomicBool::new(false));
    let opens = plain.map(|cache| PlainOpens::new(cache, store.clone(), stop_copying.clone()));
    let fs = MountFs::new(store, view, options);
    let connected = adapter::connect(fs, device, options, counters.clone(), opens);
    let started = connected.map_err(MountError::io("talking to the kernel about", &path)).and_then(
        |Connected { serve, plain_refusal }| {
            let entry = own_mount(&path)?.ok_or(MountError::NotMounted { path: path.clone() })?;
            raise_read_ahead(entry.device, options.kernel_read_ahead_kb);
            let state = State {
                path: path.clone(),
                device: entry.device,
                ended: Mutex::new(None),
                end: Condvar::new(),
                counters,
                plain_refusal,
                stop_copying,
            };
            start(Arc::new(state), serve)
        },
    );
    started.inspect_err(|_| {
        let _ = detach(&path);
    })
}

fn start(state: Arc<State>, serve: Serve) -> Result<Session, MountError> {
    let served = state.clone();
    let server = std::thread::Builder::new()
        .name("mega-mount".to_owned())
        .spawn(move || {
            let failure = serve().err().map(|error| error.to_string());
            if let Some(error) = &failure {
                tracing::error!(path = %served.path.display(), error, "the mount ended");
            }
            // After a failure the kernel still has the mount, with nobody behind it.
            if let Err(error) = served.detach_own() {
                tracing::warn!(%error, "the mount could not be removed");
            }
            *served.ended.lock() = Some(failure);
            served.end.notify_all();
        })
        .map_err(MountError::io("starting a thread for", &state.path))?;
    Ok(Session { state, server: Some(server) })
}

impl State {
    /// Detaches the mount if it is still the one on top of its directory.
    fn detach_own(&self) -> Result<(), MountError> {
        match mount_at(&self.path).map_err(MountError::io("looking at", &self.path))? {
            Some(entry) if entry.is_ours() && entry.device == self.device => detach(&self.path),
            Some(_) | None => Ok(()),
        }
    }
}

impl Session {
    /// The directory it is mounted on, resolved.
    pub fn mountpoint(&self) -> &Path {
        &self.state.path
    }

    /// What the kernel has asked so far.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// Why the kernel takes no plain copies although they were asked for: it is older than Linux
    /// 6.9, the process lacks CAP_SYS_ADMIN, or the directory is on a stacked filesystem. The mount
    /// is one without, then.
    pub fn plain_refusal(&self) -> Option<&io::Error> {
        self.state.plain_refusal.as_ref()
    }

    /// Blocks until the mount is gone, whoever unmounts it, and the last reader has closed its
    /// files.
    pub fn wait(&self) {
        let mut ended = self.state.ended.lock();
        while ended.is_none() {
            self.state.end.wait(&mut ended);
        }
    }

    /// As [`Self::wait`], but no longer than `timeout`; returns whether the mount is gone.
    pub fn wait_for(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut ended = self.state.ended.lock();
        while ended.is_none() {
            if self.state.end.wait_until(&mut ended, deadline).timed_out() {
                return ended.is_some();
            }
        }
        true
    }

    /// Takes the mount out of the directory at once. Files that are open stay readable until they
    /// are closed; the session ends then. Does nothing when the mount is gone already.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn unmount(&self) -> Result<(), MountError> {
        if self.state.ended.lock().is_some() {
            return Ok(());
        }
        self.state.stop_copying.store(true, Ordering::Relaxed);
        self.state.detach_own()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::warn!(%error, "the mount could not be removed");
        }
        // With a file still open the server lives on, until the file is closed or the process ends.
        if self.wait_for(DROP_WAIT)
            && let Some(server) = self.server.take()
        {
            let _ = server.join();
        }
    }
}

/// Unmounts one of our mounts, alive or dead, whichever process it belongs to.
///
/// # Errors
/// [`MountError::NotMounted`] and [`MountError::NotOurs`] leave everything as it was.
pub fn unmount_path(path: &Path) -> Result<(), MountError> {
    let resolved = resolve(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountError::NotFound { path: path.to_owned() },
        _ => MountError::io("resolving", path)(error),
    })?;
    if own_mount(&resolved)?.is_none() {
        return Err(MountError::NotMounted { path: resolved });
    }
    detach(&resolved)
}

/// Our mount at `path`; `None` when nothing is mounted there.
fn own_mount(path: &Path) -> Result<Option<MountEntry>, MountError> {
    match mount_at(path).map_err(MountError::io("looking at", path))? {
        Some(entry) if !entry.is_ours() => {
            Err(MountError::NotOurs { path: path.to_owned(), fs_type: entry.fs_type })
        }
        entry => Ok(entry),
    }
}

/// Checks the mountpoint, removes our own dead mounts from it, and resolves it.
fn prepare(mountpoint: &Path) -> Result<PathBuf, MountError> {
    let io = MountError::io;
    for _ in 0..DEAD_MAX {
        let given = || mountpoint.to_owned();
        let path = resolve(mountpoint).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => MountError::NotFound { path: given() },
            _ => io("resolving", mountpoint)(error),
        })?;
        let Some(entry) = mount_at(&path).map_err(io("looking at", &path))? else {
            if !path.metadata().map_err(io("looking at", &path))?.is_dir() {
                return Err(MountError::NotADirectory { path: given() });
            }
            let mut entries = path.read_dir().map_err(io("listing", &path))?;
            return match entries.next() {
                None => Ok(path),
                Some(_) => Err(MountError::NotEmpty { path }),
            };
        };
        // A dead mount may still answer from the kernel's cache; this question is never cached.
        let is_dead = rustix::fs::statfs(&path).is_err_and(|e| e == rustix::io::Errno::NOTCONN);
        match (is_dead, entry.is_ours()) {
            (true, true) => {
                tracing::info!(path = %path.display(), "removing a dead mount");
                detach(&path)?;
            }
            (true, false) => return Err(MountError::DeadForeign { path }),
            (false, _) => {
                let MountEntry { source: origin, fs_type, .. } = entry;
                return Err(MountError::AlreadyMounted { path, origin, fs_type });
            }
        }
    }
    Err(MountError::DeadForeign { path: mountpoint.to_owned() })
}

/// `mega-store:` and the label, without what an option list would take for its own.
fn source_name(label: &str) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, ',' | '\\') { '_' } else { c };
    format!("mega-store:{}", label.chars().map(plain).collect::<String>())
}

/// Mounts on `path` and returns the open device.
fn attach(path: &Path, source: &str, allow_other: bool) -> Result<OwnedFd, MountError> {
    if !rustix::process::geteuid().is_root() {
        return attach_by_helper(path, source, allow_other);
    }
    let device: OwnedFd = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|source| MountError::NoFuse { source })?
        .into();
    let data = format!(
        "fd={},rootmode=40755,user_id={},group_id={},default_permissions{}",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
        if allow_other { ",allow_other" } else { "" },
    );
    let data = std::ffi::CString::new(data).expect("numbers and words have no NUL");
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    match rustix::mount::mount(source, path, FS_TYPE, flags, data.as_c_str()) {
        Ok(()) => Ok(device),
        // Root without the right to mount, as in a container.
        Err(rustix::io::Errno::PERM) => attach_by_helper(path, source, allow_other),
        Err(error) => Err(MountError::io("mounting on", path)(error.into())),
    }
}

/// Lets `fusermount3` mount; it passes the device through a socket, which it gets as its standard
/// input.
fn attach_by_helper(path: &Path, source: &str, allow_other: bool) -> Result<OwnedFd, MountError> {
    let io = MountError::io;
    let (ours, theirs) = UnixStream::pair().map_err(io("making a socket for", path))?;
    let other = if allow_other { ",allow_other" } else { "" };
    // The command holds the other end of the socket: it must be gone before we wait for the end of
    // what it says.
    let mut helper = Command::new("fusermount3")
        .env("_FUSE_COMMFD", "0")
        .arg("-o")
        .arg(format!(
            "ro,nosuid,nodev,default_permissions,subtype=mega-store,fsname={source}{other}"
        ))
        .arg("--")
        .arg(path)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| MountError::NoFusermount { source })?;
    let device = receive_device(&ours);
    let mut message = String::new();
    if let Some(mut stderr) = helper.stderr.take() {
        let _ = stderr.read_to_string(&mut message);
    }
    let _ = helper.wait();
    device.ok_or(MountError::Refused { message: message.trim().to_owned() })
}

fn receive_device(socket: &UnixStream) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8];
    let mut parts = [IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut devices) => devices.next(),
        _ => None,
    })
}

/// Takes whatever is on top of `path` away, also while it is in use.
fn detach(path: &Path) -> Result<(), MountError> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    match rustix::mount::unmount(path, flags) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(MountError::io("unmounting", path)(error.into())),
    }
    let output = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| MountError::NoFusermount { source })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(MountError::Refused { message })
}

/// Raises the kernel's readahead, which FUSE itself cannot. Only root may; it is a matter of speed
/// alone.
fn raise_read_ahead(device: (u32, u32), kb: u32) {
    let path = format!("/sys/class/bdi/{}:{}/read_ahead_kb", device.0, device.1);
    let written = OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file: File| io::Write::write_all(&mut file, kb.to_string().as_bytes()));
    if let Err(error) = written {
        tracing::debug!(path, %error, "the kernel's readahead stays as it is");
    }
}
