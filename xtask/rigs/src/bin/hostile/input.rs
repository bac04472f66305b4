//! What is published: healthy messages of a few aggregates, and hostile ones between them.

use crate::{bodies, dice::Dice, headers};
use buslane::{Backend, Envelope};
use bytes::BytesMut;

pub(crate) const PARTITIONS: u32 = 4;
/// Aggregates of each topic with healthy messages.
const AGGREGATES: u64 = 40;

/// What becomes of a message that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    DeadLetter,
    Skip,
    /// It is no envelope, so its handler gets it as it is.
    Regular,
}

pub(crate) const POLICIES: [Policy; 3] = [Policy::DeadLetter, Policy::Skip, Policy::Regular];

/// The topics of a run.
#[derive(Debug)]
pub(crate) struct Topics {
    /// One for each policy.
    pub(crate) names: [String; POLICIES.len()],
    pub(crate) letters: String,
    pub(crate) group: String,
}

impl Topics {
    pub(crate) fn new(run: &str) -> Self {
        let names = ["buried", "skipped", "regular"].map(|what| format!("hostile-{what}-{run}"));
        Self { names, letters: format!("hostile-letters-{run}"), group: format!("hostile-{run}") }
    }

    /// Which policy a topic has; none for the topic of dead letters.
    pub(crate) fn place(&self, topic: &str) -> Option<usize> {
        self.names.iter().position(|name| name == topic)
    }
}

/// Headers as a raw client puts them on the wire.
#[derive(Debug)]
pub(crate) enum Headers {
    /// Kafka: names and values.
    Pairs(Vec<(String, Option<Vec<u8>>)>),
    /// NATS: the block as it stands before the body, however broken; empty for none.
    Block(Vec<u8>),
}

/// One message to publish.
#[derive(Debug)]
pub(crate) struct Input {
    /// Place of its topic in `POLICIES`.
    pub(crate) topic: usize,
    pub(crate) partition: u32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Headers,
    /// None for a record of Kafka without a value.
    pub(crate) body: Option<Vec<u8>>,
    /// The aggregate of a healthy message, whose order counts.
    pub(crate) aggregate: Option<u64>,
    pub(crate) kind: String,
}

/// The next message.
pub(crate) fn next(dice: &mut Dice, backend: Backend) -> Input {
    if dice.one_in(2) { healthy(dice, backend) } else { hostile(dice, backend) }
}

/// A message that must be handled, in the order of its aggregate: with all headers, or an envelope
/// without any.
fn healthy(dice: &mut Dice, backend: Backend) -> Input {
    let (topic, aggregate) = (dice.size(POLICIES.len()), dice.below(AGGREGATES));
    let envelope = envelope(aggregate);
    let mut arena = BytesMut::new();
    let record = buslane::Record::from_envelope(&envelope, &mut arena).unwrap_or_default();
    let has_headers = POLICIES[topic] == Policy::Regular || dice.one_in(2);
    let pairs = record.headers.iter().filter(|_| has_headers);
    let pairs: Vec<_> =
        pairs.map(|(name, value)| (name.to_owned(), Some(value.to_vec()))).collect();
    Input {
        topic,
        partition: partition_of(aggregate),
        key: Some(name(aggregate).into_bytes()),
        headers: match backend {
            Backend::Nats => Headers::Block(headers::written(&pairs)),
            _ => Headers::Pairs(pairs),
        },
        body: Some(record.payload.to_vec()),
        aggregate: Some(aggregate),
        kind: "healthy".to_owned(),
    }
}

/// Anything else: any headers with any body under any key.
fn hostile(dice: &mut Dice, backend: Backend) -> Input {
    let topic = dice.size(POLICIES.len());
    // Some of them come between the healthy messages of an aggregate.
    let aggregate = dice.below(AGGREGATES);
    let (kind, body) = bodies::any(dice, &envelope(aggregate));
    let (header_kind, headers) = match backend {
        Backend::Nats => headers::block(dice, &name(aggregate)),
        _ => headers::pairs(dice, &name(aggregate)),
    };
    let key = match dice.below(5) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(name(aggregate).into_bytes()),
        3 => Some(dice.bytes(200)),
        4 if dice.one_in(20) => Some(dice.text(20_000).into_bytes()),
        _ => Some(dice.text(100).into_bytes()),
    };
    Input {
        topic,
        partition: partition_of(aggregate),
        key,
        headers,
        body: body.or_else(|| (backend == Backend::Nats).then(Vec::new)),
        aggregate: None,
        kind: format!("{header_kind}, {kind}"),
    }
}

fn envelope(aggregate: u64) -> Envelope {
    Envelope::with_payload(name(aggregate), "Counted", bodies::payload())
}

fn name(aggregate: u64) -> String {
    format!("aggregate-{aggregate}")
}

/// All messages of an aggregate stand in one partition.
fn partition_of(aggregate: u64) -> u32 {
    u32::try_from(aggregate % u64::from(PARTITIONS)).unwrap_or(0)
}
