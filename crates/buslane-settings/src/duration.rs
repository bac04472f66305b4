//! Durations as text: one whole number and one unit.

use serde::{Deserializer, de};
use std::{fmt, time::Duration};

/// The units from long to short, with their nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const RULE: &str =
    "must be a whole number and a unit of h, m, s, ms, us or ns, such as 500ms or 30s";

/// A number of milliseconds.
#[must_use]
pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A number of seconds.
#[must_use]
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A number of minutes.
#[must_use]
pub const fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

/// A number of hours.
#[must_use]
pub const fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

/// Reads a duration such as `500ms`.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| RULE)?;
    let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(RULE)?;
    let total = number.checked_mul(*nanoseconds).ok_or("is too long: at most 584 years")?;
    Ok(Duration::from_nanos(total))
}

/// Writes a duration with the longest unit that leaves no fraction.
#[must_use]
pub fn show(duration: Duration) -> String {
    let total = duration.as_nanos();
    if total == 0 {
        return "0s".to_owned();
    }
    let (name, nanoseconds) =
        UNITS.iter().find(|(_, unit)| total.is_multiple_of(u128::from(*unit))).unwrap_or(&UNITS[5]);
    format!("{}{name}", total / u128::from(*nanoseconds))
}

/// Reads a duration from a file.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    source.deserialize_any(DurationVisitor)
}

struct DurationVisitor;

impl de::Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 500ms or 30s")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(|rule| E::custom(format_args!("{rule}, found {text:?}")))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
        Err(E::custom(format_args!("{RULE}, found {number} without a unit")))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
        Err(E::custom(format_args!("{RULE}, found {number} without a unit")))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
        Err(E::custom(format_args!("{RULE}, found {number} without a unit")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_durations_are_a_number_and_a_unit() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("0ms", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "", "5", "s", "-5s", "+5s", "1.5s", "5 s", " 5s", "5s ", "5S", "5sec", "1m30s", "1d",
            "٣s", "5ｓ",
        ] {
            assert_eq!(parse(text), Err(RULE), "{text:?}");
        }
        assert_eq!(parse("99999999h"), Err("is too long: at most 584 years"));
        assert_eq!(parse("99999999999999999999999s"), Err(RULE));
    }

    #[test]
    fn s1_durations_print_as_they_are_read() {
        for text in ["0s", "1ns", "1001us", "1500ms", "90s", "2m", "36h"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
        assert_eq!(show(Duration::from_secs(7200)), "2h");
    }
}
