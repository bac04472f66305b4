//! Heap allocations, counted. A binary of its own: the counter replaces the allocator.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use allocation_counter::measure;
use buslane_core::{
    AttemptSlot, Envelope, Job, Kind, Message, RawJson, Record, Settlement, Step, Topic, erase,
};
use bytes::{Bytes, BytesMut};
use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

fn allocations(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

fn poll(slot: &mut AttemptSlot) {
    let step = slot.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(step, Poll::Ready(Step::Done(_))));
}

fn envelope() -> Envelope {
    let mut envelope = Envelope::with_payload(
        "order-42",
        "OrderPlaced",
        RawJson::from_bytes(r#"{"a":1}"#).unwrap(),
    );
    envelope.trace_id = "trace".into();
    envelope.tenant_id = 7;
    envelope
}

#[test]
fn an_attempt_reuses_the_memory_of_the_last_one() {
    let mut slot = AttemptSlot::new();
    assert_eq!(allocations(|| drop(AttemptSlot::new())), 0);
    let handlers = [
        erase(Kind::Envelope, async |_: Message| {}),
        erase(Kind::Regular, async |message: Message| {
            let _body = [message.payload.len(); 64];
            std::future::ready(()).await;
        }),
    ];
    let mut job =
        Job::new(1, Message::new(Topic::new("orders").unwrap(), "body"), Settlement::ignored());
    for handler in &handlers {
        handler.start(&mut job, &mut slot);
        poll(&mut slot);
    }
    let counted = allocations(|| {
        for _ in 0..1000 {
            for handler in &handlers {
                handler.start(&mut job, &mut slot);
                poll(&mut slot);
            }
        }
    });
    assert_eq!(counted, 0);
    // After a rest the handler is held anew, in memory of its own.
    let counted = allocations(|| {
        slot.rest();
        handlers[0].start(&mut job, &mut slot);
        poll(&mut slot);
    });
    assert_eq!(counted, 2);
}

#[test]
fn t5_a_slot_at_rest_keeps_next_to_nothing() {
    let mut slot = AttemptSlot::new();
    let handler = erase(Kind::Envelope, async |message: Message| {
        let body = [message.payload.len(); 512];
        std::future::ready(()).await;
        std::hint::black_box(body);
    });
    let mut job =
        Job::new(1, Message::new(Topic::new("orders").unwrap(), "body"), Settlement::ignored());
    let mut kept_after = |rests: bool| {
        let used = measure(|| {
            handler.start(&mut job, &mut slot);
            poll(&mut slot);
            if rests {
                slot.rest();
            }
        });
        used.bytes_current
    };
    assert!(kept_after(false) > 4_096);
    assert!(kept_after(true) < -4_096);
}

#[test]
fn a_cancelled_attempt_leaves_its_memory_to_the_next() {
    let mut slot = AttemptSlot::new();
    let handler = Arc::new(());
    let start = |slot: &mut AttemptSlot| slot.start(&handler, (), |_, ()| std::future::pending());
    start(&mut slot);
    let counted = allocations(|| {
        for _ in 0..100 {
            slot.clear();
            start(&mut slot);
            assert!(slot.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    });
    assert_eq!(counted, 0);
}

#[test]
fn e5_reading_an_envelope_copies_nothing() {
    let body = Bytes::copy_from_slice(&envelope().encode().unwrap());
    let _shared = body.clone();
    let counted = allocations(|| {
        for _ in 0..100 {
            assert_eq!(Envelope::decode(&body).unwrap().aggregate_id, "order-42");
        }
    });
    assert_eq!(counted, 0);
}

#[test]
fn e1_writing_into_an_arena_allocates_nothing() {
    let (envelope, mut arena) = (envelope(), BytesMut::with_capacity(64 * 1024));
    let counted = allocations(|| {
        for _ in 0..100 {
            envelope.encode_into(&mut arena).unwrap();
        }
    });
    assert_eq!(counted, 0);
    // The buffer, and the count of those that share it.
    assert_eq!(allocations(|| drop(envelope.encode().unwrap())), 2);
}

#[test]
fn e4_records_share_allocations() {
    let (envelope, mut arena) = (envelope(), BytesMut::new());
    let mut records = Vec::with_capacity(1000);
    let counted = allocations(|| {
        for _ in 0..1000 {
            records.push(Record::from_envelope(&envelope, &mut arena).unwrap());
        }
    });
    assert!(counted <= 250, "{counted} allocations for 1000 records");
}
