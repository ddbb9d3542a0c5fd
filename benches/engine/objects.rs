//! Git objects: a pack taken in, objects read in random order, a tree walked as a mount does, all
//! of history walked and sent as a clone asks for it.

use criterion::{BatchSize, Criterion, Throughput};
use mega_storage::object::{EntryKind, commit_info, tree_entries};
use mega_storage::{Filter, NoProgress, ObjectId, Reach, SendOptions, Shallow, WalkRequest};
use mega_tools::random::Random;

use crate::inputs::{Bench, Pack, pack};

/// Objects read in one measured pass.
const READ_COUNT: usize = 2_000;

/// A store with the repository in it, and the ids of all its objects.
fn filled(pack: &Pack) -> (Bench, Vec<ObjectId>) {
    let bench = Bench::new(0);
    bench.ingest(pack);
    let members = bench.store.objects().members(bench.repo.id);
    let ids = members.collect::<Result<_, _>>().expect("the store can be read");
    (bench, ids)
}

/// Packs in.
pub fn ingest(criterion: &mut Criterion) {
    let pack = pack();
    let object_count = filled(&pack).1.len() as u64;
    let mut group = criterion.benchmark_group("objects");
    group.sample_size(10).throughput(Throughput::Elements(object_count));
    let mut number = 1;
    let mut fresh = || {
        number += 1;
        Bench::new(number)
    };
    group.bench_function("ingest", |bencher| {
        bencher.iter_batched(&mut fresh, |bench| bench.ingest(&pack), BatchSize::PerIteration);
    });
    group.finish();
}

/// Objects out.
pub fn read(criterion: &mut Criterion) {
    let (bench, ids) = filled(&pack());
    let objects = bench.store.objects();
    let mut random = Random::new(1);
    let some: Vec<ObjectId> = (0..READ_COUNT).map(|_| ids[random.below(ids.len())]).collect();
    let mut group = criterion.benchmark_group("objects");
    group.sample_size(20).throughput(Throughput::Elements(READ_COUNT as u64));
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let lens = some.iter().map(|id| objects.read(id).expect("readable"));
            lens.map(|object| object.map_or(0, |object| object.data.len())).sum::<usize>()
        });
    });
    group.bench_function("read_verified", |bencher| {
        bencher.iter(|| {
            let lens = some.iter().map(|id| objects.read_verified(id).expect("readable"));
            lens.map(|object| object.map_or(0, |object| object.data.len())).sum::<usize>()
        });
    });
    group.bench_function("stat", |bencher| {
        bencher.iter(|| objects.stat(&some).expect("readable").len());
    });
    group.finish();
}

/// Every directory of the tip listed, with the size of every file.
pub fn walk(criterion: &mut Criterion) {
    let pack = pack();
    let (bench, _) = filled(&pack);
    let mut group = criterion.benchmark_group("objects");
    group.sample_size(20).throughput(Throughput::Elements(walk_tip(&bench, &pack.tip)));
    group.bench_function("walk", |bencher| bencher.iter(|| walk_tip(&bench, &pack.tip)));
    group.finish();
}

/// What a clone costs: everything reachable found, and sent.
pub fn clone(criterion: &mut Criterion) {
    let pack = pack();
    let (bench, _) = filled(&pack);
    let reach = reach(&bench, &pack.tip);
    let mut group = criterion.benchmark_group("objects");
    group.sample_size(20).throughput(Throughput::Elements(reach.ids.len() as u64));
    group.bench_function("reach", |bencher| bencher.iter(|| self::reach(&bench, &pack.tip)));
    let options = SendOptions { ofs_delta: true, ..SendOptions::default() };
    group.bench_function("send", |bencher| {
        bencher.iter(|| {
            let objects = bench.store.objects();
            let mut sink = std::io::sink();
            objects.send_pack(bench.repo.id, &reach.ids, &options, &mut sink, &NoProgress)
        });
    });
    group.finish();
}

fn reach(bench: &Bench, tip: &ObjectId) -> Reach {
    let request = WalkRequest {
        repo: bench.repo.id,
        wants: &[*tip],
        haves: &[],
        filter: Filter::None,
        shallow: Shallow::default(),
    };
    bench.store.reach(&request, &NoProgress).expect("git's own history")
}

/// Walks a commit's tree and returns how many entries it has.
fn walk_tip(bench: &Bench, tip: &ObjectId) -> u64 {
    let objects = bench.store.objects();
    let read = |id: &ObjectId| objects.read(id).expect("readable").expect("a member").data;
    let mut trees = vec![commit_info(&read(tip)).expect("git's own commit").tree];
    let mut entry_count = 0;
    while let Some(tree) = trees.pop() {
        let data = read(&tree);
        let mut files = Vec::new();
        for entry in tree_entries(&data) {
            let entry = entry.expect("git's own tree");
            entry_count += 1;
            match entry.kind() {
                EntryKind::Directory => trees.push(entry.id),
                EntryKind::Submodule => {}
                _ => files.push(entry.id),
            }
        }
        objects.stat(&files).expect("readable");
    }
    entry_count
}
