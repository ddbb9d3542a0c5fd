//! Stores with damage: each kind is found, named with its repository and path, and mended where a
//! sound copy is.

mod disk;
mod git_oracle;
mod mending;
mod rows;
mod runs;

use super::*;
use crate::db::{Durability, keys};
use crate::gc::tests::{Objects, World, name};
use crate::id::{ChunkId, ObjectId};
use crate::objects::packs_for_tests::noise;
use crate::progress::NoProgress;
use crate::repos::Repo;

/// A store with one repository: a commit with a small file, an LFS file, a directory, a blob in
/// parts, history.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) repo: Repo,
    /// The LFS file and its chunks.
    pub(super) file: FileId,
    pub(super) chunks: Vec<ChunkId>,
    /// By name: `old`, `new` (commits), `root`, `dir` (trees), `text`, `pointer`, `large` (blobs).
    pub(super) ids: BTreeMap<&'static str, ObjectId>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let world = World::new();
        let repo = world.repo("team/model");
        let (file, pointer) = world.upload(repo.id, 1);
        let mut objects = Objects::default();
        let mut ids = BTreeMap::new();
        ids.insert("text", objects.blob(b"a text of some length\n"));
        ids.insert("pointer", objects.blob(&pointer));
        ids.insert("large", objects.blob(&noise(3, 3 << 20)));
        let was = objects.blob(b"what it was\n");
        let first = objects.tree(&[("gone.txt", was)]);
        ids.insert("old", objects.commit(first, &[]));
        ids.insert("was", was);
        ids.insert("dir", objects.tree(&[("large.bin", ids["large"]), ("text", ids["text"])]));
        let mut root = Vec::new();
        for (mode, entry, id) in
            [("100644", "model.bin", ids["pointer"]), ("40000", "sub", ids["dir"])]
        {
            root.extend_from_slice(format!("{mode} {entry}\0").as_bytes());
            root.extend_from_slice(id.as_bytes());
        }
        ids.insert("root", objects.add(crate::object::ObjectKind::Tree, root));
        ids.insert("new", objects.commit(ids["root"], &[ids["old"]]));
        world.push(repo.id, &objects, "main", ids["new"]);
        world.store.files().note_named(repo.id, &[file]).expect("noted");
        let spans = world.store.files().chunk_spans(&file, 0, u64::MAX).expect("read");
        let chunks = spans.iter().map(|span| span.chunk.id).collect();
        Self { world, repo, file, chunks, ids }
    }

    pub(super) fn store(&self) -> &Store {
        &self.world.store
    }

    pub(super) fn verify(&self) -> VerifyReport {
        let report = self.store().verify(&VerifyOptions::default(), &NoProgress);
        let report = report.expect("verified");
        assert!(report.is_whole);
        report
    }

    #[track_caller]
    pub(super) fn assert_sound(&self) {
        assert_eq!(self.verify().damages, []);
        let report = self.store().fsck(&self.repo, &NoProgress).expect("checked");
        assert_eq!(report.findings, []);
    }

    pub(super) fn row(&self, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        self.store().db().get(family, key).expect("read").map(|row| row.to_vec())
    }

    /// Writes a row, or removes it, past everything that would care.
    pub(super) fn put(&self, family: Family, key: &[u8], value: Option<&[u8]>) {
        put(self.store(), family, key, value);
    }

    /// Changes a bit in the middle of a row.
    pub(super) fn flip(&self, family: Family, key: &[u8]) {
        let mut row = self.row(family, key).expect("there");
        let middle = row.len() / 2;
        row[middle] ^= 0x10;
        self.put(family, key, Some(&row));
    }

    /// The key of the first part of the large blob.
    pub(super) fn part_key(&self) -> Vec<u8> {
        let mut rows = self.store().db().scan(Family::ObjectPart, self.ids["large"].as_bytes());
        rows.next().expect("in parts").expect("read").0.to_vec()
    }

    /// The damages as text: what, and where each use stands.
    #[track_caller]
    pub(super) fn damages(&self) -> Vec<String> {
        lines(&self.verify())
    }
}

pub(super) fn put(store: &Store, family: Family, key: &[u8], value: Option<&[u8]>) {
    let db = store.db();
    let mut batch = db.batch();
    match value {
        Some(value) => batch.put(family, key, value),
        None => batch.delete(family, key),
    }
    db.commit(batch, Durability::Synced).expect("written");
}

/// Damages as text.
pub(super) fn lines(report: &VerifyReport) -> Vec<String> {
    let line = |damage: &Damage| {
        let uses = damage.uses.iter().map(|u| {
            let repo = u.repo.as_deref().unwrap_or("-");
            match &u.stands {
                Some(Stands { at, path: Some(path) }) => {
                    format!(" {repo}:{at}:{}", String::from_utf8_lossy(path))
                }
                Some(Stands { at, path: None }) => format!(" {repo}:{at}"),
                None => format!(" {repo}"),
            }
        });
        format!("{}{}", damage.what, uses.collect::<String>())
    };
    report.damages.iter().map(line).collect()
}
