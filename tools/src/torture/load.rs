//! What the mixed torture has clients do, and what it knows of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::subject::{kill_group, text};
use crate::random::Random;

const GIT_CONFIG: &str = "\
[user]\nname = A Client\nemail = client@example.org\n\
[init]\ndefaultBranch = main\n[gc]\nauto = 0\n[advice]\ndetachedHead = false\n\
[lfs]\nlocksverify = false\n[lfs \"transfer\"]\nmaxretries = 1\n\
[filter \"lfs\"]\nclean = git-lfs clean -- %f\nsmudge = git-lfs smudge -- %f\n\
process = git-lfs filter-process\nrequired = true\n";
const BRANCHES: [&str; 4] = ["main", "one", "two", "three"];

/// What was done.
#[derive(Default)]
pub struct Counts {
    pub kills: u64,
    pub gcs: u64,
    pushes: u64,
    rewinds: u64,
    branches_deleted: u64,
    repos_deleted: u64,
    clones: u64,
    mounts: u64,
    cut: u64,
}

impl Counts {
    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.gcs += other.gcs;
        self.pushes += other.pushes;
        self.rewinds += other.rewinds;
        self.branches_deleted += other.branches_deleted;
        self.repos_deleted += other.repos_deleted;
        self.clones += other.clones;
        self.mounts += other.mounts;
        self.cut += other.cut;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills; acknowledged: {} pushes, {} rewinds, {} branches and {} repositories \
             deleted; {} gc runs, {} clones, {} mounts beside it; {} cut off",
            self.kills,
            self.pushes,
            self.rewinds,
            self.branches_deleted,
            self.repos_deleted,
            self.gcs,
            self.clones,
            self.mounts,
            self.cut
        )
    }
}

/// A store, and a home for its clients.
pub struct Site {
    pub program: PathBuf,
    pub folder: PathBuf,
    pub store: PathBuf,
}

impl Site {
    /// A site in a new folder.
    pub fn new(program: &Path, folder: &Path) -> Result<Self, String> {
        let made = fs::create_dir_all(folder.join("home"));
        let config = folder.join("home/.gitconfig");
        made.and_then(|()| fs::write(&config, GIT_CONFIG))
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let store = folder.join("store");
        Ok(Self { program: program.to_owned(), folder: folder.to_owned(), store })
    }

    /// A command of a client.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.env("HOME", self.folder.join("home")).env("GIT_TERMINAL_PROMPT", "0");
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    /// Runs the program.
    pub fn mega(&self, words: &[&str]) -> Result<String, String> {
        text(self.command(&self.program).arg("--store").arg(&self.store).args(words))
    }

    /// Runs git.
    pub fn git(&self, folder: &Path, words: &[&str]) -> Result<String, String> {
        text(self.command(Path::new("git")).arg("-C").arg(folder).args(words))
    }
}

/// A running server.
pub struct Server {
    child: Mutex<Child>,
    url: String,
}

impl Server {
    /// Starts one on the site's store.
    pub fn start(site: &Site) -> Result<Self, String> {
        let mut command = site.command(&site.program);
        command.arg("--store").arg(&site.store).args(["serve", "--listen", "127.0.0.1:0"]);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("the server: {error}"))?;
        let mut url = String::new();
        let mut said = BufReader::new(child.stdout.take().ok_or("no output")?);
        said.read_line(&mut url).map_err(|error| format!("the server: {error}"))?;
        if !url.starts_with("http") {
            return Err("the server does not start".to_owned());
        }
        // Whatever else it says must find a reader.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Ok(Self { child: Mutex::new(child), url: url.trim().to_owned() })
    }

    /// Kills it, and waits until it has gone.
    pub fn kill(&self) -> Result<(), String> {
        let mut child = self.child.lock().map_err(|_| "a panic")?;
        kill_group(child.id())?;
        child.wait().map(drop).map_err(|error| error.to_string())
    }

    /// Asks it to end.
    pub fn end(&self) -> Result<(), String> {
        let mut child = self.child.lock().map_err(|_| "a panic")?;
        text(Command::new("kill").arg(child.id().to_string()))?;
        child.wait().map(drop).map_err(|error| error.to_string())
    }
}

/// A repository of one client, and what it was told of it.
pub struct Repo {
    pub name: String,
    pub work: PathBuf,
    /// Branches that the server has said it has.
    pub refs: BTreeMap<String, String>,
    /// What else a branch may be, after something that was cut off; `None`: not there.
    maybe: BTreeMap<String, BTreeSet<Option<String>>>,
    number: u64,
}

/// What comes of a step if it is acknowledged: a branch and what it is then.
type Change = (String, Option<String>);

impl Repo {
    /// A repository without commits.
    pub fn new(site: &Site, name: &str) -> Result<Self, String> {
        let work = site.folder.join(name);
        site.git(&site.folder, &["init", "--quiet", name])?;
        site.git(&work, &["lfs", "install", "--local"])?;
        fs::write(work.join(".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n")
            .map_err(|error| error.to_string())?;
        let (refs, maybe) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { name: name.to_owned(), work, refs, maybe, number: 0 })
    }

    /// Whether the server has it, as far as it was told.
    pub fn is_there(&self) -> bool {
        !self.refs.is_empty()
    }

    /// Where the server has it.
    pub fn url(&self, server: &Server) -> String {
        format!("{}/{}.git", server.url, self.name)
    }

    /// Does something; what fails before the end is near is an error.
    pub fn step(
        &mut self,
        site: &Site,
        server: &Server,
        random: &mut Random,
        is_over: &AtomicBool,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let url = self.url(server);
        let branch = BRANCHES[random.below(BRANCHES.len())].to_owned();
        let has_it = self.refs.contains_key(&branch);
        let (done, changes, count): (_, Vec<Change>, _) = match random.below(16) {
            8..10 if has_it => {
                let Ok(id) =
                    site.git(&self.work, &["rev-parse", "-q", "--verify", &format!("{branch}~1")])
                else {
                    return Ok(());
                };
                let id = id.trim().to_owned();
                let done = self.push(site, &url, &format!("{id}:refs/heads/{branch}"));
                site.git(&self.work, &["branch", "-q", "-f", &branch, &id]).ok();
                (done, vec![(branch, Some(id))], &mut counts.rewinds)
            }
            // The branch that HEAD names is refused.
            10 if has_it && self.refs.len() > 1 && self.head(site, &url) != branch => {
                let done = self.push(site, &url, &format!(":refs/heads/{branch}"));
                (done, vec![(branch, None)], &mut counts.branches_deleted)
            }
            11 if self.is_there() && random.once_in(3) => {
                let done = site.mega(&["repo", "delete", &self.name]);
                let all = self.refs.keys().map(|branch| (branch.clone(), None)).collect();
                (done, all, &mut counts.repos_deleted)
            }
            12..14 if self.is_there() => (
                self.clone_whole(site, &url).map(|()| String::new()),
                Vec::new(),
                &mut counts.clones,
            ),
            14 if has_it => {
                let done = self.compare_mount(site, &branch, is_over);
                (done.map(|()| String::new()), Vec::new(), &mut counts.mounts)
            }
            _ => {
                let id = self.commit(site, &branch, random)?;
                let done = self.push(site, &url, &format!("{id}:refs/heads/{branch}"));
                (done, vec![(branch, Some(id))], &mut counts.pushes)
            }
        };
        match done {
            Ok(_) => {
                *count += 1;
                for (branch, id) in changes {
                    match id {
                        Some(id) => self.refs.insert(branch, id),
                        None => self.refs.remove(&branch),
                    };
                }
                Ok(())
            }
            Err(_) if is_over.load(Ordering::SeqCst) => {
                counts.cut += 1;
                for (branch, id) in changes {
                    self.maybe.entry(branch).or_default().insert(id);
                }
                Ok(())
            }
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// The branch that HEAD names; empty when there is none.
    fn head(&self, site: &Site, url: &str) -> String {
        let said =
            site.git(&self.work, &["ls-remote", "--symref", url, "HEAD"]).unwrap_or_default();
        let branch = said.strip_prefix("ref: refs/heads/").and_then(|rest| rest.split_once('\t'));
        branch.map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    fn push(&self, site: &Site, url: &str, spec: &str) -> Result<String, String> {
        site.git(&self.work, &["push", "-q", "-f", url, spec])
    }

    /// Makes a commit with text and a large file on a branch. Its id.
    fn commit(&mut self, site: &Site, branch: &str, random: &mut Random) -> Result<String, String> {
        self.number += 1;
        let head = format!("refs/heads/{branch}");
        let is_known = site.git(&self.work, &["rev-parse", "-q", "--verify", &head]).is_ok();
        if is_known {
            site.git(&self.work, &["checkout", "-q", "-f", branch])?;
        } else {
            site.git(&self.work, &["checkout", "-q", "-B", branch])?;
        }
        let file = self.work.join(format!("model{}.bin", random.below(3)));
        // A part of it is what it was: chunks are shared with what may be collected.
        let mut bytes = fs::read(&file).unwrap_or_default();
        bytes.resize(200_000 + random.below(600_000), 7);
        let from = random.below(bytes.len());
        random.fill(&mut bytes[from..]);
        let text = format!("{} {}\n", self.number, random.next()).repeat(50);
        fs::write(&file, bytes)
            .and_then(|()| fs::write(self.work.join(format!("{}.txt", random.below(20))), text))
            .map_err(|error| error.to_string())?;
        site.git(&self.work, &["add", "--all"])?;
        site.git(&self.work, &["commit", "-q", "-m", &format!("number {}", self.number)])?;
        Ok(site.git(&self.work, &["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// A clone of all of it, which must be right for git and git-lfs.
    fn clone_whole(&self, site: &Site, url: &str) -> Result<(), String> {
        let copy = site.folder.join(format!("{}.copy", self.name));
        let _ = fs::remove_dir_all(&copy);
        let path = copy.to_string_lossy().into_owned();
        site.git(&site.folder, &["clone", "-q", "--mirror", url, &path])?;
        site.git(&copy, &["fsck", "--full", "--strict"])?;
        site.git(&copy, &["lfs", "fetch", "--all", "origin"])?;
        site.git(&copy, &["lfs", "fsck"])?;
        fs::remove_dir_all(&copy).map_err(|error| format!("{path}: {error}"))
    }

    /// A branch through a mount, file by file.
    fn compare_mount(&self, site: &Site, branch: &str, is_over: &AtomicBool) -> Result<(), String> {
        let Some(id) = self.refs.get(branch) else { return Ok(()) };
        let folder = site.folder.join(format!("{}.mount", self.name));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        site.git(&self.work, &["checkout", "-q", "-f", id])?;
        let path = folder.to_string_lossy().into_owned();
        let mounted = site.mega(&["mount", &format!("{}@{id}", self.name), &path]);
        let compared = mounted.and_then(|_| {
            let work = self.work.to_string_lossy().into_owned();
            text(Command::new("diff").args(["-r", "--exclude=.git", &work, &path]))
        });
        if is_over.load(Ordering::SeqCst) {
            // Its server may have gone under it.
            let _ = Command::new("fusermount3").args(["-u", "-q", "-z", &path]).status();
            return compared.map(drop);
        }
        site.mega(&["unmount", &path])?;
        compared.map(drop)
    }

    /// Demands that the server has what it acknowledged, and that all of it is whole.
    pub fn verify(&mut self, site: &Site, server: &Server) -> Result<(), String> {
        let mount = site.folder.join(format!("{}.mount", self.name));
        let _ = Command::new("fusermount3").args(["-u", "-q", "-z"]).arg(&mount).status();
        let url = self.url(server);
        let there = site.mega(&["repo", "list"])?.contains(&self.name);
        let listed = match there {
            true => site.git(&self.work, &["ls-remote", "--heads", &url])?,
            false => String::new(),
        };
        let line = |line: &str| {
            let (id, name) = line.split_once('\t')?;
            Some((name.strip_prefix("refs/heads/")?.to_owned(), id.to_owned()))
        };
        let actual: BTreeMap<String, String> = listed.lines().filter_map(line).collect();
        for branch in BRANCHES {
            let (is, was) = (actual.get(branch), self.refs.get(branch));
            let may_be = self.maybe.get(branch).is_some_and(|may| may.contains(&is.cloned()));
            if is != was && !may_be {
                return Err(format!("{branch} is {is:?}, and {was:?} was acknowledged"));
            }
        }
        self.refs = actual;
        self.maybe.clear();
        if self.refs.is_empty() { Ok(()) } else { self.clone_whole(site, &url) }
    }
}
