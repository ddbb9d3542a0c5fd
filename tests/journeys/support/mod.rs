//! What the journeys share: a world to work in, repositories to import, a server to download from.

pub mod cgi;
pub mod client;
pub mod large;
pub mod lfs_server;
pub mod pack;
pub mod proxy;
pub mod raw;
pub mod registry;
pub mod repos;
pub mod server;
pub mod world;

pub use world::World;

/// Numbers that look random and are the same in every run (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Like the weights of a model in bf16: random low bytes, few different high bytes.
    pub fn weights(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = self.bytes(len);
        for pair in bytes.chunks_exact_mut(2) {
            let sign = pair[1] & 0x80;
            pair[1] = sign | (0x3a + pair[1].count_ones() as u8 / 2);
        }
        bytes
    }
}
