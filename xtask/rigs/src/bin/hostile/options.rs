//! What the command line says.

use crate::dice::Dice;
use buslane::{Backend, Config};
use clap::Parser;
use std::{path::PathBuf, time::Duration};

/// Publishes hostile input past the bus, and audits what the bus made of it
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// The broker: kafka://HOST:PORT or nats://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,

    /// How long messages are published
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,

    /// Which input comes: the same seed, the same messages
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub(crate) seed: u64,

    /// Messages a second
    #[arg(long, value_name = "COUNT", default_value = "500", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) rate: u64,

    /// Mean time between two restarts of the bus
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) restart_every: u64,

    /// Time without an event after which messages that are open count as lost
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) patience: u64,

    /// Writes the outcome as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Shows the bus's log lines on stderr
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

impl Options {
    pub(crate) const fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) const fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    pub(crate) const fn until_restart(&self, dice: &mut Dice) -> Duration {
        Duration::from_millis(1 + dice.below(self.restart_every * 2_000))
    }

    pub(crate) fn backend(&self) -> Result<Backend, String> {
        match Config::new(&self.url).map_err(|error| format!("--url: {error}"))?.backend() {
            Backend::Memory => Err("--url: no raw client can publish past memory://".to_owned()),
            backend => Ok(backend),
        }
    }
}
