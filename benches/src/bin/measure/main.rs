//! The program behind `cargo xtask bench-compare`, `bench-limits`, `bench-moves` and `load`: one,
//! because each takes minutes to build.
#![allow(clippy::print_stdout, reason = "the lines are what the program is for")]

mod compare;
mod limits;
mod load;
mod moves;
mod pools;
mod topic;

use buslane_benches::broker::{BrokerKind, Side};
use clap::Parser;
use std::process::ExitCode;

/// Measures, and prints JSON lines.
#[derive(Parser)]
enum Command {
    /// One side of a comparison of the pools
    Compare(compare::Args),
    /// Hold a filled topic for all sides of a comparison
    Topic(topic::Args),
    /// The stated figures, each beside its physical limit
    #[command(subcommand)]
    Limits(limits::Backend),
    /// A load without failing aggregates and with them
    Load(load::Args),
    /// Keys that change pools at full load
    Moves(moves::Args),
    /// The memory of idle pools
    #[command(hide = true)]
    Pools(pools::Args),
    /// One side of a figure, in this process
    #[command(hide = true)]
    Side {
        /// Which of the brokers that the environment names
        #[arg(long)]
        broker: BrokerKind,
        #[command(subcommand)]
        side: Side,
    },
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Compare(args) => args.run(),
        Command::Topic(args) => args.run(),
        Command::Limits(backend) => return backend.run(),
        Command::Load(args) => return args.run(),
        Command::Moves(args) => return args.run(),
        Command::Pools(args) => args.run(),
        Command::Side { broker, side } => println!("{}", side.run(&*broker.floor())),
    }
    ExitCode::SUCCESS
}
