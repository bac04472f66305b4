//! `cargo xtask chaos kafka` and `chaos nats`: order services run in processes of their own on a
//! real broker, while consumers are killed and replaced and brokers stop, die and return; with
//! `--replay`, they handle a recorded log with default settings. The verdict comes from the merged
//! ledgers, not from the reports of the processes.

mod replay;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use xtask_base::process::{Result, write_file};
use xtask_base::programs::Profile;
use xtask_base::workspace::Metadata;
use xtask_base::{programs, table};

use self::replay::Replay;
use super::fleet::{Backend, Fault, Fleet, RunFolder, Site};
use super::ledger::{Audit, Ledgers, Verdict};

#[derive(Subcommand)]
pub enum Command {
    /// On Apache Kafka
    Kafka(Kafka),
    /// On NATS JetStream
    Nats(Nats),
}

#[derive(clap::Args)]
pub struct Kafka {
    /// Nodes of the cluster
    #[arg(long, default_value = "1", value_parser = ["1", "3"])]
    kafka_nodes: String,
    #[command(flatten)]
    args: Args,
}

#[derive(clap::Args)]
pub struct Nats {
    /// Nodes of the cluster; each stream has a copy on every node
    #[arg(long, default_value = "1", value_parser = ["1", "3"])]
    nats_nodes: String,
    /// Topics without partitions, whose messages the consumers share: nothing may be lost, and an
    /// aggregate may have messages at two consumers
    #[arg(long)]
    shared: bool,
    #[command(flatten)]
    args: Args,
}

#[derive(clap::Args, Clone)]
pub struct Args {
    /// How many rounds; each has its own publisher, consumers and faults
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,
    /// Seed of the faults and their times; the same seed gives the same choice
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Envelopes of a round; one regular message comes with every ten
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: u64,
    /// Aggregates of a round
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) aggregates: u64,
    /// Time that each handler waits, in milliseconds
    #[arg(long, default_value_t = 20)]
    pub(crate) handler_ms: u64,
    /// Consumers at the start of a round
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) processes: u64,
    /// Number of faults in a round, at random times
    #[arg(long, default_value_t = 3)]
    pub(crate) faults_per_round: u64,
    /// Which faults to choose from
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Fault::value_variants().to_vec())]
    pub(crate) faults: Vec<Fault>,
    /// Write the table as JSON
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    replay: Replay,
}

impl Args {
    /// The short round of a test run; always the same faults.
    fn short() -> Self {
        Self {
            rounds: 1,
            // A restart, then a kill.
            seed: 3,
            events: 10_000,
            aggregates: 200,
            // Both faults occur before the work is done.
            handler_ms: 100,
            processes: 2,
            faults_per_round: 2,
            faults: vec![Fault::Kill, Fault::Restart],
            report: None,
            replay: Replay::none(),
        }
    }
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Kafka(Kafka { kafka_nodes, args }) => {
            asked(&Backend::kafka(kafka_nodes.parse()?), args)
        }
        Command::Nats(Nats { nats_nodes, shared, args }) => {
            asked(&Backend { is_shared: *shared, ..Backend::nats(nats_nodes.parse()?) }, args)
        }
    }
}

fn asked(backend: &Backend, args: &Args) -> Result<()> {
    match &args.replay.replay {
        // The run measures nothing, so a debug build is enough.
        Some(log) => replay::run(backend, args, log, Profile::Dev),
        None => rounds(backend, args, Profile::Release),
    }
}

/// Runs a short round on each broker with the programs that the tests have built.
pub fn short() -> Result<()> {
    for backend in [Backend::kafka(1), Backend::nats(1)] {
        rounds(&backend, &Args::short(), Profile::Dev)?;
    }
    Ok(())
}

/// Starts a broker and prepares consumers of the order service on it; none of them runs yet.
fn fleet(backend: &Backend, args: &Args, profile: Profile) -> Result<Fleet> {
    let program = programs::order_service(profile)?;
    let broker = xtask_brokers::of_our_own(backend.kind, backend.nodes, None)?;
    let runs = Metadata::of_workspace()?.target_directory.join("chaos");
    let folder = RunFolder::create(&runs, &backend.kind.to_string())?;
    let site = Site::new(program, folder, backend, &broker.address(), args.handler_ms)?;
    Ok(Fleet::new(site, *backend, broker, args.seed))
}

/// Runs the rounds. Fails when one of them lost a message, broke an order, or handled a message
/// again without a reason.
fn rounds(backend: &Backend, args: &Args, profile: Profile) -> Result<()> {
    let mut fleet = fleet(backend, args, profile)?;
    let mut audit = Audit::new(backend.numbering);
    let mut outcomes = Vec::new();
    for number in 1..=args.rounds {
        let bar = ProgressBar::new(args.events + args.events / 10)
            .with_prefix(format!("round {number}/{}", args.rounds));
        bar.set_style(ProgressStyle::with_template(
            "{prefix} {elapsed_precise} {wide_bar} {pos}/{len} {msg}",
        )?);
        let mut show = |handled: u64, last_fault: &str| {
            bar.set_position(handled);
            bar.set_message(last_fault.to_owned());
        };
        let outcome = run_round(args, &mut fleet, &mut audit, args.seed + number, &mut show);
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
        let faults =
            |outcome: &Outcome| outcome.faults.iter().map(|fault| fault.name()).collect::<Vec<_>>();
        let rounds: Vec<_> = outcomes
            .iter()
            .map(|outcome| {
                serde_json::json!({ "faults": faults(outcome), "seconds": outcome.seconds, "verdict": outcome.verdict })
            })
            .collect();
        let report = serde_json::json!({ "seed": args.seed, "rounds": rounds, "sum": sum });
        write_file(file, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    audit.findings().iter().for_each(|finding| println!("{finding}"));
    let bad = outcomes
        .iter()
        .filter(|outcome| !outcome.verdict.is_good(outcome.has_excuses, backend.is_shared))
        .count();
    if bad == 0 {
        Ok(())
    } else {
        Err(format!("{bad} of {} rounds broke a promise", outcomes.len()).into())
    }
}

const HEADER: [&str; 9] = [
    "round",
    "handled",
    "lost",
    "violations",
    "redelivered",
    "duplicates",
    "stragglers",
    "seconds",
    "faults",
];

fn row(number: u64, outcome: &Outcome) -> Vec<String> {
    let Verdict { handled, lost, order_violations, redelivered, duplicates, stragglers } =
        outcome.verdict;
    let faults: Vec<_> = outcome.faults.iter().map(|fault| fault.name()).collect();
    let mut cells: Vec<_> =
        [number, handled, lost, order_violations, redelivered, duplicates, stragglers]
            .iter()
            .map(ToString::to_string)
            .collect();
    cells.extend([format!("{:.1}", outcome.seconds), faults.join(" ")]);
    cells
}

/// Time without progress after which missing messages count as lost.
const STALLED: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

struct Outcome {
    faults: Vec<Fault>,
    verdict: Verdict,
    has_excuses: bool,
    seconds: f64,
}

/// Runs a round. The fleet has no consumers before and after it.
fn run_round(
    args: &Args,
    fleet: &mut Fleet,
    audit: &mut Audit,
    seed: u64,
    show: &mut dyn FnMut(u64, &str),
) -> Result<Outcome> {
    let start = Instant::now();
    let mut ledgers = Ledgers::default();
    for _ in 0..args.processes {
        fleet.start_consumer()?;
    }
    let mut publisher = fleet.site.publisher(args.events, args.aggregates, seed, None)?;
    let before = audit.over();
    let (mut published, mut faults, mut over) = (None, Vec::new(), before);
    let mut progress = Instant::now();
    let mut next_fault = Instant::now() + pause(fleet);
    loop {
        std::thread::sleep(LOOK);
        if published.is_none() {
            published = publisher.published()?;
        }
        fleet.new_ledgers().iter().for_each(|file| ledgers.watch(file));
        ledgers.read(audit)?;
        let now = audit.over();
        if now > over {
            (over, progress) = (now, Instant::now());
        }
        show(over - before, &faults.last().map_or_else(String::new, |fault: &Fault| fault.name()));
        if let Some(log) = fleet.find_dead()? {
            return Err(format!("a consumer ended by itself: {}", log.display()).into());
        }
        let has_all = published.is_some_and(|published| over - before >= published);
        let is_over = faults.len() as u64 >= args.faults_per_round;
        if has_all || (published.is_some() && progress.elapsed() > STALLED) {
            break;
        }
        if !is_over && Instant::now() >= next_fault {
            if let Some(fault) = fleet.dice.one_of(&args.faults) {
                fleet.inject(fault)?;
                faults.push(fault);
            }
            next_fault = Instant::now() + pause(fleet);
        }
    }
    fleet.dismiss()?;
    fleet.new_ledgers().iter().for_each(|file| ledgers.watch(file));
    ledgers.read(audit)?;
    let excuses = fleet.take_excuses();
    let verdict = audit.close(published.unwrap_or(0), &excuses);
    Ok(Outcome {
        faults,
        verdict,
        has_excuses: !excuses.is_empty(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn pause(fleet: &mut Fleet) -> Duration {
    Duration::from_millis(300 + fleet.dice.below(2_000))
}
