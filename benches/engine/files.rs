//! LFS files: weights taken in, new and again; ranges of them read.

use criterion::{BatchSize, Criterion, Throughput};
use mega_storage::{FileId, NoProgress};
use mega_tools::random::Random;

use crate::inputs::{Bench, weights};

/// Length of a random read, in bytes: a page.
const PAGE_LEN: usize = 4 << 10;
/// Random reads in one measured pass.
const PAGE_COUNT: usize = 256;

fn ingest_into(bench: &Bench, bytes: &[u8]) -> FileId {
    let files = bench.store.files();
    let report = files.ingest(Some(bench.repo.id), &mut { bytes }, None, &NoProgress);
    report.expect("a slice can be read").id
}

/// Weights in.
pub fn ingest(criterion: &mut Criterion) {
    let bytes = weights();
    let mut group = criterion.benchmark_group("files");
    group.sample_size(10).throughput(Throughput::Bytes(bytes.len() as u64));
    let mut number = 100;
    let mut fresh = || {
        number += 1;
        Bench::new(number)
    };
    group.bench_function("ingest_new", |bencher| {
        bencher.iter_batched(
            &mut fresh,
            |bench| ingest_into(&bench, &bytes),
            BatchSize::PerIteration,
        );
    });
    let bench = Bench::new(99);
    ingest_into(&bench, &bytes);
    group.bench_function("ingest_duplicate", |bencher| {
        bencher.iter(|| ingest_into(&bench, &bytes));
    });
    group.finish();
}

/// Ranges out.
pub fn read(criterion: &mut Criterion) {
    let bytes = weights();
    let bench = Bench::new(98);
    let id = ingest_into(&bench, &bytes);
    let files = bench.store.files();
    let mut group = criterion.benchmark_group("files");
    group.sample_size(10).throughput(Throughput::Bytes(bytes.len() as u64));
    let mut out = vec![0; 1 << 20];
    group.bench_function("read_at_sequential", |bencher| {
        bencher.iter(|| {
            let mut offset = 0;
            while let 1.. = files.read_at(&id, offset, &mut out).expect("readable") {
                offset += out.len() as u64;
            }
        });
    });
    let mut random = Random::new(1);
    let mut page = vec![0; PAGE_LEN];
    group.throughput(Throughput::Elements(PAGE_COUNT as u64));
    group.bench_function("read_at_random", |bencher| {
        bencher.iter(|| {
            for _ in 0..PAGE_COUNT {
                let offset = random.below(bytes.len() - PAGE_LEN) as u64;
                files.read_at(&id, offset, &mut page).expect("readable");
            }
        });
    });
    group.finish();
}
