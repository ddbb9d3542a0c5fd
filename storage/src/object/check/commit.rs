//! Checks of commits, and of what tags share with them: header lines and identities.

#![deny(clippy::indexing_slicing)]

use super::Problem;
use crate::id::ObjectId;

/// Checks a commit; the first error ends it.
pub(super) fn check(data: &[u8], out: &mut Vec<Problem>) -> Result<(), Problem> {
    check_headers(data)?;
    let mut rest = data
        .strip_prefix(b"tree ")
        .ok_or_else(|| Problem::error("missingTree", "it does not start with a 'tree' line"))?;
    rest = after_id(rest)
        .ok_or_else(|| Problem::error("badTreeSha1", "its 'tree' line does not name an object"))?;
    while let Some(parent) = rest.strip_prefix(b"parent ") {
        let detail = "a 'parent' line does not name an object";
        rest = after_id(parent).ok_or_else(|| Problem::error("badParentSha1", detail))?;
    }
    let mut author_count = 0;
    while let Some(ident) = rest.strip_prefix(b"author ") {
        author_count += 1;
        rest = check_ident(ident)?;
    }
    match author_count {
        0 => return Err(Problem::error("missingAuthor", "there is no 'author' line")),
        1 => {}
        _ => return Err(Problem::error("multipleAuthors", "there are several 'author' lines")),
    }
    let ident = rest
        .strip_prefix(b"committer ")
        .ok_or_else(|| Problem::error("missingCommitter", "there is no 'committer' line"))?;
    check_ident(ident)?;
    if data.contains(&0) {
        out.push(Problem::warn("nulInCommit", "there is a NUL byte in the message"));
    }
    Ok(())
}

/// The headers end with an empty line, or the object with a newline, and hold no NUL. What reads
/// them afterwards may rely on each line having an end.
pub(super) fn check_headers(data: &[u8]) -> Result<(), Problem> {
    let mut previous = 0;
    for (offset, &byte) in data.iter().enumerate() {
        match byte {
            0 => {
                let detail = format!("there is a NUL byte in the headers, at offset {offset}");
                return Err(Problem::fatal("nulInHeader", detail));
            }
            b'\n' if previous == b'\n' => return Ok(()),
            _ => previous = byte,
        }
    }
    match data.last() {
        Some(b'\n') => Ok(()),
        _ => Err(Problem::fatal("unterminatedHeader", "the last header line has no end")),
    }
}

/// What follows forty hex digits and a newline.
pub(super) fn after_id(data: &[u8]) -> Option<&[u8]> {
    let (hex, rest) = data.split_at_checked(ObjectId::LEN * 2)?;
    if !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    rest.strip_prefix(b"\n")
}

/// Checks `Name <mail> seconds zone` up to the end of its line; returns what follows the line.
pub(super) fn check_ident(data: &[u8]) -> Result<&[u8], Problem> {
    let len = data.iter().position(|&b| b == b'\n').unwrap_or(data.len());
    let (line, rest) = data.split_at_checked(len).unwrap_or((data, b""));
    let date = check_person(line)?;
    check_date(date)?;
    Ok(rest.strip_prefix(b"\n").unwrap_or(rest))
}

/// `Name <mail> `; returns what follows.
fn check_person(line: &[u8]) -> Result<&[u8], Problem> {
    let angle = |bytes: &[u8]| bytes.iter().position(|b| matches!(b, b'<' | b'>'));
    if line.first() == Some(&b'<') {
        return Err(Problem::error("missingNameBeforeEmail", "an identity starts with its email"));
    }
    let name_len = angle(line).unwrap_or(line.len());
    let (name, mail) = line.split_at_checked(name_len).unwrap_or((line, b""));
    let mail = match mail.split_first() {
        Some((b'<', mail)) => mail,
        Some(_) => return Err(Problem::error("badName", "an identity's name has a '>'")),
        None => return Err(Problem::error("missingEmail", "an identity has no email")),
    };
    // An empty name ends in the space that ended the keyword, but then the line would start with
    // '<'.
    if name.last() != Some(&b' ') {
        let detail = "there is no space before an identity's email";
        return Err(Problem::error("missingSpaceBeforeEmail", detail));
    }
    let after = angle(mail).and_then(|end| mail.get(end..)).unwrap_or_default();
    let date = after
        .strip_prefix(b">")
        .ok_or_else(|| Problem::error("badEmail", "an identity's email does not end in '>'"))?;
    date.strip_prefix(b" ").ok_or_else(|| {
        Problem::error("missingSpaceBeforeDate", "there is no space after an identity's email")
    })
}

/// Seconds, a space, a zone such as `+0100`, the end of the line.
fn check_date(text: &[u8]) -> Result<(), Problem> {
    let bad_date = || Problem::error("badDate", "an identity's date is not a number");
    let start = text.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(text.len());
    let text = text.get(start..).unwrap_or_default();
    let len = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, after) = text.split_at_checked(len).unwrap_or((text, b""));
    let Some(first) = digits.first() else {
        return Err(bad_date());
    };
    if *first == b'0' && text.get(1) != Some(&b' ') {
        return Err(Problem::error("zeroPaddedDate", "an identity's date has leading zeros"));
    }
    if std::str::from_utf8(digits).ok().and_then(|d| d.parse::<i64>().ok()).is_none() {
        let detail = "an identity's date does not fit in 64 bits";
        return Err(Problem::error("badDateOverflow", detail));
    }
    match after.strip_prefix(b" ").ok_or_else(bad_date)? {
        [b'+' | b'-', zone @ ..] if zone.len() == 4 && zone.iter().all(u8::is_ascii_digit) => {
            Ok(())
        }
        _ => Err(Problem::error("badTimezone", "an identity's time zone is not four digits")),
    }
}
