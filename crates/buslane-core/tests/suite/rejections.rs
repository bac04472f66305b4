//! Each rule of the envelope format, on writing and on reading. The error names the field.

use crate::full;
use buslane_core::{AggregateIdError, Envelope, EnvelopeError, RawJson};
use bytes::{Bytes, BytesMut};
use time::macros::datetime;

/// JSON of an envelope in which `field` is replaced by `text`, or left out when `text` is empty.
fn with(field: &str, text: &str) -> Bytes {
    let mut body = String::from("{");
    for (name, value) in [
        ("event_id", "\"e-1\""),
        ("aggregate_id", "\"order-42\""),
        ("event_type", "\"T\""),
        ("event_version", "1"),
        ("timestamp", "\"2024-05-09T16:32:01Z\""),
        ("trace_id", "\"t\""),
        ("correlation_id", "\"c\""),
        ("tenant_id", "7"),
        ("payload", "{\"a\":1}"),
    ] {
        let value = if name == field { text } else { value };
        if !value.is_empty() {
            let comma = if body.len() > 1 { "," } else { "" };
            body += &format!("{comma}\"{name}\":{value}");
        }
    }
    Bytes::from(body + "}")
}

type Change = fn(&mut Envelope);

#[test]
fn e2_each_rule_is_checked_on_writing_and_on_reading() {
    let too_long = || "a".repeat(257);
    let quoted = |text: &str| format!("\"{text}\"");
    let character =
        |byte, index| EnvelopeError::AggregateId(AggregateIdError::Character { byte, index });
    let blank_id = EnvelopeError::AggregateId(AggregateIdError::Blank);
    let table: Vec<(&str, String, Change, EnvelopeError, &str)> = vec![
        (
            "event_id",
            String::new(),
            |e| e.event_id = "".into(),
            EnvelopeError::EventIdRequired,
            "event_id is required",
        ),
        (
            "event_id",
            quoted(" \\t "),
            |e| e.event_id = " \t ".into(),
            EnvelopeError::EventIdRequired,
            "event_id is required",
        ),
        (
            "event_id",
            quoted("\u{a0}"),
            |e| e.event_id = "\u{a0}".into(),
            EnvelopeError::EventIdRequired,
            "event_id is required",
        ),
        (
            "event_type",
            String::new(),
            |e| e.event_type = "".into(),
            EnvelopeError::EventTypeRequired,
            "event_type is required",
        ),
        (
            "event_type",
            quoted("\\n"),
            |e| e.event_type = "\n".into(),
            EnvelopeError::EventTypeRequired,
            "event_type is required",
        ),
        (
            "event_version",
            String::new(),
            |e| e.event_version = 0,
            EnvelopeError::EventVersion { found: 0 },
            "event_version must be positive, found 0",
        ),
        (
            "event_version",
            "-3".into(),
            |e| e.event_version = -3,
            EnvelopeError::EventVersion { found: -3 },
            "event_version must be positive, found -3",
        ),
        (
            "payload",
            String::new(),
            |e| e.payload = RawJson::default(),
            EnvelopeError::PayloadRequired,
            "payload is required",
        ),
        (
            "aggregate_id",
            String::new(),
            |e| e.aggregate_id = "".into(),
            blank_id.clone(),
            "aggregate_id is required",
        ),
        (
            "aggregate_id",
            quoted("  "),
            |e| e.aggregate_id = "  ".into(),
            blank_id.clone(),
            "aggregate_id is required",
        ),
        (
            "aggregate_id",
            quoted("\u{a0}"),
            |e| e.aggregate_id = "\u{a0}".into(),
            blank_id,
            "aggregate_id is required",
        ),
        (
            "aggregate_id",
            quoted(&too_long()),
            |e| e.aggregate_id = "a".repeat(257).into(),
            EnvelopeError::AggregateId(AggregateIdError::TooLong { length: 257 }),
            "invalid aggregate_id: 257 bytes, at most 256 are allowed",
        ),
        (
            "aggregate_id",
            quoted("order 42"),
            |e| e.aggregate_id = "order 42".into(),
            character(b' ', 5),
            "invalid aggregate_id: byte 0x20 at index 5, allowed are A-Z a-z 0-9 : _ - . /",
        ),
        (
            "aggregate_id",
            quoted("é"),
            |e| e.aggregate_id = "é".into(),
            character(0xc3, 0),
            "invalid aggregate_id: byte 0xc3",
        ),
        (
            "aggregate_id",
            quoted("a\\u0000"),
            |e| e.aggregate_id = "a\0".into(),
            character(0, 1),
            "invalid aggregate_id: byte 0x00",
        ),
        (
            "aggregate_id",
            quoted("a*"),
            |e| e.aggregate_id = "a*".into(),
            character(b'*', 1),
            "invalid aggregate_id: byte 0x2a",
        ),
        (
            "aggregate_id",
            quoted("a,b"),
            |e| e.aggregate_id = "a,b".into(),
            character(b',', 1),
            "invalid aggregate_id: byte 0x2c",
        ),
        (
            "aggregate_id",
            quoted("a\\\\b"),
            |e| e.aggregate_id = "a\\b".into(),
            character(b'\\', 1),
            "invalid aggregate_id: byte 0x5c",
        ),
        (
            "aggregate_id",
            quoted("a\\n"),
            |e| e.aggregate_id = "a\n".into(),
            character(b'\n', 1),
            "invalid aggregate_id: byte 0x0a",
        ),
    ];
    for (field, text, change, expected, says) in table {
        let on_reading = Envelope::decode(&with(field, &text)).unwrap_err();
        assert_eq!(on_reading, expected, "{field} = {text}");
        let mut envelope = full();
        change(&mut envelope);
        assert_eq!(envelope.encode().unwrap_err(), expected, "{field} = {text}");
        assert_eq!(envelope.validate().unwrap_err(), expected, "{field} = {text}");
        assert!(expected.to_string().starts_with(says) && says.contains(field), "{expected}");
    }
    assert!(Envelope::decode(&with("aggregate_id", &quoted(&"a".repeat(256)))).is_ok());
    assert!(Envelope::decode(&with("", "")).is_ok());
}

#[test]
fn e2_wrong_types_are_refused_and_name_the_field() {
    for (field, values) in [
        ("event_id", &["5", "null", "true", "[]", "{}", "\"\\ud800\""][..]),
        ("aggregate_id", &["42", "null", "[\"a\"]"]),
        ("event_type", &["1", "null", "{}"]),
        ("event_version", &["\"1\"", "1.0", "1e0", "null", "true", "9223372036854775808", "[1]"]),
        ("timestamp", &["1715272321", "null", "{}"]),
        ("trace_id", &["1", "null"]),
        ("correlation_id", &["false", "null"]),
        ("tenant_id", &["\"7\"", "7.5", "null", "18446744073709551616"]),
    ] {
        for value in values {
            let error = Envelope::decode(&with(field, value)).unwrap_err();
            assert!(
                matches!(error, EnvelopeError::NotAnEnvelope { .. }),
                "{field} = {value}: {error:?}"
            );
            assert!(
                error.to_string().starts_with(&format!("not an envelope: {field}: ")),
                "{field} = {value}: {error}"
            );
        }
    }
}

#[test]
fn e2_bodies_that_are_no_json_object_are_refused() {
    let whole = with("", "");
    for body in [
        &b""[..],
        b" ",
        b"null",
        b"5",
        b"\"text\"",
        b"hello",
        b"{",
        b"{}x",
        b"<xml/>",
        b"\0",
        b"{'event_id':1}",
    ] {
        let error = Envelope::decode(&Bytes::copy_from_slice(body)).unwrap_err();
        assert!(matches!(error, EnvelopeError::NotAnEnvelope { .. }), "{body:?}: {error:?}");
    }
    for length in 0..whole.len() {
        let error = Envelope::decode(&whole.slice(..length)).unwrap_err();
        assert!(matches!(error, EnvelopeError::NotAnEnvelope { .. }), "{length}: {error:?}");
    }
    let error = Envelope::decode(&Bytes::from([&whole[..], b"{}"].concat())).unwrap_err();
    assert!(error.to_string().contains("trailing characters"), "{error}");
    assert_eq!(Envelope::decode(&Bytes::from("{}")).unwrap_err(), EnvelopeError::EventIdRequired);
}

#[test]
fn e2_arrays_are_no_envelopes() {
    let list = br#"["e-1","order-42","T",1,"2024-05-09T16:32:01Z","","",0,{}]"#;
    let error = Envelope::decode(&Bytes::from_static(list)).unwrap_err();
    assert!(matches!(error, EnvelopeError::NotAnEnvelope { .. }), "{error:?}");
}

#[test]
fn e2_invalid_utf8_is_refused_in_every_field() {
    for field in [
        "event_id",
        "aggregate_id",
        "event_type",
        "timestamp",
        "trace_id",
        "correlation_id",
        "payload",
    ] {
        let mut body = with(field, "\"?\"").to_vec();
        let at = body.windows(3).position(|part| part == b"\"?\"").unwrap();
        body[at + 1] = 0xff;
        let error = Envelope::decode(&Bytes::from(body)).unwrap_err();
        assert!(matches!(error, EnvelopeError::NotAnEnvelope { .. }), "{field}: {error:?}");
    }
}

#[test]
fn e2_a_field_that_stands_twice_is_refused() {
    for field in ["event_id", "aggregate_id", "event_version", "payload"] {
        let whole = with("", "");
        let twice =
            format!("{},\"{field}\":1}}", std::str::from_utf8(&whole[..whole.len() - 1]).unwrap());
        let error = Envelope::decode(&Bytes::from(twice)).unwrap_err().to_string();
        assert!(error.contains(&format!("duplicate field `{field}`")), "{error}");
    }
}

#[test]
fn e2_timestamps_that_are_not_rfc3339_are_refused() {
    for text in [
        "",
        "now",
        "2024-05-09",
        "2024-05-09T16:32:01",
        "2024-13-09T16:32:01Z",
        "2024-02-30T00:00:00Z",
        "2024-05-09T25:00:00Z",
        "10000-01-01T00:00:00Z",
        "2024-05-09T16:32:01+0200",
    ] {
        let error = Envelope::decode(&with("timestamp", &format!("\"{text}\""))).unwrap_err();
        assert!(matches!(error, EnvelopeError::Timestamp { .. }), "{text}: {error:?}");
        assert!(
            error
                .to_string()
                .starts_with("timestamp must be RFC 3339 within the years 0 to 9999: "),
            "{error}"
        );
    }
    let mut envelope = full();
    for bad in [
        datetime!(-0001-12-31 23:59:59 UTC),
        datetime!(-9999-01-01 0:00 UTC),
        datetime!(2024-05-09 16:32:01 +02:00:30),
    ] {
        envelope.timestamp = bad;
        let mut arena = BytesMut::from(&b"kept"[..]);
        let error = envelope.encode_into(&mut arena).unwrap_err();
        assert!(matches!(error, EnvelopeError::Timestamp { .. }), "{bad}: {error:?}");
        assert_eq!(arena, b"kept"[..], "an arena is as before after an error");
    }
}

#[test]
fn e2_payloads_are_checked_when_they_are_made() {
    assert_eq!(RawJson::from_bytes("").unwrap_err(), EnvelopeError::PayloadRequired);
    for text in [&b" "[..], b"{", b"{} {}", b"nul", b"'a'", b"\"\xff\"", b"01", b"[1,]"] {
        let error = RawJson::from_bytes(text.to_vec()).unwrap_err();
        assert!(matches!(error, EnvelopeError::PayloadNotJson { .. }), "{text:?}: {error:?}");
        assert!(error.to_string().starts_with("payload must be JSON: "), "{error}");
    }
    let no_form = std::collections::BTreeMap::from([(vec![1], 1)]);
    assert!(matches!(RawJson::encode(&no_form).unwrap_err(), EnvelopeError::PayloadNotJson { .. }));
    assert_eq!(RawJson::from_bytes("7").unwrap().parse::<u8>().unwrap(), 7);
}

/// A payload that is nested deeper than any stack is carried: it is never parsed on the way.
#[test]
fn e2_deep_payloads_do_not_overflow_the_stack() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let body = with("payload", &deep);
    let envelope = Envelope::decode(&body).unwrap();
    assert_eq!(envelope.payload.as_bytes(), &deep);
    assert!(envelope.payload.parse::<serde_json::Value>().is_err());
    assert!(Envelope::decode(&with("unknown", "")).is_ok());
}
