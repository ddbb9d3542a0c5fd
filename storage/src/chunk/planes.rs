//! Byte planes: the first bytes of all numbers, then the second, and so on. Exponents of weights
//! fall into one plane.
//!
//! Chunks are cut at any byte, so that a number's first byte may lie in any plane, and the last
//! number may be cut off: plane `p` of `count` holds bytes `p`, `p + count`, ...

/// Length of plane `index` of a chunk of `len` bytes in `count` planes.
pub(super) fn plane_len(len: usize, count: usize, index: usize) -> usize {
    (len + count - 1 - index) / count
}

/// Writes the planes of `plain` one after the other into `out`, which has the same length.
pub(super) fn split(plain: &[u8], count: usize, out: &mut [u8]) {
    assert_eq!(plain.len(), out.len());
    match count {
        2 => split_into::<2>(plain, out),
        4 => split_into::<4>(plain, out),
        _ => unreachable!("there are two or four planes"),
    }
}

fn split_into<const N: usize>(plain: &[u8], out: &mut [u8]) {
    let whole = plain.len() / N;
    let (numbers, tail) = plain.as_chunks::<N>();
    let mut rest = out;
    for index in 0..N {
        let (plane, after) = rest.split_at_mut(plane_len(plain.len(), N, index));
        for (byte, number) in plane.iter_mut().zip(numbers) {
            *byte = number[index];
        }
        if let (Some(last), Some(&byte)) = (plane.get_mut(whole), tail.get(index)) {
            *last = byte;
        }
        rest = after;
    }
}

/// The inverse of [`split`]: `planes` has them in order, each of its [`plane_len`].
pub(super) fn merge(planes: &[&[u8]], out: &mut [u8]) {
    match planes {
        [a, b] => {
            let (numbers, tail) = out.as_chunks_mut::<2>();
            for ((number, &a), &b) in numbers.iter_mut().zip(*a).zip(*b) {
                *number = [a, b];
            }
            merge_tail(planes, tail);
        }
        [a, b, c, d] => {
            let (numbers, tail) = out.as_chunks_mut::<4>();
            for ((((number, &a), &b), &c), &d) in numbers.iter_mut().zip(*a).zip(*b).zip(*c).zip(*d)
            {
                *number = [a, b, c, d];
            }
            merge_tail(planes, tail);
        }
        _ => unreachable!("there are two or four planes"),
    }
}

/// The bytes of a number that is cut off: each is the last of its plane.
fn merge_tail(planes: &[&[u8]], tail: &mut [u8]) {
    for (byte, plane) in tail.iter_mut().zip(planes) {
        if let Some(&last) = plane.last() {
            *byte = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_of_every_length_come_back() {
        for count in [2, 4] {
            for len in 0..40 {
                let plain: Vec<u8> = (0..len as u8).collect();
                let mut split_bytes = vec![0; len];
                split(&plain, count, &mut split_bytes);
                let mut planes = Vec::new();
                let mut rest = &split_bytes[..];
                for index in 0..count {
                    let (plane, after) = rest.split_at(plane_len(len, count, index));
                    assert!(plane.iter().all(|byte| *byte as usize % count == index));
                    planes.push(plane);
                    rest = after;
                }
                assert!(rest.is_empty());
                let mut merged = vec![0; len];
                merge(&planes, &mut merged);
                assert_eq!(merged, plain);
            }
        }
    }
}
