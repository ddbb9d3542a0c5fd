//! Pushes: commands, then a pack. References change only when the report says so, and only to what
//! is there and whole; hidden ones never.

use mega_storage::{NoProgress, ObjectId, RefName, RefTarget, Repo, RepoSettings, SettingChange};
use mega_store::git::{Protocol, Service, receive_pack};
use mega_tools::fuzz::{Ending, Target, mutate, pkt};
use mega_tools::random::Random;

use crate::pack;
use crate::seeds::{GitRepo, Scratch};

const HIDDEN: &str = "refs/hidden/h";
/// Pushes that change something before the store is made anew.
const CHANGES_MAX: u32 = 100;
const ZERO: &str = "0000000000000000000000000000000000000000";

pub struct Receive {
    git: GitRepo,
    base_pack: Vec<u8>,
    old: String,
    scratch: Scratch,
    repo: Repo,
    settings: RepoSettings,
    refs: Vec<(RefName, RefTarget)>,
    change_count: u32,
}

impl Receive {
    pub fn new() -> Self {
        let git = GitRepo::new();
        let base_pack = git.pack("HEAD~8\n", &[]);
        let old = git.text(&["rev-parse", "HEAD~8"]);
        let (scratch, repo, settings) = prepared(&base_pack, &old);
        let mut receive = Self {
            git,
            base_pack,
            old,
            scratch,
            repo,
            settings,
            refs: Vec::new(),
            change_count: 0,
        };
        receive.refs = receive.list();
        receive
    }

    fn list(&self) -> Vec<(RefName, RefTarget)> {
        self.scratch.store.refs().list(self.repo.id, b"").expect("reads")
    }

    fn check_refs(&mut self, said: &[u8], updated: u64) -> Result<(), String> {
        let now = self.list();
        if now == self.refs {
            return Ok(());
        }
        let hidden = |refs: &[(RefName, RefTarget)]| {
            refs.iter().find(|(name, _)| name.as_bytes() == HIDDEN.as_bytes()).cloned()
        };
        if hidden(&now) != hidden(&self.refs) {
            return Err("a hidden reference was changed".to_owned());
        }
        let is_reported = said.windows(3).any(|window| window == b"ok ");
        if updated == 0 && !is_reported && differ_beside_head(&now, &self.refs) {
            return Err(format!("references changed without a word: {now:?}"));
        }
        let objects = self.scratch.store.objects();
        for (name, target) in &now {
            let RefTarget::Direct(id) = target else { continue };
            if !objects.is_member(self.repo.id, id).map_err(|e| e.to_string())? {
                return Err(format!("{name} points to {id}, which is not there"));
            }
        }
        self.refs = now;
        let is_closed = self.scratch.store.is_closed(self.repo.id, &NoProgress);
        is_closed.map_err(|e| format!("the history has a hole: {e}"))?;
        self.change_count += 1;
        if self.change_count == CHANGES_MAX {
            let fresh = prepared(&self.base_pack, &self.old);
            (self.scratch, self.repo, self.settings) = fresh;
            self.refs = self.list();
            self.change_count = 0;
        }
        Ok(())
    }
}

/// Whether anything but HEAD differs.
fn differ_beside_head(now: &[(RefName, RefTarget)], before: &[(RefName, RefTarget)]) -> bool {
    let without = |refs: &[(RefName, RefTarget)]| {
        refs.iter().filter(|(name, _)| name.as_bytes() != b"HEAD").cloned().collect::<Vec<_>>()
    };
    without(now) != without(before)
}

fn prepared(base_pack: &[u8], old: &str) -> (Scratch, Repo, RepoSettings) {
    let mut scratch = Scratch::new();
    let repo = scratch.fresh();
    scratch.ingest(&repo, base_pack);
    let id: ObjectId = old.parse().expect("an id");
    scratch.set_refs(&repo, &[("refs/heads/main", id), ("refs/heads/other", id), (HIDDEN, id)]);
    let hide = SettingChange::Set("refs/hidden".to_owned());
    scratch.store.set_setting(repo.id, "transfer.hideRefs", &hide).expect("set");
    let limit = SettingChange::Set("32m".to_owned());
    scratch.store.set_setting(repo.id, "receive.maxInputSize", &limit).expect("set");
    let settings = scratch.store.settings(repo.id).expect("reads");
    (scratch, repo, settings)
}

fn request(lines: &[String], options: &[&str], pack: &[u8]) -> Vec<u8> {
    let mut pieces: Vec<pkt::Piece> =
        lines.iter().map(|line| pkt::Piece::Data(line.clone().into_bytes())).collect();
    pieces.push(pkt::Piece::Mark(0));
    if !options.is_empty() {
        let options = options.iter().map(|option| pkt::Piece::Data(option.as_bytes().to_vec()));
        pieces.extend(options);
        pieces.push(pkt::Piece::Mark(0));
    }
    pieces.push(pkt::Piece::Raw(pack.to_vec()));
    pkt::join(&pieces)
}

impl Target for Receive {
    fn name(&self) -> &'static str {
        "receive"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let (old, new) = (self.old.clone(), self.git.text(&["rev-parse", "HEAD"]));
        let tag = self.git.text(&["rev-parse", "outer"]);
        let pack = self.git.pack(&format!("HEAD\n^{old}\n"), &["--delta-base-offset"]);
        let thin = self.git.pack(&format!("HEAD\n^{old}\n"), &["--thin"]);
        let all = self.git.pack(&format!("--all\n^{old}\n"), &[]);
        let words = "\0 report-status side-band-64k object-format=sha1 agent=git/2.47.3";
        let v2 = "\0 report-status-v2 atomic quiet push-options agent=x";
        let line = |old: &str, new: &str, name: &str| format!("{old} {new} {name}");
        let first =
            |old: &str, new: &str, name: &str, words: &str| format!("{old} {new} {name}{words}");
        let shallow = format!("shallow {old}");
        vec![
            b"0000".to_vec(),
            request(&[first(&old, &new, "refs/heads/main", words)], &[], &pack),
            request(&[first(ZERO, &new, "refs/heads/new", words)], &[], &thin),
            request(&[first(&old, ZERO, "refs/heads/other", words)], &[], b""),
            request(
                &[
                    first(ZERO, &tag, "refs/tags/outer", v2),
                    line(ZERO, &old, "refs/heads/a/b"),
                    line(&old, &old, HIDDEN),
                ],
                &["an option", "key=value"],
                &all,
            ),
            request(&[shallow, first(ZERO, &new, "refs/heads/s", words)], &[], &pack),
            request(&[first(ZERO, &old, "refs/heads/x-PACK", words)], &[], b""),
        ]
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[
            b"refs/heads/",
            b"refs/tags/",
            b"refs/hidden/h",
            b"HEAD",
            b"..",
            b".lock",
            b"@{",
            b"\0",
            b" report-status",
            b" atomic",
            b" delete-refs",
            b" push-options",
            b" side-band-64k",
            b" object-format=sha256",
            b"shallow ",
            b"push-cert\0",
            b"PACK",
            b"\n",
            b"0000000000000000000000000000000000000000",
            b" ",
            b"refs/heads/main/x",
            b" quiet",
        ]
    }

    fn mutate(&mut self, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        // Half of them change the commands, the others the pack behind them.
        let seed = mutate::pick(corpus, random).cloned().unwrap_or_default();
        let mut pieces = pkt::split(&seed);
        match pieces.last_mut() {
            Some(pkt::Piece::Raw(raw)) if raw.starts_with(b"PACK") && random.once_in(2) => {
                *raw = pack::mutated(std::slice::from_ref(raw), &[], random);
                pkt::join(&pieces)
            }
            _ => pkt::lines(corpus, self.dictionary(), random),
        }
    }

    fn feed(&mut self, mut input: &[u8]) -> Result<Ending, String> {
        let mut said = Vec::new();
        let (store, repo, settings) = (&self.scratch.store, &self.repo, &self.settings);
        let service = Service::new(store, repo, settings, Protocol::V1, "fuzz", &NoProgress);
        let service = service.map_err(|error| error.to_string())?;
        let served = receive_pack::serve(&service, &mut input, &mut said);
        let (words, updated) = match &served {
            Ok(report) => (format!("done {}", report.refused > 0), report.updated),
            Err(mega_store::git::GitError::Store(error)) => {
                return Err(format!("a push made the store fail: {error:?}"));
            }
            Err(error) => (error.to_string(), 0),
        };
        self.check_refs(&said, updated)?;
        let reasons = String::from_utf8_lossy(&said);
        let reasons: Vec<&str> =
            reasons.split("ng ").skip(1).filter_map(|line| line.split('\n').next()).collect();
        let reasons: Vec<&str> = reasons.iter().filter_map(|r| r.split(' ').nth(1)).collect();
        Ok(Ending::of(&format!("{words} {reasons:?}")).and(updated as usize))
    }
}
