//! What a client learns first: the references (versions 0 and 1), or what the server can do
//! (version 2).

use std::io::{BufWriter, Write};

use mega_storage::ObjectId;

use super::refs::{Peeled, VisibleRefs};
use super::{BUFFER_LEN, bundle};
use crate::git::wire::PktWriter;
use crate::git::{GitError, Protocol, Service};

/// What fetches of version 2 can do beyond the basics.
pub(super) const FETCH_FEATURES: &str = "shallow wait-for-done filter ref-in-want";

/// What fetches of versions 0 and 1 can do, before the symbolic references.
const CLASSIC_FEATURES: &str = "multi_ack thin-pack side-band side-band-64k ofs-delta shallow \
     deepen-since deepen-not deepen-relative no-progress include-tag multi_ack_detailed \
     allow-tip-sha1-in-want allow-reachable-sha1-in-want no-done";

/// The server's name and version.
pub(super) fn agent() -> String {
    format!("mega-store/{}", env!("CARGO_PKG_VERSION"))
}

/// Writes the answer to `info/refs`, after its banner.
///
/// # Errors
/// [`GitError::Store`], before anything is written; [`GitError::ClientGone`].
pub fn advertise(service: &Service<'_>, out: &mut dyn Write) -> Result<(), GitError> {
    let mut out = BufWriter::with_capacity(BUFFER_LEN, out);
    match service.protocol {
        Protocol::V2 => {
            let has_bundle = bundle::is_offered(service)?;
            capabilities(&mut out, has_bundle).map_err(GitError::gone)?;
        }
        Protocol::V0 | Protocol::V1 => {
            let refs = VisibleRefs::read(service)?;
            let peeled = refs.peeled(service.store)?;
            let is_named = service.protocol == Protocol::V1;
            references(&mut out, &refs, peeled, is_named).map_err(GitError::gone)?;
        }
    }
    out.flush().map_err(GitError::gone)
}

fn capabilities(out: &mut dyn Write, has_bundle: bool) -> std::io::Result<()> {
    let mut lines = PktWriter::new(out);
    lines.text("version 2")?;
    lines.text(format!("agent={}", agent()))?;
    lines.text("ls-refs=unborn")?;
    lines.text(format!("fetch={FETCH_FEATURES}"))?;
    lines.text("server-option")?;
    lines.text("object-format=sha1")?;
    lines.text("object-info=size")?;
    if has_bundle {
        lines.text("bundle-uri")?;
    }
    lines.flush()
}

/// The references, what each tag leads to after it; the first line also tells the features.
fn references(
    out: &mut dyn Write,
    refs: &VisibleRefs,
    peeled: &Peeled,
    is_named: bool,
) -> std::io::Result<()> {
    let mut lines = PktWriter::new(out);
    if is_named {
        lines.text("version 1")?;
    }
    let mut features = Some(classic_features(refs));
    let mut line = |id: &ObjectId, name: &[u8], suffix: &[u8]| {
        let mut text = format!("{id} ").into_bytes();
        text.extend_from_slice(name);
        text.extend_from_slice(suffix);
        if let Some(features) = features.take() {
            text.push(0);
            text.extend_from_slice(features.as_bytes());
        }
        lines.text(text)
    };
    if refs.list.is_empty() {
        line(&ObjectId::NULL, b"capabilities", b"^{}")?;
    }
    for r in &refs.list {
        line(&r.id, r.name.as_bytes(), b"")?;
        if let Some(target) = peeled.target(&r.id) {
            line(target, r.name.as_bytes(), b"^{}")?;
        }
    }
    lines.flush()
}

fn classic_features(refs: &VisibleRefs) -> String {
    let mut features = CLASSIC_FEATURES.to_owned();
    let head = refs.find(b"HEAD").and_then(|head| head.leads_to.as_ref());
    if let Some(branch) = head.filter(|branch| !branch.as_bytes().contains(&b' ')) {
        features.push_str(&format!(" symref=HEAD:{branch}"));
    }
    features.push_str(&format!(" filter object-format=sha1 agent={}", agent()));
    features
}
