//! Tests on a real Kafka, and on one that they start themselves to break it. `mock` needs neither,
//! and `quiet` needs a process of its own.

mod batches;
mod contract;
mod input;
mod kit;
mod loss;
mod member_settings;
mod offsets;
mod overrun;
mod producer_settings;
mod publish;
mod rebalance;
#[cfg(feature = "tls")]
mod security;
mod subscribe;
mod takeover;
#[cfg(feature = "tls")]
mod tokens;
mod transactions;
