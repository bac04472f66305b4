//! Kafka.

use buslane_benches::{
    Target,
    broker::{Bench, Load, Measured, POOLS},
};

/// Messages of the largest load that the figures are stated for.
pub(super) const MESSAGES: u64 = 1_000_000;

pub(super) fn measure(bench: &mut Bench<'_>, messages: u64) {
    no_op_handlers(bench, messages);
    waiting_handlers(bench);
    bench.idle(&[("p50_us", 1.2), ("p99_us", 1.5)]);
    publishing(bench);
    stuck_key(bench, messages);
    for keys in [1_000, 4_000] {
        bench.recovery(Load { messages, keys, partitions: 8 });
    }
}

/// The limit is a loop that polls the bare client.
fn no_op_handlers(bench: &mut Bench<'_>, messages: u64) {
    if !bench.figures.wants_some_of("W1") {
        return;
    }
    let topic = bench.filled(Load { messages, keys: 1_000, partitions: 8 });
    let what = format!("--topic {} --messages {messages}", topic.name());
    for pool in POOLS {
        for (reader, least, peers) in [("raw", 0.9, "bytes"), ("parsed", 0.65, "json")] {
            let group = format!("W1 {pool} {reader}");
            if !bench.figures.wants_some_of(&group) {
                continue;
            }
            let turns = bench.in_turns(&group, || {
                let ours = bench.measure(&format!("read --pool {pool} --reader {reader} {what}"));
                let bare = bench.measure(&format!("poll {what}"));
                (ours, bare, bench.measure_peer(&format!("read --reader {peers} {what}")))
            });
            let judged = |name| -> Vec<(f64, f64)> {
                turns.iter().map(|(ours, bare, _)| (ours.get(name), bare.get(name))).collect()
            };
            let name = format!("{group}: messages a second");
            bench.figures.judge(&name, Target::RatioAtLeast(least), &judged("rate"));
            let beside_peer = turns.iter().map(|(ours, _, peer)| (ours.get("rate"), peer.as_ref()));
            bench.judge_peer(&name, Target::RatioAtLeast(1.0), beside_peer, "rate");
            if reader == "raw" {
                bench.figures.judge(
                    &format!("{group}: CPU us a message"),
                    Target::ValueAtMost(1.5),
                    &judged("cpu_us"),
                );
                bench.figures.judge(
                    &format!("{group}: peak resident MB"),
                    Target::ValueAtMost(80.0),
                    &judged("rss_mb"),
                );
            }
        }
    }
}

/// The limit is what the workers can do, or the hottest key: its messages are handled one after the
/// other.
fn waiting_handlers(bench: &mut Bench<'_>) {
    let w2 = Load { messages: 200_000, keys: 1_000, partitions: 4 };
    let w4 = Load { messages: 20_000, keys: 1_000, partitions: 8 };
    for (group, load, wait_ms, cases) in
        [("W2", w2, 2, &[(256, 0.95), (1_000, 0.9)][..]), ("W4", w4, 100, &[(1_000, 0.97)])]
    {
        if !bench.figures.wants_some_of(group) {
            continue;
        }
        let topic = bench.filled(load);
        let what = format!(
            "--reader waiting --wait-ms {wait_ms} --topic {} --messages {}",
            topic.name(),
            load.messages
        );
        for pool in POOLS {
            for &(workers, least) in cases {
                let name = format!("{group} {pool}: messages a second, {workers} workers");
                if !bench.figures.wants(&name) {
                    continue;
                }
                let side = format!("read --workers {workers} {what}");
                let turns = bench.in_turns(&name, || {
                    let ours = bench.measure(&format!("{side} --pool {pool}"));
                    (ours, if group == "W2" { bench.measure_peer(&side) } else { None })
                });
                let rate = |ours: &Measured| ours.get("rate");
                let bound = (load.messages as f64 / load.hottest() as f64).min(f64::from(workers));
                let pairs: Vec<(f64, f64)> = turns
                    .iter()
                    .map(|(ours, _)| (rate(ours), bound / ours.get("handler_s")))
                    .collect();
                bench.figures.judge(&name, Target::RatioAtLeast(least), &pairs);
                let beside_peer = turns.iter().map(|(ours, peer)| (rate(ours), peer.as_ref()));
                bench.judge_peer(&name, Target::RatioAtLeast(1.0), beside_peer, "rate");
            }
        }
    }
}

/// The limit is the producer of the bare client that fits the form.
fn publishing(bench: &mut Bench<'_>) {
    let least = Target::RatioAtLeast(0.85);
    let forms = [
        ("flight", "1,000 in flight", 300_000, least),
        ("batch", "batches", 300_000, least),
        ("single", "one by one", 2_000, Target::RatioAtMost(1.2)),
        ("single", "1 task", 5_000, least),
        ("two", "2 tasks", 10_000, least),
        ("four", "4 tasks", 20_000, least),
        ("eight", "8 tasks", 40_000, least),
    ];
    bench.publishing(Load { messages: 0, keys: 1, partitions: 8 }, &forms);
}

/// All keys but one are handled; the limit is the memory of the same load without a stuck key.
fn stuck_key(bench: &mut Bench<'_>, messages: u64) {
    if !bench.figures.wants_some_of("stuck key") {
        return;
    }
    let load = Load { messages, keys: 1_000, partitions: 8 };
    let (topic, (key, its)) = (bench.filled(load), load.coldest());
    for pool in POOLS {
        let name = format!("stuck key {pool}: peak resident MB");
        let side = |reader, messages| {
            let what = format!(
                "--reader {reader} --stuck {key} --topic {} --messages {messages}",
                topic.name()
            );
            bench.measure(&format!("read --pool {pool} {what}")).get("rss_mb")
        };
        if bench.figures.wants(&name) {
            let turns =
                bench.in_turns(&name, || (side("stuck", messages - its), side("raw", messages)));
            bench.figures.judge(&name, Target::ValueAtMost(100.0), &turns);
        }
    }
}
