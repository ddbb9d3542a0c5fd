//! Mega's slices.

use std::io::Read;

use super::super::slices::{list, open};
use super::*;

#[test]
fn a_file_has_equal_slices_with_their_hashes() {
    let world = World::new();
    let len = 2 * limits::SLICE_LEN as usize + 5;
    let content = noise(len, 1);
    let id = world.put(&content);
    let context = world.context();
    for _ in 0..2 {
        let listed = list(&context, &id, &LINKS).expect("listed");
        assert_eq!((listed.size, listed.chunks.len()), (len as u64, 3));
        for slice in &listed.chunks {
            let (start, end) = (slice.offset as usize, (slice.offset + slice.size) as usize);
            assert_eq!(slice.sub_oid, file_id(&content[start..end]).to_string());
            let query = format!("/{}?offset={}&size={}", slice.sub_oid, slice.offset, slice.size);
            assert!(slice.link.href.ends_with(&format!("objects/{id}{query}")), "{:?}", slice.link);
            let sub_id = slice.sub_oid.parse().expect("an id");
            let mut part =
                open(&context, &id, &sub_id, Some(slice.offset), Some(slice.size)).expect("there");
            let mut bytes = Vec::new();
            part.reader.read_to_end(&mut bytes).expect("readable");
            assert!(bytes == content[start..end] && part.len == slice.size);
        }
        assert_eq!(listed.chunks[0].size, limits::SLICE_LEN, "all but the last are equal");
    }
    let json = serde_json::to_value(list(&context, &id, &LINKS).expect("listed")).expect("JSON");
    assert_eq!(json["chunks"][2]["link"]["header"]["Accept"], "application/vnd.git-lfs");
}

#[test]
fn what_is_not_a_slice_is_refused() {
    let world = World::new();
    let content = noise(100_000, 1);
    let id = world.put(&content);
    let part = file_id(&content[10..20]);
    let context = world.context();
    let status = |context: &LfsContext<'_>, sub, offset, size| {
        open(context, &id, &sub, offset, size).map(|_| ()).map_err(|e| e.status())
    };
    assert_eq!(status(&context, part, Some(10), Some(10)), Ok(()), "any part with its hash");
    assert_eq!(status(&context, part, Some(11), Some(10)), Err(404));
    assert_eq!(status(&context, part, None, Some(10)), Err(400));
    assert_eq!(status(&context, part, Some(10), None), Err(400));
    assert_eq!(status(&context, part, Some(99_999), Some(10)), Err(416));
    assert_eq!(status(&context, part, Some(u64::MAX), Some(10)), Err(416));
    assert_eq!(status(&context, part, Some(0), Some(limits::SLICE_LEN + 1)), Err(413));
    let other = LfsContext { repo: &world.other, ..context };
    assert_eq!(status(&other, part, Some(10), Some(10)), Err(404));
    assert_eq!(list(&other, &id, &LINKS).expect_err("refused").status(), 404);
    let empty = world.put(b"");
    assert!(list(&world.context(), &empty, &LINKS).expect("listed").chunks.is_empty());
}
