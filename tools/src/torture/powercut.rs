//! `cargo x powercut`: the power goes in the middle of the work, on an ext4 of our own.
//!
//! ext4's shutdown ioctl drops what was never synced, as a power cut does. Two traps are handled:
//! acknowledgements are counted before the cut (one that arrives during it proves nothing), and
//! every round has a mount namespace and an image of its own, whose loop device must be gone after
//! unmounting (else the file system that was shut down comes back, and the harness, not the
//! program, has failed).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::subject::{Subject, Work, adopt_orphans, kill_group, make_work, text, wait_group};
use super::{Plan, wait_for};
use crate::args::Args;
use crate::random::Random;

/// `EXT4_IOC_SHUTDOWN`, and the flag that forgets the journal's unwritten part.
const SHUTDOWN: libc::Ioctl = 0x8004_587d;
const SHUTDOWN_NO_LOG_FLUSH: u32 = 2;
/// Size of the image; a sparse file.
const IMAGE_LEN: u64 = 2 << 30;

/// Runs `cargo x powercut`.
///
/// # Errors
/// Wrong arguments, a harness that cannot do its work, or the first round that failed.
pub fn run(args: Args) -> Result<(), String> {
    // SAFETY: takes no argument and cannot fail.
    if unsafe { libc::geteuid() } != 0 || !Path::new("/dev/loop-control").exists() {
        println!("powercut: SKIPPED: it needs root and loop devices");
        return Ok(());
    }
    let plan = Plan::read(args, "powercut", 20)?;
    adopt_orphans();
    own_mounts().map_err(|error| format!("a mount namespace of our own: {error}"))?;
    let work = make_work(&plan.folder, 3, plan.object_count, plan.seed)?;
    prove_bite(&plan.folder)?;
    let took = rehearse(&plan, &work)?;
    let mut random = Random::labelled(plan.seed, "powercut");
    for round in 0..plan.rounds {
        let delay = Duration::from_micros(random.below(took.as_micros() as usize) as u64);
        let at = format!("round {round}, {} ms of {}", delay.as_millis(), took.as_millis());
        let acked = cut(&plan, &work, delay).map_err(|error| format!("{at}: {error}"))?;
        println!("{at}: {acked} of {} acknowledged before the cut, all whole", work.len());
    }
    plan.clean()?;
    println!("powercut: {} rounds, 0 failed", plan.rounds);
    Ok(())
}

/// Leaves the mounts that other processes see.
fn own_mounts() -> io::Result<()> {
    // SAFETY: this process has one thread so far; no memory is handed over.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    let none = std::ptr::null();
    // SAFETY: the target is a C string that outlives the call; the others may be null for this
    // flag.
    let done = unsafe { libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Shows that a cut here loses what was not synced: else no round would prove anything.
fn prove_bite(folder: &Path) -> Result<(), String> {
    let image = Image::fresh(folder)?;
    let file = image.mount()?.with_file_name("unsynced");
    std::fs::write(&file, "lost").map_err(|error| format!("{}: {error}", file.display()))?;
    image.shut_down()?;
    image.unmount()?;
    image.mount()?;
    let kept = std::fs::read(&file).is_ok_and(|bytes| bytes == b"lost");
    image.unmount()?;
    if kept { Err("harness, not program: a cut loses nothing here".to_owned()) } else { Ok(()) }
}

/// Does all the work once without a cut. Returns how long it takes.
fn rehearse(plan: &Plan, work: &[Work]) -> Result<Duration, String> {
    let image = Image::fresh(&plan.folder)?;
    let subject = image.mount()?;
    let subject = Subject::new(&plan.program, &subject, plan.serves);
    subject.init()?;
    let start = Instant::now();
    for piece in work {
        subject.finish(piece)?;
    }
    let took = start.elapsed();
    image.unmount()?;
    Ok(took)
}

/// One round. Returns how many pieces of work had been acknowledged.
fn cut(plan: &Plan, work: &[Work], delay: Duration) -> Result<usize, String> {
    let image = Image::fresh(&plan.folder)?;
    let subject = Subject::new(&plan.program, &image.mount()?, plan.serves);
    subject.init()?;
    sync(&image)?;
    let acked_count = Arc::new(AtomicUsize::new(0));
    let running = Arc::new(Mutex::new(None));
    let (open, done) = mpsc::channel();
    let worker = {
        let (subject, work) = (subject.clone(), work.to_vec());
        let (acked_count, running) = (Arc::clone(&acked_count), Arc::clone(&running));
        std::thread::spawn(move || {
            let _open = open;
            work_on(&subject, &work, &acked_count, &running)
        })
    };
    wait_for(delay, &done);
    let acked = acked_count.load(Ordering::SeqCst);
    image.shut_down()?;
    let group = *running.lock().map_err(poisoned)?;
    group.map(kill_group).transpose()?;
    worker.join().map_err(poisoned)??;
    group.map(wait_group).transpose()?;
    image.unmount()?;
    image.mount()?;
    for piece in &work[..acked] {
        subject.check(piece, &plan.folder)?;
    }
    for piece in &work[acked..] {
        subject.check_interrupted(piece, &plan.folder)?;
        subject.finish(piece)?;
        subject.check(piece, &plan.folder)?;
    }
    image.unmount()?;
    Ok(acked)
}

/// Does one piece after another until one is not acknowledged.
fn work_on(
    subject: &Subject,
    work: &[Work],
    acked_count: &AtomicUsize,
    running: &Mutex<Option<u32>>,
) -> Result<(), String> {
    for piece in work {
        let mut child = subject.start(piece)?;
        *running.lock().map_err(poisoned)? = Some(child.id());
        let status = child.wait().map_err(|error| error.to_string())?;
        *running.lock().map_err(poisoned)? = None;
        if !status.success() {
            return Ok(());
        }
        acked_count.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

fn poisoned<T>(_: T) -> String {
    "another thread panicked".to_owned()
}

fn sync(image: &Image) -> Result<(), String> {
    text(Command::new("sync").arg("-f").arg(&image.mount_point)).map(drop)
}

/// An ext4 in a file, mounted or not.
struct Image {
    file: std::path::PathBuf,
    mount_point: std::path::PathBuf,
}

impl Image {
    fn fresh(folder: &Path) -> Result<Self, String> {
        let image = Self { file: folder.join("disk.img"), mount_point: folder.join("disk") };
        let made = File::create(&image.file).and_then(|file| file.set_len(IMAGE_LEN));
        made.and_then(|()| std::fs::create_dir_all(&image.mount_point))
            .map_err(|error| format!("{}: {error}", image.file.display()))?;
        text(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image.file))?;
        Ok(image)
    }

    /// Mounts the image. Returns where a store belongs on it.
    fn mount(&self) -> Result<std::path::PathBuf, String> {
        text(Command::new("mount").args(["-o", "loop"]).args([&self.file, &self.mount_point]))?;
        Ok(self.mount_point.join("store"))
    }

    /// Cuts the power.
    fn shut_down(&self) -> Result<(), String> {
        let folder = File::open(&self.mount_point).map_err(|error| error.to_string())?;
        let flags = SHUTDOWN_NO_LOG_FLUSH;
        // SAFETY: the descriptor is open and the ioctl reads one u32 that outlives the call.
        let done = unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN, &raw const flags) };
        if done == 0 { Ok(()) } else { Err(format!("shutdown: {}", io::Error::last_os_error())) }
    }

    /// Unmounts, and demands that the loop device is gone.
    fn unmount(&self) -> Result<(), String> {
        text(Command::new("umount").arg(&self.mount_point))?;
        let left = text(Command::new("losetup").arg("-j").arg(&self.file))?;
        if left.trim().is_empty() {
            return Ok(());
        }
        Err(format!("harness, not program: the image is still in use: {left}"))
    }
}
