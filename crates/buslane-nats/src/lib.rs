//! NATS JetStream for the buslane event bus: durable pull consumers whose messages are acknowledged
//! one by one, and a publisher with many records in flight.
//!
//! The crate is a [`Broker`](buslane_core::Broker) on async-nats. Each source has one task that
//! requests messages while there is room, acknowledges what is settled, and reports open messages as
//! in progress. Messages that an earlier reader or a lost connection left open come before new
//! ones, so that keys keep their order.
//!
//! The crate hands out deliveries and takes their settlements. It is no pool, no retry policy and no
//! router.
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
mod publisher;
mod readers;
mod source;
mod stored;
mod term;
mod topics;
mod version;
mod wire;

pub use broker::NatsBroker;
pub use config::{
    ConsumerConfig, Login, NatsConfig, NatsConfigError, Partitions, PublisherConfig, Security,
    Start, Tls,
};
pub use error::ConnectError;
