//! The published messages: healthy ones of a few aggregates, and hostile ones between them, with
//! any headers, key and body.

use buslane::broker::header;
use buslane::{Backend, Envelope, RawJson};
use bytes::BytesMut;

pub(crate) const PARTITIONS: u32 = 4;
/// Aggregates of each topic with healthy messages.
const AGGREGATES: u64 = 40;

/// The policy for a message that cannot be read.
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
            Backend::Nats => Headers::Block(header_block(&pairs)),
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
    let (kind, body) = hostile_body(dice, &envelope(aggregate));
    let (header_kind, headers) = match backend {
        Backend::Nats => hostile_block(dice, &name(aggregate)),
        _ => hostile_pairs(dice, &name(aggregate)),
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
    Envelope::with_payload(name(aggregate), "Counted", payload())
}

fn name(aggregate: u64) -> String {
    format!("aggregate-{aggregate}")
}

/// All messages of an aggregate stand in one partition.
fn partition_of(aggregate: u64) -> u32 {
    u32::try_from(aggregate % u64::from(PARTITIONS)).unwrap_or(0)
}

const VERSION: &[u8] = b"NATS/1.0\r\n";
const END: &[u8] = b"\r\n";
/// Names that the bus reads itself.
const OURS: [&str; 10] = [
    header::AGGREGATE_ID,
    "aggregateID",
    header::EVENT_ID,
    header::EVENT_VERSION,
    header::TRACEPARENT,
    header::ORIGINAL_TOPIC,
    header::ORIGINAL_OFFSET,
    header::ATTEMPTS,
    "Buslane-Headers",
    "Buslane-Key",
];

/// A block as it should be; none for no headers.
fn header_block(pairs: &[(String, Option<Vec<u8>>)]) -> Vec<u8> {
    if pairs.is_empty() {
        return Vec::new();
    }
    let mut block = VERSION.to_vec();
    for (name, value) in pairs {
        line(&mut block, name.as_bytes(), value.as_deref().unwrap_or_default());
    }
    [&block, END].concat()
}

fn line(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.extend_from_slice(name);
    block.extend_from_slice(b": ");
    block.extend_from_slice(value);
    block.extend_from_slice(END);
}

/// A header block of NATS, and its name.
fn hostile_block(dice: &mut Dice, aggregate: &str) -> (&'static str, Headers) {
    let mut block = VERSION.to_vec();
    // Some name an aggregate that has healthy messages too.
    if dice.one_in(3) {
        line(&mut block, header::AGGREGATE_ID.as_bytes(), aggregate.as_bytes());
    }
    let kind = match dice.below(19) {
        0 => return ("no headers", Headers::Block(Vec::new())),
        1 => return ("no version line", Headers::Block(b"X-Tenant: a\r\n\r\n".to_vec())),
        2 => {
            return (
                "another version",
                Headers::Block(b"NATS/9.9\r\nX-Tenant: a\r\n\r\n".to_vec()),
            );
        }
        3 => return ("only a version line", Headers::Block(b"NATS/1.0\r\n\r\n".to_vec())),
        4 => {
            let mut bytes = dice.bytes(300);
            bytes.push(0);
            return ("random block", Headers::Block(bytes));
        }
        5 => {
            let mut block = VERSION.to_vec();
            block.extend(dice.bytes(300));
            return ("random lines", Headers::Block([&block, END].concat()));
        }
        6 => {
            line(&mut block, b"X-Trace-ID", b"a\rb");
            "carriage return in a value"
        }
        7 => {
            line(&mut block, b"X-Tenant", b"M\xfcller");
            "value that is not UTF-8"
        }
        8 => {
            block.extend_from_slice(b"a line without a colon\r\n");
            "line without a colon"
        }
        9 => {
            line(&mut block, b"X Tenant", b"a");
            "name with a space"
        }
        10 => {
            line(&mut block, "X-M\u{fc}ller".as_bytes(), b"a");
            "name that is not ASCII"
        }
        11 => {
            line(&mut block, b"", b"a");
            "empty name"
        }
        12 => {
            line(&mut block, b"X-Long", &vec![b'x'; 1 + dice.size(60_000)]);
            "long value"
        }
        13 => {
            for number in 0..dice.below(2_000) {
                line(&mut block, format!("X-{number}").as_bytes(), b"a");
            }
            "many headers"
        }
        14 => {
            block.extend_from_slice(b"X-Tenant: a\n folded: b\n\tc\r\n");
            "bare line feeds"
        }
        15 => {
            line(&mut block, b"X-Nul\0", b"a\0b");
            "zero bytes"
        }
        16 => {
            block.extend_from_slice(b"X-Tenant: a");
            return ("no end", Headers::Block(block));
        }
        17 => {
            line(&mut block, dice.one_of(&OURS).as_bytes(), &printable(dice));
            "one of the bus's own"
        }
        _ => {
            line(&mut block, b"X-Random", &dice.bytes(100));
            "random value"
        }
    };
    (kind, Headers::Block([&block, END].concat()))
}

/// Headers of Kafka, whose values may be any bytes, and their name.
fn hostile_pairs(dice: &mut Dice, aggregate: &str) -> (&'static str, Headers) {
    let mut pairs = Vec::new();
    if dice.one_in(3) {
        pairs.push((header::AGGREGATE_ID.to_owned(), Some(aggregate.as_bytes().to_vec())));
    }
    let some = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let kind = match dice.below(10) {
        0 => return ("no headers", Headers::Pairs(Vec::new())),
        1 => {
            pairs.push(some("", b"a"));
            "empty name"
        }
        2 => {
            pairs.push(("X-None".to_owned(), None));
            "no value"
        }
        3 => {
            pairs.push(some("X-Trace-ID", b"a\r\nX-Forged: b"));
            "line break in a value"
        }
        4 => {
            pairs.push(some("X Tenant: a\r\n", b"a"));
            "line break in a name"
        }
        5 => {
            // Names are C strings: no zero byte.
            pairs.push((dice.text(50).replace('\0', ""), Some(dice.bytes(100))));
            "random name and value"
        }
        6 => {
            pairs.push(("X-Long".to_owned(), Some(vec![0xff; 1 + dice.size(60_000)])));
            "long value"
        }
        7 => {
            pairs.extend((0..dice.below(2_000)).map(|number| some(&format!("X-{number}"), b"a")));
            "many headers"
        }
        8 => {
            let name = dice.one_of(&OURS);
            pairs.extend([some(name, &dice.bytes(60)), some(name, &printable(dice))]);
            "one of the bus's own"
        }
        _ => {
            pairs.push(some("X-Random", &dice.bytes(100)));
            "random value"
        }
    };
    (kind, Headers::Pairs(pairs))
}

fn printable(dice: &mut Dice) -> Vec<u8> {
    let length = dice.size(40);
    (0..length).map(|_| b' ' + dice.number().to_le_bytes()[0] % 95).collect()
}

/// Larger than what most bodies have, and small enough for every broker's limit of a megabyte.
const LARGE: usize = 900_000;

/// The payload of every envelope here.
fn payload() -> RawJson {
    RawJson::encode(&[1, 2, 3]).unwrap_or_default()
}

/// One kind of body, and its name; `None` for a record of Kafka without a value.
fn hostile_body(dice: &mut Dice, good: &Envelope) -> (&'static str, Option<Vec<u8>>) {
    let mut envelope = good.encode().map(|bytes| bytes.to_vec()).unwrap_or_default();
    match dice.below(11) {
        0 => ("no body", None),
        1 => ("empty body", Some(Vec::new())),
        2 => ("random bytes", Some(dice.bytes(400))),
        3 => ("random text", Some(dice.text(200).into_bytes())),
        4 => {
            envelope.truncate(dice.size(envelope.len()));
            ("cut envelope", Some(envelope))
        }
        5 => {
            for _ in 0..=dice.below(3) {
                let at = dice.size(envelope.len());
                envelope[at] = dice.number().to_le_bytes()[0];
            }
            ("changed envelope", Some(envelope))
        }
        6 => {
            let deep = dice.size(20_000);
            ("deep nesting", Some([b"[".repeat(deep), b"]".repeat(deep)].concat()))
        }
        7 => ("wrong field", Some(wrong_field(dice, envelope))),
        8 => ("another envelope", Some(another(dice, good))),
        9 if dice.one_in(50) => {
            let size = LARGE / 8 + dice.size(LARGE * 7 / 8);
            ("large body", Some(vec![dice.number().to_le_bytes()[0]; size]))
        }
        _ => ("good envelope", Some(envelope)),
    }
}

/// An envelope with a field that breaks a rule of the format.
fn wrong_field(dice: &mut Dice, envelope: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(envelope).unwrap_or_default();
    let most = if dice.one_in(200) { 400_000 } else { 2_000 };
    let long = "9".repeat(dice.size(most));
    let (from, to) = match dice.below(5) {
        0 => ("\"timestamp\":\"", format!("\"timestamp\":\"{long}")),
        1 => ("\"event_version\":1", format!("\"event_version\":-1{long}")),
        2 => ("\"aggregate_id\":\"", "\"aggregate_id\":\"\\u0000\\n<".to_owned()),
        3 => ("\"event_type\":\"", format!("\"event_type\":[\"{long}")),
        _ => ("\"event_id\":", "\"event_id\":null,\"event_id\":".to_owned()),
    };
    text.replacen(from, &to, 1).into_bytes()
}

/// A good envelope of an aggregate that its headers may contradict.
fn another(dice: &mut Dice, good: &Envelope) -> Vec<u8> {
    let mut envelope = good.clone();
    envelope.aggregate_id = format!("stranger/{}", dice.below(1_000)).into();
    envelope.encode().map(|bytes| bytes.to_vec()).unwrap_or_default()
}

/// The generator of Steele, Lea and Flood (2014).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Splits off an independent generator.
    pub(crate) const fn split(&mut self) -> Self {
        Self(self.number())
    }

    /// A number below `bound`, which is more than zero.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    pub(crate) fn size(&mut self, below: usize) -> usize {
        usize::try_from(self.below(below as u64)).unwrap_or(0)
    }

    /// True once in this many calls, on average.
    pub(crate) const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.size(list.len())]
    }

    pub(crate) fn bytes(&mut self, below: usize) -> Vec<u8> {
        let length = self.size(below);
        (0..length).map(|_| self.number().to_le_bytes()[0]).collect()
    }

    /// Text of characters from all of Unicode.
    pub(crate) fn text(&mut self, below: usize) -> String {
        let length = self.size(below);
        let signs = (0..length).map(|_| {
            let most = self.one_of(&[0x80, 0x800, 0x1_0000, 0x11_0000]);
            u32::try_from(self.below(most)).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
        });
        signs.collect()
    }
}
