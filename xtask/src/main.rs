//! The project's own commands, run as `cargo xtask NAME`: what a developer types and what the build
//! server runs are the same.
//!
//! One file (or folder) holds one command; the commands that bring brokers, faults and measurements
//! are libraries beside it (`brokers`, `chaos`, `bench`, on `base`). This program checks, tests and
//! measures the workspace from outside: it depends on no crate of the product, so that it still
//! runs when the product does not compile. It is no build system: `cargo` builds.
#![allow(clippy::print_stdout, reason = "a command line program answers on standard output")]

mod ci;
mod dashboards;
#[cfg(test)]
mod deploy;
mod docs;
mod fuzz;
mod instructions;
mod instrumented;
mod markdown;
mod pictures;
mod sanitize;
mod semver;
mod smoke;
mod test;
mod tidy;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use xtask_base::{process, tools};
use xtask_bench::{compare, limits, load, moves};
use xtask_chaos::{chaos, hostile, soak};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, tests and measures the workspace")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check in the order of the build server; stop at the first that fails
    Ci,
    /// Check the rules of the workspace that the compiler does not know
    Tidy,
    /// Check licences, sources and bans of the dependencies against deny.toml
    Deny,
    /// Check that the workspace builds with the stated minimum Rust version
    Msrv,
    /// Write the generated pages below docs/ anew
    Pages,
    /// Draw the charts of the README and of docs/ from the files in benches/results/
    Pictures(pictures::Args),
    /// Build one site of the README and the pages below docs/, below the target folder
    Book,
    /// Compare the public API with that of the last release, or of a revision
    Semver(semver::Args),
    /// Run all tests, the doctests and the smoke runs
    Test(test::Args),
    /// Start, stop and show a Kafka and a NATS on this machine
    #[command(subcommand)]
    Brokers(xtask_brokers::Command),
    /// Kill, stop and replace processes and brokers while messages flow, and check what became of
    /// each message
    #[command(subcommand)]
    Chaos(chaos::Command),
    /// Publish random headers, keys and bodies past a bus that is restarted, and check that each
    /// message is accounted for
    #[command(subcommand)]
    Hostile(hostile::Command),
    /// Feed the parsers of foreign bytes with made-up inputs, under AddressSanitizer
    Fuzz(fuzz::Args),
    /// Run the tests of the native code under AddressSanitizer, on a real Kafka
    Sanitize(sanitize::Args),
    /// Let order services run for hours on a broker, with faults and moving stages, and check what
    /// became of each message (SPEC T5)
    #[command(subcommand)]
    Soak(soak::Command),
    /// Load a bus, without and with aggregates that fail for ever, and check what became of each
    /// message
    #[command(subcommand)]
    Load(load::Command),
    /// Move keys between the pools at full load, and measure what that costs
    #[command(subcommand)]
    BenchMoves(moves::Command),
    /// Try the dashboard and the alerts of deploy/ on a Prometheus that scrapes order services and
    /// buses with faults
    Dashboards(dashboards::Args),
    /// Compare instruction counts with those in benches/instructions.json
    Instructions(instructions::Args),
    /// Compare the actor pool with the keyed pool (SPEC T1)
    BenchCompare(compare::Args),
    /// Compare each stated figure with its physical limit
    BenchLimits(limits::Args),
}

fn main() -> ExitCode {
    LazyLock::force(&process::PROGRAM);
    let result = match Cli::parse().command {
        Command::Ci => ci::run(),
        Command::Tidy => tidy::run(),
        Command::Deny => tools::deny(),
        Command::Msrv => ci::msrv(false),
        Command::Pages => docs::pages(),
        Command::Book => docs::book(),
        Command::Pictures(args) => pictures::run(&args),
        Command::Semver(args) => semver::run(&args),
        Command::Test(args) => test::run(&args, &mut test::TestCounts::default()),
        Command::Brokers(command) => xtask_brokers::run(&command),
        Command::Chaos(command) => chaos::run(&command),
        Command::Hostile(command) => hostile::run(&command),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Sanitize(args) => sanitize::run(&args),
        Command::Soak(command) => soak::run(&command),
        Command::Load(command) => load::run(&command),
        Command::BenchMoves(command) => moves::run(&command),
        Command::Dashboards(args) => dashboards::run(&args),
        Command::Instructions(args) => instructions::run(&args),
        Command::BenchCompare(args) => compare::run(&args),
        Command::BenchLimits(args) => limits::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
