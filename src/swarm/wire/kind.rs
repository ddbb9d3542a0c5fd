//! The types of frames: their numbers, who sends them, how long they may be.

use std::fmt;

use mega_storage::{CHUNK_LEN_MAX, ObjectId, PEER_ID_LEN_MAX, PageSignature, REF_NAME_LEN_MAX};

use super::limits::{
    CHUNK_REF_LEN, CHUNKS_MAX, COUNT_LEN, FILES_MAX, GIT_PROTOCOL_LEN_MAX, HASH_LEN, HAVE_LEN_MAX,
    HEAD_LEN, HEADERS_MAX, OBJECTS_MAX, PAGE_CHUNKS_MAX, PAGES_MAX, PIECE_LEN_MAX, REASON_LEN_MAX,
    RECORD_LEN_MAX, REF_LINE_LEN_MAX, REFS_ASKED_MAX, REFS_PAGE_MAX, REPO_NAME_LEN_MAX,
    REST_LEN_MAX,
};

/// Who sends a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Who opened the stream and wants something.
    Asker,
    /// Who has it.
    Answerer,
}

/// The type of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the table of the room says what each is")]
pub enum Kind {
    Hello,
    Resolve,
    Refs,
    Headers,
    Objects,
    Files,
    Have,
    Manifest,
    Chunks,
    Cancel,
    Open,
    Record,
    RefsPage,
    ObjectHeaders,
    Bytes,
    End,
    FileLens,
    HaveList,
    ManifestPage,
    Chunk,
    Opened,
    NotFound,
    Busy,
    Bye,
}

impl Kind {
    /// Every type, by number.
    pub const ALL: [Self; 24] = [
        Self::Hello,
        Self::Resolve,
        Self::Refs,
        Self::Headers,
        Self::Objects,
        Self::Files,
        Self::Have,
        Self::Manifest,
        Self::Chunks,
        Self::Cancel,
        Self::Open,
        Self::Record,
        Self::RefsPage,
        Self::ObjectHeaders,
        Self::Bytes,
        Self::End,
        Self::FileLens,
        Self::HaveList,
        Self::ManifestPage,
        Self::Chunk,
        Self::Opened,
        Self::NotFound,
        Self::Busy,
        Self::Bye,
    ];

    /// Its number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Hello => 0,
            Self::Resolve => 1,
            Self::Refs => 2,
            Self::Headers => 3,
            Self::Objects => 4,
            Self::Files => 5,
            Self::Have => 6,
            Self::Manifest => 7,
            Self::Chunks => 8,
            Self::Cancel => 9,
            Self::Open => 10,
            Self::Record => 16,
            Self::RefsPage => 17,
            Self::ObjectHeaders => 18,
            Self::Bytes => 19,
            Self::End => 20,
            Self::FileLens => 21,
            Self::HaveList => 22,
            Self::ManifestPage => 23,
            Self::Chunk => 24,
            Self::Opened => 25,
            Self::NotFound => 32,
            Self::Busy => 33,
            Self::Bye => 34,
        }
    }

    /// The inverse of [`Self::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether this side sends it.
    pub const fn is_from(self, side: Side) -> bool {
        match self {
            Self::Hello | Self::Bye => true,
            Self::Resolve
            | Self::Refs
            | Self::Headers
            | Self::Objects
            | Self::Files
            | Self::Have
            | Self::Manifest
            | Self::Chunks
            | Self::Cancel
            | Self::Open => matches!(side, Side::Asker),
            Self::Record
            | Self::RefsPage
            | Self::ObjectHeaders
            | Self::Bytes
            | Self::End
            | Self::FileLens
            | Self::HaveList
            | Self::ManifestPage
            | Self::Chunk
            | Self::Opened
            | Self::NotFound
            | Self::Busy => matches!(side, Side::Answerer),
        }
    }

    /// Longest body, in bytes.
    pub const fn body_len_max(self) -> usize {
        match self {
            Self::Hello => 10,
            Self::Resolve => COUNT_LEN + REPO_NAME_LEN_MAX,
            Self::Refs => {
                let name = COUNT_LEN + REF_NAME_LEN_MAX;
                HASH_LEN + name + COUNT_LEN + REFS_ASKED_MAX * name
            }
            Self::Headers => HASH_LEN + COUNT_LEN + HEADERS_MAX * ObjectId::LEN,
            Self::Objects => HASH_LEN + 16 + COUNT_LEN + OBJECTS_MAX * ObjectId::LEN,
            Self::Files => HASH_LEN + COUNT_LEN + FILES_MAX * HASH_LEN,
            Self::Have => 2 * HASH_LEN,
            Self::Manifest => 2 * HASH_LEN + 8 + COUNT_LEN + PEER_ID_LEN_MAX,
            Self::Chunks => 2 * HASH_LEN + 1 + COUNT_LEN + CHUNKS_MAX * (8 + CHUNK_REF_LEN),
            Self::Cancel | Self::Opened | Self::NotFound => 0,
            Self::Open => 1 + HASH_LEN + COUNT_LEN + GIT_PROTOCOL_LEN_MAX,
            Self::Record => RECORD_LEN_MAX,
            Self::RefsPage => {
                let all = COUNT_LEN + REFS_PAGE_MAX * REF_LINE_LEN_MAX + 1;
                let room = REST_LEN_MAX - HEAD_LEN;
                if all < room { all } else { room }
            }
            Self::ObjectHeaders => COUNT_LEN + HEADERS_MAX * 9,
            Self::Bytes => PIECE_LEN_MAX,
            Self::End => COUNT_LEN + CHUNKS_MAX * 2,
            Self::FileLens => COUNT_LEN + FILES_MAX * 9,
            Self::HaveList => HAVE_LEN_MAX,
            Self::ManifestPage => {
                16 + COUNT_LEN + PAGE_CHUNKS_MAX * CHUNK_REF_LEN + PAGES_MAX * PageSignature::LEN
            }
            Self::Chunk => 7 + CHUNK_LEN_MAX as usize,
            Self::Busy => 4,
            Self::Bye => COUNT_LEN + REASON_LEN_MAX,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
