//! The envelope's wire format beside `serde_json` alone on the same bytes.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use buslane_core::{Envelope, Record};
use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use std::hint::black_box;

fn codec(criterion: &mut Criterion) {
    let payload = json!({ "total": 1990, "currency": "EUR", "sku": "sku-7" });
    let envelope = Envelope::new("order-42", "OrderPlaced", &payload).expect("the payload is JSON");
    let body = envelope.encode().expect("the envelope is valid");
    let value: Value = serde_json::from_slice(&body).expect("an envelope is JSON");
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode", |bencher| bencher.iter(|| Envelope::decode(black_box(&body))));
    group.bench_function("serde_json to a value", |bencher| {
        bencher.iter(|| serde_json::from_slice::<Value>(black_box(&body)));
    });
    let mut arena = BytesMut::new();
    group.bench_function("record with headers", |bencher| {
        bencher.iter(|| Record::from_envelope(black_box(&envelope), &mut arena));
    });
    group.bench_function("serde_json from a value", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&value)))
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
