//! The topic that all sides of `cargo xtask bench-compare --url` read: created, filled, named on
//! standard output, and deleted when standard input ends, so that it disappears with the command
//! that started this, however that ends.

use buslane_benches::{
    broker::{BrokerKind, FilledTopic, Load},
    two_threads,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Messages in it
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Which of the brokers that the environment names
    #[arg(long)]
    broker: BrokerKind,
}

impl Args {
    pub(crate) fn run(self) {
        let Self { messages, broker } = self;
        let (runtime, floor) = (two_threads(), broker.floor());
        let topic =
            FilledTopic::new(&runtime, &*floor, Load { messages, keys: 1_000, partitions: 8 });
        println!("{}", topic.name());
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    }
}
