//! Fetches. The first byte of an input says which version of the protocol is spoken. What hidden
//! references and other repositories have never leaves, whatever is asked for.

use mega_storage::{NoProgress, Repo, RepoSettings, SettingChange, StoreError};
use mega_store::git::{GitError, Protocol, Service, upload_pack};
use mega_tools::fuzz::{Ending, Target, pkt};
use mega_tools::random::Random;

use crate::pack;
use crate::seeds::{GitRepo, Scratch};

/// Stands in a blob that only a hidden reference reaches.
const SECRET: &[u8] = b"nobody may see this";
const PROTOCOLS: [Protocol; 3] = [Protocol::V0, Protocol::V1, Protocol::V2];

pub struct Upload {
    git: GitRepo,
    secret: String,
    scratch: Scratch,
    repo: Repo,
    settings: RepoSettings,
}

impl Upload {
    pub fn new() -> Self {
        let git = GitRepo::new();
        let blob = git.git(&["hash-object", "-w", "--stdin"], SECRET);
        let blob = String::from_utf8(blob).expect("text").trim().to_owned();
        let tree = git.git(&["mktree"], format!("100644 blob {blob}\tsecret\n").as_bytes());
        let tree = String::from_utf8(tree).expect("text").trim().to_owned();
        let secret = git.text(&["commit-tree", "-m", "secret", "-p", "HEAD", &tree]);
        git.text(&["update-ref", "refs/hidden/h", &secret]);
        let mut scratch = Scratch::new();
        let repo = scratch.fresh();
        scratch.ingest(&repo, &git.pack("--all\n", &["--delta-base-offset"]));
        let list = git.text(&["for-each-ref", "--format=%(refname) %(objectname)"]);
        let refs: Vec<_> = list.lines().filter_map(|line| line.split_once(' ')).collect();
        let refs: Vec<_> =
            refs.iter().map(|(name, id)| (*name, id.parse().expect("an id"))).collect();
        scratch.set_refs(&repo, &refs);
        let hide = SettingChange::Set("refs/hidden".to_owned());
        scratch.store.set_setting(repo.id, "uploadpack.hideRefs", &hide).expect("set");
        let settings = scratch.store.settings(repo.id).expect("reads");
        Self { git, secret: blob, scratch, repo, settings }
    }
}

/// What is in the first band, or all of it where there are no bands.
fn gathered(said: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pkt::split(said) {
        match piece {
            pkt::Piece::Data(data) if data.first() == Some(&1) => out.extend(&data[1..]),
            pkt::Piece::Raw(raw) => out.extend(raw),
            pkt::Piece::Data(_) | pkt::Piece::Mark(_) => {}
        }
    }
    out
}

fn v2(command: &str, lines: &[String]) -> Vec<u8> {
    let data = |text: &str| pkt::Piece::Data(text.as_bytes().to_vec());
    let mut pieces = vec![data(&format!("command={command}\n")), data("agent=git/2.47.3")];
    pieces.extend([data("object-format=sha1"), pkt::Piece::Mark(1)]);
    pieces.extend(lines.iter().map(|line| data(line)));
    pieces.push(pkt::Piece::Mark(0));
    [&[2][..], &pkt::join(&pieces)].concat()
}

/// Wants, a flush, haves, `done`.
fn v0(wants: &[String], haves: &[String]) -> Vec<u8> {
    let data = |text: &String| pkt::Piece::Data(format!("{text}\n").into_bytes());
    let mut pieces: Vec<_> = wants.iter().map(data).collect();
    pieces.push(pkt::Piece::Mark(0));
    pieces.extend(haves.iter().map(data));
    [&[0][..], &pkt::join(&pieces)].concat()
}

impl Target for Upload {
    fn name(&self) -> &'static str {
        "upload"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let head = self.git.text(&["rev-parse", "HEAD"]);
        let old = self.git.text(&["rev-parse", "HEAD~5"]);
        let tag = self.git.text(&["rev-parse", "outer"]);
        let lines = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        let want = format!("want {head}");
        let caps =
            "multi_ack_detailed no-done side-band-64k thin-pack ofs-delta filter deepen-since";
        vec![
            v2("ls-refs", &lines("peel|symrefs|unborn|ref-prefix refs/heads/|ref-prefix HEAD")),
            v2("fetch", &lines(&format!("thin-pack|ofs-delta|include-tag|{want}|done"))),
            v2("fetch", &lines(&format!("{want}|have {old}|wait-for-done|no-progress"))),
            v2("fetch", &lines(&format!("{want}|want {tag}|deepen 2|done"))),
            v2("fetch", &lines(&format!("{want}|shallow {old}|deepen 3|deepen-relative|done"))),
            v2("fetch", &lines(&format!("{want}|deepen-since 1500000000|deepen-not outer|done"))),
            v2("fetch", &lines(&format!("{want}|filter blob:none|sideband-all|done"))),
            v2("fetch", &lines(&format!("{want}|filter combine:tree:2+blob:limit=1k|done"))),
            v2("fetch", &lines("want-ref refs/heads/main|done")),
            v2("object-info", &lines(&format!("size|oid {head}"))),
            v2("bundle-uri", &[]),
            v2("fetch", &lines(&format!("want {}|done", self.secret))),
            v0(&lines(&format!("{want} {caps}|want {tag}")), &lines("done")),
            v0(&lines(&format!("{want} {caps}|deepen 1")), &lines(&format!("have {old}|done"))),
            v0(&lines(&format!("{want} {caps}|filter tree:0")), &lines(&format!("have {old}"))),
            v0(&lines(&format!("{want} side-band")), &lines("done")),
            v0(&lines(&want), &lines(&format!("have {old}|done"))),
        ]
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[
            b"want ",
            b"have ",
            b"done",
            b"deepen ",
            b"deepen-since ",
            b"deepen-not ",
            b"shallow ",
            b"deepen-relative",
            b"filter ",
            b"blob:none",
            b"blob:limit=",
            b"tree:",
            b"combine:",
            b"sparse:oid=",
            b"object:type=",
            b"%2b",
            b"+",
            b"want-ref ",
            b"refs/hidden/h",
            b"ref-prefix ",
            b"include-tag",
            b"sideband-all",
            b"packfile-uris https",
            b"wait-for-done",
            b"thin-pack",
            b"command=fetch",
            b"command=ls-refs",
            b"oid ",
            b"size",
            b"server-option=x",
            b"0001",
            b"session-id=x",
            b"\0",
            b"\n",
            b"2147483647",
            b"18446744073709551615",
            b" no-done",
            b" multi_ack",
            b"object-format=sha256",
        ]
    }

    fn mutate(&mut self, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let Some(seed) = mega_tools::fuzz::mutate::pick(corpus, random) else { return Vec::new() };
        let (first, rest) = seed.split_first().map_or((0, &[][..]), |(f, rest)| (*f, rest));
        let bodies = [rest.to_vec()];
        let body = pkt::lines(&bodies, self.dictionary(), random);
        let first = if random.once_in(32) { random.below(3) as u8 } else { first };
        [&[first], &body[..]].concat()
    }

    fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
        let Some((first, mut body)) = input.split_first() else { return Ok(Ending::of("empty")) };
        let protocol = PROTOCOLS[usize::from(*first) % 3];
        let (store, repo, settings) = (&self.scratch.store, &self.repo, &self.settings);
        let service = Service::new(store, repo, settings, protocol, "fuzz", &NoProgress);
        let service = service.map_err(|error| error.to_string())?;
        let mut said = Vec::new();
        let served = upload_pack::serve(&service, &mut body, &mut said);
        let ending = match &served {
            Ok(report) => {
                let refused = report.refused.as_deref().unwrap_or_default();
                let refused = refused.split([':', '\'']).next().unwrap_or_default();
                let refused: String = refused.split(' ').take(4).collect();
                let words = format!("{:?} {refused}", report.command);
                Ending::of(&words).and(report.object_count.unwrap_or(0) as usize)
            }
            // Wants that are not there break the walk off; nothing else of the store may show.
            Err(GitError::Store(StoreError::MissingObject { .. } | StoreError::NoCommits)) => {
                Ending::of("missing")
            }
            Err(GitError::Store(error)) => {
                return Err(format!("a fetch made the store fail: {error:?}"));
            }
            Err(error) => Ending::of(&error.to_string()),
        };
        let sent = gathered(&said);
        let start = sent.windows(4).position(|window| window == b"PACK");
        let pack = start.and_then(|start| pack::parse(&sent[start..]));
        let Some(pack) = pack else { return Ok(ending) };
        if pack::contents(&pack).windows(SECRET.len()).any(|window| window == SECRET) {
            return Err("a hidden blob was sent".to_owned());
        }
        let count = served.ok().and_then(|report| report.object_count);
        if count.is_some_and(|count| count != pack.entries.len() as u64) {
            return Err(format!("{} entries, {count:?} were told", pack.entries.len()));
        }
        Ok(ending.and(pack.entries.len()))
    }
}
