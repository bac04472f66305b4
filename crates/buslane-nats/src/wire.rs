//! Converts a record's key and headers into headers of NATS, and back.
//!
//! NATS has no keys, the client keeps no order between headers of different names, and the value of
//! a header is a line of text. Headers that a receiver could not restore from plain ones go into an
//! additional header, [`EXACT`]. So foreign readers find every header that NATS can carry, and a
//! bus restores exactly the sent headers.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use buslane_core::{Headers, Record, Topic, broker::header};
use bytes::Bytes;
use std::{borrow::Cow, str::FromStr};

/// The key, unless it equals `X-Aggregate-ID`: `=` and the key, or nothing for a missing key.
pub(crate) const KEY: &str = "Buslane-Key";
/// All headers in order, escaped, if plain headers are not enough.
pub(crate) const EXACT: &str = "Buslane-Headers";

/// The header by which the server recognises a repeated record.
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";

/// A receiver sorts plain headers: these first, then all others by name.
const FIRST: [&str; 7] = [
    header::EVENT_ID,
    header::AGGREGATE_ID,
    header::EVENT_VERSION,
    header::EVENT_TYPE,
    header::TRACE_ID,
    header::CORRELATION_ID,
    header::TENANT_ID,
];

/// The event id, by which the server recognises a repeated record.
pub(crate) fn event_id(record: &Record) -> Option<&str> {
    text(record.headers.get(header::EVENT_ID)?)
        .filter(|id| !id.is_empty() && is_plain(header::EVENT_ID, id))
}

/// The origin of a dead letter, which differs between all dead letters of an event. The time
/// distinguishes a stream from an earlier one of the same name.
const ORIGIN: [&str; 5] = [
    header::ORIGINAL_TOPIC,
    header::ORIGINAL_PARTITION,
    header::ORIGINAL_OFFSET,
    header::ORIGINAL_TIMESTAMP,
    header::ORIGINAL_GROUP,
];

/// The message id for the server's duplicate window: the event id. A dead letter is no repetition
/// of its event, also when it is published again. So its id contains the origin of its newest
/// failure, and the target topic, because one stream may hold both. No part of the id changes when
/// the same letter is written again.
fn message_id(record: &Record, to: &Topic) -> Option<String> {
    let id = event_id(record)?;
    if record.headers.get(header::ORIGINAL_TOPIC).is_none() {
        return Some(id.to_owned());
    }
    let origin = ORIGIN.map(|name| record.headers.last(name).map_or_else(String::new, escape));
    Some(format!("{id}@{}>{to}", origin.join("|")))
}

/// The headers of a record for a topic.
pub(crate) fn to_nats(record: &Record, to: &Topic) -> Option<HeaderMap> {
    if record.headers.is_empty() && record.key.is_none() {
        return None;
    }
    let mut map = HeaderMap::new();
    let (mut exact, mut before) = (true, None);
    for (name, value) in record.headers.iter() {
        exact &= before.is_none_or(|before: &str| rank(before) < rank(name)) && !is_own(name);
        before = Some(name);
        match (name_on_wire(name), text(value).map(HeaderValue::from_str)) {
            (Some(key), Some(Ok(value))) if is_plain(name, value.as_str()) => {
                map.append(key, value)
            }
            _ => exact = false,
        }
    }
    if !exact {
        map.insert(EXACT, escape_all(&record.headers));
    }
    if let Some(id) = message_id(record, to) {
        map.insert(MESSAGE_ID, id);
    }
    if record.key.as_deref() != record.headers.get(header::AGGREGATE_ID) {
        map.insert(
            KEY,
            record.key.as_deref().map_or_else(String::new, |key| format!("={}", escape(key))),
        );
    }
    Some(map)
}

/// The headers of a record for a stream. `otherwise` is the message id of a record without an event
/// id, so that a record that is sent twice is stored once.
pub(crate) fn to_stream(record: &Record, to: &Topic, otherwise: &str) -> HeaderMap {
    let mut map = to_nats(record, to).unwrap_or_default();
    if map.get(MESSAGE_ID).is_none() {
        map.insert(MESSAGE_ID, otherwise);
    }
    map
}

/// The key and the headers of a message.
pub(crate) fn from_nats(map: Option<&HeaderMap>) -> (Option<Bytes>, Headers) {
    let Some(map) = map.filter(|map| !map.is_empty()) else { return (None, Headers::new()) };
    let found = SortedHeaders::of(map);
    let headers = match found.exact {
        Some(exact) => unescape_all(exact.as_str()),
        None => found.plain(),
    };
    let key = match found.key.map(HeaderValue::as_str) {
        Some(key) => key.strip_prefix('=').map(|key| Bytes::from(unescape(key).into_owned())),
        None => headers.find(header::AGGREGATE_ID).map(|range| headers.slice(range)),
    };
    (key, headers)
}

/// The content of a header map, collected in one pass, because each look-up would copy the name.
#[derive(Default)]
struct SortedHeaders<'a> {
    key: Option<&'a HeaderValue>,
    exact: Option<&'a HeaderValue>,
    /// The values of the names in [`FIRST`].
    first: [&'a [HeaderValue]; FIRST.len()],
    others: Vec<(&'a str, &'a [HeaderValue])>,
}

impl<'a> SortedHeaders<'a> {
    fn of(map: &'a HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, values) in map.iter() {
            match name.as_ref() {
                KEY => found.key = values.first(),
                EXACT => found.exact = values.first(),
                MESSAGE_ID => {}
                name => match FIRST.iter().position(|first| *first == name) {
                    Some(at) => found.first[at] = values,
                    None if u16::try_from(name.len()).is_ok() => found.others.push((name, values)),
                    None => {}
                },
            }
        }
        found.others.sort_unstable_by_key(|(name, _)| *name);
        found
    }

    fn plain(&self) -> Headers {
        let all = || {
            let first = FIRST.iter().copied().zip(self.first);
            let lists = first.chain(self.others.iter().copied());
            lists.flat_map(|(name, values)| values.iter().map(move |value| (name, value.as_str())))
        };
        let mut headers =
            Headers::builder_for(all().map(|(name, value)| (name.len(), value.len())));
        for (name, value) in all() {
            headers.push(name, value);
        }
        headers.build()
    }
}

/// The rank of a plain header in the receiver's order.
fn rank(name: &str) -> (usize, &str) {
    (FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len()), name)
}

/// The name as the client library has it, without a copy for names in [`FIRST`].
fn name_on_wire(name: &str) -> Option<HeaderName> {
    match FIRST.iter().find(|known| **known == name) {
        Some(known) => Some(HeaderName::from_static(known)),
        None => HeaderName::from_str(name).ok(),
    }
}

fn is_own(name: &str) -> bool {
    name == KEY || name == EXACT || name == MESSAGE_ID
}

/// Whether a header survives the wire unchanged and has no meaning to the server.
fn is_plain(name: &str, value: &str) -> bool {
    let is_token = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let is_line = value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && value.trim() == value;
    is_token && is_line && !name.starts_with("Nats-") && !is_own(name)
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

const fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/')
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if is_literal(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for half in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
            }
        }
    }
    out
}

/// Bytes that are not escaped stay unchanged.
fn unescape(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let (mut out, bytes) = (Vec::with_capacity(text.len()), text.as_bytes());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

fn escape_all(headers: &Headers) -> String {
    let pairs: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name.as_bytes()), escape(value)))
        .collect();
    pairs.join("&")
}

fn unescape_all(text: &str) -> Headers {
    let mut headers = Headers::builder();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = unescape(name);
        // Longer than the bytes, if they are not UTF-8.
        let name = String::from_utf8_lossy(&name);
        if u16::try_from(name.len()).is_ok() {
            headers.push(&name, unescape(value));
        }
    }
    headers.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use buslane_core::Envelope;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn orders() -> Topic {
        Topic::new("orders").unwrap()
    }

    /// The message id of a dead letter of one event, with these headers after its own.
    fn letter_id(headers: &[(&str, &str)], to: &str) -> String {
        let mut list = Headers::builder();
        list.push(header::EVENT_ID, "e1");
        for (name, value) in headers {
            list.push(name, value);
        }
        let record = Record::new("x").with_headers(list.build());
        message_id(&record, &Topic::new(to).unwrap()).unwrap()
    }

    fn with<'a>(origin: &[&'a str]) -> Vec<(&'a str, &'a str)> {
        ORIGIN.into_iter().zip(origin.iter().copied()).collect()
    }

    #[test]
    fn d6_a_letter_has_one_message_id_and_no_other_has_it() {
        let origin = ["orders", "0", "5", "1700000000000", "billing"];
        let letter = with(&origin);
        let id = letter_id(&letter, "dead");
        assert_eq!(id, "e1@orders|0|5|1700000000000|billing>dead");
        // The letter is written again after a crash, with other attempts and times.
        let tried =
            [&letter[..], &[(header::ATTEMPTS, "9"), (header::LAST_FAILURE, "later")]].concat();
        assert_eq!(letter_id(&tried, "dead"), id);
        // Only the newest failure counts.
        let again = [&with(&["first", "1", "1", "1", "other"])[..], &letter].concat();
        assert_eq!(letter_id(&again, "dead"), id);
        let mut ids = vec![id, letter_id(&letter, "orders")];
        for at in 0..origin.len() {
            let mut other = origin;
            other[at] = "7";
            ids.push(letter_id(&with(&other), "dead"));
        }
        ids.push(letter_id(&with(&["orders|0", "5", "1700000000000", "billing"]), "dead"));
        ids.push(letter_id(&with(&origin[..2]), "dead"));
        let different: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len(), "{ids:?}");
    }

    proptest! {
        #[test]
        fn e6_key_and_headers_make_the_round_trip(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..6)),
            list in prop::collection::vec(("(X-Event-ID|X-Aggregate-ID|Nats-Msg-Id|Buslane-Key|[ -~é]{0,8})", prop::collection::vec(any::<u8>(), 0..6)), 0..6),
        ) {
            let headers: Headers = list.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let mut record = Record::default().with_headers(headers);
            record.key = key.map(Bytes::from);
            let map = to_nats(&record, &orders());
            let (key, headers) = from_nats(map.as_ref());
            prop_assert_eq!((key, headers), (record.key, record.headers));
        }
    }

    #[test]
    fn e4_an_envelope_has_its_headers_and_its_message_id_and_no_more() {
        let envelope = Envelope::new("order-42", "OrderPlaced", &1).unwrap();
        let record = Record::from_envelope(&envelope, &mut BytesMut::new()).unwrap();
        let map = to_nats(&record, &orders()).unwrap();
        let mut names: Vec<&str> = map.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["Nats-Msg-Id", "X-Aggregate-ID", "X-Event-ID", "X-Event-Type", "X-Event-Version"]
        );
        assert_eq!(map.get(MESSAGE_ID).unwrap().as_str(), &*envelope.event_id);
        let (key, headers) = from_nats(Some(&map));
        assert_eq!((key, headers), (record.key, record.headers));
    }

    #[test]
    fn e6_foreign_headers_are_delivered_by_name() {
        let mut map = HeaderMap::new();
        for (name, value) in [("b", "2"), ("a", "1"), ("X-Event-Type", "t"), ("Nats-Msg-Id", "7")] {
            map.append(name, value);
        }
        let (key, headers) = from_nats(Some(&map));
        let list: Vec<_> = headers.iter().collect();
        assert_eq!(key, None);
        assert_eq!(list, [("X-Event-Type", &b"t"[..]), ("a", b"1"), ("b", b"2")]);
        map.insert(EXACT, "a=%zz&&b");
        assert_eq!(from_nats(Some(&map)).1.get("a"), Some(&b"%zz"[..]));
        map.insert(EXACT, format!("{}=1&b=2", "%ff".repeat(30_000)));
        let (_, headers) = from_nats(Some(&map));
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("b", &b"2"[..])], "a name is too long");
    }
}
