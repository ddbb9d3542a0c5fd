//! Packs that lie, that grow, and that hold what nobody should check out.

use super::*;
use crate::support::pack::{Base, OFS_DELTA, REF_DELTA, checksum, deflate};

fn delta_entry(kind: u8, base: Base, data: Vec<u8>) -> Entry {
    Entry { kind, base, data, lie: None, stream: None }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A delta that copies the base's first 64 KiB so many times.
fn copies(base_len: u64, count: u64) -> Vec<u8> {
    let copy = vec![0x80; count as usize];
    [varint(base_len), varint(count << 16), copy].concat()
}

#[test]
fn packs_that_lie_are_refused_whole() {
    let world = World::with_store();
    let server = started(&world);
    let blob = Entry::whole(3, b"a blob with a little text in it\n");
    let (good, id) = history(std::slice::from_ref(&blob));
    let good_bytes = good.write();
    let mut cases: Vec<(&str, Vec<u8>, &str)> = Vec::new();
    let mut add = |name, bytes, reason| cases.push((name, bytes, reason));

    let mut flipped = good_bytes.clone();
    *flipped.last_mut().expect("long") ^= 1;
    add("trailer", flipped, "SHA1 mismatch");
    for len in (0..good_bytes.len()).step_by(7) {
        add("cut", good_bytes[..len].to_vec(), "");
    }
    add("followed", [&good_bytes[..], b"more"].concat(), "");
    for count in [u32::MAX, u32::MAX - 15, 4, 2, 0] {
        add("count", Pack { count: Some(count), ..good.clone() }.write(), "");
    }
    for len in [3, 300, 1 << 40, 1 << 62] {
        let mut lying = good.clone();
        lying.entries[0].lie = Some(len);
        add("length", lying.write(), "");
    }
    let with = |entries: Vec<Entry>| {
        let mut pack = good.clone();
        pack.entries.extend(entries);
        pack.write()
    };
    let small = [varint(4), varint(1), vec![1, b'x']].concat();
    let missing = delta_entry(REF_DELTA, Base::Id([7; 20]), small.clone());
    add("no base", with(vec![missing]), "unresolved delta");
    let (one, two) = (Entry::whole(3, b"one!"), Entry::whole(3, b"two!"));
    let [one, two] = [one, two].map(|entry| id_of(&entry).expect("no attack"));
    let to = |text: &[u8]| [varint(4), varint(4), vec![4], text.to_vec()].concat();
    let cycle = vec![
        delta_entry(REF_DELTA, Base::Id(two), to(b"one!")),
        delta_entry(REF_DELTA, Base::Id(one), to(b"two!")),
    ];
    add("cycle", with(cycle), "unresolved delta");
    for distance in [1 << 40, 1 << 20, 1] {
        let wrong = delta_entry(OFS_DELTA, Base::Distance(distance), small.clone());
        add("distance", with(vec![wrong]), "");
    }
    let id_of_blob = id_of(&blob).expect("no attack");
    let beyond = [varint(32), varint(100), vec![0x91, 20, 100]].concat();
    add("beyond", with(vec![delta_entry(REF_DELTA, Base::Id(id_of_blob), beyond)]), "");

    for (index, (name, bytes, reason)) in cases.iter().enumerate() {
        let repo = format!("lies/{index}");
        let report = push(&server, &repo, &id, bytes);
        assert!(!report.is_empty(), "{name} {index}");
        assert_refused(&server, &repo, &report, reason);
    }
    // The same one twice in a pack is no lie, and a good pack is still taken.
    let report = push(&server, "good", &id, &with(vec![blob]));
    assert_eq!(report, ["unpack ok", "ok refs/heads/main"]);
    assert_well(&server);
}

#[test]
fn bombs_are_refused_or_stay_small() {
    let world = World::with_store();
    let server = started(&world);
    // 15 KB that a delta makes 1 GiB of, and 15 GiB.
    let base = Entry::whole(3, &vec![0; 1 << 16]);
    for count in [16_384, 240_000] {
        let (mut pack, id) = history(std::slice::from_ref(&base));
        pack.entries.insert(1, delta_entry(OFS_DELTA, Base::Entry(1), copies(1 << 16, count)));
        let bytes = pack.write();
        assert!(bytes.len() < 24 << 10, "{}", bytes.len());
        let report = push(&server, "delta-bomb", &id, &bytes);
        assert_refused(&server, "delta-bomb", &report, "");
    }
    assert!(server.memory_peak() < 256 << 20, "{} MiB", server.memory_peak() >> 20);
    // 102 KB that inflate to 100 MiB: a blob as any, once.
    let (pack, id) = history(&[Entry::whole(3, &vec![0; 100 << 20])]);
    let bytes = pack.write();
    assert!(bytes.len() < 128 << 10, "{}", bytes.len());
    let report = push(&server, "zip-bomb", &id, &bytes);
    assert_eq!(report.len(), 2, "{report:?}");
    // Sixty deltas of 15 MiB each in a few KB.
    let base = Entry::whole(3, &vec![7; 1 << 16]);
    let (mut pack, id) = history(std::slice::from_ref(&base));
    for index in 0..60u64 {
        let tail = [1, index as u8];
        let mut data = varint(1 << 16);
        data.extend(varint((240 << 16) + 1));
        data.extend(vec![0x80; 240]);
        data.extend(tail);
        pack.entries.insert(1, delta_entry(OFS_DELTA, Base::Entry(1), data));
    }
    for (index, entry) in pack.entries.iter_mut().enumerate().skip(1).take(60) {
        entry.base = Base::Entry(index);
    }
    let report = push(&server, "sixty", &id, &pack.write());
    assert_eq!(report.len(), 2, "{report:?}");
    assert_well(&server);
}

#[test]
fn a_chain_of_20_000_deltas_is_taken_and_cloned() {
    let world = World::with_store();
    let server = started(&world);
    let mut blobs = vec![Entry::whole(3, b"link 00000\n")];
    let mut pack_entries = blobs.clone();
    for index in 1..20_000u32 {
        let text = format!("link {index:05}\n");
        let data = [varint(11), varint(11), vec![11], text.into_bytes()].concat();
        pack_entries.push(delta_entry(OFS_DELTA, Base::Entry(1), data));
    }
    blobs.push(Entry::whole(3, b"link 19999\n"));
    let (history, id) = history(&blobs);
    pack_entries.extend(history.entries.into_iter().skip(2));
    let report = push(&server, "chain", &id, &Pack::new(pack_entries).write());
    assert_eq!(report, ["unpack ok", "ok refs/heads/main"]);
    world.git("", &["clone", "-q", &server.repo("chain"), "chain"]);
    let last = std::fs::read(world.path("chain/000001")).expect("checked out");
    assert_eq!(last, b"link 19999\n");
    assert_well(&server);
}

#[test]
fn trees_that_would_harm_a_checkout_are_refused_by_name() {
    let world = World::with_store();
    let server = started(&world);
    let blob = Entry::whole(3, b"text\n");
    let id = id_of(&blob).expect("no attack");
    let file = |name: &'static [u8]| vec![("100644", name, id)];
    let cases: Vec<(Vec<Child<'_>>, &str)> = vec![
        (file(b".git"), "hasDotgit"),
        (file(b".GIT"), "hasDotgit"),
        (file(b"git~1"), "hasDotgit"),
        (file(b".g\xe2\x80\x8cit"), "hasDotgit"),
        (file(b".git::$INDEX_ALLOCATION"), "hasDotgit"),
        (file(b".."), "hasDotdot"),
        (file(b"."), "hasDot"),
        (file(b"a/b"), "fullPathname"),
        (vec![("100644", b"a", id), ("100644", b"a", id)], "duplicateEntries"),
        (vec![("100644", b"b", id), ("100644", b"a", id)], "treeNotSorted"),
        (vec![("120000", b".gitmodules", id)], "gitmodulesSymlink"),
        (vec![("100644", b"a", [0; 20])], "nullSha1"),
    ];
    for (index, (entries, reason)) in cases.iter().enumerate() {
        let tree = Entry::whole(2, &tree_of(entries));
        let (commit, commit_id) = commit_of(id_of(&tree).expect("no attack"));
        let pack = Pack::new(vec![blob.clone(), tree, commit]).write();
        let repo = format!("trees/{index}");
        let report = push(&server, &repo, &commit_id, &pack);
        assert_refused(&server, &repo, &report, reason);
    }
    // Trees that cannot be read, and names of submodules that lead out.
    for bytes in [&b"100644 a\0too short"[..], b"100644 \0aaaaaaaaaaaaaaaaaaaa", b"x"] {
        let tree = Entry::whole(2, bytes);
        let (commit, commit_id) = commit_of(id_of(&tree).expect("no attack"));
        let report = push(&server, "broken", &commit_id, &Pack::new(vec![tree, commit]).write());
        assert_refused(&server, "broken", &report, "");
    }
    for (text, reason) in [
        ("[submodule \"../../x\"]\n\tpath = a\n\turl = b\n", "gitmodulesName"),
        ("[submodule \"a\"]\n\tpath = a\n\turl = -ufoo\n", "gitmodulesUrl"),
        ("[submodule \"a\"]\n\tpath = -a\n\turl = b\n", "gitmodulesPath"),
        ("[submodule \"a\"]\n\tpath = a\n\turl = b\n\tupdate = !sh\n", "gitmodulesUpdate"),
    ] {
        let blob = Entry::whole(3, text.as_bytes());
        let tree = tree_of(&[("100644", b".gitmodules", id_of(&blob).expect("no attack"))]);
        let tree = Entry::whole(2, &tree);
        let (commit, commit_id) = commit_of(id_of(&tree).expect("no attack"));
        let pack = Pack::new(vec![blob, tree, commit]).write();
        let report = push(&server, "modules", &commit_id, &pack);
        assert_refused(&server, "modules", &report, reason);
    }
    assert_well(&server);
}

#[test]
fn deep_trees_are_refused_and_wide_ones_are_not_expanded() {
    let world = World::with_store();
    let server = started(&world);
    let blob = Entry::whole(3, b"text\n");
    let nested = |depth: usize, width: usize| {
        let mut entries = vec![blob.clone()];
        let mut below = ("100644", id_of(&blob).expect("no attack"));
        for _ in 0..depth {
            let names: Vec<String> = (0..width).map(|index| index.to_string()).collect();
            let of: Vec<_> = names.iter().map(|name| (below.0, name.as_bytes(), below.1)).collect();
            let tree = Entry::whole(2, &tree_of(&of));
            below = ("40000", id_of(&tree).expect("no attack"));
            entries.push(tree);
        }
        let (commit, id) = commit_of(below.1);
        entries.push(commit);
        (Pack::new(entries).write(), id)
    };
    let (pack, id) = nested(5_000, 1);
    let report = push(&server, "deep", &id, &pack);
    assert!(report.last().is_some_and(|line| line.starts_with("ng ")), "{report:?}");
    assert_no_refs(&server, "deep");
    // Ten levels of ten: 10^10 files in a pack of a few hundred bytes.
    let (pack, id) = nested(10, 10);
    assert_eq!(push(&server, "wide", &id, &pack), ["unpack ok", "ok refs/heads/main"]);
    world.git("", &["clone", "-q", "--bare", &server.repo("wide"), "wide.git"]);
    let listed = raw::get(&server, "/v1/wide/objects?list", &[]);
    assert_eq!((listed.status, listed.text().lines().count()), (200, 12));
    assert_well(&server);
}

#[test]
fn what_does_not_parse_is_refused() {
    let world = World::with_store();
    let server = started(&world);
    let tree = Entry::whole(2, b"");
    let tree_id = hex(id_of(&tree).expect("no attack"));
    let who = "A <a@b> 1700000000 +0000";
    for (text, reason) in [
        (format!("tree {tree_id}\ncommitter {who}\n\nx\n"), "missingAuthor"),
        (format!("tree {tree_id}\nauthor {who}\n\nx\n"), "missingCommitter"),
        (format!("tree {tree_id}\nauthor A <a@b> x +0000\ncommitter {who}\n\nx\n"), "badDate"),
        (format!("tree {tree_id}\nauthor A\ncommitter {who}\n\nx\n"), "missing"),
        (format!("tree {tree_id}\nauthor {who}\0\ncommitter {who}\n\nx\n"), "nul"),
        ("tree x\n".to_owned(), ""),
        (String::new(), ""),
    ] {
        let commit = Entry::whole(1, text.as_bytes());
        let id = hex(id_of(&commit).expect("no attack"));
        let pack = Pack::new(vec![tree.clone(), commit]).write();
        let report = push(&server, "commits", &id, &pack);
        assert_refused(&server, "commits", &report, reason);
    }
    // An entry of a kind that there is not; a stream that goes wrong at its end.
    for kind in [0, 5] {
        let (mut pack, id) = history(&[Entry::whole(3, b"x")]);
        pack.entries[0].kind = kind;
        assert_refused(&server, "kinds", &push(&server, "kinds", &id, &pack.write()), "");
    }
    let (mut pack, id) = history(&[Entry::whole(3, b"x")]);
    let mut stream = deflate(b"x");
    *stream.last_mut().expect("long") ^= 1;
    pack.entries[0].stream = Some(stream);
    assert_refused(&server, "stream", &push(&server, "stream", &id, &pack.write()), "");
    let mut version = b"PACK\0\0\0\x04\0\0\0\0".to_vec();
    checksum(&mut version);
    assert_refused(&server, "version", &push(&server, "version", &id, &version), "");
    assert_well(&server);
}
