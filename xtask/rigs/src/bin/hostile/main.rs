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
mod bodies;
mod bus;
mod dice;
mod headers;
mod input;
mod kafka;
mod nats;
mod options;
mod publish;
mod report;

use audit::Books;
use bus::Consumer;
use buslane::Backend;
use clap::Parser;
use dice::Dice;
use indicatif::{ProgressBar, ProgressStyle};
use input::Topics;
use options::Options;
use report::Report;
use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Time between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let books = Arc::new(Books::default());
    bus::install_log(&books, options.verbose);
    match Box::pin(run(&options, &books)).await {
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

async fn run(options: &Options, books: &Arc<Books>) -> Result<Report, String> {
    let mut file = options.report.as_deref().map(report::create).transpose()?;
    let backend = options.backend()?;
    let mut dice = Dice::new(options.seed);
    let topics = Arc::new(Topics::new(&format!("{:x}-{:x}", options.seed, bus::now_ns())));
    let mut consumer = Consumer::start(&options.url, &topics, books).await?;
    consumer.create_topics().await?;
    consumer.subscribe().await?;
    let client = match backend {
        Backend::Nats => {
            publish::Client::Nats(nats::Nats::connect(&options.url, Arc::clone(books))?)
        }
        _ => publish::Client::Kafka(kafka::Kafka::connect(&options.url, Arc::clone(books))?),
    };
    let publishing = publish::Publishing::begin(client, &topics, options, dice.split());
    let watched = Box::pin(watch(options, books, &mut consumer, &publishing, &mut dice)).await;
    let publishing = publishing.end().await;
    let restarts = consumer.restarts;
    let ended = consumer.end(Duration::from_secs(30)).await;
    let mut report = Report::new(backend, options, restarts, books);
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
    books: &Books,
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
        let counts = books.counts();
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
        if books.silent_for() > options.patience() {
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
