//! The stated figures, each beside its physical limit in the same run: one JSON line a figure.

mod kafka;
mod memory;
mod nats;

use buslane_benches::broker::{Bench, BrokerKind};
use clap::{Args, Subcommand};
use std::{path::PathBuf, process::ExitCode};

#[derive(Subcommand)]
pub(crate) enum Backend {
    /// The pools and the bus on the embedded broker
    Memory {
        /// Figures to measure, by the start of their names; all when there are none
        figures: Vec<String>,
    },
    /// The bus on a real Kafka
    Kafka {
        #[command(flatten)]
        chosen: Chosen,
        /// Also measure RustStream, in turns with the bus: the program of benches/peers
        #[arg(long, value_name = "PROGRAM")]
        peer: Option<PathBuf>,
    },
    /// The bus on a real NATS
    Nats(Chosen),
}

#[derive(Args)]
pub(crate) struct Chosen {
    /// Figures to measure, by the start of their names; all when there are none
    figures: Vec<String>,
    /// Messages of the largest load; as many as the figures are stated for when it is not given
    #[arg(long)]
    messages: Option<u64>,
}

impl Backend {
    pub(crate) fn run(self) -> ExitCode {
        let all_good = match self {
            Self::Memory { figures } => memory::measure(figures),
            Self::Kafka { chosen, peer } => {
                let messages = chosen.messages.unwrap_or(kafka::MESSAGES);
                Bench::run(chosen.figures, BrokerKind::Kafka, peer, |bench| {
                    kafka::measure(bench, messages)
                })
            }
            Self::Nats(chosen) => {
                let messages = chosen.messages.unwrap_or(nats::MESSAGES);
                Bench::run(chosen.figures, BrokerKind::Nats, None, |bench| {
                    nats::measure(bench, messages)
                })
            }
        };
        if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
