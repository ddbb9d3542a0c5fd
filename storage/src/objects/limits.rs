//! Every limit on what a pack can make the store do, in one place.

/// Longest pack that is taken, in bytes.
const PACK_LEN_MAX: u64 = 64 << 30;
/// Most entries of a pack: each takes some 250 bytes of memory while the pack is taken in, but as
/// few as nine in the pack. The largest public repositories have 20 million.
const ENTRY_COUNT_MAX: u64 = 40_000_000;
/// Longest object, inflated, in bytes: it is held in memory once while it is hashed, as git does.
const OBJECT_LEN_MAX: u64 = 2 << 30;
/// An object of up to this length is never called a bomb, whatever the pack's length.
const OBJECT_LEN_SAFE: u64 = 64 << 20;
/// Objects of up to this length together are never called a bomb.
const INFLATED_LEN_SAFE: u64 = 4 << 30;
/// Bytes that may come from one byte of a pack. Deflate alone yields up to 1,032; deltas multiply
/// that, and real histories stay below 200 on the whole.
const EXPANSION_MAX: u64 = 2_000;

/// Deepest chain of deltas that is written. Deeper input is accepted and stored whole at the cap.
/// Git writes at most 50 by default and 4,095 on request; a read resolves the whole chain, so it
/// bounds the work of one read.
pub(crate) const DEPTH_MAX: u8 = 250;

/// Most levels of trees below each other, the root's counted: what git takes by default
/// (`core.maxTreeDepth`). A repository with more could be pushed to and never cloned.
pub(crate) const TREE_DEPTH_MAX: u16 = 2_048;
/// Trees with fewer levels within a pack are not followed into the repository to see how deep they
/// are there.
pub(crate) const TREE_DEPTH_TRUSTED: u16 = 64;
/// Most different objects that a pack's objects may name beside those in the pack: each takes some
/// 50 bytes of memory. A commit that rewrites every directory of the largest public monorepos names
/// a million.
pub(crate) const LINKS_OUTSIDE_MAX: u64 = 8_000_000;

/// Deflate streams over this length are cut into parts of this length, in bytes.
pub(crate) const PART_LEN: usize = 1 << 20;

/// Most problems that a report lists; the rest is counted.
pub(crate) const PROBLEMS_MAX: usize = 1_000;

/// What a pack may ask for. The default suits a server; tests lower it.
#[derive(Clone, Copy, Debug)]
pub struct PackLimits {
    /// Longest pack, in bytes.
    pub pack_len_max: u64,
    /// Most entries of a pack.
    pub entry_count_max: u64,
    /// Longest object, inflated, in bytes.
    pub object_len_max: u64,
    /// Objects up to this length are accepted from a pack of any length, in bytes.
    pub object_len_safe: u64,
    /// All objects together up to this length are accepted from a pack of any length, in bytes.
    pub inflated_len_safe: u64,
    /// Above the safe lengths, bytes that may come from one byte of the pack.
    pub expansion_max: u64,
}

impl Default for PackLimits {
    fn default() -> Self {
        Self {
            pack_len_max: PACK_LEN_MAX,
            entry_count_max: ENTRY_COUNT_MAX,
            object_len_max: OBJECT_LEN_MAX,
            object_len_safe: OBJECT_LEN_SAFE,
            inflated_len_safe: INFLATED_LEN_SAFE,
            expansion_max: EXPANSION_MAX,
        }
    }
}

impl PackLimits {
    /// Longest object that a pack of `pack_len` bytes may hold, in bytes. `base_len` is that of the
    /// longest base from outside the pack: it is stored already, so only what a delta adds to it is
    /// asked for.
    pub(crate) fn object_len(&self, pack_len: u64, base_len: u64) -> u64 {
        let by_pack = pack_len.saturating_mul(self.expansion_max).max(self.object_len_safe);
        by_pack.saturating_add(base_len).min(self.object_len_max)
    }

    /// Bytes that all objects of a pack of `pack_len` bytes may inflate to.
    pub(crate) fn inflated_len(&self, pack_len: u64) -> u64 {
        pack_len.saturating_mul(self.expansion_max).max(self.inflated_len_safe)
    }
}
