//! Apache Kafka for the buslane event bus: one group member for all topics, many messages of a
//! partition in flight, and commits that name exactly what is done.
//!
//! This crate is a [`Broker`](buslane_core::Broker) on librdkafka. One polling thread owns the
//! trackers, the commits and the rebalances, and copies messages out of librdkafka's memory. The
//! committed offset is the lowest open one; the commit's metadata lists the finished offsets above
//! it, in the format of Confluent's Parallel Consumer.
//!
//! It is not a pool, a retry policy or a router: it hands out deliveries and takes back their
//! settlements.
//!
#![doc = include_str!("../README.md")]

mod bootstrap;
mod broker;
mod config;
mod consumer;
mod error;
mod error_log;
mod leader_check;
mod native;
mod producer;
mod progress;
mod token;
mod token_refresher;
mod topics;
mod wake;

pub use broker::KafkaBroker;
pub use config::{
    Assignment, Compression, ConsumerConfig, Isolation, KafkaConfig, KafkaConfigError, Login,
    OffsetReset, Partitioner, ProducerConfig, Security, Tls,
};
pub use error::ConnectError;
pub use token::{Token, Tokens};
