//! Shallow boundaries, against git's own upload-pack, and walks within them.

use super::*;
use crate::testing::try_git;

/// What upload-pack answers to a shallow request: `shallow` and `unshallow` lines.
fn upload_pack(world: &World, wants: &[ObjectId], lines: &[String]) -> (Ids, Ids) {
    ask(world, wants, lines, "deepen-since deepen-not")
}

fn ask(world: &World, wants: &[ObjectId], lines: &[String], words: &str) -> (Ids, Ids) {
    let mut input = Vec::new();
    let mut packet = |text: String| {
        input.extend(format!("{:04x}{text}\n", text.len() + 5).into_bytes());
    };
    for (index, want) in wants.iter().enumerate() {
        let capabilities = if index == 0 { words } else { "" };
        packet(format!("want {want} {capabilities}"));
    }
    lines.iter().cloned().for_each(packet);
    input.extend(b"0000");
    git(&world.git, &["config", "uploadpack.allowAnySHA1InWant", "true"], b"");
    let (_, output) = try_git(&world.git, &["upload-pack", "--stateless-rpc", "."], &input);
    let mut lines = Vec::new();
    let mut rest = &output[..];
    while let Some((head, tail)) = rest.split_at_checked(4) {
        let len = usize::from_str_radix(&String::from_utf8_lossy(head), 16).expect("a length");
        let (line, tail) = tail.split_at(len.saturating_sub(4));
        lines.push(String::from_utf8_lossy(line).into_owned());
        rest = tail;
    }
    let ids = |word: &str| {
        let ids = lines.iter().filter_map(|line| line.strip_prefix(word));
        ids.map(|id| id.trim_end().parse().expect("an id")).collect()
    };
    (ids("shallow "), ids("unshallow "))
}

fn ours(world: &World, deepen: &Deepen<'_>) -> ShallowBoundary {
    world.store.shallow_boundary(world.repo, deepen, &NoProgress).expect("walked")
}

/// What a client has whose commits end at `cut`.
fn within(world: &World, tips: &[ObjectId], cut: &Ids) -> Ids {
    let path = world.dir.path().join("shallow");
    std::fs::write(&path, cut.iter().map(|id| format!("{id}\n")).collect::<String>()).expect("ok");
    let path = path.display().to_string();
    world.list(&["--shallow-file", &path, "rev-list", "--objects", "--stdin"], tips)
}

#[test]
fn boundaries_by_depth_are_git_s_and_the_client_gets_what_it_lacks() {
    for seed in 0..4 {
        let world = World::generated(seed, 40, seed % 2 == 1);
        let tips = world.commits.clone();
        let mut dice = Dice::new(seed + 1);
        for depth in 1..6u32 {
            let wants = vec![world.commits[39], world.commits[30 + dice.below(9)]];
            let by = DeepenBy::Depth(depth);
            let deepen = Deepen { wants: &wants, client: &[], tips: &tips, by };
            let first = ours(&world, &deepen);
            let expected = upload_pack(&world, &wants, &[format!("deepen {depth}")]);
            let shallow: Ids = first.shallow.iter().copied().collect();
            assert_eq!((&shallow, &Ids::new()), (&expected.0, &expected.1));
            assert!(first.unshallow.is_empty());
            let walk = Shallow { boundary: &first.shallow, client: &[] };
            let clone = world.try_reach(&wants, &[], Filter::None, walk).expect("walked");
            let clone: Ids = clone.ids.into_iter().collect();
            assert_eq!(clone, within(&world, &wants, &shallow));
            for (line, by, relative) in [
                (depth + 2, DeepenBy::Depth(depth + 2), false),
                (depth, DeepenBy::Relative(depth), true),
                (DEPTH_INFINITE, DeepenBy::Depth(DEPTH_INFINITE), false),
            ] {
                deepened(&world, &wants, &first.shallow, &clone, (line, by, relative));
            }
        }
    }
}

/// A second request, deeper, of the client that has `clone` and is shallow at `client`.
fn deepened(
    world: &World,
    wants: &[ObjectId],
    client: &[ObjectId],
    clone: &Ids,
    (line, by, relative): (u32, DeepenBy<'_>, bool),
) {
    let tips = world.commits.clone();
    let second = ours(world, &Deepen { wants, client, tips: &tips, by });
    let mut lines: Vec<String> = client.iter().map(|id| format!("shallow {id}")).collect();
    lines.push(format!("deepen {line}"));
    if !relative {
        let expected = upload_pack(world, wants, &lines);
        assert_eq!(second.shallow.iter().copied().collect::<Ids>(), expected.0);
        assert_eq!(second.unshallow.iter().copied().collect::<Ids>(), expected.1);
    }
    let all: Vec<ObjectId> = wants.iter().chain(&second.wants).copied().collect();
    let walk = Shallow { boundary: &second.shallow, client };
    let reach = world.try_reach(&all, wants, Filter::None, walk).expect("walked");
    let has: Ids = clone.iter().chain(&reach.ids).copied().collect();
    let mut cut: Ids = client.iter().chain(&second.shallow).copied().collect();
    cut.retain(|id| second.unshallow.binary_search(id).is_err());
    let needed = within(world, wants, &cut);
    assert!(needed.is_subset(&has), "{:?}", needed.difference(&has));
    assert!(has.is_subset(&world.reachable(wants, &[])));
}

#[test]
fn relative_depths_are_git_s() {
    let world = World::generated(11, 40, false);
    let wants = vec![world.commits[39]];
    for commit in [&world.commits[20], &world.commits[33]] {
        // All commits are references here, so all are reached.
        for (index, id) in world.commits.iter().enumerate() {
            git(&world.git, &["update-ref", &format!("refs/x/{index}"), &id.to_string()], b"");
        }
        for depth in 1..5 {
            let lines = [format!("shallow {commit}"), format!("deepen {depth}")];
            let expected = ask(&world, &wants, &lines, "deepen-relative");
            let by = DeepenBy::Relative(depth);
            let deepen = Deepen { wants: &wants, client: &[*commit], tips: &world.commits, by };
            let got = ours(&world, &deepen);
            assert_eq!(got.shallow.into_iter().collect::<Ids>(), expected.0);
            assert_eq!(got.unshallow.into_iter().collect::<Ids>(), expected.1);
        }
    }
}

#[test]
fn boundaries_by_time_and_by_revisions_are_git_s() {
    let world = World::generated(21, 50, false);
    git(&world.git, &["update-ref", "refs/heads/old", &world.commits[15].to_string()], b"");
    git(&world.git, &["update-ref", "refs/heads/older", &world.commits[8].to_string()], b"");
    let wants = vec![world.commits[49], world.commits[44]];
    let date = |number: i64| 1_600_000_000 + number * 1_000;
    let not = [world.commits[15], world.commits[8]];
    let cases: [(Option<i64>, &[ObjectId]); 5] = [
        (Some(date(30)), &[]),
        (Some(date(48)), &[]),
        (None, &not[..1]),
        (None, &not),
        (Some(date(20)), &not[1..]),
    ];
    for client in [vec![], vec![world.commits[40]], vec![world.commits[20], world.commits[45]]] {
        for (since, not) in cases {
            let mut lines: Vec<String> = client.iter().map(|id| format!("shallow {id}")).collect();
            lines.extend(since.map(|since| format!("deepen-since {since}")));
            for id in not {
                let name = if *id == world.commits[15] { "old" } else { "older" };
                lines.push(format!("deepen-not refs/heads/{name}"));
            }
            let expected = upload_pack(&world, &wants, &lines);
            let by = DeepenBy::Revisions { since, not };
            let deepen = Deepen { wants: &wants, client: &client, tips: &world.commits, by };
            let got = ours(&world, &deepen);
            assert_eq!(got.shallow.into_iter().collect::<Ids>(), expected.0, "{lines:?}");
            assert_eq!(got.unshallow.into_iter().collect::<Ids>(), expected.1, "{lines:?}");
        }
    }
    let by = DeepenBy::Revisions { since: Some(date(1_000_000)), not: &[] };
    let deepen = Deepen { wants: &wants, client: &[], tips: &wants, by };
    let error = world.store.shallow_boundary(world.repo, &deepen, &NoProgress);
    assert!(matches!(error, Err(crate::StoreError::NoCommits)));
}

#[test]
fn nothing_is_opened_below_a_commit_that_no_visible_reference_reaches() {
    let world = World::generated(4, 30, false);
    let reached = world.list(&["rev-list", &world.commits[10].to_string()], &[]);
    let hidden = *world.commits.iter().rev().find(|id| !reached.contains(id)).expect("one");
    let tips = [world.commits[10]];
    for by in [DeepenBy::Depth(DEPTH_INFINITE), DeepenBy::Relative(3)] {
        let deepen = Deepen { wants: &tips, client: &[hidden], tips: &tips, by };
        assert_eq!(ours(&world, &deepen), ShallowBoundary::default());
    }
}
