//! The whole bus on the embedded broker: publish to settled, publishing with one and many callers,
//! and the look-up of a handler beside the bare snapshot that it is.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use buslane_benches::{BATCH, Body, BusLoad, noop_bus, two_threads};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

fn flow(criterion: &mut Criterion) {
    let runtime = two_threads();
    let mut group = criterion.benchmark_group("flow");
    let messages = 400 * BATCH;
    group.throughput(Throughput::Elements(messages)).sample_size(10);
    for (name, body) in [("raw", Body::Raw), ("envelopes", Body::Envelope)] {
        for (pool, actors) in [("keyed", false), ("actor", true)] {
            let load = BusLoad { messages, keys: 1_000, body };
            group.bench_function(BenchmarkId::new(name, pool), |bencher| {
                bencher
                    .iter_custom(|turns| (0..turns).map(|_| load.run(&runtime, actors).wall).sum());
            });
        }
    }
    group.finish();
}

/// One message a call; the calls of many callers run beside each other.
fn publish(criterion: &mut Criterion) {
    let runtime = two_threads();
    let bus = noop_bus(&runtime, false, Body::Raw);
    let mut group = criterion.benchmark_group("publish");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for callers in [1_u64, 64] {
        group.bench_function(BenchmarkId::new("callers", callers), |bencher| {
            bencher.iter_custom(|turns| {
                runtime.block_on(async {
                    let start = Instant::now();
                    let caller = |_| {
                        let bus = bus.clone();
                        tokio::spawn(async move {
                            for _ in 0..turns.div_ceil(callers) {
                                bus.publish("orders", "sku-7").await.expect("it is stored");
                            }
                        })
                    };
                    for caller in (0..callers).map(caller).collect::<Vec<_>>() {
                        caller.await.expect("a caller ends");
                    }
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
    runtime.block_on(bus.shutdown(Duration::from_secs(5))).expect("a bus shuts down");
}

/// A topic's name is looked up on every publish, its handler on every change: both are loads of a
/// snapshot.
fn look_up(criterion: &mut Criterion) {
    let runtime = two_threads();
    let bus = noop_bus(&runtime, false, Body::Raw);
    let snapshot = arc_swap::ArcSwap::from_pointee(0_u64);
    let mut group = criterion.benchmark_group("look-up");
    group.bench_function("bare ArcSwap load", |bencher| bencher.iter(|| **snapshot.load()));
    group.bench_function("is a topic handled", |bencher| {
        bencher.iter(|| bus.topics().is_subscribed("orders"))
    });
    group.finish();
    runtime.block_on(bus.shutdown(Duration::from_secs(5))).expect("a bus shuts down");
    drop(Arc::new(snapshot));
}

criterion_group!(benches, flow, publish, look_up);
criterion_main!(benches);
