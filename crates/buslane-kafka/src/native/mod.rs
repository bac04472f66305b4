//! What librdkafka can do and rdkafka has no safe call for: reading batches from a partition's own
//! queue, hearing of commits, what a group has committed, whether events wait, changing one setting
//! of a topic, which topics there are, where a partition ends, the token of a login, records
//! without copies of their names, and brokers for a client that runs. The only unsafe code of this
//! crate.

#![allow(unsafe_code, reason = "calls into librdkafka; each block says why it is sound")]

mod alter;
mod brokers;
mod commits;
mod events;
mod group;
mod message;
mod named;
mod produce;
mod queue;
mod token;
mod watermarks;

pub(crate) use alter::alter_topic;
pub(crate) use brokers::add_brokers;
pub(crate) use commits::{CommitAnswer, Commits};
pub(crate) use events::has_events;
pub(crate) use group::committed;
pub(crate) use message::Fetched;
pub(crate) use named::named;
pub(crate) use produce::produce;
pub(crate) use queue::PartitionQueue;
pub(crate) use token::set_token;
pub(crate) use watermarks::watermarks;
