//! Hostile input: a raw client publishes random headers, keys and bodies between healthy messages,
//! while a bus consumes them and is restarted now and then. At the end every healthy message must
//! be handled, in order, and every other one accounted for. `cargo xtask hostile` starts a broker
//! and runs it.
//!
//! Not an example of how a service is written: that is `crates/order-service`.
//!
//! Exit code 0: all of that holds. 1: it does not, or the run could not go on. 2: an option is
//! wrong.

mod audit;
mod bus;
mod input;
mod publish;

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buslane::{Backend, Config};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::audit::{Audit, Sum, Verdict};
use crate::bus::Consumer;
use crate::input::{Dice, Topics};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Time between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let audit = Arc::new(Audit::default());
    bus::install_log(&audit, options.verbose);
    match Box::pin(run(&options, &audit)).await {
        Ok(report) => {
            report.print();
            ExitCode::from(u8::from(!report.is_good()))
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options, audit: &Arc<Audit>) -> Result<Report, String> {
    let mut file = options.report.as_deref().map(create_report).transpose()?;
    let backend = options.backend()?;
    let mut dice = Dice::new(options.seed);
    let topics = Arc::new(Topics::new(&format!("{:x}-{:x}", options.seed, bus::now_ns())));
    let mut consumer = Consumer::start(&options.url, &topics, audit).await?;
    consumer.create_topics().await?;
    consumer.subscribe().await?;
    let client = match backend {
        Backend::Nats => {
            publish::Client::Nats(publish::Nats::connect(&options.url, Arc::clone(audit))?)
        }
        _ => publish::Client::Kafka(publish::Kafka::connect(&options.url, Arc::clone(audit))?),
    };
    let publishing =
        publish::Publishing::begin(client, &topics, options.rate, options.duration(), dice.split());
    let watched = Box::pin(watch(options, audit, &mut consumer, &publishing, &mut dice)).await;
    let publishing = publishing.end().await;
    let restarts = consumer.restarts;
    let ended = consumer.end(Duration::from_secs(30)).await;
    let mut report = Report::new(backend, options, restarts, audit);
    report.problems.extend([watched.err(), publishing.err(), ended.err()].into_iter().flatten());
    if let Some(file) = &mut file {
        report.write(file)?;
    }
    Ok(report)
}

/// Restarts the bus now and then while messages are published, and returns when each of them is
/// accounted for.
async fn watch(
    options: &Options,
    audit: &Audit,
    consumer: &mut Consumer,
    publishing: &publish::Publishing,
    dice: &mut Dice,
) -> Result<(), String> {
    let start = Instant::now();
    let (mut next_restart, mut next_line) = (start + options.until_restart(dice), start + LINE);
    let bar = ProgressBar::new(options.duration().as_secs());
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let is_terminal = std::io::stderr().is_terminal();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Instant::now();
        let counts = audit.counts();
        let text = format!(
            "{} published, {} open, {} restarts, seed {}",
            counts.published, counts.open, consumer.restarts, options.seed
        );
        bar.set_position(start.elapsed().as_secs());
        bar.set_message(text.clone());
        if !is_terminal && now >= next_line {
            next_line = now + LINE;
            eprintln!("{:6.1} s  {text}", start.elapsed().as_secs_f64());
        }
        if publishing.is_over() && counts.open == 0 {
            bar.finish_and_clear();
            return Ok(());
        }
        if audit.silent_for() > options.patience() {
            bar.finish_and_clear();
            return Err(format!(
                "{} messages are open, and no message was handled for {:?}",
                counts.open,
                options.patience()
            ));
        }
        if !publishing.is_over() && now >= next_restart {
            consumer.restart(dice).await?;
            next_restart = Instant::now() + options.until_restart(dice);
        }
    }
}

/// Publishes hostile input past the bus, and audits the bus's handling of it
#[derive(Debug, Parser)]
struct Options {
    /// The broker: kafka://HOST:PORT or nats://HOST:PORT
    #[arg(long, value_name = "URL")]
    url: String,

    /// Time during which messages are published
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// Seed of the input; the same seed gives the same messages
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    seed: u64,

    /// Messages a second
    #[arg(long, value_name = "COUNT", default_value = "500", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,

    /// Mean time between two restarts of the bus
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(1..))]
    restart_every: u64,

    /// Time without an event after which messages that are open count as lost
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,

    /// Writes the outcome as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Shows the bus's log lines on stderr
    #[arg(long, short)]
    verbose: bool,
}

impl Options {
    const fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    const fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    const fn until_restart(&self, dice: &mut Dice) -> Duration {
        Duration::from_millis(1 + dice.below(self.restart_every * 2_000))
    }

    fn backend(&self) -> Result<Backend, String> {
        match Config::new(&self.url).map_err(|error| format!("--url: {error}"))?.backend() {
            Backend::Memory => Err("--url: no raw client can publish past memory://".to_owned()),
            backend => Ok(backend),
        }
    }
}

/// Number of findings that are printed; the file has more.
const SHOWN: usize = 10;

/// Others read it: keys are never renamed.
#[derive(Debug, Serialize)]
struct Report {
    backend: String,
    seed: u64,
    seconds: u64,
    rate: u64,
    restarts: u64,
    healthy: Sum,
    hostile: Sum,
    #[serde(flatten)]
    verdict: Verdict,
    /// Why the run did not come to its end.
    problems: Vec<String>,
}

impl Report {
    fn new(backend: Backend, options: &Options, restarts: u64, audit: &Audit) -> Self {
        let verdict = audit.judge();
        let (mut healthy, mut hostile) = (Sum::default(), Sum::default());
        for (kind, sum) in &verdict.kinds {
            let into = if kind == "healthy" { &mut healthy } else { &mut hostile };
            into.published += sum.published;
            into.handled += sum.handled;
            into.dead_letters += sum.dead_letters;
            into.skipped += sum.skipped;
            into.lost += sum.lost;
        }
        Self {
            backend: format!("{backend:?}").to_lowercase(),
            seed: options.seed,
            seconds: options.seconds,
            rate: options.rate,
            restarts,
            healthy,
            hostile,
            verdict,
            problems: Vec::new(),
        }
    }

    const fn is_good(&self) -> bool {
        self.verdict.is_good()
            && self.problems.is_empty()
            && self.healthy.published > 0
            && self.hostile.published > 0
    }

    #[allow(clippy::print_stdout, reason = "the table is what the program is for")]
    fn print(&self) {
        let outcome = if self.is_good() { "all accounted for" } else { "NOT all accounted for" };
        println!(
            "\nhostile input on {}, seed {}, {} s: {outcome}\n",
            self.backend, self.seed, self.seconds
        );
        println!(
            "  {:<10} {:>10} {:>10} {:>13} {:>10} {:>8}",
            "", "published", "handled", "dead letters", "skipped", "lost"
        );
        for (name, sum) in [("healthy", &self.healthy), ("hostile", &self.hostile)] {
            let Sum { published, handled, dead_letters, skipped, lost } = sum;
            println!(
                "  {name:<10} {published:>10} {handled:>10} {dead_letters:>13} {skipped:>10} {lost:>8}"
            );
        }
        let Verdict { order_violations, wrong_ends, altered, redelivered, .. } = &self.verdict;
        println!(
            "\n  order violations {order_violations}, wrong ends {wrong_ends}, altered {altered}"
        );
        println!("  handled again {redelivered}, restarts {}", self.restarts);
        for (reason, count) in &self.verdict.refused {
            println!("  not taken by the broker: {count} x {reason}");
        }
        self.problems.iter().for_each(|problem| println!("\n  {problem}"));
        self.verdict.findings.iter().take(SHOWN).for_each(|finding| println!("  {finding}"));
    }

    fn write(&self, file: &mut File) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        writeln!(file, "{text}").map_err(|error| format!("--report: not written: {error}"))
    }
}

fn create_report(path: &Path) -> Result<File, String> {
    File::create(path)
        .map_err(|error| format!("--report {}: cannot be written: {error}", path.display()))
}
