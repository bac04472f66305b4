//! What librdkafka can do and rdkafka has no safe call for: reading batches from a partition's own queue, hearing of
//! commits, changing one setting of a topic, and where a partition ends. The only unsafe code of this crate.

#![allow(unsafe_code, reason = "calls into librdkafka; each block says why it is sound")]

mod alter;
mod commits;
mod message;
mod queue;
mod watermarks;

pub(crate) use alter::alter_topic;
pub(crate) use commits::{CommitAnswer, Commits};
pub(crate) use message::Fetched;
pub(crate) use queue::PartitionQueue;
pub(crate) use watermarks::watermarks;
