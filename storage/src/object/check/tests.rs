//! The checks without git: what each must find, what must be let through, and that nothing panics.

use proptest::prelude::*;

use super::*;

const HEX: &str = "8ab686eafeb1f44702738c8b0f24f2567c36da6d";

fn ids(kind: ObjectKind, data: &[u8]) -> Vec<&'static str> {
    let mut out = Vec::new();
    check_object(kind, &ObjectId::NULL, data, &mut out);
    out.into_iter().map(|problem| problem.id).collect()
}

fn tree(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let row =
        |(mode, name): &(&str, &[u8])| [mode.as_bytes(), b" ", name, b"\0", &[0x5a; 20]].concat();
    entries.iter().flat_map(row).collect()
}

fn tree_ids(entries: &[(&str, &[u8])]) -> Vec<&'static str> {
    ids(ObjectKind::Tree, &tree(entries))
}

#[test]
fn good_objects_have_no_problems() {
    let good = tree(&[
        ("100644", b".github"),
        ("100644", b"a"),
        ("100664", b"a-long-name-of-more-than-eight-bytes"),
        ("100755", b"git~2"),
        ("120000", b"link"),
        ("40000", b"main"),
        ("160000", b"sub"),
        ("100644", b"~x"),
        ("100644", "ä".as_bytes()),
    ]);
    assert_eq!(ids(ObjectKind::Tree, &good), [] as [&str; 0]);
    assert_eq!(ids(ObjectKind::Tree, b""), [] as [&str; 0]);
    let commit = format!(
        "tree {HEX}\nparent {HEX}\nauthor A <a@b> 1 +0000\ncommitter C <> 0 -0100\nx y\n\nmsg"
    );
    assert_eq!(ids(ObjectKind::Commit, commit.as_bytes()), [] as [&str; 0]);
    let tag = format!("object {HEX}\ntype commit\ntag v1\ntagger T <t@x> 1 +0000\nextra\n\nmsg");
    assert_eq!(ids(ObjectKind::Tag, tag.as_bytes()), [] as [&str; 0]);
    assert_eq!(ids(ObjectKind::Blob, b"\0anything"), [] as [&str; 0]);
}

#[test]
fn names_that_filesystems_take_for_dotgit() {
    for name in [
        &b".git"[..],
        b".GiT",
        b"git~1",
        b"GIT~1 . .",
        b".git ",
        b".git...",
        b".git::$INDEX_ALLOCATION",
        ".g\u{200c}it".as_bytes(),
        "\u{feff}.git\u{206f}".as_bytes(),
        b".git\\hooks",
        b"x\\.git\\y",
        b"x\\git~1",
    ] {
        assert_eq!(tree_ids(&[("40000", name)]), ["hasDotgit"], "{}", name.escape_ascii());
    }
    assert_eq!(tree_ids(&[("40000", b".git/x")]), ["fullPathname", "hasDotgit"]);
    for name in [&b".gitx"[..], b"git~2", b"git", b"x.git", ".g\u{200b}it".as_bytes(), b"x\\y"] {
        assert_eq!(tree_ids(&[("40000", name)]), [] as [&str; 0], "{}", name.escape_ascii());
    }
}

#[test]
fn duplicates_are_found_across_what_stands_between() {
    let file = "100644";
    let cases: [&[(&str, &[u8])]; 6] = [
        &[(file, b"a"), (file, b"a")],
        &[(file, b"a"), ("40000", b"a")],
        &[(file, b"foo"), (file, b"foo.bar"), ("40000", b"foo")],
        &[(file, b"foo"), (file, b"foo.bar"), (file, b"foo.bar.baz"), ("40000", b"foo.bar")],
        &[
            (file, b"foo"),
            (file, b"foo.bar"),
            (file, b"foo.bar.baz"),
            ("40000", b"foo.bar"),
            ("40000", b"foo"),
        ],
        &[(file, b"x"), (file, b"x-"), ("40000", b"x-"), ("40000", b"x")],
    ];
    for case in cases {
        assert_eq!(tree_ids(case), ["duplicateEntries"], "{case:?}");
    }
    assert_eq!(tree_ids(&[(file, b"a.c"), ("40000", b"a")]), [] as [&str; 0]);
    assert_eq!(tree_ids(&[("40000", b"a"), (file, b"a.c")]), ["treeNotSorted"]);
}

#[test]
fn special_blobs_are_noted_and_checked() {
    let names: [&[u8]; 5] =
        [b".gitattributes", b".gitmodules", b"GITMOD~1", b"gi7eba~1", b"x\\.gitmodules"];
    for name in names {
        let mut special = SpecialBlobs::default();
        let mut out = Vec::new();
        check_object_noting(ObjectKind::Tree, &tree(&[("100644", name)]), &mut special, &mut out);
        assert_eq!(out, []);
        let modules = name != b".gitattributes";
        let role = SpecialRole { modules, attributes: !modules };
        let mut all = SpecialBlobs::default();
        all.merge(special);
        let noted: Vec<_> = all.iter().collect();
        assert_eq!(noted, [(&ObjectId::from_bytes([0x5a; 20]), role)]);
        let link = tree(&[("120000", name)]);
        check_object_noting(ObjectKind::Tree, &link, &mut SpecialBlobs::default(), &mut out);
        let expected = if modules { "gitmodulesSymlink" } else { "gitattributesSymlink" };
        assert_eq!(out.pop().map(|p| p.id), Some(expected));
    }
    fn check(content: SpecialContent<'_>) -> Vec<&'static str> {
        let both = SpecialRole { modules: true, attributes: true };
        let mut out = Vec::new();
        check_special_blob(both, content, &mut out);
        out.into_iter().map(|p| p.id).collect()
    }
    assert_eq!(check(SpecialContent::Missing), ["gitmodulesMissing", "gitattributesMissing"]);
    assert_eq!(check(SpecialContent::TooLarge), ["gitmodulesLarge", "gitattributesLarge"]);
    let hidden = b"\xef\xbb\xbf[submodule \"..\"]\nurl=x";
    let hidden = SpecialContent::Object(ObjectKind::Blob, hidden);
    assert_eq!(check(hidden), ["gitmodulesName"], "behind a byte order mark");
    let tree = SpecialContent::Object(ObjectKind::Tree, b"");
    assert_eq!(check(tree), ["gitmodulesBlob", "gitattributesBlob"]);
    assert_eq!(check(SpecialContent::Object(ObjectKind::Blob, b"")), [] as [&str; 0]);
    let line = |len: usize| [&b"# x\n"[..], &vec![b'#'; len], b"\nx"].concat();
    let blob = |data: Vec<u8>| check(SpecialContent::Object(ObjectKind::Blob, &data));
    assert_eq!(blob(line(2047)), [] as [&str; 0]);
    assert_eq!(blob(line(2048)), ["gitattributesLineLength"]);
}

#[test]
fn a_problem_can_be_shown() {
    let mut out = Vec::new();
    let tag = format!("object {HEX}\ntype \x1b[2J\ntag v\n");
    check_object(ObjectKind::Tag, &ObjectId::NULL, tag.as_bytes(), &mut out);
    assert_eq!(out[0].to_string(), "badType: '\\x1b[2J' is no type");
    assert_eq!(out[0].severity, Severity::Error);
    assert!(shown(&[b'x'; 5000]).len() <= 200);
}

proptest! {
    #[test]
    fn nothing_panics(data in prop::collection::vec(any::<u8>(), 0..200)) {
        for kind in [ObjectKind::Commit, ObjectKind::Tree, ObjectKind::Blob, ObjectKind::Tag] {
            let mut special = SpecialBlobs::default();
            check_object_noting(kind, &data, &mut special, &mut Vec::new());
            let _ = crate::object::links(kind, &data);
        }
        let role = SpecialRole { modules: true, attributes: true };
        let content = SpecialContent::Object(ObjectKind::Blob, &data);
        check_special_blob(role, content, &mut Vec::new());
        let _ = crate::object::parse_pointer(&data);
    }

    #[test]
    fn a_name_is_looked_at_whenever_it_matters(
        start in "[.~gGiImM\u{200c}\u{feff}at1-9: ]{1,9}",
        end in "(tmodules|tattributes|tignore|ailmap|7eba)?[~. 1]{0,3}",
    ) {
        use dotfiles::{ATTRIBUTES, IGNORE, MAILMAP, MODULES};
        let name = start + &end;
        let name = name.as_bytes();
        let files = [MODULES, ATTRIBUTES, IGNORE, MAILMAP];
        let matters = name == b"."
            || name == b".."
            || dotfiles::is_dotgit(name)
            || files.into_iter().any(|file| dotfiles::is(file, name));
        prop_assert!(!matters || dotfiles::is_suspicious(name));
    }
}
