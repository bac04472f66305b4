//! How the keys of a topic on NATS are shared out to the members of a group: a number, or a word.

use super::MOST_PARTITIONS;
use buslane_settings::{Value, plain_value};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// How the keys of a topic are shared out to the members of a group. A stream that exists keeps the
/// partitions it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitions {
    /// `auto`: a stream that is created for envelopes has 8 partitions, one for regular messages
    /// has none. One member at a time reads a partition, or a topic of envelopes that has none; on
    /// servers before 2.10 as `shared`, with a warning. The default.
    #[default]
    Auto,
    /// A number, 1 to 1,024: as `auto`, and a stream that is created has this many. A topic of
    /// envelopes whose stream has another number, or none, is refused.
    Exactly(u32),
    /// `shared`: a stream that is created has none, and the members of a group share a topic that
    /// has none. A key's messages may be at several members at once, in any order.
    Shared,
}

impl Partitions {
    /// Partitions of a stream that is created for envelopes.
    pub const DEFAULT: u32 = 8;

    pub(super) fn are_possible(&self) -> Result<(), String> {
        match self {
            Self::Exactly(count) if !(1..=MOST_PARTITIONS).contains(count) => {
                Err(format!("must be from 1 to {MOST_PARTITIONS}"))
            }
            _ => Ok(()),
        }
    }
}

impl Value for Partitions {
    plain_value!();

    fn kind() -> String {
        "integer, `auto` or `shared`".to_owned()
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => AUTO.to_owned(),
            Self::Exactly(count) => count.to_string(),
            Self::Shared => SHARED.to_owned(),
        }
    }
}

const AUTO: &str = "auto";
const SHARED: &str = "shared";

impl Serialize for Partitions {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => target.serialize_str(AUTO),
            Self::Exactly(count) => target.serialize_u32(*count),
            Self::Shared => target.serialize_str(SHARED),
        }
    }
}

impl<'de> Deserialize<'de> for Partitions {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(PartitionsVisitor)
    }
}

struct PartitionsVisitor;

impl de::Visitor<'_> for PartitionsVisitor {
    type Value = Partitions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, `auto` or `shared`")
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Self::Value, E> {
        // A number that is too large breaks the rule, not the format.
        Ok(Partitions::Exactly(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Self::Value, E> {
        u64::try_from(count)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(count), &self))
            .and_then(|count| self.visit_u64(count))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
        match word {
            AUTO => Ok(Partitions::Auto),
            SHARED => Ok(Partitions::Shared),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }
}
