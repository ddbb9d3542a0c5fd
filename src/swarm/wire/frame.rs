//! Frames out of a stream of bytes, however it is cut.

use bytes::{Bytes, BytesMut};

use super::RequestId;
use super::error::WireError;
use super::kind::{Kind, Side};
use super::limits::{HEAD_LEN, LEN_LEN};

/// Bytes before a frame's body.
const FRONT_LEN: usize = LEN_LEN + HEAD_LEN;
/// Bytes by which a frame is judged: its length and type.
const JUDGED_LEN: usize = LEN_LEN + 1;

/// One message, not understood yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The request that it is, or belongs to.
    pub id: RequestId,
    /// The rest.
    pub body: Bytes,
}

/// Splits what one side sends into frames. Holds at most one frame.
pub struct Frames {
    from: Side,
    front: [u8; FRONT_LEN],
    front_len: usize,
    /// Once the front has been judged: the type and the length of the body.
    judged: Option<(Kind, usize)>,
    body: BytesMut,
    broken: Option<WireError>,
}

impl Frames {
    /// For what `from` sends.
    pub fn new(from: Side) -> Self {
        let (front, body) = ([0; FRONT_LEN], BytesMut::new());
        Self { from, front, front_len: 0, judged: None, body, broken: None }
    }

    /// Takes bytes off the front of `input` up to the end of a frame, and returns that; `None` when
    /// all were taken and more are needed.
    ///
    /// # Errors
    /// [`WireError::Undersize`], [`WireError::Oversize`], [`WireError::UnknownType`],
    /// [`WireError::Misplaced`]; the same for ever after.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, WireError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        if self.front_len < JUDGED_LEN {
            self.fill_front(JUDGED_LEN, input);
            if self.front_len < JUDGED_LEN {
                return Ok(None);
            }
            match self.judge() {
                Ok(judged) => self.judged = Some(judged),
                Err(error) => {
                    self.broken = Some(error.clone());
                    return Err(error);
                }
            }
        }
        self.fill_front(FRONT_LEN, input);
        let Some((kind, body_len)) = self.judged.filter(|_| self.front_len == FRONT_LEN) else {
            return Ok(None);
        };
        let (taken, rest) = split(input, body_len.saturating_sub(self.body.len()));
        self.body.extend_from_slice(taken);
        *input = rest;
        if self.body.len() < body_len {
            return Ok(None);
        }
        let [.., a, b, c, d] = self.front;
        let id = RequestId(u32::from_be_bytes([a, b, c, d]));
        (self.front_len, self.judged) = (0, None);
        Ok(Some(Frame { kind, id, body: std::mem::take(&mut self.body).freeze() }))
    }

    /// Whether a stream may end here: not in the middle of a frame.
    pub fn is_between(&self) -> bool {
        self.front_len == 0
    }

    fn fill_front(&mut self, len: usize, input: &mut &[u8]) {
        let place = self.front.get_mut(self.front_len..len).unwrap_or_default();
        let (taken, rest) = split(input, place.len());
        for (to, from) in place.iter_mut().zip(taken) {
            *to = *from;
        }
        self.front_len += taken.len();
        *input = rest;
    }

    /// The type of the frame and the length of its body.
    fn judge(&self) -> Result<(Kind, usize), WireError> {
        let [a, b, c, d, code, ..] = self.front;
        let len = u32::from_be_bytes([a, b, c, d]);
        let kind = Kind::from_code(code).ok_or(WireError::UnknownType { code })?;
        if !kind.is_from(self.from) {
            return Err(WireError::Misplaced { kind });
        }
        let body_len = (len as usize).checked_sub(HEAD_LEN).ok_or(WireError::Undersize { len })?;
        if body_len > kind.body_len_max() {
            let limit = kind.body_len_max() + HEAD_LEN;
            return Err(WireError::Oversize { kind, len, limit });
        }
        Ok((kind, body_len))
    }
}

/// At most `len` bytes off the front.
fn split(input: &[u8], len: usize) -> (&[u8], &[u8]) {
    input.split_at_checked(len).unwrap_or((input, &[]))
}
