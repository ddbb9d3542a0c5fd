//! Pointers and near misses, with git-lfs as the oracle where it is installed.

use std::process::Command;

use super::*;

const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
const V1: &str = "https://git-lfs.github.com/spec/v1";

fn canonical() -> String {
    format!("version {V1}\noid sha256:{OID}\nsize 12345\n")
}

/// The texts: each is a pointer or misses being one by little.
fn near_misses() -> Vec<Vec<u8>> {
    let good = canonical();
    let mut texts: Vec<String> = whole_texts();
    texts.extend(sizes_and_versions());
    texts.extend(extensions());
    let mut all: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    all.push([good.as_bytes(), b"\xff"].concat());
    all.push([b"\xff", good.as_bytes()].concat());
    all.push([good.as_bytes(), b"\xa0"].concat());
    all.push([good.as_bytes(), b"\0"].concat());
    for len in [1022, 1023] {
        let blanks = vec![b'\n'; len - good.len()];
        all.push([good.as_bytes(), &blanks].concat());
    }
    for index in 0..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[index] ^= 1;
        all.push(changed);
        all.push(good.as_bytes()[..index + 1].to_vec());
    }
    all
}

/// Changes of lines and of the text around them.
fn whole_texts() -> Vec<String> {
    let good = canonical();
    vec![
        good.clone(),
        good.replace('\n', "\r\n"),
        good.trim_end().to_owned(),
        good.replace('\n', "\n\n"),
        good.replace('\n', "\r\r\n"),
        format!("\n \t{good}\n\n"),
        format!("\u{a0}\u{2003}{good}\u{3000}\u{85}"),
        format!("\u{feff}{good}"),
        good.replace(OID, &OID.to_uppercase()),
        good.replace(OID, &OID[1..]),
        good.replace(OID, &format!("{OID}0")),
        good.replace("sha256:", "sha1:"),
        good.replace("sha256:", "sha256"),
        good.replace("oid ", "oid  "),
        good.replace(&format!("{OID}\n"), &format!("{OID} \n")),
        good.replace("size ", "size\t"),
        good.replace("version ", "Version "),
        good.replace("oid", "OID"),
        format!("{good}x y\n"),
        format!("{good}size 1\n"),
        format!("{good}ext-1-a sha256:{OID}\n"),
        format!("{good}nospace\n"),
        format!("{good}\n\n  \n"),
        format!("a 1\n{good}"),
        format!("oid sha256:{OID}\nversion {V1}\nsize 1\n"),
        format!("version {V1}\nsize 1\noid sha256:{OID}\n"),
        format!("version {V1}\nversion {V1}\noid sha256:{OID}\nsize 1\n"),
        format!("version {V1}\noid sha256:{OID}\n"),
        format!("version {V1}\n"),
        format!("oid sha256:{OID}\nsize 1\n"),
        format!("ext-0-a sha256:{OID}\n{good}"),
        good.replace("12345\n", &format!("1{}\n", " ".repeat(800))),
        good.replace("12345\n", "1 \nx"),
        "version ".to_owned(),
        "git-lfs".to_owned(),
        "x".to_owned(),
        " ".to_owned(),
    ]
}

/// Sizes and versions, good and bad.
fn sizes_and_versions() -> Vec<String> {
    let sized = |size: &str| format!("version {V1}\noid sha256:{OID}\nsize {size}\n");
    let version = |v: &&str| format!("version {v}\noid sha256:{OID}\nsize 1\n");
    let sizes = "0 -0 +0 -1 +5 007 1.0 1e3 0x10 1_000 9223372036854775807 9223372036854775808 \
     18446744073709551616 ١";
    let odd = ["", " 1", "1 ", "1\u{a0}"];
    let versions = [
        "http://git-media.io/v/2",
        "https://hawser.github.com/spec/v1",
        "http://git-lfs.github.com/spec/v1",
        "https://git-lfs.github.com/spec/v2",
        "https://git-lfs.github.com/spec/v1 ",
        " https://git-lfs.github.com/spec/v1",
        "hawser",
        "",
    ];
    sizes.split(' ').chain(odd).map(sized).chain(versions.iter().map(version)).collect()
}

/// Extension lines, good and bad.
fn extensions() -> Vec<String> {
    let ext = |lines: String| format!("version {V1}\n{lines}oid sha256:{OID}\nsize 1\n");
    let line = |key: &str| format!("{key} sha256:{OID}\n");
    let lines = [
        line("ext-0-foo"),
        line("ext-0-foo") + &line("ext-1-bar"),
        line("ext-1-bar") + &line("ext-0-foo"),
        line("ext-0-foo") + &line("ext-0-bar"),
        line("ext-0-foo") + &line("ext-0-foo"),
        "ext-0-foo bad\n".to_owned() + &line("ext-0-foo"),
        line("ext-0-foo") + "ext-0-foo bad\n",
        line("ext-10-foo"),
        line("ext-a-foo"),
        line("ext-0-"),
        line("ext-0--"),
        line("ext-0-_x.y-z"),
        line("ext-0-é"),
        line("ext-0"),
        line("xext-0-foo"),
        line("ext-0-foo").replace("sha256", "md5"),
        line("ext-0-foo").to_uppercase(),
    ];
    lines.into_iter().map(ext).collect()
}

fn lfs_accepts(text: &[u8], dir: &std::path::Path) -> bool {
    let path = dir.join("pointer");
    std::fs::write(&path, text).expect("written");
    let status = Command::new("git-lfs")
        .args(["pointer", "--check", "--file"])
        .arg(&path)
        .status()
        .expect("git-lfs runs");
    status.success()
}

#[test]
fn agrees_with_git_lfs() {
    if Command::new("git-lfs").arg("version").output().is_err() {
        eprintln!("git-lfs is not installed: nothing to compare with");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    for text in near_misses() {
        let ours = parse_pointer(&text).is_some();
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(ours, lfs_accepts(&text, dir.path()), "{shown:?}");
    }
}

#[test]
fn reads_what_the_pointer_says() {
    let pointer = parse_pointer(canonical().as_bytes()).expect("a pointer");
    assert_eq!((pointer.file.to_string().as_str(), pointer.len), (OID, 12345));
    let with_extension =
        canonical().replace("oid ", &format!("ext-0-foo sha256:{}\noid ", "0".repeat(64)));
    let pointer = parse_pointer(with_extension.as_bytes()).expect("a pointer");
    assert_eq!(pointer.file.to_string(), OID);
    let accepted = near_misses().iter().filter(|text| parse_pointer(text).is_some()).count();
    assert!((60..150).contains(&accepted), "{accepted}");
}

#[test]
fn the_empty_blob_and_long_blobs_are_no_pointers() {
    assert_eq!(parse_pointer(b""), None);
    let padded = |len: usize| {
        let mut text = canonical().into_bytes();
        text.resize(len, b'\n');
        text
    };
    assert!(parse_pointer(&padded(POINTER_LEN_MAX - 1)).is_some());
    assert!(parse_pointer(&padded(POINTER_LEN_MAX)).is_none());
}
