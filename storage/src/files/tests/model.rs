//! Files made by random edits, compared with the bytes in memory.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

/// One change of a file.
#[derive(Clone, Debug)]
enum Edit {
    Insert { at: prop::sample::Index, len: usize, seed: u64, kind: u8 },
    Remove { at: prop::sample::Index, len: usize },
    Repeat { from: prop::sample::Index, len: usize },
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        3 => (at(), 0usize..700_000, 0u64..4, 0u8..4)
            .prop_map(|(at, len, seed, kind)| Edit::Insert { at, len, seed, kind }),
        1 => (at(), 0usize..300_000).prop_map(|(at, len)| Edit::Remove { at, len }),
        1 => (at(), 0usize..900_000).prop_map(|(from, len)| Edit::Repeat { from, len }),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    match edit {
        Edit::Insert { at, len, seed, kind } => {
            let new = match kind {
                0 => samples::random(*len, *seed),
                1 => samples::text(*len, *seed),
                2 => samples::bf16(*len, *seed),
                _ => vec![*seed as u8; *len],
            };
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, new);
        }
        Edit::Remove { at, len } => {
            let at = at.index(bytes.len() + 1);
            let end = (at + len).min(bytes.len());
            bytes.drain(at..end);
        }
        Edit::Repeat { from, len } => {
            let from = from.index(bytes.len() + 1);
            let end = (from + len).min(bytes.len());
            bytes.extend_from_within(from..end);
        }
    }
}

#[test]
fn a_read_gives_what_was_written() {
    let (_dir, store) = new_store();
    let edits = prop::collection::vec(edit(), 1..6);
    let reads = prop::collection::vec((any::<prop::sample::Index>(), 0usize..500_000), 1..12);
    let config = ProptestConfig { cases: 24, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let check = |(edits, reads): (Vec<Edit>, Vec<(prop::sample::Index, usize)>)| {
        let mut bytes = Vec::new();
        for edit in &edits {
            apply(&mut bytes, edit);
            let id = ingest(&store, &bytes).id;
            for (at, len) in &reads {
                let at = at.index(bytes.len() + 1);
                let mut out = vec![0; *len];
                let count = store.files().read_at(&id, at as u64, &mut out).expect("readable");
                let end = (at + len).min(bytes.len());
                prop_assert_eq!(count, end - at);
                prop_assert!(out[..count] == bytes[at..end]);
            }
        }
        check_content(&store, &bytes);
        Ok(())
    };
    runner.run(&(edits, reads), check).expect("every case holds");
}
