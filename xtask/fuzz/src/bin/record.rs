//! Key, headers and body of a record on their way through a bus: each record is handled or given
//! up, whatever it holds, and the next one too.
#![no_main]

use buslane::{Config, Event, EventBus, Headers, Message, Record};
use buslane_core::TraceContext;
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use std::{cell::OnceCell, time::Duration};
use tokio::runtime::{Builder, Runtime};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    is_envelope: bool,
    key: Option<&'a [u8]>,
    headers: Vec<(Name<'a>, &'a [u8])>,
    /// An envelope around the payload, or any bytes.
    body: Body<'a>,
}

#[derive(Debug, Arbitrary)]
enum Name<'a> {
    Known(u8),
    Any(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
enum Body<'a> {
    Envelope { aggregate: &'a str, event_type: &'a str },
    Any(&'a [u8]),
}

/// Names with a meaning.
const KNOWN: [&str; 12] = [
    "X-Aggregate-ID",
    "x-aggregate-id",
    "aggregateID",
    "X-Event-ID",
    "X-Event-Version",
    "X-Raw-Headers",
    "X-Original-Topic",
    "X-Original-Partition",
    "X-Original-Offset",
    "X-Attempts",
    "traceparent",
    "tracestate",
];

/// The deadline of one record, far above what a busy machine needs.
const DEADLINE: Duration = Duration::from_secs(20);

struct Rig {
    runtime: Runtime,
    bus: EventBus,
}

impl Rig {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let bus = runtime.block_on(async {
            let bus = EventBus::connect(Config::default()).await.expect("a bus in memory");
            let envelopes = bus.subscription("envelopes").dead_letter("dead");
            envelopes.envelopes(async |_: Event| {}).await.expect("subscribed");
            bus.subscribe("messages", async |_: Message| {}).await.expect("subscribed");
            bus.subscribe("dead", async |_: Message| {}).await.expect("subscribed");
            bus
        });
        Self { runtime, bus }
    }
}

thread_local! {
    static RIG: OnceCell<Rig> = const { OnceCell::new() };
}

fuzz_target!(|input: Input<'_>| {
    let names = input.headers.iter().map(|(name, value)| {
        let name = match name {
            Name::Known(at) => KNOWN[usize::from(*at) % KNOWN.len()].as_bytes(),
            Name::Any(name) => name,
        };
        (name, *value)
    });
    let headers: Headers = buslane_kafka::fuzzing::headers(names);
    if let Some(context) = TraceContext::of(&headers) {
        assert!(context.state().len() <= 512);
    }
    let body = match input.body {
        Body::Any(body) => body.to_vec(),
        Body::Envelope { aggregate, event_type } => {
            let text = |text: &str| serde_json::to_string(text).expect("a text is JSON");
            format!(
                r#"{{"event_id":"e","aggregate_id":{},"event_type":{},"event_version":1,"timestamp":"2026-01-01T00:00:00Z","payload":{{}}}}"#,
                text(aggregate),
                text(event_type)
            )
            .into_bytes()
        }
    };
    let mut record = Record::new(body).with_headers(headers);
    record.key = input.key.map(bytes::Bytes::copy_from_slice);
    let topic = if input.is_envelope { "envelopes" } else { "messages" };
    RIG.with(|rig| {
        let Rig { runtime, bus } = rig.get_or_init(Rig::new);
        runtime.block_on(async {
            // The bus refuses what no broker would take.
            if bus.publish(topic, record).await.is_ok() {
                let drained = bus.drained(DEADLINE).await.expect("the bus is open");
                assert!(drained.is_complete(), "{drained:?}");
            }
        });
    });
});
