//! A chain of deltas applied at once: each byte of the result is copied once, whatever the chain's
//! depth.
//!
//! Applying one delta after the other materialises every version between the base and the result.
//! Here the last delta's copies are mapped, level by level, onto the pieces of the delta below,
//! until all pieces are of the base or of some delta's own bytes. The work is that of the
//! instructions; a chain made so that pieces multiply beyond [`PIECES_PER_BYTE`], or are more than
//! [`PIECES_HELD`], falls back to one delta after the other.

use std::cell::RefCell;

use super::delta::{self, Instruction};

/// A result of `len` bytes may have `len / PIECES_PER_BYTE` pieces, and [`PIECES_SAFE`] more.
const PIECES_PER_BYTE: usize = 16;
const PIECES_SAFE: usize = 4_096;
/// Pieces of a whole chain held at once, 10 MiB of them in each thread. A chain of usual deltas has
/// some 25 thousand at the most; one of single-byte inserts, which deflate shrinks a thousandfold,
/// would take 40 bytes for each byte of every version.
const PIECES_HELD: usize = 1 << 18;

/// A run of bytes of one version. Small: a chain has many thousands.
#[derive(Clone, Copy)]
struct Piece {
    /// Where the run starts in its version.
    start: u32,
    len: u32,
    from: From,
}

#[derive(Clone, Copy)]
struct From {
    /// [`BELOW`], or the index of the delta whose own bytes these are.
    source: u32,
    offset: u32,
}

/// The version below.
const BELOW: u32 = u32::MAX;

impl Piece {
    fn end(&self) -> u32 {
        self.start + self.len
    }
}

#[derive(Default)]
struct Scratch {
    /// Pieces of all versions, one after the other; where each version's begin.
    pieces: Vec<Piece>,
    starts: Vec<usize>,
    above: Vec<Piece>,
    mapped: Vec<Piece>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Applies `deltas` to `base`, the first one first; the result must have exactly `len` bytes.
pub(crate) fn compose<D: AsRef<[u8]>>(
    base: &[u8],
    deltas: &[D],
    len: u64,
) -> Result<Vec<u8>, &'static str> {
    if let [only] = deltas {
        return delta::apply(base, only.as_ref(), len);
    }
    let len = usize::try_from(len).map_err(|_| "it does not fit into memory")?;
    SCRATCH.with_borrow_mut(|scratch| {
        if !scratch.parse(base.len(), deltas)? {
            return one_by_one(base, deltas, len);
        }
        if scratch.above.last().map_or(0, Piece::end) as usize != len {
            return Err("its delta has another length than its row");
        }
        if scratch.map_down(deltas.len(), len) {
            scratch.write(base, deltas, len)
        } else {
            one_by_one(base, deltas, len)
        }
    })
}

fn one_by_one<D: AsRef<[u8]>>(
    base: &[u8],
    deltas: &[D],
    len: usize,
) -> Result<Vec<u8>, &'static str> {
    let mut data = base.to_vec();
    for instructions in deltas {
        let (_, len, _) = delta::lengths(instructions.as_ref())?;
        data = delta::apply(&data, instructions.as_ref(), len)?;
    }
    if data.len() != len {
        return Err("its delta has another length than its row");
    }
    Ok(data)
}

impl Scratch {
    /// Parses every delta and checks that each fits the version below. The last one's pieces end up
    /// in `above`. `false` when there are too many pieces.
    fn parse<D: AsRef<[u8]>>(
        &mut self,
        base_len: usize,
        deltas: &[D],
    ) -> Result<bool, &'static str> {
        self.pieces.clear();
        self.starts.clear();
        self.above.clear();
        let mut below_len = base_len;
        for (index, instructions) in deltas.iter().enumerate() {
            self.starts.push(self.pieces.len());
            let (base_len, len, mut rest) = delta::lengths(instructions.as_ref())?;
            if base_len != below_len as u64 {
                return Err("its delta was made for another base");
            }
            let mut start = 0u32;
            let all = instructions.as_ref().len();
            if all.max(below_len) > u32::MAX as usize {
                return Ok(false);
            }
            while !rest.is_empty() {
                let (from, len) = match delta::take_instruction(&mut rest)? {
                    Instruction::Copy { offset, len } if offset + len <= below_len => {
                        (From { source: BELOW, offset: offset as u32 }, len as u32)
                    }
                    Instruction::Copy { .. } => {
                        return Err("its delta copies from outside its base");
                    }
                    Instruction::Insert(bytes) => {
                        let offset = (all - rest.len() - bytes.len()) as u32;
                        (From { source: index as u32, offset }, bytes.len() as u32)
                    }
                };
                if self.pieces.len() == PIECES_HELD {
                    return Ok(false);
                }
                self.pieces.push(Piece { start, len, from });
                match start.checked_add(len) {
                    Some(end) => start = end,
                    None => return Ok(false),
                }
            }
            if u64::from(start) != len {
                return Err("its delta yields another length than announced");
            }
            below_len = start as usize;
        }
        let last = self.starts.last().copied().unwrap_or_default();
        self.above.extend(self.pieces.drain(last..));
        Ok(true)
    }

    /// Maps `above` down to the base. `false` when the pieces become too many.
    fn map_down(&mut self, delta_count: usize, len: usize) -> bool {
        let pieces_max = (len / PIECES_PER_BYTE + PIECES_SAFE).min(PIECES_HELD);
        for index in (0..delta_count - 1).rev() {
            let start = self.starts[index];
            let below = &self.pieces[start..];
            self.mapped.clear();
            let mut at = 0;
            for piece in &self.above {
                match piece.from.source {
                    BELOW => at = map(piece, below, at, &mut self.mapped),
                    _ => self.mapped.push(*piece),
                }
                if self.mapped.len() > pieces_max {
                    return false;
                }
            }
            std::mem::swap(&mut self.above, &mut self.mapped);
            self.pieces.truncate(start);
        }
        true
    }

    fn write<D: AsRef<[u8]>>(
        &self,
        base: &[u8],
        deltas: &[D],
        len: usize,
    ) -> Result<Vec<u8>, &'static str> {
        let mut out = Vec::new();
        out.try_reserve_exact(len).map_err(|_| "it does not fit into memory")?;
        for piece in &self.above {
            let source = match piece.from.source {
                BELOW => base,
                index => deltas.get(index as usize).ok_or("its delta is cut off")?.as_ref(),
            };
            let offset = piece.from.offset as usize;
            let bytes = source.get(offset..offset + piece.len as usize);
            out.extend_from_slice(bytes.ok_or("its delta copies from outside its base")?);
        }
        Ok(out)
    }
}

/// Replaces a copy of the version below by the pieces of it that it covers. They are looked for at
/// `at` first, where the copy before ended: most go on from there. Returns where this one ended.
fn map(piece: &Piece, below: &[Piece], at: usize, mapped: &mut Vec<Piece>) -> usize {
    let offset = piece.from.offset;
    let is_at = |lower: &&Piece| lower.start <= offset && offset < lower.end();
    let mut at = match below.get(at).filter(is_at) {
        Some(_) => at,
        None => below.partition_point(|lower| lower.end() <= offset),
    };
    let mut done = 0;
    while done < piece.len
        && let Some(lower) = below.get(at)
    {
        let skip = offset + done - lower.start;
        let len = (lower.len - skip).min(piece.len - done);
        let from = From { offset: lower.from.offset + skip, ..lower.from };
        mapped.push(Piece { start: piece.start + done, len, from });
        done += len;
        if skip + len == lower.len {
            at += 1;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::put_varint;

    #[derive(Clone, Debug)]
    enum Step {
        Copy(u16, u16),
        Insert(Vec<u8>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Step::Copy(a, b)),
            proptest::collection::vec(any::<u8>(), 1..20).prop_map(Step::Insert),
        ];
        proptest::collection::vec(step, 0..12)
    }

    /// Instructions that do what `steps` say against `base`, and their result.
    fn encode(base: &[u8], steps: &[Step]) -> (Vec<u8>, Vec<u8>) {
        let (mut body, mut result) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Copy(offset, len) if !base.is_empty() => {
                    let offset = usize::from(*offset) % base.len();
                    let len = 1 + usize::from(*len) % (base.len() - offset);
                    body.extend([0xb3, offset as u8, (offset >> 8) as u8]);
                    body.extend([len as u8, (len >> 8) as u8]);
                    result.extend_from_slice(&base[offset..offset + len]);
                }
                Step::Copy(..) => {}
                Step::Insert(bytes) => {
                    body.push(bytes.len() as u8);
                    body.extend_from_slice(bytes);
                    result.extend_from_slice(bytes);
                }
            }
        }
        result.truncate(60_000);
        let mut delta = Vec::new();
        put_varint(&mut delta, base.len() as u64);
        put_varint(&mut delta, result.len() as u64);
        delta.extend(body);
        (delta, result)
    }

    proptest! {
        #[test]
        fn equals_one_delta_after_the_other(
            base in proptest::collection::vec(any::<u8>(), 0..300),
            chain in proptest::collection::vec(steps(), 1..12),
        ) {
            let mut deltas = Vec::new();
            let mut version = base.clone();
            for steps in &chain {
                let (delta, result) = encode(&version, steps);
                if result.len() > 20_000 {
                    break;
                }
                deltas.push(delta);
                version = result;
            }
            prop_assume!(!deltas.is_empty());
            prop_assert_eq!(compose(&base, &deltas, version.len() as u64), Ok(version.clone()));
            prop_assert!(compose(&base, &deltas, version.len() as u64 + 1).is_err());
        }

        #[test]
        fn hostile_bytes_never_panic(
            base in proptest::collection::vec(any::<u8>(), 0..100),
            deltas in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..60), 1..5,
            ),
            len in 0u64..200,
        ) {
            let _ = compose(&base, &deltas, len);
        }
    }

    #[test]
    fn pieces_that_multiply_fall_back() {
        // Each level interleaves single bytes of the one below.
        let base: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        let mut deltas = Vec::new();
        let mut version = base.clone();
        for _ in 0..3 {
            let mut delta = Vec::new();
            put_varint(&mut delta, version.len() as u64);
            put_varint(&mut delta, version.len() as u64);
            let mut next = Vec::new();
            for index in 0..version.len() {
                let offset = (index * 7_919) % version.len();
                delta.extend([0x93, offset as u8, (offset >> 8) as u8, 1]);
                next.push(version[offset]);
            }
            deltas.push(delta);
            version = next;
        }
        assert_eq!(compose(&base, &deltas, 20_000), Ok(version));
    }

    #[test]
    fn pieces_without_number_take_bounded_memory() {
        let len = 1usize << 17;
        let version = |n: u8| vec![n; len];
        let delta = |n: u8| {
            let mut delta = Vec::new();
            put_varint(&mut delta, len as u64);
            put_varint(&mut delta, len as u64);
            (0..len).for_each(|_| delta.extend([1, n]));
            delta
        };
        let deltas: Vec<_> = (1..=20).map(delta).collect();
        assert_eq!(compose(&version(0), &deltas, len as u64), Ok(version(20)));
        assert!(compose(&version(0), &deltas, len as u64 + 1).is_err());
        SCRATCH.with_borrow(|s| {
            for held in [&s.pieces, &s.above, &s.mapped] {
                assert!(held.capacity() <= 2 * PIECES_HELD, "{}", held.capacity());
            }
        });
    }
}
