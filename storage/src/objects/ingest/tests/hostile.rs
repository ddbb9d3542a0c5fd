//! Packs that lie, break off, blow up or attack: each is refused with its reason and leaves
//! nothing.

use super::*;
use crate::db::{Durability, Family};
use crate::objects::pack_index::{IndexEntry, write_index};
use crate::{PackError, StoreError};

const TEXT: &[u8] = b"some text that is long enough to be worth a delta";

fn refused(pack: &[u8]) -> PackError {
    let fixture = Fixture::new();
    let error = fixture.push(pack).expect_err("refused");
    fixture.assert_empty();
    match error {
        StoreError::Pack(error) => error,
        other => panic!("not a pack error: {other}"),
    }
}

fn with_limits(pack: &[u8], limits: PackLimits) -> Result<IngestReport> {
    let fixture = Fixture::new();
    let mut input = pack;
    let options = IngestOptions { limits, ..IngestOptions::default() };
    let input = PackInput::Stream(&mut input);
    let result = fixture.store.objects().ingest_pack(fixture.repo, input, &options, &NoProgress);
    if result.is_err() {
        fixture.assert_empty();
    }
    result
}

#[test]
fn truncated_anywhere() {
    let mut pack = PackBuilder::new();
    let base = pack.blob(TEXT);
    pack.ofs_delta(base, &delta(TEXT, b"some text, other"));
    let pack = pack.finish();
    let fixture = Fixture::new();
    for len in 0..pack.len() {
        let error = fixture.push(&pack[..len]).expect_err("refused");
        assert!(matches!(error, StoreError::Pack(_)), "at {len}: {error}");
        fixture.assert_empty();
    }
    fixture.push(&pack).expect("whole it is taken");
}

#[test]
fn wrong_checksum_and_junk_behind() {
    let mut pack = PackBuilder::new();
    pack.blob(TEXT);
    let good = pack.finish();
    let mut bad = good.clone();
    *bad.last_mut().expect("not empty") ^= 1;
    assert!(matches!(refused(&bad), PackError::Checksum));
    let long = [&good[..], b"x"].concat();
    assert!(matches!(refused(&long), PackError::TrailingBytes));
    let mut flipped = good;
    flipped[15] ^= 0x10;
    refused(&flipped);
}

#[test]
fn lying_counts_and_lengths() {
    for count in [0u32, 2, 1_000_000, u32::MAX] {
        let mut pack = PackBuilder::new();
        pack.blob(TEXT);
        refused(&pack.finish_with_count(count));
    }
    for announced in [0, TEXT.len() - 1, TEXT.len() + 1, 300, 1 << 40, 1 << 62] {
        let mut pack = PackBuilder::new();
        pack.lying_blob(announced, TEXT);
        refused(&pack.finish());
    }
    refused(b"");
    refused(b"PACK");
    refused(b"PACK\0\0\0\x09\0\0\0\0aaaaaaaaaaaaaaaaaaaa");
    refused(b"not a pack at all, but long enough to have a header");
}

#[test]
fn an_empty_pack_is_fine() {
    let fixture = Fixture::new();
    let report = fixture.push(&PackBuilder::new().finish()).expect("taken");
    assert_eq!(report.object_count, 0);
    let mut bad = PackBuilder::new().finish();
    bad[31] ^= 1;
    assert!(matches!(refused(&bad), PackError::Checksum));
}

#[test]
fn deltas_without_bases_and_cycles() {
    let mut pack = PackBuilder::new();
    pack.ref_delta(&blob_id(b"nowhere"), &delta(b"nowhere", TEXT));
    assert!(matches!(refused(&pack.finish()), PackError::UnresolvedDeltas { count: 1, .. }));

    let (one, two) = (b"cycle one".as_slice(), b"cycle two".as_slice());
    let mut pack = PackBuilder::new();
    pack.blob(TEXT);
    pack.ref_delta(&blob_id(two), &delta(two, one));
    pack.ref_delta(&blob_id(one), &delta(one, two));
    assert!(matches!(refused(&pack.finish()), PackError::UnresolvedDeltas { .. }));

    // Offsets before the pack, into its header, between entries, and at the delta itself.
    for base in [0u64, 11, 13] {
        let mut pack = PackBuilder::new();
        pack.blob(TEXT);
        pack.ofs_delta(base, &delta(TEXT, b"x"));
        refused(&pack.finish());
    }
}

#[test]
fn hostile_instructions() {
    let copy_beyond = [&[TEXT.len() as u8, 100][..], &[0x91, 40, 100]].concat();
    let other_base = delta(b"a base of another length", b"x");
    let reserved = vec![TEXT.len() as u8, 1, 0];
    let short = vec![TEXT.len() as u8, 9, 0x90, 3];
    for instructions in [copy_beyond, other_base, reserved, short, Vec::new(), vec![0x80]] {
        let mut pack = PackBuilder::new();
        let base = pack.blob(TEXT);
        pack.ofs_delta(base, &instructions);
        assert!(matches!(refused(&pack.finish()), PackError::Malformed { .. }));
    }
}

/// A base of zeros and a delta that copies all of it many times: 15 KB that become `copies` x 64
/// KiB.
fn delta_bomb(copies: u64) -> Vec<u8> {
    let base = vec![0; 0x10000];
    let mut instructions = Vec::new();
    put_varint(&mut instructions, base.len() as u64);
    put_varint(&mut instructions, base.len() as u64 * copies);
    instructions.resize(instructions.len() + copies as usize, 0x80);
    let mut pack = PackBuilder::new();
    let offset = pack.blob(&base);
    pack.ofs_delta(offset, &instructions);
    // Noise, so that the pack is as long as such a pack is when its instructions vary.
    pack.blob(&noise(1, 14 << 10));
    pack.finish()
}

#[test]
fn a_delta_bomb_of_15_kb_to_1_gib() {
    let bomb = delta_bomb(16 << 10);
    assert!(bomb.len() < 16 << 10, "{}", bomb.len());
    assert!(matches!(refused(&bomb), PackError::ObjectTooLarge { .. }));
    // The same through a base that is named by id.
    let base = vec![0; 0x10000];
    let mut instructions = Vec::new();
    put_varint(&mut instructions, base.len() as u64);
    put_varint(&mut instructions, 1 << 30);
    instructions.extend([0x80; 16 << 10]);
    let mut pack = PackBuilder::new();
    pack.ref_delta(&blob_id(&base), &instructions);
    pack.blob(&base);
    assert!(matches!(refused(&pack.finish()), PackError::ObjectTooLarge { .. }));
}

#[test]
fn a_zip_bomb_at_the_limit_and_one_past_it() {
    let limits = PackLimits { object_len_max: 8 << 20, ..PackLimits::default() };
    let at = |len: usize| {
        let mut pack = PackBuilder::new();
        pack.blob(&vec![0; len]);
        with_limits(&pack.finish(), limits)
    };
    at(8 << 20).expect("at the limit");
    let error = at((8 << 20) + 1).expect_err("past it");
    assert!(matches!(error, StoreError::Pack(PackError::ObjectTooLarge { .. })), "{error}");
}

#[test]
fn many_small_bombs_share_one_budget() {
    let base = vec![7; 1 << 20];
    for by_id in [false, true] {
        let mut pack = PackBuilder::new();
        let offset = pack.blob(&base);
        for n in 0..8u8 {
            let mut target = base.clone();
            *target.last_mut().expect("not empty") = n;
            let mut instructions = Vec::new();
            put_varint(&mut instructions, base.len() as u64);
            put_varint(&mut instructions, base.len() as u64);
            for piece in 0..15u8 {
                instructions.extend([0x80 | 0x04, piece]);
            }
            instructions.extend([0x80 | 0x04 | 0x30, 15, 0xff, 0xff, 1, n]);
            if by_id {
                pack.ref_delta(&blob_id(&base), &instructions);
            } else {
                pack.ofs_delta(offset, &instructions);
            }
        }
        let pack = pack.finish();
        let limits = |safe| PackLimits {
            inflated_len_safe: safe,
            expansion_max: 1,
            ..PackLimits::default()
        };
        with_limits(&pack, limits(9 << 20)).expect("at the limit");
        let error = with_limits(&pack, limits((9 << 20) - 1)).expect_err("past it");
        assert!(matches!(error, StoreError::Pack(PackError::Expansion { .. })), "{error}");
    }
}

#[test]
fn the_pack_itself_has_a_limit() {
    let mut pack = PackBuilder::new();
    pack.blob(&noise(3, 10_000));
    let pack = pack.finish();
    let limits = |max| PackLimits { pack_len_max: max, ..PackLimits::default() };
    with_limits(&pack, limits(pack.len() as u64)).expect("at the limit");
    let error = with_limits(&pack, limits(pack.len() as u64 - 1)).expect_err("past it");
    assert!(matches!(error, StoreError::Limit { what: "length of a pack", .. }), "{error}");
}

#[test]
fn a_collision_with_what_is_stored_is_refused() {
    let fixture = Fixture::new();
    let mut pack = PackBuilder::new();
    pack.blob(b"the second preimage, if there were one");
    fixture.push(&pack.finish()).expect("taken");
    // The row of one blob under the id of another: what a successful attack on SHA-1 would look
    // like.
    let db = &fixture.store.objects().db;
    let forged = blob_id(b"the second preimage, if there were one");
    let row = db.get(Family::Object, forged.as_bytes()).expect("reads").expect("there").to_vec();
    let mut batch = db.batch();
    batch.put(Family::Object, blob_id(TEXT).as_bytes(), &row);
    db.commit(batch, Durability::Synced).expect("written");
    let mut pack = PackBuilder::new();
    pack.blob(TEXT);
    let error = fixture.push(&pack.finish()).expect_err("refused");
    assert!(matches!(error, StoreError::Collision { id } if id == blob_id(TEXT)), "{error}");
    let kept = fixture.store.objects().read(&blob_id(TEXT)).expect("reads").expect("there");
    assert_eq!(kept.data, &b"the second preimage, if there were one"[..], "the first one wins");
    let error = fixture.store.objects().read_verified(&blob_id(TEXT)).expect_err("damage");
    assert!(matches!(error, StoreError::DamagedRow { .. }));
}

#[test]
fn deep_and_malformed_trees_are_taken_and_told() {
    let fixture = Fixture::new();
    let blob = blob_id(TEXT);
    let entry = |mode: &str, name: &[u8], id: &ObjectId| {
        [mode.as_bytes(), b" ", name, b"\0", id.as_bytes()].concat()
    };
    let mut pack = PackBuilder::new();
    pack.blob(TEXT);
    for (name, _) in [(&b".."[..], "hasDotdot"), (b".git", "hasDotgit"), (b"a/b", "fullPathname")] {
        pack.object(ObjectKind::Tree, &entry("100644", name, &blob));
    }
    let twice = entry("100644", b"a", &blob);
    pack.object(ObjectKind::Tree, &[twice.clone(), twice.clone()].concat());
    pack.object(ObjectKind::Tree, &[entry("100644", b"b", &blob), twice].concat());
    let mut tree = entry("100644", b"deep", &blob);
    for _ in 0..5_000 {
        pack.object(ObjectKind::Tree, &tree);
        let id = hash_object(ObjectKind::Tree, &tree).expect("no attack");
        tree = entry("40000", b"d", &id);
    }
    let report = fixture.push(&pack.finish()).expect("taken: old histories have such trees");
    let mut ids: Vec<&str> = report.problems.iter().map(|(_, p)| p.id).collect();
    ids.sort_unstable();
    assert_eq!(
        ids,
        ["duplicateEntries", "fullPathname", "hasDotdot", "hasDotgit", "treeNotSorted"]
    );
}

#[test]
fn a_shrinking_pack_file_is_refused() {
    let fixture = Fixture::new();
    let dir = tempfile::tempdir().expect("a directory");
    let mut pack = PackBuilder::new();
    pack.blob(&noise(5, 100_000));
    let bytes = pack.finish();
    std::fs::write(dir.path().join("in.pack"), &bytes).expect("written");
    git(dir.path(), &["index-pack", "in.pack"], b"");
    std::fs::write(dir.path().join("in.pack"), &bytes[..60_000]).expect("written");
    let (pack, index) = (dir.path().join("in.pack"), dir.path().join("in.idx"));
    let input = || PackInput::Indexed { pack: &pack, index: &index };
    let options = IngestOptions::default();
    let objects = fixture.store.objects();
    let error = objects.ingest_pack(fixture.repo, input(), &options, &NoProgress);
    assert!(matches!(error, Err(StoreError::Pack(_))), "{error:?}");
    fixture.assert_empty();
    std::fs::write(&pack, &bytes).expect("written");
    objects.ingest_pack(fixture.repo, input(), &options, &NoProgress).expect("whole again");
}

#[test]
fn a_thin_delta_of_a_base_that_is_over_the_safe_length_is_no_bomb() {
    let fixture = Fixture::new();
    let base = noise(9, 600_000);
    let target = [&base[..60_000], b"one line more", &base[60_000..]].concat();
    let mut pack = PackBuilder::new();
    pack.blob(&base);
    fixture.push(&pack.finish()).expect("taken");
    let mut instructions = Vec::new();
    put_varint(&mut instructions, base.len() as u64);
    put_varint(&mut instructions, target.len() as u64);
    instructions.extend([0xb0, 0x60, 0xea, 13]);
    instructions.extend(b"one line more");
    for start in (60_000u32..600_000).step_by(60_000) {
        let [a, b, c, _] = start.to_le_bytes();
        instructions.extend([0xb7, a, b, c, 0x60, 0xea]);
    }
    let mut pack = PackBuilder::new();
    pack.ref_delta(&blob_id(&base), &instructions);
    let pack = pack.finish();
    let limits = |grow| PackLimits {
        object_len_safe: grow,
        inflated_len_safe: 1_300_000,
        expansion_max: 0,
        ..PackLimits::default()
    };
    let push = |grow| {
        let mut input = &pack[..];
        let options = IngestOptions { limits: limits(grow), ..IngestOptions::default() };
        let input = PackInput::Stream(&mut input);
        fixture.store.objects().ingest_pack(fixture.repo, input, &options, &NoProgress)
    };
    let error = push(12).expect_err("it grows by one byte more");
    assert!(matches!(error, StoreError::Pack(PackError::ObjectTooLarge { .. })), "{error}");
    push(13).expect("a base that is stored may be changed");
    fixture.assert_blob(&target);
}

#[test]
fn outside_bases_share_the_budget_before_they_are_read() {
    let fixture = Fixture::new();
    let blobs: Vec<Vec<u8>> = (0..8).map(|n| noise(n, 100_000)).collect();
    let mut pack = PackBuilder::new();
    for data in &blobs {
        pack.blob(data);
    }
    fixture.push(&pack.finish()).expect("taken");
    let mut pack = PackBuilder::new();
    for data in &blobs {
        pack.ref_delta(&blob_id(data), &delta(data, &data[..10]));
    }
    let pack = pack.finish();
    let push = |safe| {
        let limits =
            PackLimits { inflated_len_safe: safe, expansion_max: 1, ..PackLimits::default() };
        let mut input = &pack[..];
        let input = PackInput::Stream(&mut input);
        let options = IngestOptions { limits, ..IngestOptions::default() };
        fixture.store.objects().ingest_pack(fixture.repo, input, &options, &NoProgress)
    };
    let error = push(799_999).expect_err("past it");
    assert!(matches!(error, StoreError::Pack(PackError::Expansion { .. })), "{error}");
    push(800_080).expect("at the limit");
}

#[test]
fn entries_have_a_limit() {
    let mut pack = PackBuilder::new();
    for n in 0..10 {
        pack.blob(&noise(n, 10));
    }
    let pack = pack.finish();
    let limits = |max| PackLimits { entry_count_max: max, ..PackLimits::default() };
    with_limits(&pack, limits(10)).expect("at the limit");
    let error = with_limits(&pack, limits(9)).expect_err("past it");
    assert!(matches!(error, StoreError::Limit { what: "entries of a pack", .. }), "{error}");
}

#[test]
fn a_cycle_that_an_index_vouches_for_is_refused() {
    let (one, two) = (b"cycle one".as_slice(), b"cycle two".as_slice());
    let mut pack = PackBuilder::new();
    pack.blob(TEXT);
    let offsets = [
        pack.ref_delta(&blob_id(two), &delta(two, one)),
        pack.ref_delta(&blob_id(one), &delta(one, two)),
    ];
    let bytes = pack.finish();
    let mut entries = vec![
        IndexEntry { id: blob_id(TEXT), crc32: 0, offset: 12 },
        IndexEntry { id: blob_id(one), crc32: 0, offset: offsets[0] },
        IndexEntry { id: blob_id(two), crc32: 0, offset: offsets[1] },
    ];
    entries.sort_unstable_by_key(|entry| entry.id);
    let fixture = Fixture::new();
    let dir = tempfile::tempdir().expect("a directory");
    let (pack, index) = (dir.path().join("in.pack"), dir.path().join("in.idx"));
    let mut out = Vec::new();
    write_index(&mut out, &entries, bytes.last_chunk().expect("a trailer")).expect("memory");
    std::fs::write(&index, out).expect("written");
    std::fs::write(&pack, bytes).expect("written");
    let input = PackInput::Indexed { pack: &pack, index: &index };
    let objects = fixture.store.objects();
    let error = objects.ingest_pack(fixture.repo, input, &IngestOptions::default(), &NoProgress);
    let error = error.expect_err("refused");
    assert!(matches!(error, StoreError::Pack(PackError::Malformed { .. })), "{error}");
    fixture.assert_empty();
}

#[test]
fn a_bad_entry_among_many_stops_all_threads() {
    let mut pack = PackBuilder::new();
    let mut bases = vec![pack.blob(&noise(1, 2_000))];
    let versions: Vec<Vec<u8>> =
        (0..2_000u64).map(|n| [noise(1, 2_000), noise(n, 9)].concat()).collect();
    for (n, version) in versions.iter().enumerate() {
        let parent = n / 3;
        let parent_data = if parent == 0 { noise(1, 2_000) } else { versions[parent - 1].clone() };
        bases.push(pack.ofs_delta(bases[parent], &delta(&parent_data, version)));
    }
    let good = PackBuilder { bytes: pack.bytes.clone(), count: pack.count }.finish();
    pack.ofs_delta(bases[1_500], b"no delta");
    assert!(matches!(refused(&pack.finish()), PackError::Malformed { .. }));
    let fixture = Fixture::new();
    let report = fixture.push(&good).expect("taken");
    assert_eq!(report.new_count, 2_001);
    for version in &versions {
        fixture.assert_blob(version);
    }
}

/// Takes in a pack with one blob that is `data` as its index says, and reads it back.
fn indexed_blob(bytes: &[u8], data: &[u8]) -> Result<()> {
    let fixture = Fixture::new();
    let dir = tempfile::tempdir().expect("a directory");
    let (pack, index) = (dir.path().join("in.pack"), dir.path().join("in.idx"));
    std::fs::write(&pack, bytes).expect("written");
    let mut out = Vec::new();
    let entry = IndexEntry { id: blob_id(data), crc32: 0, offset: 12 };
    let pack_id = bytes.last_chunk().expect("a trailer");
    write_index(&mut out, &[entry], pack_id).expect("memory");
    std::fs::write(&index, out).expect("written");
    let input = PackInput::Indexed { pack: &pack, index: &index };
    let objects = fixture.store.objects();
    objects.ingest_pack(fixture.repo, input, &IngestOptions::default(), &NoProgress)?;
    fixture.assert_blob(data);
    git(dir.path(), &["init", "-q", "--bare", "out"], b"");
    let packs = dir.path().join("out/objects/pack");
    let report = objects.export_pack(fixture.repo, &packs, &NoProgress).expect("written");
    let report = report.expect("not empty");
    git(dir.path(), &["index-pack", "--strict", report.pack.to_str().expect("text")], b"");
    Ok(())
}

#[test]
fn streams_of_an_indexed_pack_end_where_they_say() {
    let mut good = PackBuilder::new();
    good.blob(TEXT);
    indexed_blob(&good.finish(), TEXT).expect("taken");

    let mut longer = PackBuilder::new();
    longer.lying_blob(20, TEXT);
    indexed_blob(&longer.finish(), &TEXT[..20]).expect_err("its stream goes on");

    let mut followed = PackBuilder::new();
    followed.blob(TEXT);
    followed.bytes.extend(b"what no entry has");
    indexed_blob(&followed.finish(), TEXT).expect_err("bytes follow its stream");

    for cut in 1..5 {
        let mut broken = PackBuilder::new();
        broken.blob(TEXT);
        let at = broken.bytes.len() - cut;
        broken.bytes[at] ^= 1;
        indexed_blob(&broken.finish(), TEXT).expect_err("its own checksum is wrong");
        let mut short = PackBuilder::new();
        short.blob(TEXT);
        short.bytes.truncate(at);
        indexed_blob(&short.finish(), TEXT).expect_err("its own checksum is cut off");
    }
}
