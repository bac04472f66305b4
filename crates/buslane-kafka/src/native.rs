//! Calls into librdkafka that rdkafka has no safe function for, each behind a safe function. The
//! only unsafe code of this crate.

#![allow(unsafe_code, reason = "calls into librdkafka; each block says why it is sound")]

mod admin;
mod client;
mod commits;
mod queue;

pub(crate) use admin::{alter_topic, committed};
pub(crate) use client::{
    add_brokers, existing_topics, has_events, position, produce, set_token, watermarks,
};
pub(crate) use commits::{CommitAnswer, Commits};
#[cfg(fuzzing)]
pub(crate) use queue::push;
pub(crate) use queue::{FetchedMessage, PartitionQueue};
