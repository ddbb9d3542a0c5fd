//! Ancestors, against git on every pair.

use super::*;
use crate::testing::try_git;

#[test]
fn ancestors_are_git_s_whatever_the_clocks_say() {
    for seed in 0..3 {
        let world = World::generated(seed, 24, seed > 0);
        let tag = world.tag(&world.commits[3], "commit", "t");
        world.take_in();
        for (index, old) in world.commits.iter().enumerate() {
            let reached = world.list(&["rev-list", &old.to_string()], &[]);
            for new in &world.commits {
                let yes = world.store.is_ancestor(world.repo, new, old).expect("walked");
                assert_eq!(yes, reached.contains(new), "seed {seed} at {index}");
            }
        }
        assert!(world.store.is_ancestor(world.repo, &tag, &world.commits[3]).expect("walked"));
    }
}

#[test]
fn giving_up_is_git_s_question() {
    let world = World::generated(5, 40, false);
    let mut dice = Dice::new(9);
    let reaches = |want: &ObjectId, haves: &[ObjectId]| {
        haves.iter().any(|have| {
            let (have, want) = (have.to_string(), want.to_string());
            try_git(&world.git, &["merge-base", "--is-ancestor", &have, &want], b"").0
        })
    };
    for _ in 0..25 {
        let (wants, haves) = (dice.some(&world.commits, 3), dice.some(&world.commits, 3));
        let yes = world.store.can_reach_any(world.repo, &wants, &haves).expect("walked");
        assert_eq!(yes, wants.iter().all(|want| reaches(want, &haves)), "{wants:?} {haves:?}");
    }
}

#[test]
fn what_is_no_commit_reaches_only_itself() {
    let world = World::generated(1, 5, false);
    let tree = world.id(&format!("{}^{{tree}}", world.commits[4]));
    let ask = |old, new| world.store.is_ancestor(world.repo, old, new).expect("walked");
    assert!(ask(&tree, &tree));
    assert!(!ask(&tree, &world.commits[4]));
    assert!(world.store.is_ancestor(world.other, &tree, &tree).is_err(), "not a member there");
}
