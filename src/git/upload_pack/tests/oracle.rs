//! The same requests to git: the same references, the same acknowledgements, the same objects.

use std::collections::BTreeSet;

use mega_tools::random::Random;

use super::*;

/// Both answers to one request.
struct Both {
    ours: Answer,
    theirs: Answer,
}

impl Both {
    fn ask(world: &World, protocol: Protocol, request: &[u8]) -> Self {
        let (out, report) = world.serve(protocol, request);
        report.expect("answered");
        let ours = answer(&out);
        let theirs = answer(&world.git_answer(protocol, request, &[]));
        assert_eq!(sorted_history(&ours.lines), sorted_history(&theirs.lines));
        assert_eq!(ours.is_ended, theirs.is_ended);
        assert_eq!(ours.pack.is_empty(), theirs.pack.is_empty());
        assert!(ours.error.is_none() && theirs.error.is_none());
        Self { ours, theirs }
    }

    /// The objects of both packs.
    fn ids(&self, world: &World) -> (BTreeSet<ObjectId>, BTreeSet<ObjectId>) {
        (world.pack_ids(&self.ours.pack), world.pack_ids(&self.theirs.pack))
    }
}

/// Lines about the end of history come in any order; those about references stand in front of them
/// here and behind them in git, where no client asks for both.
fn sorted_history(lines: &[String]) -> Vec<String> {
    let mut lines = lines.to_vec();
    let is_history = |line: &String| line.starts_with("shallow ") || line.starts_with("unshallow ");
    let first = lines.iter().position(is_history).unwrap_or(0);
    let count = lines[first..].iter().take_while(|line| is_history(line)).count();
    lines[first..first + count].sort();
    lines
}

#[test]
fn the_same_references() {
    let world = World::with_history(600, 3);
    world.hide("refs/pull");
    let mut requests = vec![command("ls-refs", &[""; 0])];
    for arguments in [
        vec!["peel"],
        vec!["symrefs"],
        vec!["peel", "symrefs", "unborn"],
        vec!["peel", "ref-prefix refs/tags/", "ref-prefix HEAD"],
        vec!["symrefs", "ref-prefix refs/heads/al", "ref-prefix refs/heads/", "ref-prefix x"],
        vec!["ref-prefix refs/none"],
        vec!["ref-prefix "],
    ] {
        requests.push(command("ls-refs", &arguments));
    }
    for request in &requests {
        let (ours, _) = world.serve(Protocol::V2, request);
        let theirs = world.git_answer(Protocol::V2, request, &[]);
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
    }
    for protocol in [Protocol::V0, Protocol::V1] {
        let told = |bytes: &[u8]| -> Vec<String> {
            let lines = answer(bytes).lines;
            lines.iter().map(|l| l.split('\0').next().unwrap_or_default().trim().into()).collect()
        };
        let theirs = world.git_answer(protocol, b"", &["--advertise-refs"]);
        assert_eq!(told(&world.advertise(protocol)), told(&theirs));
    }
}

#[test]
fn the_same_sizes() {
    let world = World::with_history(600, 4);
    let ids: Vec<_> = world.reachable(&["--all"]).into_iter().collect();
    let mut arguments = vec!["size".to_owned(), format!("oid {}", "12".repeat(20))];
    arguments.extend(ids.iter().map(|id| format!("oid {id}")));
    let request = command("object-info", &arguments);
    let theirs = world.git_answer(Protocol::V2, &request, &[]);
    assert!(world.serve(Protocol::V2, &request).0 == theirs);
}

/// What a client without anything can ask for.
fn first_fetches(world: &World) -> Vec<Vec<String>> {
    let main = world.id("main");
    let tip = |name: &str| format!("want {}", world.id(name));
    let tag = tip("refs/tags/nested");
    let time = world.git(&["log", "-1", "--format=%ct", "main~9"]);
    let mut asked = vec![
        vec![tip("main")],
        vec![tip("main"), "include-tag".into()],
        vec![tip("main"), "ofs-delta".into(), "thin-pack".into(), "no-progress".into()],
        vec![tip("old"), tip("refs/tags/v1")],
        vec![tag, tip("refs/tags/tree"), tip("refs/tags/blob")],
        vec![format!("want {}", world.id("main~13"))],
        vec![format!("want {}", world.id("main:.gitmodules")), "filter blob:none".into()],
        vec![format!("want {}", world.id("main^{tree}"))],
        vec!["deepen 3".into(), tip("main"), tip("old"), "filter blob:none".into()],
        vec!["deepen 2147483647".into(), tip("main")],
        vec![format!("deepen-since {time}"), tip("main"), tip("old")],
        vec!["deepen-not old".into(), tip("main")],
        vec!["deepen-not refs/tags/v1".into(), format!("deepen-since {time}"), tip("main")],
    ];
    for depth in [1, 2, 5, 1000] {
        asked.push(vec![format!("deepen {depth}"), format!("want {main}")]);
    }
    for filter in [
        "blob:none",
        "blob:limit=0",
        "blob:limit=100",
        "blob:limit=1k",
        "tree:0",
        "tree:1",
        "tree:2",
        "object:type=commit",
        "object:type=tree",
        "object:type=blob",
        "object:type=tag",
        "combine:tree:2+blob:limit=200",
    ] {
        asked.push(vec![format!("filter {filter}"), tip("main"), tip("refs/tags/v1")]);
    }
    asked
}

#[test]
fn the_same_objects_for_who_has_nothing() {
    let world = World::with_history(700, 5);
    for mut arguments in first_fetches(&world) {
        arguments.push("done".into());
        let both = Both::ask(&world, Protocol::V2, &command("fetch", &arguments));
        let (ours, theirs) = both.ids(&world);
        assert_eq!(ours, theirs, "{arguments:?}");
    }
    let by_name = ["want-ref refs/heads/main", "want-ref refs/tags/v1", "done"];
    let (out, _) = world.serve(Protocol::V2, &command("fetch", &by_name));
    let ours = answer(&out);
    let mut theirs =
        answer(&world.git_answer(Protocol::V2, &command("fetch", &by_name), &[])).lines;
    theirs[1..3].sort_by_key(|line| line[41..].to_owned());
    assert_eq!(ours.lines, theirs);
}

#[test]
fn the_same_objects_over_version_0() {
    let world = World::with_history(600, 6);
    let bands = ["", " side-band", " side-band-64k"];
    for (arguments, band) in first_fetches(&world).into_iter().zip(bands.into_iter().cycle()) {
        let (wants, others): (Vec<_>, Vec<_>) =
            arguments.iter().partition(|line| line.starts_with("want "));
        let is_word = |line: &&&String| {
            !line.contains(' ') && !line.starts_with("deepen") && !line.starts_with("filter")
        };
        let words: Vec<&str> = others.iter().filter(|l| is_word(l)).map(|l| l.as_str()).collect();
        let mut lines: Vec<String> = wants.into_iter().cloned().collect();
        lines[0].push_str(&format!("{band} filter agent=x {}", words.join(" ")));
        lines.extend(others.iter().filter(|l| !is_word(l)).map(|l| (*l).clone()));
        lines.push(FLUSH.to_owned());
        // Only what the end of history will be.
        Both::ask(&world, Protocol::V0, &request(&lines));
        lines.push("done".to_owned());
        let both = Both::ask(&world, Protocol::V0, &request(&lines));
        let (ours, theirs) = both.ids(&world);
        assert_eq!(ours, theirs, "{lines:?}");
    }
}

/// Random rounds of a negotiation: the acknowledgements are those of git; the objects are enough
/// and none is beside the wants.
#[test]
fn the_same_acknowledgements() {
    let world = World::with_history(900, 7);
    let commits: Vec<String> =
        world.git(&["rev-list", "--all"]).lines().map(str::to_owned).collect();
    let mut random = Random::labelled(1, "acks");
    for round in 0..40 {
        let want = commits[random.below(commits.len() / 4)].clone();
        let mut haves: BTreeSet<String> = BTreeSet::new();
        for _ in 0..random.below(6) {
            haves.insert(commits[random.below(commits.len())].clone());
        }
        for _ in 0..random.below(3) {
            haves.insert(format!("{:040x}", random.next()));
        }
        let mut lines: Vec<String> = haves.iter().map(|id| format!("have {id}")).collect();
        for _ in 0..lines.len() {
            let (a, b) = (random.below(lines.len()), random.below(lines.len()));
            lines.swap(a, b);
        }
        let is_done = random.once_in(2);
        let (protocol, bytes) = if round % 2 == 0 {
            let mut arguments = vec![format!("want {want}"), "ofs-delta".into()];
            arguments.extend(lines);
            arguments.extend(is_done.then(|| "done".to_owned()));
            arguments.extend(random.once_in(4).then(|| "wait-for-done".to_owned()));
            (Protocol::V2, command("fetch", &arguments))
        } else {
            let ack = ["", " multi_ack", " multi_ack_detailed", " multi_ack_detailed no-done"];
            let ack = ack[random.below(ack.len())];
            let mut all = vec![format!("want {want}{ack} side-band-64k"), FLUSH.to_owned()];
            all.extend(lines);
            all.push(if is_done { "done" } else { FLUSH }.to_owned());
            (Protocol::V0, request(&all))
        };
        let both = Both::ask(&world, protocol, &bytes);
        if both.ours.pack.is_empty() {
            continue;
        }
        let (ours, theirs) = both.ids(&world);
        let known: Vec<String> =
            haves.iter().filter(|id| commits.contains(id)).map(|id| format!("^{id}")).collect();
        let mut revisions = vec![want.as_str()];
        revisions.extend(known.iter().map(String::as_str));
        let wanted = world.reachable(&[&want]);
        let mut had: BTreeSet<ObjectId> = BTreeSet::new();
        if !known.is_empty() {
            let known: Vec<&str> = known.iter().map(|id| &id[1..]).collect();
            had = world.reachable(&known);
        }
        assert!(ours.is_subset(&wanted));
        assert!(wanted.difference(&had).all(|id| ours.contains(id)), "something is missing");
        assert!(ours.len() <= theirs.len() + 5, "{} for git's {}", ours.len(), theirs.len());
    }
}

/// A shallow client that deepens: what it has and what it gets is whole, and as in git.
#[test]
fn the_same_deepening() {
    let world = World::with_history(700, 8);
    let main = world.id("main");
    let first = ["deepen 3".to_owned(), format!("want {main}"), "done".to_owned()];
    let both = Both::ask(&world, Protocol::V2, &command("fetch", &first));
    let ends: Vec<String> =
        both.ours.lines.iter().filter(|l| l.starts_with("shallow ")).cloned().collect();
    assert!(!ends.is_empty());
    let time = world.git(&["log", "-1", "--format=%ct", "main~9"]);
    for change in [
        vec!["deepen 5".to_owned()],
        vec!["deepen 2".to_owned()],
        vec!["deepen 4".to_owned(), "deepen-relative".to_owned()],
        vec!["deepen 2147483647".to_owned()],
        vec![format!("deepen-since {time}")],
        vec!["deepen-not old".to_owned()],
        vec![],
    ] {
        let mut arguments = ends.clone();
        arguments.extend(change.clone());
        arguments.extend([format!("want {main}"), format!("have {main}"), "done".to_owned()]);
        let both = Both::ask(&world, Protocol::V2, &command("fetch", &arguments));
        let (ours, theirs) = both.ids(&world);
        assert_eq!(ours, theirs, "{change:?}");
    }
}
