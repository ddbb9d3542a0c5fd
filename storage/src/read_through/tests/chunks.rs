//! Files through sources.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::world::{Target, World};
use super::{FORGERIES, Fake, Mode, open, open_with};
use crate::chunks::ChunkBytes;
use crate::error::StoreError;
use crate::held::Held;
use crate::id::FileId;
use crate::read::{Content, ReadStore, Urgency};
use crate::repos::Visibility;

const LEN: usize = 3 << 20;

fn world() -> (Arc<World>, FileId, Vec<u8>) {
    let world = Arc::new(World::new(9, 0, 0, LEN));
    let file = world.pointers[0].file;
    let mut data = vec![0; LEN];
    world.view().read_at(&Content::File(file), 0, &mut data).expect("read");
    (world, file, data)
}

fn read(
    reader: &dyn ReadStore,
    file: FileId,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, StoreError> {
    let mut out = vec![0; len];
    let len = reader.read_at(&Content::File(file), offset, &mut out)?;
    out.truncate(len);
    Ok(out)
}

/// Waits until the threads that fetch have made a file of what came.
fn wait_until_whole(target: &Target, file: &FileId) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !target.store.files().has(target.repo.id, file).expect("read") {
        assert!(Instant::now() < deadline, "it never became whole");
        std::thread::yield_now();
    }
}

#[test]
fn only_what_is_read_travels_and_it_travels_once() {
    let (world, file, data) = world();
    let fake = Fake::new(&world, Mode::Good);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    assert_eq!(reader.file_lens(&world.pointers).expect("told"), [Some(LEN as u64)]);
    assert_eq!(read(&reader, file, 1 << 20, 1000).expect("read"), data[1 << 20..][..1000]);
    assert!(Fake::count(&fake.chunks) <= 2);
    let resident = reader.resident(&Content::File(file)).expect("read");
    assert!(resident > 0 && resident < 600 << 10, "{resident}");
    // Killed, and back: what came is there, with the source gone.
    drop(reader);
    let target = target.reopen();
    fake.turn(Mode::Failing);
    let reader = open(&target, &[&fake]);
    assert_eq!(read(&reader, file, 1 << 20, 1000).expect("read"), data[1 << 20..][..1000]);
    let error = read(&reader, file, 2 << 20, 1000).expect_err("not here");
    assert!(matches!(error, StoreError::NotFetched { .. }), "{error}");
    assert!(!target.store.files().has(target.repo.id, &file).expect("read"));
    // The rest, then the file is one like any other.
    fake.turn(Mode::Good);
    let before = Fake::count(&fake.chunks);
    assert_eq!(read(&reader, file, 0, LEN).expect("read"), data);
    let count = target.store.view(target.repo.id);
    wait_until_whole(&target, &file);
    let chunks = count.chunk_spans(&file, 0, u64::MAX).expect("whole").len() as u64;
    assert_eq!(Fake::count(&fake.chunks), chunks, "{before}");
    target.store.repos().set_visibility(&target.repo.name, Visibility::Public).expect("set");
    let last = count.chunk_spans(&file, LEN as u64 - 1, 1).expect("whole")[0].chunk;
    let found = target.store.public_chunk(&last.id).expect("read");
    assert_eq!(found, Some((file, last)), "its chunks lead back to it");
    drop(reader);
    let mut alone = vec![0; LEN];
    count.read_at(&Content::File(file), 0, &mut alone).expect("read");
    assert_eq!(alone, data);
}

#[test]
fn what_comes_stored_is_kept_as_it_came_and_served_on_before_the_file_is_whole() {
    let (world, file, data) = world();
    let fake = Fake::new(&world, Mode::Stored);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    assert_eq!(read(&reader, file, 1 << 20, 1000).expect("read"), data[1 << 20..][..1000]);
    let span = reader.chunk_spans(&file, 1 << 20, 1).expect("told")[0];
    let held = || target.store.held_file(target.repo.id, &file).expect("read").expect("told");
    let partial = held();
    assert!(!partial.is_whole() && partial.manifest(0, 9).expect("read").is_none());
    let Held::Runs(runs) = partial.parts().expect("read") else { panic!("a part came") };
    assert!(runs.iter().any(|run| run.offset <= span.offset && span.offset < run.end()));
    assert_eq!(partial.chunk(&span).expect("read"), Some(world.stored(&file, &span)));
    // Somebody else's chunk, which the manifest names too, is not.
    let first = reader.chunk_spans(&file, 0, 1).expect("told")[0];
    let plain = Bytes::copy_from_slice(&data[..first.chunk.len as usize]);
    let verified = ChunkBytes::Plain(plain).verify(&first.chunk).expect("it is the chunk");
    target.store.files().keep_chunk(&verified, |_| ()).expect("kept");
    assert_eq!(held().chunk(&first).expect("read"), None);
    assert_eq!(read(&reader, file, 0, LEN).expect("read"), data);
    wait_until_whole(&target, &file);
    let whole = held();
    assert!(whole.is_whole() && whole.parts().expect("read") == Held::All);
    assert_eq!(whole.chunk(&first).expect("read"), Some(world.stored(&file, &first)));
}

#[test]
fn a_forged_stored_form_is_neither_read_nor_kept_nor_served() {
    let (world, file, data) = world();
    for how in 0..FORGERIES {
        let fake = Fake::new(&world, Mode::Good);
        let target = Target::new();
        let reader = open(&target, &[&fake]);
        let span = reader.chunk_spans(&file, 0, 1).expect("told")[0];
        fake.turn(Mode::Forged(how));
        let error = read(&reader, file, 0, 1000).expect_err("refused");
        assert!(error.to_string().contains("wrong bytes"), "{how}: {error}");
        assert_eq!(reader.counts().chunks, 0, "{how}");
        let stored = target.store.files().stored_chunks(&[span.chunk.id]).expect("read");
        assert_eq!(stored, [false], "{how}");
        let held = target.store.held_file(target.repo.id, &file).expect("read").expect("told");
        assert_eq!(held.parts().expect("read"), Held::None, "{how}");
        fake.turn(Mode::Stored);
        assert_eq!(read(&reader, file, 0, 1000).expect("read"), data[..1000]);
    }
}

#[test]
fn sources_are_told_whether_somebody_waits() {
    let (world, file, _) = world();
    let fake = Fake::new(&world, Mode::Good);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    let spans = reader.chunk_spans(&file, 0, u64::MAX).expect("told");
    read(&reader, file, 0, 10).expect("read");
    reader.expect(&file, &spans[spans.len() - 1..], Urgency::Soon);
    reader.chunk(&file, &spans[spans.len() - 1].chunk).expect("read");
    assert_eq!(*fake.urgencies.lock(), [Urgency::Now, Urgency::Soon]);
}

#[test]
fn who_waits_does_not_wait_behind_what_comes_ahead() {
    let (world, file, data) = world();
    let fake = Fake::new(&world, Mode::Gated);
    fake.open_gate();
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    let spans = reader.chunk_spans(&file, 0, u64::MAX).expect("told");
    *fake.gate.0.lock() = false;
    // Not neighbours, so that each is a transfer of its own.
    for span in spans.iter().skip(2).step_by(2).take(8) {
        reader.expect(&file, std::slice::from_ref(span), Urgency::Soon);
    }
    let held = crate::ReadThroughOptions::default().transfer_count as u64 - 1;
    while Fake::count(&fake.runs) < held {
        std::thread::yield_now();
    }
    fake.turn(Mode::Good);
    assert_eq!(read(&reader, file, 0, 10).expect("read"), data[..10]);
    fake.open_gate();
}

#[test]
fn neighbours_come_in_one_question_and_many_readers_share_it() {
    let (world, file, data) = world();
    let fake = Fake::new(&world, Mode::Gated);
    fake.open_gate();
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    let spans = reader.chunk_spans(&file, 0, 900 << 10).expect("told");
    *fake.gate.0.lock() = false;
    reader.expect(&file, &spans, Urgency::Soon);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for span in &spans {
                    let plain = reader.chunk(&file, &span.chunk).expect("read");
                    let at = usize::try_from(span.offset).expect("small");
                    assert_eq!(plain, data[at..at + plain.len()]);
                }
            });
        }
        while Fake::count(&fake.runs) == 0 {
            std::thread::yield_now();
        }
        fake.open_gate();
    });
    assert_eq!(Fake::count(&fake.runs), 1);
    assert_eq!(Fake::count(&fake.chunks), spans.len() as u64);
    assert_eq!(reader.counts().chunks, spans.len() as u64);
}

#[test]
fn wrong_bytes_never_arrive() {
    let (world, file, data) = world();
    let (good, bad) = (Fake::new(&world, Mode::Good), Fake::new(&world, Mode::Good));
    let target = Target::new();
    let reader = open(&target, &[&bad, &good]);
    reader.file_len(&file).expect("told");
    reader.chunk_spans(&file, 0, u64::MAX).expect("told");
    bad.turn(Mode::Lying);
    assert_eq!(read(&reader, file, 0, 400 << 10).expect("read"), data[..400 << 10]);
    let counts = reader.counts();
    assert!(counts.wrong >= 1, "{counts:?}");
    // Alone, it is an error.
    let target = Target::new();
    bad.turn(Mode::Good);
    let reader = open(&target, &[&bad]);
    reader.chunk_spans(&file, 0, u64::MAX).expect("told");
    bad.turn(Mode::Lying);
    let error = read(&reader, file, 0, 1000).expect_err("refused");
    assert!(error.to_string().contains("wrong bytes"), "{error}");
}

#[test]
fn a_source_that_breaks_off_keeps_what_came() {
    let (world, file, data) = world();
    let (good, bad) = (Fake::new(&world, Mode::Good), Fake::new(&world, Mode::Breaking));
    let target = Target::new();
    let reader = open(&target, &[&bad, &good]);
    assert_eq!(read(&reader, file, 0, LEN).expect("read"), data);
    let taken = Fake::count(&bad.chunks) + Fake::count(&good.chunks);
    wait_until_whole(&target, &file);
    let chunks = target.store.view(target.repo.id).chunk_spans(&file, 0, u64::MAX);
    assert_eq!(taken, chunks.expect("whole").len() as u64);
}

#[test]
fn a_manifest_that_makes_no_sense_is_refused() {
    let (world, file, _) = world();
    let fake = Fake::new(&world, Mode::Lying);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    assert!(matches!(reader.file_len(&file), Err(StoreError::NotFetched { .. })));
    fake.turn(Mode::Good);
    let reader = open(&target, &[&fake]);
    assert_eq!(reader.file_len(&file).expect("told"), Some(LEN as u64));
    fake.turn(Mode::Empty);
    let other = FileId::from_bytes([3; 32]);
    assert_eq!(reader.file_len(&other).expect("asked"), None);
}

#[test]
fn chunks_that_are_another_file_never_become_this_one() {
    let (world, file, _) = world();
    let other = Arc::new(World::new(10, 0, 0, LEN));
    // The other world's file, told under this one's name.
    let liar = Arc::new(Renamed {
        inner: Fake::new(&other, Mode::Good),
        from: file,
        to: other.pointers[0].file,
    });
    let target = Target::new();
    let sources = super::Sources { objects: Vec::new(), chunks: vec![liar] };
    let options = super::ReadThroughOptions { rest: Duration::ZERO, ..Default::default() };
    let reader = super::ReadThrough::new(&target.store, &target.repo, &sources, options);
    let reader = reader.expect("opened");
    // Each chunk is right for itself; a reader that is still there when the last one came, and
    // the whole is found false, is told.
    match read(&reader, file, 0, LEN) {
        Ok(_) | Err(StoreError::MissingFile { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while reader.counts().wrong == 0 {
        assert!(Instant::now() < deadline, "the lie was never noticed");
        std::thread::yield_now();
    }
    assert!(!target.store.files().has(target.repo.id, &file).expect("read"));
    assert_eq!(target.store.files().head(&file).expect("read"), None);
    drop(world);
}

#[test]
fn a_source_that_is_silent_is_an_error_in_time() {
    let (world, file, data) = world();
    let fake = Fake::new(&world, Mode::Good);
    let target = Target::new();
    let reader = open_with(&target, &[&fake], Duration::from_millis(50));
    reader.chunk_spans(&file, 0, u64::MAX).expect("told");
    fake.turn(Mode::Gated);
    let error = read(&reader, file, 0, 10).expect_err("too late");
    assert!(error.to_string().contains("nothing came"), "{error}");
    fake.open_gate();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // It comes in the end, and is kept.
        match read(&reader, file, 0, 10) {
            Ok(bytes) => break assert_eq!(bytes, data[..10]),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

/// A source that gives one file's chunks for another's.
struct Renamed {
    inner: Arc<Fake>,
    from: FileId,
    to: FileId,
}

impl Renamed {
    fn map(&self, file: &FileId) -> FileId {
        if *file == self.from { self.to } else { *file }
    }
}

impl crate::source::ChunkSource for Renamed {
    fn name(&self) -> String {
        "renamed".to_owned()
    }

    fn files(&self, files: &[crate::Pointer]) -> crate::SourceResult<Vec<Option<u64>>> {
        Ok(vec![Some(LEN as u64); files.len()])
    }

    fn manifest(
        &self,
        file: &FileId,
        offset: u64,
    ) -> crate::SourceResult<Option<crate::ManifestPage>> {
        self.inner.manifest(&self.map(file), offset)
    }

    fn chunks(
        &self,
        file: &FileId,
        spans: &[crate::ChunkSpan],
        urgency: Urgency,
        take: &mut crate::ChunkTake<'_>,
    ) -> crate::SourceResult<()> {
        self.inner.chunks(&self.map(file), spans, urgency, take)
    }
}

#[test]
fn what_was_removed_is_fetched_again_by_who_reads_it() {
    let (world, file, data) = world();
    let fake = Fake::new(&world, Mode::Good);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    assert_eq!(read(&reader, file, 0, LEN).expect("read"), data);
    wait_until_whole(&target, &file);
    // A reader that has the list of chunks of the whole file.
    let spans = reader.chunk_spans(&file, 0, LEN as u64).expect("listed");
    let before = Fake::count(&fake.chunks);
    target.store.set_cache_limit(Some(0)).expect("written");
    let deadline = Instant::now() + Duration::from_secs(20);
    while target.store.evict(&crate::progress::NoProgress).expect("evicted").is_short {
        assert!(Instant::now() < deadline, "it never goes");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(!target.store.files().has(target.repo.id, &file).expect("read"));
    assert_eq!(reader.resident(&Content::File(file)).expect("read"), 0);
    for span in &spans {
        let plain = reader.chunk(&file, &span.chunk).expect("fetched again");
        let start = usize::try_from(span.offset).expect("short");
        assert!(plain == data[start..start + plain.len()], "at {start}");
    }
    assert!(Fake::count(&fake.chunks) >= before + spans.len() as u64);
    assert_eq!(read(&reader, file, 0, LEN).expect("read"), data);
    wait_until_whole(&target, &file);
}

#[test]
fn runs_are_brought_beforehand_each_chunk_once_and_make_a_file() {
    let (world, file, data) = world();
    let fake = Fake::new(&world, Mode::Good);
    let target = Target::new();
    let reader = open(&target, &[&fake]);
    let run = LEN as u64 / 4;
    let brought: u64 =
        (0..4).map(|index| reader.bring(&file, index * run, run).expect("brought")).sum();
    assert_eq!(brought, LEN as u64, "no chunk counts twice");
    assert!(reader.complete(&file).expect("whole"));
    assert_eq!(reader.bring(&file, 0, LEN as u64).expect("is here"), 0);
    *fake.mode.lock() = Mode::Failing;
    assert_eq!(read(&reader, file, 0, LEN).expect("read"), data);
    let other = FileId::from_bytes([7; 32]);
    assert!(matches!(reader.bring(&other, 0, 1), Err(StoreError::NotFetched { .. })));
}
