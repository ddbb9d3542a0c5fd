//! Tests of what is told and given of files that are here in parts.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::chunk::samples;
use crate::chunks::ChunkBytes;
use crate::name::RepoName;
use crate::progress::NoProgress;
use crate::repos::{Repo, Visibility};
use crate::store::StoreOptions;

struct World {
    store: Store,
    _dir: TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        Self { store, _dir: dir }
    }

    fn repo(&self, text: &str, visibility: Visibility) -> Repo {
        let name = RepoName::new(text).expect("a name");
        self.store.repos().create(&name, visibility).expect("made")
    }

    fn add(&self, repo: &Repo, data: &[u8]) -> (FileId, Vec<ChunkSpan>) {
        let files = self.store.files();
        let report = files.ingest(Some(repo.id), &mut &data[..], None, &NoProgress);
        let file = report.expect("taken in").id;
        (file, files.chunk_spans(&file, 0, u64::MAX).expect("read"))
    }

    /// Tells the repository of a file, as a source would.
    fn tell(&self, repo: &Repo, file: &FileId, spans: &[ChunkSpan]) {
        let partial = self.store.partial(repo.id);
        let len = spans.last().map_or(0, |last| last.offset + u64::from(last.chunk.len));
        partial.put_file_lens(&[(*file, len)]).expect("told");
        partial.put_page(file, spans, &[]).expect("told");
    }

    /// Brings a chunk, as a source would.
    fn bring(&self, repo: &Repo, file: &FileId, span: &ChunkSpan, plain: &[u8]) {
        let bytes = ChunkBytes::from(plain.to_vec());
        let verified = bytes.verify(&span.chunk).expect("it is the chunk");
        let partial = self.store.partial(repo.id);
        let note = |batch: &mut crate::db::Batch<'_>| partial.put_came(batch, file, span);
        self.store.files().keep_chunk(&verified, note).expect("kept");
    }

    fn held(&self, repo: &Repo, file: &FileId) -> Option<HeldFile> {
        self.store.held_file(repo.id, file).expect("read")
    }
}

fn part<'a>(data: &'a [u8], span: &ChunkSpan) -> &'a [u8] {
    &data[usize::try_from(span.offset).expect("small")..][..span.chunk.len as usize]
}

#[test]
fn a_whole_file_is_served_to_its_repository_and_to_no_other() {
    let world = World::new();
    let (open, secret) =
        (world.repo("open", Visibility::Public), world.repo("secret", Visibility::Private));
    let data = samples::bf16(900_000, 1);
    let (file, spans) = world.add(&secret, &data);
    assert!(world.held(&open, &file).is_none());
    assert!(world.store.public_held_file(&file).expect("read").is_none());
    let held = world.held(&secret, &file).expect("its own");
    assert!(held.is_whole() && held.file_len() == 900_000);
    assert_eq!(held.parts().expect("read"), Held::All);
    for span in &spans {
        let stored = held.chunk(span).expect("read").expect("is here");
        assert_eq!(stored.decode().expect("decodes"), part(&data, span));
    }
    let second = spans[1];
    let far = ChunkSpan { offset: 1 << 50, ..second };
    let (mut moved, mut longer, mut other) = (second, second, second);
    moved.offset += 1;
    longer.chunk.len += 1;
    other.chunk.id = spans[0].chunk.id;
    for wrong in [far, moved, longer, other] {
        assert_eq!(held.chunk(&wrong).expect("read"), None, "{wrong:?}");
    }
    for offset in [0, second.offset + 5, 900_000] {
        let page = held.manifest(offset, 2).expect("read").expect("proven");
        assert_eq!((page.len, &page.spans[..]), (900_000, &spans[..]), "{offset}");
        assert!(held.signed_manifest(offset, 2).expect("read").is_none(), "nobody signed it");
    }
    world.store.repos().set_visibility(&secret.name, Visibility::Public).expect("set");
    assert!(world.store.public_held_file(&file).expect("read").is_some_and(|h| h.is_whole()));
}

#[test]
fn what_another_repository_has_is_not_here_for_one_that_was_told_of_it() {
    let world = World::new();
    let (open, secret) =
        (world.repo("open", Visibility::Public), world.repo("secret", Visibility::Private));
    let data = samples::random(700_000, 2);
    let (file, spans) = world.add(&secret, &data);
    // Somebody who knows the hashes tells the public repository of a file with these chunks.
    world.tell(&open, &file, &spans);
    let held = world.held(&open, &file).expect("told");
    assert!(!held.is_whole());
    assert_eq!(held.parts().expect("read"), Held::None);
    assert!(spans.iter().all(|span| held.chunk(span).expect("read").is_none()));
    assert_eq!(held.manifest(0, 9).expect("read"), None, "what was told is not told on");
    assert_eq!(held.signed_manifest(0, 9).expect("read"), None, "nobody signed it");
    // What came for it is.
    world.bring(&open, &file, &spans[1], part(&data, &spans[1]));
    let run = HeldRun { offset: spans[1].offset, len: spans[1].chunk.len.into() };
    assert_eq!(held.parts().expect("read"), Held::Runs(vec![run]));
    let found = world.store.public_held_file(&file).expect("read").expect("told");
    let stored = found.chunk(&spans[1]).expect("read").expect("came");
    assert_eq!(stored.decode().expect("decodes"), part(&data, &spans[1]));
    let moved = ChunkSpan { offset: spans[2].offset, ..spans[1] };
    assert_eq!(found.chunk(&moved).expect("read"), None);
    // Another repository was told, and got nothing.
    let third = world.repo("third", Visibility::Public);
    world.tell(&third, &file, &spans);
    assert_eq!(world.held(&third, &file).expect("told").parts().expect("read"), Held::None);
    // Whole somewhere public comes before parts.
    world.store.repos().set_visibility(&secret.name, Visibility::Public).expect("set");
    assert!(world.store.public_held_file(&file).expect("read").is_some_and(|h| h.is_whole()));
}

#[test]
fn a_chunk_whose_length_was_told_wrong_is_not_given() {
    let world = World::new();
    let (open, other) =
        (world.repo("open", Visibility::Public), world.repo("other", Visibility::Private));
    let data = samples::random(400_000, 3);
    let (file, spans) = world.add(&other, &data);
    let mut wrong = spans[0];
    wrong.chunk.len -= 1;
    let partial = world.store.partial(open.id);
    partial.put_file_lens(&[(file, 400_000)]).expect("told");
    let mut batch = world.store.db().batch();
    partial.put_came(&mut batch, &file, &wrong);
    world.store.db().commit(batch, crate::db::Durability::Logged).expect("written");
    let held = world.held(&open, &file).expect("told");
    assert_eq!(held.chunk(&wrong).expect("read"), None);
}

/// The runs of every other chunk of 5,000 bytes.
fn gather(count: u64, file_len: u64) -> Held {
    let mut gathered = Gathered::new(file_len);
    (0..count).for_each(|index| gathered.add(index * 10_000, 5_000));
    gathered.finish()
}

#[test]
fn runs_become_bits_past_their_limit() {
    let max = HELD_RUNS_MAX as u64;
    let len = (max + 1) * 10_000;
    assert!(matches!(gather(max, len), Held::Runs(runs) if runs.len() == HELD_RUNS_MAX));
    let Held::Bits { shift, bits } = gather(max + 1, len) else { panic!("too many for runs") };
    assert_eq!((shift, bits.len() as u64), (12, Held::bits_len(len, 12)));
    assert_eq!(bits.first(), Some(&0b0010_0001), "0 to 5,000, 20,000 to 25,000");
    // The largest file there can be still fits.
    let Held::Bits { shift, bits } = gather(max + 1, FILE_LEN_MAX) else { panic!("too many") };
    assert!(bits.len() <= HELD_BITS_LEN_MAX && shift <= HELD_SHIFT_MAX);
    assert_eq!(shift, 25);
}

proptest! {
    #[test]
    fn what_is_told_is_here_byte_by_byte(
        lens in proptest::collection::vec((0u64..3_000, 1u64..9_000), 0..60),
        tail in 0u64..5_000,
        as_bits in any::<bool>(),
    ) {
        let (mut at, mut runs) = (0, Vec::new());
        for (gap, len) in lens {
            runs.push((at + gap, len));
            at += gap + len;
        }
        let file_len = at + tail;
        let mut gathered = Gathered::new(file_len);
        for (offset, len) in &runs {
            gathered.add(*offset, *len);
            if as_bits {
                gathered.bits.get_or_insert_with(|| {
                    let len = Held::bits_len(file_len, HELD_SHIFT_MIN);
                    (HELD_SHIFT_MIN, vec![0; usize::try_from(len).expect("small")])
                });
            }
        }
        let here = covered(file_len, runs.iter().copied());
        match gathered.finish() {
            Held::None => prop_assert!(runs.is_empty()),
            Held::All => prop_assert!(here.iter().all(|is_here| *is_here)),
            Held::Runs(told) => {
                prop_assert!(told.windows(2).all(|two| two[0].end() < two[1].offset));
                let told = covered(file_len, told.iter().map(|run| (run.offset, run.len)));
                prop_assert!(told == here);
            }
            Held::Bits { shift, bits } => {
                let mut told = bits.iter().flat_map(|byte| (0..8).map(move |i| byte >> i & 1 == 1));
                for granule in here.chunks(1 << shift) {
                    let whole = granule.iter().all(|is_here| *is_here);
                    prop_assert_eq!(told.next(), Some(whole));
                }
                prop_assert!(told.all(|is_set| !is_set), "beyond the file's end");
            }
        }
    }
}

/// For each byte of a file, whether a run has it.
fn covered(file_len: u64, runs: impl Iterator<Item = (u64, u64)>) -> Vec<bool> {
    let index = |number: u64| usize::try_from(number).expect("small");
    let mut here = vec![false; index(file_len)];
    for (offset, len) in runs {
        here[index(offset)..index(offset + len)].fill(true);
    }
    here
}
