//! Where the tensors of a .safetensors file begin and end, as a hint for reading ahead.
//!
//! The format: a length (8 bytes, little-endian), that many bytes of JSON, then the tensors' bytes,
//! which the JSON's `data_offsets` cut up. Only those offsets are looked for. Nothing depends on
//! the answer but how much is read ahead, so a header that lies costs speed and never a byte.

#![deny(clippy::indexing_slicing)]

/// Longest header that is read for the hint, in bytes; a model of a thousand tensors has about 100
/// KB.
pub(crate) const HEADER_LEN_MAX: u64 = 8 << 20;

/// Length of the head of the file that [`boundaries`] needs, from its first bytes. `None` when it
/// is no safetensors file.
pub(crate) fn head_len(first: &[u8]) -> Option<u64> {
    let (len, rest) = first.split_first_chunk::<8>()?;
    let len = u64::from_le_bytes(*len);
    (rest.first() == Some(&b'{') && len <= HEADER_LEN_MAX).then_some(len + 8)
}

/// Offsets in the file at which something ends, ascending: the header, then each tensor.
pub(crate) fn boundaries(head: &[u8]) -> Option<Vec<u64>> {
    let head_len = head_len(head)?;
    let json = head.get(8..usize::try_from(head_len).ok()?)?;
    let mut ends = vec![head_len];
    let mut rest = json;
    while let Some(at) = find(rest, b"\"data_offsets\"") {
        rest = rest.get(at + 14..)?;
        if let Some(end) = second_of_pair(rest)
            && let Some(end) = end.checked_add(head_len)
        {
            ends.push(end);
        }
    }
    ends.sort_unstable();
    ends.dedup();
    Some(ends)
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    let (first, _) = word.split_first()?;
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.iter().position(|b| b == first)?;
        if text.get(at..)?.starts_with(word) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// The second number of `: [a, b]`.
fn second_of_pair(text: &[u8]) -> Option<u64> {
    let mut marks = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).take(64);
    if marks.next()? != b':' || marks.next()? != b'[' {
        return None;
    }
    let mut numbers = [0u64; 2];
    for (number, end) in numbers.iter_mut().zip([b',', b']']) {
        loop {
            match marks.next()? {
                digit @ b'0'..=b'9' => {
                    *number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
                }
                mark if mark == end => break,
                _ => return None,
            }
        }
    }
    Some(numbers[1])
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(json: &str) -> Vec<u8> {
        let mut head = (json.len() as u64).to_le_bytes().to_vec();
        head.extend_from_slice(json.as_bytes());
        head
    }

    #[test]
    fn finds_the_ends_of_the_tensors() {
        let json = r#"{"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},
            "a":{"dtype":"BF16","shape":[2],"data_offsets" : [ 0, 4 ]},"__metadata__":{"x":"y"}}"#;
        let n = 8 + json.len() as u64;
        assert_eq!(boundaries(&head(json)), Some(vec![n, n + 4, n + 8]));
    }

    #[test]
    fn what_is_no_header_has_no_boundaries() {
        assert_eq!(boundaries(b""), None);
        assert_eq!(boundaries(b"version https://git-lfs"), None);
        assert_eq!(boundaries(&head("[1]")), None);
        assert_eq!(boundaries(&head("{}")[..9]), None);
        let mut huge = head("{}");
        huge[..8].copy_from_slice(&(HEADER_LEN_MAX + 1).to_le_bytes());
        assert_eq!(head_len(&huge), None);
        let wild = r#"{"data_offsets":[0,99999999999999999999999],"data_offsets":"#;
        assert_eq!(boundaries(&head(wild)), Some(vec![8 + wild.len() as u64]));
    }

    proptest! {
        #[test]
        fn never_panics(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = boundaries(&data);
            let mut text = br#"{"data_offsets":"#.to_vec();
            text.extend(data);
            let mut head = (text.len() as u64).to_le_bytes().to_vec();
            head.extend(text);
            let _ = boundaries(&head);
        }
    }
}
