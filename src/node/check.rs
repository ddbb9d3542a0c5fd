//! Verifying with mending: where sound copies may be had. A repository that is filled as it is read
//! has its source; for others one is given.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mega_storage::{
    Backups, DamagedThing, MendSource, NoProgress, ObjectHeader, ObjectId, ObjectSource,
    ObjectWant, OpenBackup, Progress, SourceError, SourceResult, Sources, StoreSource,
    VerifyOptions, VerifyReport,
};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::remote::{self, Source as RepoSource};
use super::{Node, NodeError};
use crate::git::{self, Git, Source, run};
use crate::http::client::{HttpSource, RemoteUrl};

/// How to mend.
#[derive(Clone, Debug)]
pub struct MendRequest {
    /// Where else sound copies may be: a repository of another mega-store, one that git can fetch,
    /// or a directory of backups. An absolute path or a URL.
    pub from: Option<String>,
    /// Git in the environment of whoever asked.
    pub git: Git,
}

/// Hashes everything that is stored again; with `mend`, puts sound copies in the place of what is
/// damaged.
///
/// # Errors
/// When the store fails, or what to mend from cannot be used.
pub fn verify(
    node: &Node,
    options: &VerifyOptions,
    mend: Option<&MendRequest>,
    progress: &dyn Progress,
) -> Result<VerifyReport, NodeError> {
    // What was given wrongly is told before hours of reading.
    let given = mend.map_or(Ok(None), |mend| given_source(node, mend))?;
    let mut report = node.store().verify(options, progress)?;
    let Some(mend) = mend.filter(|_| !report.damages.is_empty() && !progress.interrupted()) else {
        return Ok(report);
    };
    let (mut sources, _open) = own_sources(node, &report, &mend.git)?;
    sources.extend(given.iter().map(|given| given.source.clone()));
    node.store().mend(&mut report, &sources, progress)?;
    Ok(report)
}

/// The sources of repositories that are filled as they are read and need something; and what keeps
/// them open. One that cannot be opened is left out: its words are in the log.
fn own_sources(
    node: &Node,
    report: &VerifyReport,
    git: &Git,
) -> Result<(Vec<MendSource>, Vec<RepoSource>), NodeError> {
    let needs = |damage: &mega_storage::Damage| {
        use DamagedThing::{Chunk, File, Object};
        matches!(damage.what, Object(_) | Chunk(_) | File(_))
    };
    let mut names: Vec<String> = report
        .damages
        .iter()
        .filter(|damage| needs(damage))
        .flat_map(|damage| damage.uses.iter().filter_map(|u| u.repo.clone()))
        .collect();
    names.sort_unstable();
    names.dedup();
    let (mut sources, mut open) = (Vec::new(), Vec::new());
    for name in names {
        let Some(repo) = node.store().repos().find(&mega_storage::RepoName::new(&name)?)? else {
            continue;
        };
        if !repo.partial {
            continue;
        }
        match remote::source_of(node, &repo, git) {
            Ok(source) => {
                let (repo, name) = (Some(name), source.shown());
                sources.push(MendSource { name, repo, sources: source.sources() });
                open.push(source);
            }
            Err(error) => tracing::warn!(%name, %error, "its source cannot be asked"),
        }
    }
    Ok((sources, open))
}

/// A source that was given, and what keeps it open.
struct Given {
    source: MendSource,
    _backup: Option<(OpenBackup, Backups)>,
}

/// What `from` names.
fn given_source(node: &Node, mend: &MendRequest) -> Result<Option<Given>, NodeError> {
    let Some(from) = &mend.from else { return Ok(None) };
    let name = git::redact(from);
    let mut sources = Sources::default();
    if Backups::is_one(Path::new(from)) {
        let backups = Backups::open(Path::new(from), false)?;
        let open = backups.open_as_store(None)?;
        let store = Arc::new(StoreSource::new(open.store.clone(), name.clone()));
        sources.objects.push(store.clone());
        sources.chunks.push(store);
        return Ok(Some(Given {
            source: MendSource { name, repo: None, sources },
            _backup: Some((open, backups)),
        }));
    }
    if let Ok(url) = RemoteUrl::parse(from) {
        let server = HttpSource::new(&url, &mend.git).map_err(|error| NodeError::Remote {
            url: url.as_shown(),
            reason: error.to_string(),
        })?;
        let server = Arc::new(server);
        sources.objects.push(server.clone());
        sources.chunks.push(server);
    }
    // Also behind HTTP: a server that is none of ours may send whole histories only.
    sources.objects.push(Arc::new(GitObjects {
        git: mend.git.clone(),
        from: from.clone(),
        name: name.clone(),
        tmp: node.store().tmp().to_owned(),
        open: Mutex::new(None),
    }));
    let source = MendSource { name, repo: None, sources };
    Ok(Some(Given { source, _backup: None }))
}

/// A repository that git can read, as a source of objects. One behind a URL is fetched whole, the
/// first time that something is asked for.
struct GitObjects {
    git: Git,
    from: String,
    name: String,
    tmp: PathBuf,
    open: Mutex<Option<Arc<OpenGit>>>,
}

struct OpenGit {
    source: Source,
    _dir: Option<TempDir>,
}

impl GitObjects {
    fn open(&self) -> SourceResult<Arc<OpenGit>> {
        let mut open = self.open.lock();
        if let Some(open) = &*open {
            return Ok(open.clone());
        }
        let failed = |e: git::SourceError| SourceError::Unreachable { reason: e.to_string() };
        let path = PathBuf::from(&self.from);
        let made = if path.is_dir() {
            OpenGit { source: Source::open(&self.git, &path).map_err(failed)?, _dir: None }
        } else {
            let made = tempfile::Builder::new().prefix("mend-").tempdir_in(&self.tmp);
            let dir = made.map_err(|e| SourceError::Unreachable { reason: e.to_string() })?;
            let scratch = dir.path().join("scratch.git");
            let mut init = self.git.anywhere();
            init.args(["init", "-q", "--bare", "--template="]).arg(&scratch);
            run(&mut init, "init", b"").map_err(failed)?;
            git::fetch_mirror(&self.git, &scratch, &self.from, true, &NoProgress)
                .map_err(failed)?;
            OpenGit { source: Source::open(&self.git, &scratch).map_err(failed)?, _dir: Some(dir) }
        };
        Ok(open.insert(Arc::new(made)).clone())
    }
}

impl ObjectSource for GitObjects {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn headers(&self, _ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>> {
        Err(SourceError::Unsupported { what: "lengths" })
    }

    fn objects<'a>(
        &'a self,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>> {
        let failed = |e: git::SourceError| SourceError::Unreachable { reason: e.to_string() };
        let open = self.open()?;
        let there = open.source.those_there(want.ids).map_err(failed)?;
        if there.is_empty() {
            return Ok(None);
        }
        let pack = open.source.pack_objects(&there).map_err(failed)?;
        Ok(Some(Box::new(pack)))
    }
}
