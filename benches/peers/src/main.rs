//! RustStream under the loads of the benches, started by `measure limits kafka --peer`, one process
//! a side. It is tuned as the bus is: the same limits of the client's queues, offsets committed
//! after their messages were handled, a lane a key.
#![forbid(unsafe_code)]

mod idle;
mod read;
mod settings;

use clap::{Parser, Subcommand};
use std::time::Duration;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure one side in this process
    #[command(subcommand)]
    Side(Side),
}

#[derive(Subcommand)]
enum Side {
    /// Handle a topic
    Read {
        #[arg(long)]
        topic: String,
        #[arg(long)]
        messages: u64,
        /// Lanes
        #[arg(long, default_value_t = 256)]
        workers: usize,
        #[arg(long)]
        reader: read::Reader,
        #[arg(long, default_value_t = 0)]
        wait_ms: u64,
    },
    /// One message now and then
    Idle {
        #[arg(long)]
        topic: String,
        #[arg(long)]
        messages: usize,
    },
}

fn main() {
    let Args { command: Command::Side(side) } = Args::parse();
    let runtime = buslane_benches::two_threads();
    let line = match side {
        Side::Read { topic, messages, workers, reader, wait_ms } => {
            let run = read::Run::new(topic, messages, workers, Duration::from_millis(wait_ms));
            runtime.block_on(run.measure(reader))
        }
        Side::Idle { topic, messages } => idle::measure(&runtime, topic, messages),
    };
    println!("{line}");
}
