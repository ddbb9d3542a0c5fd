//! The end: what runs may end, what is new is not taken.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::world::{Plan, World, read_all};

#[test]
fn a_running_request_ends_and_no_new_one_begins() {
    let mut world = World::with_repos();
    let mut stream = world.connect();
    let begun = "POST /open.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/x-git-upload-pack-request\r\nContent-Length: 4\r\n\
        Expect: 100-continue\r\n\r\n";
    stream.write_all(begun.as_bytes()).expect("sent");
    let mut first = [0; 25];
    stream.read_exact(&mut first).expect("the handler reads");
    let (server, runtime) = (world.server.take().expect("runs"), world.runtime.take());
    let runtime = runtime.expect("runs");
    let ending = runtime.spawn(server.end());
    // A listener that is gone refuses.
    while TcpStream::connect(world.address).is_ok() {
        std::thread::yield_now();
    }
    assert!(!ending.is_finished(), "a request is running");
    stream.write_all(b"0000").expect("sent");
    assert!(read_all(&mut stream).contains("HTTP/1.1 200 OK"));
    runtime.block_on(ending).expect("ended");
    runtime.shutdown_timeout(Duration::from_secs(5));
}

#[test]
fn an_idle_connection_does_not_keep_the_server() {
    let mut world = World::new(Plan::default());
    let mut idle = world.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut answer = vec![0; 1_024];
    let len = idle.read(&mut answer).expect("an answer");
    assert!(answer[..len].starts_with(b"HTTP/1.1 200"));
    let silent = world.connect();
    world.end();
    assert_eq!(read_all(&mut idle), "");
    drop(silent);
}

#[test]
fn a_client_that_goes_away_costs_nothing() {
    let world = World::with_repos();
    let mut content = vec![0; 24 << 20];
    mega_tools::random::Random::new(3).fill(&mut content);
    let id = world.add_file("open", &content);
    let mut leaving: Vec<TcpStream> = (0..3).map(|_| world.connect()).collect();
    for stream in &mut leaving {
        let ask = format!("GET /v1/file/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(ask.as_bytes()).expect("sent");
        stream.read_exact(&mut [0; 1_024]).expect("begun");
    }
    let running = || {
        let text = world.get("/metrics").text().expect("text");
        let line = text.lines().find(|line| line.starts_with("mega_store_requests "));
        line.expect("is there").rsplit(' ').next().expect("a number").parse().unwrap_or(0u64)
    };
    assert!(running() > 1, "they wait for their reader");
    drop(leaving);
    let deadline = Instant::now() + Duration::from_secs(20);
    while running() > 1 {
        assert!(Instant::now() < deadline, "their threads are still at it");
    }
}
