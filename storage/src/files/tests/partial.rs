//! Files that come chunk by chunk: what counts as there, what is kept, what ends it.

use super::*;
use crate::chunk::cutter::ChunkCutter;
use crate::files::PartialUpload;
use crate::id::ChunkId;
use crate::repos::Visibility;

const OTHER: RepoId = RepoId(8);

fn cut(bytes: &[u8]) -> Vec<(ChunkRef, Bytes)> {
    ChunkCutter::new(bytes).map(|chunk| chunk.expect("readable")).collect()
}

fn refs(bytes: &[u8]) -> Vec<ChunkRef> {
    cut(bytes).into_iter().map(|(chunk, _)| chunk).collect()
}

fn add(upload: &PartialUpload<'_>, chunks: &[Bytes]) -> Result<Vec<ChunkRef>> {
    let mut end = 0;
    let ends = chunks.iter().map(|chunk| {
        end += chunk.len();
        end
    });
    let ends = ends.collect();
    upload.add(chunks.concat().into(), ends)
}

/// Sends what is missing and finishes; returns the bytes that were sent.
fn bring(upload: &PartialUpload<'_>, bases: &[FileId], bytes: &[u8]) -> Result<u64> {
    let chunks = cut(bytes);
    let missing = upload.missing(bases, &refs(bytes))?;
    let wanted = chunks.iter().zip(missing).filter(|(_, missing)| *missing);
    let mut sent = 0;
    for ((_, plain), _) in wanted {
        add(upload, std::slice::from_ref(plain))?;
        sent += plain.len() as u64;
    }
    let plan = upload.plan(bases, &mut refs(bytes).into_iter())?;
    upload.finish(plan, &NoProgress)?;
    Ok(sent)
}

#[test]
fn the_cutter_cuts_as_the_store_does() {
    let (_dir, store) = new_store();
    for bytes in [vec![], samples::random(3 * RUN_LEN + 17, 1), samples::text(40_000, 2)] {
        ingest(&store, &bytes);
        let spans = store.files().chunk_spans(&file_id(&bytes), 0, u64::MAX).expect("there");
        assert_eq!(refs(&bytes), spans.iter().map(|span| span.chunk).collect::<Vec<_>>());
        let joined: Vec<u8> = cut(&bytes).iter().flat_map(|(_, plain)| plain.to_vec()).collect();
        assert!(joined == bytes);
    }
}

#[test]
fn the_first_chunk_makes_the_repository_that_it_comes_into() {
    let (_dir, store) = new_store();
    let name = RepoName::new("a").expect("a name");
    let draft = store.repos().draft(&name).expect("held");
    let bytes = samples::random(1_000, 1);
    let upload = store.files().partial_upload(draft.repo().id, pointer(&bytes));
    assert_eq!(upload.missing(&[], &refs(&bytes)).expect("answered"), [true]);
    add(&upload, &[samples::random(2_000, 2).into()]).expect_err("more than the file has");
    assert_eq!(store.repos().list().expect("listed"), []);
    add(&upload, &[Bytes::from(bytes.clone())]).expect("kept");
    assert_eq!(store.repos().get(&name).expect("made"), *draft.repo());
    drop(draft);
    assert_eq!(upload.missing(&[], &refs(&bytes)).expect("answered"), [false], "goes on");
}

#[test]
fn a_file_comes_whole_and_leaves_no_lease() {
    let (_dir, store) = new_store();
    let bytes = samples::random(5 * RUN_LEN + 3, 1);
    let upload = store.files().partial_upload(REPO, pointer(&bytes));
    assert_eq!(bring(&upload, &[], &bytes).expect("brought"), bytes.len() as u64);
    check_content(&store, &bytes);
    assert!(store.files().has(REPO, &file_id(&bytes)).expect("asked"));
    assert_eq!(store.files().inner.db.scan(Family::Lease, b"").count(), 0);
    assert_eq!(bring(&upload, &[], &bytes).expect("again"), 0, "whose answer got lost");
}

#[test]
fn a_second_version_needs_what_changed() {
    let (_dir, store) = new_store();
    let old = samples::random(8 << 20, 1);
    ingest(&store, &old);
    let mut new = old.clone();
    new.splice(2_000_000..2_100_000, samples::random(150_000, 2));
    let upload = store.files().partial_upload(REPO, pointer(&new));
    let sent = bring(&upload, &[file_id(&old)], &new).expect("brought");
    assert!((150_000..800_000).contains(&sent), "{sent}");
    check_content(&store, &new);
}

#[test]
fn what_others_have_counts_for_nothing() {
    let (_dir, store) = new_store();
    let bytes = samples::random(3 << 20, 1);
    ingest(&store, &bytes);
    let upload = store.files().partial_upload(OTHER, pointer(&bytes));
    let id = file_id(&bytes);
    // Neither the chunks nor the file that the repository has no right to, named as a base.
    for bases in [&[][..], &[id]] {
        let missing = upload.missing(bases, &refs(&bytes)).expect("asked");
        assert!(missing.iter().all(|missing| *missing));
        let plan = upload.plan(bases, &mut refs(&bytes).into_iter()).map(|_| ());
        assert!(matches!(plan, Err(StoreError::MissingChunk { .. })), "{plan:?}");
    }
    let absent = refs(&samples::random(100_000, 9));
    assert!(upload.missing(&[id], &absent).expect("asked").iter().all(|missing| *missing));
    assert!(!store.files().has(OTHER, &id).expect("asked"));
    assert_eq!(bring(&upload, &[id], &bytes).expect("brought"), bytes.len() as u64);
    assert!(store.files().has(OTHER, &id).expect("asked"), "it brought its bytes");
}

#[test]
fn what_came_is_kept_for_this_file_in_this_repository_alone() {
    let (dir, store) = new_store();
    let bytes = samples::random(3 << 20, 1);
    let other_file = [&bytes[..], b"more"].concat();
    let chunks = cut(&bytes);
    let half: Vec<Bytes> = chunks[..20].iter().map(|(_, plain)| plain.clone()).collect();
    let sent = add(&store.files().partial_upload(REPO, pointer(&bytes)), &half).expect("kept");
    assert_eq!(sent, refs(&bytes)[..20]);
    drop(store);
    let store = Store::open(&dir.path().join("s"), &options()).expect("opened");
    let files = store.files();
    let missing = |repo, file: &[u8]| {
        let upload = files.partial_upload(repo, pointer(file));
        let missing = upload.missing(&[], &refs(&bytes)).expect("asked");
        missing.iter().filter(|missing| **missing).count()
    };
    assert_eq!(missing(REPO, &bytes), chunks.len() - 20, "also after a restart");
    assert_eq!(missing(OTHER, &bytes), chunks.len());
    assert_eq!(missing(REPO, &other_file), chunks.len());
    let upload = files.partial_upload(REPO, pointer(&bytes));
    let rest = chunks[20..].iter().map(|(_, plain)| plain.len() as u64).sum::<u64>();
    assert_eq!(bring(&upload, &[], &bytes).expect("brought"), rest);
    check_content(&store, &bytes);
}

#[test]
fn a_wrong_length_of_a_chunk_is_not_that_chunk() {
    let (_dir, store) = new_store();
    let bytes = samples::random(2 << 20, 1);
    ingest(&store, &bytes);
    let new = samples::random(2 << 20, 2);
    let upload = store.files().partial_upload(REPO, pointer(&new));
    add(&upload, &[cut(&new)[0].1.clone()]).expect("kept");
    for (chunk, base) in [(refs(&bytes)[3], file_id(&bytes)), (refs(&new)[0], file_id(&new))] {
        let right = upload.missing(&[base], &[chunk]).expect("asked");
        let wrong = ChunkRef { len: chunk.len - 1, ..chunk };
        let wrong = upload.missing(&[base], &[wrong]).expect("asked");
        assert_eq!((right, wrong), (vec![false], vec![true]));
    }
}

#[test]
fn chunks_that_are_not_the_file_end_in_an_error_and_nothing() {
    let (_dir, store) = new_store();
    let bytes = samples::random(3 << 20, 1);
    let mut swapped = refs(&bytes);
    swapped.swap(0, 1);
    let upload = store.files().partial_upload(REPO, pointer(&bytes));
    for (_, plain) in cut(&bytes) {
        add(&upload, &[plain]).expect("kept");
    }
    let plan = upload.plan(&[], &mut swapped.into_iter()).expect("all are there");
    let done = upload.finish(plan, &NoProgress);
    assert!(matches!(done, Err(StoreError::FileHashMismatch { .. })), "{done:?}");
    check_absent(&store, &file_id(&bytes));
    let count = refs(&bytes).len();
    for short in [0, count - 1] {
        let plan = upload.plan(&[], &mut refs(&bytes).into_iter().take(short)).map(|_| ());
        assert!(matches!(plan, Err(StoreError::FileLenMismatch { .. })), "{plan:?}");
    }
    let mut endless = refs(&bytes).into_iter().cycle();
    let plan = upload.plan(&[], &mut endless).map(|_| ());
    assert!(matches!(plan, Err(StoreError::FileLenMismatch { .. })), "{plan:?}");
    assert_eq!(bring(&upload, &[], &bytes).expect("a second try"), 0);
    check_content(&store, &bytes);
}

#[test]
fn no_more_is_kept_than_the_file_has() {
    let (_dir, store) = new_store();
    let bytes = samples::random(300_000, 1);
    let upload = store.files().partial_upload(REPO, pointer(&bytes));
    let chunks: Vec<Bytes> = cut(&bytes).into_iter().map(|(_, plain)| plain).collect();
    add(&upload, &chunks).expect("all of it");
    add(&upload, &chunks).expect("again, which is not counted");
    let wrong = cut(&samples::random(300_000, 2)).into_iter().map(|(_, plain)| plain);
    add(&upload, &wrong.collect::<Vec<_>>()).expect("as much of something else");
    assert!(!upload.missing(&[], &refs(&bytes)).expect("asked")[0]);
    add(&upload, &[Bytes::from_static(b"x")]).expect("and more");
    let missing = upload.missing(&[], &refs(&bytes)).expect("asked");
    assert!(missing.iter().all(|missing| *missing), "it begins anew");
    let over = [&chunks[..], &[Bytes::from_static(b"yy")]].concat();
    let more = add(&upload, &over);
    assert!(matches!(more, Err(StoreError::Limit { .. })), "{more:?}");
    assert_eq!(bring(&upload, &[], &bytes).expect("brought"), bytes.len() as u64);
    for len in [MAX, MAX + 1] {
        let upload = store.files().partial_upload(REPO, Pointer { len: 1 << 30, ..pointer(b"x") });
        let added = add(&upload, &[samples::random(len, 3).into()]);
        assert_eq!(added.is_ok(), len == MAX, "{added:?}");
    }
}

#[test]
fn uploads_are_forgotten_when_nobody_goes_on() {
    let (_dir, store) = new_store();
    let bytes = samples::random(300_000, 1);
    let files = store.files();
    let upload = files.partial_upload(REPO, pointer(&bytes));
    add(&upload, &[cut(&bytes)[0].1.clone()]).expect("kept");
    assert_eq!(files.expire_uploads(3600).expect("asked"), 0);
    assert!(!upload.missing(&[], &refs(&bytes)).expect("asked")[0]);
    // As if the clock had gone on.
    let key = keys::lease_upload(REPO, &file_id(&bytes));
    let mut row = files.inner.db.get(Family::Lease, &key).expect("read").expect("there").to_vec();
    row[17..].copy_from_slice(&1u64.to_be_bytes());
    let mut batch = files.inner.db.batch();
    batch.put(Family::Lease, &key, &row);
    files.inner.db.commit(batch, Durability::Synced).expect("written");
    assert_eq!(files.expire_uploads(3600).expect("asked"), 1);
    assert!(upload.missing(&[], &refs(&bytes)).expect("asked")[0]);
    assert_eq!(files.inner.db.scan(Family::Lease, b"").count(), 0);
}

#[test]
fn deleting_a_repository_forgets_its_uploads() {
    let (_dir, store) = new_store();
    let name = RepoName::new("a").expect("a name");
    let repo = store.repos().create(&name, Visibility::Private).expect("made").id;
    let bytes = samples::random(300_000, 1);
    let upload = store.files().partial_upload(repo, pointer(&bytes));
    add(&upload, &[cut(&bytes)[0].1.clone()]).expect("kept");
    store.repos().delete(&name).expect("deleted");
    assert_eq!(store.files().inner.db.scan(Family::Lease, b"").count(), 0);
}

#[test]
fn lease_rows_are_as_the_format_says() {
    let (_dir, store) = new_store();
    let file = Pointer { file: FileId::from_bytes([0xab; 32]), len: 5 };
    let added = add(&store.files().partial_upload(REPO, file), &[Bytes::from_static(b"hello")]);
    let chunk: ChunkId = added.expect("kept")[0].id;
    let rows: Vec<_> =
        store.files().inner.db.scan(Family::Lease, b"").map(|row| row.expect("read")).collect();
    let [(upload_key, upload), (chunk_key, chunk_row)] = &rows[..] else { panic!("{rows:?}") };
    let name = [&[0, 0, 0, 7][..], &[0xab; 32]].concat();
    assert_eq!(**upload_key, [b"u", &name[..]].concat());
    assert_eq!(upload[..17], [&[1][..], &5u64.to_be_bytes(), &5u64.to_be_bytes()].concat());
    assert_eq!(upload.len(), 25);
    assert_eq!(**chunk_key, [b"v", &name[..], chunk.as_bytes()].concat());
    assert_eq!(**chunk_row, 5u32.to_be_bytes());
}

#[test]
fn the_bytes_of_a_repository_are_kept_up_to_date() {
    let (_dir, store) = new_store();
    let files = store.files();
    let [a, b] = [samples::random(100_000, 1), samples::random(5_000, 2)];
    ingest(&store, &a);
    assert_eq!(files.repo_len(REPO).expect("summed"), 100_000);
    ingest(&store, &b);
    ingest(&store, &b);
    assert_eq!(files.repo_len(REPO).expect("kept"), 105_000);
    assert!(files.remove(REPO, &file_id(&a)).expect("removed"));
    assert!(!files.remove(REPO, &file_id(&a)).expect("gone"));
    assert_eq!(files.repo_len(REPO).expect("kept"), 5_000);
    files.grant(REPO, &file_id(&a)).expect("granted");
    files.grant(REPO, &file_id(&a)).expect("granted");
    assert_eq!(files.repo_len(REPO).expect("kept"), 105_000);
    assert_eq!(files.repo_len(OTHER).expect("summed"), 0);
}
