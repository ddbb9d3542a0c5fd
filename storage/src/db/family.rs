//! The column families and how each is laid out on the disk. Their rows are described in
//! `storage/README.md`.

use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, Options};

/// A column family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    Object,
    ObjectPart,
    ObjectPointer,
    RepoObject,
    Chunk,
    ChunkMeta,
    File,
    FileSegment,
    ChunkFile,
    RepoFile,
    FileRepo,
    Ref,
    Repo,
    Store,
    Lease,
    Outbox,
    Event,
    Partial,
    Swarm,
    Gone,
}

impl Family {
    /// Every family, in no particular order.
    pub(crate) const ALL: [Self; 20] = [
        Self::Object,
        Self::ObjectPart,
        Self::ObjectPointer,
        Self::RepoObject,
        Self::Chunk,
        Self::ChunkMeta,
        Self::File,
        Self::FileSegment,
        Self::ChunkFile,
        Self::RepoFile,
        Self::FileRepo,
        Self::Ref,
        Self::Repo,
        Self::Store,
        Self::Lease,
        Self::Outbox,
        Self::Event,
        Self::Partial,
        Self::Swarm,
        Self::Gone,
    ];

    /// The name on the disk.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::ObjectPart => "object_part",
            Self::ObjectPointer => "object_pointer",
            Self::RepoObject => "repo_object",
            Self::Chunk => "chunk",
            Self::ChunkMeta => "chunk_meta",
            Self::File => "file",
            Self::FileSegment => "file_segment",
            Self::ChunkFile => "chunk_file",
            Self::RepoFile => "repo_file",
            Self::FileRepo => "file_repo",
            Self::Ref => "ref",
            Self::Repo => "repo",
            Self::Store => "store",
            Self::Lease => "lease",
            Self::Outbox => "outbox",
            Self::Event => "event",
            Self::Partial => "partial",
            Self::Swarm => "swarm",
            Self::Gone => "gone",
        }
    }

    /// Whether large values live in files of their own.
    pub(super) const fn has_value_files(self) -> bool {
        matches!(self, Self::ObjectPart | Self::Chunk)
    }

    /// Whether a row in it means that something came. The others tell of what is there, and have to
    /// be written even to remove it.
    pub(super) const fn has_content(self) -> bool {
        match self {
            Self::Object
            | Self::ObjectPart
            | Self::ObjectPointer
            | Self::RepoObject
            | Self::Chunk
            | Self::ChunkMeta
            | Self::File
            | Self::FileSegment
            | Self::ChunkFile
            | Self::RepoFile
            | Self::FileRepo
            | Self::Ref
            | Self::Partial => true,
            Self::Repo
            | Self::Store
            | Self::Lease
            | Self::Outbox
            | Self::Event
            | Self::Swarm
            | Self::Gone => false,
        }
    }

    /// RocksDB's options for the family, made from `plain`: each set made by itself would come with
    /// a block cache that is thrown away again.
    pub(super) fn options(self, plain: &Options, cache: &Cache) -> Options {
        let mut options = plain.clone();
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(cache);
        // Rows that are looked for by the front of their key alone have no use for filters.
        if !matches!(self, Self::ChunkFile | Self::FileRepo) {
            table.set_bloom_filter(10.0, false);
        }
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(6);
        // One pack is one file, and its index and filter grow with it. In pieces they stay in the
        // cache; whole ones of over a megabyte do not fit into a part of it, and would be read from
        // the disk for every lookup.
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_metadata_block_size(4 << 10);
        table.set_pin_top_level_index_and_filter(true);
        options.set_compression_type(DBCompressionType::Zstd);
        options.set_level_compaction_dynamic_level_bytes(true);
        match self {
            // Values are deflate streams: compressing them again costs time and gains nothing.
            Self::Object => {
                options.set_compression_type(DBCompressionType::None);
                table.set_block_size(8 << 10);
                options.set_write_buffer_size(16 << 20);
            }
            // Keys and a seven-byte tail: most of a block is the shared repository prefix.
            Self::RepoObject => {
                table.set_block_size(16 << 10);
                options.set_write_buffer_size(4 << 20);
            }
            Self::ObjectPart => value_files(&mut options, 4 << 20),
            Self::Chunk => value_files(&mut options, 32 << 20),
            // Hashes: there is nothing to compress.
            Self::ChunkMeta | Self::FileSegment | Self::ChunkFile => {
                options.set_compression_type(DBCompressionType::None);
                options.set_write_buffer_size(4 << 20);
            }
            Self::ObjectPointer
            | Self::File
            | Self::RepoFile
            | Self::FileRepo
            | Self::Ref
            | Self::Repo
            | Self::Store
            | Self::Lease
            | Self::Outbox
            | Self::Event
            | Self::Partial
            | Self::Swarm
            | Self::Gone => options.set_write_buffer_size(1 << 20),
        }
        options.set_block_based_table_factory(&table);
        options
    }
}

/// Large values live in files of their own, which compaction of the keys does not rewrite.
///
/// Garbage collection of those files is off but in [`super::Db::compact`]: with the age cutoff of
/// 1.0 that returns all deleted space, every compaction that a write sets off would copy every
/// value it meets (measured: 1 GiB taken in wrote 2.6 GiB more). Each flush starts a file, so the
/// write buffer bounds their number: 32 thousand for 1 TiB.
fn value_files(options: &mut Options, write_buffer_len: usize) {
    options.set_compression_type(DBCompressionType::None);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(4 << 10);
    options.set_blob_file_size(64 << 20);
    options.set_blob_compression_type(DBCompressionType::None);
    options.set_enable_blob_gc(false);
    options.set_blob_gc_age_cutoff(1.0);
    options.set_blob_gc_force_threshold(0.3);
    options.set_write_buffer_size(write_buffer_len);
    options.set_max_write_buffer_number(3);
}
