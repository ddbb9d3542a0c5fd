//! Building and reading the values of small rows: fixed-width big-endian numbers, LEB128 varints,
//! counted bytes.
//!
//! A reader never panics: whatever is short or malformed gives `None`, which the caller reports as
//! a damaged row.

#![deny(clippy::indexing_slicing)]

/// Appends `value` as LEB128: seven bits a byte, low bits first, the top bit set on all bytes but
/// the last.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Splits a varint off the front of `bytes`; an error past ten bytes or 64 bits.
pub(crate) fn take_varint(bytes: &[u8]) -> Result<(u64, &[u8]), &'static str> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate() {
        let shift = index * 7;
        let bits = u64::from(byte & 0x7f);
        if shift > 63 || (shift == 63 && bits > 1) {
            return Err("a number is too large");
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((value, bytes.split_at(index + 1).1));
        }
    }
    Err("a number is cut off")
}

/// Appends the length of `bytes` as a varint, then the bytes.
pub(crate) fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a row's value from its start.
pub(crate) struct RowReader<'a> {
    rest: &'a [u8],
}

impl<'a> RowReader<'a> {
    /// Starts at the first byte.
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Four bytes, big-endian.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A varint; `None` past ten bytes or 64 bits.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let (value, rest) = take_varint(self.rest).ok()?;
        self.rest = rest;
        Some(value)
    }

    /// Bytes with their length before them.
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let len = self.varint()?;
        self.bytes(usize::try_from(len).ok()?)
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_refuse_what_is_too_long() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut row = Vec::new();
            put_varint(&mut row, value);
            let mut reader = RowReader::new(&row);
            assert_eq!(reader.varint(), Some(value));
            assert!(reader.rest().is_empty());
        }
        assert_eq!(RowReader::new(&[0x80]).varint(), None);
        assert_eq!(RowReader::new(&[0xff; 11]).varint(), None);
        let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(RowReader::new(&over).varint(), None);
        assert_eq!(RowReader::new(&[3, b'a', b'b']).counted(), None);
        assert_eq!(RowReader::new(&[2, b'a', b'b']).counted(), Some(&b"ab"[..]));
    }
}
