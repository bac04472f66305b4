//! The wire format: files that were written by hand from its description, and any valid envelope,
//! survive reading and writing; new ids are unique; many threads write at once.

use crate::full;
use buslane_core::{Envelope, RawJson, Text};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    thread,
};
use time::{OffsetDateTime, UtcOffset, macros::datetime};

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..24).prop_map(String::from_iter)
}

fn not_blank() -> impl Strategy<Value = String> {
    text().prop_filter("blank", |text| !text.trim().is_empty())
}

/// Any point in time of the years 1 to 9998, in any offset of whole minutes.
fn timestamp() -> impl Strategy<Value = OffsetDateTime> {
    (-62_100_000_000_i64..253_300_000_000, 0_i64..1_000_000_000, -1439_i32..1440).prop_map(
        |(second, nano, minutes)| {
            let utc = OffsetDateTime::from_unix_timestamp(second).unwrap()
                + time::Duration::nanoseconds(nano);
            utc.to_offset(UtcOffset::from_whole_seconds(minutes * 60).unwrap())
        },
    )
}

fn payload() -> impl Strategy<Value = RawJson> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| serde_json::to_string(&value).unwrap()),
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "-?[1-9][0-9]{0,30}\\.[0-9]{1,30}[eE][+-]?[0-9]{1,2}",
    ];
    let space = "[ \t\r\n]{0,3}";
    let nested = leaf.prop_recursive(4, 32, 5, move |inner| {
        let item = (space, inner, space)
            .prop_map(|(before, value, after)| format!("{before}{value}{after}"));
        let name = (space, text())
            .prop_map(|(before, text)| before + &serde_json::to_string(&text).unwrap());
        prop_oneof![
            prop::collection::vec(item.clone(), 0..5)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name, item), 0..5).prop_map(|fields| {
                let fields: Vec<_> =
                    fields.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    });
    nested.prop_map(|text| RawJson::from_bytes(text).unwrap())
}

prop_compose! {
    fn envelope()(
        event_id in not_blank(), aggregate_id in "[A-Za-z0-9:_./-]{1,256}", event_type in not_blank(),
        event_version in 1..=i64::MAX, timestamp in timestamp(), trace_id in text(), correlation_id in text(),
        tenant_id in any::<i64>(), payload in payload(),
    ) -> Envelope {
        let mut envelope = Envelope::with_payload(aggregate_id, event_type, payload);
        envelope.event_id = event_id.into();
        envelope.event_version = event_version;
        envelope.timestamp = timestamp;
        envelope.trace_id = trace_id.into();
        envelope.correlation_id = correlation_id.into();
        envelope.tenant_id = tenant_id;
        envelope
    }
}

/// A second implementation of the format, with a plain JSON library.
fn reference(envelope: &Envelope) -> serde_json::Value {
    let mut object = serde_json::json!({
        "event_id": &*envelope.event_id,
        "aggregate_id": &*envelope.aggregate_id,
        "event_type": &*envelope.event_type,
        "event_version": envelope.event_version,
        "timestamp": envelope.timestamp.format(&time::format_description::well_known::Rfc3339).unwrap(),
        "payload": envelope.payload.parse::<serde_json::Value>().unwrap(),
    });
    for (name, text) in
        [("trace_id", &envelope.trace_id), ("correlation_id", &envelope.correlation_id)]
    {
        if !text.is_empty() {
            object[name] = (**text).into();
        }
    }
    if envelope.tenant_id != 0 {
        object["tenant_id"] = envelope.tenant_id.into();
    }
    object
}

proptest! {
    #[test]
    fn e1_any_valid_envelope_survives_the_wire(envelope in envelope()) {
        let body = envelope.encode().unwrap();
        let back = Envelope::decode(&body).unwrap();
        prop_assert_eq!(&back, &envelope);
        prop_assert_eq!(back.timestamp.offset(), envelope.timestamp.offset());
        prop_assert_eq!(back.encode().unwrap(), &body);
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), reference(&envelope));
    }

    #[test]
    fn e1_many_envelopes_share_an_arena(envelopes in prop::collection::vec(envelope(), 1..5)) {
        let mut arena = BytesMut::new();
        let alone: Vec<_> = envelopes.iter().map(|envelope| envelope.encode().unwrap()).collect();
        for envelope in &envelopes {
            envelope.encode_into(&mut arena).unwrap();
        }
        prop_assert_eq!(arena, alone.concat());
    }

    #[test]
    fn e2_no_bytes_at_all_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::decode(&Bytes::from(body));
    }

    #[test]
    fn e2_a_damaged_envelope_never_makes_it_panic(envelope in envelope(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = envelope.encode().unwrap().to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(read) = Envelope::decode(&Bytes::from(body)) {
            prop_assert!(read.validate().is_ok());
        }
    }
}

#[test]
fn e3_a_new_envelope_has_a_uuid_of_version_7() {
    let before = OffsetDateTime::now_utc() - time::Duration::MILLISECOND;
    let envelope = Envelope::new("a", "T", &1).unwrap();
    let id = uuid::Uuid::parse_str(&envelope.event_id).unwrap();
    assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
    assert_eq!(envelope.event_id, id.hyphenated().to_string(), "lower case, with hyphens");
    let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
    let stamped = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    assert!(
        stamped >= before.unix_timestamp_nanos()
            && stamped <= OffsetDateTime::now_utc().unix_timestamp_nanos()
    );
    assert_eq!((envelope.event_version, envelope.tenant_id), (1, 0));
    assert!(envelope.timestamp >= before && envelope.timestamp <= OffsetDateTime::now_utc());
}

#[test]
fn e3_ids_are_unique_and_rise_in_each_thread() {
    let make = || -> Vec<Text> {
        (0..1000).map(|_| Envelope::with_payload("a", "T", RawJson::default()).event_id).collect()
    };
    let threads: Vec<_> = (0..8).map(|_| thread::spawn(make)).collect();
    let mut all = HashSet::new();
    for ids in threads.into_iter().map(|thread| thread.join().unwrap()) {
        assert!(ids.is_sorted_by(|one, next| **one < **next), "ids rise");
        all.extend(ids);
    }
    assert_eq!(all.len(), 8000, "ids are unique");
}

#[test]
fn e1_a_hundred_threads_write_and_read_at_once() {
    let shared = full();
    let expected = shared.encode().unwrap();
    thread::scope(|scope| {
        for number in 0..100 {
            let (shared, expected) = (&shared, &expected);
            scope.spawn(move || {
                let own = Envelope::new(format!("order-{number}"), "OrderPlaced", &number).unwrap();
                for _ in 0..50 {
                    assert_eq!(shared.encode().unwrap(), expected);
                    assert_eq!(Envelope::decode(expected).unwrap(), *shared);
                    assert_eq!(Envelope::decode(&own.encode().unwrap()).unwrap(), own);
                }
            });
        }
    });
}

#[test]
fn e5_reading_shares_the_body_instead_of_copying_it() {
    let body = full().encode().unwrap();
    let envelope = Envelope::decode(&body).unwrap();
    let within = |part: &[u8]| body.as_ptr_range().contains(&part.as_ptr());
    for text in
        [&envelope.event_id, &envelope.aggregate_id, &envelope.event_type, &envelope.trace_id]
    {
        assert!(within(text.as_bytes()), "{text}");
    }
    assert!(within(envelope.payload.as_bytes()));
}

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
