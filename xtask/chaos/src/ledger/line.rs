//! One line of a ledger.

/// Messages of this topic are over after one attempt, however it ended.
const REGULAR: &str = "cache.invalidate";

/// One attempt, as its handler's process wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) aggregate: String,
    pub(super) outcome: String,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) process: u32,
}

impl Line {
    /// Whether nothing more will be tried.
    pub(super) fn is_over(&self) -> bool {
        self.outcome == "done" || self.topic == REGULAR
    }

    /// Whether an actor that ran it had to be restarted.
    pub(super) fn costs_an_actor(&self) -> bool {
        self.outcome == "panicked" && self.topic == REGULAR
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(',').collect();
        let [
            topic,
            partition,
            offset,
            aggregate,
            _seq,
            _attempt,
            outcome,
            start_ns,
            end_ns,
            process,
        ] = fields[..]
        else {
            return None;
        };
        Some(Self {
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
            aggregate: aggregate.to_owned(),
            outcome: outcome.to_owned(),
            start_ns: start_ns.parse().ok()?,
            end_ns: end_ns.parse().ok()?,
            process: process.parse().ok()?,
        })
    }
}
