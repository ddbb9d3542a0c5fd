//! Real git, every version on the machine, over every version of the protocol.

use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;

use super::*;

/// A git program, the version of the protocol that it speaks, and where its clones go.
struct Client {
    program: PathBuf,
    version: u8,
    url: String,
    dir: TempDir,
}

impl Client {
    /// Runs git in `folder` of the client's directory.
    fn git(&self, folder: &str, args: &[&str]) -> String {
        let output = self.command(folder, args).output().expect("git");
        let words = String::from_utf8_lossy(&output.stderr);
        let (program, version) = (self.program.display(), self.version);
        assert!(output.status.success(), "{program} v{version} {args:?}: {words}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn command(&self, folder: &str, args: &[&str]) -> Process {
        let mut git = Process::new(&self.program);
        git.envs(git_command().get_envs().filter_map(|(name, value)| Some((name, value?))));
        git.args(["-c", &format!("protocol.version={}", self.version), "-c", "gc.auto=0", "-C"]);
        git.arg(self.dir.path().join(folder)).args(args);
        git
    }

    /// Clones into `folder` and checks what came.
    fn clone_to(&self, folder: &str, args: &[&str]) {
        let args = [&["clone", "-q"], args, &[self.url.as_str(), folder]].concat();
        self.git("", &args);
        self.git(folder, &["fsck", "--strict", "--no-dangling"]);
    }

    fn count(&self, folder: &str, args: &[&str]) -> usize {
        self.git(folder, &[&["rev-list", "--count"], args].concat()).parse().expect("a number")
    }
}

/// One client for each git and each version, all of one server.
fn clients(world: &Arc<World>) -> Vec<Client> {
    let url = bridge::start(world);
    let mut clients: Vec<Client> = Vec::new();
    for program in ["git", "/usr/bin/git"].map(PathBuf::from) {
        if program.is_absolute() && !program.exists() {
            continue;
        }
        for version in 0..3 {
            let dir = tempfile::tempdir().expect("a directory");
            clients.push(Client { program: program.clone(), version, url: url.clone(), dir });
        }
    }
    clients
}

fn world() -> Arc<World> {
    Arc::new(World::with_history(600, 11))
}

fn tip_refs(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.contains("refs/remotes/")).collect()
}

#[test]
fn clones_have_everything() {
    let world = world();
    let refs = world.git(&["for-each-ref"]);
    for client in clients(&world) {
        client.clone_to("plain", &[]);
        assert_eq!(client.git("plain", &["status", "--porcelain"]), "");
        assert_eq!(client.git("plain", &["rev-parse", "HEAD"]), world.id("main").to_string());
        let tags = world.git(&["for-each-ref", "refs/tags"]);
        assert_eq!(client.git("plain", &["for-each-ref", "refs/tags"]), tags);
        client.clone_to("mirror", &["--mirror"]);
        assert_eq!(tip_refs(&client.git("mirror", &["for-each-ref"])), tip_refs(&refs));
        client.clone_to("single", &["--single-branch", "--branch", "old"]);
        assert_eq!(
            client.count("single", &["HEAD"]),
            world.git(&["rev-list", "--count", "old"]).parse::<usize>().expect("a number")
        );
        let listed = client.git("", &["ls-remote", "-q", "--symref", &client.url]);
        assert!(listed.starts_with("ref: refs/heads/main\tHEAD\n"), "{listed}");
        assert!(listed.contains(&format!("{}\trefs/tags/nested^{{}}", world.id("v1^{}"))));
    }
}

#[test]
fn shallow_clones_grow() {
    let world = world();
    let all: usize = world.git(&["rev-list", "--count", "main"]).parse().expect("a number");
    let since = world.git(&["log", "-1", "--format=%ct", "main~9"]);
    for client in clients(&world) {
        client.clone_to("depth", &["--depth", "1"]);
        assert_eq!(client.count("depth", &["HEAD"]), 1);
        client.git("depth", &["fetch", "-q", "--deepen", "3"]);
        client.git("depth", &["fsck", "--strict", "--no-dangling"]);
        let expected = tempfile::tempdir().expect("a directory");
        let url = format!("file://{}", world.git_dir().display());
        let args = ["clone", "-q", "--bare", "--single-branch", "--depth", "4", &url, "c"];
        git_in(expected.path(), &args);
        let expected = git_in(&expected.path().join("c"), &["rev-list", "--count", "HEAD"]);
        assert_eq!(client.count("depth", &["HEAD"]).to_string(), expected);
        client.git("depth", &["fetch", "-q", "--depth", "2"]);
        client.git("depth", &["fsck", "--strict", "--no-dangling"]);
        client.git("depth", &["fetch", "-q", "--unshallow"]);
        client.git("depth", &["fsck", "--strict", "--no-dangling"]);
        assert_eq!(client.count("depth", &["HEAD"]), all);
        assert_eq!(client.git("depth", &["rev-parse", "--is-shallow-repository"]), "false");
        client.clone_to("since", &["--shallow-since", &since]);
        let found = client.git("since", &["rev-list", "HEAD"]);
        let expected = world.git(&["rev-list", &format!("--since={since}"), "main"]);
        assert_eq!(found, expected);
        client.clone_to("not", &["--shallow-exclude", "old"]);
        let found = client.git("not", &["rev-list", "HEAD"]);
        assert_eq!(found, world.git(&["rev-list", "main", "^old"]));
        client.git("not", &["fetch", "-q", "--shallow-since", &since]);
        client.git("not", &["fsck", "--strict", "--no-dangling"]);
    }
}

#[test]
fn partial_clones_get_the_rest_when_they_need_it() {
    let world = world();
    let others = ["tree:0", "combine:tree:2+blob:limit=1k"];
    for (client, other) in clients(&world).into_iter().zip(others.into_iter().cycle()) {
        for filter in ["blob:none", other] {
            let args = ["clone", "-q", "--no-checkout", "--filter", filter, &client.url, "p"];
            client.git("", &args);
            let missing = ["rev-list", "--objects", "--all", "--missing=print"];
            let missing = client.git("p", &missing);
            assert!(missing.lines().any(|line| line.starts_with('?')), "{filter}");
            client.git("p", &["checkout", "-q", "main~5"]);
            assert_eq!(client.git("p", &["status", "--porcelain"]), "");
            client.git("p", &["fsck", "--strict", "--no-dangling"]);
            client.git("p", &["fetch", "-q", "origin", "main"]);
            std::fs::remove_dir_all(client.dir.path().join("p")).expect("removed");
        }
    }
}

#[test]
fn fetches_bring_what_is_new() {
    let world = world();
    let clients = clients(&world);
    for client in &clients {
        client.clone_to("c", &[]);
        client.clone_to("own", &["--branch", "main"]);
        // Many commits that the server does not know stand in the way.
        for number in 0..40 {
            client.git("own", &["commit", "-q", "--allow-empty", "-m", &number.to_string()]);
        }
    }
    let new = world.commit("new");
    world.git(&["tag", "-a", "-m", "followed", "followed"]);
    world.git(&["tag", "-a", "-m", "not followed", "aside", "HEAD~1^{tree}"]);
    world.sync();
    for client in &clients {
        for folder in ["c", "own"] {
            client.git(folder, &["fetch", "-q"]);
            client.git(folder, &["fsck", "--strict", "--no-dangling"]);
            let main = client.git(folder, &["rev-parse", "origin/main"]);
            assert_eq!(main, new.to_string());
            client.git(folder, &["rev-parse", "followed"]);
            let packed = client.git(folder, &["count-objects", "-v"]);
            assert!(packed.contains("in-pack"), "{packed}");
        }
        let old = world.id("main~30").to_string();
        client.git("", &["init", "-q", "--bare", "by-id"]);
        client.git("by-id", &["fetch", "-q", &client.url, &old]);
        assert_eq!(client.git("by-id", &["rev-parse", "FETCH_HEAD"]), old);
        client.git("by-id", &["fsck", "--strict", "--no-dangling"]);
        let wrong = client.command("by-id", &["fetch", "-q", &client.url, &"1".repeat(40)]);
        let mut wrong = wrong;
        let output = wrong.output().expect("git");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.contains("not our ref"), "{words}");
    }
}

#[test]
fn empty_repositories_can_be_cloned() {
    let world = Arc::new(World::new());
    world.sync();
    for client in clients(&world) {
        client.clone_to("c", &["-c", "init.defaultBranch=other"]);
        let head = client.git("c", &["symbolic-ref", "HEAD"]);
        assert_eq!(head == "refs/heads/main", client.version == 2, "{head}");
        assert!(Path::new(&client.dir.path().join("c/.git")).exists());
    }
}
