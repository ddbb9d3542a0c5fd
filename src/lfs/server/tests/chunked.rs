//! The agent's routes, spoken byte by byte.

use mega_storage::{ChunkCutter, ChunkRef};

use super::super::chunked::{fetch, finish, list, missing, send};
use super::*;
use crate::lfs::wire::{self, Claim, Listing, Range, Step, Wanted};

fn cut(content: &[u8]) -> Vec<(ChunkRef, Vec<u8>)> {
    let chunks = ChunkCutter::new(content).map(|chunk| chunk.expect("readable"));
    chunks.map(|(chunk, plain)| (chunk, plain.to_vec())).collect()
}

fn claim(size: usize, bases: &[FileId]) -> Vec<u8> {
    let bases = bases.iter().map(ToString::to_string).collect();
    let mut body = Vec::new();
    wire::write_head(&Claim { size: size as u64, bases }, &mut body).expect("written");
    body
}

fn entries(content: &[u8]) -> Vec<u8> {
    cut(content).iter().flat_map(|(chunk, _)| wire::entry(chunk)).collect()
}

fn frame(plain: &[u8]) -> Vec<u8> {
    [&(plain.len() as u32).to_be_bytes()[..], plain].concat()
}

fn steps(context: &LfsContext<'_>, id: &FileId, body: &[u8]) -> Result<Vec<Step>, LfsError> {
    let mut out = Vec::new();
    finish(context, id, &mut &body[..], &mut out)?;
    let lines = out.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| serde_json::from_slice(line).expect("a step")).collect())
}

#[test]
fn a_second_version_goes_up_by_its_new_chunks() {
    let world = World::new();
    let old = noise(40_000_000, 1);
    let base = world.put(&old);
    let mut new = old;
    new[7_000_000..7_300_000].copy_from_slice(&noise(300_000, 2));
    let id = file_id(&new);
    let context = world.context();
    let head = claim(new.len(), &[base]);
    let question = [head.clone(), entries(&new)].concat();
    let bitmap = missing(&context, &id, &mut &question[..]).expect("answered");
    let chunks = cut(&new);
    assert_eq!(bitmap.len(), chunks.len().div_ceil(8));
    let wanted: Vec<&Vec<u8>> = chunks
        .iter()
        .enumerate()
        .filter(|(index, _)| bitmap[index / 8] >> (index % 8) & 1 == 1)
        .map(|(_, (_, plain))| plain)
        .collect();
    let sent: usize = wanted.iter().map(|plain| plain.len()).sum();
    assert!((300_000..1_000_000).contains(&sent), "{sent}");
    let early = steps(&context, &id, &question).expect_err("chunks are missing");
    assert_eq!(early.status(), 409, "{early}");
    let mut body = claim(new.len(), &[]);
    body.extend(wanted.iter().flat_map(|plain| frame(plain)));
    let received = send(&context, &id, &mut &body[..]).expect("kept");
    assert_eq!(received.chunks, wanted.len() as u64);
    let told = steps(&context, &id, &question).expect("finished");
    assert_eq!(told.last(), Some(&Step::Done));
    assert!(matches!(told[0], Step::Hashed(count) if count >= 32 << 20), "{told:?}");
    let mut whole = open_download(&context, &id, None).expect("there");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut whole.reader, &mut bytes).expect("readable");
    assert!(bytes == new);
}

#[test]
fn a_file_comes_down_by_its_chunks() {
    let world = World::new();
    let content = noise(3_000_000, 1);
    let id = world.put(&content);
    let context = world.context();
    let mut out = Vec::new();
    let listing = list(&context, &id).expect("listed");
    let len = listing.len;
    listing.write_to(&mut out).expect("written");
    assert_eq!(out.len() as u64, len);
    let mut input = &out[..];
    let head: Listing = wire::read_head(&mut input).expect("a head");
    assert_eq!((head.size, head.count), (3_000_000, cut(&content).len() as u64));
    assert!(input == entries(&content));
    let ranges = vec![Range { offset: 5, len: 10 }, Range { offset: 2_000_000, len: 1_000_000 }];
    let body = serde_json::to_vec(&Wanted { ranges }).expect("JSON");
    let mut out = Vec::new();
    let parts = fetch(&context, &id, &body).expect("answered");
    assert_eq!(parts.len, 1_000_010);
    parts.write_to(&mut out).expect("written");
    assert!(out == [&content[5..15], &content[2_000_000..]].concat());
    let other = LfsContext { repo: &world.other, ..context };
    assert_eq!(list(&other, &id).map(|_| ()).expect_err("no").status(), 404);
    assert_eq!(fetch(&other, &id, &body).map(|_| ()).expect_err("no").status(), 404);
}

#[test]
fn what_cannot_be_is_refused() {
    let world = World::new();
    let content = noise(300_000, 1);
    let id = world.put(&content);
    let context = world.context();
    let ask = |body: &[u8]| missing(&context, &id, &mut &body[..]).map_err(|e| e.status());
    let head = claim(300_000, &[]);
    assert_eq!(ask(&head), Ok(vec![]));
    assert_eq!(ask(b""), Err(400), "it broke off");
    assert_eq!(ask(&[0xff; 40]), Err(422), "a head without end");
    assert_eq!(ask(&[&head[..], &[1; 35]].concat()), Err(400));
    assert_eq!(ask(&[&head[..], &[0; 36]].concat()), Err(422), "a chunk of no bytes");
    assert_eq!(ask(&[&head[..], &[255; 36]].concat()), Err(422));
    let entry = [&[7u8; 32][..], &9u32.to_be_bytes()].concat();
    let many = [&head[..], &entry.repeat(wire::ENTRIES_MAX)].concat();
    assert_eq!(ask(&many).map(|bits| bits.len()), Ok(wire::ENTRIES_MAX / 8));
    assert_eq!(ask(&[&many[..], &entry].concat()), Err(413));
    assert_eq!(ask(&claim(1, &[id; wire::BASES_MAX])), Ok(vec![]));
    assert_eq!(ask(&claim(1, &[id; wire::BASES_MAX + 1])), Err(413));
    let reader = LfsContext { rights: Rights::Read, ..context };
    assert_eq!(missing(&reader, &id, &mut &head[..]).expect_err("no").status(), 403);
    let small = LfsContext { quota: Some(300_001), ..context };
    assert_eq!(missing(&small, &id, &mut &claim(2, &[])[..]).expect_err("no").status(), 507);

    let give = |frames: &[u8]| {
        let body = [&claim(9_000_000, &[]), frames].concat();
        send(&context, &file_id(b"x"), &mut &body[..]).map_err(|e| e.status())
    };
    assert!(give(&[]).is_ok());
    assert_eq!(give(&[0; 4]), Err(422));
    assert_eq!(give(&frame(&noise(256 << 10, 1))[..1000]), Err(400));
    assert_eq!(give(&frame(&noise((256 << 10) + 1, 1))), Err(422));
    let full = frame(&noise(256 << 10, 1)).repeat(17);
    assert_eq!(give(&full), Err(413));
    let over = [&claim(3, &[])[..], &frame(b"abcd")].concat();
    assert_eq!(send(&context, &id, &mut &over[..]).expect_err("no").status(), 413);

    let want = |ranges: Vec<Range>| {
        let body = serde_json::to_vec(&Wanted { ranges }).expect("JSON");
        fetch(&context, &id, &body).map(|out| out.len).map_err(|e| e.status())
    };
    assert_eq!(want(vec![]), Ok(0));
    assert_eq!(want(vec![Range { offset: 0, len: 0 }]), Err(416));
    assert_eq!(want(vec![Range { offset: 1, len: 300_000 }]), Err(416));
    assert_eq!(want(vec![Range { offset: u64::MAX, len: 2 }]), Err(416));
    assert_eq!(want(vec![Range { offset: 0, len: 1 }; wire::RANGES_MAX]), Ok(1024));
    assert_eq!(want(vec![Range { offset: 0, len: 1 }; wire::RANGES_MAX + 1]), Err(413));
    assert_eq!(want(vec![Range { offset: 0, len: 300_000 }; 100]), Err(413));
}

#[test]
fn a_lie_about_the_whole_ends_in_an_error_step() {
    let world = World::new();
    let content = noise(300_000, 1);
    let context = world.context();
    world.put(&content);
    let id = file_id(b"something else");
    let body = [claim(300_000, &[file_id(&content)]), entries(&content)].concat();
    let told = steps(&context, &id, &body).expect("answered");
    assert!(matches!(&told[..], [Step::Error { code: 422, .. }]), "{told:?}");
    assert!(open_download(&context, &id, None).is_err());
}
