//! The entries of a tree that its base does not have.
//!
//! A tree is mostly a delta of another that was walked a moment ago: what it copies from there, at
//! the same ends of entries, are entries that have been looked at. Only the rest is looked at.

use super::walker::malformed;
use crate::error::Result;
use crate::id::ObjectId;
use crate::object::parse::{TreeEntry, tree_entries};
use crate::objects::{Instruction, delta_lengths, take_instruction};

/// Where the entries of a tree begin, ascending, and at the end its length.
pub(crate) type Starts = Vec<u32>;

/// A piece that is copied from the base: where it stands here, where there, its length.
struct Copied {
    start: usize,
    from: usize,
    len: usize,
}

/// Hands out the entries of a tree, but for those that it shares with the tree it was made from.
/// Returns where all of its entries begin.
pub(crate) fn new_entries(
    id: &ObjectId,
    data: &[u8],
    made_from: Option<(&Starts, &[u8])>,
    mut visit: impl FnMut(TreeEntry<'_>) -> Result<()>,
) -> Result<Starts> {
    let mut starts = Starts::new();
    let mut at = 0;
    if let Some((base, instructions)) = made_from {
        starts.reserve(base.len() + 8);
        for copied in copies(instructions).map_err(|e| malformed(id, e))? {
            // Up to the copied piece, and as long as its entries do not begin where the base's do.
            let mut index = None;
            while at < copied.start + copied.len {
                if let Some(inside) = at.checked_sub(copied.start) {
                    index = base.binary_search(&((copied.from + inside) as u32)).ok();
                    if index.is_some() {
                        break;
                    }
                }
                at = one(id, data, at, &mut starts, &mut visit)?;
            }
            let Some(index) = index else { continue };
            // All entries of the base that the piece has to their ends.
            let end = (copied.from + copied.len) as u32;
            let same = &base[index..];
            let same = &same[..same.partition_point(|&start| start <= end)];
            let moved = |start: u32| copied.start + start as usize - copied.from;
            if let Some((&last, same)) = same.split_last() {
                starts.extend(same.iter().map(|&start| moved(start) as u32));
                at = moved(last);
            }
        }
    }
    while at < data.len() {
        at = one(id, data, at, &mut starts, &mut visit)?;
    }
    starts.push(data.len() as u32);
    Ok(starts)
}

/// Hands out the entry at `at`; returns where the next begins.
fn one(
    id: &ObjectId,
    data: &[u8],
    at: usize,
    starts: &mut Starts,
    visit: &mut impl FnMut(TreeEntry<'_>) -> Result<()>,
) -> Result<usize> {
    let mut entries = tree_entries(&data[at..]);
    let Some(entry) = entries.next() else { return Ok(data.len()) };
    starts.push(at as u32);
    visit(entry.map_err(|e| malformed(id, e))?)?;
    Ok(data.len() - entries.rest_len())
}

fn copies(instructions: &[u8]) -> Result<Vec<Copied>, &'static str> {
    let (_, _, mut rest) = delta_lengths(instructions)?;
    let mut copies = Vec::new();
    let mut start = 0;
    while !rest.is_empty() {
        start += match take_instruction(&mut rest)? {
            Instruction::Copy { offset, len } => {
                copies.push(Copied { start, from: offset, len });
                len
            }
            Instruction::Insert(bytes) => bytes.len(),
        };
    }
    Ok(copies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::delta_for_tests as delta;

    fn tree(entries: &[(&str, u8)]) -> Vec<u8> {
        let entry =
            |(name, id): &(&str, u8)| [b"100644 ", name.as_bytes(), b"\0", &[*id; 20]].concat();
        entries.iter().flat_map(entry).collect()
    }

    /// Names handed out, and the starts.
    fn names(data: &[u8], made_from: Option<(&Starts, &[u8])>) -> (Vec<String>, Starts) {
        let mut names = Vec::new();
        let starts = new_entries(&ObjectId::NULL, data, made_from, |entry| {
            names.push(String::from_utf8_lossy(entry.name).into_owned());
            Ok(())
        });
        (names, starts.expect("a good tree"))
    }

    #[test]
    fn only_what_differs_is_handed_out_and_all_starts_are_known() {
        let base = tree(&[("a", 1), ("bb", 2), ("c", 3), ("dddd", 4), ("e", 5)]);
        let (all, starts) = names(&base, None);
        assert_eq!((all.len(), starts.len()), (5, 6));
        for target in [
            vec![("a", 1), ("bb", 9), ("c", 3), ("dddd", 4), ("e", 5)],
            vec![("bb", 2), ("c", 3), ("dddd", 4), ("e", 5)],
            vec![("a", 1), ("b", 7), ("bb", 2), ("c", 3), ("e", 5)],
            vec![("z", 1)],
            vec![],
            vec![("a", 1), ("bb", 2), ("c", 3), ("dddd", 4), ("e", 5)],
        ] {
            let data = tree(&target);
            for instructions in delta(&base, &data) {
                let (new, got) = names(&data, Some((&starts, &instructions)));
                assert_eq!(got, names(&data, None).1);
                for (name, id) in &target {
                    let was = [("a", 1), ("bb", 2), ("c", 3), ("dddd", 4), ("e", 5)];
                    let is_new = !was.contains(&(name, *id));
                    assert!(!is_new || new.iter().any(|n| n == name), "{name} {target:?}");
                }
                assert!(new.len() <= target.len());
            }
        }
        let mut same = vec![0x80 | 0x10 | 0x20, base.len() as u8, 0];
        let mut instructions = vec![base.len() as u8 | 0x80, 1, base.len() as u8 | 0x80, 1];
        assert!(base.len() > 127 && base.len() < 256, "two bytes of length: {}", base.len());
        instructions.append(&mut same);
        assert_eq!(names(&base, Some((&starts, &instructions))).0, Vec::<String>::new());
    }

    #[test]
    fn entries_that_begin_elsewhere_are_not_taken_for_the_base_s() {
        // The base's one name has inside of it what would be a whole entry.
        let inner = tree(&[("hidden", 0x31)]);
        let base = [&b"100644 x"[..], &inner[..7], b"hidden\0", &[0x31; 20]].concat();
        let (all, starts) = names(&base, None);
        assert_eq!(all, ["x100644 hidden"]);
        let offset = (base.len() - inner.len()) as u8;
        let instructions = [base.len() as u8, inner.len() as u8, 0x91, offset, inner.len() as u8];
        assert_eq!(names(&inner, Some((&starts, &instructions))).0, ["hidden"]);
    }
}
