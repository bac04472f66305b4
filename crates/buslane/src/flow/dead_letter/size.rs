//! How much of a message its dead letter keeps when the letter is too large for its topic.

use buslane_core::{Headers, Message};
use bytes::Bytes;
use std::fmt::Write as _;

/// The most bytes that a letter keeps of each part of a message.
pub(super) struct Size {
    body: usize,
    /// Bytes of the message's headers. A header that does not fit is left out; a later one may fit.
    headers: usize,
    key: usize,
    error: usize,
}

/// The longest error text of any dead letter.
const ERROR: usize = 4 << 10;
/// The longest key in the smallest letter: every aggregate id fits.
const KEY: usize = 256;

/// The sizes from the whole message to the smallest letter, which still names the original's place.
/// Each bounds the error text, which may quote the message. Headers are cut first: JetStream has a
/// separate limit for them.
pub(super) const SIZES: [Size; 6] = [
    Size { body: usize::MAX, headers: usize::MAX, key: usize::MAX, error: ERROR },
    Size { body: usize::MAX, headers: 4 << 10, key: usize::MAX, error: ERROR },
    Size { body: 16 << 10, headers: usize::MAX, key: usize::MAX, error: ERROR },
    Size { body: 16 << 10, headers: 4 << 10, key: usize::MAX, error: ERROR },
    Size { body: 1 << 10, headers: 1 << 10, key: usize::MAX, error: 1 << 10 },
    Size { body: 0, headers: 0, key: KEY, error: 256 },
];

/// The parts of a message that a letter keeps.
pub(super) struct Kept<'a> {
    pub(super) body: Bytes,
    pub(super) headers: Headers,
    pub(super) key: Option<Bytes>,
    pub(super) error: &'a str,
    /// The cut parts, such as `body 16384 of 999800, headers 2 of 3`; empty for a whole message.
    pub(super) cut: String,
}

impl<'a> Kept<'a> {
    pub(super) fn of(message: &Message, error: &'a str, size: &Size) -> Self {
        Self::with(message, &message.headers, error, size)
    }

    /// As [`Kept::of`], for letters without headers.
    pub(super) fn without_headers(message: &Message, error: &'a str, size: &Size) -> Self {
        Self::with(message, &Headers::new(), error, size)
    }

    fn with(message: &Message, headers: &Headers, error: &'a str, size: &Size) -> Self {
        let shorten = |bytes: &Bytes, most: usize| bytes.slice(..bytes.len().min(most));
        let kept = Self {
            body: shorten(&message.payload, size.body),
            headers: fitting(headers, size.headers),
            key: message.key.as_ref().map(|key| shorten(key, size.key)),
            error: &error[..error.floor_char_boundary(size.error)],
            cut: String::new(),
        };
        let length = |key: &Option<Bytes>| key.as_ref().map_or(0, Bytes::len);
        let mut cut = String::new();
        for (part, left, before) in [
            ("body", kept.body.len(), message.payload.len()),
            ("headers", kept.headers.iter().count(), headers.iter().count()),
            ("key", length(&kept.key), length(&message.key)),
            ("error", kept.error.len(), error.len()),
        ] {
            if left < before {
                let comma = if cut.is_empty() { "" } else { ", " };
                let _ = write!(cut, "{comma}{part} {left} of {before}");
            }
        }
        Self { cut, ..kept }
    }
}

/// The headers that fit, in their order.
fn fitting(headers: &Headers, most: usize) -> Headers {
    if headers.bytes() <= most {
        return headers.clone();
    }
    let mut left = most;
    let fits = |(name, value): &(&str, &[u8])| match left.checked_sub(name.len() + value.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    headers.iter().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use buslane_core::Topic;

    fn message(body: usize, headers: &[(&str, usize)], key: usize) -> Message {
        let values: Vec<_> =
            headers.iter().map(|(name, length)| (*name, vec![b'h'; *length])).collect();
        let mut message = Message::new(Topic::new("orders").unwrap(), vec![b'x'; body]);
        message.headers = values.iter().map(|(name, value)| (*name, &value[..])).collect();
        message.key = Some(vec![b'k'; key].into());
        message
    }

    #[test]
    fn d6_each_size_holds_less_and_the_last_is_bounded() {
        let (message, error) = (
            message(1 << 20, &[("a", 3_000), ("b", 3_000), ("c", 700)], 1 << 20),
            "e".repeat(1 << 20),
        );
        let sizes: Vec<_> = SIZES
            .iter()
            .map(|size| {
                let kept = Kept::of(&message, &error, size);
                let key = kept.key.map_or(0, |key| key.len());
                (kept.body.len(), kept.headers.iter().count(), key, kept.error.len())
            })
            .collect();
        let large = 1 << 20;
        let expected = [
            (large, 3, large, 4096),
            (large, 2, large, 4096),
            (16_384, 3, large, 4096),
            (16_384, 2, large, 4096),
            (1024, 1, large, 1024),
            (0, 0, 256, 256),
        ];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn d6_a_letter_says_what_was_cut_and_nothing_else() {
        let whole = message(100, &[("a", 10)], 10);
        for size in &SIZES[..5] {
            assert_eq!(Kept::of(&whole, "no", size).cut, "");
        }
        let cut =
            |message: &Message, error: &str, at: usize| Kept::of(message, error, &SIZES[at]).cut;
        assert_eq!(cut(&message(20_000, &[], 10), "no", 2), "body 16384 of 20000");
        assert_eq!(
            cut(&message(20_000, &[("a", 9_000), ("b", 1)], 300), "no", 5),
            "body 0 of 20000, headers 0 of 2, key 256 of 300"
        );
        assert_eq!(cut(&whole, &"\u{fc}".repeat(2_049), 0), "error 4096 of 4098");
        assert_eq!(
            Kept::of(&whole, &format!("x{}", "\u{fc}".repeat(2_049)), &SIZES[0]).error.len(),
            4_095
        );
    }
}
