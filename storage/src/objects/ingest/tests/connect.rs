//! Connectivity: what is missing, of the wrong kind or too deep is refused, and what git takes is
//! not.

use super::*;
use crate::db::{Family, keys};
use crate::object::ObjectKind::{Blob, Commit, Tag, Tree};
use crate::objects::limits::TREE_DEPTH_MAX;
use crate::{PackError, StoreError};

fn id_of(kind: ObjectKind, data: &[u8]) -> ObjectId {
    hash_object(kind, data).expect("no attack")
}

fn tree(entries: &[(&str, &str, ObjectId)]) -> Vec<u8> {
    let entry = |(mode, name, id): &(&str, &str, ObjectId)| {
        [mode.as_bytes(), b" ", name.as_bytes(), b"\0", id.as_bytes()].concat()
    };
    entries.iter().flat_map(entry).collect()
}

fn commit(tree: &ObjectId, parents: &[ObjectId]) -> Vec<u8> {
    let parents: String = parents.iter().map(|p| format!("parent {p}\n")).collect();
    let who = "A <a@example.org> 1700000000 +0000";
    format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\nx\n").into_bytes()
}

fn pack(objects: &[(ObjectKind, &[u8])]) -> Vec<u8> {
    let mut builder = PackBuilder::new();
    for (kind, data) in objects {
        builder.object(*kind, data);
    }
    builder.finish()
}

fn prepare<'a>(fixture: &'a Fixture, mut pack: &[u8]) -> Result<PreparedPack<'a>> {
    let options = IngestOptions { links: true, ..IngestOptions::default() };
    let input = PackInput::Stream(&mut pack);
    fixture.store.objects().prepare_pack(fixture.repo, input, &options, &NoProgress)
}

fn connect(fixture: &Fixture, pack: &[u8]) -> Result<IngestReport> {
    let mut prepared = prepare(fixture, pack)?;
    prepared.check_connected(&[])?;
    prepared.commit()
}

#[test]
fn every_link_must_lead_somewhere() {
    let fixture = Fixture::new();
    let blob = id_of(Blob, b"blob");
    let root = tree(&[("100644", "a", blob), ("160000", "sub", ObjectId::from_bytes([7; 20]))]);
    let root_id = id_of(Tree, &root);
    let first = commit(&root_id, &[]);
    let first_id = id_of(Commit, &first);
    let tag = format!("object {first_id}\ntype commit\ntag v1\n\nx\n").into_bytes();
    let all: [(ObjectKind, &[u8]); 4] =
        [(Tag, &tag), (Commit, &first), (Tree, &root), (Blob, b"blob")];
    for left_out in 1..4 {
        let mut some = all.to_vec();
        let (kind, data) = some.remove(left_out);
        let error = connect(&fixture, &pack(&some)).expect_err("something is missing");
        match error {
            StoreError::Pack(PackError::MissingLink { id, kind: named }) => {
                assert_eq!((id, named), (id_of(kind, data), kind.as_str()));
            }
            other => panic!("{other}"),
        }
        fixture.assert_empty();
    }
    // What another repository has does not count.
    fixture.push_to(fixture.other, &pack(&all)).expect("taken there");
    assert!(connect(&fixture, &pack(&all[..3])).is_err());
    let report = connect(&fixture, &pack(&all)).expect("whole");
    assert_eq!(report.object_count, 4);
    // What the repository has does.
    let second = commit(&root_id, &[first_id]);
    connect(&fixture, &pack(&[(Commit, &second)])).expect("the rest is there");
    let tip = ObjectId::from_bytes([9; 20]);
    let mut prepared = prepare(&fixture, &pack(&[(Commit, &second)])).expect("a good pack");
    assert_eq!(prepared.missing(&[tip, first_id, id_of(Commit, &second)]).expect("read"), [tip]);
    let error = prepared.check_connected(&[first_id, tip]).expect_err("the tip is nowhere");
    assert!(matches!(error, StoreError::MissingObject { id } if id == tip), "{error}");
}

#[test]
fn kinds_are_checked_inside_and_outside_of_the_pack() {
    let fixture = Fixture::new();
    let blob = id_of(Blob, b"blob");
    let root = tree(&[("40000", "a", blob)]);
    let wrong_commit = commit(&blob, &[]);
    let twice = tree(&[("100644", "a", blob), ("40000", "b", blob)]);
    let parent = commit(&id_of(Tree, b""), &[id_of(Tree, b"")]);
    let tag = format!("object {blob}\ntype commit\ntag v1\n\nx\n").into_bytes();
    let cases: [(&str, ObjectKind, &[u8]); 5] = [
        ("tree", Tree, &root),
        ("tree", Commit, &wrong_commit),
        ("tree", Tree, &twice),
        ("commit", Commit, &parent),
        ("commit", Tag, &tag),
    ];
    let others: [(ObjectKind, &[u8]); 2] = [(Blob, b"blob"), (Tree, b"")];
    let check = |named: &str, error: StoreError| match error {
        StoreError::Pack(PackError::WrongLink { expected, .. }) => assert_eq!(expected, named),
        other => panic!("{other}"),
    };
    for (named, kind, data) in cases {
        let objects = [&[(kind, data)][..], &others].concat();
        check(named, connect(&fixture, &pack(&objects)).expect_err("in the pack"));
    }
    fixture.assert_empty();
    connect(&fixture, &pack(&others)).expect("whole");
    for (named, kind, data) in cases {
        let error = connect(&fixture, &pack(&[(kind, data)])).expect_err("in the repository");
        check(named, error);
    }
    let cut = commit(&blob, &[]);
    let error = connect(&fixture, &pack(&[(Commit, &cut[..20])])).expect_err("unreadable");
    assert!(matches!(error, StoreError::MalformedObject { .. }), "{error}");
}

/// Trees one in the other, the deepest first, on top of `below`.
fn nested(levels: usize, below: Option<ObjectId>) -> Vec<Vec<u8>> {
    let mut trees: Vec<Vec<u8>> = Vec::new();
    for level in 0..levels {
        let subtree = if level == 0 { below } else { trees.last().map(|t| id_of(Tree, t)) };
        trees.push(subtree.map_or(Vec::new(), |id| tree(&[("40000", "d", id)])));
    }
    trees
}

fn pack_of_trees<'a>(trees: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    pack(&trees.map(|data| (Tree, data.as_slice())).collect::<Vec<_>>())
}

#[test]
fn trees_have_as_many_levels_as_git_reads() {
    let max = usize::from(TREE_DEPTH_MAX);
    let at_limit = nested(max, None);
    let past = nested(max + 1, None);
    let too_deep = |result: Result<IngestReport>| {
        let error = result.map(drop).expect_err("too deep");
        assert!(
            matches!(error, StoreError::Pack(PackError::TreeTooDeep { limit: 2048 })),
            "{error}"
        );
    };
    // In every order in which they may come.
    for turn in [false, true] {
        let fixture = Fixture::new();
        let order = |trees: &[Vec<u8>]| -> Vec<u8> {
            if turn { pack_of_trees(trees.iter().rev()) } else { pack_of_trees(trees.iter()) }
        };
        too_deep(connect(&fixture, &order(&past)));
        fixture.assert_empty();
        connect(&fixture, &order(&at_limit)).expect("as deep as git goes");
        // On top of what is there.
        too_deep(connect(&fixture, &order(&nested(100, at_limit.last().map(|t| id_of(Tree, t))))));
        let below = Some(id_of(Tree, &at_limit[max - 101]));
        connect(&fixture, &order(&nested(100, below))).expect("as deep as git goes");
        let below = Some(id_of(Tree, &at_limit[max - 100]));
        too_deep(connect(&fixture, &order(&nested(100, below))));
    }
    let odd = |trees: &[Vec<u8>]| -> Vec<u8> {
        let (even, odd): (Vec<_>, Vec<_>) = trees.iter().enumerate().partition(|(i, _)| i % 2 == 0);
        pack_of_trees(even.into_iter().chain(odd).map(|(_, tree)| tree))
    };
    too_deep(connect(&Fixture::new(), &odd(&past)));
    connect(&Fixture::new(), &odd(&at_limit)).expect("as deep as git goes");
}

#[test]
fn git_agrees_about_the_depth() {
    let dir = tempfile::tempdir().expect("a directory");
    git(dir.path(), &["init", "-q", "--bare", "."], b"");
    let trees = nested(usize::from(TREE_DEPTH_MAX), None);
    git(dir.path(), &["unpack-objects", "-q"], &pack_of_trees(trees.iter()));
    let top = id_of(Tree, trees.last().expect("some")).to_string();
    let listed = git(dir.path(), &["rev-list", "--objects", &top], b"");
    assert_eq!(listed.split(|b| *b == b'\n').count() - 1, trees.len());
    git(dir.path(), &["ls-tree", "-r", &top], b"");
}

#[test]
fn a_repository_that_is_gone_takes_no_pack() {
    let fixture = Fixture::new();
    let prepared = prepare(&fixture, &pack(&[(Blob, b"x")])).expect("a good pack");
    fixture.store.repos().delete(&RepoName::new("one").expect("valid")).expect("deleted");
    let error = prepared.commit().expect_err("nowhere to go");
    assert!(matches!(error, StoreError::RepoGone { .. }), "{error}");
    fixture.assert_empty();
}

#[test]
fn usage_counts_what_each_repository_has() {
    let fixture = Fixture::new();
    let objects = fixture.store.objects();
    let usage = |repo| objects.usage(repo).expect("counted");
    assert_eq!(usage(fixture.repo), 0);
    let bytes = pack(&[(Blob, &noise(1, 5_000)), (Blob, b"y")]);
    fixture.push(&bytes).expect("taken");
    let once = usage(fixture.repo);
    assert!((5_000..bytes.len() as u64).contains(&once), "{once}");
    fixture.push(&bytes).expect("taken again");
    assert_eq!(usage(fixture.repo), once);
    fixture.push_to(fixture.other, &bytes).expect("taken there");
    assert_eq!(usage(fixture.other), once);
    // Without the counter it is measured.
    let mut batch = objects.db.batch();
    batch.delete(Family::Repo, &keys::repo_usage(fixture.repo));
    objects.db.commit(batch, crate::db::Durability::Synced).expect("written");
    fixture.push(&pack(&[(Blob, b"z")])).expect("taken");
    assert!(usage(fixture.repo) > once);
}
