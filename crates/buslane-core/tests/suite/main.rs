//! The contracts of the core: envelope format and rules, records, handlers, attempts.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod handler;
mod record;
mod rejections;
mod slot;
mod wire_format;

use buslane_core::{Envelope, RawJson};
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// An envelope with every field set.
fn full() -> Envelope {
    let mut envelope = Envelope::with_payload(
        "order-42",
        "OrderPlaced",
        RawJson::from_bytes(r#"{"sku":"A-7"}"#).unwrap(),
    );
    envelope.event_id = "e-1".into();
    envelope.event_version = 3;
    envelope.trace_id = "trace".into();
    envelope.correlation_id = "correlation".into();
    envelope.tenant_id = 12;
    envelope
}

/// Polls a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}
