//! The same bytes to this server and to git's own: the same references afterwards, the same words.

use mega_tools::random::Random;

use super::*;

/// A bare repository that git's receive-pack serves.
struct Twin {
    dir: PathBuf,
}

impl Twin {
    fn new(world: &World) -> Self {
        git(world.dir.path(), &["init", "-q", "--bare", "-b", "main", "twin.git"], b"");
        let dir = world.dir.path().join("twin.git");
        for (key, value) in [
            ("receive.fsckObjects", "true"),
            ("receive.advertisePushOptions", "true"),
            ("receive.autogc", "false"),
            ("gc.auto", "0"),
        ] {
            git(&dir, &["config", key, value], b"");
        }
        Self { dir }
    }

    fn send(&self, request: &[u8]) -> Answer {
        answer(&try_git(&self.dir, &["receive-pack", "--stateless-rpc", "."], request).0)
    }

    fn refs(&self) -> BTreeMap<String, String> {
        let format = "--format=%(refname) %(objectname)";
        let text = text_of(git(&self.dir, &["for-each-ref", format], b""));
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(name, id)| (name.to_owned(), id.to_owned())).collect()
    }

    fn follow_head(&self, world: &World) {
        if let Some(branch) = world.head().strip_prefix("ref: ") {
            git(&self.dir, &["symbolic-ref", "HEAD", branch], b"");
        }
    }
}

/// A history with branches and merges; returns its commits.
fn history(world: &World, random: &mut Random) -> Vec<String> {
    let mut commits = vec![world.commit("a/b/file", "first")];
    for number in 0..14 {
        let start = commits[random.below(commits.len())].clone();
        world.git(&["checkout", "-q", &start]);
        if random.once_in(4) {
            let other = commits[random.below(commits.len())].clone();
            let _ = try_git(&world.work(), &["merge", "-q", "-s", "ours", "-m", "m", &other], b"");
        }
        let file = ["a/b/file", "a/other", "c/d/e", "top"][random.below(4)];
        commits.push(world.commit(file, &format!("content {number}")));
    }
    commits
}

const NAMES: [&str; 9] = [
    "refs/heads/main",
    "refs/heads/next",
    "refs/heads/dir/one",
    "refs/heads/dir",
    "refs/tags/v1",
    "refs/notes/x",
    "refs/heads/x-PACK",
    "refs/heads/bad..name",
    "refs/other",
];

/// Commands that a client could send: what it saw may be old.
fn commands(
    random: &mut Random,
    refs: &BTreeMap<String, String>,
    commits: &[String],
) -> Vec<(String, String, String)> {
    let mut commands: Vec<(String, String, String)> = Vec::new();
    for _ in 0..=random.below(4) {
        let name = NAMES[random.below(NAMES.len())];
        // Within one push git's own order of a branch and its directory is another.
        let is_beside = |other: &str| {
            other == name
                || other.starts_with("refs/heads/dir") && name.starts_with("refs/heads/dir")
        };
        if commands.iter().any(|(_, _, other)| is_beside(other)) {
            continue;
        }
        let current = refs.get(name);
        let any = &commits[random.below(commits.len())];
        let old = match current {
            _ if random.once_in(6) => any.clone(),
            Some(current) => current.clone(),
            None => ZERO.to_owned(),
        };
        // Git deletes whatever is there when it is told to delete nothing.
        let deletes = random.once_in(4) && old != ZERO;
        let new = if deletes { ZERO.to_owned() } else { any.clone() };
        commands.push((old, new, name.to_owned()));
    }
    commands
}

/// Whether git takes a deletion of what it does not have, whatever the old id.
fn is_blind_deletion(world: &World, command: &(String, String, String)) -> bool {
    command.1 == ZERO && !world.has(&command.0)
}

#[test]
fn generated_pushes_end_as_with_git() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let world = World::new();
        let twin = Twin::new(&world);
        let commits = history(&world, &mut random);
        for step in 0..12 {
            let refs = world.refs();
            let mut commands = commands(&mut random, &refs, &commits);
            commands.retain(|command| !is_blind_deletion(&world, command));
            if commands.is_empty() {
                continue;
            }
            let commands: Vec<(&str, &str, &str)> = commands
                .iter()
                .map(|(o, n, name)| (o.as_str(), n.as_str(), name.as_str()))
                .collect();
            let atomic = if random.once_in(3) { " atomic" } else { "" };
            let mut bytes = request(&format!("{CAPS}{atomic}"), &commands);
            let want: Vec<&str> = commands.iter().map(|c| c.1).filter(|id| *id != ZERO).collect();
            if !want.is_empty() {
                let have: Vec<&str> = refs.values().map(String::as_str).collect();
                bytes.extend(world.pack(&want, &have));
            }
            let expected = twin.send(&bytes);
            let actual = answer(&world.send(&bytes).expect("answered"));
            let case = format!("seed {seed} step {step} {commands:?} {:?}", actual.words);
            if atomic.is_empty() {
                assert_eq!(actual.report, expected.report, "{case}");
            } else {
                // Git names the first culprit alone; here each hears its own reason.
                let fates = |report: &[String]| -> Vec<String> {
                    report.iter().map(|line| line.chars().take(2).collect()).collect()
                };
                assert_eq!(fates(&actual.report), fates(&expected.report), "{case}");
            }
            assert_eq!(world.refs(), twin.refs(), "{case}");
            twin.follow_head(&world);
        }
        let reachable = text_of(git(&twin.dir, &["rev-list", "--objects", "--all"], b""));
        for line in reachable.lines() {
            let id = line.split(' ').next().unwrap_or(line);
            assert!(world.has(id), "seed {seed}: {line}");
        }
        let export = world.dir.path().join("pack");
        std::fs::create_dir(&export).expect("made");
        world.store.objects().export_pack(world.repo.id, &export, &NoProgress).expect("readable");
    }
}

#[test]
fn the_advertisement_is_gits() {
    let world = World::new();
    let twin = Twin::new(&world);
    let first = world.commit("a", "1");
    let second = world.commit("a", "2");
    let lines = |bytes: &[u8]| -> Vec<String> {
        let mut reader = PktReader::new(bytes, Budget { lines: 100, bytes: 10_000 });
        let mut lines = Vec::new();
        while let Ok(Pkt::Data(line)) = reader.next() {
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
        assert!(matches!(reader.next_or_end(), Ok(None)), "a flush, then nothing");
        lines
    };
    let both = |protocol: Protocol, version: &str| {
        let mut actual = Vec::new();
        let service = Service { protocol, ..world.service() };
        advertise(&service, &mut actual).expect("advertised");
        let variable = format!("GIT_PROTOCOL={version}");
        let output = Process::new("env")
            .args([&variable, "git", "receive-pack", "--http-backend-info-refs", "."])
            .current_dir(&twin.dir)
            .output()
            .expect("git runs");
        (lines(&actual), lines(&output.stdout))
    };
    for round in 0..2 {
        for (protocol, version) in
            [(Protocol::V0, ""), (Protocol::V1, "version=1"), (Protocol::V2, "version=2")]
        {
            let (actual, expected) = both(protocol, version);
            let name = |line: &String| line.split('\0').next().unwrap_or_default().to_owned();
            assert_eq!(
                actual.iter().map(name).collect::<Vec<_>>(),
                expected.iter().map(name).collect::<Vec<_>>(),
                "round {round} {version}"
            );
            let caps = |lines: &[String]| -> Vec<String> {
                let line = lines.iter().find_map(|line| line.split_once('\0')).expect("some").1;
                let words = line.trim_end().split(' ');
                let mut words: Vec<String> =
                    words.filter(|word| !word.starts_with("agent=")).map(str::to_owned).collect();
                words.sort();
                words
            };
            assert_eq!(caps(&actual), caps(&expected));
        }
        let commands = [
            (ZERO, first.as_str(), "refs/heads/main"),
            (ZERO, second.as_str(), "refs/heads/x-PACK"),
            (ZERO, first.as_str(), "refs/tags/v1"),
        ];
        let mut bytes = request(CAPS, &commands);
        bytes.extend(world.pack(&[&first, &second], &[]));
        twin.send(&bytes);
        world.send(&bytes).expect("answered");
    }
}

#[test]
fn names_are_taken_as_git_takes_them() {
    let world = World::new();
    let twin = Twin::new(&world);
    let id = world.commit("a", "1");
    let mut bytes = request(CAPS, &[(ZERO, &id, "refs/heads/main")]);
    bytes.extend(world.pack(&[&id], &[]));
    twin.send(&bytes);
    world.send(&bytes).expect("answered");
    let names: Vec<String> = [
        "HEAD",
        "main",
        "refs/heads/a b",
        "refs/heads/a~",
        "refs/heads/.a",
        "refs/heads/a.lock",
        "refs/heads/a.lock/b",
        "refs/heads/a/.b",
        "refs/heads/@",
        "refs/heads/@{",
        "refs/heads/a@b",
        "refs/heads/a/",
        "refs/heads//a",
        "refs/",
        "refs",
        "refs/a",
        "refs/heads/\u{e4}",
        "refs/../x",
        "refs/heads/a\\b",
        "refs/heads/a:b",
        "refs/heads/a?b",
        "refs/heads/a*b",
        "refs/heads/a[b",
        "refs/heads/a^b",
        "refs/heads/a.",
        "refs/heads/.",
        "refs/heads/..",
        "refs/heads/a\u{7f}",
        "refs/heads/a\tb",
        "refs/heads/-a/b",
        "../refs/heads/a",
        "/refs/heads/a",
        "refs/HEAD",
        "",
    ]
    .iter()
    .map(|name| (*name).to_owned())
    .collect();
    for name in names {
        let mut bytes = request(CAPS, &[(ZERO, &id, &name)]);
        bytes.extend(world.pack(&[&id], &[]));
        let expected = twin.send(&bytes);
        let actual = answer(&world.send(&bytes).expect("answered"));
        if name != "refs/heads/-a/b" {
            assert_eq!(actual.report, expected.report, "{name:?}");
        }
        let mut bytes = request(CAPS, &[(&id, ZERO, &name)]);
        bytes.extend(b"");
        assert_eq!(answer(&world.send(&bytes).expect("answered")).report.len(), 2, "{name:?}");
        twin.send(&bytes);
    }
    for name in ["refs/heads/-x", "refs/heads/HEAD"] {
        let answer = world.push(&[(ZERO, &id, name)]);
        assert_eq!(answer.report, ["unpack ok".to_owned(), format!("ng {name} funny refname")]);
    }
    assert_eq!(world.refs().into_keys().collect::<Vec<_>>(), ["refs/heads/main"]);
}
