//! [`Opens`] over real copies, with a kernel that only counts.

use std::sync::atomic::AtomicU32;

use tempfile::TempDir;

use super::*;
use crate::testing::MemStore;

struct Bench {
    opens: Opens<u32>,
    cache: Arc<PlainCache>,
    file: LargeFile,
    /// Numbers what was registered, as the kernel does.
    known: AtomicU32,
    _dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let mut store = MemStore::default();
        let (_, id) = store.pointer(&[7; 200_000], true);
        let dir = tempfile::tempdir().expect("a directory");
        let plain = dir.path().join("plain");
        let cache = Arc::new(PlainCache::open(&plain, dir.path()).expect("opened"));
        cache.set_limit(200_000);
        let opens = Opens::new(cache.clone(), Arc::new(store), Arc::default());
        let file = LargeFile { id, len: 200_000 };
        Self { opens, cache, file, known: AtomicU32::new(0), _dir: dir }
    }

    fn register(&self, copy: &File) -> io::Result<u32> {
        assert_eq!(copy.metadata()?.len(), self.file.len);
        Ok(self.known.fetch_add(1, Ordering::Relaxed))
    }

    /// A handle, and the number of the copy that it reads.
    fn open(&self, ino: u64) -> (u64, Option<u32>) {
        let (handle, way) = self.opens.open(ino, self.file, |copy| self.register(copy));
        match way {
            Way::Cached => (handle, None),
            Way::Plain(known) => (handle, Some(*known)),
        }
    }
}

#[test]
fn the_way_changes_only_when_nobody_has_it_open() {
    let bench = Bench::new();
    let (first, way) = bench.open(5);
    assert_eq!(way, None, "there is no copy yet");
    bench.cache.settle();
    assert_eq!(bench.cache.counts().copies, 1);
    let (second, way) = bench.open(5);
    assert_eq!(way, None, "the first is still open");
    assert_ne!(first, second);
    bench.opens.release(first);
    let (third, way) = bench.open(5);
    assert_eq!(way, None, "the second is still open");
    bench.opens.release(second);
    bench.opens.release(third);
    let (fourth, way) = bench.open(5);
    assert_eq!(way, Some(0));
    let (fifth, way) = bench.open(5);
    assert_eq!(way, Some(0), "one number for all descriptors of an inode");
    let (other, way) = bench.open(6);
    assert_eq!(way, Some(1), "another inode with the same content has its own");
    assert_eq!(bench.cache.counts().opened, 3);
    bench.opens.release(fourth);
    // Somebody has it open: it stays, and so does the way.
    bench.cache.set_limit(0);
    assert_eq!(bench.cache.counts().copies, 1);
    let (sixth, way) = bench.open(5);
    assert_eq!(way, Some(0));
    for handle in [fifth, sixth, other] {
        bench.opens.release(handle);
    }
    bench.cache.set_limit(0);
    assert_eq!(bench.cache.counts().copies, 0);
    let (last, way) = bench.open(5);
    assert_eq!(way, None, "it went");
    bench.opens.release(last);
    let table = bench.opens.table.lock();
    assert!(table.held.is_empty() && table.handles.is_empty(), "nothing is left");
}

#[test]
fn a_copy_that_disappears_while_it_is_open_changes_nothing_for_its_inode() {
    let bench = Bench::new();
    let (first, _) = bench.open(5);
    bench.cache.settle();
    bench.opens.release(first);
    let (second, way) = bench.open(5);
    assert_eq!(way, Some(0));
    let path = bench._dir.path().join("plain").join(bench.file.id.to_string());
    std::fs::remove_file(path).expect("there");
    let (third, way) = bench.open(5);
    assert_eq!(way, Some(0), "the kernel would refuse another way");
    let (other, way) = bench.open(6);
    assert_eq!(way, None);
    for handle in [second, third, other] {
        bench.opens.release(handle);
    }
}

#[test]
fn a_refusal_of_the_kernel_and_unknown_handles_do_no_harm() {
    let bench = Bench::new();
    let (first, _) = bench.open(5);
    bench.cache.settle();
    bench.opens.release(first);
    let refuse = |_: &File| Err(io::ErrorKind::PermissionDenied.into());
    let (second, way) = bench.opens.open(5, bench.file, refuse);
    assert!(matches!(way, Way::Cached));
    let (third, way) = bench.open(5);
    assert_eq!(way, None, "cached is how it is open");
    for handle in [0, 77, first, second, second, third] {
        bench.opens.release(handle);
    }
    assert_eq!(bench.open(5).1, Some(0));
}

#[test]
fn a_number_given_again_before_the_last_closing_is_another_file() {
    let bench = Bench::new();
    let (first, _) = bench.open(5);
    bench.cache.settle();
    bench.opens.release(first);
    let (old, way) = bench.open(5);
    assert_eq!(way, Some(0));
    let other = LargeFile { id: FileId::from_bytes([9; 32]), len: 200_000 };
    let (new, way) = bench.opens.open(5, other, |copy| bench.register(copy));
    assert!(matches!(way, Way::Cached), "never the other's copy");
    bench.opens.release(old);
    bench.opens.release(new);
    assert!(bench.opens.table.lock().held.is_empty());
}

#[test]
fn the_end_of_a_mount_calls_its_copies_off() {
    let bench = Bench::new();
    let Bench { opens, cache, file, _dir, .. } = bench;
    let stop = opens.stop.clone();
    drop(opens);
    assert!(stop.load(Ordering::Relaxed));
    let store: Arc<dyn ReadStore> = Arc::new(MemStore::default());
    cache.want(&store, &file.id, file.len, &stop);
    cache.settle();
    assert_eq!(Arc::strong_count(&store), 1);
}
