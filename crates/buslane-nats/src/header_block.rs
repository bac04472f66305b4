//! Parses the block of headers of a message, with or without errors.
//!
//! The client library ends its connection at a block that it cannot read, or panics at a return in
//! a value. Such blocks must be recognised without the library.

use crate::wire;
use async_nats::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use buslane_core::{Headers, broker::header};
use bytes::Bytes;
use std::str::FromStr;

/// Reads a block in the steps of the client library. The error names the reason why the library
/// cannot read the block.
pub(crate) fn parse(block: &[u8]) -> Result<HeaderMap, &'static str> {
    let text = std::str::from_utf8(block).map_err(|_| "they are not UTF-8")?;
    let mut lines = text.lines().peekable();
    let version = lines.next().and_then(|line| line.strip_prefix("NATS/1.0")).map(str::trim);
    let status = version.ok_or("the line NATS/1.0 is missing")?;
    let status = status.split_once(' ').map_or(status, |(status, _)| status.trim());
    if !status.is_empty() && StatusCode::from_str(status).is_err() {
        return Err("the status is no number of three digits");
    }
    let mut headers = HeaderMap::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or("a line has no colon")?;
        let name = HeaderName::from_str(name).map_err(|_| "a name has a space or is not ASCII")?;
        let mut parts = vec![value];
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            parts.push(more);
        }
        let value = HeaderValue::from_str(parts.concat().trim());
        headers.append(name, value.map_err(|_| "a value has a return in it")?);
    }
    Ok(headers)
}

/// The key and the headers of a message whose block cannot be read. Each line with a good name
/// keeps its value, byte by byte, and the whole block is the value of [`header::RAW_HEADERS`].
pub(crate) fn read_what_is_readable(block: &[u8]) -> (Option<Bytes>, Headers) {
    let (mut plain, mut odd) = (HeaderMap::new(), Vec::new());
    for line in lines(block) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_good(name)) else {
            continue;
        };
        match (HeaderName::from_str(name), std::str::from_utf8(value).map(HeaderValue::from_str)) {
            (Ok(name), Ok(Ok(value))) => plain.append(name, value),
            (Ok(_), _) => odd.push((name, value)),
            (Err(_), _) => {}
        }
    }
    let (key, headers) = wire::from_nats(Some(&plain));
    let mut all = Headers::builder();
    all.extend(&headers);
    for (name, value) in odd {
        all.push(name, value);
    }
    all.push(header::RAW_HEADERS, block);
    (key, all.build())
}

/// Whether a header of this name can be kept. The name of the header for the block itself is
/// reserved.
fn is_good(name: &str) -> bool {
    u16::try_from(name.len()).is_ok() && name != header::RAW_HEADERS
}

/// The lines of a block without the version.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(block);
    let lines = std::iter::from_fn(move || {
        let text = rest?;
        let end = text.windows(2).position(|pair| pair == b"\r\n");
        rest = end.map(|end| &text[end + 2..]);
        Some(end.map_or(text, |end| &text[..end]))
    });
    lines.filter(|line| !line.starts_with(b"NATS/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(block: &[u8]) -> Option<&'static str> {
        parse(block).err()
    }

    fn block(lines: &[u8]) -> Vec<u8> {
        [b"NATS/1.0\r\n", lines, b"\r\n\r\n"].concat()
    }

    #[test]
    fn n6_what_the_client_cannot_read_is_known() {
        for lines in [
            &b""[..],
            b"X-A: b",
            b": b",
            b"X-A:",
            b"X-A: b\r\n c",
            b"X-A: \xc3\xa9",
            b"X-A: b:c",
            b"X!A: b",
            b"\n",
        ] {
            assert_eq!(fault(&block(lines)), None, "{}", block(lines).escape_ascii());
        }
        for status in [
            &b"NATS/1.0 100 Idle\r\n\r\n"[..],
            b"NATS/1.0\n\n",
            b"NATS/1.0404\r\n\r\n",
            b"NATS/1.0",
        ] {
            assert_eq!(fault(status), None, "{}", status.escape_ascii());
        }
        for lines in [
            &b"X-A: b\rc"[..],
            b"X-A: \xfc",
            b"X\xfc: b",
            b"X-A",
            b"X A: b",
            b"X-\xc3\xa9: b",
            b" X-A: b",
        ] {
            assert!(fault(&block(lines)).is_some(), "{}", block(lines).escape_ascii());
        }
        for version in [
            &b""[..],
            b"X-A: b\r\n\r\n",
            b"NATS/2.0\r\n\r\n",
            b"NATS/1.0 zz\r\n\r\n",
            b"nats/1.0\r\n\r\n",
        ] {
            assert!(fault(version).is_some(), "{}", version.escape_ascii());
        }
    }

    #[test]
    fn e6_what_is_readable_of_a_block_is_kept() {
        let block = block(b"X-Aggregate-ID: order-1\r\nX-Tenant: M\xfcller\r\nX-Trace-ID: a\rb\r\nno colon\r\nX A: b\r\nNats-Msg-Id: 7");
        let (key, headers) = read_what_is_readable(&block);
        let list: Vec<_> = headers.iter().collect();
        assert_eq!(key.as_deref(), Some(&b"order-1"[..]));
        let expected: [(&str, &[u8]); 4] = [
            ("X-Aggregate-ID", b"order-1"),
            ("X-Tenant", b"M\xfcller"),
            ("X-Trace-ID", b"a\rb"),
            (header::RAW_HEADERS, &block),
        ];
        assert_eq!(list, expected);
        assert_eq!(
            read_what_is_readable(b"X-Raw-Headers: mine\r\n\r\n").1.get(header::RAW_HEADERS),
            Some(&b"X-Raw-Headers: mine\r\n\r\n"[..])
        );
    }
}
