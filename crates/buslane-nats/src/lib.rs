//! NATS JetStream for the buslane event bus: durable pull consumers that acknowledge each message
//! separately, and a publisher with many records in flight.
//!
//! The crate is a [`Broker`](buslane_core::Broker) on async-nats. Each source has one task that
//! requests messages while there is capacity, acknowledges settled messages, and reports open ones
//! as in progress. Messages that an earlier reader or a lost connection left open come before new
//! ones, so that keys keep their order.
//!
//! The crate hands out deliveries and takes their settlements. It is no pool, no retry policy and
//! no router.
//!
#![doc = include_str!("../README.md")]

#[cfg(feature = "client")]
mod broker;
mod config;
#[cfg(feature = "client")]
mod consumers;
#[cfg(feature = "client")]
mod error;
#[cfg(all(fuzzing, feature = "client"))]
pub mod fuzzing;
#[cfg(feature = "client")]
mod header_block;
#[cfg(feature = "client")]
mod lease;
#[cfg(feature = "client")]
mod link;
#[cfg(feature = "client")]
mod names;
#[cfg(feature = "client")]
mod partition_log;
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
mod wire;

#[cfg(feature = "client")]
pub use broker::NatsBroker;
pub use config::{
    ConsumerConfig, Login, NatsConfig, NatsConfigError, Partitions, PublisherConfig, Security,
    Start, Storage, StreamConfig, Tls,
};
#[cfg(feature = "client")]
pub use error::ConnectError;
