//! What is reachable, against `git rev-list --objects`.

use super::*;

#[test]
fn all_that_is_reachable_and_nothing_else() {
    for seed in 0..4 {
        let world = World::generated(seed, 60, seed % 2 == 1);
        let mut dice = Dice::new(seed + 100);
        for _ in 0..6 {
            let mut wants = dice.some(&world.commits, 4);
            wants.push(world.commits[dice.below(60)]);
            assert_eq!(world.reach(&wants, &[], Filter::None), world.reachable(&wants, &[]));
        }
    }
}

#[test]
fn nothing_that_is_needed_is_left_out_and_little_is_sent_again() {
    let (mut sent, mut needed) = (0, 0);
    for seed in 0..8 {
        let world = World::generated(seed, 70, seed % 2 == 1);
        let mut dice = Dice::new(seed + 200);
        for _ in 0..8 {
            let mut wants = dice.some(&world.commits, 3);
            wants.push(world.commits[50 + dice.below(20)]);
            let haves = dice.some(&world.commits, 4);
            let all = world.reachable(&wants, &[]);
            let theirs = world.reachable(&haves, &[]);
            let need: Ids = all.difference(&theirs).copied().collect();
            let shallow = Shallow::default();
            let reach = world.try_reach(&wants, &haves, Filter::None, shallow).expect("walked");
            let got: Ids = reach.ids.iter().copied().collect();
            assert!(need.is_subset(&got), "seed {seed}: {:?}", need.difference(&got));
            assert!(got.is_subset(&all), "seed {seed}");
            assert!(reach.edge.iter().all(|id| theirs.contains(id)), "the edge is theirs");
            sent += got.len();
            needed += need.len();
        }
    }
    assert!(needed > 500, "{needed}");
    assert!(sent * 100 <= needed * 115, "{sent} sent, {needed} needed");
}

#[test]
fn a_fetch_of_new_commits_is_exactly_what_git_sends() {
    for seed in 0..4 {
        let mut world = World::generated(seed, 50, false);
        let haves = world.commits.clone();
        world.grow(seed + 50, 10, false);
        world.take_in();
        let wants = world.commits[50..].to_vec();
        let text: String = wants
            .iter()
            .map(ToString::to_string)
            .chain(haves.iter().map(|have| format!("^{have}")))
            .map(|line| line + "\n")
            .collect();
        let commits = git(&world.git, &["rev-list", "--stdin"], text.as_bytes());
        let commits = String::from_utf8(commits).expect("hex").lines().count();
        let got = world.reach(&wants, &haves, Filter::ObjectType(ObjectKind::Commit));
        assert_eq!(got.len(), commits);
        assert!(world.reach(&wants, &wants, Filter::None).is_empty());
    }
}

#[test]
fn tags_trees_and_blobs_may_be_wanted() {
    let world = World::generated(7, 40, false);
    let tip = world.commits[39];
    let tree = world.id(&format!("{tip}^{{tree}}"));
    let blobs: Vec<_> = world.reachable(&[tree], &[]).into_iter().collect();
    let blob = *blobs.iter().find(|id| is_blob(&world, id)).expect("a blob");
    let tag = world.tag(&world.commits[20], "commit", "plain");
    let nested = world.tag(&tag, "tag", "nested");
    let of_tree = world.tag(&tree, "tree", "tree");
    let of_blob = world.tag(&blob, "blob", "blob");
    world.take_in();
    let cases = [
        vec![tag],
        vec![nested],
        vec![of_tree],
        vec![of_blob],
        vec![tree],
        vec![blob],
        vec![nested, blob, of_tree],
        vec![tip, tree, tag, of_blob],
    ];
    for wants in &cases {
        assert_eq!(world.reach(wants, &[], Filter::None), world.reachable(wants, &[]));
        for haves in &cases {
            let theirs = world.reachable(haves, &[]);
            let need: Ids = world.reachable(wants, &[]).difference(&theirs).copied().collect();
            let got = world.reach(wants, haves, Filter::None);
            assert!(need.is_subset(&got), "{wants:?} {haves:?}");
            assert!(haves.iter().all(|have| !got.contains(have)));
        }
    }
}

fn is_blob(world: &World, id: &ObjectId) -> bool {
    let header = world.store.objects().header(id).expect("reads").expect("is there");
    header.kind == ObjectKind::Blob
}

#[test]
fn filters_leave_out_what_git_leaves_out() {
    use Filter::{BlobLimit, BlobNone, Combine, ObjectType, TreeDepth};
    let mut filters: Vec<(String, Filter)> = vec![("blob:none".into(), BlobNone)];
    for limit in [0, 1, 2, 50, 200, 1_024] {
        filters.push((format!("blob:limit={limit}"), BlobLimit(limit)));
    }
    for depth in 0..6 {
        filters.push((format!("tree:{depth}"), TreeDepth(depth)));
    }
    for kind in [ObjectKind::Commit, ObjectKind::Tree, ObjectKind::Blob, ObjectKind::Tag] {
        filters.push((format!("object:type={}", kind.as_str()), ObjectType(kind)));
    }
    let both = Combine(vec![BlobLimit(100), ObjectType(ObjectKind::Blob)]);
    filters.push(("combine:blob:limit=100+object:type=blob".into(), both));
    for seed in 0..2 {
        let world = World::generated(seed, 40, false);
        let tree = world.id(&format!("{}^{{tree}}", world.commits[30]));
        let tag = world.tag(&world.commits[10], "commit", "t");
        let of_tree = world.tag(&tree, "tree", "tree");
        world.take_in();
        let wants = [
            vec![world.commits[39], world.commits[35]],
            vec![tag],
            vec![of_tree],
            vec![tree],
            vec![world.commits[39], tree],
            vec![tag, world.commits[20]],
        ];
        for wants in &wants {
            for (text, filter) in &filters {
                let expected = world.reachable(wants, &[&format!("--filter={text}")]);
                let got = world.reach(wants, &[], filter.clone());
                if wants.len() < 2 || !wants.contains(&tree) {
                    assert_eq!(got, expected, "{text} {wants:?}");
                    continue;
                }
                // Git forgets that a tree was named when a commit has it too.
                let below = world.reachable(&[tree], &[]);
                assert!(expected.is_subset(&got) && got.contains(&tree));
                assert!(got.difference(&expected).all(|id| below.contains(id)), "{text}");
            }
            // Git forgets a blob that one filter took at a depth that the other refused: it may
            // send fewer, ours what both let through.
            let expected = world.reachable(wants, &["--filter=combine:blob:limit=60+tree:3"]);
            let limit = world.reach(wants, &[], BlobLimit(60));
            let depth = world.reach(wants, &[], TreeDepth(3));
            let got = world.reach(wants, &[], Combine(vec![BlobLimit(60), TreeDepth(3)]));
            assert!(expected.is_subset(&got));
            assert_eq!(got, limit.intersection(&depth).copied().collect());
        }
    }
}

#[test]
fn a_filtered_fetch_has_no_edge() {
    let world = World::generated(3, 30, false);
    let (wants, haves) = ([world.commits[29]], [world.commits[5]]);
    let shallow = Shallow::default();
    let reach = world.try_reach(&wants, &haves, Filter::BlobNone, shallow).expect("walked");
    assert!(reach.edge.is_empty() && !reach.ids.is_empty());
}
