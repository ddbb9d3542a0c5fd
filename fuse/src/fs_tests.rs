//! [`MountFs`] against a model of a tree, and against trees and stores that mean harm.

use std::collections::BTreeMap;
use std::sync::Arc;

use mega_storage::ObjectKind;
use proptest::prelude::*;

use super::*;
use crate::LfsMode;
use crate::testing::{FailingStore, MemStore};

fn mount_fs(store: Arc<dyn ReadStore>, root_tree: mega_storage::ObjectId, lfs: LfsMode) -> MountFs {
    let view = ViewSpec { root_tree, commit_time: 0, label: String::new(), uid: 0, gid: 0 };
    // Small caches, so that listings and pieces are dropped and made again.
    let options =
        MountOptions { lfs, cache_len: 1 << 20, listing_cache_len: 4096, ..Default::default() };
    MountFs::new(store, view, &options)
}

/// All names of a directory with their numbers, `batch` entries a call.
fn list(fs: &MountFs, ino: u64, telling: Telling, batch: usize) -> Vec<(Vec<u8>, Attr)> {
    let (mut entries, mut offset) = (Vec::new(), 0);
    loop {
        let mut room = batch;
        let before = entries.len();
        fs.readdir(ino, offset, telling, &mut |entry| {
            if room == 0 {
                return true;
            }
            room -= 1;
            offset = entry.next;
            entries.push((entry.name.to_vec(), entry.attr));
            false
        })
        .expect("listed");
        if entries.len() == before {
            return entries.split_off(2);
        }
    }
}

fn read(fs: &MountFs, ino: u64, offset: u64, len: u32) -> Result<Vec<u8>, FsError> {
    let mut out = Vec::new();
    fs.read(ino, offset, len, &mut out).map(|()| out)
}

#[derive(Clone, Debug)]
enum Model {
    File(Vec<u8>, bool),
    Link(Vec<u8>),
    Submodule,
    /// An LFS file, and whether its content is in the store.
    Lfs(Vec<u8>, bool),
    Dir(BTreeMap<String, Model>),
}

fn model() -> impl Strategy<Value = Model> {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    let big = (0usize..200_000, any::<u8>()).prop_map(|(len, seed)| {
        (0..len).map(|n| (n as u8).wrapping_mul(31).wrapping_add((n >> 8) as u8) ^ seed).collect()
    });
    let leaf = prop_oneof![
        4 => (bytes(300), any::<bool>()).prop_map(|(data, x)| Model::File(data, x)),
        2 => prop::collection::vec(1u8..=255, 1..100).prop_map(Model::Link),
        1 => Just(Model::Submodule),
        2 => (big, any::<bool>()).prop_map(|(data, is_here)| Model::Lfs(data, is_here)),
    ];
    let dir =
        |inner| prop::collection::btree_map("[a-d][a-d.]{0,2}", inner, 0..8).prop_map(Model::Dir);
    dir(leaf.prop_recursive(4, 60, 8, dir).boxed())
}

impl Model {
    fn store(&self, store: &mut MemStore) -> (u32, mega_storage::ObjectId) {
        match self {
            Self::File(data, x) => (if *x { 0o100_755 } else { 0o100_644 }, store.blob(data)),
            Self::Link(target) => (0o120_000, store.blob(target)),
            Self::Submodule => (0o160_000, mega_storage::ObjectId::from_bytes([3; 20])),
            Self::Lfs(data, is_here) => (0o100_644, store.pointer(data, *is_here).0),
            Self::Dir(entries) => {
                let children: Vec<_> =
                    entries.iter().map(|(name, child)| (name, child.store(store))).collect();
                let entries: Vec<_> = children
                    .iter()
                    .map(|(name, (mode, id))| (*mode, name.as_bytes(), *id))
                    .collect();
                (0o40_000, store.tree(&entries))
            }
        }
    }
}

/// Checks a directory and all below; `told` counts what the kernel would have to forget.
fn check(
    fs: &MountFs,
    store: &MemStore,
    ino: u64,
    model: &BTreeMap<String, Model>,
    batch: usize,
    told: &mut Vec<u64>,
) {
    let names = list(fs, ino, Telling::Names, batch);
    let nodes = list(fs, ino, Telling::Nodes, batch);
    assert_eq!(names, nodes, "names alone have the same numbers");
    told.extend(nodes.iter().map(|(_, attr)| attr.ino));
    assert!(nodes.iter().map(|(name, _)| &name[..]).eq(model.keys().map(String::as_bytes)));
    assert!(matches!(fs.lookup(ino, b"not there"), Err(FsError::NotFound)));
    for ((_, listed), (name, child)) in nodes.iter().zip(model) {
        let attr = fs.lookup(ino, name.as_bytes()).expect("found");
        told.push(attr.ino);
        assert_eq!(attr, *listed);
        assert_eq!(attr, fs.getattr(attr.ino).expect("known"));
        match child {
            Model::File(data, x) => {
                assert_eq!(attr.perm(), if *x { 0o755 } else { 0o644 });
                check_content(fs, &attr, data);
            }
            Model::Lfs(data, true) => check_content(fs, &attr, data),
            Model::Lfs(data, false) => {
                let file = <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(data));
                let text = store.pointers.iter().find(|(_, p)| p.file.as_bytes() == &file);
                let text = store.objects[text.expect("a pointer").0].data.clone();
                check_content(fs, &attr, &text);
            }
            Model::Link(target) => {
                assert_eq!(fs.readlink(attr.ino).expect("a link"), *target);
                assert_eq!(attr.len, target.len() as u64);
            }
            Model::Submodule => assert!(list(fs, attr.ino, Telling::Nodes, batch).is_empty()),
            Model::Dir(entries) => check(fs, store, attr.ino, entries, batch, told),
        }
    }
}

fn check_content(fs: &MountFs, attr: &Attr, data: &[u8]) {
    assert_eq!(attr.len, data.len() as u64);
    assert_eq!(read(fs, attr.ino, 0, u32::MAX).expect("read"), data);
    for step in 0..8u64 {
        let offset = attr.len * step / 7;
        let len = (step * 40_961) % 150_000 + 1;
        let end = (offset + len).min(attr.len);
        let part = read(fs, attr.ino, offset, len as u32).expect("read");
        assert_eq!(part, data[offset as usize..end as usize]);
    }
    assert!(read(fs, attr.ino, u64::MAX - 1, 4096).expect("past the end").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn a_mount_is_what_its_tree_says(model in model(), batch in 1usize..20) {
        let Model::Dir(entries) = &model else { unreachable!("the root is a directory") };
        let mut store = MemStore { verifies: true, ..MemStore::default() };
        let (_, root) = model.store(&mut store);
        let store = Arc::new(store);
        let fs = mount_fs(store.clone(), root, LfsMode::All);
        let mut told = Vec::new();
        check(&fs, &store, ROOT, entries, batch, &mut told);
        for (index, ino) in told.iter().enumerate() {
            // Children before parents and the other way round: both must do.
            let ino = if batch % 2 == 0 { *ino } else { told[told.len() - 1 - index] };
            fs.forget(ino, 1);
        }
        prop_assert_eq!(fs.node_count(), 1);
        let is_gone = |ino: &u64| matches!(fs.getattr(*ino), Err(FsError::UnknownInode(_)));
        prop_assert!(told.iter().all(is_gone));
        let again = mount_fs(store.clone(), root, LfsMode::All);
        let mut told_again = Vec::new();
        check(&again, &store, ROOT, entries, batch, &mut told_again);
        prop_assert_eq!(told, told_again, "numbers are the same in every mount");
    }
}

#[test]
fn names_that_cannot_be_shown_are_hidden_and_the_rest_is_listed() {
    let mut store = MemStore::default();
    let (one, two) = (store.blob(b"one"), store.blob(b"two"));
    let long = [b'x'; 256];
    let root = store.tree(&[
        (0o100_644, b"..", one),
        (0o100_644, b"z", one),
        (0o40_000, b".", one),
        (0o100_644, b"", one),
        (0o100_644, b"a/b", one),
        (0o40_000, b".git", one),
        (0o40_000, b".GIT", one),
        (0o100_644, &long, one),
        (0o100_644, &long[1..], one),
        (0o100_644, b"dup", one),
        (0o100_755, b"dup", two),
        (0o100_644, b"\xff\n", one),
        (0o777_777, b"odd mode", one),
        (0o100_644, b".gitignore", one),
    ]);
    let fs = mount_fs(Arc::new(store), root, LfsMode::Attr);
    let names: Vec<Vec<u8>> =
        list(&fs, ROOT, Telling::Nodes, 3).into_iter().map(|(name, _)| name).collect();
    let shown: [&[u8]; 6] = [b".gitignore", b"dup", b"odd mode", &long[1..], b"z", b"\xff\n"];
    assert_eq!(names, shown);
    for hidden in [&b".."[..], b".", b"", b"a/b", b".git", b".GIT", &long] {
        assert!(matches!(fs.lookup(ROOT, hidden), Err(FsError::NotFound)), "{hidden:?}");
    }
    let dup = fs.lookup(ROOT, b"dup").expect("the first");
    assert_eq!(read(&fs, dup.ino, 0, 9).expect("read"), b"one");
}

#[test]
fn five_thousand_levels_are_walked_and_dropped() {
    let mut store = MemStore::default();
    let mut tree = store.tree(&[]);
    for _ in 0..5000 {
        tree = store.tree(&[(0o40_000, b"d", tree)]);
    }
    let fs = mount_fs(Arc::new(store), tree, LfsMode::Attr);
    let (mut ino, mut told) = (ROOT, Vec::new());
    for _ in 0..5000 {
        ino = fs.lookup(ino, b"d").expect("deeper").ino;
        told.push(ino);
    }
    assert!(list(&fs, ino, Telling::Nodes, 9).is_empty());
    // From the top down: the last link to the chain lets all of it go.
    told.iter().for_each(|&ino| fs.forget(ino, 1));
    assert_eq!(fs.node_count(), 1);
}

#[test]
fn a_tree_that_cannot_be_read_is_an_error_and_its_neighbours_are_not() {
    let mut store = MemStore::default();
    let broken = store.put(ObjectKind::Tree, b"100644 a\0short");
    let (blob, missing) = (store.blob(b"fine"), mega_storage::ObjectId::from_bytes([9; 20]));
    let root = store.tree(&[
        (0o40_000, b"blob as tree", blob),
        (0o40_000, b"broken", broken),
        (0o100_644, b"fine", blob),
        (0o40_000, b"gone dir", missing),
        (0o100_644, b"gone file", missing),
        (0o100_644, b"tree as blob", broken),
    ]);
    let fs = mount_fs(Arc::new(store), root, LfsMode::Attr);
    assert_eq!(list(&fs, ROOT, Telling::Nodes, 9).len(), 6);
    for name in [&b"broken"[..], b"gone dir", b"blob as tree"] {
        let dir = fs.lookup(ROOT, name).expect("an entry");
        let error = fs.readdir(dir.ino, 0, Telling::Nodes, &mut |_| false).expect_err("no tree");
        assert_eq!(crate::errno::ToErrno::to_errno(&error), libc::EIO);
    }
    for name in [&b"gone file"[..], b"tree as blob"] {
        assert!(matches!(fs.lookup(ROOT, name), Err(FsError::Absent(_))));
    }
    let listed = list(&fs, ROOT, Telling::Nodes, 9);
    let gone = &listed.iter().find(|(name, _)| name == b"gone file").expect("listed").1;
    assert!(gone.is_absent);
    assert!(matches!(read(&fs, gone.ino, 0, 9), Err(FsError::Absent(_))));
    assert!(matches!(fs.getattr(gone.ino), Err(FsError::Absent(_))));
}

#[test]
fn targets_that_no_path_can_be_are_refused() {
    let mut store = MemStore::default();
    let entries = [
        (&b"empty"[..], store.blob(b"")),
        (b"longest", store.blob(&[b'x'; 4095])),
        (b"nul", store.blob(b"a\0b")),
        (b"too long", store.blob(&[b'x'; 4096])),
    ];
    let entries: Vec<_> = entries.iter().map(|(name, id)| (0o120_000, *name, *id)).collect();
    let root = store.tree(&entries);
    let fs = mount_fs(Arc::new(store), root, LfsMode::Attr);
    let readlink = |name: &[u8]| fs.readlink(fs.lookup(ROOT, name).expect("found").ino);
    assert_eq!(readlink(b"longest").expect("a target").len(), 4095);
    assert!(matches!(readlink(b"too long"), Err(FsError::TargetTooLong { len: 4096, .. })));
    assert!(matches!(readlink(b"empty"), Err(FsError::BadTarget(_))));
    assert!(matches!(readlink(b"nul"), Err(FsError::BadTarget(_))));
    assert!(matches!(fs.readlink(ROOT), Err(FsError::NotASymlink)));
    assert!(matches!(read(&fs, ROOT, 0, 1), Err(FsError::IsADirectory)));
}

#[test]
fn pointers_follow_the_mode_and_the_attributes() {
    let mut store = MemStore::default();
    let (here, file) = store.pointer(&[5; 100_000], true);
    let (gone, _) = store.pointer(b"elsewhere", false);
    let rules = store.blob(b"*.bin filter=lfs\n");
    let unruly = store.blob(b"b.bin -filter\n");
    let sub = store.tree(&[
        (0o100_644, b".gitattributes", unruly),
        (0o100_644, b"a.bin", here),
        (0o100_644, b"b.bin", here),
    ]);
    let root = store.tree(&[
        (0o100_644, b".gitattributes", rules),
        (0o100_644, b"a.bin", here),
        (0o100_644, b"a.txt", here),
        (0o100_644, b"gone.bin", gone),
        (0o120_000, b"link.bin", here),
        (0o40_000, b"sub", sub),
    ]);
    let store: Arc<dyn ReadStore> = Arc::new(store);
    for (lfs, expected) in [
        (LfsMode::All, [true, true, false, true, true]),
        (LfsMode::Attr, [true, false, false, true, false]),
        (LfsMode::Off, [false; 5]),
    ] {
        let fs = mount_fs(store.clone(), root, lfs);
        let sub = fs.lookup(ROOT, b"sub").expect("found").ino;
        let paths =
            [(ROOT, "a.bin"), (ROOT, "a.txt"), (ROOT, "gone.bin"), (sub, "a.bin"), (sub, "b.bin")];
        for ((dir, name), expected) in paths.into_iter().zip(expected) {
            let attr = fs.lookup(dir, name.as_bytes()).expect("found");
            assert_eq!(attr.len == 100_000, expected, "{name} with {lfs:?}");
            let kind = fs.getxattr(attr.ino, b"user.mega.kind").expect("a kind");
            assert_eq!(kind, if expected { &b"lfs"[..] } else { b"blob" });
            if expected {
                let oid = fs.getxattr(attr.ino, b"user.mega.oid").expect("an id");
                assert_eq!(oid, file.to_string().as_bytes());
                let resident = fs.getxattr(attr.ino, b"user.mega.resident").expect("a share");
                assert_eq!(resident, b"100000/100000");
            }
        }
        let link = fs.lookup(ROOT, b"link.bin").expect("found");
        assert!(link.len < 200, "a link's target is never resolved");
        assert!(matches!(fs.getxattr(ROOT, b"security.selinux"), Err(FsError::NoAttribute)));
        assert_eq!(fs.listxattr(ROOT).expect("names"), b"user.mega.oid\0user.mega.kind\0");
    }
}

#[test]
fn a_damaged_chunk_is_an_error_for_its_range_alone() {
    let mut store = MemStore { verifies: true, ..MemStore::default() };
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n ^ (n >> 9)) as u8).collect();
    let (id, file) = store.pointer(&data, true);
    let root = store.tree(&[(0o100_644, b"f", id)]);
    let span = store.files[&file].spans[5];
    let failing = Arc::new(FailingStore::new(Arc::new(store)));
    failing.chunks.lock().insert(span.chunk.id);
    let fs = mount_fs(failing.clone(), root, LfsMode::All);
    let ino = fs.lookup(ROOT, b"f").expect("found").ino;
    for page in 0..data.len() as u64 / 4096 {
        let at = page * 4096;
        let touches = at < span.offset + u64::from(span.chunk.len) && at + 4096 > span.offset;
        match read(&fs, ino, at, 4096) {
            Ok(bytes) => {
                assert!(!touches);
                assert_eq!(bytes, data[at as usize..at as usize + 4096]);
            }
            Err(error) => {
                assert!(touches, "{error}");
                assert_eq!(crate::errno::ToErrno::to_errno(&error), libc::EIO);
            }
        }
    }
    failing.chunks.lock().clear();
    assert_eq!(read(&fs, ino, span.offset, 9).expect("mended").len(), 9);
}

#[test]
fn a_range_costs_the_chunks_that_it_touches() {
    let mut store = MemStore::default();
    let (id, _) = store.pointer(&vec![1; 64 << 20], true);
    let root = store.tree(&[(0o100_644, b"f", id)]);
    let store = Arc::new(store);
    let fs = mount_fs(store.clone(), root, LfsMode::All);
    let ino = fs.lookup(ROOT, b"f").expect("found").ino;
    read(&fs, ino, 30 << 20, 1 << 20).expect("read");
    // Dropping joins the workers: what they were given is counted.
    drop(fs);
    let read_len = store.chunk_len_read.load(std::sync::atomic::Ordering::Relaxed);
    assert!(read_len < (1 << 20) + 300_000, "{read_len}");
}

#[test]
fn a_blob_in_pieces_is_inflated_once() {
    let mut store = MemStore::default();
    let id = store.blob(&vec![1; 300_000]);
    let root = store.tree(&[(0o100_644, b"f", id)]);
    let store = Arc::new(store);
    let fs = mount_fs(store.clone(), root, LfsMode::All);
    let ino = fs.lookup(ROOT, b"f").expect("found").ino;
    for offset in (0..300_000).step_by(131_072) {
        read(&fs, ino, offset, 131_072).expect("read");
    }
    assert_eq!(store.blob_len_read.load(std::sync::atomic::Ordering::Relaxed), 300_000);
}

#[test]
fn low_halves_of_numbers_differ_within_a_directory() {
    let mut store = MemStore::default();
    let id = store.blob(b"");
    let names: Vec<String> = (0..200_000).map(|n| format!("{n:06}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (0o100_644, name.as_bytes(), id)).collect();
    let root = store.tree(&entries);
    let fs = mount_fs(Arc::new(store), root, LfsMode::Attr);
    let mut halves: Vec<u32> = list(&fs, ROOT, Telling::Names, usize::MAX)
        .iter()
        .map(|(_, attr)| attr.ino as u32)
        .collect();
    halves.sort_unstable();
    halves.dedup();
    assert_eq!(halves.len(), 200_000);
}

#[test]
fn only_large_files_are_worth_a_copy() {
    let mut store = MemStore::default();
    let len = usize::try_from(PLAIN_LEN_MIN).expect("small");
    let data = vec![3; len];
    let (large, id) = store.pointer(&data, true);
    let (small, _) = store.pointer(&data[1..], true);
    let (absent, _) = store.pointer(&[4; 100], false);
    let blob = store.blob(&data);
    let names = [(0o100_644, &b"large"[..], large), (0o100_755, b"run", large)];
    let others =
        [(0o100_644, &b"a"[..], small), (0o100_644, b"b", blob), (0o100_644, b"c", absent)];
    let links = [(0o120_000, &b"link"[..], large), (0o40_000, b"sub", store.tree(&[]))];
    let root = store.tree(&[&names[..], &others, &links].concat());
    let fs = mount_fs(Arc::new(store), root, LfsMode::All);
    let large = |name: &[u8]| {
        let attr = fs.lookup(ROOT, name).expect("there");
        fs.large_file(attr.ino).expect("known")
    };
    let file = LargeFile { id, len: PLAIN_LEN_MIN };
    for (_, name, _) in names {
        assert_eq!(large(name), Some(file));
    }
    for (_, name, _) in others.iter().chain(&links) {
        assert_eq!(large(name), None);
    }
    assert!(matches!(fs.large_file(77), Err(FsError::UnknownInode(77))));
}
