//! `cargo xtask soak kafka` and `soak nats` (SPEC T5): order services on a real broker for hours,
//! with messages at a steady rate, the faults of `chaos`, and shares of the keys that move between
//! the pools. The ledgers, read during the run, tell the fate of each message.

mod checks;
mod history;
mod memory;
mod observer;
mod record;
mod report;
mod run;
mod series;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::fleet::{self, Backend, Fault, Fleet, RunFolder, Site};
use crate::ledger::Audit;
use history::History;
use observer::Observer;
use observer::Stages;
use run::{Soak, State};
use xtask_base::process::Result;
use xtask_base::programs;
use xtask_base::workspace::Metadata;

const AFTER_HELP: &str = "\
The first consumer is never killed nor replaced, only paused: its memory is watched from begin to end. The others come and go. A
process begins with all of its keys on one pool and gets each new stage over HTTP.

Fails when a message was lost, an order was violated, a message was handled again without a fault that explains it, an actor or a
process restarted without a panic or a fault of the soak, or the memory of a process grew after its warm-up.

The broker's data and the first consumer's ledger grow by about 0.4 KB for each message below the target folder: 500 messages a
second are about 17 GB a day.";

#[derive(Subcommand)]
pub enum Command {
    /// On Apache Kafka
    #[command(after_help = AFTER_HELP)]
    Kafka(Args),
    /// On NATS JetStream
    #[command(after_help = AFTER_HELP)]
    Nats(Args),
}

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    length: Length,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=3))]
    nodes: u16,
    /// Seed of the faults and stages and their times; the same seed gives the same choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Consumers at the start; later at most one more or one less, and never fewer than two
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=64))]
    processes: u64,
    /// Messages a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// Aggregates
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    aggregates: u64,
    /// Time that each handler waits, in milliseconds
    #[arg(long, default_value_t = 20)]
    handler_ms: u64,
    /// Seconds of a stage
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    stage_seconds: u64,
    /// Seconds from one fault to the next, on average
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..))]
    fault_seconds: u64,
    /// Faults to inject, each equally often, in random order
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Fault::value_variants().to_vec())]
    faults: Vec<Fault>,
    /// Folder for report.json and soak.svg, written every minute and at the end [default:
    /// soak/BROKER of the target folder]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Folder of a soak in parts: the broker's data and the account of the messages stay there, and
    /// the next run with this folder continues. The broker is killed in between
    #[arg(long, value_name = "DIR")]
    parts: Option<PathBuf>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Length {
    /// Time during which messages are published
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    hours: Option<u64>,
    /// The same in minutes
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    minutes: Option<u64>,
}

impl Length {
    fn time(&self) -> Duration {
        Duration::from_secs(self.hours.unwrap_or(0) * 3_600 + self.minutes.unwrap_or(0) * 60)
    }
}

/// Interval of the report's updates during the run.
const WRITTEN: Duration = Duration::from_secs(60);

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Kafka(args) => soak(Backend::kafka(args.nodes), args),
        Command::Nats(args) => soak(Backend::nats(args.nodes), args),
    }
}

fn soak(backend: Backend, args: &Args) -> Result<()> {
    let program = programs::order_service(programs::Profile::Release)?;
    let mut history = args.parts.as_deref().map(History::open).transpose()?;
    let data = history.as_ref().map(History::data);
    let broker = xtask_brokers::of_our_own(backend.kind, backend.nodes, data.as_deref())?;
    let earlier = history.as_mut().map(History::begin).transpose()?.unwrap_or_default();
    let target = Metadata::of_workspace()?.target_directory;
    let name = backend.kind.to_string();
    let begun = Instant::now();
    // The services listen to this machine alone.
    let token = format!("soak-{}-{}", std::process::id(), fleet::now_ns());
    let processes = RunFolder::create(&target.join("soak").join("processes"), &name)?;
    let site = Site::new(program, processes, &backend, &broker.address(), args.handler_ms)?;
    let most = usize::try_from(args.processes)?;
    let fleet = Fleet::new(site.watched(token.clone()), backend, broker, args.seed);
    let fleet = fleet.keep(1, (most - 1).max(2)..=most + 1);
    let observer = Observer::start(
        begun,
        Stages::new(args.seed),
        Duration::from_secs(args.stage_seconds),
        token,
    );
    let folder = args.report.clone().unwrap_or_else(|| target.join("soak").join(&name));

    let bar = ProgressBar::new(args.length.time().as_secs()).with_prefix(format!("soak on {name}"));
    bar.set_style(ProgressStyle::with_template(
        "{prefix} {elapsed_precise} {wide_bar} {percent:>3} % {msg}",
    )?);
    let (mut shown, mut written) = (Instant::now(), Instant::now());
    let mut show = |state: &dyn Fn() -> State, fault: &str| -> Result<()> {
        bar.set_position(begun.elapsed().as_secs());
        let (is_due, must_write) =
            (shown.elapsed() > Duration::from_secs(1), written.elapsed() > WRITTEN);
        if !is_due && !must_write {
            return Ok(());
        }
        shown = Instant::now();
        let state = state();
        bar.set_message(status(&state, fault));
        if must_write {
            written = Instant::now();
            if bar.is_hidden() {
                eprintln!("{:.0} s: {}", state.seconds, status(&state, fault));
            }
            report::write(&folder, &name, args, &state, &checks::of(&state, backend.is_shared))?;
        }
        Ok(())
    };
    let audit = Audit::after(backend.numbering, earlier);
    let ended = Soak::new(args, audit, fleet, observer, begun).run(&mut show);
    bar.finish_and_clear();
    let (state, over) = ended?;
    let checks = checks::of(&state, backend.is_shared);
    report::write(&folder, &name, args, &state, &checks)?;
    println!("\n{}\n{}", report::text(&state, &checks), folder.display());
    if let Some(history) = &mut history {
        history.save(over, history::Run::of(args.seed, &state, &checks))?;
        println!("{}", history.text());
    }
    let broken = checks.iter().filter(|check| !check.is_met).count();
    if broken == 0 {
        Ok(())
    } else {
        Err(format!("{broken} of {} checks failed", checks.len()).into())
    }
}

/// One line while it runs.
fn status(state: &State, fault: &str) -> String {
    let verdict = &state.verdict;
    let rate = state.rates.points().last().map_or(0.0, |(_, rate)| *rate);
    let alive = state.seen.records.values().filter(|record| !record.has_ended);
    let sum = |points: &[(f64, f64)]| points.last().map_or(0.0, |(_, value)| *value);
    let (mut moving, mut most) = (0.0, 0.0_f64);
    for record in alive.clone() {
        moving += sum(record.moving.points());
        most = most.max(sum(record.bytes.points()));
    }
    format!(
        "{} processes at {} %, {moving:.0} slots move, {rate:.0}/s, {:.0} MiB, open {}, violations {}, duplicates {}, restarts {}, faults {} {fault}",
        alive.count(),
        state.seen.percent,
        most / 1_048_576.0,
        state.open,
        verdict.order_violations,
        verdict.duplicates,
        state.unexplained,
        state.marks.len(),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: super::Command,
    }

    #[test]
    fn t5_a_soak_has_exactly_one_length() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["soak", "kafka"], args].concat());
        let length = |args: &[&str]| match parse(args).expect("a length").command {
            super::Command::Kafka(args) | super::Command::Nats(args) => {
                args.length.time().as_secs()
            }
        };
        assert_eq!((length(&["--hours", "24"]), length(&["--minutes", "10"])), (86_400, 600));
        for wrong in
            [&[][..], &["--hours", "1", "--minutes", "1"], &["--hours", "0"], &["--minutes", "x"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
