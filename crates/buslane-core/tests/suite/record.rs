//! The record of an envelope: key, headers and body.

use crate::full;
use buslane_core::{Envelope, EnvelopeError, Headers, RawJson, Record, broker::header};
use bytes::BytesMut;

fn headers(record: &Record) -> Vec<(&str, &str)> {
    record.headers.iter().map(|(name, value)| (name, std::str::from_utf8(value).unwrap())).collect()
}

#[test]
fn e4_record_of_a_full_envelope() {
    let envelope = full();
    let record = Record::from_envelope(&envelope, &mut BytesMut::new()).unwrap();
    assert_eq!(record.key.as_deref(), Some(&b"order-42"[..]));
    assert_eq!(record.payload, envelope.encode().unwrap());
    assert_eq!(
        headers(&record),
        [
            ("X-Event-ID", "e-1"),
            ("X-Aggregate-ID", "order-42"),
            ("X-Event-Version", "3"),
            ("X-Event-Type", "OrderPlaced"),
            ("X-Trace-ID", "trace"),
            ("X-Correlation-ID", "correlation"),
            ("X-Tenant-ID", "12"),
        ]
    );
    assert_eq!(record.bytes(), record.payload.len() + record.headers.bytes() + 8);
}

#[test]
fn e4_headers_of_optional_fields_stand_only_when_set() {
    let base = [
        ("X-Event-ID", "e-1"),
        ("X-Aggregate-ID", "a"),
        ("X-Event-Version", "1"),
        ("X-Event-Type", "T"),
    ];
    let mut arena = BytesMut::new();
    for (trace, correlation, tenant) in
        [("", "", 0), ("t", "", 0), ("", "c", 0), ("", "", -5), ("t", "c", i64::MAX)]
    {
        let mut envelope = Envelope::with_payload("a", "T", RawJson::from_bytes("1").unwrap());
        envelope.event_id = "e-1".into();
        envelope.trace_id = trace.into();
        envelope.correlation_id = correlation.into();
        envelope.tenant_id = tenant;
        let tenant_text = tenant.to_string();
        let mut expected = base.to_vec();
        expected.extend((!trace.is_empty()).then_some(("X-Trace-ID", trace)));
        expected.extend((!correlation.is_empty()).then_some(("X-Correlation-ID", correlation)));
        expected.extend((tenant != 0).then_some(("X-Tenant-ID", &*tenant_text)));
        let record = Record::from_envelope(&envelope, &mut arena).unwrap();
        assert_eq!(headers(&record), expected);
    }
}

fn numbered(number: usize) -> Envelope {
    let payload = RawJson::encode(&"x".repeat(number % 700)).unwrap();
    let mut envelope = Envelope::with_payload(format!("order-{number}"), "OrderPlaced", payload);
    if number.is_multiple_of(3) {
        envelope.trace_id = format!("trace-{number}").into();
    }
    envelope
}

#[test]
fn e4_records_of_one_arena_do_not_overlap() {
    let mut arena = BytesMut::new();
    let envelopes: Vec<_> = (0..500).map(numbered).collect();
    let records: Vec<_> = envelopes
        .iter()
        .map(|envelope| Record::from_envelope(envelope, &mut arena).unwrap())
        .collect();
    for (envelope, record) in envelopes.iter().zip(&records) {
        assert_eq!(record.key.as_deref(), Some(&envelope.aggregate_id.as_bytes()[..]));
        assert_eq!(
            record.headers.get(header::AGGREGATE_ID),
            Some(&envelope.aggregate_id.as_bytes()[..])
        );
        assert_eq!(record.headers.get(header::EVENT_ID), Some(&envelope.event_id.as_bytes()[..]));
        assert_eq!(Envelope::decode(&record.payload).unwrap(), *envelope);
    }
}

#[test]
fn e4_an_arena_is_usable_after_an_error() {
    let mut arena = BytesMut::new();
    let first = Record::from_envelope(&full(), &mut arena).unwrap();
    for change in [(|envelope| envelope.event_version = 0) as fn(&mut Envelope), |envelope| {
        envelope.timestamp = time::macros::datetime!(-0044-03-15 12:00 UTC)
    }] {
        let mut bad = full();
        change(&mut bad);
        assert!(Record::from_envelope(&bad, &mut arena).is_err());
        let next = Record::from_envelope(&full(), &mut arena).unwrap();
        assert_eq!(next.headers, first.headers);
        assert_eq!(Envelope::decode(&next.payload).unwrap().event_id, "e-1");
    }
    let bad = Envelope::with_payload("a b", "T", RawJson::from_bytes("1").unwrap());
    assert!(matches!(Record::from_envelope(&bad, &mut arena), Err(EnvelopeError::AggregateId(_))));
}

/// Bytes that stand in the arena beforehand never become part of a record.
#[test]
fn e4_an_arena_may_hold_bytes_already() {
    for capacity in [0, 64 * 1024] {
        let mut arena = BytesMut::with_capacity(capacity);
        arena.extend_from_slice(b"left over");
        let record = Record::from_envelope(&full(), &mut arena).unwrap();
        assert_eq!(Envelope::decode(&record.payload).unwrap().event_id, "e-1", "{capacity}");
        assert_eq!(headers(&record).len(), 7);
    }
}

#[test]
fn e4_large_and_small_envelopes_share_an_arena() {
    let mut arena = BytesMut::new();
    for size in [1, 100_000, 10, 5_000, 1] {
        let envelope = Envelope::new("a", "T", &"x".repeat(size)).unwrap();
        let record = Record::from_envelope(&envelope, &mut arena).unwrap();
        assert_eq!(Envelope::decode(&record.payload).unwrap(), envelope);
    }
}

#[test]
fn e4_a_plain_record() {
    let headers: Headers = [("a", &b"1"[..])].into_iter().collect();
    let record = Record::new("body").with_key("key").with_headers(headers.clone());
    assert_eq!((record.key.as_deref(), &record.payload[..]), (Some(&b"key"[..]), &b"body"[..]));
    assert_eq!(record.bytes(), 4 + 3 + headers.bytes());
    assert_eq!(Record::new("body").key, None);
}
