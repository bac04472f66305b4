//! Keys that a file may leave out, and that say something when it does not.
//!
//! With serde alone an empty key (`tls:`) would be the same as none, and encryption would be off in
//! silence. Here a key that stands in the file is read as if it were required.

use serde::{Deserialize, Deserializer};

pub(super) fn present<'de, D, T>(source: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(source).map(Some)
}

/// As `present`, for durations.
pub(super) mod duration {
    use super::super::duration;
    use serde::{Deserializer, Serializer};
    use std::time::Duration;

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        target: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => duration::serialize(value, target),
            None => target.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        source: D,
    ) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(source).map(Some)
    }
}
