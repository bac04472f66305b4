//! NATS JetStream for the buslane event bus: durable pull consumers whose messages are acknowledged
//! one by one, and a publisher with many records on their way.
//!
//! What it is: a [`Broker`](buslane_core::Broker) on async-nats. Each source has one task that asks
//! for messages while there is room, answers for what is settled, and keeps alive what waits or
//! runs. What an earlier reader or a lost connection left open comes before anything new, so that
//! keys keep their order.
//!
//! What it is not: a pool, a retry policy or a router. It hands out deliveries and takes their
//! settlements.
//!
#![doc = include_str!("../README.md")]

mod block;
mod broker;
mod config;
mod consumers;
mod error;
mod lease;
mod link;
mod names;
mod progress;
mod publisher;
mod readers;
mod source;
mod stored;
mod topics;
mod version;
mod wire;

pub use broker::NatsBroker;
pub use config::{
    ConsumerConfig, Login, NatsConfig, NatsConfigError, Partitions, PublisherConfig, Security,
    Start, Tls,
};
pub use error::ConnectError;
