//! How much CPU time a walk, a closure and a pack cost for a real repository.
//!
//! `pack_rate STORE GIT-DIR`: takes the bare repository's packs in, when STORE is not there yet,
//! and prints CPU-seconds, objects and bytes for what a mirror clone, a default clone and a fetch
//! of one commit ask for.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use mega_storage::object::commit_info;
use mega_storage::{
    Filter, IngestOptions, NoProgress, ObjectId, PackInput, Reach, RepoId, RepoName, Result,
    SendOptions, Shallow, Store, StoreOptions, Visibility, WalkRequest,
};

/// Counts what is written, and throws it away.
struct Sink(u64);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, store, git] = &args[..] else {
        eprintln!("usage: pack_rate STORE GIT-DIR");
        std::process::exit(2);
    };
    if let Err(error) = run(Path::new(store), Path::new(git)) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(path: &Path, git: &Path) -> Result<()> {
    let (store, repo) = open(path, git)?;
    let (all, default, head) = tips(git);
    let walk = |wants: &[ObjectId], haves: &[ObjectId], filter: Filter| {
        let shallow = Shallow::default();
        store.reach(&WalkRequest { repo, wants, haves, filter, shallow }, &NoProgress)
    };
    let parent = parent(&store, &head)?;
    for round in 0..2 {
        println!("round {round}");
        let count = |reach: &Reach| reach.ids.len();
        measure("walk all", || walk(&all, &[], Filter::None), count);
        measure("walk all blob:none", || walk(&all, &[], Filter::BlobNone), count);
        measure("walk branches and tags", || walk(&default, &[], Filter::None), count);
        let count = |reach: &Arc<Reach>| reach.ids.len();
        let older: Vec<_> = all.iter().map(|id| if *id == head { parent } else { *id }).collect();
        measure("closure of an older head", || store.closure(repo, &older, &NoProgress), count);
        let mirror =
            measure("closure extended to all", || store.closure(repo, &all, &NoProgress), count);
        let clone = || store.closure(repo, &default, &NoProgress);
        let clone = measure("closure branches and tags", clone, count);
        let fetch = || walk(&[head], &[parent], Filter::None).map(Arc::new);
        let fetch = measure("walk one commit", fetch, count);
        for (what, reach) in [("all", mirror), ("branches and tags", clone), ("one commit", fetch)]
        {
            if let Some(reach) = reach {
                measure(&format!("send {what}"), || send(&store, repo, &reach), |len| *len);
            }
        }
    }
    Ok(())
}

fn send(store: &Store, repo: RepoId, reach: &Reach) -> Result<usize> {
    let has = |id: &ObjectId| reach.edge.binary_search(id).is_ok();
    let options = SendOptions { ofs_delta: true, thin_bases: Some(&has), keep: false };
    let mut sink = Sink(0);
    store.objects().send_pack(repo, &reach.ids, &options, &mut sink, &NoProgress)?;
    Ok(sink.0 as usize)
}

fn parent(store: &Store, id: &ObjectId) -> Result<ObjectId> {
    let object = store.objects().read(id)?.expect("a tip is there");
    Ok(commit_info(&object.data).expect("a commit").parents[0])
}

/// Prints CPU-seconds, the process's peak memory, and how much there is of what was made.
fn measure<T>(
    what: &str,
    work: impl FnOnce() -> Result<T>,
    amount: impl FnOnce(&T) -> usize,
) -> Option<T> {
    let before = cpu();
    let made = work();
    let seconds = cpu() - before;
    match &made {
        Ok(made) => println!("{seconds:>8.3} s {:>5} MiB  {what}: {}", peak_mib(), amount(made)),
        Err(error) => println!("{seconds:>8.3} s  {what}: {error}"),
    }
    made.ok()
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn open(path: &Path, git: &Path) -> Result<(Store, RepoId)> {
    let options = StoreOptions::default();
    let name = RepoName::new("r")?;
    if path.join("FORMAT").exists() {
        let store = Store::open(path, &options)?;
        let repo = store.repos().get(&name)?.id;
        return Ok((store, repo));
    }
    let store = Store::create(path, &options)?;
    let repo = store.repos().create(&name, Visibility::Private)?.id;
    for entry in std::fs::read_dir(git.join("objects/pack")).expect("a bare repository") {
        let pack = entry.expect("a listing").path();
        if pack.extension().is_some_and(|e| e == "pack") {
            let input = PackInput::Indexed { pack: &pack, index: &pack.with_extension("idx") };
            let options = IngestOptions::default();
            store.objects().ingest_pack(repo, input, &options, &NoProgress)?;
        }
    }
    Ok((store, repo))
}

/// All tips, those of branches and tags, and the head.
fn tips(git: &Path) -> (Vec<ObjectId>, Vec<ObjectId>, ObjectId) {
    let list = |args: &[&str]| -> Vec<ObjectId> {
        let output = Command::new("git").arg("-C").arg(git).args(args).output().expect("git runs");
        let text = String::from_utf8(output.stdout).expect("hex");
        text.lines().map(|line| line.parse().expect("an id")).collect()
    };
    let each = "--format=%(objectname)";
    let default = list(&["for-each-ref", each, "refs/heads", "refs/tags"]);
    let head = list(&["rev-parse", "HEAD"])[0];
    (list(&["for-each-ref", each]), default, head)
}
