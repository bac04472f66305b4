//! The scheduler alone, beside a map of queues on one thread.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use buslane_benches::{LaneLoad, two_threads};
use buslane_lanes::Mode;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const MESSAGES: u64 = 200_000;

fn lanes(criterion: &mut Criterion) {
    let runtime = two_threads();
    let mut group = criterion.benchmark_group("lanes");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(20);
    for (name, keys, batch, mode) in [
        ("1 key", 1, 256, Mode::Exclusive),
        ("1,000 keys", 1_000, 256, Mode::Exclusive),
        ("1,000,000 keys", 1_000_000, 256, Mode::Exclusive),
        ("1,000 keys, 256 slots", 1_000, 256, Mode::Fixed(256)),
        ("1,000 keys, batches of 1", 1_000, 1, Mode::Exclusive),
    ] {
        let load = LaneLoad { messages: MESSAGES, keys, batch, mode };
        group.bench_function(BenchmarkId::new("scheduler", name), |bencher| {
            bencher.iter(|| load.run(&runtime))
        });
        group.bench_function(BenchmarkId::new("map of queues", name), |bencher| {
            bencher.iter(|| load.run_map_of_queues());
        });
    }
    group.finish();
}

criterion_group!(benches, lanes);
criterion_main!(benches);
