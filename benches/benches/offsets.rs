//! The offset tracker: what a message costs, and what a commit costs. SPEC: K2
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use buslane_offsets::{Disposition, Limits, METADATA_LIMIT, Tracker, codec};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const MESSAGES: u64 = 1_000_000;
const SPAN: u64 = 1_000_000;

/// Scatters numbers: the same ones in every run.
const fn mixed(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
}

fn deliver(tracker: &mut Tracker, offset: u64) {
    assert_eq!(tracker.deliver(offset), Disposition::New);
}

/// The message that ends as each further one arrives: a random open one. Drawn beforehand, because
/// drawing from 100,000 would cost a good part of the measured time.
fn endings(window: u64) -> Vec<u64> {
    let mut open: Vec<u64> = (0..window).collect();
    let place = |number| usize::try_from(mixed(number) % window).unwrap_or(0);
    (0..MESSAGES)
        .map(|number| std::mem::replace(&mut open[place(number)], window + number))
        .collect()
}

/// A message arrives and another one ends, repeatedly.
fn window(endings: &[u64], window: u64) -> u64 {
    let mut tracker = Tracker::new(0, Limits { span: 1 << 30 });
    (0..window).for_each(|offset| deliver(&mut tracker, offset));
    for (offset, done) in (window..).zip(endings) {
        deliver(&mut tracker, offset);
        tracker.complete(*done);
    }
    tracker.low()
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("offsets, a message");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(20);
    group.bench_function("in order", |bencher| {
        bencher.iter(|| {
            let mut tracker = Tracker::new(0, Limits::default());
            for offset in 0..MESSAGES {
                deliver(&mut tracker, offset);
                tracker.complete(offset);
            }
            tracker.low()
        });
    });
    for size in [1_000, 10_000, 100_000] {
        let endings = endings(size);
        group.bench_function(BenchmarkId::new("random, open", size), |bencher| {
            bencher.iter(|| window(&endings, size))
        });
    }
    group.finish();
}

/// A million offsets of which these are open, and the lowest one.
fn torn(is_open: impl Fn(u64) -> bool) -> Tracker {
    let mut tracker = Tracker::new(0, Limits::default());
    (0..SPAN).for_each(|offset| deliver(&mut tracker, offset));
    (1..SPAN)
        .filter(|offset| !is_open(*offset))
        .for_each(|offset| assert!(tracker.complete(offset)));
    tracker
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("offsets, a commit of 1,000,000");
    for (name, tracker) in [
        ("one open", torn(|_| false)),
        ("100 open", torn(|offset| mixed(offset).is_multiple_of(10_000))),
        ("1,000 open", torn(|offset| mixed(offset).is_multiple_of(1_000))),
        ("every 10th open", torn(|offset| offset % 10 == 0)),
        ("a tenth open", torn(|offset| mixed(offset).is_multiple_of(10))),
        ("a tenth open, in bursts", torn(|offset| mixed(offset / 16).is_multiple_of(10))),
        ("half open", torn(|offset| mixed(offset).is_multiple_of(2))),
    ] {
        group.bench_function(BenchmarkId::new("offer", name), |bencher| {
            let fresh = || tracker.clone();
            bencher.iter_batched_ref(
                fresh,
                |tracker| black_box(tracker.next_commit(METADATA_LIMIT)),
                BatchSize::LargeInput,
            );
        });
        if let Some(commit) = tracker.clone().next_commit(METADATA_LIMIT) {
            group.bench_function(BenchmarkId::new("decode", name), |bencher| {
                bencher.iter(|| codec::decode(black_box(&commit.metadata), commit.offset, 1 << 20));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, messages, commits);
criterion_main!(benches);
