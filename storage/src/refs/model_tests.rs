//! Random transactions against a map, and the outbox replayed against both.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{fixture, id, name};
use super::*;
use crate::StoreError;
use crate::repos::{RepoStore, Visibility};

const NAMES: [&str; 12] = [
    "HEAD",
    "refs/heads",
    "refs/heads/a",
    "refs/heads/a/b",
    "refs/heads/a/b/c",
    "refs/heads/a/d",
    "refs/heads/a-b",
    "refs/heads/a.b",
    "refs/heads/ab",
    "refs/heads/b",
    "refs/tags/a",
    "refs/tags/a/b",
];

type Model = BTreeMap<RefName, RefTarget>;

fn target() -> impl Strategy<Value = RefTarget> {
    prop_oneof![
        // 4 is not an object of the repository.
        19 => (1u8..=3).prop_map(|byte| RefTarget::Direct(id(byte))),
        1 => Just(RefTarget::Direct(id(4))),
        5 => (0..NAMES.len()).prop_map(|i| RefTarget::Symbolic(name(NAMES[i]))),
    ]
}

fn edit() -> impl Strategy<Value = RefEdit> {
    let expect = prop_oneof![
        8 => Just(Expect::Any),
        1 => Just(Expect::Absent),
        1 => target().prop_map(Expect::Is),
    ];
    let new = prop_oneof![3 => target().prop_map(Some), 2 => Just(None)];
    ((0..NAMES.len()), expect, new).prop_map(|(i, expect, new)| RefEdit {
        name: name(NAMES[i]),
        expect,
        new,
    })
}

/// What a transaction must lead to: the new state, or the kind of refusal.
fn model_apply(model: &Model, edits: &[RefEdit]) -> Result<Model, &'static str> {
    let names: BTreeSet<_> = edits.iter().map(|e| &e.name).collect();
    if names.len() < edits.len() {
        return Err("repeated");
    }
    let holds = |e: &RefEdit| match &e.expect {
        Expect::Any => true,
        Expect::Absent => !model.contains_key(&e.name),
        Expect::Is(target) => model.get(&e.name) == Some(target),
    };
    if !edits.iter().all(holds) {
        return Err("moved");
    }
    if edits.iter().any(|e| e.new == Some(RefTarget::Direct(id(4)))) {
        return Err("missing");
    }
    let mut after = model.clone();
    for edit in edits {
        match &edit.new {
            Some(target) => after.insert(edit.name.clone(), target.clone()),
            None => after.remove(&edit.name),
        };
    }
    for (a, b) in after.keys().flat_map(|a| after.keys().map(move |b| (a, b))) {
        if b.as_bytes().starts_with(&[a.as_bytes(), b"/"].concat()) {
            return Err("conflict");
        }
    }
    Ok(after)
}

fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::RefRepeated { .. } => "repeated",
        StoreError::RefMoved { .. } => "moved",
        StoreError::MissingObject { .. } => "missing",
        StoreError::RefConflict { .. } => "conflict",
        _ => "other",
    }
}

fn replay(refs: &RefStore, repo: RepoId, after: u64, model: &mut Model) -> u64 {
    let mut last = after;
    for row in refs.outbox().rows_after(after) {
        let row = row.expect("a row");
        assert_eq!(row.seq, last + 1, "no gaps");
        last = row.seq;
        assert_eq!(row.repo, repo);
        for edit in row.edits {
            let old = match edit.new {
                Some(target) => model.insert(edit.name, target),
                None => model.remove(&edit.name),
            };
            assert_eq!(old, edit.old);
        }
    }
    last
}

#[test]
fn random_transactions_behave_like_a_map() {
    let (test, refs, _) = fixture();
    let repos = RepoStore::new(test.db.clone());
    let count = std::cell::Cell::new(0u32);
    let transactions = prop::collection::vec(prop::collection::vec(edit(), 1..6), 1..30);
    proptest!(ProptestConfig::with_cases(48), |(transactions in transactions)| {
        count.set(count.get() + 1);
        let repo_name = crate::RepoName::new(&format!("m{}", count.get())).expect("valid");
        let repo = repos.create(&repo_name, Visibility::Private).expect("made").id;
        test.add_members(repo, &[id(1), id(2), id(3)]);
        let mut model = Model::new();
        let mut replayed = Model::new();
        let mut seq = refs.outbox().rows_after(0).last().map_or(0, |row| row.expect("a row").seq);
        for edits in transactions {
            let result = refs.apply(repo, &RefTransaction { edits: edits.clone() });
            match model_apply(&model, &edits) {
                Ok(after) => {
                    prop_assert!(result.is_ok(), "{:?}", result);
                    model = after;
                }
                Err(expected) => prop_assert_eq!(result.as_ref().map_err(kind), Err(expected)),
            }
            let listed: Model = refs.list(repo, b"").expect("listed").into_iter().collect();
            prop_assert_eq!(&listed, &model);
            seq = replay(&refs, repo, seq, &mut replayed);
            prop_assert_eq!(&replayed, &model);
        }
    });
}

#[test]
fn each_for_itself_is_as_one_by_one() {
    let (test, refs, _) = fixture();
    let repos = RepoStore::new(test.db.clone());
    let count = std::cell::Cell::new(0u32);
    let transactions = prop::collection::vec(prop::collection::vec(edit(), 1..9), 1..20);
    proptest!(ProptestConfig::with_cases(48), |(transactions in transactions)| {
        let make = || {
            count.set(count.get() + 1);
            let repo_name = crate::RepoName::new(&format!("e{}", count.get())).expect("valid");
            let repo = repos.create(&repo_name, Visibility::Private).expect("made").id;
            test.add_members(repo, &[id(1), id(2), id(3)]);
            repo
        };
        let (all, single) = (make(), make());
        for mut edits in transactions {
            let mut names = BTreeSet::new();
            edits.retain(|edit| names.insert(edit.name.clone()));
            let together = RefTransaction { edits: edits.clone() };
            let mut failed = refs.apply_each(all, &together).expect("applied");
            let mut expected = BTreeMap::new();
            for deletes in [true, false] {
                for edit in edits.iter().filter(|edit| edit.new.is_none() == deletes) {
                    let alone = RefTransaction { edits: vec![edit.clone()] };
                    let outcome = refs.apply(single, &alone);
                    expected.insert(edit.name.clone(), outcome.map_err(|error| kind(&error)));
                }
            }
            for edit in &edits {
                let failure = failed.remove(&edit.name);
                let outcome = failure.map_or(Ok(()), |error| Err(kind(&error)));
                prop_assert_eq!(&outcome, &expected[&edit.name], "{}", edit.name);
            }
            let listed = |repo| refs.list(repo, b"").expect("listed");
            prop_assert_eq!(listed(all), listed(single));
        }
        let row = refs.outbox().rows_after(0).last();
        prop_assert!(row.is_none_or(|row| row.is_ok()));
    });
}
