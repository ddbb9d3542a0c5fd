//! Fuzz targets: everything that reads bytes from outside, fed with mutated good inputs.
//!
//! Each test plays its target for two seconds with a fixed seed; `cargo x fuzz` plays one for as
//! long as it is asked to, by the same test. The loop and the mutations are in `tools/src/fuzz/`.

mod exchange;
mod http;
mod ingest;
mod lfs_json;
mod memory;
mod names;
mod objects;
mod pack;
#[path = "../journeys/support/pack.rs"]
mod pack_write;
mod pkt_line;
mod pointer;
mod receive;
mod record;
mod seeds;
mod upload;

use std::sync::{Mutex, PoisonError};

use mega_tools::fuzz::{Plan, Target, play};

/// Panics and memory are counted for the whole process: one target at a time.
static TURN: Mutex<()> = Mutex::new(());

#[track_caller]
fn run(make: impl FnOnce() -> Box<dyn Target>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = Plan::from_environment();
    let report = play(&mut *make(), &plan, &memory::Meter).expect("files can be written");
    report.settle(&plan);
}

#[test]
fn pkt_line() {
    run(|| Box::new(pkt_line::PktLine));
}

#[test]
fn objects() {
    run(|| Box::new(objects::Objects));
}

#[test]
fn pointer() {
    run(|| Box::new(pointer::Pointers));
}

#[test]
fn names() {
    run(|| Box::new(names::Names));
}

#[test]
fn ingest() {
    run(|| Box::new(ingest::Ingest::new()));
}

#[test]
fn receive() {
    run(|| Box::new(receive::Receive::new()));
}

#[test]
fn upload() {
    run(|| Box::new(upload::Upload::new()));
}

#[test]
fn lfs_json() {
    run(|| Box::new(lfs_json::LfsJson::new()));
}

#[test]
fn http() {
    run(|| Box::new(http::Http::new()));
}

#[test]
fn record() {
    run(|| Box::new(record::Record::new()));
}

#[test]
fn exchange() {
    run(|| Box::new(exchange::Exchange));
}
