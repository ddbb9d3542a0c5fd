//! `fsck`: whether everything that a repository names is there, and what git's checks say of it.

use mega_storage::{Finding, FsckReport, Repo, RepoName, What};

use super::output::{Done, Output, count, name};
use super::parse;
use crate::control::Request;
use crate::node::{Node, NodeError};

/// Check that everything a repository names is there, as git fsck does, LFS files included
///
/// From the references over every link: objects that are missing, that cannot be read, or are not
/// what they are named as; what 'git fsck --full --strict' says of commits, trees, tags,
/// .gitmodules and .gitattributes ('receive.fsck.ID' in 'repo config' makes it more or less bad, as
/// for pushes); references that lead nowhere. Of LFS: for each pointer, whether the repository has
/// a right to its file, whether the file's list of chunks is whole, and each chunk is there.
///
/// No blob and no chunk is read: 'mega-store verify' does that. In a repository that is filled as
/// it is read, what is not here is no finding. Pushes, clones and mounts go on meanwhile.
///
/// The exit code is 1 when an error was found; warnings alone leave it 0.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  mega-store fsck                  all repositories
  mega-store fsck team/model

With --json one line a finding: {repo, kind, severity, id, check, text, at, path}, kind being ref,
missing, wrong-kind, unreadable, content or file; then one line for each repository: {repo, sound,
errors, warnings, refs, objects, files}.")]
pub(super) struct Args {
    /// The repository; all when it is not given
    #[arg(value_name = "NAME", value_parser = parse::repo_name)]
    repo: Option<String>,
}

impl Args {
    pub(super) fn request(&self) -> Request {
        Request::Fsck { repo: self.repo.clone() }
    }
}

pub(super) fn answer(node: &Node, repo: Option<&str>, out: &Output<'_>) -> Result<Done, NodeError> {
    let repos = match repo {
        Some(name) => vec![node.store().repos().get(&RepoName::new(name)?)?],
        None => node.store().repos().list()?,
    };
    let (mut error_count, mut unsound) = (0, 0);
    for repo in &repos {
        let report = node.store().fsck(repo, out.progress())?;
        error_count += errors(&report);
        unsound += u64::from(!report.is_sound());
        tell(repo, &report, out)?;
        out.flush()?;
    }
    if error_count == 0 {
        return Ok(Done::Whole);
    }
    let (errors, repos) = (count(error_count, "error"), unsound);
    let hint = "'mega-store verify --repair --from URL' brings what is damaged from a sound copy; \
                an import of its source brings what is missing";
    let plural = if repos == 1 { "repository" } else { "repositories" };
    Ok(Done::Partly { error: format!("{errors} in {repos} {plural}"), hint: hint.to_owned() })
}

fn errors(report: &FsckReport) -> u64 {
    report.more + report.findings.iter().filter(|finding| finding.is_error).count() as u64
}

fn tell(repo: &Repo, report: &FsckReport, out: &Output<'_>) -> Result<(), NodeError> {
    let errors = errors(report);
    let warnings = report.findings.iter().filter(|finding| !finding.is_error).count() as u64;
    if out.is_json() {
        report.findings.iter().try_for_each(|finding| out.json(&json(repo, finding)))?;
        return out.json(&serde_json::json!({
            "repo": repo.name.as_str(), "sound": report.is_sound(), "errors": errors,
            "warnings": warnings, "refs": report.ref_count, "objects": report.object_count,
            "files": report.file_count,
        }));
    }
    for finding in &report.findings {
        let severity = if finding.is_error { "error" } else { "warning" };
        let stands = finding.stands.as_ref().map(super::verify::stands).unwrap_or_default();
        out.line(format_args!("{}: {severity}: {}{stands}", repo.name, text(finding)))?;
    }
    if report.more > 0 {
        out.line(format_args!("{}: {} more", repo.name, count(report.more, "error")))?;
    }
    let found = match (errors, warnings) {
        (0, 0) => "sound".to_owned(),
        (0, _) => format!("sound, {}", count(warnings, "warning")),
        _ => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    };
    let (refs, objects) =
        (count(report.ref_count, "reference"), count(report.object_count, "object"));
    let files = count(report.file_count, "LFS file");
    out.line(format_args!("{}: {refs}, {objects}, {files}: {found}", repo.name))
}

/// The finding in a line that cannot steer a terminal.
fn text(finding: &Finding) -> String {
    match &finding.what {
        What::Ref { name: reference, reason } => {
            format!("{}: {reason}", name(reference.as_bytes()))
        }
        what => name(what.to_string().as_bytes()),
    }
}

fn json(repo: &Repo, finding: &Finding) -> serde_json::Value {
    let (mut id, mut check) = (None, None);
    match &finding.what {
        What::Ref { name, .. } => id = Some(name.to_string()),
        What::Refs { .. } => {}
        What::Missing { id: object, .. }
        | What::WrongKind { id: object, .. }
        | What::Unreadable { id: object, .. } => id = Some(object.to_string()),
        What::Content { id: object, problem, .. } => {
            (id, check) = (Some(object.to_string()), Some(problem.id));
        }
        What::File { file, .. } => id = Some(file.to_string()),
    }
    let stands = finding.stands.as_ref();
    let path = stands.and_then(|stands| stands.path.as_deref()).map(String::from_utf8_lossy);
    serde_json::json!({
        "repo": repo.name.as_str(), "kind": finding.what.kind(),
        "severity": if finding.is_error { "error" } else { "warning" }, "id": id, "check": check,
        "text": finding.what.to_string(), "at": stands.map(|stands| stands.at.as_str()),
        "path": path,
    })
}
