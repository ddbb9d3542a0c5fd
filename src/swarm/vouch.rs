//! What the publisher of a repository vouches for beside its record: the chunk lists of its files.
//!
//! A large file's id is the hash of the whole, so that a part of its chunk list cannot be held
//! against it. Who has the whole file has proven the list, and of all who have it the publisher is
//! the one that a reader has to believe anyway. It signs what it tells, page by page; whoever
//! brings a page brings the signature too, and without it nothing is believed, from nobody.
//!
//! ```text
//! signature  ed25519 over "mega-page-sig/1:" and: file 32, length of the file u64, offset of the
//!            first chunk u64, then of each chunk its id 32 and length u32
//! ```
//!
//! Numbers are big-endian. It says "this file has these chunks here", which is so wherever the file
//! is. Neither repository nor time is in it: who gets hold of one learns that its publisher has the
//! file, not where.

use libp2p::PeerId;
use mega_storage::{ChunkSpan, FileId, ManifestPage, PageSignature};
use sha2::{Digest, Sha256};

use super::identity::{Identity, verify};

const DOMAIN: &[u8] = b"mega-page-sig/1:";
/// Bytes before the chunks.
const FRONT_LEN: usize = 48;
/// Bytes of a chunk.
const CHUNK_LEN: usize = 36;

fn statement(file: &FileId, file_len: u64, spans: &[ChunkSpan]) -> Vec<u8> {
    let first = spans.first().map_or(file_len, |span| span.offset);
    let mut said = Vec::with_capacity(FRONT_LEN + spans.len() * CHUNK_LEN);
    said.extend_from_slice(file.as_bytes());
    said.extend_from_slice(&file_len.to_be_bytes());
    said.extend_from_slice(&first.to_be_bytes());
    for span in spans {
        said.extend_from_slice(span.chunk.id.as_bytes());
        said.extend_from_slice(&span.chunk.len.to_be_bytes());
    }
    said
}

/// Signs a page of a file that is here whole, in place of what was signed before.
pub fn sign(identity: &Identity, file: &FileId, page: &mut ManifestPage) {
    let parts = page.spans.chunks(mega_storage::SIGNED_CHUNKS);
    let sign = |spans| identity.sign(DOMAIN, &statement(file, page.len, spans));
    page.signatures = parts.map(|spans| PageSignature::from_bytes(sign(spans))).collect();
}

/// How many signatures of a page are `publisher`'s, up to the first that is not.
pub fn signed_count(publisher: &PeerId, file: &FileId, page: &ManifestPage) -> usize {
    let is_good = |(spans, signature): &(&[ChunkSpan], PageSignature)| {
        let said = statement(file, page.len, spans);
        verify(publisher, DOMAIN, &said, signature.as_bytes()) == Some(true)
    };
    page.signed().take_while(is_good).count()
}

/// Whether every chunk of a page is signed by `publisher`. That a file is empty needs no signature:
/// its id says so.
pub fn is_vouched_for(publisher: &PeerId, file: &FileId, page: &ManifestPage) -> bool {
    let is_all = page.is_signed() && signed_count(publisher, file, page) == page.signatures.len();
    let is_empty = file.as_bytes()[..] == Sha256::digest(b"")[..];
    is_all && page.spans.is_empty() == is_empty && is_empty == (page.len == 0)
}

#[cfg(test)]
mod tests {
    use mega_storage::{ChunkId, ChunkRef, SIGNED_CHUNKS};

    use super::*;

    fn page(count: u32) -> ManifestPage {
        let span = |n: u32| ChunkSpan {
            chunk: ChunkRef { id: ChunkId::from_bytes([n as u8; 32]), len: 100 + n },
            offset: 50 + (0..n).map(|n| u64::from(100 + n)).sum::<u64>(),
        };
        ManifestPage::unsigned(1 << 30, (0..count).map(span).collect())
    }

    /// One of two pages and a bit, signed; who signed it, and its file.
    fn signed() -> (ManifestPage, PeerId, FileId) {
        let identity = Identity::from_secret([7; 32]);
        let (mut page, file) = (page(2 * SIGNED_CHUNKS as u32 + 3), FileId::from_bytes([9; 32]));
        sign(&identity, &file, &mut page);
        (page, identity.peer_id(), file)
    }

    #[test]
    fn what_is_signed_is_what_the_format_says() {
        let (identity, file) = (Identity::from_secret([7; 32]), FileId::from_bytes([9; 32]));
        let mut page = page(1);
        sign(&identity, &file, &mut page);
        let said = [&[9; 32][..], &[0, 0, 0, 0, 0x40, 0, 0, 0], &[0, 0, 0, 0, 0, 0, 0, 50]];
        let said = [&said.concat()[..], &[0; 32], &[0, 0, 0, 100]].concat();
        let signature = identity.sign(b"mega-page-sig/1:", &said);
        assert_eq!(page.signatures, [PageSignature::from_bytes(signature)]);
    }

    #[test]
    fn a_page_is_believed_as_it_was_signed_and_not_with_anything_else() {
        let (good, publisher, file) = signed();
        assert_eq!(good.signatures.len(), 3);
        assert!(is_vouched_for(&publisher, &file, &good));
        let other = Identity::from_secret([8; 32]).peer_id();
        assert!(!is_vouched_for(&other, &file, &good));
        assert!(!is_vouched_for(&publisher, &FileId::from_bytes([8; 32]), &good));
        let mut mutants = Vec::new();
        let mut change = |change: &dyn Fn(&mut ManifestPage)| {
            let mut page = good.clone();
            change(&mut page);
            assert_ne!(page, good);
            mutants.push(page);
        };
        change(&|page| page.len += 1);
        change(&|page| page.spans.swap(0, 1));
        change(&|page| page.spans[1].chunk.id = page.spans[2].chunk.id);
        change(&|page| page.spans[5].chunk.len += 1);
        change(&|page| page.spans.iter_mut().for_each(|span| span.offset += 1));
        change(&|page| page.spans.truncate(SIGNED_CHUNKS));
        change(&|page| page.spans.truncate(page.spans.len() - 1));
        change(&|page| drop(page.spans.drain(..SIGNED_CHUNKS)));
        change(&|page| page.signatures.truncate(2));
        change(&|page| page.signatures.swap(0, 1));
        change(&|page| page.signatures.clear());
        change(&|page| page.signatures.push(page.signatures[0]));
        for (index, bit) in [(0, 0), (1, 300), (2, 511)] {
            change(&|page| {
                let mut bytes = *page.signatures[index].as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                page.signatures[index] = PageSignature::from_bytes(bytes);
            });
        }
        for mutant in &mutants {
            assert!(!is_vouched_for(&publisher, &file, mutant), "{mutant:?}");
        }
    }

    #[test]
    fn what_is_good_before_a_lie_is_counted() {
        let (mut page, publisher, file) = signed();
        page.signatures[1] = page.signatures[0];
        assert_eq!(signed_count(&publisher, &file, &page), 1);
        page.truncate(1);
        assert_eq!(page.spans.len(), SIGNED_CHUNKS);
        assert!(is_vouched_for(&publisher, &file, &page));
    }

    #[test]
    fn only_the_empty_file_is_empty() {
        let (publisher, none) = (Identity::from_secret([7; 32]).peer_id(), page(0));
        let empty = FileId::from_bytes(Sha256::digest(b"").into());
        let of_len = |len| ManifestPage { len, ..none.clone() };
        assert!(is_vouched_for(&publisher, &empty, &of_len(0)));
        assert!(!is_vouched_for(&publisher, &empty, &of_len(1)));
        assert!(!is_vouched_for(&publisher, &FileId::from_bytes([9; 32]), &of_len(0)));
        assert!(!is_vouched_for(&publisher, &FileId::from_bytes([9; 32]), &of_len(1)));
    }
}
