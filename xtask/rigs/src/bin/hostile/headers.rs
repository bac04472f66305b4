//! Headers that no client library would write.

use crate::{dice::Dice, input::Headers};
use buslane::broker::header;

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
pub(crate) fn written(pairs: &[(String, Option<Vec<u8>>)]) -> Vec<u8> {
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

/// A block of NATS, and what it is called.
pub(crate) fn block(dice: &mut Dice, aggregate: &str) -> (&'static str, Headers) {
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

/// Headers of Kafka, whose values may be any bytes, and what they are called.
pub(crate) fn pairs(dice: &mut Dice, aggregate: &str) -> (&'static str, Headers) {
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
            // A name is a string of C.
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
