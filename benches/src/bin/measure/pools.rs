//! What a number of idle pools costs in memory, in a process of its own.

use buslane_benches::{Keys, PoolLoad, actor_pool, keyed_pool, peak_rss_bytes, two_threads};
use buslane_keyed::Mode;
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Actors in place of keyed workers
    #[arg(long)]
    actors: bool,
    /// Pools
    #[arg(long)]
    count: u64,
}

impl Args {
    /// Starts the pools, lets each run some jobs of every worker, and prints the resident bytes.
    pub(crate) fn run(self) {
        let runtime = two_threads();
        let load = PoolLoad { messages: 2_560, keys: Keys::InTurn(256), batch: 256, seed: 1 };
        let make = if self.actors { actor_pool } else { keyed_pool };
        let pools: Vec<_> = {
            let _inside = runtime.enter();
            (0..self.count).map(|_| make(Mode::Exclusive)).collect()
        };
        for pool in &pools {
            runtime.block_on(load.submit(&**pool, None));
        }
        println!("{}", peak_rss_bytes());
    }
}

/// MiB of a process with this many pools.
pub(crate) fn resident_mib(actors: bool, count: u64) -> f64 {
    let this = std::env::current_exe().expect("this program has a path");
    let mut process = Command::new(this);
    process.args(["pools", "--count", &count.to_string()]).args(actors.then_some("--actors"));
    let said = process.output().expect("this program starts");
    let bytes = String::from_utf8_lossy(&said.stdout);
    bytes.trim().parse::<f64>().expect("a number of bytes") / 1_048_576.0
}
