//! A server as a person uses it: start it, push, clone, hand out tokens, end it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::support::{Numbers, World};

/// A running server of a world's store.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(world: &World, more: &[&str]) -> Self {
        let mut command = world.mega();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let mut url = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut url).expect("a line");
        Self { child, url: url.trim_end().to_owned() }
    }

    /// The URL of a repository, with a token in it.
    fn repo(&self, token: &str, name: &str) -> String {
        let host = self.url.strip_prefix("http://").expect("not encrypted");
        format!("http://x:{}@{host}/{name}.git", token.trim_end())
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process"), signal).expect("signalled");
    }

    /// Ends it by a signal; it has to end well.
    fn end(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.child.wait().expect("ended").success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn new_repo(world: &World, name: &str) {
    world.sh(&format!(
        "git init -q {name} && cd {name} && echo one > a && git add . && git commit -qm one"
    ));
}

#[test]
fn push_and_clone_without_any_configuration() {
    let world = World::with_store();
    let serving = Serving::start(&world, &[]);
    new_repo(&world, "w");
    world.git("w", &["push", "-q", &format!("{}/team/model.git", serving.url), "main"]);
    for version in ["0", "1", "2"] {
        let config = format!("protocol.version={version}");
        let dir = format!("c{version}");
        let url = format!("{}/team/model.git", serving.url);
        world.git(".", &["-c", &config, "clone", "-q", &url, &dir]);
        let fsck = world.git(&dir, &["fsck", "--full", "--strict"]);
        assert!(!fsck.contains("error"), "{fsck}");
        assert_eq!(world.git(&dir, &["rev-parse", "HEAD"]), world.git("w", &["rev-parse", "HEAD"]));
    }
    // Other commands are done by the server meanwhile.
    assert_eq!(world.ok(&["cat", "team/model", "a"]), "one\n");
    let status = &world.run(&["status", "--json"]).json()[0];
    assert_eq!(status["holder"]["keeps_mounts"], true);
    let second = world.run(&["serve", "--listen", "127.0.0.1:0"]);
    second.says(1, &["is in use by process"]);
    serving.end();
    assert_eq!(world.ok(&["cat", "team/model", "a"]), "one\n");
}

#[test]
fn tokens_open_what_they_say_and_end_when_they_are_revoked() {
    let world = World::with_store();
    let serving = Serving::start(&world, &[]);
    new_repo(&world, "w");
    world.git("w", &["push", "-q", &format!("{}/m.git", serving.url), "main"]);
    let reader = world.ok(&["token", "create", "--repo", "m", "--note", "r"]);
    let writer = world.ok(&["token", "create", "--repo", "m", "--write", "--expires", "30d"]);
    let plain = format!("{}/m.git", serving.url);
    world.try_git(".", &["clone", "-q", &plain, "no"]).says(128, &["could not read Username"]);
    world.git(".", &["clone", "-q", &serving.repo(&reader, "m"), "c"]);
    world.sh("cd c && echo two > b && git add . && git commit -qm two");
    let refused = world.try_git("c", &["push", "-q", &serving.repo(&reader, "m"), "main"]);
    assert!(refused.code != 0 && refused.words.contains("403"), "{refused:?}");
    world.git("c", &["push", "-q", &serving.repo(&writer, "m"), "main"]);
    let rows = world.run(&["token", "list", "--json"]).json();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["repo"], &rows[0]["write"], &rows[0]["note"]),
        (&"m".into(), &false.into(), &"r".into())
    );
    assert!(rows[1]["expires_unix"].is_u64() && rows[1]["expired"] == false);
    world.ok(&["token", "revoke", "1"]);
    world.run(&["token", "revoke", "1"]).says(1, &["there is no token 1", "hint: "]);
    let gone = world.try_git(".", &["ls-remote", &serving.repo(&reader, "m")]);
    assert_ne!(gone.code, 0, "{gone:?}");
    serving.end();
}

#[test]
fn large_files_go_up_and_down_with_git_lfs() {
    let world = World::with_store();
    let serving = Serving::start(&world, &[]);
    let weights = Numbers(5).weights(9 << 20);
    world.sh("git init -q w && cd w && git lfs install --local && git lfs track '*.bin'");
    std::fs::write(world.path("w/m.bin"), &weights).expect("written");
    world.sh("cd w && git add . && git commit -qm one");
    let url = format!("{}/lfs/model.git", serving.url);
    world.git("w", &["remote", "add", "origin", &url]);
    world.git("w", &["push", "-q", "origin", "main"]);
    world.git(".", &["clone", "-q", &url, "c"]);
    assert!(std::fs::read(world.path("c/m.bin")).expect("is there") == weights);
    world.sh("cd c && git lfs fsck && git lfs lock m.bin && git lfs locks | grep m.bin");
    world.sh("cd c && git lfs unlock m.bin && test -z \"$(git lfs locks)\"");
    serving.end();
}

#[test]
fn a_server_says_why_it_does_not_start() {
    let world = World::with_store();
    let open = world.run(&["serve", "--listen", "0.0.0.0:0"]);
    open.says(1, &["can be reached from other machines", "hint: make one first"]);
    world.run(&["serve", "--listen", "here"]).says(2, &["ADDRESS:PORT"]);
    world.run(&["serve", "--tls-cert", "x"]).says(2, &["--tls-key"]);
    let tls = world.run(&["serve", "--listen", "127.0.0.1:0", "--tls-cert", "x", "--tls-key", "y"]);
    tls.says(1, &["x: ", "hint: --tls-cert and --tls-key take PEM files"]);
    let token = world.run(&["token", "create", "--repo", "none"]);
    token.says(1, &["there is no repository 'none'"]);
    world.run(&["token", "create", "--repo", "*", "--expires", "soon"]).says(2, &["30d"]);
}
