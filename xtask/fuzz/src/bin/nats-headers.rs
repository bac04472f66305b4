//! The block of headers of a NATS message, and records that NATS carries.
#![no_main]

use buslane_core::{Headers, Record, Topic, broker::header};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    block: &'a [u8],
    /// Headers of our own, which a foreign program may write too.
    exact: Option<&'a str>,
    key: Option<&'a [u8]>,
    headers: Vec<(&'a str, &'a [u8])>,
}

fuzz_target!(|input: Input<'_>| {
    let (_, readable) = buslane_nats::fuzzing::readable(input.block);
    assert_eq!(readable.last(header::RAW_HEADERS), Some(input.block));
    let lines = [&b"NATS/1.0\r\n"[..], input.block, b"\r\n\r\n"].concat();
    for block in [input.block, &lines] {
        let _ = buslane_nats::fuzzing::parse(block);
        let _ = buslane_nats::fuzzing::stored_message(block);
    }
    if let Some(exact) = input.exact {
        let block = format!("NATS/1.0\r\nBuslane-Headers: {exact}\r\nBuslane-Key: {exact}\r\n\r\n");
        let _ = buslane_nats::fuzzing::parse(block.as_bytes());
    }

    let short = |(name, _): &&(&str, &[u8])| name.len() <= usize::from(u16::MAX);
    let headers: Headers = input.headers.iter().filter(short).copied().collect();
    let mut record = Record::default().with_headers(headers.clone());
    record.key = input.key.map(bytes::Bytes::copy_from_slice);
    let key = record.key.clone();
    let back = buslane_nats::fuzzing::round_trip(&record, &Topic::new("orders").expect("a name"));
    assert_eq!(back, (key, headers));
});
