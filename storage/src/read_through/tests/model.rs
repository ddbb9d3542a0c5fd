//! Whatever is here already, and whoever fails meanwhile: a read gives what the whole repository
//! would give, or an error.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::world::{Target, World, ingest};
use super::{Fake, Mode, open};
use crate::chunks::ChunkBytes;
use crate::read::{Content, ReadStore};

#[derive(Clone, Debug)]
enum Step {
    Tree(Index),
    Stat(Vec<Index>),
    Blob(Index, u64, usize),
    File(u64, usize),
    /// The source fails until the next such step.
    Fail(bool),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<Index>().prop_map(Step::Tree),
        2 => proptest::collection::vec(any::<Index>(), 1..6).prop_map(Step::Stat),
        4 => (any::<Index>(), 0..6_000u64, 0..6_000usize).prop_map(|(i, o, l)| Step::Blob(i, o, l)),
        4 => (0..1_300_000u64, 0..400_000usize).prop_map(|(o, l)| Step::File(o, l)),
        1 => any::<bool>().prop_map(Step::Fail),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn reads_what_the_whole_repository_would(
        here in proptest::collection::vec(any::<Index>(), 0..12),
        chunks_here in proptest::collection::vec(any::<Index>(), 0..8),
        steps in proptest::collection::vec(step(), 1..25),
        is_failing in any::<bool>(),
    ) {
        let world = Arc::new(World::new(11, 1, 3, 1_200_000));
        let (file, view) = (world.pointers[0].file, world.view());
        let target = Target::new();
        let all: Vec<_> = world.trees.iter().chain(&world.blobs).copied().collect();
        let objects: Vec<_> = here.iter().map(|i| world.object(i.get(&all))).collect();
        ingest(&target.store, &target.repo, &objects);
        let spans = view.chunk_spans(&file, 0, u64::MAX).expect("read");
        for index in &chunks_here {
            let chunk = index.get(&spans).chunk;
            let plain = view.chunk(&file, &chunk).expect("read");
            let verified = ChunkBytes::Plain(plain).verify(&chunk).expect("it is the chunk");
            target.store.files().keep_chunk(&verified, |_| ()).expect("kept");
        }
        let fake = Fake::new(&world, Mode::Good);
        let mut reader = open(&target, &[&fake]);
        for step in steps {
            let may_fail = *fake.mode.lock() == Mode::Failing;
            match step {
                Step::Tree(index) => {
                    let id = index.get(&world.trees);
                    match reader.object(id) {
                        Ok(object) => prop_assert_eq!(object, view.object(id).expect("read")),
                        Err(error) => prop_assert!(may_fail, "{error}"),
                    }
                }
                Step::Stat(indexes) => {
                    let ids: Vec<_> = indexes.iter().map(|i| *i.get(&world.blobs)).collect();
                    let want = view.stat(&ids).expect("read");
                    for (got, want) in reader.stat(&ids).expect("read").into_iter().zip(want) {
                        prop_assert!(got == want || (got.is_none() && may_fail));
                    }
                }
                Step::Blob(index, offset, len) => {
                    let content = Content::Blob(*index.get(&world.blobs));
                    let (mut got, mut want) = (vec![0; len], vec![0; len]);
                    let want_len = view.read_at(&content, offset, &mut want).expect("read");
                    match reader.read_at(&content, offset, &mut got) {
                        Ok(got_len) => prop_assert_eq!((got_len, got), (want_len, want)),
                        Err(error) => prop_assert!(may_fail, "{error}"),
                    }
                }
                Step::File(offset, len) => {
                    let content = Content::File(file);
                    let (mut got, mut want) = (vec![0; len], vec![0; len]);
                    let want_len = view.read_at(&content, offset, &mut want).expect("read");
                    match reader.read_at(&content, offset, &mut got) {
                        Ok(got_len) => {
                            prop_assert_eq!(got_len, want_len);
                            prop_assert!(got == want);
                        }
                        Err(error) => prop_assert!(may_fail, "{error}"),
                    }
                }
                Step::Fail(on) => {
                    fake.turn(if on && is_failing { Mode::Failing } else { Mode::Good });
                }
                Step::Reopen => reader = open(&target, &[&fake]),
            }
        }
        prop_assert_eq!(reader.counts().wrong, 0);
    }
}
