//! `cargo xtask chaos kafka`: order services in processes of their own on a real broker, while consumers are killed and replaced
//! and brokers stop, die and come back. What the processes say of themselves is not believed: their ledgers are merged and checked.

mod faults;
mod ledger;
mod round;
mod service;
mod signal;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::brokers;
use crate::process::{Result, cargo, run as run_command, write_file};
use crate::table;
use crate::workspace::Metadata;
use faults::{Dice, Fault};
use ledger::{Books, Verdict};
use round::{Outcome, Round};
use service::Site;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// On Apache Kafka
    Kafka(Args),
}

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// How many rounds; each has its own publisher, consumers and faults
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,
    /// Which faults come when: the same seed, the same choice
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Envelopes of a round; one regular message comes with every ten
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: u64,
    /// Aggregates of a round
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) aggregates: u64,
    /// How long a handler waits, in milliseconds
    #[arg(long, default_value_t = 20)]
    pub(crate) handler_ms: u64,
    /// Consumers that a round begins with
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) processes: u64,
    /// Faults of a round, at random times
    #[arg(long, default_value_t = 3)]
    pub(crate) faults_per_round: u64,
    /// Which faults to choose from
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Fault::value_variants().to_vec())]
    pub(crate) faults: Vec<Fault>,
    /// Nodes of the cluster
    #[arg(long, default_value = "1", value_parser = ["1", "3"])]
    pub(crate) kafka_nodes: String,
    /// Write the table as JSON
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

impl Args {
    /// A round that every test run has time for: always the same.
    pub(crate) fn short() -> Self {
        Self {
            rounds: 1,
            seed: 1,
            events: 10_000,
            aggregates: 200,
            handler_ms: 20,
            processes: 2,
            faults_per_round: 2,
            faults: vec![Fault::Kill, Fault::Restart],
            kafka_nodes: "1".to_owned(),
            report: None,
        }
    }
}

pub(crate) fn run(command: &Command) -> Result<()> {
    let Command::Kafka(args) = command;
    kafka(args)
}

/// Runs the rounds; an error when one of them lost something, broke an order, or handled something again for no reason.
pub(crate) fn kafka(args: &Args) -> Result<()> {
    crate::tools::openssl()?;
    run_command(&mut cargo([
        "build",
        "--release",
        "-p",
        "buslane",
        "--features",
        "kafka",
        "--example",
        "order_service",
    ]))?;
    let target = Metadata::of_workspace()?.target_directory;
    let folder = target.join("chaos");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut broker = brokers::kafka_of_our_own(args.kafka_nodes.parse()?)?;
    let program = target.join("release").join("examples").join("order_service");
    let mut site = Site::new(program, folder, &broker.address())?;
    let (mut books, mut dice) = (Books::default(), Dice::new(args.seed));
    let mut outcomes = Vec::new();
    for number in 1..=args.rounds {
        let bar =
            ProgressBar::new(args.events + args.events / 10).with_prefix(format!("round {number}/{}", args.rounds));
        bar.set_style(ProgressStyle::with_template("{prefix} {elapsed_precise} {wide_bar} {pos}/{len} {msg}")?);
        let mut show = |handled: u64, last_fault: &str| {
            bar.set_position(handled);
            bar.set_message(last_fault.to_owned());
        };
        let outcome =
            Round::new(args, &mut site, &mut broker, &mut dice).run(&mut books, args.seed + number, &mut show);
        bar.finish_and_clear();
        let outcome = outcome.map_err(|error| format!("round {number}: {error}"))?;
        if bar.is_hidden() {
            eprintln!("round {number}/{}: {}", args.rounds, row(number, &outcome).join("  "));
        }
        outcomes.push(outcome);
    }
    let mut sum = Verdict::default();
    outcomes.iter().for_each(|outcome| sum.add(&outcome.verdict));
    let rows: Vec<_> = (1..).zip(&outcomes).map(|(number, outcome)| row(number, outcome)).collect();
    println!("\n{}", table::render(&HEADER, &rows));
    if let Some(file) = &args.report {
        let faults = |outcome: &Outcome| outcome.faults.iter().map(|fault| fault.name()).collect::<Vec<_>>();
        let rounds: Vec<_> = outcomes
            .iter()
            .map(|outcome| {
                serde_json::json!({ "faults": faults(outcome), "seconds": outcome.seconds, "verdict": outcome.verdict })
            })
            .collect();
        let report = serde_json::json!({ "seed": args.seed, "rounds": rounds, "sum": sum });
        write_file(file, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    let bad = outcomes.iter().filter(|outcome| !outcome.verdict.is_good(outcome.has_excuses)).count();
    if bad == 0 { Ok(()) } else { Err(format!("{bad} of {} rounds broke a promise", outcomes.len()).into()) }
}

const HEADER: [&str; 9] =
    ["round", "handled", "lost", "violations", "redelivered", "duplicates", "stragglers", "seconds", "faults"];

fn row(number: u64, outcome: &Outcome) -> Vec<String> {
    let Verdict { handled, lost, order_violations, redelivered, duplicates, stragglers } = outcome.verdict;
    let faults: Vec<_> = outcome.faults.iter().map(|fault| fault.name()).collect();
    let mut cells: Vec<_> = [number, handled, lost, order_violations, redelivered, duplicates, stragglers]
        .iter()
        .map(ToString::to_string)
        .collect();
    cells.extend([format!("{:.1}", outcome.seconds), faults.join(" ")]);
    cells
}
