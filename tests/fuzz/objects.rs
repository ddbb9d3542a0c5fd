//! Trees, commits and tags: readers that take what git walks over, checks that are git's fsck. The
//! first byte of an input says which kind it is.

use std::collections::HashSet;

use mega_storage::ObjectId;
use mega_storage::object::{
    EntryKind, ObjectKind, Problem, Severity, SpecialBlobs, SpecialContent, SpecialRole,
    check_object, check_object_noting, check_special_blob, commit_info, hash_object, links,
    tag_target, tree_entries,
};
use mega_tools::fuzz::{Ending, Target, mutate};
use mega_tools::random::Random;

use crate::seeds::GitRepo;

const KINDS: [ObjectKind; 4] =
    [ObjectKind::Tree, ObjectKind::Commit, ObjectKind::Tag, ObjectKind::Blob];

pub struct Objects;

impl Target for Objects {
    fn name(&self) -> &'static str {
        "objects"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let repo = GitRepo::new();
        let mut seeds = Vec::new();
        for (byte, kind) in KINDS.iter().enumerate().take(3) {
            let objects = repo.objects(kind.as_str());
            seeds.extend(objects.iter().map(|data| [&[byte as u8], &data[..]].concat()));
        }
        let odd = b"\x03[submodule \"a\"]\n\tpath = a\n\turl = https://example.com/a.git\n";
        seeds.extend([odd.to_vec(), b"\x03*.bin filter=lfs diff=lfs -text\n[attr]x y\n".to_vec()]);
        seeds.push(
            b"\x03[submodule \"x\\\"y\"]\n path = \"-u\" # no\n url = ../../b\\\n c".to_vec(),
        );
        seeds
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[
            b"tree ",
            b"parent ",
            b"author ",
            b"committer ",
            b"object ",
            b"type ",
            b"tag ",
            b"tagger ",
            b"gpgsig ",
            b"encoding ",
            b"mergetag ",
            b"\n\n",
            b"\n ",
            b" <",
            b"> ",
            b" +0000",
            b"40000 ",
            b"040000 ",
            b"100644 ",
            b"100755 ",
            b"120000 ",
            b"160000 ",
            b".git\0",
            b".GIT\0",
            b"git~1\0",
            b"..\0",
            b".\0",
            b"a/b\0",
            b".gitmodules\0",
            b".gitattributes\0",
            b".g\xe2\x80\x8cit\0",
            b".git::$INDEX_ALLOCATION\0",
            b"GITMOD~1\0",
            b"9223372036854775808",
            b"[submodule \"",
            b"\"]\n",
            b"url = ",
            b"path = ",
            b"update = !sh",
            b"commit\n",
            b"blob\n",
            b"\0",
        ]
    }

    fn mutate(&mut self, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let mut input = mutate::bytes(corpus, self.dictionary(), random);
        if let Some(kind) = input.first_mut().filter(|_| !random.once_in(16)) {
            *kind %= KINDS.len() as u8;
        }
        input
    }

    fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
        let Some((kind, data)) = input.split_first() else { return Ok(Ending::of("empty")) };
        let kind = KINDS[usize::from(*kind) % KINDS.len()];
        let mut problems = Vec::new();
        let id = hash_object(kind, data).map_err(|_| "an attack on SHA-1".to_owned())?;
        check_object(kind, &id, data, &mut problems);
        let mut again = Vec::new();
        let mut special = SpecialBlobs::default();
        check_object_noting(kind, data, &mut special, &mut again);
        if problems != again {
            return Err(format!("checked twice: {problems:?} and {again:?}"));
        }
        let linked = links(kind, data);
        if linked != links(kind, data) {
            return Err("the links differ".to_owned());
        }
        match kind {
            ObjectKind::Tree => tree(data, linked.is_ok())?,
            ObjectKind::Commit => commit(data)?,
            ObjectKind::Tag => drop(tag_target(data)),
            ObjectKind::Blob => blob(data, &mut problems),
        }
        // What git would take without a word can be walked.
        let is_clean = problems.iter().all(|p| p.severity == Severity::Info);
        if let (true, Err(reason)) = (is_clean, &linked) {
            return Err(format!("no problem was found, and it cannot be read: {reason}"));
        }
        let mut words: Vec<&str> = problems.iter().map(|problem| problem.id).collect();
        words.sort_unstable();
        words.dedup();
        let mut shown = problems.iter().flat_map(|problem| problem.detail.chars());
        if let Some(control) = shown.find(|c| c.is_control()) {
            return Err(format!("a control character is shown: {control:?}"));
        }
        let words = format!("{} {words:?} {:?}", kind.as_str(), linked.as_ref().err());
        Ok(Ending::of(&words).and(words.len()))
    }
}

/// A tree that can be read is its entries written one after the other, leading zeros aside.
fn tree(data: &[u8], is_linked: bool) -> Result<(), String> {
    let mut len = 0;
    let mut count = 0;
    let mut ids: HashSet<ObjectId> = HashSet::new();
    for entry in tree_entries(data) {
        let Ok(entry) = entry else {
            return if is_linked { Err("links of a broken tree".to_owned()) } else { Ok(()) };
        };
        count += 1;
        if entry.name.is_empty() || entry.name.contains(&0) {
            return Err("a name that cannot be".to_owned());
        }
        if entry.kind() != EntryKind::Submodule {
            ids.insert(entry.id);
        }
        let place = &data[len..];
        let mode_len = place.iter().position(|b| *b == b' ').ok_or("no space in an entry")?;
        len += mode_len + entry.name.len() + 2 + ObjectId::LEN;
    }
    if len != data.len() || count * 23 > len {
        return Err(format!("{count} entries of {len} bytes in {} bytes", data.len()));
    }
    let linked = links(ObjectKind::Tree, data)?;
    if !linked.iter().all(|id| ids.contains(id)) {
        return Err("a link that no entry has".to_owned());
    }
    Ok(())
}

/// A commit's ids stand in it in hexadecimal.
fn commit(data: &[u8]) -> Result<(), String> {
    let Ok(info) = commit_info(data) else { return Ok(()) };
    let text = String::from_utf8_lossy(data).to_ascii_lowercase();
    let mut all = std::iter::once(&info.tree).chain(&info.parents);
    match all.find(|id| !text.contains(&id.to_string())) {
        Some(id) => Err(format!("{id} is not in the commit")),
        None => Ok(()),
    }
}

/// A blob as `.gitmodules` and as `.gitattributes`.
fn blob(data: &[u8], problems: &mut Vec<Problem>) {
    let role = SpecialRole { modules: true, attributes: true };
    check_special_blob(role, SpecialContent::Object(ObjectKind::Blob, data), problems);
}
