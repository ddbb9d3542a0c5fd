//! The LFS half of an import: for each pointer of the repository whose file it does not have, the
//! content from the source's own objects, else from its LFS server. Checked against the pointer as
//! it comes.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mega_storage::{FileReport, ObjectId, Pointer, Progress, Repo, RepoName, StoreError, Unit};
use parking_lot::Mutex;

use super::tree::{find_path, open_revision};
use super::{Node, NodeError};
use crate::git::credential::Credential;
use crate::git::{Git, Source, SourceError, config, credential, trust};
use crate::lfs::{
    Access, BATCH_LEN_MAX, Client, Download, Endpoint, LISTED_LEN_MIN, LfsError, LocalObjects,
    Login,
};

/// Downloads that run at once: enough to hide the latency of small files, few enough for their
/// buffers.
const DOWNLOADS_MAX: usize = 3;

/// Where LFS content may be.
pub(super) struct LfsPlaces {
    git: Git,
    dir: PathBuf,
    local: LocalObjects,
    server: Option<String>,
}

/// A file that could not be had.
#[derive(Clone, Debug)]
pub struct MissingFile {
    /// Its id and length.
    pub pointer: Pointer,
    /// A blob that points to it.
    pub blob: ObjectId,
    /// Why.
    pub reason: String,
}

impl MissingFile {
    /// Adds what the next place said.
    fn because(mut self, reason: &str) -> Self {
        self.reason.push_str("; ");
        self.reason.push_str(reason);
        self
    }
}

/// What came of the LFS content.
#[derive(Debug, Default)]
pub struct LfsReport {
    /// Distinct files that the repository's pointers name.
    pub wanted_count: u64,
    /// Files that came now.
    pub new_count: u64,
    /// Their length, in bytes.
    pub new_len: u64,
    /// Bytes that they take in the store: what was there already is not stored again.
    pub stored_len: u64,
    /// Files that could not be had.
    pub missing: Vec<MissingFile>,
}

impl LfsPlaces {
    /// For a repository in a directory: its own LFS directory, its alternates', its remote's.
    pub(super) fn of_source(git: &Git, source: &Source) -> Result<Self, NodeError> {
        let dir = source.git_dir();
        let mut dirs = vec![storage_dir(git, source)?];
        let alternates = source.object_dirs().iter().skip(1).filter_map(|objects| objects.parent());
        dirs.extend(alternates.map(|git_dir| git_dir.join("lfs")));
        let remote = config::default_remote(git, dir)?;
        let url = match &remote {
            Some(remote) => config::remote_url(git, dir, remote)?,
            None => None,
        };
        let file = source.worktree().map(|root| root.join(".lfsconfig")).filter(|f| f.is_file());
        let in_lfsconfig = |key: &str| match &file {
            Some(file) => config::get_in_file(git, file, key),
            None => config::get_in_blob(git, dir, "HEAD:.lfsconfig", key),
        };
        let endpoint = endpoint(git, dir, remote.as_deref(), url.as_deref(), &in_lfsconfig)?;
        Ok(Self::new(git, source, dirs, endpoint))
    }

    /// For a repository that was fetched from `url` into the scratch directory `source`. Its
    /// `.lfsconfig` is read from the store.
    pub(super) fn of_url(
        git: &Git,
        node: &Node,
        name: &RepoName,
        source: &Source,
        url: &str,
    ) -> Result<Self, NodeError> {
        let file = source.git_dir().join("lfsconfig");
        std::fs::write(&file, lfsconfig_of_head(node, name)?)
            .map_err(|e| NodeError::io("writing a file in the store", e))?;
        let in_lfsconfig = |key: &str| config::get_in_file(git, &file, key);
        let endpoint = endpoint(git, source.git_dir(), None, Some(url), &in_lfsconfig)?;
        Ok(Self::new(git, source, Vec::new(), endpoint))
    }

    fn new(git: &Git, source: &Source, mut dirs: Vec<PathBuf>, endpoint: Option<Endpoint>) -> Self {
        let server = match endpoint {
            Some(Endpoint::Server(url)) => Some(url),
            Some(Endpoint::Directory(dir)) => {
                let dir = source.worktree().map_or_else(|| dir.clone(), |root| root.join(&dir));
                dirs.extend([dir.join("lfs"), dir.join(".git/lfs")]);
                None
            }
            None => None,
        };
        let dir = source.git_dir().to_owned();
        Self { git: git.clone(), dir, local: LocalObjects::new(dirs), server }
    }
}

/// The directory in which git-lfs keeps the repository's objects: `lfs.storage`, else
/// `<common>/lfs`.
fn storage_dir(git: &Git, source: &Source) -> Result<PathBuf, NodeError> {
    let storage = config::get(git, source.git_dir(), "lfs.storage")?;
    Ok(source.common_dir().join(storage.as_deref().unwrap_or("lfs")))
}

/// The LFS server of a repository, in git-lfs's order: configuration, `.lfsconfig`, the remote's
/// URL.
fn endpoint(
    git: &Git,
    dir: &Path,
    remote: Option<&str>,
    url: Option<&str>,
    in_lfsconfig: &dyn Fn(&str) -> Result<Option<String>, SourceError>,
) -> Result<Option<Endpoint>, NodeError> {
    let mut keys = vec!["lfs.url".to_owned()];
    keys.extend(remote.map(|remote| format!("remote.{remote}.lfsurl")));
    for key in &keys {
        if let Some(value) = config::get(git, dir, key)? {
            return Ok(Endpoint::configured(&value));
        }
        // Whoever wrote the history may name a server, not a directory of this machine.
        let value = in_lfsconfig(key)?.as_deref().and_then(Endpoint::configured);
        if let Some(server @ Endpoint::Server(_)) = value {
            return Ok(Some(server));
        }
    }
    Ok(url.and_then(Endpoint::of_remote))
}

/// The text of `.lfsconfig` in the repository's HEAD; empty when there is none.
fn lfsconfig_of_head(node: &Node, name: &RepoName) -> Result<Vec<u8>, NodeError> {
    let found = open_revision(node, name, "HEAD").and_then(|place| {
        let entry = find_path(&place, b".lfsconfig")?;
        Ok(entry.map(|entry| place.view.object(&entry.id)).transpose()?)
    });
    match found {
        Ok(Some(object)) => Ok(object.data.to_vec()),
        Ok(None)
        | Err(NodeError::NoPath { .. } | NodeError::Store(StoreError::NoRevision { .. })) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Brings what the repository's pointers name and the repository does not have. Where to look is
/// asked only when something is missing: it takes several processes to find out.
pub(super) fn take_lfs(
    node: &Node,
    repo: &Repo,
    find_places: &dyn Fn() -> Result<LfsPlaces, NodeError>,
    progress: &dyn Progress,
) -> Result<LfsReport, NodeError> {
    let (report, wanted) = wanted_files(node, repo)?;
    if wanted.is_empty() {
        return Ok(report);
    }
    let places = find_places()?;
    let len = wanted.iter().map(|file| file.pointer.len).sum();
    progress.start("LFS content", Some(len), Unit::Bytes);
    let progress = &Quiet(progress);
    let work = Work { node, repo, progress, report: Mutex::new(report), turn: Mutex::default() };
    let absent = work.take_local(&places, wanted)?;
    let missing = match &places.server {
        Some(url) if !absent.is_empty() => work.take_remote(&places, url, absent)?,
        Some(_) | None => absent,
    };
    let mut report = work.report.into_inner();
    report.missing = missing;
    Ok(report)
}

/// How many files the repository's pointers name, and those of them that it does not have.
pub(super) fn wanted_files(
    node: &Node,
    repo: &Repo,
) -> Result<(LfsReport, Vec<MissingFile>), NodeError> {
    let mut wanted = Vec::new();
    let mut seen = HashSet::new();
    for (blob, pointer) in node.store().objects().pointers(repo.id)? {
        if seen.insert(pointer.file) && !node.store().files().has(repo.id, &pointer.file)? {
            wanted.push(MissingFile { pointer, blob, reason: String::new() });
        }
    }
    Ok((LfsReport { wanted_count: seen.len() as u64, ..LfsReport::default() }, wanted))
}

/// One import's LFS work.
struct Work<'a> {
    node: &'a Node,
    repo: &'a Repo,
    progress: &'a Quiet<'a>,
    report: Mutex<LfsReport>,
    turn: Mutex<()>,
}

impl Work<'_> {
    /// What is not there comes back, with the reason.
    fn take_local(
        &self,
        places: &LfsPlaces,
        wanted: Vec<MissingFile>,
    ) -> Result<Vec<MissingFile>, NodeError> {
        let mut absent = Vec::new();
        for mut file in wanted {
            let taken = match places.local.open(&file.pointer) {
                Ok(Some(mut content)) => self.take(&file.pointer, &mut content).map_err(reason_of),
                Ok(None) => Err(Ok("it is not among the source's LFS objects".to_owned())),
                Err(error) => Err(Ok(error.to_string())),
            };
            match taken {
                Ok(taken) => self.add(&taken),
                Err(reason) => {
                    file.reason = reason?;
                    absent.push(file);
                }
            }
        }
        Ok(absent)
    }

    fn take_remote(
        &self,
        places: &LfsPlaces,
        url: &str,
        absent: Vec<MissingFile>,
    ) -> Result<Vec<MissingFile>, NodeError> {
        let git = &places.git;
        let fill = |url: &str| {
            let found = credential::fill(git, url).ok().flatten()?;
            Some(Login { user: found.user, password: found.password })
        };
        let tell = |url: &str, login: &Login, worked| {
            let Login { user, password } = login.clone();
            let credential = Credential { user, password };
            if let Err(error) = credential::tell(git, url, &credential, worked) {
                tracing::warn!(%error, "the credential helper was not told");
            }
        };
        let extra_header = config::get_for_url(git, &places.dir, "http.extraHeader", url)?;
        let interrupted = || self.progress.interrupted();
        let build = |url: &str| {
            trust::client_builder(git, &places.dir, url).map_err(|error| error.to_string())
        };
        let (fill, tell, build) = (&fill, &tell, &build);
        let access = Access { fill, tell, build, extra_header, interrupted: &interrupted };
        let client = Client::new(url, access)?;
        let mut missing = Vec::new();
        let mut batches = absent.chunks(BATCH_LEN_MAX);
        while let Some(batch) = batches.next() {
            let pointers: Vec<Pointer> = batch.iter().map(|file| file.pointer).collect();
            match client.batch(&pointers) {
                Ok(answers) => {
                    let work = batch.iter().cloned().zip(answers.into_iter().map(|(_, d)| d));
                    missing.extend(self.download_all(&client, work.collect())?);
                }
                Err(LfsError::Interrupted) => return Err(LfsError::Interrupted.into()),
                // The server is not to be had: asking it for the rest would only take longer.
                Err(error) => {
                    let rest = batch.iter().chain(batches.by_ref().flatten()).cloned();
                    let reason = error.to_string();
                    missing.extend(rest.map(|file| file.because(&reason)));
                }
            }
        }
        Ok(missing)
    }

    fn download_all(
        &self,
        client: &Client<'_>,
        work: Vec<(MissingFile, Result<Download, String>)>,
    ) -> Result<Vec<MissingFile>, NodeError> {
        let next = AtomicUsize::new(0);
        let missing = Mutex::new(Vec::new());
        let run = || -> Result<(), NodeError> {
            while let Some((file, download)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(reason) = self.download(client, download) {
                    missing.lock().push(file.clone().because(&reason?));
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..DOWNLOADS_MAX.min(work.len())).map(|_| scope.spawn(run)).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(missing.into_inner())
    }

    /// Fails with the reason why this file is missing, or with the error that ends the import.
    fn download(
        &self,
        client: &Client<'_>,
        download: &Result<Download, String>,
    ) -> Result<(), Result<String, NodeError>> {
        let download = download.as_ref().map_err(|reason| Ok(reason.clone()))?;
        if download.is_by_chunk() {
            return self.download_by_chunk(client, download);
        }
        let mut take = |body: &mut (dyn Read + Send)| self.take(&download.pointer, body);
        match client.download(download, &mut take) {
            Ok(Ok(taken)) => {
                self.add(&taken);
                Ok(())
            }
            Ok(Err(error)) => Err(reason_of(error)),
            Err(LfsError::Interrupted) => Err(Err(LfsError::Interrupted.into())),
            Err(error) => Err(Ok(error.to_string())),
        }
    }

    /// The same, without what is stored here. Large files come one after the other: what one brings
    /// the next need not fetch.
    fn download_by_chunk(
        &self,
        client: &Client<'_>,
        download: &Download,
    ) -> Result<(), Result<String, NodeError>> {
        let _turn = (download.pointer.len > LISTED_LEN_MIN).then(|| self.turn.lock());
        let store = self.node.store();
        let failed = |error: LfsError| match error {
            LfsError::Interrupted => Err(error.into()),
            other => Ok(other.to_string()),
        };
        let opened = client.open_by_chunk(download, store.files(), store.tmp());
        let mut content = opened.map_err(failed)?;
        match self.take(&download.pointer, &mut content) {
            Ok(taken) => {
                self.add(&taken);
                Ok(())
            }
            Err(error) => Err(content.into_failure().map_or_else(|| reason_of(error), failed)),
        }
    }

    fn take(
        &self,
        pointer: &Pointer,
        content: &mut (dyn Read + Send),
    ) -> Result<FileReport, StoreError> {
        self.node.store().files().ingest(Some(self.repo.id), content, Some(*pointer), self.progress)
    }

    fn add(&self, taken: &FileReport) {
        let mut report = self.report.lock();
        report.new_count += 1;
        report.new_len += taken.len;
        report.stored_len += taken.stored_len;
    }
}

/// Content that is wrong or unreadable makes one file missing; trouble of the store itself ends the
/// import.
fn reason_of(error: StoreError) -> Result<String, NodeError> {
    match error {
        StoreError::FileHashMismatch { .. }
        | StoreError::FileLenMismatch { .. }
        | StoreError::Io { .. }
        | StoreError::Limit { .. } => Ok(error.to_string()),
        other => Err(other.into()),
    }
}

/// Progress of many files as one: a file's own stages are not shown.
struct Quiet<'a>(&'a dyn Progress);

impl Progress for Quiet<'_> {
    fn start(&self, _: &'static str, _: Option<u64>, _: Unit) {}

    fn advance(&self, count: u64) {
        self.0.advance(count);
    }

    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

/// Where git-lfs keeps a file in a repository's LFS directory.
pub(super) fn local_path(lfs: &Path, pointer: &Pointer) -> PathBuf {
    LocalObjects::path_in(lfs, &pointer.file)
}
