//! Version 2's `ls-refs`: where references stand.

use mega_storage::{ObjectId, RefName, SourceResult};

use super::objects::{budget, command, post, read_error};
use super::url::RemoteUrl;
use super::web::{Web, wrong};
use crate::git::wire::{Pkt, PktReader, text};

/// Where a reference stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteRef {
    /// Its name.
    pub name: RefName,
    /// The object; absent for a HEAD on a branch without commits.
    pub id: Option<ObjectId>,
    /// For a symbolic one, the reference that it stands on.
    pub target: Option<RefName>,
}

/// Asks for HEAD and `names`.
pub(super) fn list(web: &Web, url: &RemoteUrl, names: &[RefName]) -> SourceResult<Vec<RemoteRef>> {
    let mut arguments = vec![b"symrefs".to_vec(), b"unborn".to_vec(), b"ref-prefix HEAD".to_vec()];
    for name in names {
        arguments.push([b"ref-prefix ", name.as_bytes()].concat());
    }
    let body = command("ls-refs", &arguments);
    let Some(response) = post(web, url, &body)? else {
        let reason = "it has no such repository, or does not show it".to_owned();
        return Err(mega_storage::SourceError::Refused { reason });
    };
    web.logged_in();
    let mut lines = PktReader::new(response, budget());
    let mut found = Vec::new();
    loop {
        match lines.next().map_err(|e| read_error(&e))? {
            Pkt::Flush => return Ok(found),
            Pkt::Data(line) => {
                let line = parse(text(line)).ok_or_else(|| wrong("a line of ls-refs"))?;
                // A prefix brings more than the name.
                if line.name == RefName::head() || names.contains(&line.name) {
                    found.push(line);
                }
            }
            Pkt::Delim | Pkt::ResponseEnd => return Err(wrong("ls-refs ends too early")),
        }
    }
}

fn parse(line: &[u8]) -> Option<RemoteRef> {
    let mut words = line.split(|&b| b == b' ');
    let id = match words.next()? {
        b"unborn" => None,
        hex => Some(ObjectId::from_hex(hex).ok()?),
    };
    let name = RefName::new(words.next()?).ok()?;
    let target = words.find_map(|word| word.strip_prefix(b"symref-target:"));
    let target = target.map(RefName::new).transpose().ok()?;
    Some(RemoteRef { name, id, target })
}
