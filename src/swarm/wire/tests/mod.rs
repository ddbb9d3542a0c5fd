//! The codec: what is written reads the same, and whatever else comes is refused by name.

mod answers;
mod golden;
mod hostile;
mod round_trip;

use bytes::Bytes;

use super::*;

/// The one frame in these bytes.
fn frame_in(from: Side, bytes: &[u8]) -> Result<Frame, WireError> {
    let (mut frames, mut input) = (Frames::new(from), bytes);
    let frame = frames.next(&mut input)?.expect("a whole frame");
    assert!(input.is_empty() && frames.is_between());
    Ok(frame)
}

fn request_in(bytes: &[u8]) -> Result<Request, WireError> {
    Request::decode(&frame_in(Side::Asker, bytes)?)
}

fn reply_in(bytes: &[u8]) -> Result<Reply, WireError> {
    Reply::decode(&frame_in(Side::Answerer, bytes)?)
}

/// A frame of any bytes.
fn raw(kind: Kind, id: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + limits::HEAD_LEN).expect("short");
    [&len.to_be_bytes()[..], &[kind.code()], &id.to_be_bytes(), body].concat()
}

fn encoded(request: &Request, id: u32) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(RequestId(id), &mut out);
    out
}

fn encoded_reply(reply: &Reply, id: u32) -> Vec<u8> {
    let mut out = Vec::new();
    reply.encode(RequestId(id), &mut out);
    out
}

fn key(byte: u8) -> RepoKey {
    RepoKey::from_bytes([byte; 32])
}
