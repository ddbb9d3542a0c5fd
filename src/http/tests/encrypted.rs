//! TLS, with the certificate in `tls/`, which is for these tests alone.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{ServeError, ServeOptions, TlsFiles};
use super::world::{Plan, World, options, try_start};

const CERTIFICATE: &str = include_str!("tls/cert.pem");
const KEY: &str = include_str!("tls/key.pem");

fn files(world: &World, certificate: &str, key: &str) -> TlsFiles {
    let dir = world.dir.path();
    std::fs::write(dir.join("cert.pem"), CERTIFICATE).expect("written");
    std::fs::write(dir.join("key.pem"), KEY).expect("written");
    TlsFiles { certificate: dir.join(certificate), key: dir.join(key) }
}

fn with(tls: TlsFiles) -> ServeOptions {
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    ServeOptions { tls: Some(tls), ..options(listen, &Plan::default()) }
}

#[test]
fn a_certificate_from_files_serves_both_versions_of_http() {
    let mut world = World::new(Plan::default());
    let tls = files(&world, "cert.pem", "key.pem");
    world.restart(&with(tls));
    for is_old in [true, false] {
        let mut client = reqwest::blocking::Client::builder()
            .timeout(Duration::from_secs(20))
            .danger_accept_invalid_certs(true);
        if is_old {
            client = client.http1_only();
        }
        let url = format!("https://127.0.0.1:{}/v1/status", world.address.port());
        let answer = client.build().expect("a client").get(url).send().expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(world.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").find("200"), None);
}

#[test]
fn a_bad_certificate_is_named() {
    let world = World::new(Plan::default());
    for (tls, culprit) in [
        (files(&world, "key.pem", "key.pem"), "key.pem"),
        (files(&world, "cert.pem", "cert.pem"), "cert.pem"),
        (files(&world, "absent.pem", "key.pem"), "absent.pem"),
    ] {
        match try_start(&world.store, &with(tls)) {
            Err(ServeError::Tls { path, .. }) => {
                assert_eq!(path.file_name().map(PathBuf::from), Some(culprit.into()));
            }
            other => panic!("{other:?}"),
        }
    }
}
