//! `verify`: everything that is stored hashed again, and what is damaged mended.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use mega_storage::{
    Damage, DamagedThing, Mend, Stands, StoreError, Use, VerifyOptions, VerifyReport,
};

use super::output::{Done, Output, count, name, size};
use super::{absolute, parse};
use crate::control::{Request, VerifyCall};
use crate::git::{Git, url_of};
use crate::node::{self, MendRequest, Node, NodeError};

/// Hash everything that is stored again, and name what the disk has changed
///
/// Every git object is made from its rows and has to have its SHA-1; every LFS file is read from
/// its first byte to its last and has to have its SHA-256, and so has each of its chunks; every
/// other row is read. What is damaged is listed with the repositories and paths that need it. Where
/// the database itself cannot be read, the range and its file are named, and what is behind it is
/// read all the same.
///
/// With --repair a sound copy takes the place of each damaged object, chunk and file: from where a
/// repository was mounted from, or from --from; checked first, as all that comes from elsewhere.
/// Nothing is removed.
///
/// Pushes, clones and mounts go on meanwhile; --rate leaves them the disk. A run that is ended,
/// or out of time, says what it found, and the next one goes on where it was. The exit code is 1
/// when something is damaged and not mended.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store verify
  mega-store verify --rate 50 --for 30m       from cron: a part every night
  mega-store verify --repair --from https://HOST/team/model.git
  mega-store verify --repair --from ~/src/model    git objects from a clone
  mega-store verify --repair --from /backup        from the newest backup

With --json one object: damages [{kind, id, reason, uses [{repo, at, path}], mended, source, why}],
more, objects, files, chunks, rows, bytes, resumed, whole. kind is object, pointer, chunk, file,
right, row or range.")]
pub(super) struct Args {
    /// Read at most so many megabytes a second
    #[arg(long, value_name = "MB/s", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// End after this time: a number with s, m, h, d or w; the next run goes on there
    #[arg(long = "for", value_name = "D", value_parser = parse::duration)]
    time: Option<u64>,
    /// Put sound copies in the place of what is damaged
    #[arg(long)]
    repair: bool,
    /// Where sound copies may be: a repository of another mega-store, any that git can fetch, or a
    /// directory of backups
    #[arg(long, value_name = "URL|DIR", requires = "repair")]
    from: Option<OsString>,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        let place = |from: &OsString| {
            let is_url = from.to_str().and_then(url_of).is_some() && !Path::new(from).is_dir();
            if is_url { from.into() } else { absolute(Path::new(from)).into() }
        };
        Request::Verify(VerifyCall {
            rate: self.rate.map(|rate| rate * 1_000_000),
            time_s: self.time,
            repair: self.repair,
            from: self.from.as_ref().map(place),
        })
    }
}

pub(super) fn answer(
    node: &Node,
    call: &VerifyCall,
    git: Git,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let options = VerifyOptions { rate: call.rate, time: call.time_s.map(Duration::from_secs) };
    let from = call.from.as_ref().map(|from| from.0.to_string_lossy().into_owned());
    let mend = call.repair.then_some(MendRequest { from, git });
    let report = node::verify(node, &options, mend.as_ref(), out.progress())?;
    if out.is_json() {
        out.json(&json(&report))?;
    } else {
        tell(&report, out)?;
    }
    out.flush()?;
    if !report.is_whole && out.progress().interrupted() {
        return Err(StoreError::Interrupted.into());
    }
    if !report.is_whole {
        out.note(format_args!("the time is over: the next run goes on here"));
    }
    let open = report.open_count();
    if open == 0 {
        return Ok(Done::Whole);
    }
    let all = report.damages.len() as u64 + report.more;
    let (error, hint) = match call.repair {
        false => (
            format!("{} found", count(all, "damaged thing")),
            "'mega-store verify --repair --from URL' brings sound copies from another mega-store, \
             or git objects from any clone",
        ),
        true => (
            format!("{} of {} not mended", open, count(all, "damaged thing")),
            "the lines above say why; 'mega-store verify --repair --from URL' takes another source",
        ),
    };
    Ok(Done::Partly { error, hint: hint.to_owned() })
}

fn tell(report: &VerifyReport, out: &Output<'_>) -> Result<(), NodeError> {
    for damage in &report.damages {
        let what = &damage.what;
        out.line(format_args!("{what}: {}", name(damage.reason.as_bytes())))?;
        for Use { repo, stands: at } in &damage.uses {
            let repo = repo.as_deref().unwrap_or("(file add)");
            let at = at.as_ref().map(stands).unwrap_or_default();
            out.line(format_args!("    needed by {repo}{at}"))?;
        }
        match &damage.mend {
            Mend::Open => {}
            Mend::Done(from) => out.line(format_args!("    mended from {from}"))?,
            Mend::Failed(why) => out.line(format_args!("    not mended: {why}"))?,
        }
    }
    if report.more > 0 {
        out.line(format_args!("{} more", count(report.more, "damaged thing")))?;
    }
    let (objects, files) = (count(report.object_count, "object"), count(report.file_count, "file"));
    let (chunks, read) = (count(report.chunk_count, "chunk"), size(report.read_len));
    let damages = report.damages.len() as u64 + report.more;
    let found = if damages == 0 { "no damage".to_owned() } else { count(damages, "damaged thing") };
    let from = if report.is_resumed { " (went on where the last run ended)" } else { "" };
    let whole = if report.is_whole { "" } else { " so far" };
    out.line(format_args!("verified{whole}: {objects}, {files}, {chunks}, {read}: {found}{from}"))
}

/// Where something stands, in brackets.
pub(super) fn stands(stands: &Stands) -> String {
    let at = name(stands.at.as_bytes());
    match stands.path.as_deref() {
        None => format!(" ({at})"),
        Some(b"") => format!(" (the root directory in {at})"),
        Some(path) => format!(" ({} in {at})", name(path)),
    }
}

fn json(report: &VerifyReport) -> serde_json::Value {
    serde_json::json!({
        "damages": report.damages.iter().map(json_damage).collect::<Vec<_>>(),
        "more": report.more, "objects": report.object_count, "files": report.file_count,
        "chunks": report.chunk_count, "rows": report.row_count, "bytes": report.read_len,
        "resumed": report.is_resumed, "whole": report.is_whole,
    })
}

fn json_damage(damage: &Damage) -> serde_json::Value {
    let id = match &damage.what {
        DamagedThing::Object(id) | DamagedThing::Pointer(id) => id.to_string(),
        DamagedThing::Chunk(id) => id.to_string(),
        DamagedThing::File(id) | DamagedThing::Right(_, id) => id.to_string(),
        what @ (DamagedThing::Range { .. } | DamagedThing::Row { .. }) => what.to_string(),
    };
    let uses = damage.uses.iter().map(|u| {
        let stands = u.stands.as_ref();
        let path = stands.and_then(|stands| stands.path.as_deref()).map(String::from_utf8_lossy);
        let at = stands.map(|stands| stands.at.as_str());
        serde_json::json!({"repo": u.repo, "at": at, "path": path})
    });
    let (mended, source, why) = match &damage.mend {
        Mend::Open => (false, None, None),
        Mend::Done(from) => (true, Some(from), None),
        Mend::Failed(why) => (false, None, Some(why)),
    };
    serde_json::json!({
        "kind": damage.what.kind(), "id": id, "reason": damage.reason,
        "uses": uses.collect::<Vec<_>>(), "mended": mended, "source": source, "why": why,
    })
}
