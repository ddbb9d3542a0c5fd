//! Byte planes: the first bytes of all numbers, then the second, and so on. Exponents of weights
//! fall into one plane.
//!
//! bf16 and fp32 have the sign in the exponent's byte, and the exponent's last bit in the
//! mantissa's. Numbers rotated left by one bit before they are split have the whole exponent in
//! their last byte, and the sign, which is noise, with the mantissa.
//!
//! Chunks are cut at any byte. What stands before the first number is no part of the planes; the
//! last number may be cut off, is never rotated, and leaves the last planes a byte shorter.
//! Unrotated, a number may as well begin anywhere: its bytes then lie in other planes.

/// Length of plane `index` of numbers of `len` bytes together, in `count` planes.
pub(super) fn plane_len(len: usize, count: usize, index: usize) -> usize {
    (len + count - 1 - index) / count
}

/// The bytes of a number, rotated left by one bit.
pub(super) fn rotate<const N: usize>(number: [u8; N]) -> [u8; N] {
    std::array::from_fn(|index| number[index] << 1 | number[(index + N - 1) % N] >> 7)
}

/// Writes the planes of `numbers` one after the other into `out`, which has the same length.
pub(super) fn split(numbers: &[u8], count: usize, rotated: bool, out: &mut [u8]) {
    assert_eq!(numbers.len(), out.len());
    match (count, rotated) {
        (2, false) => split_into::<2>(numbers, out, |number| number),
        (2, true) => split_into::<2>(numbers, out, rotate),
        (4, false) => split_into::<4>(numbers, out, |number| number),
        (4, true) => split_into::<4>(numbers, out, rotate),
        _ => unreachable!("there are two or four planes"),
    }
}

fn split_into<const N: usize>(numbers: &[u8], out: &mut [u8], turned: impl Fn([u8; N]) -> [u8; N]) {
    let len = numbers.len();
    let (numbers, tail) = numbers.as_chunks::<N>();
    let mut rest = out;
    for index in 0..N {
        let (plane, after) = rest.split_at_mut(plane_len(len, N, index));
        for (byte, number) in plane.iter_mut().zip(numbers) {
            *byte = turned(*number)[index];
        }
        if let (Some(last), Some(&byte)) = (plane.get_mut(numbers.len()), tail.get(index)) {
            *last = byte;
        }
        rest = after;
    }
}

/// The inverse of [`split`]: `planes` has them in order, each of its [`plane_len`].
pub(super) fn merge(planes: &[&[u8]], rotated: bool, out: &mut [u8]) {
    match (planes, rotated) {
        ([a, b], false) => merge_two(a, b, out, |number| number),
        ([a, b], true) => {
            let back = |number| u16::from_le_bytes(number).rotate_right(1).to_le_bytes();
            merge_two(a, b, out, back);
        }
        ([a, b, c, d], false) => merge_four([a, b, c, d], out, |number| number),
        ([a, b, c, d], true) => {
            let back = |number| u32::from_le_bytes(number).rotate_right(1).to_le_bytes();
            merge_four([a, b, c, d], out, back);
        }
        _ => unreachable!("there are two or four planes"),
    }
    let whole = out.len() - out.len() % planes.len();
    // The bytes of a number that is cut off: each is the last of its plane.
    for (byte, plane) in out[whole..].iter_mut().zip(planes) {
        if let Some(&last) = plane.last() {
            *byte = last;
        }
    }
}

fn merge_two(a: &[u8], b: &[u8], out: &mut [u8], turned: impl Fn([u8; 2]) -> [u8; 2]) {
    for ((number, &a), &b) in out.as_chunks_mut().0.iter_mut().zip(a).zip(b) {
        *number = turned([a, b]);
    }
}

fn merge_four([a, b, c, d]: [&[u8]; 4], out: &mut [u8], turned: impl Fn([u8; 4]) -> [u8; 4]) {
    let numbers = out.as_chunks_mut().0.iter_mut();
    for ((((number, &a), &b), &c), &d) in numbers.zip(a).zip(b).zip(c).zip(d) {
        *number = turned([a, b, c, d]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes_of(split_bytes: &[u8], count: usize) -> Vec<&[u8]> {
        let mut rest = split_bytes;
        let cut = |index| {
            let (plane, after) = rest.split_at(plane_len(split_bytes.len(), count, index));
            rest = after;
            plane
        };
        let planes = (0..count).map(cut).collect();
        assert!(rest.is_empty());
        planes
    }

    #[test]
    fn planes_of_every_length_come_back() {
        for (count, rotated, len) in (0..100)
            .flat_map(|len| [(2, false, len), (2, true, len), (4, false, len), (4, true, len)])
        {
            let numbers: Vec<u8> = (0..len).map(|index| (index * 151 + 77) as u8).collect();
            let mut split_bytes = vec![0; len];
            split(&numbers, count, rotated, &mut split_bytes);
            let planes = planes_of(&split_bytes, count);
            let mut merged = vec![0; len];
            merge(&planes, rotated, &mut merged);
            assert_eq!(merged, numbers);
            if !rotated {
                for (index, byte) in numbers.iter().enumerate() {
                    assert_eq!(planes[index % count][index / count], *byte);
                }
            }
        }
    }

    #[test]
    fn rotated_numbers_have_their_exponents_in_the_last_plane() {
        let numbers = [0.02f32, -1.5, 3e30, -7e-20, 0.0];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend([1, 2, 3]);
        let mut split_bytes = vec![0; bytes.len()];
        split(&bytes, 4, true, &mut split_bytes);
        let planes = planes_of(&split_bytes, 4);
        for (index, number) in numbers.iter().enumerate() {
            let bits = number.to_bits().rotate_left(1);
            assert_eq!([0, 1, 2, 3].map(|plane| planes[plane][index]), bits.to_le_bytes());
            assert_eq!(planes[3][index], (number.to_bits() >> 23 & 0xff) as u8);
        }
        // The number that is cut off stays as it is.
        assert_eq!([0, 1, 2].map(|plane| planes[plane][numbers.len()]), [1, 2, 3]);
        let halves: Vec<u8> =
            bytes[..20].as_chunks::<4>().0.iter().flat_map(|n| [n[2], n[3]]).collect();
        let mut split_bytes = vec![0; 10];
        split(&halves, 2, true, &mut split_bytes);
        assert_eq!(split_bytes[5..], planes[3][..5]);
    }
}
