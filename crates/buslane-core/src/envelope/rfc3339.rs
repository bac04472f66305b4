//! Timestamps in RFC 3339. Nearly all are in UTC and take a fast path; the `time` library handles
//! the others, and all errors.

use std::io::Write;
use time::{Date, Month, OffsetDateTime, Time, error, format_description::well_known::Rfc3339};

/// A timestamp as RFC 3339 text on the stack, without trailing zeros of the fraction.
pub(super) struct Written {
    text: [u8; Written::LONGEST],
    len: usize,
}

impl Written {
    const SHAPE: [u8; 30] = *b"0000-00-00T00:00:00.000000000Z";
    /// `SHAPE` with an offset instead of the `Z`.
    const LONGEST: usize = 35;

    /// # Errors
    /// The library's: a year outside 0 to 9999, or an offset with seconds.
    pub(super) fn new(timestamp: OffsetDateTime) -> Result<Self, error::Format> {
        Self::utc(timestamp).map_or_else(|| Self::any(timestamp), Ok)
    }

    fn utc(timestamp: OffsetDateTime) -> Option<Self> {
        let year = u16::try_from(timestamp.year())
            .ok()
            .filter(|year| *year <= 9999 && timestamp.offset().is_utc())?;
        let mut text = [0; Self::LONGEST];
        text[..30].copy_from_slice(&Self::SHAPE);
        let mut pair = |at: usize, value: u8| {
            text[at] = b'0' + value / 10;
            text[at + 1] = b'0' + value % 10;
        };
        let (_, month, day) = timestamp.to_calendar_date();
        let (hour, minute, second, nanosecond) = timestamp.to_hms_nano();
        pair(0, (year / 100 % 100) as u8);
        pair(2, (year % 100) as u8);
        pair(5, month.into());
        pair(8, day);
        pair(11, hour);
        pair(14, minute);
        pair(17, second);
        let mut len = 19;
        if nanosecond != 0 {
            let mut rest = nanosecond;
            for digit in text[20..29].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            len = 29;
            while text[len - 1] == b'0' {
                len -= 1;
            }
        }
        text[len] = b'Z';
        Some(Self { text, len: len + 1 })
    }

    fn any(timestamp: OffsetDateTime) -> Result<Self, error::Format> {
        let mut text = [0; Self::LONGEST];
        let mut rest = &mut text[..];
        timestamp.format_into(&mut rest, &Rfc3339)?;
        rest.flush()?;
        let len = Self::LONGEST - rest.len();
        Ok(Self { text, len })
    }
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// Reads RFC 3339 text.
///
/// # Errors
/// The library's.
pub(super) fn parse(text: &str) -> Result<OffsetDateTime, error::Parse> {
    utc(text.as_bytes()).map_or_else(|| OffsetDateTime::parse(text, &Rfc3339), Ok)
}

fn utc(text: &[u8]) -> Option<OffsetDateTime> {
    let (whole, rest) = text.split_first_chunk()?;
    let &[y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2] =
        whole
    else {
        return None;
    };
    let digits = [y1, y2, y3, y4, mo1, mo2, d1, d2, h1, h2, m1, m2, s1, s2]
        .map(|byte| byte.wrapping_sub(b'0'));
    if digits.iter().any(|digit| *digit > 9) {
        return None;
    }
    let pair = |at: usize| digits[at] * 10 + digits[at + 1];
    let nanosecond = match rest {
        b"Z" => 0,
        [b'.', fraction @ .., b'Z'] if (1..=9).contains(&fraction.len()) => {
            let mut value = 0;
            for byte in fraction {
                let digit = Some(byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9)?;
                value = value * 10 + u32::from(digit);
            }
            value * POWERS_OF_TEN[9 - fraction.len()]
        }
        _ => return None,
    };
    let year = i32::from(pair(0)) * 100 + i32::from(pair(2));
    let date = Date::from_calendar_date(year, Month::try_from(pair(4)).ok()?, pair(6)).ok()?;
    let time = Time::from_hms_nano(pair(8), pair(10), pair(12), nanosecond).ok()?;
    Some(OffsetDateTime::new_utc(date, time))
}

const POWERS_OF_TEN: [u32; 9] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,11})?Z?",
            "(0000|0001|2024|2023|1900|9999)-(02-2[89]|02-30|12-31|06-30)T23:59:(59|60)(\\.[09]{1,10})?(Z|z|\\+00:00)",
        ]
    }

    proptest! {
        #[test]
        fn e1_the_short_way_reads_what_the_library_reads(text in any_text(), at in any::<prop::sample::Index>(), byte in 0_u8..128) {
            let mut damaged = text.clone().into_bytes();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            for text in [text, String::from_utf8(damaged).unwrap()] {
                if let Some(read) = utc(text.as_bytes()) {
                    let expected = OffsetDateTime::parse(&text, &Rfc3339);
                    prop_assert_eq!(Ok((read, read.offset())), expected.map(|time| (time, time.offset())), "{}", text);
                }
            }
        }

        #[test]
        fn e1_the_short_way_writes_what_the_library_writes(
            second in -62_167_219_200_i64..253_402_300_800, digits in 0_u32..1_000_000_000, zeros in 0_u32..10,
        ) {
            let nanosecond = digits / 10_u32.pow(zeros) * 10_u32.pow(zeros);
            let time = OffsetDateTime::from_unix_timestamp(second).unwrap().replace_nanosecond(nanosecond).unwrap();
            let text = time.format(&Rfc3339).unwrap();
            let written = Written::utc(time).unwrap();
            prop_assert_eq!(written.as_ref(), text.as_bytes());
            prop_assert_eq!(utc(text.as_bytes()), Some(time));
            let long_way = Written::any(time).unwrap();
            prop_assert_eq!(long_way.as_ref(), text.as_bytes());
        }
    }
}
