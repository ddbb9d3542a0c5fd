//! Content-defined pieces of large files: where they are cut, and how their bytes are kept small.
//! No database.

pub(crate) mod chunker;
pub(crate) mod codec;
pub(crate) mod cutter;
mod planes;
mod sample;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use chunker::CHUNK_LEN_MAX;
pub(crate) use chunker::CHUNKER_ID;
pub(crate) use codec::CODEC_VERSION;
