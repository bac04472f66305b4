//! `cargo xtask hostile kafka` and `hostile nats`: a raw client publishes random headers, keys and
//! bodies to a broker of their own, while a bus consumes them and is restarted. The program
//! `hostile` of `xtask/rigs` does it and judges it; this starts the broker.

use std::path::PathBuf;

use clap::Subcommand;

use xtask_base::process::{Result, command, run as run_command};
use xtask_base::programs;
use xtask_brokers::Kind;

#[derive(Subcommand)]
pub enum Command {
    /// On Apache Kafka
    Kafka(Args),
    /// On NATS JetStream
    Nats(Args),
}

#[derive(clap::Args)]
pub struct Args {
    /// Time during which messages are published
    #[arg(long, default_value_t = 30.0, value_parser = minutes)]
    minutes: f64,
    /// Seed of the input; the same seed gives the same messages
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Messages a second [default: 500 on Kafka, 100 on NATS, where half of them cost a connection]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: Option<u64>,
    /// Mean seconds between two restarts of the bus
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    restart_every: u64,
    /// Write the outcome as JSON
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Seconds of the short run in a test run.
const SHORT: f64 = 8.0;

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Kafka(args) => attack(Kind::Kafka, args),
        Command::Nats(args) => attack(Kind::Nats, args),
    }
}

/// A short run on each broker.
pub fn short() -> Result<()> {
    let args = Args { minutes: SHORT / 60.0, seed: 1, rate: None, restart_every: 2, report: None };
    [Kind::Kafka, Kind::Nats].into_iter().try_for_each(|kind| attack(kind, &args))
}

fn attack(kind: Kind, args: &Args) -> Result<()> {
    let program = programs::hostile()?;
    let broker = xtask_brokers::of_our_own(kind, 1, None)?;
    let url = format!("{kind}://{}", broker.address().replace("nats://", ""));
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the option is checked"
    )]
    let seconds = (args.minutes * 60.0).ceil() as u64;
    let rate = args.rate.unwrap_or(match kind {
        Kind::Kafka => 500,
        Kind::Nats => 100,
    });
    let mut attack = command(program);
    attack.args([
        "--url",
        &url,
        "--seconds",
        &seconds.to_string(),
        "--seed",
        &args.seed.to_string(),
    ]);
    attack.args(["--rate", &rate.to_string(), "--restart-every", &args.restart_every.to_string()]);
    if let Some(report) = &args.report {
        // A relative path starts at the caller's working directory.
        attack.arg("--report").arg(std::path::absolute(report)?);
    }
    run_command(&mut attack)
}

/// A time that is at least a second, and no longer than a year.
fn minutes(text: &str) -> std::result::Result<f64, &'static str> {
    let minutes =
        text.parse().ok().filter(|minutes: &f64| (1.0 / 60.0..=525_600.0).contains(minutes));
    minutes.ok_or("must be a number of minutes, at least a second")
}

#[cfg(test)]
mod tests {
    use super::minutes;

    #[test]
    fn a_time_is_a_second_or_more() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for bad in ["0", "-1", "NaN", "inf", "0.001", "x"] {
            assert!(minutes(bad).is_err(), "{bad}");
        }
    }
}
