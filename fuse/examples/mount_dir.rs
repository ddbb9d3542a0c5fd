//! Mounts a copy of a directory from memory, for measuring the mount without a store behind it.
//!
//! `mount_dir SOURCE MOUNTPOINT [MIB]`: with MIB, a file `model.safetensors` of that length lies
//! under the root, in verified chunks. Each line on standard input prints what was asked since the
//! last; its end unmounts.

#[path = "../src/testing.rs"]
mod testing;

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mega_fuse::{LfsMode, MountOptions, Op, ViewSpec};
use testing::MemStore;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut store = MemStore { verifies: true, ..MemStore::default() };
    let mut root_tree = store.import(Path::new(&args[1]));
    if let Some(mib) = args.get(3) {
        let len = mib.parse::<usize>().expect("MiB") << 20;
        let mut word = 1u64;
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            data.extend_from_slice(&word.to_le_bytes());
        }
        let file = mega_storage::FileId::from_bytes([7; 32]);
        let pointer = store.blob(b"a pointer");
        let len = len as u64;
        store.pointers.insert(pointer, mega_storage::Pointer { file, len });
        store.file(file, data.into());
        let source = root_tree;
        root_tree =
            store.tree(&[(0o100_644, b"model.safetensors", pointer), (0o40_000, b"tree", source)]);
    }
    let store = Arc::new(store);
    let env = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let options = MountOptions {
        lfs: LfsMode::All,
        allow_other: true,
        thread_count: env("THREADS", 4),
        worker_count: env("WORKERS", 2),
        read_ahead_len: env("AHEAD_MIB", 16) as u64 * (1 << 20),
        kernel_read_ahead_kb: env("KERNEL_KB", 512) as u32,
        ..MountOptions::default()
    };
    let view = ViewSpec {
        root_tree,
        commit_time: 1_700_000_000,
        label: "example@main".to_owned(),
        uid: 0,
        gid: 0,
    };
    let session = mega_fuse::mount(store.clone(), view, Path::new(&args[2]), &options, None)
        .expect("mounted");
    println!("mounted");
    let mut before = vec![0; Op::ALL.len()];
    for _line in std::io::stdin().lock().lines() {
        for (before, (op, count)) in before.iter_mut().zip(session.counters().snapshot()) {
            if count != *before {
                print!("{}={} ", op.name(), count - *before);
                *before = count;
            }
        }
        println!("chunks={}", store.chunk_len_read.swap(0, Ordering::Relaxed));
    }
}
