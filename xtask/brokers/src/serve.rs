//! `cargo xtask brokers serve`: a broker for a single test, which may break it. The test writes one
//! word a line (`pause`, `continue`, `kill`, `start`) and reads `done` after each; the broker ends
//! with its input. Also `parallel-consumer`, a group member for one test.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use clap::ValueEnum;
use xtask_base::process::{PROGRAM, Result, command, root};

use super::guard::BrokerGuard;
use super::state::Folder;
use super::{guard, install, kafka, nats};

#[derive(clap::Args)]
pub struct Args {
    /// Which one
    #[arg(long, value_enum, default_value = "kafka")]
    only: Only,
    /// NATS: a file whose text is appended to the server's configuration
    #[arg(long)]
    nats_config: Option<PathBuf>,
    /// NATS: another version of nats-server
    #[arg(long, default_value = install::NATS)]
    nats_version: String,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Only {
    Kafka,
    Nats,
}

/// The variable that names this program to tests.
pub fn variable() -> Result<(&'static str, String)> {
    Ok(("BUSLANE_TEST_XTASK", PROGRAM.as_ref().map_err(String::as_str)?.display().to_string()))
}

pub(super) fn run(folder: &Folder, args: &Args) -> Result<()> {
    guard::stop_when_interrupted(folder)?;
    guard::sweep(folder)?;
    let extra = match &args.nats_config {
        Some(file) => {
            std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => String::new(),
    };
    let mut broker = match args.only {
        Only::Kafka => kafka::start(folder, 1, kafka::Purpose::Tests, None)?,
        Only::Nats => nats::start(folder, &args.nats_version, 1, &extra, None)?,
    };
    say(&broker.run.address())?;
    for line in std::io::stdin().lines() {
        obey(&mut broker, &line?)?;
        say("done")?;
    }
    Ok(())
}

fn obey(broker: &mut BrokerGuard, word: &str) -> Result<()> {
    match word {
        "pause" => broker.pause(0)?,
        "continue" => broker.go_on(0),
        "kill" => broker.kill(0)?,
        "start" => broker.start_again(0)?,
        other => return Err(format!("`{other}` is none of pause, continue, kill, start").into()),
    }
    Ok(())
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

#[derive(clap::Args)]
pub struct ConsumerArgs {
    /// Addresses of the brokers
    servers: String,
    /// The group it joins
    group: String,
    /// The topic it reads
    topic: String,
    /// The keys whose messages it fails, with commas between
    failing: String,
}

const MEMBER: &str = "xtask/brokers/src/java/ParallelConsumerMember.java";

pub(super) fn parallel_consumer(folder: &Folder, args: &ConsumerArgs) -> Result<()> {
    let java = install::parallel_consumer(folder)?;
    let mut member = command(&java.program);
    member.arg("-cp").arg(java.libraries.join("*")).arg(root().join(MEMBER));
    member.args([&args.servers, &args.group, &args.topic, &args.failing]);
    let status = member.stdin(Stdio::inherit()).status()?;
    if status.success() { Ok(()) } else { Err(format!("the member: {status}").into()) }
}
