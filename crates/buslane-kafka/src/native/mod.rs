//! What librdkafka can do and rdkafka has no safe call for: reading batches from a partition's own queue, hearing of
//! commits, and changing one setting of a topic. The only unsafe code of this crate.

#![allow(unsafe_code, reason = "calls into librdkafka; each block says why it is sound")]

mod alter;
mod commits;
mod message;
mod queue;

pub(crate) use alter::alter_topic;
pub(crate) use commits::{CommitAnswer, Commits};
pub(crate) use message::Fetched;
pub(crate) use queue::PartitionQueue;
