//! Files up and down: what moves, what is taken up again, what is noticed.

use std::sync::atomic::Ordering;

use super::*;

/// A file and its second version: a tenth of it is other, in one piece and in scattered ones.
fn versions() -> (Vec<u8>, Vec<u8>) {
    let old = noise(40_000_000, 1);
    let mut new = old.clone();
    new[10_000_000..13_500_000].copy_from_slice(&noise(3_500_000, 2));
    for part in 0..5 {
        let at = 20_000_000 + part * 3_000_000;
        new[at..at + 100_000].copy_from_slice(&noise(100_000, 3));
    }
    (old, new)
}

#[test]
fn a_second_version_moves_little_more_than_what_changed() {
    let (old, new) = versions();
    let remote = StoreRemote::new();
    let (ours, theirs) = (Clone::new(), Clone::new());
    let (first, second) = (ours.add(&old), ours.add(&new));
    assert!(is_well(&ours.upload(&remote, &first)));
    let (up, _) = remote.moved();
    assert!(up >= first.len, "{up}");
    assert!(is_well(&ours.upload(&remote, &second)));
    let (up, down) = remote.moved();
    assert!(up + down <= new.len() as u64 * 15 / 100, "{up} up and {down} down");
    assert!(remote.has(&second.file));

    assert!(is_well(&theirs.download(&remote, &first)));
    let (_, down) = remote.moved();
    assert!((first.len..first.len + 100_000).contains(&down), "{down}");
    assert!(is_well(&theirs.download(&remote, &second)));
    let (up, down) = remote.moved();
    assert!(up + down <= new.len() as u64 * 15 / 100, "{up} up and {down} down");
    assert!(fs::read(theirs.path(&second.file)).expect("there") == new);
}

#[test]
fn history_names_what_does_not_lie_here() {
    let (old, new) = versions();
    let remote = StoreRemote::new();
    let (ours, theirs) = (Clone::new(), Clone::new());
    let first = ours.add(&old);
    assert!(is_well(&ours.upload(&remote, &first)));
    remote.moved();
    let second = theirs.add(&new);
    let earlier = |pointer: &Pointer| {
        assert_eq!(*pointer, second);
        vec![first.file]
    };
    let lines = [init("upload"), theirs.upload_line(&second)];
    let said = theirs.talk(&remote, &lines, &earlier);
    assert!(is_well(&check_progress(&said, &second)));
    let (up, _) = remote.moved();
    assert!(up <= new.len() as u64 * 15 / 100, "{up}");
}

#[test]
fn small_and_empty_files_go_as_a_whole() {
    let remote = StoreRemote::new();
    let (ours, theirs) = (Clone::new(), Clone::new());
    for content in [&b""[..], b"x", &noise(WHOLE_LEN_MAX as usize, 1)] {
        let pointer = ours.add(content);
        assert!(is_well(&ours.upload(&remote, &pointer)), "{}", content.len());
        assert!(is_well(&theirs.download(&remote, &pointer)), "{}", content.len());
        assert!(fs::read(theirs.path(&pointer.file)).expect("there") == content);
    }
}

#[test]
fn an_upload_that_was_cut_off_goes_on() {
    let remote = StoreRemote::new();
    let ours = Clone::new();
    let pointer = ours.add(&noise(40_000_000, 1));
    remote.left.store(12, Ordering::Relaxed);
    let end = ours.upload(&remote, &pointer);
    assert_eq!(end["error"]["message"], "the LFS server h could not be asked: cut");
    assert!(!remote.has(&pointer.file));
    let (before, _) = remote.moved();
    assert!(before > 20_000_000);
    remote.left.store(i64::MAX, Ordering::Relaxed);
    assert!(is_well(&ours.upload(&remote, &pointer)));
    let (after, _) = remote.moved();
    assert!(after < 18_000_000, "{after}: what had come is not sent again");
    assert!(remote.has(&pointer.file));
}

#[test]
fn a_download_that_was_cut_off_goes_on() {
    let remote = StoreRemote::new();
    let (ours, theirs) = (Clone::new(), Clone::new());
    let content = noise(60_000_000, 1);
    let pointer = ours.add(&content);
    assert!(is_well(&ours.upload(&remote, &pointer)));
    remote.moved();
    remote.left.store(4, Ordering::Relaxed);
    assert!(!is_well(&theirs.download(&remote, &pointer)));
    let (_, before) = remote.moved();
    assert!(before > 25_000_000, "{before}");
    remote.left.store(i64::MAX, Ordering::Relaxed);
    assert!(is_well(&theirs.download(&remote, &pointer)));
    let (_, after) = remote.moved();
    let twice = (before + after).saturating_sub(60_000_000);
    assert!(twice < 500_000, "{before} and {after}: what had come is not fetched again");
    assert!(fs::read(theirs.path(&pointer.file)).expect("there") == content);
}

#[test]
fn damage_that_lies_here_is_not_used() {
    let (old, new) = versions();
    let remote = StoreRemote::new();
    let (ours, theirs) = (Clone::new(), Clone::new());
    let (first, second) = (ours.add(&old), ours.add(&new));
    for pointer in [&first, &second] {
        assert!(is_well(&ours.upload(&remote, pointer)));
    }
    assert!(is_well(&theirs.download(&remote, &first)));
    // The base has rotted since its chunks were noted; a part of the second is rubbish.
    let mut rotten = old;
    rotten[30_000_000..31_000_000].fill(0);
    fs::write(theirs.path(&first.file), &rotten).expect("written");
    let part = theirs.dir.path().join("mega/part").join(second.file.to_string());
    fs::write(&part, noise(50_000_000, 9)).expect("written");
    assert!(is_well(&theirs.download(&remote, &second)));
    assert!(fs::read(theirs.path(&second.file)).expect("there") == new);
    // A list of chunks that is not one counts as none.
    let list = ours.dir.path().join("mega/chunks").join(first.file.to_string());
    fs::write(list, b"rubbish").expect("written");
    let third = ours.add(&[&new[..], b"more"].concat());
    assert!(is_well(&ours.upload(&remote, &third)));
}

#[test]
fn a_file_that_changed_while_it_went_up_is_refused() {
    let remote = StoreRemote::new();
    let ours = Clone::new();
    let content = noise(3_000_000, 1);
    let pointer = ours.add(&content);
    fs::write(ours.path(&pointer.file), noise(3_000_000, 2)).expect("written");
    let end = ours.upload(&remote, &pointer);
    assert_eq!(end["error"]["code"], 422, "{end}");
    assert!(!remote.has(&pointer.file));
    fs::write(ours.path(&pointer.file), &content[1..]).expect("written");
    assert!(!is_well(&ours.upload(&remote, &pointer)));
    // What was noted of the wrong bytes does not stand in the way of the right ones.
    fs::write(ours.path(&pointer.file), &content).expect("written");
    assert!(is_well(&ours.upload(&remote, &pointer)));
}
