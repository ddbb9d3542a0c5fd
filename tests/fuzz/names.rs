//! Names that become part of keys, paths and answers: of repositories, references and settings, and
//! what says a protocol. A rule of its own judges what is let through. The first byte of an input
//! says which kind it is.

use mega_storage::{FileId, NameError, ObjectId, RefName, RepoName, RepoSettings};
use mega_store::git::Protocol;
use mega_tools::fuzz::{Ending, Target};

pub struct Names;

impl Target for Names {
    fn name(&self) -> &'static str {
        "names"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let texts = [
            "\0models/llama-3.1_8B",
            "\0a/b/c/d",
            "\0v2",
            "\x01refs/heads/main",
            "\x01HEAD",
            "\x01refs/tags/v1.0.0-rc1",
            "\x01refs/heads/a/b/@/{}",
            "\x02receive.protect=refs/heads/*",
            "\x02receive.quota=10g",
            "\x02receive.fsck.badDate=ignore",
            "\x02transfer.hideRefs=^refs/a",
            "\x02receive.fsckObjects=false",
            "\x02receive.maxInputSize=5m",
            "\x02swarm.allowRead=12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
            "\x02swarm.upstream=https://h:8417/a/b.git",
            "\x03version=2:version=1",
            "\x038ab686eafeb1f44702738c8b0f24f2567c36da6d",
        ];
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[
            b"..",
            b"/",
            b"//",
            b".git",
            b".GIT",
            b".lock",
            b"@{",
            b"@",
            b"-",
            b"refs/",
            b"heads/",
            b"\\",
            b"\0",
            b"\x7f",
            b"~",
            b"^",
            b":",
            b"?",
            b"*",
            b"[",
            b" ",
            b".",
            b"%2e",
            b"\xff",
            b"v1",
            b"metrics",
            b"receive.",
            b"swarm.allow",
            b"true",
            b"=",
            b"!",
            b"\xe2\x80\x8c",
            b"k",
            b"m",
            b"g",
        ]
    }

    fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
        let Some((kind, data)) = input.split_first() else { return Ok(Ending::of("empty")) };
        match kind % 4 {
            0 => repo(data),
            1 => reference(data),
            2 => setting(data),
            _ => Ok(others(data)),
        }
    }
}

fn reason(error: &NameError) -> Ending {
    match error {
        NameError::Repo { reason, .. } => Ending::of(reason),
        NameError::Ref { reason, .. } => {
            let words = reason.split_whitespace().filter(|word| word.len() > 1);
            let words = words.filter(|w| w.bytes().all(|b| b.is_ascii_lowercase())).take(6);
            Ending::of(&words.collect::<String>())
        }
        #[allow(unreachable_patterns)]
        _ => Ending::of("another"),
    }
}

fn repo(data: &[u8]) -> Result<Ending, String> {
    let Ok(text) = std::str::from_utf8(data) else { return Ok(Ending::of("no text")) };
    let name = match RepoName::new(text) {
        Ok(name) => name,
        Err(error) => return Ok(reason(&error)),
    };
    let segments: Vec<&str> = name.as_str().split('/').collect();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_good = |segment: &&str| {
        let lower = segment.to_lowercase();
        (1..=100).contains(&segment.len())
            && segment.chars().all(is_plain)
            && !segment.starts_with(['.', '-'])
            && ![".git", ".lock"].iter().any(|end| lower.ends_with(end))
            && !segment.contains("..")
    };
    if name.as_str() != text || segments.len() > 4 || !segments.iter().all(is_good) {
        return Err(format!("the name {text:?} was let through"));
    }
    Ok(Ending::of("a repository").and(segments.len()))
}

fn reference(data: &[u8]) -> Result<Ending, String> {
    let name = match RefName::new(data) {
        Ok(name) => name,
        Err(error) => return Ok(reason(&error)),
    };
    let bytes = name.as_bytes();
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let is_bad = |b: &u8| *b < 32 || *b == 127 || b" ~^:?*[\\".contains(b);
    let wrong = bytes != data
        || bytes.iter().any(is_bad)
        || [&b".."[..], b"//", b"@{", b"/.", b".lock/"].iter().any(|part| has(part))
        || [&b"/"[..], b".", b".lock"].iter().any(|end| bytes.ends_with(end))
        || (bytes != b"HEAD" && !bytes.starts_with(b"refs/"));
    if wrong {
        return Err(format!("the reference '{}' was let through", bytes.escape_ascii()));
    }
    Ok(Ending::of("a reference").and(bytes.len()))
}

fn setting(data: &[u8]) -> Result<Ending, String> {
    let text = String::from_utf8_lossy(data);
    let Some((key, value)) = text.split_once('=') else { return Ok(Ending::of("no value")) };
    let settings = match RepoSettings::new([(key.to_owned(), value.to_owned())]) {
        Ok(settings) => settings,
        Err(error) => {
            let words = error.to_string();
            return Ok(Ending::of(words.rsplit("is not").next().unwrap_or_default()));
        }
    };
    let again = RepoSettings::new(settings.entries().to_vec());
    let is_same = again.is_ok_and(|again| format!("{again:?}") == format!("{settings:?}"));
    if !is_same {
        return Err(format!("{text:?} reads differently when it is read again"));
    }
    for name in ["refs/heads/main", "refs/pull/1/head", "HEAD"] {
        let name = RefName::new(name.as_bytes()).expect("a name");
        let _ = (settings.is_protected(&name), settings.hides_from_push(&name));
        let _ = settings.hides_from_fetch(&name);
    }
    Ok(Ending::of("a setting").and(key.len()))
}

fn others(data: &[u8]) -> Ending {
    let text = String::from_utf8_lossy(data);
    let protocol = Protocol::parse(&text);
    let is_id = ObjectId::from_hex(data).is_ok();
    let is_file = text.parse::<FileId>().is_ok();
    Ending::of(&format!("{protocol:?} {is_id} {is_file}"))
}
