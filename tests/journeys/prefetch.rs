//! Content that is brought before it is read, and stays.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::server::Server;
use crate::support::world::has_fuse;
use crate::support::{Numbers, World};

/// Length of each large file, in bytes: several runs, more than is read ahead of a reader.
const LEN: usize = 24_000_000;

/// A repository `big` of a world with two large files, one that is not, and one whose content is
/// nowhere; the large ones.
fn big(world: &World) -> [Vec<u8>; 2] {
    let bytes = [41, 42].map(|seed| Numbers(seed).bytes(LEN));
    world.sh("git init -q big && cd big && git lfs track '*.bin' >&2 && mkdir dir");
    fs::write(world.path("big/model.bin"), &bytes[0]).expect("written");
    fs::write(world.path("big/dir/other.bin"), &bytes[1]).expect("written");
    fs::write(world.path("big/dir/blob"), Numbers(43).bytes(300_000)).expect("written");
    world.sh("cd big && git add . && git commit -qm one && git branch whole");
    let absent = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 1234567\n",
        "ab".repeat(32)
    );
    fs::write(world.path("big/lost.bin"), absent).expect("written");
    world.sh("cd big && id=$(git hash-object -w --no-filters lost.bin) && \
         git update-index --add --cacheinfo 100644,$id,lost.bin && git commit -qm two");
    assert_eq!(world.run(&["import", "big"]).code, 1, "one file is nowhere");
    world.ok(&["repo", "visibility", "big", "public"]);
    bytes
}

/// The one repository of a world that is filled as it is read.
fn name(world: &World) -> String {
    let rows = world.run(&["repo", "list", "--json"]).json();
    rows[0]["name"].as_str().expect("a name").to_owned()
}

fn is(path: &Path, bytes: &[u8]) {
    assert!(fs::read(path).expect("read") == bytes, "{}", path.display());
}

#[test]
fn paths_are_brought_while_the_mount_is_there_and_stay_without_the_server() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    let [first, second] = big(&there);
    let mut server = Server::start(&there);
    let mounted = here.mount(&server.repo("big"), "mnt", &[]);
    let name = name(&here);
    let run = here.run(&["prefetch", &name, "model.bin", "--json"]);
    let row = &run.json()[0];
    assert_eq!((run.code, &row["files"], &row["bytes"]), (0, &1.into(), &LEN.into()), "{row}");
    assert_eq!(row["fetched"], LEN, "{row}");
    let again = here.run(&["prefetch", &name, "model.bin", "--json"]);
    assert_eq!(again.json()[0]["fetched"], 0, "{again:?}");
    here.run(&["prefetch", &name, "nope"]).says(1, &["nope"]);
    let all = here.run(&["prefetch", &name, "--json"]);
    all.says(1, &["missing: lost.bin", "1 file could not be had", "hint: "]);
    let row = &all.json()[0];
    assert_eq!(row["missing"][0]["path"], "lost.bin", "{row}");
    let fetched = row["fetched"].as_u64().expect("a number");
    assert!((LEN as u64 + 300_000..LEN as u64 + 400_000).contains(&fetched), "{row}");
    server.kill();
    is(&mounted.path.join("model.bin"), &first);
    is(&mounted.path.join("dir/other.bin"), &second);
    assert_eq!(fs::read(mounted.path.join("dir/blob")).expect("read").len(), 300_000);
}

#[test]
fn a_repository_at_a_peer_is_brought_without_a_mount_and_goes_on_where_it_stopped() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    let [first, second] = big(&there);
    let args = ["--swarm", "--swarm-listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"];
    let mut server = Server::start_with(&there, &args);
    here.ok(&["peer", "add", &server.line("peer ")]);
    let peer = there.ok(&["peer", "id"]).trim().to_owned();
    let url = format!("p2p://{peer}/repo/big");
    let part = here.run(&["prefetch", &format!("{url}@whole"), "dir", "--json"]);
    assert_eq!(part.code, 0, "{part:?}");
    let name = name(&here);
    let all = here.run(&["prefetch", &format!("{name}@whole"), "--json"]);
    assert_eq!(all.code, 0, "{all:?}");
    let fetched = all.json()[0]["fetched"].as_u64().expect("a number");
    assert!((LEN as u64..LEN as u64 + 1000).contains(&fetched), "the rest alone: {fetched}");
    server.kill();
    let mounted = here.mount(&format!("{name}@whole"), "mnt", &[]);
    is(&mounted.path.join("model.bin"), &first);
    is(&mounted.path.join("dir/other.bin"), &second);
}

#[test]
fn a_pin_is_taken_and_given_back() {
    let world = World::with_store();
    world.ok(&["repo", "create", "whole"]);
    let pinned = |args: &[&str]| world.run(args).json()[0]["pinned"].clone();
    assert_eq!(pinned(&["pin", "whole", "--json"]), false, "nothing of it ever goes");
    world.run(&["pin", "absent"]).says(1, &["absent", "hint: "]);
}

/// What the cache says, by name.
#[track_caller]
fn cache(world: &World, what: &str) -> u64 {
    let row = &world.run(&["cache", "--json"]).json()[0];
    row[what].as_u64().unwrap_or_else(|| panic!("no '{what}' in {row}"))
}

/// Waits until something is so.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn content_over_the_limit_goes_by_itself_and_is_fetched_again() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    let [first, second] = big(&there);
    let server = Server::start(&there);
    let mounted = here.mount(&format!("{}@whole", server.repo("big")), "mnt", &[]);
    let name = name(&here);
    let (model, other) = (mounted.path.join("model.bin"), mounted.path.join("dir/other.bin"));
    let limit = LEN as u64 + LEN as u64 / 2;
    here.ok(&["cache", "limit", &limit.to_string()]);
    assert_eq!(cache(&here, "limit"), limit);
    is(&model, &first);
    is(&other, &second);
    wait_until("over the limit no more", || cache(&here, "used") <= limit);
    assert!(cache(&here, "used") > limit / 2, "no more than must");
    // A new mount, without what the kernel remembers.
    let again = here.mount(&format!("{name}@whole"), "again", &[]);
    is(&again.path.join("model.bin"), &first);
    is(&again.path.join("dir/other.bin"), &second);
    let row = &here.run(&["status", "--json"]).json()[0]["mounts"][0];
    let fetched = row["fetched"]["chunk_bytes"].as_u64().expect("a number");
    assert!(fetched > 2 * LEN as u64, "some came twice: {row}");
    assert!(row["resident"].as_u64().is_some_and(|len| len > 0), "{row}");
    assert_eq!(row["origin"], server.repo("big"), "{row}");
    // Pinned, all of it stays.
    here.ok(&["pin", &name]);
    here.ok(&["prefetch", &format!("{name}@whole")]);
    here.ok(&["cache", "limit", "0"]);
    let row = &here.run(&["cache", "--json"]).json()[0];
    assert_eq!((&row["used"], &row["repos"][0]["bytes"]), (&0.into(), &(2 * LEN).into()), "{row}");
    drop((mounted, again));
    here.ok(&["pin", &name, "--remove"]);
    wait_until("nothing is left", || {
        here.ok(&["cache", "evict"]);
        cache(&here, "used") == 0
    });
    here.ok(&["cache", "limit", "none"]);
    let mounted = here.mount(&format!("{name}@whole"), "mnt", &[]);
    is(&mounted.path.join("model.bin"), &first);
}

#[test]
fn a_removal_that_is_killed_leaves_every_file_as_it_was_or_fetched_again() {
    if !has_fuse() {
        return;
    }
    let (there, here) = (World::with_store(), World::with_store());
    let [first, second] = big(&there);
    let server = Server::start(&there);
    let url = format!("{}@whole", server.repo("big"));
    for pause_ms in [0, 30, 60, 90, 120, 160, 200] {
        here.ok(&["cache", "limit", "none"]);
        here.ok(&["prefetch", &url]);
        let mut evicting = here.mega().args(["-q", "cache", "limit", "1m"]).spawn().expect("ran");
        std::thread::park_timeout(Duration::from_millis(pause_ms));
        let _ = evicting.kill();
        evicting.wait().expect("gone");
        let mounted = here.mount(&url, "mnt", &[]);
        is(&mounted.path.join("model.bin"), &first);
        is(&mounted.path.join("dir/other.bin"), &second);
    }
}
