//! Checks of trees: one pass, nothing allocated unless an entry asks for it.
//!
//! Git's own order is kept: an entry's names are looked at, then the next entry is read, and only
//! when that could be read are the first one's mode and place judged.

#![deny(clippy::indexing_slicing)]

use super::dotfiles::{
    self, ATTRIBUTES, IGNORE, MAILMAP, MODULES, is_dotgit, is_ntfs, is_ntfs_dotgit, is_suspicious,
};
use super::{Problem, SpecialBlobs, SpecialRole};
use crate::id::ObjectId;
use crate::object::parse::{TREE_ENTRY_LEN_MIN, parse_mode};

/// Longest name that git lets through without a word.
const NAME_LEN_MAX: usize = 4096;

const MODE_SYMLINK: u32 = 0o120_000;
const MODE_DIRECTORY: u32 = 0o040_000;
const MODE_KIND: u32 = 0o170_000;

/// What has been seen somewhere in the tree; each is told once.
#[derive(Clone, Copy, Default)]
struct Seen {
    null_id: bool,
    full_path: bool,
    dot: bool,
    dotdot: bool,
    dotgit: bool,
    zero_padded: bool,
    bad_mode: bool,
    duplicates: bool,
    unordered: bool,
    large_name: bool,
}

/// An entry with what the scan for its end has shown.
#[derive(Clone, Copy)]
struct Entry<'a> {
    mode: u32,
    zero_padded: bool,
    name: &'a [u8],
    id: &'a [u8],
    has_slash: bool,
    has_backslash: bool,
}

/// Where an entry stands to the one before it.
enum Order {
    Right,
    Wrong,
    Duplicate,
}

/// Adds the problems of a tree to `out`, and what stands at special names to `special`.
pub(super) fn check(data: &[u8], mut special: Option<&mut SpecialBlobs>, out: &mut Vec<Problem>) {
    let mut seen = Seen::default();
    let mut before: Option<Entry<'_>> = None;
    let mut candidates = Vec::new();
    let mut next = if data.is_empty() { None } else { Some(split(data)) };
    while let Some(read) = next {
        let Some((entry, rest)) = read else {
            out.push(Problem::error("badTree", "it cannot be read as a tree"));
            break;
        };
        look_at(&entry, &mut seen, special.as_deref_mut(), out);
        next = if rest.is_empty() { None } else { Some(split(rest)) };
        if let Some(None) = next {
            continue;
        }
        seen.bad_mode |= !matches!(
            entry.mode,
            0o100_644 | 0o100_755 | 0o100_664 | MODE_DIRECTORY | MODE_SYMLINK | 0o160_000
        );
        if let Some(before) = before {
            match order(&before, &entry, &mut candidates) {
                Order::Right => {}
                Order::Wrong => seen.unordered = true,
                Order::Duplicate => seen.duplicates = true,
            }
        }
        before = Some(entry);
    }
    seen.tell(out);
}

/// The first entry and what follows; `None` when it cannot be read. Git also rejects an empty name
/// here.
#[inline]
fn split(data: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    // The last entry's name ends right before its id; this also bounds every search for a name's
    // end.
    let last_end = data.len().checked_sub(ObjectId::LEN + 1)?;
    if data.len() < TREE_ENTRY_LEN_MIN || data.get(last_end) != Some(&0) {
        return None;
    }
    let (mode, rest) = split_mode(data)?;
    let scan = scan_name(rest)?;
    let (name, rest) = rest.split_at_checked(scan.len)?;
    let (id, rest) = rest.get(1..)?.split_at_checked(ObjectId::LEN)?;
    let zero_padded = data.first() == Some(&b'0');
    let (has_slash, has_backslash) = (scan.has_slash, scan.has_backslash);
    (!name.is_empty())
        .then_some((Entry { mode, zero_padded, name, id, has_slash, has_backslash }, rest))
}

#[inline]
fn split_mode(data: &[u8]) -> Option<(u32, &[u8])> {
    if let Some(rest) = data.strip_prefix(b"100644 ") {
        return Some((0o100_644, rest));
    }
    if let Some(rest) = data.strip_prefix(b"40000 ") {
        return Some((MODE_DIRECTORY, rest));
    }
    parse_mode(data)
}

struct NameScan {
    len: usize,
    has_slash: bool,
    has_backslash: bool,
}

/// Finds the NUL after a name, and whether a slash or backslash stands before it, eight bytes at a
/// time.
#[inline]
fn scan_name(data: &[u8]) -> Option<NameScan> {
    let mut scan = NameScan { len: 0, has_slash: false, has_backslash: false };
    loop {
        // An id follows the NUL: there are always eight bytes from a name's every byte on.
        let word = data.get(scan.len..scan.len + 8)?;
        let word = u64::from_le_bytes(word.try_into().ok()?);
        let nul = marks(word, 0);
        // Bytes before the NUL: below its lowest mark; all when there is none.
        let before = nul.wrapping_sub(1) & !nul;
        scan.has_slash |= marks(word, b'/') & before != 0;
        scan.has_backslash |= marks(word, b'\\') & before != 0;
        if nul != 0 {
            scan.len += nul.trailing_zeros() as usize / 8;
            return Some(scan);
        }
        scan.len += 8;
    }
}

/// The top bit of each byte that equals `byte`. Marks above the lowest may be wrong; the lowest is
/// right.
#[inline]
const fn marks(word: u64, byte: u8) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let word = word ^ (LOW * byte as u64);
    word.wrapping_sub(LOW) & !word & (LOW << 7)
}

#[inline]
fn look_at(
    entry: &Entry<'_>,
    seen: &mut Seen,
    special: Option<&mut SpecialBlobs>,
    out: &mut Vec<Problem>,
) {
    seen.null_id |= entry.id == [0; ObjectId::LEN];
    seen.full_path |= entry.has_slash;
    seen.zero_padded |= entry.zero_padded;
    seen.large_name |= entry.name.len() > NAME_LEN_MAX;
    if entry.has_backslash || is_suspicious(entry.name) {
        look_at_name(entry, seen, special, out);
    }
}

#[cold]
fn look_at_name(
    entry: &Entry<'_>,
    seen: &mut Seen,
    mut special: Option<&mut SpecialBlobs>,
    out: &mut Vec<Problem>,
) {
    let name = entry.name;
    let is_symlink = entry.mode & MODE_KIND == MODE_SYMLINK;
    seen.dot |= name == b".";
    seen.dotdot |= name == b"..";
    seen.dotgit |= is_dotgit(name);
    if dotfiles::is(MODULES, name) {
        meet_modules(entry, is_symlink, special.as_deref_mut(), out);
    }
    if dotfiles::is(ATTRIBUTES, name) {
        if is_symlink {
            out.push(Problem::info("gitattributesSymlink", ".gitattributes is a symbolic link"));
        } else if let Some(special) = special.as_deref_mut() {
            special.note(entry.id, SpecialRole::ATTRIBUTES);
        }
    }
    if is_symlink && dotfiles::is(IGNORE, name) {
        out.push(Problem::info("gitignoreSymlink", ".gitignore is a symbolic link"));
    }
    if is_symlink && dotfiles::is(MAILMAP, name) {
        out.push(Problem::info("mailmapSymlink", ".mailmap is a symbolic link"));
    }
    if !entry.has_backslash {
        return;
    }
    // To Windows a backslash starts a new name.
    for (index, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'\\') {
        let part = name.get(index + 1..).unwrap_or_default();
        seen.dotgit |= is_ntfs_dotgit(part);
        if is_ntfs(MODULES, part) {
            meet_modules(entry, is_symlink, special.as_deref_mut(), out);
        }
    }
}

fn meet_modules(
    entry: &Entry<'_>,
    is_symlink: bool,
    special: Option<&mut SpecialBlobs>,
    out: &mut Vec<Problem>,
) {
    if is_symlink {
        out.push(Problem::error("gitmodulesSymlink", ".gitmodules is a symbolic link"));
    } else if let Some(special) = special {
        special.note(entry.id, SpecialRole::MODULES);
    }
}

/// Compares two neighbours as git sorts them: a directory's name as if it ended in a slash.
///
/// Duplicates need not be neighbours: between `foo` and `foo/` may stand `foo.bar`. Names of files
/// that a directory may yet repeat wait in `candidates`.
#[inline]
fn order<'a>(before: &Entry<'a>, entry: &Entry<'a>, candidates: &mut Vec<&'a [u8]>) -> Order {
    let (a, b) = (before.name, entry.name);
    let len = a.len().min(b.len());
    let (Some(a_start), Some(b_start)) = (a.get(..len), b.get(..len)) else {
        return Order::Wrong;
    };
    match a_start.cmp(b_start) {
        std::cmp::Ordering::Less => Order::Right,
        std::cmp::Ordering::Greater => Order::Wrong,
        std::cmp::Ordering::Equal => order_after(before, entry, len, candidates),
    }
}

/// As [`order`], when the names agree in their first `len` bytes, the whole of the shorter.
fn order_after<'a>(
    before: &Entry<'a>,
    entry: &Entry<'a>,
    len: usize,
    candidates: &mut Vec<&'a [u8]>,
) -> Order {
    let next = |entry: &Entry<'_>| match entry.name.get(len) {
        Some(&byte) => byte,
        None if entry.mode & MODE_KIND == MODE_DIRECTORY => b'/',
        None => 0,
    };
    if before.name.len() == entry.name.len() {
        return Order::Duplicate;
    }
    let (a, b) = (next(before), next(entry));
    let below_slash = |byte: u8| byte != 0 && byte < b'/';
    if a == 0 && below_slash(b) {
        candidates.push(before.name);
    } else if b == b'/' && below_slash(a) {
        while let Some(file) = candidates.pop() {
            match entry.name.strip_prefix(file) {
                None => {}
                Some([]) => return Order::Duplicate,
                Some([next, ..]) if below_slash(*next) => {
                    candidates.push(file);
                    break;
                }
                Some(_) => {}
            }
        }
    }
    if a < b { Order::Right } else { Order::Wrong }
}

impl Seen {
    fn tell(self, out: &mut Vec<Problem>) {
        let warn = |seen: bool, id, detail: &str| seen.then(|| Problem::warn(id, detail));
        let error = |seen: bool, id, detail: &str| seen.then(|| Problem::error(id, detail));
        let modes = "it has modes that git does not write";
        let problems = [
            warn(self.null_id, "nullSha1", "an entry names the object of forty zeros"),
            warn(self.full_path, "fullPathname", "an entry's name has a '/'"),
            warn(self.dot, "hasDot", "an entry is named '.'"),
            warn(self.dotdot, "hasDotdot", "an entry is named '..'"),
            warn(self.dotgit, "hasDotgit", "an entry is named '.git', or would be somewhere"),
            warn(self.zero_padded, "zeroPaddedFilemode", "a mode has leading zeros"),
            self.bad_mode.then(|| Problem::info("badFilemode", modes)),
            error(self.duplicates, "duplicateEntries", "two entries have one name"),
            error(self.unordered, "treeNotSorted", "its entries are not in order"),
            warn(self.large_name, "largePathname", "an entry's name is very long"),
        ];
        out.extend(problems.into_iter().flatten());
    }
}
