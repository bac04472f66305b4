//! Bodies that are no envelope, or hardly one.

use crate::dice::Dice;
use buslane::{Envelope, RawJson};

/// Larger than what most bodies have, and small enough for every broker's limit of a megabyte.
const LARGE: usize = 900_000;

/// The payload of every envelope here.
pub(crate) fn payload() -> RawJson {
    RawJson::encode(&[1, 2, 3]).unwrap_or_default()
}

/// One kind of body, and its name; `None` for a record of Kafka without a value.
pub(crate) fn any(dice: &mut Dice, good: &Envelope) -> (&'static str, Option<Vec<u8>>) {
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
