//! Packs in. What is refused leaves nothing behind; what is kept has the ids that its bytes have,
//! and can be sent again.

use mega_storage::{
    IngestOptions, NoProgress, ObjectId, PackInput, PackLimits, Repo, SendOptions, StoreError,
};
use mega_tools::fuzz::{Ending, Target};
use mega_tools::random::Random;

use crate::pack::{self, Entry, Pack, id_of};
use crate::seeds::{GitRepo, Scratch};

/// Packs that are kept before the store is made anew.
const KEPT_MAX: u32 = 320;
/// Packs that are kept before all that is there is read again.
const CHECKED_EVERY: u32 = 16;

pub struct Ingest {
    scratch: Scratch,
    /// Has what a thin pack builds on, and the first half of the history.
    repo: Repo,
    base_pack: Vec<u8>,
    member_count: u64,
    kept_count: u32,
    git: GitRepo,
}

impl Ingest {
    pub fn new() -> Self {
        let git = GitRepo::new();
        let base_pack = git.pack("HEAD~8\n", &[]);
        let (scratch, repo, member_count) = with_base(&base_pack);
        Self { scratch, repo, base_pack, member_count, kept_count: 0, git }
    }

    fn anew(&mut self) {
        (self.scratch, self.repo, self.member_count) = with_base(&self.base_pack);
        self.kept_count = 0;
    }

    /// Reads back everything that the repository has, and sends it as a pack.
    fn check_kept(&self) -> Result<(), String> {
        let objects = self.scratch.store.objects();
        let members: Result<Vec<ObjectId>, _> = objects.members(self.repo.id).collect();
        let members = members.map_err(|e| format!("listing: {e}"))?;
        for id in &members {
            let read = objects.read_verified(id).map_err(|e| format!("reading {id}: {e}"))?;
            read.ok_or_else(|| format!("{id} is not there"))?;
        }
        let mut out = Vec::new();
        let options = SendOptions::default();
        let sent = objects.send_pack(self.repo.id, &members, &options, &mut out, &NoProgress);
        sent.map_err(|e| format!("sending: {e}"))?;
        let count = pack::parse(&out).map_or(0, |pack| pack.entries.len());
        if count != members.len() {
            return Err(format!("{count} entries for {} objects", members.len()));
        }
        Ok(())
    }
}

fn with_base(base_pack: &[u8]) -> (Scratch, Repo, u64) {
    let mut scratch = Scratch::new();
    let repo = scratch.fresh();
    scratch.ingest(&repo, base_pack);
    let member_count = scratch.store.objects().member_count(repo.id).expect("reads");
    (scratch, repo, member_count)
}

fn limits() -> PackLimits {
    PackLimits {
        object_len_max: 64 << 20,
        object_len_safe: 1 << 20,
        inflated_len_safe: 16 << 20,
        ..PackLimits::default()
    }
}

impl Target for Ingest {
    fn name(&self) -> &'static str {
        "ingest"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let head = self.git.text(&["rev-parse", "HEAD~8"]);
        let thin = format!("HEAD\n^{head}\n");
        let text = b"the same text, a few times over, the same text, a few times over".repeat(9);
        let blob = Entry::whole(3, &text);
        let mut copy = Entry::whole(7, &[&[0xc0, 4][..], &[0x80 | 0x30, 0x40, 2]].concat());
        copy.base = pack::Base::Id(id_of(&blob).expect("no attack"));
        vec![
            self.base_pack.clone(),
            self.git.pack("HEAD\n", &["--delta-base-offset", "--no-reuse-delta"]),
            self.git.pack(&thin, &["--thin"]),
            self.git.pack(&thin, &["--delta-base-offset"]),
            self.git.pack("--all\n", &["--depth=200", "--window=50", "--no-reuse-delta"]),
            Pack::new(vec![blob, copy]).write(),
            Pack::new(Vec::new()).write(),
        ]
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[
            b"PACK",
            b"\0\0\0\x02",
            b"\x78\x9c",
            b"\x80",
            b"\x90\x01",
            b"\xff\xff\xff\xff\x0f",
            b"\xb0\x00\x00\x01",
            b"\x91\xff\xff",
            b"tree ",
            b"100644 .git\0",
            b"\x78\x9c\x03\0\0\0\0\x01",
        ]
    }

    fn mutate(&mut self, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        pack::mutated(corpus, self.dictionary(), random)
    }

    fn feed(&mut self, mut input: &[u8]) -> Result<Ending, String> {
        let whole = pack::parse(input);
        let options = IngestOptions { limits: limits(), links: true };
        let objects = self.scratch.store.objects();
        let stream = PackInput::Stream(&mut input);
        let prepared = objects.prepare_pack(self.repo.id, stream, &options, &NoProgress);
        let ending = match prepared {
            Ok(mut prepared) => match prepared.check_connected(&[]) {
                Ok(()) => {
                    let report = prepared.commit().map_err(|e| format!("commit: {e}"))?;
                    self.member_count += report.new_count;
                    self.kept_count += 1;
                    if self.kept_count.is_multiple_of(CHECKED_EVERY) {
                        self.check_kept()?;
                    }
                    if self.kept_count == KEPT_MAX {
                        self.anew();
                    }
                    return Ok(Ending::of("kept").and(report.problem_count as usize));
                }
                Err(error) => refused(&error)?,
            },
            Err(error) => refused(&error)?,
        };
        let now = objects.member_count(self.repo.id).map_err(|e| e.to_string())?;
        if now != self.member_count {
            return Err(format!("{now} objects, {} before", self.member_count));
        }
        for id in whole.iter().flat_map(|pack| pack.entries.iter().filter_map(id_of)) {
            let id = ObjectId::from_bytes(id);
            let is_member = objects.is_member(self.repo.id, &id).map_err(|e| e.to_string())?;
            let is_there = objects.header(&id).map_err(|e| e.to_string())?.is_some();
            if is_there && !is_member {
                return Err(format!("{id} was left behind"));
            }
        }
        let left = std::fs::read_dir(self.scratch.store.tmp()).map_err(|e| e.to_string())?;
        match left.count() {
            0 => Ok(ending),
            count => Err(format!("{count} files were left behind")),
        }
    }
}

/// A pack is refused for what is wrong with it, never for what is wrong with the store.
fn refused(error: &StoreError) -> Result<Ending, String> {
    match error {
        StoreError::Pack(_) | StoreError::Limit { .. } | StoreError::MalformedObject { .. } => {
            Ok(Ending::of(&error.to_string()))
        }
        other => Err(format!("a pack made the store fail: {other:?}")),
    }
}
