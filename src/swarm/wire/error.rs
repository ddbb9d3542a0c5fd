//! What a peer can send that breaks the protocol: one variant a rule.

use super::kind::Kind;

/// A rule that was broken. The connection ends, and the peer is left alone for a while.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// A frame that has no room for its own head.
    #[error("a frame announces {len} bytes, fewer than any frame has")]
    Undersize {
        /// What it announces.
        len: u32,
    },
    /// A frame longer than any of its type.
    #[error("a frame {kind} announces {len} bytes, over the limit of {limit}")]
    Oversize {
        /// Its type.
        kind: Kind,
        /// What it announces.
        len: u32,
        /// The limit for this type.
        limit: usize,
    },
    /// A type that version 1 does not have.
    #[error("there is no frame of type {code}")]
    UnknownType {
        /// The type's number.
        code: u8,
    },
    /// A message that only the other side sends, or that does not belong at this point.
    #[error("a frame {kind} does not belong there")]
    Misplaced {
        /// Its type.
        kind: Kind,
    },
    /// The peer speaks a version that is not known here. It may be told so.
    #[error("version {found} of the exchange protocol is not known here")]
    Version {
        /// What it speaks.
        found: u16,
    },
    /// A message that ends before it is complete.
    #[error("a frame {kind} ends early")]
    Truncated {
        /// Its type.
        kind: Kind,
    },
    /// Bytes after the end of a message.
    #[error("{count} bytes follow the end of a frame {kind}")]
    Trailing {
        /// Its type.
        kind: Kind,
        /// How many.
        count: usize,
    },
    /// More of something than a message may have.
    #[error("a frame {kind} has {actual} {what}, over the limit of {limit}")]
    Limit {
        /// Its type.
        kind: Kind,
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What it has.
        actual: usize,
    },
    /// A value that cannot be.
    #[error("a frame {kind} makes no sense: {reason}")]
    Malformed {
        /// Its type.
        kind: Kind,
        /// What is wrong.
        reason: &'static str,
    },
    /// An answer that is not one to what was asked.
    #[error("a frame {kind} is no answer to what was asked: {reason}")]
    NoAnswer {
        /// Its type.
        kind: Kind,
        /// What is wrong.
        reason: &'static str,
    },
    /// More open requests than a stream may have.
    #[error("more than {limit} requests are open on one stream")]
    TooManyRequests {
        /// The limit.
        limit: usize,
    },
}
