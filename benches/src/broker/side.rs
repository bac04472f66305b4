//! One side of a comparison, in a process of its own: this program again with the side as
//! arguments, and the figures that it prints.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{BusSide, Floor, Form, Pool, Reader, idle};
use crate::{Cost, peak_rss_bytes, two_threads};

/// A kind of broker, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BrokerKind {
    /// `KAFKA_BOOTSTRAP_SERVERS`
    Kafka,
    /// `NATS_URL`
    Nats,
}

impl BrokerKind {
    /// The client of the broker of this kind that the environment names.
    ///
    /// # Panics
    /// When it names none.
    #[must_use]
    pub fn floor(self) -> Box<dyn Floor> {
        match self {
            Self::Kafka => Box::new(crate::kafka::Bare::of_environment()),
            Self::Nats => Box::new(crate::nats::Bare::of_environment()),
        }
    }
}

/// Which work a process does.
#[allow(missing_docs, reason = "the words of a command line that only `measure` writes")]
#[derive(Debug, Subcommand)]
pub enum Side {
    /// The bare client takes a topic
    Poll {
        #[arg(long)]
        topic: String,
        #[arg(long)]
        messages: u64,
    },
    /// A bus handles a topic
    Read {
        #[arg(long)]
        topic: String,
        #[arg(long)]
        messages: u64,
        #[arg(long)]
        pool: Pool,
        #[arg(long, default_value_t = WORKERS)]
        workers: usize,
        #[arg(long)]
        reader: Reader,
        #[arg(long, default_value_t = 0)]
        wait_ms: u64,
        /// The key that gets stuck
        #[arg(long, default_value = "")]
        stuck: String,
        /// With recovery mode as it is by default
        #[arg(long)]
        recovery: bool,
    },
    /// Records are published; by the bare client when no pool is named
    Publish {
        #[arg(long)]
        topic: String,
        #[arg(long)]
        messages: u64,
        #[arg(long)]
        pool: Option<Pool>,
        #[arg(long)]
        form: Form,
    },
    /// One message now and then, on a bus and on the bare client
    Idle {
        /// The bus's topic
        #[arg(long)]
        ours: String,
        /// The bare client's
        #[arg(long)]
        theirs: String,
        #[arg(long)]
        messages: usize,
        #[arg(long)]
        pool: Pool,
    },
}

const WORKERS: usize = 256;

impl Side {
    /// Does the work on a broker and returns the figures.
    #[must_use]
    pub fn run(&self, floor: &dyn Floor) -> Value {
        let runtime = two_threads();
        match self {
            Self::Poll { topic, messages } => {
                cost_line(floor.read(&runtime, topic, *messages), Duration::ZERO)
            }
            Self::Read { topic, messages, pool, workers, reader, wait_ms, stuck, recovery } => {
                let bus = BusSide { pool: *pool, workers: *workers, recovery: *recovery };
                let wait = Duration::from_millis(*wait_ms);
                let (measured, in_handler) =
                    bus.read(&runtime, floor, topic, *reader, wait, stuck, *messages);
                cost_line(measured, in_handler)
            }
            Self::Publish { topic, messages, pool, form } => {
                let measured = match pool {
                    Some(pool) => {
                        publisher(*pool).publish(&runtime, floor, topic, *form, *messages)
                    }
                    None => floor.publish(&runtime, topic, *form, *messages),
                };
                cost_line(measured, Duration::ZERO)
            }
            Self::Idle { ours, theirs, messages, pool } => {
                let (bus, bare) =
                    idle(&runtime, publisher(*pool), floor, [ours, theirs], *messages);
                json!({ "p50_us": bus.0, "p99_us": bus.1, "bare_p50_us": bare.0, "bare_p99_us": bare.1 })
            }
        }
    }
}

/// A bus for messages that do not wait.
const fn publisher(pool: Pool) -> BusSide {
    BusSide { pool, workers: WORKERS, recovery: false }
}

/// The line that a side prints after handling or publishing.
#[must_use]
pub fn cost_line(cost: Cost, in_handler: Duration) -> Value {
    json!({
        "rate": cost.rate(),
        "cpu_us": cost.cpu_us(),
        "rss_mb": Duration::from_micros(peak_rss_bytes()).as_secs_f64(),
        "handler_s": in_handler.as_secs_f64(),
    })
}

/// The figures of a side.
#[derive(Debug)]
pub struct Measured(Value);

impl Measured {
    /// One value.
    ///
    /// # Panics
    /// When the side has not measured it.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }
}

/// A program that runs sides.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    /// Arguments before those of a side.
    before: Vec<String>,
}

impl Program {
    /// This one, on a broker.
    ///
    /// # Panics
    /// When the system does not say where it is.
    #[must_use]
    pub fn this(broker: BrokerKind) -> Self {
        let path = std::env::current_exe().expect("this program has a path");
        let broker = broker.to_possible_value().expect("a choice").get_name().to_owned();
        Self { path, before: vec!["side".to_owned(), "--broker".to_owned(), broker] }
    }

    /// Another one.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, before: vec!["side".to_owned()] }
    }

    /// Runs a side, given as words, in a process of its own.
    ///
    /// # Panics
    /// When it fails; it has said why.
    #[must_use]
    pub fn measure(&self, words: &str) -> Measured {
        let side = Command::new(&self.path)
            .args(&self.before)
            .args(words.split_whitespace())
            .stderr(Stdio::inherit())
            .output()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.path.display()));
        assert!(side.status.success(), "`{words}`: {}", side.status);
        Measured(serde_json::from_slice(&side.stdout).expect("a side prints JSON"))
    }
}
