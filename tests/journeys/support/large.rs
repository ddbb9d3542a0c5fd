//! Checkouts with a large file under LFS, and transfers of it that are broken off.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use super::client::{Git, git};
use super::proxy::{Proxy, Way};
use super::repos::oid;
use super::server::Server;
use super::{Numbers, World};

/// What the server has taken of bodies, in bytes.
pub const IN: &str = "mega_store_body_in_bytes_total";
/// What the server has sent of bodies, in bytes.
pub const OUT: &str = "mega_store_body_out_bytes_total";
/// Length of the files that are transferred in part.
pub const LARGE: usize = 48 << 20;
/// Bytes after which a transfer is cut off.
pub const CUT: u64 = 20 << 20;

/// A checkout `dir` with `w.bin` under LFS, of which nothing was pushed.
pub fn checkout(world: &World, dir: &str, content: &[u8]) {
    world.sh(&format!(
        "git init -q {dir} && cd {dir} && git lfs install --local >&2 && \
        git lfs track '*.bin' >&2"
    ));
    fs::write(world.path(dir).join("w.bin"), content).expect("written");
    world.sh(&format!("cd {dir} && git add . && git commit -qm one"));
}

/// Commits other content of the file.
pub fn commit(world: &World, dir: &str, content: &[u8]) {
    fs::write(world.path(dir).join("w.bin"), content).expect("written");
    world.sh(&format!("cd {dir} && git commit -qam more"));
}

/// The content with a tenth of it changed, in four places.
pub fn tenth_changed(content: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut changed = content.to_vec();
    let (part, len) = (content.len() / 4, content.len() / 40);
    for place in 0..4 {
        let start = place * part + part / 3;
        changed[start..start + len].copy_from_slice(&numbers.bytes(len));
    }
    changed
}

/// The bytes of a file.
pub fn read(world: &World, path: &str) -> Vec<u8> {
    fs::read(world.path(path)).expect("there")
}

/// Has git-lfs in `dir` transfer by our agent.
pub fn install_agent(world: &World, dir: &str) {
    let program = env!("CARGO_BIN_EXE_mega-store");
    world.sh(&format!("cd {dir} && {program} lfs-agent --install"));
}

/// Runs git and kills it, and all that it has started, when the proxy stops.
pub fn killed(git: &Git<'_>, proxy: &Proxy, way: Way, dir: &str, args: &[&str]) {
    let stopped = proxy.stop_after(way, CUT);
    let mut command = git.command(dir);
    command.args(args).process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    stopped.recv().expect("so many bytes");
    let group = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).expect("sent");
    assert!(!child.wait().expect("ended").success());
    proxy.go_on();
}

/// Uploads a large file that is cut off, and again; bytes that came in the second time.
pub fn upload_twice(has_agent: bool) -> u64 {
    let world = World::with_store();
    let content = Numbers(31).bytes(LARGE);
    checkout(&world, "up", &content);
    if has_agent {
        install_agent(&world, "up");
    }
    let server = Server::start(&world);
    let proxy = Proxy::start(server.address());
    let git = git(&world);
    let url = server.repo("r").replace(&server.url, &proxy.url);
    killed(&git, &proxy, Way::Up, "up", &["push", &url, "main"]);
    let id = oid(&world, "up", "main:w.bin");
    // Half a file is none.
    assert_eq!(server.get(&format!("/v1/file/{id}")).status(), 404);
    let before = proxy.count(Way::Up);
    git.ok("up", &["push", "-q", &url, "main"]);
    let sent = proxy.count(Way::Up) - before;
    git.ok("", &["clone", "-q", &server.repo("r"), "copy"]);
    assert!(read(&world, "copy/w.bin") == content);
    sent
}

/// A clone `down` through a proxy, of a repository whose large file was not fetched yet.
pub fn to_download<'w>(world: &'w World, content: &[u8]) -> (Server<'w>, Proxy, Git<'w>) {
    checkout(world, "up", content);
    let server = Server::start(world);
    let proxy = Proxy::start(server.address());
    let git = git(world);
    git.ok("up", &["push", "-q", &server.repo("r"), "main"]);
    let url = server.repo("r").replace(&server.url, &proxy.url);
    git.ok("", &["clone", "-q", "--no-checkout", &url, "down"]);
    git.ok("down", &["lfs", "install", "--local"]);
    (server, proxy, git)
}
