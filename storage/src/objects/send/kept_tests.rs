//! Kept packs: made at the second question, the same bytes, gone when damaged, old or orphaned.

use super::*;
use crate::objects::send::tests::Fixture;
use crate::progress::NoProgress;

const CLONE: SendOptions<'static> = SendOptions { ofs_delta: true, thin_bases: None, keep: true };

fn send(fixture: &Fixture, ids: &[ObjectId], options: &SendOptions<'_>) -> Result<Vec<u8>> {
    let mut pack = Vec::new();
    let objects = fixture.store.objects();
    let report = objects
        .send_pack(fixture.repo, ids, options, &mut pack, &NoProgress)
        .inspect_err(|_| assert!(!fixture.is_pack(&pack), "what was sent is no pack"))?;
    assert_eq!((report.object_count, report.pack_len), (ids.len() as u64, pack.len() as u64));
    Ok(pack)
}

fn files(fixture: &Fixture) -> Vec<PathBuf> {
    let dir = fixture.dir.path().join("s/cache/packs").join(fixture.repo.to_string());
    let mut files: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("listed").path())
        .collect();
    files.sort();
    files
}

#[test]
fn the_second_question_keeps_the_pack_and_the_third_gets_its_copy() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.repo, 20);
    let first = send(&fixture, &ids, &CLONE).expect("sent");
    assert_eq!(files(&fixture).len(), 0, "asked for once");
    assert_eq!(send(&fixture, &ids, &CLONE).expect("sent"), first);
    assert_eq!(files(&fixture).len(), 1);
    let stored = fs::read(&files(&fixture)[0]).expect("read");
    assert_eq!(&stored[..stored.len() - CHECKSUM_LEN], first);
    assert_eq!(send(&fixture, &ids, &CLONE).expect("sent"), first);
    assert!(fixture.is_pack(&first));
    // Other objects, other bases: other packs.
    for _ in 0..2 {
        send(&fixture, &ids[1..], &CLONE).expect("sent");
        send(&fixture, &ids, &SendOptions { ofs_delta: false, ..CLONE }).expect("sent");
        send(&fixture, &ids, &SendOptions { keep: false, ..CLONE }).expect("sent");
    }
    assert_eq!(files(&fixture).len(), 3);
    let name = fixture.store.repos().list().expect("listed")[0].name.clone();
    fixture.store.repos().delete(&name).expect("deleted");
    assert_eq!(files(&fixture).len(), 0, "they go with their repository");
}

#[test]
fn a_damaged_one_is_never_a_pack_and_the_next_question_gets_a_good_one() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.repo, 20);
    let good = send(&fixture, &ids, &CLONE).expect("sent");
    send(&fixture, &ids, &CLONE).expect("sent");
    let path = files(&fixture).remove(0);
    let whole = fs::read(&path).expect("read");
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let len = whole.len();
    let damaged = [
        flipped(0),
        flipped(len / 2),
        flipped(len - CHECKSUM_LEN - 1),
        flipped(len - 1),
        whole[..len - 1].to_vec(),
        whole[..len / 2].to_vec(),
        [&whole[..], b"more"].concat(),
    ];
    for bytes in damaged {
        fs::write(&path, bytes).expect("written");
        send(&fixture, &ids, &CLONE).expect_err("damage is found");
        assert_eq!(files(&fixture).len(), 0, "and goes");
        assert_eq!(send(&fixture, &ids, &CLONE).expect("sent"), good);
    }
    for bytes in [&b""[..], b"short"] {
        fs::write(&path, bytes).expect("written");
        assert_eq!(send(&fixture, &ids, &CLONE).expect("sent"), good, "counts as absent");
    }
}

#[test]
fn those_sent_longest_ago_make_room_and_too_large_ones_are_not_kept() {
    let fixture = Fixture::new();
    let ids = fixture.versions(fixture.repo, 20);
    let len = |count: usize| {
        send(&fixture, &ids[..count], &SendOptions { keep: false, ..CLONE }).expect("sent").len()
    };
    let mut packs = KeptPacks::new(fixture.store.db());
    // Room for any two of these three.
    let all: usize = [17, 18, 19].map(|count| len(count) + CHECKSUM_LEN).iter().sum();
    packs.total_len_max = all as u64 - 1;
    let ask = |packs: &KeptPacks, count: usize| {
        let mut pack = Vec::new();
        match packs.find(fixture.repo, &ids[..count], &CLONE) {
            Kept::No => "new",
            Kept::Here(here) => {
                here.send(count as u64, &mut pack, &NoProgress).expect("sent");
                "here"
            }
            Kept::Keep(path) => {
                let mut copying = packs.copy(&mut pack);
                let sent = send(&fixture, &ids[..count], &SendOptions { keep: false, ..CLONE });
                copying.write_all(&sent.expect("sent")).expect("written");
                copying.keep(packs, &path);
                "kept"
            }
        }
    };
    for count in [18, 19] {
        assert_eq!([ask(&packs, count), ask(&packs, count)], ["new", "kept"]);
    }
    assert_eq!(ask(&packs, 18), "here");
    assert_eq!([ask(&packs, 17), ask(&packs, 17)], ["new", "kept"]);
    assert_eq!([ask(&packs, 19), ask(&packs, 18)], ["kept", "kept"], "19 was the oldest, then 18");
    packs.total_len_max = 10;
    assert_eq!([ask(&packs, 16), ask(&packs, 16), ask(&packs, 16)], ["new", "kept", "kept"]);
}
