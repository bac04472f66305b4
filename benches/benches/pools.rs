//! Submission to done of jobs whose handler does nothing, beside a bare bounded channel for each of
//! 256 tasks.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use buslane_benches::{Keys, MakePool, PoolLoad, actor_pool, keyed_pool, two_threads};
use buslane_keyed::Mode;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const MESSAGES: u64 = 200_000;
const POOLS: [(&str, &MakePool); 2] = [("keyed", &keyed_pool), ("actor", &actor_pool)];

fn pools(criterion: &mut Criterion) {
    let runtime = two_threads();
    let mut group = criterion.benchmark_group("pools");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(20);
    for (name, keys, batch) in [
        ("1 key", 1, 256),
        ("1,000 keys", 1_000, 256),
        ("1,000,000 keys", 1_000_000, 256),
        ("batches of 1", 1_000, 1),
    ] {
        let load = PoolLoad { messages: MESSAGES, keys: Keys::Random(keys), batch, seed: 1 };
        group.bench_function(BenchmarkId::new("bare channels", name), |bencher| {
            bencher.iter(|| load.run_channels(&runtime));
        });
        for (pool, make) in POOLS {
            for (mode_name, mode) in [("exclusive", Mode::Exclusive), ("fixed", Mode::Fixed(256))] {
                group.bench_function(
                    BenchmarkId::new(format!("{pool} {mode_name}"), name),
                    |bencher| {
                        bencher.iter(|| load.run(&runtime, make, mode));
                    },
                );
            }
        }
    }
    group.finish();
}

criterion_group!(benches, pools);
criterion_main!(benches);
