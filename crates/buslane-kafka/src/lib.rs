//! Apache Kafka for the buslane event bus: one group member for all topics, many messages of a
//! partition in flight, and commits that name exactly what is done.
//!
//! What it is: a [`Broker`](buslane_core::Broker) on librdkafka. One thread polls the client and
//! owns trackers, commits and rebalances; messages are copied out of the client's memory by whoever
//! reads a partition. The committed offset is the lowest open one, and what is done above it stands
//! in the commit's metadata, in the format of Confluent's Parallel Consumer.
//!
//! What it is not: a pool, a retry policy or a router. It hands out deliveries and takes their
//! settlements.
//!
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
mod bootstrap;
#[cfg(feature = "client")]
mod broker;
mod config;
#[cfg(feature = "client")]
mod consumer;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod keeper;
#[cfg(feature = "client")]
mod leaders;
#[cfg(feature = "client")]
mod native;
#[cfg(feature = "client")]
mod producer;
#[cfg(feature = "client")]
mod progress;
#[cfg(feature = "client")]
mod reasons;
#[cfg(feature = "client")]
mod repeats;
mod token;
#[cfg(feature = "client")]
mod topics;
#[cfg(feature = "client")]
mod wake;

#[cfg(feature = "client")]
pub use broker::KafkaBroker;
#[cfg(feature = "client")]
pub use config::KafkaConfigError;
pub use config::{
    Assignment, Compression, ConsumerConfig, Isolation, KafkaConfig, Login, Mechanism, OffsetReset,
    Partitioner, ProducerConfig, Security, Tls, TopicConfig,
};
#[cfg(feature = "client")]
pub use error::ConnectError;
pub use token::{Token, Tokens};
