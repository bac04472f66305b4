//! Foreign text in log lines, spans, health and error texts: escaped and truncated. Dead letters
//! and the wire carry the original text.
//!
//! A key, a handler's error or a broker's reason can have any content and any length. Unescaped, a
//! line feed in one of them would begin a forged log line, and a key of a megabyte would make a
//! line of a megabyte.

use std::fmt::{self, Display, Formatter, Write};

/// The number of bytes shown of a key: the maximum length of an aggregate id.
pub const KEY_BYTES: usize = 256;
/// The number of bytes shown of a field of a header or an envelope.
pub const FIELD_BYTES: usize = 256;
/// The number of bytes shown of an error or a reason.
pub const ERROR_BYTES: usize = 1_024;

/// Displays a value escaped and truncated, without a buffer of its own.
///
/// Control characters, line separators and marks that change the direction of text become `\n`,
/// `\u{1b}` and so on. A text beyond the limit ends in `… +N bytes`.
///
/// ```
/// use buslane_core::excerpt::{self, Excerpt};
///
/// assert_eq!(excerpt::error(&"no\n2026-01-01 ERROR forged").to_string(), "no\\n2026-01-01 ERROR forged");
/// assert_eq!(Excerpt::new("0123456789", 4).to_string(), "0123… +6 bytes");
/// ```
#[derive(Clone, Copy)]
pub struct Excerpt<T> {
    value: T,
    limit: usize,
}

/// An excerpt of a key.
#[must_use]
pub const fn key(key: &[u8]) -> Excerpt<Lossy<'_>> {
    Excerpt::new(Lossy(key), KEY_BYTES)
}

/// An excerpt of a field of a message.
#[must_use]
pub const fn field(value: &[u8]) -> Excerpt<Lossy<'_>> {
    Excerpt::new(Lossy(value), FIELD_BYTES)
}

/// An excerpt of an error or a reason.
pub const fn error<T: Display + ?Sized>(error: &T) -> Excerpt<&T> {
    Excerpt::new(error, ERROR_BYTES)
}

impl<T> Excerpt<T> {
    /// The first `limit` bytes of the `Display` form of `value`, counted after escaping.
    pub const fn new(value: T, limit: usize) -> Self {
        Self { value, limit }
    }
}

impl<T: Display> Display for Excerpt<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut cut = Cut { out: f, room: self.limit, left_out: 0 };
        write!(cut, "{}", self.value)?;
        match cut.left_out {
            0 => Ok(()),
            bytes => write!(f, "… +{bytes} bytes"),
        }
    }
}

impl<T: Display> fmt::Debug for Excerpt<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Displays bytes as text, with `U+FFFD` in place of invalid UTF-8.
#[derive(Clone, Copy)]
pub struct Lossy<'a>(pub &'a [u8]);

impl Display for Lossy<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// Writes as much as there is room for, and counts the rest.
struct Cut<'a, 'b> {
    out: &'a mut Formatter<'b>,
    room: usize,
    left_out: usize,
}

impl Write for Cut<'_, '_> {
    // It never fails, because some values panic when writing fails.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.left_out > 0 {
            self.left_out += text.len();
            return Ok(());
        }
        let mut plain = 0;
        for (at, character) in text.char_indices() {
            let is_plain = !can_deceive(character);
            let length =
                if is_plain { character.len_utf8() } else { character.escape_default().len() };
            let Some(room) = self.room.checked_sub(length) else {
                self.left_out = text.len() - at;
                return self.out.write_str(&text[plain..at]);
            };
            self.room = room;
            if !is_plain {
                write!(self.out, "{}{}", &text[plain..at], character.escape_default())?;
                plain = at + character.len_utf8();
            }
        }
        self.out.write_str(&text[plain..])
    }
}

/// Whether a character can begin a line, move a cursor, or reorder the text that follows it.
fn can_deceive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d7_an_excerpt_is_one_line() {
        for (text, shown) in [
            ("order-42", "order-42"),
            ("größe 世界", "größe 世界"),
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\u{0}"),
            ("\u{1b}[31mred\u{7f}\u{9b}", "\\u{1b}[31mred\\u{7f}\\u{9b}"),
            ("a\u{2028}b\u{202e}c\u{2066}\u{85}", "a\\u{2028}b\\u{202e}c\\u{2066}\\u{85}"),
            ("C:\\new \"x\"", "C:\\new \"x\""),
            ("", ""),
        ] {
            assert_eq!(error(text).to_string(), shown);
            assert_eq!(key(text.as_bytes()).to_string(), shown);
            assert_eq!(format!("{:?}", error(text)), shown);
        }
        assert_eq!(key(b"a\xff\nb").to_string(), "a\u{fffd}\\nb");
    }

    #[test]
    fn d7_an_excerpt_is_cut_at_its_length() {
        assert_eq!(Excerpt::new("0123", 4).to_string(), "0123");
        assert_eq!(Excerpt::new("01234", 4).to_string(), "0123… +1 bytes");
        assert_eq!(Excerpt::new("世界", 5).to_string(), "世… +3 bytes", "never within a character");
        assert_eq!(
            Excerpt::new("abc\n\n", 6).to_string(),
            "abc\\n… +1 bytes",
            "nor within an escape"
        );
        assert_eq!(Excerpt::new("x", 0).to_string(), "… +1 bytes");
        let long = "k".repeat(900_000);
        assert_eq!(
            key(long.as_bytes()).to_string(),
            format!("{}… +899744 bytes", &long[..KEY_BYTES])
        );
        assert_eq!(field(&[0xff; 1_000]).to_string().matches('\u{fffd}').count(), FIELD_BYTES / 3);
        assert!(error(&"\n".repeat(900_000)).to_string().len() < ERROR_BYTES + 32);
    }

    struct InParts;

    impl Display for InParts {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            ["aaa", ": ", "bbb", " at ", "7"].iter().try_for_each(|part| f.write_str(part))
        }
    }

    /// As most errors are written; the parts that are left out are counted together.
    #[test]
    fn d7_an_excerpt_of_parts_is_cut_as_one() {
        assert_eq!(Excerpt::new(InParts, 6).to_string(), "aaa: b… +7 bytes");
        assert_eq!(Excerpt::new(InParts, 13).to_string(), "aaa: bbb at 7");
    }
}
