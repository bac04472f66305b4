//! The stated figures of the bus on a real Kafka, each beside what the bare client does in the same run: one JSON line a
//! figure.
//!
//! `cargo xtask bench-limits kafka` shows them. Words given as arguments choose figures by the start of their names.
#![allow(clippy::print_stdout, reason = "the lines are what the program is for")]
#![allow(clippy::print_stderr, reason = "and so is what says how far it is")]

use buslane_benches::{
    Figures, Target,
    kafka::{FilledTopic, Load, Measured, Side, measure},
    two_threads,
};
use clap::Parser;
use std::process::ExitCode;
use tokio::runtime::Runtime;

/// Turns a figure; its value is the median.
const TURNS: usize = 3;

/// Messages of the bus, and as many of the bare client, one each 50 ms.
const IDLE_MESSAGES: usize = 300;

const POOLS: [&str; 2] = ["keyed", "actor"];

/// Measures figures, or one side of one.
#[derive(Parser)]
struct Args {
    /// Figures to measure, by the start of their names; all when there are none
    figures: Vec<String>,
    /// Messages of the largest load
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Measure one side in this process
    #[command(subcommand, hide = true)]
    Side(Side),
}

fn main() -> ExitCode {
    let Args { figures, messages, command } = Args::parse();
    if let Some(Command::Side(side)) = command {
        println!("{}", side.run());
        return ExitCode::SUCCESS;
    }
    let mut figures = Figures::new(figures);
    let runtime = two_threads();
    no_op_handlers(&mut figures, &runtime, messages);
    waiting_handlers(&mut figures, &runtime);
    idle(&mut figures, &runtime);
    publishing(&mut figures, &runtime);
    stuck_key(&mut figures, &runtime, messages);
    if figures.all_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a measurement in turns, and says which it is at.
fn in_turns<T>(turns: usize, group: &str, mut turn: impl FnMut() -> T) -> Vec<T> {
    let run = |number| {
        eprintln!("{group}: {number} of {turns}");
        turn()
    };
    (1..=turns).map(run).collect()
}

/// The limit is a loop that polls the bare client.
fn no_op_handlers(figures: &mut Figures, runtime: &Runtime, messages: u64) {
    if !figures.wants_some_of("W1") {
        return;
    }
    let topic = FilledTopic::new(runtime, Load { messages, keys: 1_000, partitions: 8 });
    let what = format!("--topic {} --messages {messages}", topic.name());
    for pool in POOLS {
        for (reader, least) in [("raw", 0.9), ("parsed", 0.65)] {
            let group = format!("W1 {pool} {reader}");
            if !figures.wants_some_of(&group) {
                continue;
            }
            let turns = in_turns(TURNS, &group, || {
                (measure(&format!("read --pool {pool} --reader {reader} {what}")), measure(&format!("poll {what}")))
            });
            let judged = |name| -> Vec<(f64, f64)> {
                turns.iter().map(|(ours, bare): &(Measured, Measured)| (ours.get(name), bare.get(name))).collect()
            };
            figures.judge(&format!("{group}: messages a second"), Target::RatioAtLeast(least), &judged("rate"));
            if reader == "raw" {
                figures.judge(&format!("{group}: CPU us a message"), Target::ValueAtMost(1.5), &judged("cpu_us"));
                figures.judge(&format!("{group}: peak resident MB"), Target::ValueAtMost(80.0), &judged("rss_mb"));
            }
        }
    }
}

/// The limit is what the workers can do, or the hottest key: its messages are handled one after the other.
fn waiting_handlers(figures: &mut Figures, runtime: &Runtime) {
    let w2 = Load { messages: 200_000, keys: 1_000, partitions: 4 };
    let w4 = Load { messages: 20_000, keys: 1_000, partitions: 8 };
    for (name, load, wait_ms, cases) in
        [("W2", w2, 2, &[(256, 0.95), (1_000, 0.9)][..]), ("W4", w4, 100, &[(1_000, 0.97)])]
    {
        if !figures.wants_some_of(name) {
            continue;
        }
        let topic = FilledTopic::new(runtime, load);
        for pool in POOLS {
            for &(workers, least) in cases {
                let name = format!("{name} {pool}: messages a second, {workers} workers");
                let side = format!(
                    "read --pool {pool} --reader waiting --wait-ms {wait_ms} --workers {workers} --topic {} --messages {}",
                    topic.name(),
                    load.messages
                );
                figures.figure(TURNS, &name, Target::RatioAtLeast(least), || {
                    eprintln!("{name}");
                    let ours = measure(&side);
                    let in_turn = load.messages as f64 / load.hottest() as f64;
                    (ours.get("rate"), in_turn.min(f64::from(workers)) / ours.get("handler_s"))
                });
            }
        }
    }
}

/// The limit is the bare client, message by message beside the bus.
fn idle(figures: &mut Figures, runtime: &Runtime) {
    let load = Load { messages: 0, keys: 1, partitions: 1 };
    for pool in POOLS {
        let group = format!("W3 {pool}");
        if !figures.wants_some_of(&group) {
            continue;
        }
        let turns = in_turns(TURNS, &group, || {
            let (ours, theirs) = (FilledTopic::empty(runtime, load), FilledTopic::empty(runtime, load));
            measure(&format!(
                "idle --pool {pool} --ours {} --theirs {} --messages {IDLE_MESSAGES}",
                ours.name(),
                theirs.name()
            ))
        });
        for (name, most) in [("p50_us", 1.2), ("p99_us", 1.5)] {
            let pairs: Vec<(f64, f64)> =
                turns.iter().map(|turn| (turn.get(name), turn.get(&format!("bare_{name}")))).collect();
            figures.judge(&format!("{group}: {} us, idle", &name[..3]), Target::RatioAtMost(most), &pairs);
        }
    }
}

/// The limit is the producer of the bare client that fits the form. No pool is concerned.
fn publishing(figures: &mut Figures, runtime: &Runtime) {
    let load = Load { messages: 0, keys: 1, partitions: 8 };
    for (form, what, messages) in
        [("flight", "1,000 in flight", 300_000), ("batch", "batches", 300_000), ("single", "one by one", 2_000)]
    {
        let name = format!("publish: {what}, ");
        let side = format!("publish --form {form} --messages {messages}");
        let turn = || {
            eprintln!("{name}");
            let topic = FilledTopic::empty(runtime, load);
            let side = format!("{side} --topic {}", topic.name());
            (measure(&format!("{side} --pool keyed")).get("rate"), measure(&side).get("rate"))
        };
        if form == "single" {
            let time = || {
                let (ours, bare) = turn();
                (1e6 / ours, 1e6 / bare)
            };
            figures.figure(TURNS, &format!("{name}us"), Target::RatioAtMost(1.2), time);
        } else {
            figures.figure(TURNS, &format!("{name}records a second"), Target::RatioAtLeast(0.85), turn);
        }
    }
}

/// All keys but one are handled; the limit is the memory of the same load without a stuck key.
fn stuck_key(figures: &mut Figures, runtime: &Runtime, messages: u64) {
    if !figures.wants_some_of("stuck key") {
        return;
    }
    let load = Load { messages, keys: 1_000, partitions: 8 };
    let (topic, (key, its)) = (FilledTopic::new(runtime, load), load.coldest());
    for pool in POOLS {
        let name = format!("stuck key {pool}: peak resident MB");
        let side = |reader, messages| {
            eprintln!("{name}, {reader}");
            let what = format!("--reader {reader} --stuck {key} --topic {} --messages {messages}", topic.name());
            measure(&format!("read --pool {pool} {what}")).get("rss_mb")
        };
        figures.figure(TURNS, &name, Target::ValueAtMost(100.0), || {
            (side("stuck", messages - its), side("raw", messages))
        });
    }
}
