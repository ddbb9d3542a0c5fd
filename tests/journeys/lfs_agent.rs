//! The LFS server with our transfer agent: only what is new in a file moves, and what was cut off
//! goes on.

use std::process::Stdio;

use crate::support::client::git;
use crate::support::large::{
    CUT, IN, LARGE, OUT, checkout, commit, install_agent, killed, read, tenth_changed, to_download,
    upload_twice,
};
use crate::support::proxy::{Proxy, Way};
use crate::support::server::Server;
use crate::support::{Numbers, World};

#[test]
fn the_agent_moves_what_is_new_in_a_file() {
    let world = World::with_store();
    let mut numbers = Numbers(21);
    let first = numbers.bytes(LARGE);
    let second = tenth_changed(&first, &mut numbers);
    let server = Server::start(&world);
    let (git, url) = (git(&world), server.repo("r"));
    checkout(&world, "up", &first);
    install_agent(&world, "up");
    let before = server.metric(IN);
    git.ok("up", &["push", "-q", &url, "main"]);
    assert!(server.metric(IN) - before > LARGE as u64, "the first time all of it goes");
    git.ok("", &["clone", "-q", &url, "down"]);
    git.ok("", &["clone", "-q", &url, "stock"]);
    install_agent(&world, "down");
    commit(&world, "up", &second);
    let before = server.metric(IN);
    git.ok("up", &["push", "-q", &url, "main"]);
    let went_up = server.metric(IN) - before;
    let before = server.metric(OUT);
    git.ok("down", &["pull", "-q"]);
    let came_down = server.metric(OUT) - before;
    let most = LARGE as u64 * 15 / 100;
    assert!(went_up <= most, "{went_up} bytes went up");
    assert!(came_down <= most, "{came_down} bytes came down");
    assert!(read(&world, "down/w.bin") == second);
    git.ok("down", &["lfs", "fsck"]);
    // Whoever has no agent gets it all the same.
    git.ok("stock", &["pull", "-q"]);
    assert!(read(&world, "stock/w.bin") == second);
}

#[test]
fn the_agent_is_set_up_and_taken_away_by_one_command() {
    let world = World::with_store();
    let server = Server::start(&world);
    let (git, url) = (git(&world), server.repo("r"));
    checkout(&world, "up", &Numbers(3).bytes(3_000_000));
    let agent = |verb: &str| {
        let mut command = world.mega();
        command.args(["lfs-agent", verb]).current_dir(world.path("up"));
        assert!(command.output().expect("started").status.success());
        git.run("up", &["config", "--get-regexp", "customtransfer"]).text().to_owned()
    };
    assert!(agent("--install").contains("lfs.customtransfer.mega.args lfs-agent"));
    git.ok("up", &["push", "-q", &url, "main"]);
    assert_eq!(agent("--uninstall"), "");
    assert_eq!(agent("--uninstall"), "", "once more does no harm");
    let content = Numbers(4).bytes(3_000_000);
    commit(&world, "up", &content);
    git.ok("up", &["push", "-q", &url, "main"]);
    // For one command only, without any of it.
    let program = env!("CARGO_BIN_EXE_mega-store");
    let (path, args) = (
        format!("lfs.customtransfer.mega.path={program}"),
        "lfs.customtransfer.mega.args=lfs-agent",
    );
    git.ok("", &["-c", &path, "-c", args, "clone", "-q", &url, "down"]);
    assert!(read(&world, "down/w.bin") == content);
}

#[test]
fn an_upload_that_was_killed_is_taken_up_again_by_the_agent() {
    let sent = upload_twice(true);
    // What was on its way in three requests of 4 MiB may have to go again.
    assert!(sent < (LARGE as u64 - CUT) + (13 << 20), "{sent} bytes");
}

#[test]
fn a_download_that_was_killed_goes_on_with_the_agent() {
    let world = World::with_store();
    let content = Numbers(43).bytes(LARGE);
    let (_server, proxy, git) = to_download(&world, &content);
    install_agent(&world, "down");
    killed(&git, &proxy, Way::Down, "down", &["lfs", "fetch"]);
    let before = proxy.count(Way::Down);
    git.ok("down", &["lfs", "fetch"]);
    let came = proxy.count(Way::Down) - before;
    git.ok("down", &["checkout", "-q", "main"]);
    assert!(read(&world, "down/w.bin") == content);
    // What was on its way in three requests of 8 MiB may have to come again.
    assert!(came < (LARGE as u64 - CUT) + (25 << 20), "{came} bytes");
}

#[test]
fn what_was_cut_off_goes_on_with_the_agent_and_another_server() {
    let world = World::with_store();
    let content = Numbers(51).bytes(LARGE);
    checkout(&world, "up", &content);
    install_agent(&world, "up");
    world.git("up", &["config", "lfs.transfer.maxretries", "1"]);
    let mut server = Server::start(&world);
    let proxy = Proxy::start(server.address());
    let git = git(&world);
    let url = server.repo("r").replace(&server.url, &proxy.url);
    // Held, with the server killed before the next try; then whole.
    let stopped = proxy.stop_after(Way::Up, CUT);
    let mut push = git.command("up");
    push.args(["push", "-q", &url, "main"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut push = push.spawn().expect("started");
    stopped.recv().expect("so many bytes");
    server.kill();
    proxy.go_on();
    assert!(!push.wait().expect("ended").success());
    server.restart();
    let before = proxy.count(Way::Up);
    git.ok("up", &["push", "-q", &url, "main"]);
    let sent = proxy.count(Way::Up) - before;
    assert!(sent < (LARGE as u64 - CUT) + (13 << 20), "{sent} bytes went up the second time");

    git.ok("", &["clone", "-q", "--no-checkout", &url, "down"]);
    install_agent(&world, "down");
    git.ok("down", &["lfs", "install", "--local"]);
    git.ok("down", &["config", "lfs.transfer.maxretries", "1"]);
    let before = proxy.count(Way::Down);
    proxy.cut_after(Way::Down, CUT);
    // It may try again by itself.
    git.run("down", &["lfs", "fetch"]);
    git.ok("down", &["lfs", "fetch"]);
    let came = proxy.count(Way::Down) - before;
    git.ok("down", &["checkout", "-q", "main"]);
    assert!(read(&world, "down/w.bin") == content);
    assert!(came < LARGE as u64 + (25 << 20), "{came} bytes came down in both");
}
