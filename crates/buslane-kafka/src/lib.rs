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

mod bootstrap;
mod broker;
mod config;
mod consumer;
mod error;
mod keeper;
mod leaders;
mod native;
mod producer;
mod progress;
mod reasons;
mod repeats;
mod token;
mod topics;
mod wake;

pub use broker::KafkaBroker;
pub use config::{
    Assignment, Compression, ConsumerConfig, Isolation, KafkaConfig, KafkaConfigError, Login,
    OffsetReset, Partitioner, ProducerConfig, Security, Tls,
};
pub use error::ConnectError;
pub use token::{Token, Tokens};
