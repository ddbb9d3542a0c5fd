//! Files of the simulator: only their chunks' places, no bytes.

use mega_storage::{ChunkId, ChunkRef, ChunkSpan};

use crate::swarm::schedule::have::Have;
use crate::swarm::schedule::random::{Random, mix};

/// Granule of have-lists as bits: an even file's chunk.
const EVEN_SHIFT: u8 = 16;

/// A file cut into chunks.
#[derive(Debug)]
pub struct FileShape {
    pub spans: Vec<ChunkSpan>,
    pub len: u64,
    is_even: bool,
}

impl FileShape {
    /// `count` chunks of 64 KiB.
    pub fn even(number: u32, count: u32) -> Self {
        let len = 1u32 << EVEN_SHIFT;
        let spans = (0..count).map(|index| span(number, index, u64::from(index * len), len));
        Self { spans: spans.collect(), len: u64::from(count * len), is_even: true }
    }

    /// About `len` bytes cut as content is: chunks of 16 to 256 KiB, 64 KiB on average.
    pub fn cut(seed: u64, number: u32, len: u64) -> Self {
        let mut random = Random::new(seed);
        let (mut spans, mut offset) = (Vec::new(), 0);
        while offset < len {
            let most = if random.below(16) == 0 { 240 << 10 } else { 84 << 10 };
            let chunk_len = (16u64 << 10) + random.below(most) + 1;
            let chunk_len = u32::try_from(chunk_len).expect("under 256 KiB");
            let index = u32::try_from(spans.len()).expect("few chunks");
            spans.push(span(number, index, offset, chunk_len));
            offset += u64::from(chunk_len);
        }
        Self { spans, len: offset, is_even: false }
    }

    /// The index of the chunk that begins at `offset`.
    pub fn index_at(&self, offset: u64) -> u32 {
        let index = self.spans.partition_point(|span| span.offset < offset);
        u32::try_from(index).expect("few chunks")
    }

    /// What the holder of the chunks says that it has.
    pub fn have(&self, has: &[bool]) -> Have {
        let count = has.iter().filter(|has| **has).count();
        if count == 0 {
            return Have::None;
        } else if count == has.len() {
            return Have::All;
        } else if self.is_even {
            let mut bytes = vec![0u8; has.len().div_ceil(8)];
            for (index, _) in has.iter().enumerate().filter(|(_, has)| **has) {
                bytes[index / 8] |= 1 << (index % 8);
            }
            return Have::Bits { shift: EVEN_SHIFT, bytes };
        }
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (span, _) in self.spans.iter().zip(has).filter(|(_, has)| **has) {
            let len = u64::from(span.chunk.len);
            match runs.last_mut() {
                Some(last) if last.0 + last.1 == span.offset => last.1 += len,
                _ => runs.push((span.offset, len)),
            }
        }
        Have::Runs(runs)
    }
}

fn span(number: u32, index: u32, offset: u64, len: u32) -> ChunkSpan {
    let mut bytes = [0u8; 32];
    bytes[..4].copy_from_slice(&index.to_be_bytes());
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    let rest = mix(u64::from(index) << 32 | u64::from(number));
    bytes[8..16].copy_from_slice(&rest.to_be_bytes());
    ChunkSpan { chunk: ChunkRef { id: ChunkId::from_bytes(bytes), len }, offset }
}

/// The index and the file's number that [`span`] put into an id.
pub fn place_of(chunk: &ChunkRef) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h, ..] = *chunk.id.as_bytes();
    (u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([a, b, c, d]))
}
