//! Whether a submodule's URL is one that git would fetch from without being fooled.
//!
//! Refused are options in disguise, newlines (plain or escaped: they end a line of a credential
//! helper's protocol), relative URLs that climb past their root, and what git cannot normalise.

#![deny(clippy::indexing_slicing)]

/// Whether git lets the URL stand in a `.gitmodules`.
pub(super) fn is_safe(url: &[u8]) -> bool {
    if url.starts_with(b"-") {
        return false;
    }
    if after_dots(url, 1).is_some() || after_dots(url, 2).is_some() || url.starts_with(b"git://") {
        return !decodes_to_newline(url) && !climbs_past_root(url);
    }
    match for_curl(url) {
        Some(url) => normalize(url).is_some_and(|url| !decodes_to_newline(&url)),
        None => true,
    }
}

/// What follows `./` (one dot) or `../` (two), with any system's separator.
fn after_dots(url: &[u8], dots: usize) -> Option<&[u8]> {
    let (start, rest) = url.split_at_checked(dots)?;
    match rest {
        [b'/' | b'\\', rest @ ..] if start.iter().all(|&b| b == b'.') => Some(rest),
        _ => None,
    }
}

/// `../` at the start, and then a `:` or `/` where the host would end.
fn climbs_past_root(url: &[u8]) -> bool {
    let mut rest = url;
    let mut up = 0;
    loop {
        if let Some(after) = after_dots(rest, 2) {
            up += 1;
            rest = after;
        } else if let Some(after) = after_dots(rest, 1) {
            rest = after;
        } else {
            return up > 0 && matches!(rest.first(), Some(b':' | b'/'));
        }
    }
}

/// The URL that git's HTTP and FTP helper would get.
fn for_curl(url: &[u8]) -> Option<&[u8]> {
    const SCHEMES: [&[u8]; 4] = [b"http", b"https", b"ftp", b"ftps"];
    let rest = |scheme: &&[u8]| url.strip_prefix(*scheme);
    let helper = SCHEMES.iter().filter_map(rest).find_map(|rest| rest.strip_prefix(b"::"));
    let plain = || SCHEMES.iter().filter_map(rest).any(|rest| rest.starts_with(b"://"));
    helper.or_else(|| plain().then_some(url))
}

/// Whether there is a newline once `%` escapes after the scheme are resolved.
fn decodes_to_newline(url: &[u8]) -> bool {
    let scheme_len = url.iter().position(|&b| b == b':').unwrap_or(0);
    let escaped = |part: &[u8]| part.eq_ignore_ascii_case(b"%0a");
    url.contains(&b'\n') || url.get(scheme_len..).unwrap_or_default().windows(3).any(escaped)
}

/// Brings a URL into git's normal form; `None` when it has none.
fn normalize(url: &[u8]) -> Option<Vec<u8>> {
    let scheme_len = url
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || b"+.-".contains(b)))
        .filter(|_| url.first().is_some_and(u8::is_ascii_alphabetic))?;
    let rest = url.get(scheme_len..)?.strip_prefix(b"://")?;
    let mut out = url.get(..scheme_len)?.to_ascii_lowercase();
    out.extend_from_slice(b"://");
    let authority_len = rest.iter().position(|b| ends_segment(*b)).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(authority_len)?;
    let host = match authority.iter().position(|&b| b == b'@') {
        Some(at) => {
            push_escaped(&mut out, authority.get(..at)?)?;
            out.push(b'@');
            authority.get(at + 1..)?
        }
        None => authority,
    };
    push_host(&mut out, host)?;
    push_path(&mut out, rest)?;
    Some(out)
}

const fn ends_segment(byte: u8) -> bool {
    matches!(byte, b'/' | b'?' | b'#')
}

/// The host in lower case, and the port unless it is the scheme's own.
fn push_host(out: &mut Vec<u8>, authority: &[u8]) -> Option<()> {
    let is_file = out.starts_with(b"file:");
    let no_host = authority.first().is_none_or(|&b| b == b':');
    if no_host && !is_file {
        return None;
    }
    let colon = authority.iter().rposition(|b| matches!(b, b':' | b']'));
    let colon = colon.filter(|&at| authority.get(at) == Some(&b':')).unwrap_or(authority.len());
    let (host, port) = authority.split_at_checked(colon)?;
    let port = port.strip_prefix(b":").unwrap_or(port);
    if no_host && !port.is_empty() {
        return None;
    }
    if !host.iter().all(|b| b.is_ascii_alphanumeric() || b".-_[:]".contains(b)) {
        return None;
    }
    out.extend(host.to_ascii_lowercase());
    let zeros = port.iter().take_while(|&&b| b == b'0').count();
    let digits = port.get(zeros..)?;
    let is_default = match digits {
        b"" => zeros == 0,
        b"80" => out.starts_with(b"http:"),
        b"443" => out.starts_with(b"https:"),
        _ => false,
    };
    if !is_default {
        let number: u16 = match digits.iter().all(u8::is_ascii_digit) {
            true => std::str::from_utf8(digits).ok()?.parse().ok()?,
            false => return None,
        };
        out.extend(format!(":{number}").into_bytes());
        return (number > 0).then_some(());
    }
    Some(())
}

/// The path without `.` and `..`, then query and fragment. A `..` without anything before it has no
/// normal form.
fn push_path(out: &mut Vec<u8>, path: &[u8]) -> Option<()> {
    let mut rest = path.strip_prefix(b"/").unwrap_or(path);
    let mut segments: Vec<Vec<u8>> = Vec::new();
    loop {
        let len = rest.iter().position(|b| ends_segment(*b)).unwrap_or(rest.len());
        let (segment, after) = rest.split_at_checked(len)?;
        let mut normal = Vec::new();
        push_escaped(&mut normal, segment)?;
        let ended = after.first() != Some(&b'/');
        match &normal[..] {
            b"." => {}
            b".." => {
                segments.pop()?;
            }
            _ => segments.push(normal),
        }
        rest = after;
        if ended {
            break;
        }
        rest = rest.get(1..)?;
    }
    for segment in &segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    push_escaped(out, rest)
}

/// Adds text with its escapes in one form: what must be escaped is, in upper case, and nothing else
/// is.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    const RESERVED: &[u8] = b":/?#[]@!$&'()*+,;=";
    const UNSAFE: &[u8] = b" <>\"%{}|\\^`";
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, was_escaped, after) = match first {
            b'%' => {
                let (hex, after) = after.split_at_checked(2)?;
                let all_hex = hex.iter().all(u8::is_ascii_hexdigit);
                let hex = std::str::from_utf8(hex).ok().filter(|_| all_hex)?;
                (u8::from_str_radix(hex, 16).ok()?, true, after)
            }
            _ => (first, false, after),
        };
        let escape = byte <= 0x1f
            || byte >= 0x7f
            || UNSAFE.contains(&byte)
            || (was_escaped && RESERVED.contains(&byte));
        match escape {
            true => out.extend(format!("%{byte:02X}").into_bytes()),
            false => out.push(byte),
        }
        rest = after;
    }
    Some(())
}
