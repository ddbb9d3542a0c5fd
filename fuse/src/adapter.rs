//! The only file that names fuser: counts a request, calls [`MountFs`], sends the answer.
//!
//! What the answers ask of the kernel, in order of effect: entries, attributes and absent names
//! hold for ever; listings come with attributes; `ENOSYS` to open, opendir, flush and fsync, so
//! that they are asked once in a mount's life and files keep their cached pages, directories their
//! cached listings. Where plain copies are kept, open is answered instead: with a copy the kernel
//! reads that file by itself (and drops the pages that it has of us), without one nothing differs.
//!
//! Not requested, because fuser 0.18 breaks on them: `SETXATTR_EXT` (panics), `ALLOW_IDMAP`
//! (refuses all), `HANDLE_KILLPRIV_V2`. Nothing is ever notified to the kernel: the view does not
//! change.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, BackingId, BsdFileFlags, Config, CopyFileRangeFlags, Errno, FileAttr, FileHandle,
    FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, SessionACL, TimeOrNow, WriteFlags,
};

use crate::MountOptions;
use crate::counters::{Counters, Op};
use crate::dir::NAME_LEN_MAX;
use crate::errno::{FsError, ToErrno};
use crate::fs::{Attr, Listed, MountFs, Telling};
use crate::opens::{Opens, Way};
use crate::tree::EntryKind;

/// How long the kernel may trust an answer: 68 years.
const FOREVER: Duration = Duration::from_secs(1 << 31);

/// Requests that the kernel may have under way by itself (readahead) before it waits.
const BACKGROUND_MAX: u16 = 64;

/// Largest read that the kernel sends: its own limit is 256 pages.
const READ_LEN_MAX: u32 = 1 << 20;

const BLOCK_LEN: u32 = 4096;

/// Filesystems in the kernel between us and the disk under a plain copy, ours included.
const STACK_DEPTH: u32 = 1;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A session that has shaken hands with the kernel; call it to serve until the mount is gone.
pub(crate) type Serve = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// What came of [`connect`].
pub(crate) struct Connected {
    pub(crate) serve: Serve,
    /// Why the kernel takes no plain copies, when they were asked for.
    pub(crate) plain_refusal: Option<io::Error>,
}

/// The open large files, and their copies as the kernel knows them.
pub(crate) type PlainOpens = Opens<BackingId>;

/// Takes over an open `/dev/fuse` that is mounted already. With `opens`, the kernel is asked
/// whether it would read plain copies by itself; when it would not, the mount is one without.
///
/// # Errors
/// When the kernel's greeting fails.
pub(crate) fn connect(
    fs: MountFs,
    device: OwnedFd,
    options: &MountOptions,
    counters: Arc<Counters>,
    opens: Option<PlainOpens>,
) -> io::Result<Connected> {
    let acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    let mut config = Config::default();
    config.acl = acl;
    config.n_threads = Some(options.thread_count.max(1));
    let probe = match &opens {
        Some(opens) => Some((device.try_clone()?, opens.cache().probe())),
        None => None,
    };
    let is_plain = Arc::new(AtomicBool::new(false));
    let adapter = Adapter {
        fs,
        counters,
        can_skip_open: false,
        can_skip_opendir: false,
        opens,
        is_plain: is_plain.clone(),
    };
    let session = fuser::Session::from_fd(adapter, device, acl, config)?;
    // The kernel keeps the probe, an empty file without a name, until the mount is gone.
    let refusal = probe.and_then(|(device, probe)| {
        probe.and_then(|probe| BackingId::create_raw(&device, &probe)).err()
    });
    is_plain.store(refusal.is_none(), Ordering::Relaxed);
    Ok(Connected { serve: Box::new(move || session.run()), plain_refusal: refusal })
}

struct Adapter {
    fs: MountFs,
    counters: Arc<Counters>,
    /// The kernel takes `ENOSYS` for "never ask again"; one before 5.1 would pass it on.
    can_skip_open: bool,
    can_skip_opendir: bool,
    /// When plain copies are kept.
    opens: Option<PlainOpens>,
    /// The kernel takes them.
    is_plain: Arc<AtomicBool>,
}

fn errno(error: &FsError) -> Errno {
    Errno::from_i32(error.to_errno())
}

impl Adapter {
    /// Counts, calls, and turns a panic into an error: one bad request must not end the session.
    fn call<T>(
        &self,
        op: Op,
        operation: impl FnOnce(&MountFs) -> Result<T, FsError>,
    ) -> Result<T, Errno> {
        self.counters.count(op);
        catch_unwind(AssertUnwindSafe(|| operation(&self.fs)))
            .unwrap_or_else(|_| {
                tracing::error!(op = op.name(), "an operation of the mount panicked");
                Err(FsError::Panicked)
            })
            .map_err(|error| errno(&error))
    }

    fn file_attr(&self, attr: &Attr) -> FileAttr {
        let view = self.fs.view();
        let time = time_of(view.commit_time);
        FileAttr {
            ino: INodeNo(attr.ino),
            size: attr.len,
            blocks: attr.len.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: match attr.kind {
                EntryKind::Directory | EntryKind::Submodule => FileType::Directory,
                EntryKind::File | EntryKind::Executable => FileType::RegularFile,
                EntryKind::Symlink => FileType::Symlink,
            },
            perm: attr.perm(),
            // A directory's 1 means "not counted", as on btrfs: 2 would say that it has no
            // subdirectories.
            nlink: 1,
            uid: view.uid,
            gid: view.gid,
            rdev: 0,
            blksize: BLOCK_LEN,
            flags: 0,
        }
    }

    fn opens(&self) -> Option<&PlainOpens> {
        self.opens.as_ref().filter(|_| self.is_plain.load(Ordering::Relaxed))
    }

    fn read_only(&self) -> Errno {
        self.counters.count(Op::Write);
        errno(&FsError::ReadOnly)
    }

    fn unsupported(&self, op: Op) -> Errno {
        self.counters.count(op);
        Errno::ENOSYS
    }
}

/// A time that the clock cannot hold becomes 1970.
fn time_of(unix_seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(unix_seconds.unsigned_abs());
    let time = if unix_seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

fn reply_xattr(value: Result<Vec<u8>, Errno>, len_max: u32, reply: ReplyXattr) {
    match value {
        Err(error) => reply.error(error),
        Ok(value) if len_max == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > len_max as usize => reply.error(errno(&FsError::BufferTooSmall)),
        Ok(value) => reply.data(&value),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ] {
            // An older kernel does without, more slowly.
            if let Err(absent) = config.add_capabilities(flag) {
                tracing::debug!(?absent, "the kernel has no such switch");
            }
        }
        if self.opens.is_some() {
            // Without it the probe is refused.
            let _ = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH);
            let _ = config.set_max_stack_depth(STACK_DEPTH);
        }
        let can = config.capabilities();
        self.can_skip_open = can.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        self.can_skip_opendir = can.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        let _ = config.set_max_background(BACKGROUND_MAX);
        let _ = config.set_max_write(READ_LEN_MAX);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let absent = || Attr { ino: 0, kind: EntryKind::File, len: 0, is_absent: false };
        let found = self.call(Op::Lookup, |fs| match fs.lookup(parent.0, name.as_bytes()) {
            // Number 0 says "no such name", and for how long.
            Err(FsError::NotFound) => Ok(absent()),
            found => found,
        });
        match found {
            Ok(attr) => reply.entry(&FOREVER, &self.file_attr(&attr), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        let _ = self.call(Op::Forget, |fs| {
            fs.forget(ino.0, nlookup);
            Ok(())
        });
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.call(Op::Getattr, |fs| fs.getattr(ino.0)) {
            Ok(attr) => reply.attr(&FOREVER, &self.file_attr(&attr)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.call(Op::Readlink, |fs| fs.readlink(ino.0)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let Some(opens) = self.opens() else {
            if self.can_skip_open {
                return reply.error(self.unsupported(Op::Open));
            }
            self.counters.count(Op::Open);
            return reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
        };
        let opened = self.call(Op::Open, |fs| {
            let open = |file| opens.open(ino.0, file, |copy| reply.open_backing(copy));
            Ok(fs.large_file(ino.0)?.map_or((0, Way::Cached), open))
        });
        match opened {
            Ok((handle, Way::Cached)) => {
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
            }
            // Without KEEP_CACHE the kernel drops its pages of the file, in the opener's own time.
            Ok((handle, Way::Plain(copy))) => {
                reply.opened_passthrough(FileHandle(handle), FopenFlags::empty(), &copy);
            }
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _ = self.call(Op::Release, |_| {
            if let Some(opens) = &self.opens {
                opens.release(fh.0);
            }
            Ok(())
        });
        reply.ok();
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            match self.call(Op::Read, |fs| fs.read(ino.0, offset, size, buffer)) {
                Ok(()) => reply.data(buffer),
                Err(error) => reply.error(error),
            }
        });
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(self.unsupported(Op::Flush));
    }

    fn fsync(&self, _r: &Request, _i: INodeNo, _fh: FileHandle, _data: bool, reply: ReplyEmpty) {
        reply.error(self.unsupported(Op::Other));
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if self.can_skip_opendir {
            return reply.error(self.unsupported(Op::Opendir));
        }
        self.counters.count(Op::Opendir);
        reply.opened(FileHandle(0), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut add = |entry: &Listed<'_>| {
            let kind = self.file_attr(&entry.attr).kind;
            reply.add(INodeNo(entry.attr.ino), entry.next, kind, OsStr::from_bytes(entry.name))
        };
        match self.call(Op::Readdir, |fs| fs.readdir(ino.0, offset, Telling::Names, &mut add)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut add = |entry: &Listed<'_>| {
            let ttl = if entry.attr.is_absent { &Duration::ZERO } else { &FOREVER };
            let attr = self.file_attr(&entry.attr);
            let name = OsStr::from_bytes(entry.name);
            reply.add(attr.ino, entry.next, name, ttl, &attr, Generation(0))
        };
        match self.call(Op::Readdirplus, |fs| fs.readdir(ino.0, offset, Telling::Nodes, &mut add)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn fsyncdir(&self, _r: &Request, _i: INodeNo, _fh: FileHandle, _d: bool, reply: ReplyEmpty) {
        reply.error(self.unsupported(Op::Other));
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        self.counters.count(Op::Statfs);
        // How much a revision holds is not known before all of it was listed: nothing used, nothing
        // free.
        reply.statfs(0, 0, 0, 0, 0, BLOCK_LEN, NAME_LEN_MAX as u32, BLOCK_LEN);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.call(Op::Getxattr, |fs| fs.getxattr(ino.0, name.as_bytes()));
        reply_xattr(value, size, reply);
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.call(Op::Listxattr, |fs| fs.listxattr(ino.0));
        reply_xattr(names, size, reply);
    }

    fn access(&self, _req: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        // The kernel checks rights itself (default_permissions); this is for one that asks
        // nevertheless.
        let allowed = self.call(Op::Access, |fs| {
            fs.getattr(ino.0)?;
            if mask.contains(AccessFlags::W_OK) { Err(FsError::ReadOnly) } else { Ok(()) }
        });
        match allowed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn lseek(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        // The kernel then seeks by the length alone: no file here has holes.
        reply.error(self.unsupported(Op::Other));
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        self.counters.count(Op::Other);
        reply.error(Errno::ENOTTY);
    }

    fn setattr(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(self.read_only());
    }

    fn mknod(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(self.read_only());
    }

    fn mkdir(&self, _r: &Request, _p: INodeNo, _n: &OsStr, _m: u32, _u: u32, reply: ReplyEntry) {
        reply.error(self.read_only());
    }

    fn unlink(&self, _req: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(self.read_only());
    }

    fn rmdir(&self, _req: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(self.read_only());
    }

    fn symlink(&self, _r: &Request, _p: INodeNo, _n: &OsStr, _t: &Path, reply: ReplyEntry) {
        reply.error(self.read_only());
    }

    fn rename(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _newparent: INodeNo,
        _newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(self.read_only());
    }

    fn link(&self, _r: &Request, _i: INodeNo, _p: INodeNo, _n: &OsStr, reply: ReplyEntry) {
        reply.error(self.read_only());
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(self.read_only());
    }

    fn setxattr(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(self.read_only());
    }

    fn removexattr(&self, _req: &Request, _ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(self.read_only());
    }

    fn create(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(self.read_only());
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(self.read_only());
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        _ino_in: INodeNo,
        _fh_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _fh_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(self.read_only());
    }
}
