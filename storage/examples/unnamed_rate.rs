//! How long it takes to find out that no public repository has an object, a file or a chunk.
//!
//! `unnamed_rate STORE GIT-DIR COUNT`: takes the repository in COUNT times, public, when STORE is
//! not there yet, and prints the time of one question.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use mega_storage::{
    ChunkId, FileId, IngestOptions, NoProgress, ObjectId, PackInput, RepoName, Result, Store,
    StoreOptions, Visibility,
};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, store, git, count] = &args[..] else {
        eprintln!("usage: unnamed_rate STORE GIT-DIR COUNT");
        std::process::exit(2);
    };
    let count = count.parse().unwrap_or(10_000);
    if let Err(error) = run(Path::new(store), Path::new(git), count) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(path: &Path, git: &Path, count: usize) -> Result<()> {
    let store = open(path, git, count)?;
    let number = std::cell::Cell::new(0u32);
    let absent = || {
        number.set(number.get() + 1);
        let mut id = [0x5a; 32];
        id[..4].copy_from_slice(&number.get().wrapping_mul(0x9e37_79b9).to_le_bytes());
        id
    };
    for _ in 0..3 {
        measure("object", || {
            let id = ObjectId::from_slice(&absent()[..20]).expect("20 bytes");
            store.is_public_object(&id)
        });
        measure("file", || store.is_public_file(&FileId::from_bytes(absent())));
        measure("chunk", || Ok(store.public_chunk(&ChunkId::from_bytes(absent()))?.is_some()));
    }
    Ok(())
}

fn measure(what: &str, ask: impl Fn() -> Result<bool>) {
    const ROUNDS: u32 = 20;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        assert!(!ask().expect("the store can be read"), "nobody has it");
    }
    let each = start.elapsed() / ROUNDS;
    println!("{what:8} {:8.3} ms", each.as_secs_f64() * 1e3);
}

fn open(path: &Path, git: &Path, count: usize) -> Result<Store> {
    if path.exists() {
        return Store::open(path, &StoreOptions::default());
    }
    let store = Store::create(path, &StoreOptions::default())?;
    let pack = Command::new("git")
        .arg("-C")
        .arg(git)
        .args(["pack-objects", "--all", "--revs", "--stdout", "-q"])
        .stdin(Stdio::null())
        .output()
        .expect("git")
        .stdout;
    let start = Instant::now();
    for number in 0..count {
        let name = RepoName::new(&format!("team{}/r{number}", number % 100)).expect("a name");
        let repo = store.repos().create(&name, Visibility::Public)?;
        let input = PackInput::Stream(&mut &pack[..]);
        store.objects().ingest_pack(repo.id, input, &IngestOptions::default(), &NoProgress)?;
        store.files().ingest(Some(repo.id), &mut &b"the same for all"[..], None, &NoProgress)?;
    }
    println!("made in {:.1} s", start.elapsed().as_secs_f64());
    Ok(store)
}
