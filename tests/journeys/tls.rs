//! Servers whose certificate only git's configuration trusts: what git takes, we take, and no more.

use std::fs;

use crate::support::World;
use crate::support::repos::weights;
use crate::support::server::Server;
use crate::support::world::{Run, has_fuse};

/// For localhost and 127.0.0.1, signed by itself; for tests alone.
const CERTIFICATE: &str = include_str!("../../src/http/tests/tls/cert.pem");
const KEY: &str = include_str!("../../src/http/tests/tls/key.pem");

/// A world with the certificate's files.
fn world() -> World {
    let world = World::with_store();
    fs::write(world.path("home/cert.pem"), CERTIFICATE).expect("written");
    fs::write(world.path("key.pem"), KEY).expect("written");
    world
}

/// An encrypted server with `team/model`, whose content is under LFS; the content.
fn serve(world: &World) -> (Server<'_>, String, Vec<u8>) {
    let (certificate, key) = (world.path("home/cert.pem"), world.path("key.pem"));
    let [certificate, key] = [certificate, key].map(|path| path.to_string_lossy().into_owned());
    let server = Server::start_with(world, &["--tls-cert", &certificate, "--tls-key", &key]);
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    let url = server.repo("team/model");
    let [_, second] = weights(world, "model");
    world.sh(&format!(
        "export GIT_SSL_CAINFO=$HOME/cert.pem; cd model && git lfs push {url} main && \
         git push -q {url} main"
    ));
    (server, url, second)
}

/// Imports with variables of the environment.
fn import(world: &World, url: &str, variables: &[(&str, &str)]) -> Run {
    let mut command = world.mega();
    command.args(["import", url]).envs(variables.iter().copied());
    Run::of(command.output().expect("started"))
}

fn content(world: &World) -> Vec<u8> {
    world.run(&["cat", "model", "model.safetensors"]).out
}

#[test]
fn an_import_trusts_whom_git_trusts() {
    let origin = world();
    let (server, url, model) = serve(&origin);
    let host = &server.url;
    // Each way of git's to say it.
    let cert = |world: &World| world.path("home/cert.pem").to_string_lossy().into_owned();
    let set = |key: &'static str, value: &'static str| {
        move |world: &World, host: &str| {
            let key = key.replace("HOST", host);
            world.git("", &["config", "--global", &key, value]);
        }
    };
    let nothing = |_: &World, _: &str| ();
    type Prepare<'a> = &'a dyn Fn(&World, &str);
    let ways: [(Prepare<'_>, &[&str]); 5] = [
        (&nothing, &["GIT_SSL_CAINFO"]),
        (&nothing, &["GIT_SSL_NO_VERIFY"]),
        (&set("http.HOST.sslCAInfo", "~/cert.pem"), &[]),
        (&set("http.sslCAInfo", "~/cert.pem"), &[]),
        (&set("http.HOST.sslVerify", "false"), &[]),
    ];
    for (prepare, variables) in ways {
        let world = world();
        prepare(&world, host);
        let file = cert(&world);
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|&name| (name, file.as_str())).collect();
        import(&world, &url, &variables).says(0, &[]);
        assert!(content(&world) == model, "{variables:?}");
    }
}

#[test]
fn an_import_trusts_nobody_else() {
    let origin = world();
    let (server, _, model) = serve(&origin);
    let lfs_url = format!("{}/info/lfs", server.repo("team/model"));
    let world = world();
    let git = |args: &[&str]| drop(world.git("model", args));
    weights(&world, "model");
    world.sh("rm -rf model/.git/lfs");
    git(&["config", "lfs.url", &lfs_url]);
    let refused = |variables: &[(&str, &str)], told: &[&str]| {
        import(&world, "model", variables).says(1, told);
    };
    refused(&[], &["could not be asked", "certificate"]);
    // Another server's.
    git(&["config", "http.https://localhost:1/.sslCAInfo", "~/cert.pem"]);
    git(&["config", "http.https://localhost:1/.sslVerify", "false"]);
    refused(&[], &["could not be asked", "certificate"]);
    git(&["config", "http.sslCAInfo", "~/absent.pem"]);
    refused(&[], &["http.sslCAInfo", "absent.pem", "hint: "]);
    fs::write(world.path("home/empty.pem"), "no certificate\n").expect("written");
    let empty = world.path("home/empty.pem").to_string_lossy().into_owned();
    refused(&[("GIT_SSL_CAINFO", &empty)], &["GIT_SSL_CAINFO", "it has no certificate"]);
    git(&["config", "http.sslCAInfo", "~/cert.pem"]);
    import(&world, "model", &[]);
    assert!(content(&world) == model);
}

#[test]
fn the_agent_and_mounts_trust_whom_git_trusts() {
    let origin = world();
    let (server, url, model) = serve(&origin);
    let world = world();
    world.ok(&["lfs-agent", "--install", "--global"]);
    let refused = world.try_git("", &["clone", "-q", &url, "none"]);
    assert_eq!(refused.code, 128, "{refused:?}");
    // git-lfs itself expands no '~'.
    let (key, file) = (format!("http.{}.sslCAInfo", server.url), world.path("home/cert.pem"));
    world.git("", &["config", "--global", &key, &file.to_string_lossy()]);
    world.git("", &["clone", "-q", &url, "clone"]);
    let bytes = fs::read(world.path("clone/model.safetensors")).expect("there");
    assert!(bytes == model);
    if has_fuse() {
        let mounted = world.mount(&url, "mnt", &[]);
        assert!(fs::read(mounted.path.join("model.safetensors")).expect("read") == model);
    }
}
