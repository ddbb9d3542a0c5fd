//! Plain copies of large files: the kernel reads them by itself, and nobody sees a difference but
//! in speed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use memmap2::Mmap;
use serde_json::Value;

use crate::support::world::{Run, has_fuse, needs};
use crate::support::{Numbers, World};

/// Over the length from which copies are made.
const LEN: usize = (16 << 20) + 12_345;

/// Long enough for a copy on a machine that is full of other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store with files `a`, `b` and a small one in a repository; their bytes.
fn large_files(world: &World) -> [Vec<u8>; 2] {
    let mut numbers = Numbers(31);
    let files = [numbers.bytes(LEN), numbers.bytes(LEN)];
    world.sh("git init -q m && cd m && git lfs track a b >&2 && echo small > small");
    for (name, bytes) in ["a", "b"].iter().zip(&files) {
        fs::write(world.path("m").join(name), bytes).expect("written");
    }
    world.sh("cd m && git add . && git commit -qm x");
    world.ok(&["import", "m"]);
    files
}

/// Mounts with plain copies; `None`, said loudly, where the kernel takes none.
fn mount(world: &World, size: &str) -> Option<PathBuf> {
    let dir = world.path("mnt");
    // A dead mount may be on it.
    let _ = fs::create_dir(&dir);
    let run = world.run(&["mount", "m", "mnt", "--plain", size]);
    assert_eq!(run.code, 0, "{run:?}");
    let is_taken = !run.words.contains("no plain copies");
    if !needs(&format!("FUSE passthrough: {}", run.words), is_taken) {
        world.ok(&["unmount", "mnt"]);
    }
    is_taken.then_some(dir)
}

fn status(world: &World) -> Value {
    world.run(&["status", "--json"]).json().remove(0)
}

fn plain(world: &World, what: &str) -> u64 {
    status(world)["mounts"][0]["plain"][what].as_u64().expect("a number")
}

fn requests(world: &World, what: &str) -> u64 {
    status(world)["mounts"][0]["requests"][what].as_u64().expect("a number")
}

/// Asks until it is so.
fn until(world: &World, what: &str, count: u64) {
    let began = Instant::now();
    while plain(world, what) != count {
        assert!(began.elapsed() < PATIENCE, "{what} is not {count}: {}", status(world));
    }
}

/// Waits until all that was closed is told: the kernel does when it gets to it.
fn until_closed(world: &World) {
    let began = Instant::now();
    while requests(world, "open") != requests(world, "release") {
        assert!(began.elapsed() < PATIENCE, "{}", status(world));
    }
}

fn map(file: &File) -> Mmap {
    // SAFETY: nobody writes to a read-only mount, nor to the copy below.
    unsafe { Mmap::map(file) }.expect("mapped")
}

/// Ends the process that serves the mounts, as a crash would.
fn kill(world: &World) {
    let pid = status(world)["holder"]["pid"].as_u64().expect("a holder");
    world.sh(&format!("kill -KILL {pid}; while kill -0 {pid} 2>/dev/null; do :; done"));
}

fn copies(world: &World) -> Vec<PathBuf> {
    let dir = world.store().join("cache/plain");
    fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_large_file_is_read_by_the_kernel_alone_once_it_was_closed() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    let [a, _] = large_files(&world);
    let Some(dir) = mount(&world, "1g") else { return };
    assert_eq!(fs::read(dir.join("small")).expect("read"), b"small\n");
    let first = File::open(dir.join("a")).expect("opened");
    until(&world, "copies", 1);
    // The first is still open: the kernel would refuse another way than its own.
    assert!(fs::read(dir.join("a")).expect("read") == a);
    assert!(map(&first)[..] == a[..]);
    assert_eq!(plain(&world, "opened"), 0);
    drop(first);
    until_closed(&world);
    let reads = requests(&world, "read");
    let again = File::open(dir.join("a")).expect("opened");
    assert_eq!(plain(&world, "opened"), 1);
    assert!(map(&again)[..] == a[..]);
    assert!(fs::read(dir.join("a")).expect("read") == a);
    assert_eq!(world.sh("cmp mnt/a m/a && cp mnt/a c && cmp c m/a"), "");
    let mut part = [0; 4096];
    again.read_exact_at(&mut part, 12_345).expect("read");
    assert!(part == a[12_345..][..4096]);
    assert_eq!(requests(&world, "read"), reads, "nothing was asked of us");
    let resident = world.sh("getfattr --only-values -n user.mega.resident mnt/a || true");
    assert!(resident.is_empty() || resident == format!("{LEN}/{LEN}"), "{resident}");
    // Unmounted while it is open: it stays readable, and the process goes with it.
    let mapped = map(&again);
    world.ok(&["unmount", "mnt"]);
    assert!(mapped[..] == a[..]);
    again.read_exact_at(&mut part, 0).expect("still there");
    drop((again, mapped));
    let began = Instant::now();
    while !status(&world)["holder"].is_null() {
        assert!(began.elapsed() < PATIENCE, "{}", status(&world));
    }
    assert_eq!(copies(&world).len(), 1);
}

#[test]
fn copies_outlive_a_crash_and_half_ones_are_never_used() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    let [a, b] = large_files(&world);
    let Some(dir) = mount(&world, "1g") else { return };
    drop(File::open(dir.join("a")).expect("opened"));
    until(&world, "copies", 1);
    drop(File::open(dir.join("b")).expect("opened"));
    // Wherever its copy is by now.
    kill(&world);
    let dir = mount(&world, "1g").expect("as before");
    assert!(fs::read(dir.join("a")).expect("read") == a);
    assert_eq!(plain(&world, "opened"), 1, "at once, from the life before");
    assert!(fs::read(dir.join("b")).expect("read") == b);
    until(&world, "copies", 2);
    assert_eq!(world.sh("ls -A store/tmp"), "", "no draft is left");
    kill(&world);
    // A torn one, and one whose bytes somebody changed.
    for (number, path) in copies(&world).iter().enumerate() {
        let file = File::options().write(true).open(path).expect("opened");
        match number {
            0 => file.set_len(1 << 20).expect("cut"),
            _ => file.write_all_at(b"other", 5_000).expect("written"),
        }
    }
    let dir = mount(&world, "1g").expect("as before");
    assert!(fs::read(dir.join("a")).expect("read") == a);
    assert!(fs::read(dir.join("b")).expect("read") == b);
    until(&world, "copies", 2);
    assert_eq!((plain(&world, "written"), plain(&world, "opened")), (2, 0));
    world.ok(&["unmount", "mnt"]);
}

#[test]
fn copies_take_no_more_than_they_may() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    let [a, b] = large_files(&world);
    let Some(dir) = mount(&world, "20m") else { return };
    drop(File::open(dir.join("a")).expect("opened"));
    until(&world, "written", 1);
    assert!(fs::read(dir.join("b")).expect("read") == b);
    until(&world, "written", 2);
    assert_eq!((plain(&world, "copies"), plain(&world, "removed")), (1, 1));
    until_closed(&world);
    // One that is open never goes for another.
    let open = File::open(dir.join("b")).expect("opened");
    assert_eq!(plain(&world, "opened"), 1);
    assert!(fs::read(dir.join("a")).expect("read") == a);
    assert!(map(&open)[..] == b[..]);
    assert_eq!(plain(&world, "removed"), 1);
    drop(open);
    world.ok(&["unmount", "mnt"]);
    // Without the option opening is no request, and no copy is used.
    let mounted = world.mount("m", "mnt", &[]);
    for _ in 0..3 {
        assert!(fs::read(mounted.path.join("b")).expect("read") == b);
        assert_eq!(fs::read(mounted.path.join("small")).expect("read"), b"small\n");
    }
    assert!(status(&world)["mounts"][0]["plain"].is_null());
    assert_eq!((requests(&world, "open"), requests(&world, "release")), (1, 0));
    world.run(&["mount", "m", "mnt2", "--plain", "much"]).says(2, &["a size is"]);
}

#[test]
fn without_the_right_it_is_a_mount_as_ever_and_says_so() {
    if !has_fuse() {
        return;
    }
    let world = World::with_store();
    let [a, _] = large_files(&world);
    world.make("mnt");
    // Root in a user namespace of its own may mount, and give the kernel no copies.
    let try_out = world.command("unshare").args(["-Urm", "true"]).output();
    if !needs("user namespaces", try_out.is_ok_and(|output| output.status.success())) {
        return;
    }
    let program = env!("CARGO_BIN_EXE_mega-store");
    let script = format!(
        "mega='{program} --store store'; $mega mount m mnt --plain 1g; \
         cat mnt/a mnt/a > out; cat mnt/small; $mega status --json; $mega unmount mnt"
    );
    let output = world.command("unshare").args(["-Urm", "bash", "-euc", &script]).output();
    let run = Run::of(output.expect("started"));
    run.says(0, &["no plain copies: they need root (CAP_SYS_ADMIN) and Linux 6.9: "]);
    assert_eq!(run.words.matches("no plain copies").count(), 1, "{run:?}");
    assert!(fs::read(world.path("out")).expect("read") == [&a[..], &a].concat());
    let (small, status) = run.text().split_once('\n').expect("lines");
    assert_eq!(small, "small");
    let status: Value = serde_json::from_str(status).expect("JSON");
    let mount = &status["mounts"][0];
    assert!(mount["plain"].is_null(), "{status}");
    let counts = [&mount["requests"]["open"], &mount["requests"]["release"]];
    assert_eq!(counts.map(Value::as_u64), [Some(1), Some(0)], "opening is no request");
    assert!(copies(&world).is_empty());
}
