//! Clients that share no code with git: libgit2, dulwich, isomorphic-git.

use std::fs;

use crate::support::World;
use crate::support::client::git;
use crate::support::registry::{node_with, python_with};
use crate::support::repos::history;
use crate::support::server::Server;

const PYGIT2: &str = "pygit2==1.21.0";
const DULWICH: &str = "dulwich==1.2.21";
const ISOMORPHIC: &str = "isomorphic-git@1.44.11";

/// Clones, commits, pushes a branch and another, fetches, deletes.
const LIBGIT2: &str = r#"
import sys, pygit2
url, folder = sys.argv[1:]
class Callbacks(pygit2.RemoteCallbacks):
    def push_update_reference(self, name, message):
        assert message is None, (name, message)
repo = pygit2.clone_repository(url, folder)
assert len(list(repo.walk(repo.head.target))) == 420
with open(folder + "/new.txt", "w") as file:
    file.write("from libgit2\n")
repo.index.add("new.txt")
repo.index.write()
who = pygit2.Signature("A", "a@example.com", 1700000000, 60)
words = ("HEAD", who, who, "by libgit2", repo.index.write_tree(), [repo.head.target])
commit = repo.create_commit(*words)
remote = repo.remotes["origin"]
remote.push(["refs/heads/main", "refs/heads/main:refs/heads/new"], callbacks=Callbacks())
remote.push(["refs/heads/main:refs/heads/gone"], callbacks=Callbacks())
remote.push([":refs/heads/gone"], callbacks=Callbacks())
remote.fetch(["+refs/heads/*:refs/remotes/origin/*"])
assert repo.references["refs/remotes/origin/new"].target == commit
shallow = pygit2.clone_repository(url, folder + "-shallow", depth=1)
assert len(list(shallow.walk(shallow.head.target))) == 1
print(commit)
"#;

const DULWICH_SCRIPT: &str = r#"
import sys
from dulwich import porcelain
url, folder = sys.argv[1:]
repo = porcelain.clone(url, folder, errstream=porcelain.NoneStream())
assert len(list(repo.get_walker())) == 420
with open(folder + "/new.txt", "w") as file:
    file.write("from dulwich\n")
porcelain.add(repo, [folder + "/new.txt"])
who = b"A <a@example.com>"
commit = porcelain.commit(repo, message=b"by dulwich", author=who, committer=who)
quiet = {"outstream": porcelain.NoneStream(), "errstream": porcelain.NoneStream()}
porcelain.push(repo, url, ["refs/heads/main", "refs/heads/main:refs/heads/new"], **quiet)
porcelain.push(repo, url, ["refs/heads/main:refs/heads/gone"], **quiet)
porcelain.push(repo, url, [":refs/heads/gone"], **quiet)
porcelain.fetch(repo, url, **quiet)
shallow = porcelain.clone(url, folder + "-shallow", depth=1, errstream=porcelain.NoneStream())
assert len(list(shallow.get_walker())) == 1
print(commit.decode())
repo.close()
shallow.close()
"#;

const ISOMORPHIC_SCRIPT: &str = r#"
const [url, dir] = process.argv.slice(2);
const fs = require("fs");
const git = require("isomorphic-git");
const http = require("isomorphic-git/http/node");
(async () => {
    await git.clone({ fs, http, dir, url, depth: 1, singleBranch: true });
    const log = await git.log({ fs, dir });
    if (log.length !== 1) throw new Error(`${log.length} commits`);
    fs.writeFileSync(`${dir}/new.txt`, "from isomorphic-git\n");
    await git.add({ fs, dir, filepath: "new.txt" });
    const author = { name: "A", email: "a@example.com" };
    const commit = await git.commit({ fs, dir, message: "by isomorphic-git", author });
    const push = async (more) => {
        const result = await git.push({ fs, http, dir, url, ...more });
        if (!result.ok) throw new Error(JSON.stringify(result));
    };
    await push({ ref: "main" });
    await push({ ref: "main", remoteRef: "refs/heads/new" });
    await push({ ref: "main", remoteRef: "refs/heads/gone" });
    await push({ ref: "main", remoteRef: "refs/heads/gone", delete: true });
    const whole = `${dir}-whole`;
    await git.clone({ fs, http, dir: whole, url, noCheckout: true });
    const all = await git.log({ fs, dir: whole });
    if (all.length !== 421) throw new Error(`${all.length} commits`);
    await git.readTree({ fs, dir: whole, oid: all[420].oid });
    console.log(commit);
})().catch((error) => { console.error(error); process.exit(1); });
"#;

/// Gives the script a repository, and checks what it pushed. `run` starts it, given its path.
fn try_client(script: &str, run: impl Fn(&World, &str) -> String) {
    let world = World::with_store();
    history(&world, "source.git");
    let server = Server::start(&world);
    let (git, url) = (git(&world), server.repo("team/r"));
    git.ok("source.git", &["push", "-q", &url, "main", "side", "v1.0"]);
    fs::write(world.path("script"), script).expect("written");
    let said =
        world.sh(&format!("{} {url} {}", run(&world, "script"), world.path("copy").display()));
    let commit = said.trim();
    let refs = git.remote_refs(&url);
    for name in ["main", "new"] {
        assert!(refs.contains(&format!("{commit}\trefs/heads/{name}\n")), "{said}: {refs}");
    }
    assert!(!refs.contains("gone"), "{refs}");
    git.ok("", &["clone", "-q", "--mirror", &url, "after.git"]);
    git.assert_clean("after.git");
    assert_eq!(git.ok("after.git", &["rev-list", "--count", "main"]), "421\n");
    git.ok("after.git", &["cat-file", "-e", "main:new.txt"]);
}

#[test]
fn libgit2_clones_pushes_and_fetches() {
    if let Some(python) = python_with(PYGIT2) {
        try_client(LIBGIT2, |_, script| format!("{python} {script}"));
    }
}

#[test]
fn dulwich_clones_pushes_and_fetches() {
    if let Some(python) = python_with(DULWICH) {
        try_client(DULWICH_SCRIPT, |_, script| format!("{python} {script}"));
    }
}

#[test]
fn isomorphic_git_clones_and_pushes() {
    if let Some((node, modules)) = node_with(ISOMORPHIC) {
        try_client(ISOMORPHIC_SCRIPT, |_, script| format!("NODE_PATH={modules} {node} {script}"));
    }
}
