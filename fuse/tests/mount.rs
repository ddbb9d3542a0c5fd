//! Real mounts of stores in memory: what programs see, what the kernel asks, what is left
//! afterwards.
//!
//! Without `/dev/fuse` each test says so and passes; with `CI=true` it fails instead.

#[path = "../src/testing.rs"]
mod testing;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mega_fuse::{LfsMode, MountError, MountOptions, Op, Session, ViewSpec, unmount_path};
use mega_storage::{ObjectId, ReadStore};
use testing::{FailingStore, MemStore};

const SOON: Duration = Duration::from_secs(20);

/// Whether mounts can be made here.
fn has_fuse() -> bool {
    let Err(error) = File::options().read(true).write(true).open("/dev/fuse") else {
        return true;
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "/dev/fuse: {error}, and this is CI");
    // Past the test harness, which keeps what a passing test prints to itself.
    let line = format!("SKIPPED: /dev/fuse is missing or closed to this user: {error}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}

fn try_mount(
    store: Arc<dyn ReadStore>,
    root_tree: ObjectId,
    on: &Path,
) -> Result<Session, MountError> {
    let view = ViewSpec {
        root_tree,
        commit_time: 1_234_567_890,
        label: "test,ro@v1".to_owned(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    let options = MountOptions { lfs: LfsMode::All, ..MountOptions::default() };
    mega_fuse::mount(store, view, on, &options, None)
}

fn mount(store: Arc<dyn ReadStore>, root_tree: ObjectId, on: &Path) -> Session {
    try_mount(store, root_tree, on).expect("mounted")
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect()
}

/// A directory with a bit of everything.
fn sample(dir: &Path) {
    for n in 0..40 {
        let sub = dir.join(format!("d{}/s{n}", n % 4));
        fs::create_dir_all(&sub).expect("made");
        fs::write(sub.join("small"), format!("file {n}\n")).expect("written");
        fs::write(sub.join("empty"), "").expect("written");
        fs::write(sub.join("längerer Name mit Blanks"), bytes(n * 4099)).expect("written");
        symlink(format!("../s{n}/small"), sub.join("link")).expect("linked");
        symlink("nowhere", sub.join("dangling")).expect("linked");
        let script = sub.join("script");
        fs::write(&script, "#!/bin/sh\necho ran\n").expect("written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("set");
    }
    fs::write(dir.join("big blob"), bytes(18 << 20)).expect("written");
}

/// Walks as find, stat and grep do: every name, every attribute, every byte.
fn walk(dir: &Path) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        let meta = path.symlink_metadata().expect("metadata");
        sum += meta.len();
        if meta.is_dir() {
            sum += walk(&path);
        } else if meta.is_symlink() {
            sum += fs::read_link(&path).expect("a target").as_os_str().len() as u64;
        } else {
            sum += fs::read(&path).expect("content").len() as u64;
        }
    }
    sum
}

struct Fixture {
    source: tempfile::TempDir,
    on: tempfile::TempDir,
    store: Arc<MemStore>,
    root: ObjectId,
}

impl Fixture {
    fn new() -> Self {
        let temp = || tempfile::tempdir().expect("a directory");
        let (source, on) = (temp(), temp());
        sample(source.path());
        let mut store = MemStore { verifies: true, ..MemStore::default() };
        let root = store.import(source.path());
        Self { source, on, store: Arc::new(store), root }
    }

    fn mount(&self) -> Session {
        mount(self.store.clone(), self.root, self.on.path())
    }
}

#[test]
fn a_mount_is_the_directory_it_was_made_of() {
    if !has_fuse() {
        return;
    }
    let fixture = Fixture::new();
    let session = fixture.mount();
    let on = fixture.on.path();
    let diff = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([fixture.source.path(), on])
        .output()
        .expect("diff runs");
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    let find = |dir: &Path, format: &str| {
        let output =
            Command::new("find").arg(dir).args(["-mindepth", "1", "-printf", format]).output();
        let text = String::from_utf8(output.expect("find runs").stdout).expect("text");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for format in ["%P %y %l %m\n", "%P %y %l\n"] {
        assert_eq!(find(fixture.source.path(), format), find(on, format));
    }
    let script = on.join("d0/s0/script");
    assert_eq!(Command::new(&script).output().expect("it runs").stdout, b"ran\n");
    let meta = fs::metadata(&script).expect("metadata");
    assert_eq!((meta.mtime(), meta.ctime(), meta.nlink()), (1_234_567_890, 1_234_567_890, 1));
    assert_eq!(meta.blocks(), meta.len().div_ceil(512));
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let line = mounts.lines().find(|line| line.contains(&*on.to_string_lossy())).expect("ours");
    assert!(line.contains("- fuse.mega-store mega-store:test_ro@v1 ro"), "{line}");
    session.unmount().expect("unmounted");
    assert!(session.wait_for(SOON));
    assert_eq!(fs::read_dir(on).expect("listed").count(), 0, "nothing is left");
}

#[test]
fn a_second_pass_asks_nothing() {
    if !has_fuse() {
        return;
    }
    let fixture = Fixture::new();
    let session = fixture.mount();
    let expected = walk(fixture.on.path());
    let first = session.counters().total();
    for op in [Op::Open, Op::Opendir, Op::Flush] {
        assert!(session.counters().get(op) <= 2, "{op:?} is asked once: {:?}", session.counters());
    }
    assert!(session.counters().get(Op::Getattr) <= 1, "only the root's come apart");
    assert_eq!(session.counters().get(Op::Getxattr), 0);
    // Memory pressure from outside may cost pages between two passes; not three times in a row.
    let asked: Vec<u64> = (0..3)
        .map(|_| {
            let before = session.counters().total();
            assert_eq!(walk(fixture.on.path()), expected);
            assert!(fs::metadata(fixture.on.path().join("not there")).is_err());
            session.counters().total() - before
        })
        .collect();
    assert!(asked.contains(&0), "{first} requests, then {asked:?}: {:?}", session.counters());
}

#[test]
fn numbers_are_the_same_in_the_next_mount() {
    if !has_fuse() {
        return;
    }
    let fixture = Fixture::new();
    let numbers = || {
        let _session = fixture.mount();
        ["d0", "d0/s0", "d0/s0/small", "d0/s0/link", "big blob"]
            .map(|path| fixture.on.path().join(path).symlink_metadata().expect("metadata").ino())
    };
    assert_eq!(numbers(), numbers());
}

/// A mount of one LFS file.
fn mount_file(on: &Path, len: usize) -> (Session, Arc<FailingStore>, Vec<u8>, Arc<MemStore>) {
    let data = bytes(len);
    let mut store = MemStore { verifies: true, ..MemStore::default() };
    let (id, _) = store.pointer(&data, true);
    let root = store.tree(&[(0o100_644, b"f", id)]);
    let store = Arc::new(store);
    let failing = Arc::new(FailingStore::new(store.clone()));
    (mount(failing.clone(), root, on), failing, data, store)
}

#[test]
fn eight_threads_on_one_descriptor_read_what_is_there() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    let (_session, _, data, _) = mount_file(on.path(), 64 << 20);
    let file = File::open(on.path().join("f")).expect("opened");
    std::thread::scope(|scope| {
        for thread in 0..8usize {
            let (file, data) = (&file, &data);
            scope.spawn(move || {
                let mut part = vec![0; 700_001];
                for round in 0..40usize {
                    let at = (thread * 7_919_777 + round * 1_299_721 * 13) % (data.len() - 1);
                    let len = part.len().min(data.len() - at);
                    file.read_exact_at(&mut part[..len], at as u64).expect("read");
                    assert!(part[..len] == data[at..at + len], "at {at}");
                }
            });
        }
    });
}

#[test]
fn a_memory_map_is_what_reading_gives() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    let (session, _, data, _) = mount_file(on.path(), (24 << 20) + 77);
    let file = File::open(on.path().join("f")).expect("opened");
    // SAFETY: the mount is read-only and its content never changes.
    let map = unsafe { memmap2::Mmap::map(&file) }.expect("mapped");
    // Backwards first: touches that no readahead expects.
    for page in (0..data.len().div_ceil(4096)).rev().step_by(97) {
        assert_eq!(map[page * 4096], data[page * 4096]);
    }
    assert!(map[..] == data[..]);
    let mut read = Vec::new();
    (&file).read_to_end(&mut read).expect("read");
    assert!(read == data);
    session.unmount().expect("unmounted");
    assert!(map[..] == data[..], "a map outlives the mountpoint");
}

#[test]
fn one_mebibyte_costs_less_than_three() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    for at in [0u64, 40 << 20, (77 << 20) + 4097] {
        let (session, _, data, store) = mount_file(on.path(), 128 << 20);
        let file = File::open(on.path().join("f")).expect("opened");
        let mut part = vec![0; 1 << 20];
        file.read_exact_at(&mut part, at).expect("read");
        assert!(part == data[at as usize..at as usize + part.len()]);
        drop(file);
        drop(session);
        let cost = store.chunk_len_read.load(std::sync::atomic::Ordering::Relaxed);
        assert!(cost < 3 << 20, "{cost} bytes at {at}");
    }
}

#[test]
fn a_damaged_chunk_is_eio_for_its_range_and_the_mount_lives() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    let (_session, failing, data, store) = mount_file(on.path(), 4 << 20);
    let spans = &store.files.values().next().expect("a file").spans;
    let bad = spans[spans.len() / 2];
    failing.chunks.lock().insert(bad.chunk.id);
    let file = File::open(on.path().join("f")).expect("opened");
    let mut page = [0u8; 4096];
    let (start, end) = (bad.offset, bad.offset + u64::from(bad.chunk.len));
    for at in (0..data.len() as u64).step_by(4096) {
        match file.read_exact_at(&mut page, at) {
            Ok(()) => {
                assert!(at + 4096 <= start || at >= end, "{at} should fail");
                assert_eq!(page[..], data[at as usize..at as usize + 4096]);
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
                assert!(at + 4096 > start && at < end, "{at} should not fail");
            }
        }
    }
    failing.chunks.lock().clear();
    file.read_exact_at(&mut page, start).expect("mended");
}

#[test]
fn a_panic_in_the_store_is_eio_and_the_mount_lives() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    let mut store = MemStore::default();
    let (good, bad) = (store.blob(b"good"), store.blob(b"bad"));
    let root = store.tree(&[(0o100_644, b"bad", bad), (0o100_644, b"good", good)]);
    let failing = Arc::new(FailingStore::new(Arc::new(store)));
    failing.panics.lock().insert(bad);
    let _session = mount(failing, root, on.path());
    for _ in 0..8 {
        let error = fs::read(on.path().join("bad")).expect_err("a panic");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
    assert_eq!(fs::read(on.path().join("good")).expect("read"), b"good");
}

#[test]
fn nothing_can_be_changed() {
    if !has_fuse() {
        return;
    }
    let fixture = Fixture::new();
    let _session = fixture.mount();
    let on = fixture.on.path();
    let small = on.join("d0/s0/small");
    let errors = [
        fs::write(on.join("new"), "x").expect_err("create"),
        fs::write(&small, "x").expect_err("write"),
        File::options().append(true).open(&small).expect_err("append"),
        fs::remove_file(&small).expect_err("unlink"),
        fs::remove_dir(on.join("d0")).expect_err("rmdir"),
        fs::create_dir(on.join("new")).expect_err("mkdir"),
        fs::rename(&small, on.join("new")).expect_err("rename"),
        symlink("x", on.join("new")).expect_err("symlink"),
        fs::hard_link(&small, on.join("new")).expect_err("link"),
        fs::set_permissions(&small, fs::Permissions::from_mode(0o600)).expect_err("chmod"),
        File::open(&small)
            .expect("opened")
            .set_modified(std::time::UNIX_EPOCH)
            .expect_err("utimes"),
        rustix::fs::setxattr(&small, "user.x", b"y", rustix::fs::XattrFlags::empty())
            .expect_err("setxattr")
            .into(),
    ];
    for (index, error) in errors.iter().enumerate() {
        assert_eq!(error.raw_os_error(), Some(libc::EROFS), "the {index}th: {error}");
    }
}

#[test]
fn attributes_tell_what_content_is() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    let (_session, _, _, store) = mount_file(on.path(), 100_000);
    let get = |path: &Path, name: &str| {
        let mut value = [0u8; 100];
        let len = rustix::fs::getxattr(path, name, &mut value)?;
        Ok::<_, rustix::io::Errno>(String::from_utf8_lossy(&value[..len]).into_owned())
    };
    let file = on.path().join("f");
    let id = store.files.keys().next().expect("a file").to_string();
    assert_eq!(get(&file, "user.mega.oid"), Ok(id));
    assert_eq!(get(&file, "user.mega.kind"), Ok("lfs".to_owned()));
    assert_eq!(get(&file, "user.mega.resident"), Ok("100000/100000".to_owned()));
    assert_eq!(get(on.path(), "user.mega.kind"), Ok("tree".to_owned()));
    assert_eq!(get(&file, "user.other"), Err(rustix::io::Errno::NODATA));
    let short = rustix::fs::getxattr(&file, "user.mega.oid", &mut [0u8; 5]);
    assert_eq!(short, Err(rustix::io::Errno::RANGE));
    let mut names = [0u8; 100];
    let len = rustix::fs::listxattr(&file, &mut names).expect("names");
    assert_eq!(&names[..len], b"user.mega.oid\0user.mega.kind\0user.mega.resident\0");
}

#[test]
fn a_reader_outlives_the_unmount() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    let (session, _, data, _) = mount_file(on.path(), 8 << 20);
    let mut file = File::open(on.path().join("f")).expect("opened");
    session.unmount().expect("unmounted");
    assert!(!on.path().join("f").exists(), "the directory is free at once");
    assert!(!session.wait_for(Duration::from_millis(50)), "the session lives on");
    let mut read = Vec::new();
    file.read_to_end(&mut read).expect("read");
    assert!(read == data);
    drop(file);
    assert!(session.wait_for(SOON), "the last reader ends it");
    session.unmount().expect("again is nothing");
}

#[test]
fn somebody_else_may_unmount() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    let (session, ..) = mount_file(on.path(), 10);
    let done = Command::new("fusermount3").arg("-u").arg(on.path()).status().expect("it runs");
    assert!(done.success());
    assert!(session.wait_for(SOON), "the session noticed");
    let (session, ..) = mount_file(on.path(), 10);
    unmount_path(on.path()).expect("unmounted");
    assert!(session.wait_for(SOON), "the session noticed");
    drop(session);
    assert!(matches!(unmount_path(on.path()), Err(MountError::NotMounted { .. })));
    assert!(matches!(unmount_path(Path::new("/proc")), Err(MountError::NotOurs { .. })));
    assert!(matches!(unmount_path(&on.path().join("x")), Err(MountError::NotFound { .. })));
}

#[test]
fn a_place_that_will_not_do_is_refused() {
    if !has_fuse() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = MemStore::default();
    let root = store.tree(&[]);
    let store: Arc<dyn ReadStore> = Arc::new(store);
    let refusal = |on: &Path| try_mount(store.clone(), root, on).map(|_| ()).expect_err("refused");
    assert!(matches!(refusal(&dir.path().join("x")), MountError::NotFound { .. }));
    fs::write(dir.path().join("file"), "").expect("written");
    assert!(matches!(refusal(&dir.path().join("file")), MountError::NotADirectory { .. }));
    assert!(matches!(refusal(dir.path()), MountError::NotEmpty { .. }));
    fs::remove_file(dir.path().join("file")).expect("removed");
    let session = mount(store.clone(), root, dir.path());
    let again = refusal(dir.path());
    assert!(matches!(again, MountError::AlreadyMounted { .. }), "{again}");
    assert!(again.to_string().contains("mega-store:test_ro@v1"), "{again}");
    drop(session);
    drop(mount(store.clone(), root, dir.path()));
}

/// Not a test by itself: the process that [`a_dead_mount_is_removed`] kills.
#[test]
fn child_that_mounts_and_waits() {
    let Some(on) = std::env::var_os("MEGA_FUSE_TEST_MOUNT") else {
        return;
    };
    let mut store = MemStore::default();
    let blob = store.blob(b"alive");
    let root = store.tree(&[(0o100_644, b"f", blob)]);
    let session = mount(Arc::new(store), root, Path::new(&on));
    println!("\nready");
    session.wait();
}

#[test]
fn a_dead_mount_is_removed() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    let kill_a_mount = || {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_that_mounts_and_waits", "--nocapture"])
            .env("MEGA_FUSE_TEST_MOUNT", on.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "ready")), "it mounted");
        // What the kernel has cached by now still answers when the mount is dead.
        assert_eq!(fs::read(on.path().join("f")).expect("read"), b"alive");
        child.kill().expect("killed");
        child.wait().expect("gone");
    };
    kill_a_mount();
    let (session, _, data, _) = mount_file(on.path(), 10_000);
    assert_eq!(fs::read(on.path().join("f")).expect("read"), data);
    drop(session);
    assert_eq!(fs::read_dir(on.path()).expect("listed").count(), 0, "nothing lies below");
    kill_a_mount();
    unmount_path(on.path()).expect("a dead mount can be unmounted");
    assert_eq!(fs::read_dir(on.path()).expect("listed").count(), 0);
}

#[test]
fn thousands_of_levels_can_be_entered() {
    if !has_fuse() {
        return;
    }
    let on = tempfile::tempdir().expect("a directory");
    let mut store = MemStore::default();
    let mut tree = store.tree(&[]);
    for _ in 0..5000 {
        tree = store.tree(&[(0o40_000, b"d", tree)]);
    }
    let session = mount(Arc::new(store), tree, on.path());
    let open = |at: &rustix::fd::OwnedFd| {
        use rustix::fs::{Mode, OFlags};
        rustix::fs::openat(at, "d", OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
    };
    let mut dir: rustix::fd::OwnedFd = File::open(on.path()).expect("opened").into();
    for _ in 0..5000 {
        dir = open(&dir).expect("deeper");
    }
    assert_eq!(open(&dir).map(|_| ()), Err(rustix::io::Errno::NOENT));
    drop(dir);
    drop(session);
}
