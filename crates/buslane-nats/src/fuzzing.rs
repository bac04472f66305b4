//! What the fuzz targets call. Exists in their builds alone.
#![allow(missing_docs, reason = "each function is a call of the one whose name it has")]

use crate::{header_block, stored, wire};
use buslane_core::{Headers, Record, Topic};
use bytes::Bytes;

pub fn parse(block: &[u8]) -> Option<(Option<Bytes>, Headers)> {
    header_block::parse(block).ok().map(|map| wire::from_nats(Some(&map)))
}

pub fn readable(block: &[u8]) -> (Option<Bytes>, Headers) {
    header_block::read_what_is_readable(block)
}

pub fn stored_message(answer: &[u8]) -> bool {
    stored::read(1, answer, true).is_ok()
}

pub fn round_trip(record: &Record, to: &Topic) -> (Option<Bytes>, Headers) {
    wire::from_nats(wire::to_nats(record, to).as_ref())
}

pub mod names {
    use crate::names;
    use buslane_core::Topic;

    pub fn stream(topic: &Topic) -> String {
        names::stream(topic)
    }

    pub fn durable(group: &str, topic: &Topic, partition: Option<u32>) -> Option<String> {
        names::durable(group, topic, partition).ok()
    }

    pub fn filters(topic: &Topic, partition: Option<u32>) -> Vec<String> {
        names::filters(topic, partition)
    }

    pub fn key<'a>(subject: &'a str, topic: &Topic, partition: Option<u32>) -> Option<&'a str> {
        names::key(subject, topic, partition)
    }

    pub fn partitions(topic: &Topic, subjects: &[String]) -> Option<Option<u32>> {
        names::partitions(topic, subjects)
    }

    pub fn is_valid(topic: &Topic) -> bool {
        names::check(topic).is_ok()
    }
}
