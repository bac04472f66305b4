//! How the members of a group share the keys of a topic on NATS: a number or a word.

use super::MOST_PARTITIONS;
use buslane_settings::{Value, plain_value};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// How the members of a group share the keys of a topic. An existing stream keeps its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitions {
    /// `auto`: a new stream has 8 partitions for envelopes, and none for regular messages. One
    /// member at a time reads a partition, or a topic of envelopes without partitions. On servers
    /// before 2.10 as `shared`, with a warning. The default.
    #[default]
    Auto,
    /// A number, 1 to 1,024: as `auto`, and a new stream has this number of partitions. A topic of
    /// envelopes whose stream has another number, or none, is refused.
    Exactly(u32),
    /// `shared`: a new stream has no partitions, and the members of a group share a topic without
    /// partitions. Several members may handle messages of a key at once, in any order.
    Shared,
}

impl Partitions {
    /// The number of partitions of a new stream for envelopes.
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
        // A number that is too large breaks the rule and not the format.
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
