//! `cargo xtask load`: a bus under load on a real broker, first as it is, then with aggregates that
//! fail for ever. It fails when a message went lost, ran out of order, or the healthy aggregates
//! lost more than a tenth of their rate.

use serde_json::Value;

use crate::build_worker;
use xtask_base::process::{Result, command, each_line};
use xtask_base::table;

#[derive(clap::Subcommand)]
pub enum Command {
    /// On Apache Kafka, started for the time of the command unless KAFKA_BOOTSTRAP_SERVERS names
    /// one
    Kafka(Args),
    /// On NATS JetStream, started for the time of the command unless NATS_URL names one
    Nats(Args),
}

#[derive(clap::Args)]
pub struct Args {
    /// Messages a second; 0 publishes all of them before the bus begins, to be handled as fast as
    /// it goes
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// How long they are published
    #[arg(long, default_value_t = 1.0, conflicts_with = "messages")]
    minutes: f64,
    /// How many there are; rate times minutes when it is not given, and 1,000,000 without a rate
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Aggregates, of 1,000, that fail for ever
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(..1_000))]
    poison: u64,
    /// Terminal policy of their messages: `dead-letter` or `block`. With `block` a second run, with
    /// room in a lane for all messages of an aggregate, is judged: with the pool's default the
    /// partitions stop
    #[arg(long, default_value = "dead-letter", value_parser = ["dead-letter", "block"])]
    policy: String,
    /// Which pool runs the handlers: `keyed` or `actor`
    #[arg(long, default_value = "keyed", value_parser = ["keyed", "actor"])]
    pool: String,
}

/// The keys of a run, in the order of the table.
const KEYS: [&str; 13] = [
    "run",
    "healthy",
    "handled",
    "again",
    "violations",
    "dead_letters",
    "blocked_keys",
    "held_partitions",
    "seconds",
    "rate",
    "p50_ms",
    "p99_ms",
    "rss_mb",
];
/// Messages without a rate.
const FULL_TOPIC: u64 = 1_000_000;

pub fn run(on: &Command) -> Result<()> {
    let mut worker = command(build_worker()?);
    let (broker, args, held) = match on {
        Command::Kafka(args) => ("kafka", args, xtask_brokers::kafka_for_figures()?),
        Command::Nats(args) => ("nats", args, xtask_brokers::nats_for_tests()?),
    };
    worker
        .args(["load", "--broker", broker])
        .args(args.words())
        .envs(held.iter().flat_map(xtask_brokers::BrokerGuard::variables));
    let (mut rows, mut words) = (Vec::new(), Vec::new());
    let ended = each_line(&mut worker, |line| match serde_json::from_str::<Value>(line) {
        Ok(told) if told.get("share").is_some() => {
            words.push(format!("rate left: {}", told["share"]))
        }
        Ok(told) => rows.push(KEYS.map(|key| shown(&told[key])).to_vec()),
        Err(_) => words.push(line.to_owned()),
    });
    println!("\n{}", table::render(&KEYS, &rows));
    words.iter().for_each(|line| println!("{line}"));
    ended
}

impl Args {
    fn words(&self) -> Vec<String> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of messages"
        )]
        let of_rate = (self.rate as f64 * self.minutes * 60.0) as u64;
        let messages = self.messages.unwrap_or(if self.rate == 0 { FULL_TOPIC } else { of_rate });
        [
            ("--rate", self.rate.to_string()),
            ("--messages", messages.to_string()),
            ("--poison", self.poison.to_string()),
            ("--policy", self.policy.clone()),
            ("--pool", self.pool.clone()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), table::number),
        other => other.to_string(),
    }
}
