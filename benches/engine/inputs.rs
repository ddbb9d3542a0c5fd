//! Inputs of the benches: a git repository and weights, from seeds, and stores to put them into.

use std::fs;
use std::path::{Path, PathBuf};

use mega_storage::{
    IngestOptions, NoProgress, ObjectId, PackInput, Repo, RepoName, Store, StoreOptions, Visibility,
};
use mega_tools::corpus::safetensors::Dtype;
use mega_tools::corpus::{repo, weights};

/// Objects of the repository.
const OBJECT_COUNT: usize = 20_000;

/// Length of the weights, in MiB.
const WEIGHTS_MIB: u64 = 64;

/// A folder that goes with the value.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes the folder.
    pub fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the build's temporary folder can be written");
        Self { path }
    }

    /// A path in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that stays is found again in the build's temporary folder.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// An open store in a folder of its own, with one repository.
pub struct Bench {
    /// The store.
    pub store: Store,
    /// Its repository.
    pub repo: Repo,
    _scratch: Scratch,
}

impl Bench {
    /// Makes an empty store.
    pub fn new(number: u64) -> Self {
        let scratch = Scratch::new(&format!("store-{number}"));
        let options = StoreOptions::default();
        let store = Store::create(&scratch.join("store"), &options).expect("an empty folder");
        let name = RepoName::new("bench").expect("a good name");
        let repo = store.repos().create(&name, Visibility::Private).expect("a new repository");
        Self { store, repo, _scratch: scratch }
    }

    /// Takes the repository's pack in.
    pub fn ingest(&self, pack: &Pack) {
        let input = PackInput::Indexed { pack: &pack.pack, index: &pack.index };
        let options = IngestOptions::default();
        let objects = self.store.objects();
        objects.ingest_pack(self.repo.id, input, &options, &NoProgress).expect("git's own pack");
    }
}

/// The generated repository's one pack.
pub struct Pack {
    pack: PathBuf,
    index: PathBuf,
    /// The commit of its main branch.
    pub tip: ObjectId,
    _scratch: Scratch,
}

/// Makes the repository.
pub fn pack() -> Pack {
    let scratch = Scratch::new("repo");
    let folder = scratch.join("repo");
    repo::write(&folder, OBJECT_COUNT, 1, true).expect("git makes it");
    let packs = fs::read_dir(folder.join(".git/objects/pack")).expect("git has packed it");
    let mut paths = packs.map(|entry| entry.expect("a listing").path());
    let pack = paths.find(|path| path.extension() == Some("pack".as_ref())).expect("one pack");
    let tip = fs::read_to_string(folder.join(".git/refs/heads/main")).expect("a loose reference");
    let tip = tip.trim().parse().expect("a commit's id");
    Pack { index: pack.with_extension("idx"), pack, tip, _scratch: scratch }
}

/// Weights in memory.
pub fn weights() -> Vec<u8> {
    let scratch = Scratch::new("weights");
    let path = scratch.join("weights.safetensors");
    weights::fresh(&path, WEIGHTS_MIB, Dtype::Bf16, 1).expect("a file can be written");
    fs::read(&path).expect("it was just written")
}
