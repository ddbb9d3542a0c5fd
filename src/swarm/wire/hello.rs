//! The first frame of each side.

use super::RequestId;
use super::error::WireError;
use super::frame::Frame;
use super::kind::Kind;
use super::limits::{IN_FLIGHT_LEN_MAX, IN_FLIGHT_LEN_MIN, VERSION};
use super::read::Reader;
use super::write;

/// What a side says of itself. Its version is [`VERSION`]: no other is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// What it can do beyond version 1. Nothing is known yet; unknown bits mean nothing.
    pub features: u32,
    /// Bytes of chunks that it lets a peer have asked for at a time.
    pub max_inflight: u32,
}

impl Default for Hello {
    fn default() -> Self {
        Self { features: 0, max_inflight: IN_FLIGHT_LEN_MAX }
    }
}

impl Hello {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write::frame(out, Kind::Hello, RequestId::NONE, 0, |out| {
            out.extend_from_slice(&VERSION.to_be_bytes());
            out.extend_from_slice(&self.features.to_be_bytes());
            out.extend_from_slice(&self.max_inflight.to_be_bytes());
        });
    }

    /// Reads the first frame.
    ///
    /// # Errors
    /// [`WireError::Version`] for one that speaks another version, [`WireError::Misplaced`] for a
    /// frame that is no HELLO, and the others of a malformed one.
    pub fn decode(frame: &Frame) -> Result<Self, WireError> {
        let kind = frame.kind;
        if kind != Kind::Hello {
            return Err(WireError::Misplaced { kind });
        }
        let mut body = Reader::new(kind, &frame.body);
        let found = body.u16()?;
        if found != VERSION {
            // What else a later version says is its own matter.
            return Err(WireError::Version { found });
        }
        if frame.id != RequestId::NONE {
            return Err(body.malformed("it has a request's id"));
        }
        let hello = Self { features: body.u32()?, max_inflight: body.u32()? };
        if hello.max_inflight < IN_FLIGHT_LEN_MIN {
            return Err(body.malformed("not even one chunk may be asked for"));
        }
        body.finish().map(|()| hello)
    }
}
