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

#[cfg(feature = "client")]
mod block;
#[cfg(feature = "client")]
mod broker;
mod config;
#[cfg(feature = "client")]
mod consumers;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod lease;
#[cfg(feature = "client")]
mod link;
#[cfg(feature = "client")]
mod names;
#[cfg(feature = "client")]
mod progress;
#[cfg(feature = "client")]
mod publisher;
#[cfg(feature = "client")]
mod readers;
#[cfg(feature = "client")]
mod source;
#[cfg(feature = "client")]
mod stored;
#[cfg(feature = "client")]
mod topics;
#[cfg(feature = "client")]
mod version;
#[cfg(feature = "client")]
mod wire;

#[cfg(feature = "client")]
pub use broker::NatsBroker;
pub use config::{
    ConsumerConfig, Login, NatsConfig, NatsConfigError, Partitions, PublisherConfig, Security,
    Start, Storage, StreamConfig, Tls,
};
#[cfg(feature = "client")]
pub use error::ConnectError;
