//! Packs for wants: what is in them against walks that git agrees with, and what never is.

use super::*;
use crate::object::hash_object;
use crate::objects::deflate_for_tests as deflate;
use crate::readable::ReadableObjects;
use crate::refs::{Expect, RefEdit, RefTarget, RefTransaction};
use crate::settings::SettingChange;
use crate::source::ObjectWant;
use crate::walk::want::limits::{ALONG_COUNT, ALONG_LEN, WANTED_LEN};
use crate::{RefName, Repo};

impl World {
    fn record(&self, repo: RepoId) -> Repo {
        self.store.repos().record(repo).expect("read").expect("is there")
    }

    fn point(&self, name: &str, id: Option<ObjectId>) {
        let name = RefName::new(name.as_bytes()).expect("a name");
        let edit = RefEdit { name, expect: Expect::Any, new: id.map(RefTarget::Direct) };
        let transaction = RefTransaction { edits: vec![edit] };
        self.store.refs().apply(self.repo, &transaction).expect("applied");
    }

    fn readable(&self, repo: RepoId) -> ReadableObjects {
        let settings = self.store.settings(repo).expect("read");
        let record = self.record(repo);
        self.store.readable_objects(&record, &settings, &NoProgress).expect("walked")
    }

    /// The objects in the pack for a want, as git reads it, alone; `None` when there is no pack.
    fn sent(&self, readable: &ReadableObjects, want: &ObjectWant<'_>) -> Option<Ids> {
        let mut pack = Vec::new();
        let report = self.store.send_want(readable, want, &mut pack, &NoProgress).expect("sent");
        let Some(report) = report else {
            assert!(pack.is_empty());
            return None;
        };
        let dir = tempfile::tempdir_in(self.dir.path()).expect("a directory");
        git(dir.path(), &["init", "-q", "--bare", "."], b"");
        git(dir.path(), &["index-pack", "--stdin"], &pack);
        let args = ["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"];
        let text = String::from_utf8(git(dir.path(), &args, b"")).expect("hex");
        let ids: Ids = text.lines().map(|line| line.parse().expect("an id")).collect();
        assert_eq!((report.object_count, report.pack_len), (ids.len() as u64, pack.len() as u64));
        Some(ids)
    }

    /// Takes objects in, of any length.
    fn take(&self, repo: RepoId, objects: &[(ObjectKind, Vec<u8>)]) -> Vec<ObjectId> {
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend((objects.len() as u32).to_be_bytes());
        for (kind, data) in objects {
            let mut rest = data.len() >> 4;
            let mut byte = kind.pack_type() << 4 | (data.len() & 15) as u8;
            while rest > 0 {
                pack.push(byte | 0x80);
                (byte, rest) = ((rest & 0x7f) as u8, rest >> 7);
            }
            pack.push(byte);
            pack.extend(deflate(data));
        }
        let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
        hasher.update(&pack);
        pack.extend(hasher.try_finalize().expect("no attack").as_slice());
        let input = PackInput::Stream(&mut &pack[..]);
        let options = IngestOptions::default();
        let taken = self.store.objects().ingest_pack(repo, input, &options, &NoProgress);
        taken.expect("taken in");
        objects.iter().map(|(kind, data)| hash_object(*kind, data).expect("no attack")).collect()
    }
}

fn want(ids: &[ObjectId], levels: u32, blob_len_max: u64, history: u32) -> ObjectWant<'_> {
    ObjectWant { ids, levels, blob_len_max, history }
}

#[test]
fn directories_come_as_a_filtered_walk_brings_them() {
    for seed in 0..6 {
        let world = World::generated(seed, 12, false);
        let tip = world.commits[11];
        world.point("refs/heads/main", Some(tip));
        let readable = world.readable(world.repo);
        let root = world.id(&format!("{tip}^{{tree}}"));
        for (levels, len) in [(0, 0), (1, 9), (2, 0), (2, 9), (3, 100), (4, 0), (9, 5_000)] {
            let mut rules = vec![Filter::TreeDepth(u64::from(levels).saturating_sub(1))];
            rules.push(if len == 0 { Filter::BlobNone } else { Filter::BlobLimit(len + 1) });
            let got = world.sent(&readable, &want(&[root], levels, len, 0)).expect("a pack");
            assert_eq!(got, world.reach(&[root], &[], Filter::Combine(rules)), "{levels} {len}");
            // A commit stands one level above its directory.
            let got = world.sent(&readable, &want(&[tip], levels + 1, len, 0)).expect("a pack");
            let mut expected = Ids::from([tip]);
            if levels > 0 {
                let below = world.sent(&readable, &want(&[root], levels, len, 0));
                expected.extend(below.expect("a pack"));
            }
            assert_eq!(got, expected, "{levels} {len}");
        }
    }
}

#[test]
fn history_comes_as_a_shallow_walk_brings_it() {
    for seed in 0..6 {
        let world = World::generated(seed, 30, true);
        let tip = world.commits[29];
        world.point("refs/heads/main", Some(tip));
        let readable = world.readable(world.repo);
        for depth in [1, 2, 5, 100] {
            let by = DeepenBy::Depth(depth);
            let deepen = Deepen { wants: &[tip], client: &[], tips: &[tip], by };
            let boundary = world.store.shallow_boundary(world.repo, &deepen, &NoProgress);
            let boundary = boundary.expect("walked").shallow;
            let shallow = Shallow { boundary: &boundary, client: &[] };
            let reach = world.try_reach(&[tip], &[], Filter::TreeDepth(0), shallow);
            let expected: Ids = reach.expect("walked").ids.into_iter().collect();
            let got = world.sent(&readable, &want(&[tip], 0, 0, depth)).expect("a pack");
            assert_eq!(got, expected, "{depth}");
        }
        let got = world.sent(&readable, &want(&[tip], 0, 0, 0)).expect("a pack");
        assert_eq!(got, Ids::from([tip]));
    }
}

#[test]
fn tags_bring_what_they_lead_to() {
    let world = World::generated(1, 3, false);
    let tip = world.commits[2];
    let inner = world.tag(&tip, "commit", "inner");
    let outer = world.tag(&inner, "tag", "outer");
    world.take_in();
    world.point("refs/tags/outer", Some(outer));
    let readable = world.readable(world.repo);
    let root = world.id(&format!("{tip}^{{tree}}"));
    let got = world.sent(&readable, &want(&[outer], 2, 0, 1)).expect("a pack");
    assert_eq!(got, Ids::from([outer, inner, tip, root]));
}

#[test]
fn what_no_shown_reference_reaches_is_absent() {
    let mut world = World::generated(2, 8, false);
    let old = world.commits[7];
    let hidden = world.child(&[old]);
    let gone = world.child(&[hidden]);
    world.take_in();
    world.point("refs/heads/main", Some(gone));
    world.point("refs/internal/x", Some(hidden));
    let all = world.readable(world.repo);
    assert_eq!(all.are_readable(&[old, hidden, gone]).expect("read"), [true; 3]);
    // Pushed back by force, and hidden.
    world.point("refs/heads/main", Some(old));
    let hide = SettingChange::Set("refs/internal".to_owned());
    world.store.set_setting(world.repo, "transfer.hideRefs", &hide).expect("set");
    let readable = world.readable(world.repo);
    let asked = [old, hidden, gone, ObjectId::NULL];
    assert_eq!(readable.are_readable(&asked).expect("read"), [true, false, false, false]);
    assert_eq!(world.sent(&readable, &want(&asked, 0, 0, 1)), Some(Ids::from([old])));
    assert_eq!(world.sent(&readable, &want(&[gone, hidden], 2, 10, 9)), None);
    // Nor what only another repository has.
    let readable = world.readable(world.other);
    assert_eq!(world.sent(&readable, &want(&[old], 2, 10, 9)), None);
}

#[test]
fn of_a_repository_in_parts_what_is_here_is_readable_unless_something_is_hidden() {
    let world = World::empty();
    let name = RepoName::new("parts").expect("a name");
    let repo = world.store.repos().create_partial(&name, "p2p://x").expect("made").id;
    let blob = |text: &str| (ObjectKind::Blob, text.as_bytes().to_vec());
    let here = world.take(repo, &[blob("a"), blob("b")]);
    let elsewhere = world.take(world.other, &[blob("c")])[0];
    let mut tree = Vec::new();
    for (name, id) in ["a", "b", "c"].iter().zip([here[0], here[1], elsewhere]) {
        tree.extend_from_slice(format!("100644 {name}\0").as_bytes());
        tree.extend_from_slice(id.as_bytes());
    }
    let tree = world.take(repo, &[(ObjectKind::Tree, tree)])[0];
    let readable = world.readable(repo);
    let got = world.sent(&readable, &want(&[tree, elsewhere], 2, 10, 0));
    assert_eq!(got, Some(Ids::from([tree, here[0], here[1]])));
    let hide = SettingChange::Set("refs/internal".to_owned());
    world.store.set_setting(repo, "uploadpack.hideRefs", &hide).expect("set");
    let readable = world.readable(repo);
    assert_eq!(world.sent(&readable, &want(&[tree], 0, 0, 0)), None);
}

#[test]
fn answers_end_at_their_limits() {
    let world = World::empty();
    let name = RepoName::new("parts").expect("a name");
    let repo = world.store.repos().create_partial(&name, "p2p://x").expect("made").id;
    let dir = |blobs: &[ObjectId]| {
        let mut data = Vec::new();
        for (index, id) in blobs.iter().enumerate() {
            data.extend_from_slice(format!("100644 {index:06}\0").as_bytes());
            data.extend_from_slice(id.as_bytes());
        }
        world.take(repo, &[(ObjectKind::Tree, data)])[0]
    };
    let blobs = |count: usize, len: usize| {
        let blob = |n: usize| {
            let mut data = format!("{n:06}").into_bytes();
            data.resize(len, b'x');
            (ObjectKind::Blob, data)
        };
        world.take(repo, &(0..count).map(blob).collect::<Vec<_>>())
    };
    let count_of = |ids: &[ObjectId], levels| {
        let readable = world.readable(repo);
        world.sent(&readable, &want(ids, levels, u64::MAX, 0)).map_or(0, |ids| ids.len())
    };
    let small = blobs(ALONG_COUNT + 1, 6);
    assert_eq!(count_of(&[dir(&small[1..])], 2), ALONG_COUNT + 1);
    assert_eq!(count_of(&[dir(&small)], 2), ALONG_COUNT + 1, "one stays behind");
    let quarters = blobs(5, usize::try_from(ALONG_LEN / 4).expect("small"));
    assert_eq!(count_of(&[dir(&quarters[1..])], 2), 5);
    assert_eq!(count_of(&[dir(&quarters)], 2), 5, "one stays behind");
    assert_eq!(WANTED_LEN, ALONG_LEN);
    assert_eq!(count_of(&quarters[1..], 0), 4);
    assert_eq!(count_of(&quarters, 0), 4, "one stays behind");
    let large = blobs(2, usize::try_from(WANTED_LEN + 1).expect("small"));
    assert_eq!(count_of(&large, 0), 1, "the first goes whatever its length");
}
