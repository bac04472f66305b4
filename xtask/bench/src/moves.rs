//! `cargo xtask bench-moves`: keys change pools at full load. It fails when a message went lost,
//! ran twice, out of order or beside another of its key, or when the 99th percentile is more than
//! twice as long meanwhile.

use serde_json::Value;

use crate::build_worker;
use xtask_base::process::{Result, command, each_line};
use xtask_base::table;

#[derive(clap::Subcommand)]
pub enum Command {
    /// In memory
    Memory(Args),
    /// On Apache Kafka, started for the time of the command unless KAFKA_BOOTSTRAP_SERVERS names
    /// one
    Kafka(Args),
    /// On NATS JetStream, started for the time of the command unless NATS_URL names one
    Nats(Args),
}

#[derive(clap::Args)]
pub struct Args {
    /// Live moves of each turn; there are three
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    moves: u16,
}

/// The keys of a turn, in the order of the table.
const KEYS: [&str; 12] = [
    "published",
    "lost",
    "again",
    "violations",
    "overlaps",
    "rate",
    "messages_while_moving",
    "move_ms_median",
    "move_ms_most",
    "p99_at_rest_ms",
    "p99_moving_ms",
    "ratio",
];

pub fn run(on: &Command) -> Result<()> {
    let mut worker = command(build_worker()?);
    let (broker, args, held) = match on {
        Command::Memory(args) => (None, args, None),
        Command::Kafka(args) => (Some("kafka"), args, xtask_brokers::kafka_for_figures()?),
        Command::Nats(args) => (Some("nats"), args, xtask_brokers::nats_for_tests()?),
    };
    worker
        .args(["moves", "--moves", &args.moves.to_string()])
        .envs(held.iter().flat_map(xtask_brokers::BrokerGuard::variables));
    worker.args(broker.iter().flat_map(|broker| ["--broker", broker]));
    let (mut rows, mut words) = (Vec::new(), Vec::new());
    let ended = each_line(&mut worker, |line| match serde_json::from_str::<Value>(line) {
        Ok(told) if told.get("ratio").is_some() => {
            rows.push(KEYS.map(|key| shown(&told[key])).to_vec())
        }
        _ => words.push(line.to_owned()),
    });
    println!("\n{}", table::render(&KEYS, &rows));
    words.iter().for_each(|line| println!("{line}"));
    ended
}

fn shown(value: &Value) -> String {
    value.as_f64().map_or_else(|| value.to_string(), table::number)
}
