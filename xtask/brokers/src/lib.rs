//! `cargo xtask brokers up|down|status`: a real Kafka and a real NATS on this machine, for tests
//! and for trying things out.
//!
//! No containers and no service of the system: the programs come from the package registries, data
//! lies below the target folder, and `down` leaves nothing behind. It is for one developer on one
//! machine; nobody should keep data in it.
#![allow(clippy::print_stdout, reason = "a command line program answers on standard output")]
#![allow(missing_docs, reason = "a comment on a struct of options would be its help text")]

mod certs;
mod external;
mod group;
mod hold;
mod install;
mod kafka;
mod nats;
mod parallel_consumer;
pub mod ports;
mod probe;
mod properties;
mod serve;
mod start;
mod state;

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};

pub use hold::Held;
pub use serve::variable as serve_variable;
pub use state::Kind;

use external::External;
use kafka::Purpose;
use state::Run;
use xtask_base::process::Result;
use xtask_base::table;
use xtask_base::workspace::Metadata;

#[derive(Subcommand)]
pub enum Command {
    /// Start what does not run yet and print its addresses as exports: eval "$(cargo xtask brokers
    /// up)"
    Up(UpArgs),
    /// Start a broker for one test, which pauses, kills and starts it again through standard input
    Serve(ServeArgs),
    /// Join a group with Confluent's Parallel Consumer, for one test
    ParallelConsumer(parallel_consumer::Args),
    /// Stop every broker that `up` has started and remove its data
    Down,
    /// Show which brokers run, and where
    Status,
}

#[derive(clap::Args)]
pub struct UpArgs {
    /// Kafka nodes of a new cluster, 1 unless given; three keep three copies, one has listeners for
    /// TLS and SASL too
    #[arg(long, value_parser = ["1", "3"])]
    kafka_nodes: Option<String>,
    /// NATS nodes of a new cluster, 1 unless given
    #[arg(long, value_parser = ["1", "3"])]
    nats_nodes: Option<String>,
    /// Start this one alone
    #[arg(long)]
    only: Option<Only>,
}

#[derive(clap::Args)]
pub struct ServeArgs {
    /// Which one
    #[arg(long, value_enum, default_value = "kafka")]
    only: Only,
    /// NATS: a file whose text goes into the server's configuration, behind what is there
    #[arg(long)]
    nats_config: Option<PathBuf>,
    /// NATS: another version of nats-server
    #[arg(long, default_value = install::NATS)]
    nats_version: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Only {
    Kafka,
    Nats,
}

/// Where the brokers of this workspace live.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn of_workspace() -> Result<Self> {
        Ok(Self(Metadata::of_workspace()?.target_directory.join("brokers")))
    }

    /// Programs that are fetched once and kept, whatever `down` removes.
    fn programs(&self) -> PathBuf {
        self.0.join("programs")
    }

    fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// The logs of brokers whose data is gone.
    fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

/// Runs one of the commands.
pub fn run(command: &Command) -> Result<()> {
    let folder = Folder::of_workspace()?;
    match command {
        Command::Up(args) => up(&folder, args),
        Command::Serve(args) => serve::run(&folder, args),
        Command::ParallelConsumer(args) => parallel_consumer::run(&folder, args),
        Command::Down => down(&folder),
        Command::Status => status(&folder),
    }
}

fn up(folder: &Folder, args: &UpArgs) -> Result<()> {
    hold::stop_when_interrupted(folder)?;
    let _lock = state::lock(folder.path(), "brokers")?;
    hold::sweep(folder)?;
    let number = |text: &Option<String>| text.as_deref().map(str::parse::<u16>).transpose();
    let (kafka_nodes, nats_nodes) = (number(&args.kafka_nodes)?, number(&args.nats_nodes)?);
    if !matches!(args.only, Some(Only::Nats)) {
        up_one(folder, Kind::Kafka, kafka_nodes)?;
    }
    if !matches!(args.only, Some(Only::Kafka)) {
        up_one(folder, Kind::Nats, nats_nodes)?;
    }
    let (name, value) = serve::variable()?;
    println!("export {name}={}", shell_word(&value));
    Ok(())
}

/// Brings one broker up and prints its exports at once: when the next one fails, this one can be
/// used all the same.
fn up_one(folder: &Folder, kind: Kind, nodes: Option<u16>) -> Result<()> {
    let running = find_running(folder, kind)?;
    if let Some(external) = External::of_environment(kind)
        && running.as_ref().is_none_or(|run| run.address() != external.addresses())
    {
        external.check()?;
        eprintln!("{kind}: {} is set, so no broker of our own is started", kind.variable());
        println!("export {}={}", kind.variable(), external.addresses());
        return Ok(());
    }
    let run = match running {
        Some(run) => {
            let count = run.nodes.len();
            if nodes.is_some_and(|wanted| usize::from(wanted) != count) {
                return Err(format!(
                    "{kind} runs already with {count} node(s): stop it first with `cargo xtask brokers down`"
                )
                .into());
            }
            eprintln!("{kind}: runs already, {}", run.address());
            run
        }
        None => start(folder, kind, nodes.unwrap_or(1))?.keep_running()?,
    };
    for (name, value) in run.exports() {
        println!("export {name}={}", shell_word(&value));
    }
    Ok(())
}

/// The broker that an earlier `up` has left running. What is left of one that has died is removed.
fn find_running(folder: &Folder, kind: Kind) -> Result<Option<Run>> {
    for run in Run::all(&folder.runs())? {
        if run.kind != kind || run.held_by.is_some() {
            continue;
        }
        if run.nodes.iter().all(|node| node.is_up()) && !run.nodes.is_empty() {
            return Ok(Some(run));
        }
        eprintln!("{kind}: an earlier one is no longer whole: removing what is left of it");
        hold::stop(&run)?;
    }
    Ok(None)
}

fn start(folder: &Folder, kind: Kind, nodes: u16) -> Result<Held> {
    match kind {
        Kind::Kafka => kafka::start(folder, nodes, Purpose::Tests),
        Kind::Nats => nats::start(folder, install::NATS, nodes, ""),
    }
}

/// A Kafka for the tests of this process. `None` when the environment names one, which is used.
pub fn kafka_for_tests() -> Result<Option<Held>> {
    // A test of its own would not wait for a download.
    install::parallel_consumer(&Folder::of_workspace()?)?;
    for_tests(Kind::Kafka)
}

/// A NATS for the tests of this process. `None` when the environment names one, which is used.
pub fn nats_for_tests() -> Result<Option<Held>> {
    // As above.
    install::nats(&Folder::of_workspace()?, install::OLDEST_NATS)?;
    for_tests(Kind::Nats)
}

/// A Kafka for measurements: it does not hold up what is measured against it.
pub fn kafka_for_figures() -> Result<Option<Held>> {
    unless_named(Kind::Kafka, |folder| kafka::start(folder, 1, Purpose::Figures))
}

/// A broker of one node for the tests of this process: it ends with the value, on Ctrl-C, and when
/// this process panics. `None` when the environment names a broker already: that one is used, and
/// left running.
fn for_tests(kind: Kind) -> Result<Option<Held>> {
    unless_named(kind, |folder| start(folder, kind, 1))
}

fn unless_named(kind: Kind, start: impl FnOnce(&Folder) -> Result<Held>) -> Result<Option<Held>> {
    if let Some(external) = External::of_environment(kind) {
        external.check()?;
        eprintln!("{kind}: {} is used", external.addresses());
        return Ok(None);
    }
    let folder = Folder::of_workspace()?;
    hold::stop_when_interrupted(&folder)?;
    hold::sweep(&folder)?;
    start(&folder).map(Some)
}

/// The broker at these addresses, once it answers.
pub fn check(kind: Kind, servers: &str) -> Result<String> {
    External::named(kind, servers).check()?;
    Ok(servers.to_owned())
}

/// A broker for this process alone, whatever the environment names: it is going to suffer.
pub fn of_our_own(kind: Kind, nodes: u16) -> Result<Held> {
    let folder = Folder::of_workspace()?;
    hold::stop_when_interrupted(&folder)?;
    hold::sweep(&folder)?;
    start(&folder, kind, nodes)
}

fn down(folder: &Folder) -> Result<()> {
    let _lock = state::lock(folder.path(), "brokers")?;
    hold::sweep(folder)?;
    let mut stopped = 0;
    for run in Run::all(&folder.runs())? {
        if let Some(holder) = run.held_by {
            eprintln!(
                "{}: belongs to the tests of process {}, which end it: left alone",
                run.kind, holder.pid
            );
            continue;
        }
        hold::stop(&run)?;
        eprintln!("{}: stopped, data removed", run.kind);
        stopped += 1;
    }
    if stopped == 0 {
        eprintln!("no broker was running");
    }
    Ok(())
}

fn status(folder: &Folder) -> Result<()> {
    let mut rows = Vec::new();
    for run in Run::all(&folder.runs())? {
        for (at, node) in run.nodes.iter().enumerate() {
            let ports = node
                .ports
                .iter()
                .map(|(name, port)| format!("{name} {port}"))
                .collect::<Vec<_>>()
                .join(", ");
            let state = match (node.process.is_alive(), node.is_up()) {
                (true, true) => "up",
                (true, false) => "starting or stuck",
                (false, _) => "dead",
            };
            let holder = run
                .held_by
                .map_or_else(|| "up".to_owned(), |holder| format!("process {}", holder.pid));
            rows.push(vec![
                format!("{}-{}", run.kind, at + 1),
                state.to_owned(),
                node.process.pid.to_string(),
                holder,
                ports,
            ]);
        }
    }
    if rows.is_empty() {
        println!("no broker runs");
    } else {
        println!("{}", table::render(&["node", "state", "pid", "started by", "ports"], &rows));
    }
    Ok(())
}

/// A word as the shell reads it back, quoted when it holds anything but letters, digits and
/// harmless signs.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=@+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn exports_survive_the_shell() {
        assert_eq!(shell_word("127.0.0.1:9092,127.0.0.1:9093"), "127.0.0.1:9092,127.0.0.1:9093");
        assert_eq!(shell_word("nats://127.0.0.1:4222"), "nats://127.0.0.1:4222");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
