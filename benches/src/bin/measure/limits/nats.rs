//! NATS.

use buslane_benches::{
    Target,
    broker::{Bench, Load, Measured, POOLS},
    nats::Bare,
};

const WORKERS: u32 = 256;

/// Messages of the largest load that the figures are stated for.
pub(super) const MESSAGES: u64 = 200_000;

pub(super) fn measure(bench: &mut Bench<'_>, messages: u64) {
    fast_handlers(bench, messages);
    slow_handlers(bench);
    bench.idle(&[("p50_us", 1.2)]);
    publishing(bench, messages);
    let in_memory = Bare::of_environment().in_memory();
    bench.beside("streams in memory", &in_memory, Load { messages, keys: 1_000, partitions: 1 });
    for keys in [1_000, 4_000] {
        bench.recovery(Load { messages, keys, partitions: 1 });
    }
}

/// A handler that does nothing, and one that waits 2 ms, on the same topic. The limit is a loop
/// that pulls with the bare client and acknowledges; of the second also what the workers can do.
fn fast_handlers(bench: &mut Bench<'_>, messages: u64) {
    if !bench.figures.wants_some_of("W1") && !bench.figures.wants_some_of("W2") {
        return;
    }
    let topic = bench.filled(Load { messages, keys: 1_000, partitions: 1 });
    let what = format!("--topic {} --messages {messages}", topic.name());
    for pool in POOLS {
        let side = format!("read --pool {pool} --workers {WORKERS} {what}");
        let name = format!("W1 {pool}: messages a second");
        if bench.figures.wants(&name) {
            let turns = bench.in_turns(&name, || {
                (
                    bench.measure(&format!("{side} --reader parsed")),
                    bench.measure(&format!("poll {what}")),
                )
            });
            let rates: Vec<_> =
                turns.iter().map(|(ours, bare)| (ours.get("rate"), bare.get("rate"))).collect();
            bench.figures.judge(&name, Target::RatioAtLeast(0.9), &rates);
        }
        let name = format!("W2 {pool}: messages a second, {WORKERS} workers");
        if bench.figures.wants(&name) {
            let turns = bench.in_turns(&name, || {
                let ours = bench.measure(&format!("{side} --reader waiting --wait-ms 2"));
                let bare = bench.measure(&format!("poll {what}")).get("rate");
                (ours.get("rate"), (f64::from(WORKERS) / ours.get("handler_s")).min(0.8 * bare))
            });
            bench.figures.judge(&name, Target::RatioAtLeast(0.9), &turns);
        }
    }
}

/// The limit is the hottest key: its messages are handled one after the other.
fn slow_handlers(bench: &mut Bench<'_>) {
    if !bench.figures.wants_some_of("W4") {
        return;
    }
    let load = Load { messages: 20_000, keys: 1_000, partitions: 1 };
    let (topic, workers) = (bench.filled(load), 1_000_u32);
    for pool in POOLS {
        let name = format!("W4 {pool}: messages a second, {workers} workers");
        if bench.figures.wants(&name) {
            let side =
                format!("read --pool {pool} --workers {workers} --reader waiting --wait-ms 100");
            let bound = (load.messages as f64 / load.hottest() as f64).min(f64::from(workers));
            let judged = |ours: Measured| (ours.get("rate"), bound / ours.get("handler_s"));
            let turns = bench.in_turns(&name, || {
                judged(bench.measure(&format!(
                    "{side} --topic {} --messages {}",
                    topic.name(),
                    load.messages
                )))
            });
            bench.figures.judge(&name, Target::RatioAtLeast(0.97), &turns);
        }
    }
}

/// The limit is the bare client, with the same headers and message ids.
fn publishing(bench: &mut Bench<'_>, messages: u64) {
    let least = Target::RatioAtLeast(0.9);
    let forms = [
        ("flight", "1,000 in flight", messages, least),
        ("single", "one by one", 10_000, Target::RatioAtMost(1.2)),
        ("single", "1 task", 5_000, least),
        ("two", "2 tasks", 10_000, least),
        ("four", "4 tasks", 20_000, least),
        ("eight", "8 tasks", 40_000, least),
    ];
    bench.publishing(Load { messages: 0, keys: 1, partitions: 1 }, &forms);
}
