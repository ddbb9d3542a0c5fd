//! Writes frames. A message over a limit is our own mistake: it is asserted that there is none.

use mega_storage::ChunkRef;

use super::RequestId;
use super::kind::Kind;
use super::limits::{HEAD_LEN, LEN_LEN};

/// Appends a frame whose body is what `body` appends and `tail_len` bytes that the caller adds.
pub(super) fn frame(
    out: &mut Vec<u8>,
    kind: Kind,
    id: RequestId,
    tail_len: usize,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; LEN_LEN]);
    out.push(kind.code());
    out.extend_from_slice(&id.0.to_be_bytes());
    body(out);
    let len = out.len() - start - LEN_LEN + tail_len;
    assert!(len - HEAD_LEN <= kind.body_len_max(), "a frame {kind} of {len} bytes is written");
    let len = u32::try_from(len).expect("asserted: at most a mebibyte");
    if let Some(place) = out.get_mut(start..start + LEN_LEN) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

/// Appends the length of `bytes`, then these.
pub(super) fn counted(out: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    count(out, bytes.len(), limit);
    out.extend_from_slice(bytes);
}

/// Appends a length or count.
pub(super) fn count(out: &mut Vec<u8>, count: usize, limit: usize) {
    assert!(count <= limit, "{count} of what may be {limit} are written");
    let count = u16::try_from(count).expect("every limit is below 65,536");
    out.extend_from_slice(&count.to_be_bytes());
}

/// Appends how many items there are, then each.
pub(super) fn list<T>(
    out: &mut Vec<u8>,
    items: &[T],
    limit: usize,
    mut item: impl FnMut(&mut Vec<u8>, &T),
) {
    count(out, items.len(), limit);
    items.iter().for_each(|one| item(out, one));
}

/// Appends a chunk's id and length.
pub(super) fn chunk(out: &mut Vec<u8>, chunk: &ChunkRef) {
    out.extend_from_slice(chunk.id.as_bytes());
    out.extend_from_slice(&chunk.len.to_be_bytes());
}
