//! The command line.

use super::faults::Injection;
use buslane::rollout::Plan;
use clap::{Parser, ValueEnum};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// An order service on buslane: publishes orders, handles each aggregate in order, and checks that
/// nothing was lost.
///
/// Five topics of envelopes and one of regular messages (cache.invalidate, half of them with a
/// key). Faults come with it: some handlers fail once, some for good (their envelopes go to the
/// topic order-service.dead-letters, which it reads too), and two panic. At the end it prints a
/// table of what became of every message.
#[derive(Debug, Parser)]
#[command(name = "order-service", after_help = AFTER_HELP, verbatim_doc_comment)]
pub(crate) struct Options {
    /// Which half of the service to run; the halves can be processes of their own on a shared
    /// broker
    #[arg(long, value_enum, value_name = "ROLE", default_value = "all")]
    pub(crate) role: Role,

    /// Seconds without a message after which `consume` ends, and after which `all` counts missing
    /// messages as lost
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) idle: Duration,

    /// Topics of envelopes
    #[arg(long, value_name = "COUNT", default_value = "5", value_parser = up_to_1000)]
    pub(crate) topics: u64,

    /// Partitions of a new topic; 0 for the broker's setting [default: 8 on Kafka, elsewhere 0]
    #[arg(long, value_name = "COUNT")]
    pub(crate) partitions: Option<u32>,

    /// Orders; each is an aggregate with a lane of its own
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = positive)]
    pub(crate) aggregates: u64,

    /// Envelopes to publish; one regular message comes with every ten
    #[arg(long, value_name = "COUNT", default_value = "200000", value_parser = positive)]
    pub(crate) events: u64,

    /// Publishes this many messages before anything is subscribed to
    ///
    /// The service then starts behind, in recovery mode: it drains what waits at a limited rate,
    /// while the rest is published, and leaves the mode by itself. Where nothing else is
    /// configured, at 20,000 messages a second, with a look every second and a ramp of 5 seconds.
    #[arg(long, value_name = "COUNT", value_parser = positive, conflicts_with = "replay")]
    pub(crate) backlog: Option<u64>,

    /// Messages a second [default: as fast as it goes; with --rollout 1500]
    #[arg(long, value_name = "COUNT", value_parser = positive, conflicts_with = "speed")]
    pub(crate) rate: Option<u64>,

    /// Moves the keys to the actor pool by these stages, such as 10,50,100
    ///
    /// A time may stand with a stage: `10 for 20s, 50 for 20s, 100`. It begins after 5 seconds of
    /// messages from 0 %, goes on by itself when the guard has nothing against it, and ends the
    /// run. Nothing fails by itself unless it is asked for. Where nothing else is configured under
    /// `rollout`, it is in fast motion: `window` 6 s, `min_messages` 300, `check_interval` 500 ms,
    /// `advance_p99_increase` 0.15, and `memory_patience` 3 s with --inject leak.
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["replay", "backlog"])]
    pub(crate) rollout: Option<Plan>,

    /// Injects a defect into the actor pool from a stage on, so that the guard rolls back: slow@50,
    /// restart@P, errors@P or leak@P
    ///
    /// slow: a handler takes 300 % longer; slow:30@P, 30 % (of --handler-ms). restart: regular
    /// messages with a key panic (there are more of them: one for every two envelopes). errors: 10
    /// % of the envelopes are rejected; errors:2@P, 2 %. leak: 256 KiB for each envelope. The run
    /// is good when the guard rolled back for that reason, and no more than the stage's share of
    /// the keys was touched.
    #[arg(long, value_name = "WHAT@PERCENT", requires = "rollout")]
    pub(crate) inject: Option<Injection>,

    /// Seed of the generated events and faults; the same seed gives the same run
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub(crate) seed: u64,

    /// Milliseconds that each handler waits
    ///
    /// With 10 and the 256 workers of either pool a default run takes about 10 seconds.
    #[arg(long, value_name = "MILLISECONDS", default_value = "10")]
    pub(crate) handler_ms: u64,

    /// Share of the envelopes whose first attempt fails [default: 1, with --replay or --rollout 0]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) fail_once: Option<f64>,

    /// Envelopes that fail for good; every fourth is rejected at its first attempt
    /// [default: 20, at most one in a hundred events; with --replay or --rollout 0]
    #[arg(long, value_name = "COUNT", verbatim_doc_comment)]
    pub(crate) poison: Option<u64>,

    /// Injects no failure and no panic
    #[arg(long, conflicts_with_all = ["fail_once", "poison"])]
    pub(crate) no_faults: bool,

    /// Most messages in flight, where both halves run here
    #[arg(long, value_name = "COUNT", default_value = "2048", value_parser = window)]
    pub(crate) in_flight: u32,

    /// Publishes a recorded log instead of made-up orders
    ///
    /// CSV, plain or gzip, with the columns timestamp (RFC 3339), case_id, seq (growing within its
    /// case) and activity; other columns go into the payload. A case is an aggregate, an activity
    /// an event type, and each case has one topic. The log is published as it is: no faults unless
    /// they are asked for.
    #[arg(long, value_name = "FILE", verbatim_doc_comment, conflicts_with_all = ["events", "aggregates"])]
    pub(crate) replay: Option<PathBuf>,

    /// Replays at N times the recorded speed [default: as fast as it goes]
    #[arg(long, value_name = "N", requires = "replay", value_parser = speed)]
    pub(crate) speed: Option<f64>,

    /// Writes the final table as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Writes one CSV line per attempt, in the order in which handlers ended
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,

    /// Shows health and metrics over HTTP: /livez, /readyz, /startupz, /metrics, /status and
    /// /rollout
    ///
    /// Port 0 is any that is free; a line on stderr says which. Needs the cargo feature http.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) http: Option<SocketAddr>,

    /// Permits an address that other machines reach; without it the address must be a loopback
    /// address
    #[arg(long, requires = "http")]
    pub(crate) http_public: bool,

    /// Shows the bus's log lines on stderr, failures of single messages too
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

impl Options {
    /// A backlog needs both halves in one process, and enough messages.
    pub(crate) fn check_backlog(&self, messages: u64) -> Result<(), String> {
        match self.backlog {
            Some(_) if self.role != Role::All => Err(format!(
                "--backlog: needs --role all, found --role {}: a consumer that starts behind needs no option",
                self.role.as_str()
            )),
            Some(backlog) if backlog > messages => Err(format!(
                "--backlog: must be at most the number of messages ({messages}), found {backlog}"
            )),
            _ => Ok(()),
        }
    }

    /// A rollout is judged by the process that publishes, and an injected defect must begin at one
    /// of its stages.
    pub(crate) fn check_rollout(&self) -> Result<(), String> {
        let Some(plan) = &self.rollout else { return Ok(()) };
        if self.role != Role::All {
            return Err(format!(
                "--rollout: needs --role all, found --role {}",
                self.role.as_str()
            ));
        }
        match self.inject {
            Some(inject) if plan.stages().iter().all(|stage| stage.percent < inject.from) => {
                Err(format!("--inject {inject}: the plan {plan} has no such stage"))
            }
            _ => Ok(()),
        }
    }

    /// A build without the server cannot listen.
    pub(crate) fn check_http(&self) -> Result<(), String> {
        match self.http {
            Some(_) if !cfg!(feature = "http") => {
                Err("--http: is not part of this build: build it with `--features http`".to_owned())
            }
            Some(listen) if !self.http_public && !listen.ip().to_canonical().is_loopback() => {
                Err(format!(
                    "--http: must be a loopback address unless --http-public is given, found {listen}"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Two options that name the same file would destroy it.
    pub(crate) fn check_files(&self) -> Result<(), String> {
        let files =
            [("--replay", &self.replay), ("--report", &self.report), ("--ledger", &self.ledger)];
        for (at, (name, file)) in files.iter().enumerate() {
            let Some(file) = file else { continue };
            let same = |other: &PathBuf| real(other) == real(file);
            if let Some((other, _)) =
                files[..at].iter().find(|(_, other)| other.as_ref().is_some_and(same))
            {
                return Err(format!(
                    "{other} and {name} must not name the same file, found {}",
                    file.display()
                ));
            }
        }
        Ok(())
    }
}

/// Resolves all names of an existing file to one path.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

const AFTER_HELP: &str = "\
Environment: BUSLANE_USE_ACTOR_POOL=true runs the actor pool instead of the keyed pool, BUSLANE_URL names
the broker (an embedded one by default), BUSLANE_CONFIG a configuration file.

Latency is the time from just before the publish call to the end of the handler; with --role publish to
the broker's acknowledgement. Lost is what was published and neither handled, nor a dead letter, nor a
failed regular message; with --role consume it cannot be known here and is 0: compare the ledgers.

Ctrl-C stops publishing, drains and reports; a second one leaves at once.

Exit code: 0 when nothing was lost, no order violated and a rollout went as asked, 1 when not or the run
could not go on, 2 when it was told something that it cannot do.";

/// Which half of the service runs in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Publishes and handles
    All,
    /// Publishes alone
    Publish,
    /// Handles alone
    Consume,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Publish => "publish",
            Self::Consume => "consume",
        }
    }

    pub(crate) fn publishes(self) -> bool {
        self != Self::Consume
    }

    pub(crate) fn consumes(self) -> bool {
        self != Self::Publish
    }
}

fn positive(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|count| *count > 0).ok_or("must be a whole number of at least 1")
}

fn up_to_1000(text: &str) -> Result<u64, &'static str> {
    positive(text)
        .ok()
        .filter(|count| *count <= 1000)
        .ok_or("must be a whole number from 1 to 1000")
}

fn window(text: &str) -> Result<u32, &'static str> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or("must be a whole number from 1 to 4294967295")
}

fn percent(text: &str) -> Result<f64, &'static str> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=100.0).contains(share))
        .ok_or("must be a number from 0 to 100")
}

fn speed(text: &str) -> Result<f64, &'static str> {
    text.parse()
        .ok()
        .filter(|times: &f64| times.is_finite() && *times > 0.0)
        .ok_or("must be a number above 0")
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|time| !time.is_zero()).ok_or("must be a number of seconds above 0")
}
