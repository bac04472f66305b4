//! Ordered headers that may repeat, packed into one buffer.
//!
//! They are not a map: order and duplicates are kept, and a look-up scans the few headers of a
//! message. Cloning shares the buffer, so a header costs no allocation of its own.

use bytes::{BufMut, Bytes, BytesMut};
use std::{fmt, ops::Range};

/// The headers of one message, in order, duplicates included. Empty by default.
///
/// ```
/// use buslane_core::Headers;
///
/// let mut headers = Headers::builder();
/// headers.push("source", "web").push("source", "app").push_integer("version", 3);
/// let headers = headers.build();
/// assert_eq!(headers.get("source"), Some(&b"web"[..]));
/// assert_eq!(headers.last("source"), Some(&b"app"[..]));
/// assert_eq!(headers.get("version"), Some(&b"3"[..]));
/// ```
///
/// The layout of the buffer is private: for each header the length of the name (`u16`), the length
/// of the value (`u32`), both little endian, then name and value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

const PREFIX: usize = 6;

impl Headers {
    /// An empty list. Does not allocate.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Starts to build a list.
    #[must_use]
    pub fn builder() -> HeadersBuilder {
        HeadersBuilder { buffer: BytesMut::new() }
    }

    /// Starts to build a list with capacity for names and values of these lengths.
    #[must_use]
    pub fn builder_for(lengths: impl Iterator<Item = (usize, usize)>) -> HeadersBuilder {
        let bytes = lengths.map(|(name, value)| PREFIX + name + value).sum();
        HeadersBuilder { buffer: BytesMut::with_capacity(bytes) }
    }

    /// Starts to build a list at the front of `arena`, so that many messages share an allocation.
    #[must_use]
    pub fn builder_in(arena: BytesMut) -> HeadersBuilder {
        HeadersBuilder { buffer: arena }
    }

    /// Whether the list has no header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The size of the packed list in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.spans().map(|(name, value)| (self.name_at(name), &self.0[value]))
    }

    /// The first value of `name`. Names are compared byte by byte.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.find(name).map(|span| &self.0[span])
    }

    /// The last value of `name`. In a dead letter, it describes the newest failure.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(found, _)| *found == name).last().map(|(_, value)| value)
    }

    /// The values of every header of this name, ignoring the case of ASCII letters.
    ///
    /// It runs for each handled message, so a name of another length costs only a comparison.
    pub fn values_in_any_case<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            loop {
                let (&[n1, n2, v1, v2, v3, v4], list) = rest.split_first_chunk::<PREFIX>()?;
                let name_len = usize::from(u16::from_le_bytes([n1, n2]));
                let header;
                (header, rest) = list
                    .split_at_checked(name_len + u32::from_le_bytes([v1, v2, v3, v4]) as usize)?;
                if name_len == name.len()
                    && let Some((found, value)) = header.split_at_checked(name_len)
                    && found.eq_ignore_ascii_case(name.as_bytes())
                {
                    return Some(value);
                }
            }
        })
    }

    /// The position of the first value of `name`, for [`Headers::slice`] and [`Headers::at`].
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Range<usize>> {
        self.spans().find(|(at, _)| self.0[at.clone()] == *name.as_bytes()).map(|(_, value)| value)
    }

    /// The bytes of a range that [`Headers::find`] returned, sharing the buffer.
    ///
    /// # Panics
    /// When the range is out of bounds.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        self.0.slice(range)
    }

    /// The bytes of a range that [`Headers::find`] returned.
    ///
    /// # Panics
    /// When the range is out of bounds.
    #[must_use]
    pub fn at(&self, range: Range<usize>) -> &[u8] {
        &self.0[range]
    }

    fn name_at(&self, range: Range<usize>) -> &str {
        std::str::from_utf8(&self.0[range]).unwrap_or_default()
    }

    fn spans(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let prefix = self.0.get(at..at + PREFIX)?;
            let name_len = usize::from(u16::from_le_bytes([prefix[0], prefix[1]]));
            let value_len =
                u32::from_le_bytes([prefix[2], prefix[3], prefix[4], prefix[5]]) as usize;
            let name = at + PREFIX..at + PREFIX + name_len;
            let value = name.end..name.end + value_len;
            at = value.end;
            Some((name, value))
        })
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))))
            .finish()
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(headers: I) -> Self {
        let mut builder = Self::builder();
        for (name, value) in headers {
            builder.push(name, value);
        }
        builder.build()
    }
}

/// Builds [`Headers`]; see [`Headers::builder`].
#[derive(Debug, Default)]
pub struct HeadersBuilder {
    buffer: BytesMut,
}

impl HeadersBuilder {
    /// Appends a header. A header of the same name stays.
    ///
    /// # Panics
    /// When the name is longer than 65,535 bytes or the value longer than 4 GiB.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.buffer.reserve(PREFIX + name.len() + value.len());
        let [n1, n2] =
            u16::try_from(name.len()).expect("a header name fits in 65,535 bytes").to_le_bytes();
        let [v1, v2, v3, v4] =
            u32::try_from(value.len()).expect("a header value fits in 4 GiB").to_le_bytes();
        self.buffer.put_slice(&[n1, n2, v1, v2, v3, v4]);
        self.buffer.put_slice(name.as_bytes());
        self.buffer.put_slice(value);
        self
    }

    /// Appends all headers of `other`.
    pub fn extend(&mut self, other: &Headers) -> &mut Self {
        self.buffer.extend_from_slice(&other.0);
        self
    }

    /// Appends a header whose value is a decimal integer.
    pub fn push_integer(&mut self, name: &str, value: i64) -> &mut Self {
        self.push(name, itoa::Buffer::new().format(value))
    }

    /// Returns the list and the rest of the arena.
    #[must_use]
    pub fn build_and_return(mut self) -> (Headers, BytesMut) {
        let headers = Headers(self.buffer.split().freeze());
        (headers, self.buffer)
    }

    /// Returns the list.
    #[must_use]
    pub fn build(self) -> Headers {
        Headers(self.buffer.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn e6_headers_keep_order_and_duplicates(list in prop::collection::vec(("[a-zA-Z-]{0,12}", prop::collection::vec(any::<u8>(), 0..40)), 0..12)) {
            let headers: Headers = list.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let back: Vec<_> = headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(&back, &list);
            for (name, _) in &list {
                let first = list.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice());
                prop_assert_eq!(headers.get(name), first);
                let last = list.iter().rfind(|(other, _)| other == name).map(|(_, value)| value.as_slice());
                prop_assert_eq!(headers.last(name), last);
            }
            prop_assert_eq!(headers.is_empty(), list.is_empty());
        }
    }

    #[test]
    fn e6_header_names_are_case_sensitive() {
        let headers: Headers = [("a", &b"1"[..]), ("A", b"2")].into_iter().collect();
        assert_eq!(headers.get("A"), Some(&b"2"[..]));
        assert_eq!(headers.get("b"), None);
    }
}
