//! Which files may share chunks with one that is to be transferred: its earlier versions by the
//! repository's history, and files of a like length that lie here.

use std::collections::HashSet;
use std::fs;

use mega_storage::{ChunkId, ChunkRef, FileId, Pointer};

use super::{Agent, BASES_COMPARED_MAX, WHOLE_LEN_MAX};
use crate::lfs::{LocalObjects, wire};

/// Earlier versions that are named without knowing what they share.
const EARLIER_MAX: usize = 4;
/// Local files that are looked at to find those of a like length.
const LISTED_MAX: usize = 100_000;

impl Agent<'_> {
    /// The files of git-lfs that lie here, those of a like length first.
    pub(super) fn local_files(&self, like: &Pointer) -> Vec<Pointer> {
        let mut found = Vec::new();
        let entries = |dir: &std::path::Path| fs::read_dir(dir).into_iter().flatten().flatten();
        let objects = self.lfs_dir.join("objects");
        let files = entries(&objects)
            .flat_map(|first| entries(&first.path()).collect::<Vec<_>>())
            .flat_map(|second| entries(&second.path()).collect::<Vec<_>>());
        for entry in files.take(LISTED_MAX) {
            let id = entry.file_name().to_str().and_then(|name| name.parse::<FileId>().ok());
            let facts = entry.metadata().ok().filter(fs::Metadata::is_file);
            let (Some(file), Some(facts)) = (id, facts) else { continue };
            if file != like.file && facts.len() > WHOLE_LEN_MAX {
                found.push(Pointer { file, len: facts.len() });
            }
        }
        found.sort_by_key(|pointer| (pointer.len.abs_diff(like.len), pointer.file));
        found.truncate(BASES_COMPARED_MAX);
        found
    }

    /// Files whose chunks the server need not be sent, if this repository has them there: earlier
    /// versions, then local files by what they are known to share, then by their length.
    pub(super) fn bases_up(&self, pointer: &Pointer, chunks: &[ChunkRef]) -> Vec<FileId> {
        let mut bases: Vec<FileId> = (self.earlier)(pointer);
        bases.retain(|base| *base != pointer.file);
        bases.truncate(EARLIER_MAX);
        let ids: HashSet<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
        let mut local: Vec<(u64, FileId)> = self
            .local_files(pointer)
            .into_iter()
            .map(|file| (self.shared_len(&file, &ids), file.file))
            .collect();
        // A stable sort: the nearest length stays first among equals.
        local.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
        for (_, file) in local {
            if !bases.contains(&file) {
                bases.push(file);
            }
        }
        bases.truncate(wire::BASES_MAX);
        bases
    }

    fn shared_len(&self, file: &Pointer, ids: &HashSet<ChunkId>) -> u64 {
        let chunks = self.known_chunks(file).unwrap_or_default();
        chunks.iter().filter(|chunk| ids.contains(&chunk.id)).map(|c| u64::from(c.len)).sum()
    }

    /// Local files that may have chunks of a file that is fetched, the best first: earlier
    /// versions, then those of a like length.
    pub(super) fn bases_down(&self, pointer: &Pointer) -> Vec<Pointer> {
        let local = self.local_files(pointer);
        if local.is_empty() {
            // Nothing to take from: history need not be asked.
            return local;
        }
        let is_here = |id: &FileId| {
            let path = LocalObjects::path_in(&self.lfs_dir, id);
            let len = fs::metadata(path).ok()?.len();
            (*id != pointer.file).then_some(Pointer { file: *id, len })
        };
        let mut bases: Vec<Pointer> = (self.earlier)(pointer).iter().filter_map(is_here).collect();
        for file in local {
            if !bases.contains(&file) {
                bases.push(file);
            }
        }
        bases
    }
}
