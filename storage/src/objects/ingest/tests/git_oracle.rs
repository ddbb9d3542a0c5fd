//! Packs that git made: everything that git reads from its own must come back the same from ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;

/// A history by `git fast-import`: files that grow, large blobs, merges, tags, a directory that
/// moves.
fn history(dir: &Path) {
    git(dir, &["init", "-q", "--bare", "."], b"");
    let mut text = String::new();
    for n in 0..60 {
        let person = format!("A U Thor <a@example.org> {} +0000", 1_700_000_000 + n * 60);
        let branch = if n % 7 == 6 { "refs/heads/side" } else { "refs/heads/main" };
        let message = format!("change {n}\n");
        writeln!(text, "commit {branch}\nmark :{}\ncommitter {person}", n + 1).expect("memory");
        writeln!(text, "data {}\n{message}", message.len()).expect("memory");
        if n == 6 {
            writeln!(text, "from :6").expect("memory");
        } else if n % 7 == 0 && n > 7 {
            writeln!(text, "merge :{n}").expect("memory");
        }
        let lines: String =
            (0..200 + n).map(|l| format!("line {l} of {}\n", (l * 7 + n / 9) % 50)).collect();
        for file in ["README", "src/a/deep/file.rs", "src/b.rs"] {
            let body = format!("{file} {n}\n{lines}");
            writeln!(text, "M 100644 inline {file}\ndata {}\n{body}", body.len()).expect("memory");
        }
        writeln!(text).expect("memory");
    }
    let tag = "release\n";
    writeln!(
        text,
        "tag v1\nfrom :40\ntagger A U Thor <a@example.org> 1700009999 +0000\ndata {}\n{tag}",
        tag.len()
    )
    .expect("memory");
    git(dir, &["fast-import", "--quiet"], text.as_bytes());
    let big = [noise(9, 3 << 20), vec![0; 9 << 20]].concat();
    let id = git(dir, &["hash-object", "-w", "--stdin"], &big);
    let id = String::from_utf8(id).expect("hex");
    git(dir, &["update-ref", "refs/tags/big", id.trim()], b"");
}

fn everything(dir: &Path) -> BTreeMap<String, String> {
    let listed = git(dir, &["cat-file", "--batch-all-objects", "--batch-check"], b"");
    let listed = String::from_utf8(listed).expect("text");
    let split =
        |line: &str| line.split_once(' ').map(|(id, rest)| (id.to_owned(), rest.to_owned()));
    listed.lines().filter_map(split).collect()
}

fn assert_same_objects(fixture: &Fixture, dir: &Path) {
    let objects = fixture.store.objects();
    let expected = everything(dir);
    assert!(expected.len() > 300);
    let ids: Vec<ObjectId> = objects.members(fixture.repo).map(|id| id.expect("reads")).collect();
    assert!(ids.iter().map(ToString::to_string).eq(expected.keys().cloned()));
    for (id, stat) in ids.iter().zip(objects.stat(&ids).expect("reads")) {
        let header = stat.expect("it is there").header;
        let object = objects.read_verified(id).expect("reads").expect("is there");
        assert_eq!((object.kind, object.data.len() as u64), (header.kind, header.len));
        assert_eq!(expected[&id.to_string()], format!("{} {}", header.kind.as_str(), header.len));
    }
}

fn assert_export_is_the_same(fixture: &Fixture, dir: &Path) {
    let out = tempfile::tempdir().expect("a directory");
    git(out.path(), &["init", "-q", "--bare", "."], b"");
    let packs = out.path().join("objects/pack");
    fixture.store.objects().export_pack(fixture.repo, &packs, &NoProgress).expect("written");
    let refs = git(dir, &["for-each-ref", "--format=create %(refname) %(objectname)"], b"");
    git(out.path(), &["update-ref", "--stdin"], &refs);
    git(out.path(), &["fsck", "--full", "--strict"], b"");
    let list = |dir: &Path| git(dir, &["rev-list", "--objects", "--all"], b"");
    assert_eq!(list(out.path()), list(dir));
    assert_eq!(everything(out.path()), everything(dir));
}

#[test]
fn a_repository_comes_back_whole_however_its_pack_is_written() {
    let source = tempfile::tempdir().expect("a directory");
    history(source.path());
    let all = git(source.path(), &["rev-list", "--objects", "--all"], b"");
    let all: Vec<u8> = all
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .flat_map(|line| [&line[..line.len().min(40)], b"\n"].concat())
        .collect();
    let window = "--window=50";
    for args in [
        &["pack-objects", "--stdout", "-q", "--delta-base-offset", window][..],
        &["pack-objects", "--stdout", "-q", window],
        &["pack-objects", "--stdout", "-q", "--window=0"],
    ] {
        let fixture = Fixture::new();
        let pack = git(source.path(), args, &all);
        let report = fixture.push(&pack).expect("taken");
        assert_eq!(report.problem_count, 0, "{:?}", report.problems);
        assert_same_objects(&fixture, source.path());
        assert_export_is_the_same(&fixture, source.path());
        let again = fixture.push(&pack).expect("taken");
        assert_eq!(again.new_count, 0);
    }
}

#[test]
fn a_local_pack_with_its_index_is_taken_as_it_is() {
    let source = tempfile::tempdir().expect("a directory");
    history(source.path());
    git(source.path(), &["repack", "-adfq"], b"");
    let packs = source.path().join("objects/pack");
    let entries = std::fs::read_dir(&packs).expect("reads").map(|e| e.expect("an entry").path());
    let index = entries.into_iter().find(|p| p.extension().is_some_and(|e| e == "idx"));
    let index = index.expect("an index");
    let pack = index.with_extension("pack");
    let fixture = Fixture::new();
    let input = PackInput::Indexed { pack: &pack, index: &index };
    let options = IngestOptions::default();
    let objects = fixture.store.objects();
    let report = objects.ingest_pack(fixture.repo, input, &options, &NoProgress).expect("taken");
    assert_eq!(report.new_count, report.object_count);
    assert_same_objects(&fixture, source.path());
    assert_export_is_the_same(&fixture, source.path());
}

#[test]
fn large_blobs_are_read_piece_by_piece() {
    let fixture = Fixture::new();
    let big = [noise(9, 3 << 20), vec![0; 9 << 20], noise(10, 100)].concat();
    let mut pack = PackBuilder::new();
    pack.blob(&big);
    fixture.push(&pack.finish()).expect("taken");
    let objects = fixture.store.objects();
    let id = blob_id(&big);
    let read = |offset: usize, len: usize| {
        let mut out = vec![0xaa; len];
        let len = objects.read_at(&id, offset as u64, &mut out).expect("reads");
        out.truncate(len);
        assert_eq!(out, big[offset.min(big.len())..(offset + len).min(big.len())], "{offset}");
        len
    };
    for offset in (0..big.len()).step_by(1 << 20) {
        assert_eq!(read(offset, 1 << 20), (big.len() - offset).min(1 << 20));
    }
    for offset in [5 << 20, 17, big.len() - 1, big.len(), big.len() + 5, 0, 3 << 20] {
        read(offset, 4096);
    }
    fixture.assert_blob(&big);
}

#[test]
fn pointers_are_found_at_ingest() {
    let fixture = Fixture::new();
    let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
    let text =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");
    let almost = text.replace("sha256", "sha512");
    let mut pack = PackBuilder::new();
    pack.blob(text.as_bytes());
    pack.blob(almost.as_bytes());
    let report = fixture.push(&pack.finish()).expect("taken");
    let expected = Pointer { file: oid.parse().expect("hex"), len: 12_345 };
    assert_eq!(report.pointers, [expected]);
    let ids = [blob_id(text.as_bytes()), blob_id(almost.as_bytes()), blob_id(b"absent")];
    let stats = fixture.store.objects().stat(&ids).expect("reads");
    assert_eq!(stats[0].expect("there").pointer, Some(expected));
    assert_eq!(stats[1].expect("there").pointer, None);
    assert!(stats[2].is_none());
    let listed = fixture.store.objects().pointers(fixture.repo).expect("reads");
    assert_eq!(listed, [(ids[0], expected)]);
    assert_eq!(fixture.store.objects().pointers(fixture.other).expect("reads"), []);
}
