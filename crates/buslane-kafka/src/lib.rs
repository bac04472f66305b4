//! Apache Kafka for the buslane event bus: one group member for all topics, many messages of a
//! partition in flight, and commits that name exactly the finished messages.
//!
//! This crate is a [`Broker`](buslane_core::Broker) on librdkafka. One polling thread owns the
//! trackers, the commits and the rebalances, and copies messages out of librdkafka's memory. The
//! committed offset is the lowest open one; the commit's metadata lists the finished offsets above
//! it, in the format of Confluent's Parallel Consumer.
//!
//! It is not a pool, a retry policy or a router: it hands out deliveries and takes their
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
mod drop_on_thread;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod error_log;
#[cfg(all(fuzzing, feature = "client"))]
pub mod fuzzing;
#[cfg(feature = "client")]
mod leader_check;
#[cfg(feature = "client")]
mod native;
#[cfg(feature = "client")]
mod partition_log;
#[cfg(feature = "client")]
mod producer;
#[cfg(feature = "client")]
mod progress;
mod token;
#[cfg(feature = "client")]
mod token_refresher;
#[cfg(feature = "client")]
mod topics;
#[cfg(feature = "client")]
mod wake;

#[cfg(feature = "client")]
pub use broker::KafkaBroker;
pub use config::{
    Assignment, Compression, ConsumerConfig, Isolation, KafkaConfig, Login, Mechanism, OffsetReset,
    Partitioner, ProducerConfig, Security, Tls, TopicConfig,
};
#[cfg(feature = "client")]
pub use error::{ConnectError, KafkaConfigError};
pub use token::{Token, Tokens};
