//! Pages of chunk lists, as they are told and kept.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::world::Target;
use super::{ReadThrough, ReadThroughOptions, Sources};
use crate::error::StoreError;
use crate::id::{ChunkId, FileId};
use crate::manifest::ChunkRef;
use crate::read::{ChunkSpan, Content, Pointer, ReadStore, Urgency};
use crate::source::{
    ChunkSource, ChunkTake, ManifestPage, PageSignature, SIGNED_CHUNKS, SourceResult,
};

/// Tells this page of every file.
struct Tells(ManifestPage);

impl ChunkSource for Tells {
    fn name(&self) -> String {
        "tells".to_owned()
    }

    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>> {
        Ok(vec![None; files.len()])
    }

    fn manifest(&self, _: &FileId, _: u64) -> SourceResult<Option<ManifestPage>> {
        Ok(Some(self.0.clone()))
    }

    fn chunks(
        &self,
        _: &FileId,
        _: &[ChunkSpan],
        _: Urgency,
        _: &mut ChunkTake<'_>,
    ) -> SourceResult<()> {
        Ok(())
    }
}

fn open(target: &Target, page: &ManifestPage) -> ReadThrough {
    let chunks: Vec<Arc<dyn ChunkSource>> = vec![Arc::new(Tells(page.clone()))];
    let sources = Sources { objects: Vec::new(), chunks };
    let options = ReadThroughOptions { rest: Duration::ZERO, ..ReadThroughOptions::default() };
    ReadThrough::new(&target.store, &target.repo, &sources, options).expect("opened")
}

/// `count` chunks of ten bytes from the file's beginning, each page with a signature.
fn page(count: usize) -> ManifestPage {
    let chunk = ChunkRef { id: ChunkId::from_bytes([4; 32]), len: 10 };
    let span = |n: usize| ChunkSpan { chunk, offset: n as u64 * 10 };
    let signature = |n: usize| PageSignature::from_bytes([n as u8; 64]);
    ManifestPage {
        len: 1 << 20,
        spans: (0..count).map(span).collect(),
        signatures: (0..count.div_ceil(SIGNED_CHUNKS)).map(signature).collect(),
    }
}

#[test]
fn a_file_is_empty_when_its_id_says_so() {
    let nothing = ManifestPage::unsigned(0, Vec::new());
    let (target, empty) = (Target::new(), FileId::from_bytes(Sha256::digest(b"").into()));
    let reader = open(&target, &nothing);
    assert_eq!(reader.file_len(&empty).expect("told"), Some(0));
    let other = FileId::from_bytes([3; 32]);
    let read = reader.read_at(&Content::File(other), 0, &mut [0; 10]);
    assert!(matches!(read, Err(StoreError::NotFetched { .. })), "a short read: {read:?}");
    let target = Target::new();
    open(&target, &page(3)).file_len(&empty).expect_err("it has no bytes");
}

#[test]
fn signatures_are_kept_with_the_chunks_that_they_are_of() {
    let (target, file, count) = (Target::new(), FileId::from_bytes([3; 32]), SIGNED_CHUNKS + 5);
    let told = page(count);
    for wrong in [1, 3] {
        let mut page = told.clone();
        page.signatures.resize(wrong, told.signatures[0]);
        open(&target, &page).file_len(&file).expect_err("they are not of these chunks");
    }
    let kept = |offset| {
        let held = target.store.held_file(target.repo.id, &file).expect("read")?;
        held.signed_manifest(offset, 9).expect("read")
    };
    assert!(kept(0).is_none(), "nothing of what was refused");
    assert_eq!(open(&target, &told).file_len(&file).expect("told"), Some(1 << 20));
    assert_eq!(kept(0), Some(told.clone()));
    assert_eq!(kept(1).as_ref().map(|page| page.spans.len()), Some(count));
    let second = kept(SIGNED_CHUNKS as u64 * 10 + 7).expect("kept");
    assert_eq!(second.spans, told.spans[SIGNED_CHUNKS..]);
    assert_eq!(second.signatures, told.signatures[1..]);
    assert!(kept(count as u64 * 10).is_none(), "nothing was told of it");
}
