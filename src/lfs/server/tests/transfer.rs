//! Whole objects in and out.

use std::io::{self, Read};

use mega_storage::StoreError;

use super::*;

fn put(context: &LfsContext<'_>, id: &FileId, len: u64, body: &[u8]) -> Result<Uploaded, LfsError> {
    upload(context, id, Some(len), &mut &body[..])
}

fn get(context: &LfsContext<'_>, id: &FileId, range: Option<(u64, Option<u64>)>) -> Vec<u8> {
    let mut download = open_download(context, id, range).expect("there");
    let mut bytes = Vec::new();
    download.reader.read_to_end(&mut bytes).expect("readable");
    assert_eq!(bytes.len() as u64, download.len);
    bytes
}

#[test]
fn what_went_in_comes_out_whole_and_in_parts() {
    let world = World::new();
    let content = noise(3_000_000, 1);
    let id = world.put(&content);
    assert!(get(&world.context(), &id, None) == content);
    assert!(get(&world.context(), &id, Some((2_000_000, None))) == content[2_000_000..]);
    assert!(get(&world.context(), &id, Some((5, Some(5)))) == content[5..6]);
    assert!(get(&world.context(), &id, Some((5, Some(u64::MAX)))) == content[5..]);
    for range in [(3_000_000, None), (u64::MAX, None), (9, Some(8))] {
        let error = open_download(&world.context(), &id, Some(range)).map(|_| ()).expect_err("no");
        assert!(matches!(error, LfsError::Range { len: 3_000_000 }), "{error}");
    }
    let empty = world.put(b"");
    assert_eq!(get(&world.context(), &empty, None), b"");
}

#[test]
fn a_body_that_is_not_the_object_leaves_nothing() {
    let world = World::new();
    let content = noise(2_000_000, 1);
    let id = file_id(&content);
    let context = world.context();
    let len = content.len() as u64;
    let mut other = content.clone();
    other[1_000_000] ^= 1;
    for (len, body) in [
        (len, &other[..]),
        (len, &content[..1_999_999]),
        (len - 1, &content[..]),
        (len + 1, &content[..]),
        (0, &content[..]),
    ] {
        let error = put(&context, &id, len, body).expect_err("refused");
        assert!(matches!(error, LfsError::WrongContent(_)), "{error}");
        assert_eq!(error.status(), 422);
        assert!(!context.store.files().has(context.repo.id, &id).expect("asked"));
        assert!(open_download(&context, &id, None).is_err());
    }
    assert!(matches!(upload(&context, &id, None, &mut &b""[..]), Err(LfsError::NoLength)));
    put(&context, &id, len, &content).expect("the object itself");
}

#[test]
fn the_bytes_are_needed_even_where_others_have_them() {
    let world = World::new();
    let content = noise(200_000, 1);
    let id = world.put(&content);
    let context = LfsContext { repo: &world.other, ..world.context() };
    assert_eq!(open_download(&context, &id, None).map(|_| ()).expect_err("no").status(), 404);
    let request = VerifyRequest { oid: id.to_string(), size: 200_000 };
    assert_eq!(verify(&context, &request).expect_err("no").status(), 404);
    assert!(put(&context, &id, 200_000, &noise(200_000, 2)).is_err(), "a hash is no key");
    assert!(!context.store.files().has(context.repo.id, &id).expect("asked"));
    let taken = put(&context, &id, 200_000, &content).expect("brought");
    assert!(matches!(taken, Uploaded::Taken(report) if report.new_chunk_count == 0));
    verify(&context, &request).expect("there now");
    assert_eq!(put(&context, &id, 200_000, b"").expect("there"), Uploaded::Present);
}

#[test]
fn readers_do_not_write_and_quotas_hold() {
    let world = World::new();
    let id = file_id(b"12345");
    let reader = LfsContext { rights: Rights::Read, ..world.context() };
    assert_eq!(put(&reader, &id, 5, b"12345").expect_err("refused").status(), 403);
    for (quota, fits) in [(4, false), (5, true)] {
        let context = LfsContext { quota: Some(quota), ..world.context() };
        let taken = put(&context, &id, 5, b"12345");
        assert_eq!(taken.is_ok(), fits, "{taken:?}");
        if let Err(error) = taken {
            assert_eq!(error.status(), 507);
        }
    }
    let over = limits::OBJECT_LEN_MAX + 1;
    let error = put(&world.context(), &file_id(b"x"), over, b"x").expect_err("refused");
    assert_eq!(error.status(), 413);
}

#[test]
fn verify_compares_the_length() {
    let world = World::new();
    let id = world.put(b"12345").to_string();
    let status = |oid: &str, size| {
        verify(&world.context(), &VerifyRequest { oid: oid.to_owned(), size })
            .map_err(|e| e.status())
    };
    assert_eq!(status(&id, 5), Ok(()));
    assert_eq!(status(&id, 4), Err(422));
    assert_eq!(status(&id, -1), Err(422));
    assert_eq!(status("x", 5), Err(422));
    assert_eq!(status(&file_id(b"absent").to_string(), 5), Err(404));
}

/// Breaks off after some bytes, as a client that was killed.
struct Cut<'a>(&'a [u8]);

impl Read for Cut<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
            read => read,
        }
    }
}

#[test]
fn a_client_that_goes_away_leaves_no_half_object() {
    let world = World::new();
    let content = noise(9_000_000, 1);
    let id = file_id(&content);
    let context = world.context();
    let broken = upload(&context, &id, Some(9_000_000), &mut Cut(&content[..8_000_000]));
    let error = broken.expect_err("it broke off");
    assert!(matches!(error, LfsError::Body(_)) && error.status() == 400, "{error}");
    assert!(!context.store.files().has(context.repo.id, &id).expect("asked"));
    assert!(context.store.files().head(&id).expect("asked").is_none());
    let again = put(&context, &id, 9_000_000, &content).expect("a second try");
    let Uploaded::Taken(report) = again else { panic!("{again:?}") };
    assert!(report.new_len < 4_000_000, "what had come is not written again: {report:?}");
}

#[test]
fn the_stores_failures_are_not_the_clients() {
    let status = |error: StoreError| LfsError::from(error).status();
    assert_eq!(status(StoreError::DiskFull { action: "x" }), 507);
    assert_eq!(status(StoreError::Interrupted), 503);
    assert_eq!(status(StoreError::RepoGone { id: mega_storage::RepoId(1) }), 404);
}
