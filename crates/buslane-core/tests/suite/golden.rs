//! The wire format, held against files that were written by hand from its description.

use buslane_core::Envelope;
use bytes::Bytes;
use std::{collections::BTreeSet, path::PathBuf};
use time::macros::datetime;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden(name: &str) -> (Bytes, Envelope) {
    let body = Bytes::from(std::fs::read(folder().join(name).with_extension("json")).unwrap());
    let envelope = Envelope::decode(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
    (body, envelope)
}

#[test]
fn e1_golden_files_are_written_as_they_are_read() {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let (body, envelope) = golden(&name);
        assert_eq!(envelope.encode().unwrap(), body, "{name}");
        seen.insert(name);
    }
    assert_eq!(seen.len(), 18, "every golden file is read: {seen:?}");
}

#[test]
fn e1_golden_full() {
    let (_, envelope) = golden("full");
    assert_eq!(envelope.event_id, "018f5e3a-7c1d-7b3e-9f00-5a1b2c3d4e5f");
    assert_eq!(envelope.aggregate_id, "order-42");
    assert_eq!(envelope.event_type, "OrderPlaced");
    assert_eq!(envelope.event_version, 3);
    assert_eq!(envelope.timestamp, datetime!(2024-05-09 16:32:01.123456789 UTC));
    assert_eq!(envelope.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(envelope.correlation_id, "checkout-7");
    assert_eq!(envelope.tenant_id, 12);
    assert_eq!(
        envelope.payload.as_bytes(),
        r#"{"sku":"A-7","amount":12.50,"tags":["new","gift"]}"#
    );
}

#[test]
fn e1_golden_minimal_leaves_optional_fields_empty() {
    let (body, envelope) = golden("minimal");
    assert_eq!(
        (envelope.trace_id.len(), envelope.correlation_id.len(), envelope.tenant_id),
        (0, 0, 0)
    );
    for name in ["trace_id", "correlation_id", "tenant_id"] {
        assert!(!String::from_utf8_lossy(&body).contains(name));
    }
}

#[test]
fn e1_golden_timestamps() {
    for (name, expected) in [
        ("nanoseconds_one_digit", datetime!(2024-05-09 16:32:01.5 UTC)),
        ("nanoseconds_milliseconds", datetime!(2024-05-09 16:32:01.12 UTC)),
        ("nanoseconds_leading_zeros", datetime!(2024-05-09 16:32:01.00000001 UTC)),
        ("offset_east", datetime!(2024-05-09 18:32:01.25 +02:00)),
        ("offset_west", datetime!(2024-05-09 13:02:01 -03:30)),
        ("zero_time", datetime!(0001-01-01 0:00 UTC)),
        ("largest_numbers", datetime!(9999-12-31 23:59:59.999999999 UTC)),
    ] {
        let (_, envelope) = golden(name);
        assert_eq!(envelope.timestamp, expected, "{name}");
        assert_eq!(envelope.timestamp.offset(), expected.offset(), "{name}");
    }
    assert_eq!(golden("offset_east").1.timestamp, datetime!(2024-05-09 16:32:01.25 UTC));
}

#[test]
fn e1_golden_texts() {
    let (_, envelope) = golden("escapes");
    assert_eq!(envelope.event_type, "say \"hi\" \\ a/b\n\r\t\u{1}\u{1f}");
    assert_eq!((&*envelope.trace_id, &*envelope.correlation_id), ("\\", "\""));
    let (_, envelope) = golden("unicode");
    assert_eq!(envelope.event_type, "Bestellung geändert ✓ 𝄞 注文");
    assert_eq!((&*envelope.event_id, &*envelope.trace_id), ("ereignis-ä", "é"));
    assert_eq!(golden("aggregate_id_characters").1.aggregate_id, "AZaz09:_-./");
    let (_, envelope) = golden("largest_numbers");
    assert_eq!((envelope.event_version, envelope.tenant_id), (i64::MAX, i64::MIN));
}

#[test]
fn e1_golden_payloads_are_kept_byte_for_byte() {
    for (name, expected) in [
        (
            "payload_spacing",
            "{ \"b\" :  1 ,\n\t\"a\":[ 1,2 ,3 ]  , \"b\" : 2 , \"n\":1.0e+2,\"z\":-0 }",
        ),
        ("payload_escapes", r#"{"html":"\u003cb\u003e \/ \u00e9 \ud834\udd1e","raw":"<b> / é"}"#),
        ("payload_text", r#""{\"not\":\"an object\"}""#),
        ("payload_number", "123456789012345678901234567890.10"),
        ("payload_array", "[ ]"),
        ("payload_null", "null"),
    ] {
        assert_eq!(golden(name).1.payload.as_bytes(), expected, "{name}");
    }
}

/// Other writers choose other escapes, another order and more fields; all of it is read.
#[test]
fn e1_other_spellings_of_an_envelope_are_read() {
    let (_, minimal) = golden("minimal");
    for body in [
        // Escapes that are not needed, and those that Go writes for HTML.
        r#"{"event_id":"\u0065-1","aggregate_id":"\u0061","event_type":"\u0054","event_version":1,"timestamp":"2024-05-09T16:32:01\u005a","payload":{}}"#,
        // Another order, space between tokens and around the object.
        " {\n \"payload\" : {} , \"timestamp\" : \"2024-05-09T16:32:01Z\",\t\"event_version\":1,\"event_type\":\"T\",\"aggregate_id\":\"a\",\"event_id\":\"e-1\"}\r\n ",
        // Unknown fields of any kind, also twice.
        r#"{"x":null,"event_id":"e-1","aggregate_id":"a","y":{"event_id":"z"},"event_type":"T","event_version":1,"x":[1,{}],"timestamp":"2024-05-09T16:32:01Z","payload":{},"Event_ID":7}"#,
        // Optional fields that are present and empty.
        r#"{"event_id":"e-1","aggregate_id":"a","event_type":"T","event_version":1,"timestamp":"2024-05-09T16:32:01Z","trace_id":"","correlation_id":"","tenant_id":0,"payload":{}}"#,
        // Fractions with trailing zeros.
        r#"{"event_id":"e-1","aggregate_id":"a","event_type":"T","event_version":1,"timestamp":"2024-05-09T16:32:01.000000000Z","payload":{}}"#,
    ] {
        let envelope =
            Envelope::decode(&Bytes::from(body)).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(envelope, minimal, "{body}");
        assert_eq!(envelope.encode().unwrap(), minimal.encode().unwrap());
    }
    let html = r#"{"event_id":"e-1","aggregate_id":"a","event_type":"\u003ca\u0026b\u003e\u2028\b\f","event_version":1,"timestamp":"2024-05-09T16:32:01Z","payload":{}}"#;
    assert_eq!(Envelope::decode(&Bytes::from(html)).unwrap().event_type, "<a&b>\u{2028}\u{8}\u{c}");
}

#[test]
fn e1_a_missing_timestamp_reads_as_the_zero_time() {
    let body = Bytes::from(
        r#"{"event_id":"e-1","aggregate_id":"a","event_type":"T","event_version":1,"payload":{}}"#,
    );
    let envelope = Envelope::decode(&body).unwrap();
    assert_eq!(envelope.timestamp, datetime!(0001-01-01 0:00 UTC));
    assert_eq!(envelope.encode().unwrap(), golden("zero_time").0);
}
