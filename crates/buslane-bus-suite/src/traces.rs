//! Trace contexts pass from end to end, and each delivery has a span while spans are enabled.
//! SPEC: O5

use super::{BusHarness, Seen, SpanSeen, envelope, fails, notes_events, now, publish};
use buslane::{
    EventBus,
    trace::{self, TraceContext, Tracer},
};
use buslane_core::{Event, Headers, Message, Record, Topic, broker::header};
use buslane_testkit::deadline::until;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tracing::Span;

fn context(number: u64) -> TraceContext {
    let context =
        TraceContext::new(u128::from(number) << 64 | 7, number, true).expect("ids are not zero");
    context.with_state(format!("vendor={number},other=x")).expect("printable")
}

fn context_of(message: &Message) -> Option<TraceContext> {
    TraceContext::of(&message.headers)
}

/// The values of both trace headers on the wire.
fn headers_of(message: &Message) -> [Vec<&[u8]>; 2] {
    let values = |wanted: &str| {
        message.headers.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| value).collect()
    };
    [values(header::TRACEPARENT), values(header::TRACESTATE)]
}

/// A handler that publishes to `next`: a record, two records in a batch, and an envelope.
fn passes_on(
    bus: &EventBus,
    next: &Topic,
) -> impl Fn(Event) -> buslane_core::BoxFuture<'static, ()> + Send + Sync + 'static {
    let (bus, next) = (bus.clone(), next.clone());
    move |event: Event| {
        let (bus, next) = (bus.clone(), next.clone());
        Box::pin(async move {
            assert_eq!(trace::current(), context_of(&event.message));
            let records = vec![Record::new("1"), Record::new("2").with_trace(&context(99))];
            bus.publish(&next, "0").await.expect("published");
            for receipt in bus.publish_batch(&next, records).await.expect("the bus is open") {
                receipt.expect("stored");
            }
            bus.publish_envelope(&next, envelope(&event.aggregate_id, 3)).await.expect("published");
        })
    }
}

/// Records, batches and envelopes continue the trace of the handler's message; a record with its
/// own trace keeps it. Without a trace, no header is written.
pub async fn o5_a_publish_in_a_handler_continues_the_trace(harness: BusHarness) {
    let (first, next) = (harness.topic("first"), harness.topic("next"));
    let bus = harness.bus("g").await;
    bus.subscribe_envelopes(&first, passes_on(&bus, &next)).await.expect("subscribes");
    let given = context(1);
    trace::scope(given.clone(), bus.publish_envelope(&first, envelope("a", 1)))
        .await
        .expect("published");
    let traced = harness.audit(&next, 4).await;
    let (own, others): (Vec<_>, Vec<_>) = traced.iter().partition(|message| message.payload == "2");
    assert_eq!(
        own.iter().map(|message| context_of(message)).collect::<Vec<_>>(),
        [Some(context(99))]
    );
    assert_eq!(others.len(), 3);
    for message in others {
        assert_eq!(
            headers_of(message),
            [vec![given.to_string().as_bytes()], vec![&b"vendor=1,other=x"[..]]]
        );
    }

    bus.publish_envelope(&first, envelope("b", 2)).await.expect("published");
    let untraced = harness.audit(&next, 4).await;
    let contexts: Vec<_> = untraced.iter().filter_map(context_of).collect();
    assert_eq!(contexts, [context(99)]);
    harness.settled("g", &[&first]).await;
    harness.end_clean(&bus).await;
}

/// Outside of handlers, the caller sets the trace for all publishes of a future, or for one record.
pub async fn o5_a_scope_and_a_record_name_their_trace(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    assert_eq!(trace::current(), None);
    let inner = async {
        assert_eq!(trace::current(), Some(context(2)));
        trace::scope(context(3), bus.publish(&topic, Record::new("inner")))
            .await
            .expect("published");
        bus.publish(&topic, Record::new("outer")).await.expect("published");
        bus.publish(&topic, Record::new("own").with_trace(&context(4))).await.expect("published");
        let by_hand = Headers::from_iter([("Traceparent", context(5).to_string().as_bytes())]);
        bus.publish(&topic, Record::new("by hand").with_headers(by_hand)).await.expect("published");
        // A spawned task does not inherit the trace.
        let (spawned, into) = (bus.clone(), topic.clone());
        let publish = async move { spawned.publish(&into, Record::new("spawned")).await };
        tokio::spawn(publish).await.expect("it ends").expect("published");
    };
    trace::scope(context(2), inner).await;
    let begun = TraceContext::begin();
    bus.publish(&topic, Record::new("begun").with_trace(&begun)).await.expect("published");
    let messages = harness.audit(&topic, 6).await;
    for (body, expected) in [
        ("inner", Some(context(3))),
        ("outer", Some(context(2))),
        ("own", Some(context(4))),
        ("by hand", TraceContext::parse(context(5).to_string()).ok()),
        ("spawned", None),
        ("begun", Some(begun)),
    ] {
        let message = messages.iter().find(|message| message.payload == body).expect("it is there");
        assert_eq!(context_of(message), expected, "{body}");
    }
    harness.end_clean(&bus).await;
}

/// An invalid `traceparent` is ignored: the message is handled, and its publishes have no trace.
pub async fn o5_a_trace_context_that_cannot_be_read_loses_nothing(harness: BusHarness) {
    let (topic, next) = (harness.topic("raw"), harness.topic("next"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    harness.logs.follow_spans();
    let (into, publisher, to) = (Arc::clone(&seen), bus.clone(), next.clone());
    let handler = move |message: Message| {
        let (bus, to, into) = (publisher.clone(), to.clone(), Arc::clone(&into));
        async move {
            assert_eq!(trace::current(), None);
            bus.publish(&to, message.payload.clone()).await.expect("published");
            into.push(message.payload);
        }
    };
    bus.subscribe(&topic, handler).await.expect("subscribes");
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    let bad = [
        "",
        "00",
        "no trace",
        "00-0-0-00",
        &good.to_uppercase(),
        &format!("{good}-"),
        &"0".repeat(1_000),
    ];
    for (number, parent) in bad.iter().enumerate() {
        let headers =
            Headers::from_iter([("traceparent", parent.as_bytes()), ("tracestate", b"a=1")]);
        bus.publish(&topic, Record::new(number.to_string()).with_headers(headers))
            .await
            .expect("published");
    }
    let twice =
        Headers::from_iter([("traceparent", good.as_bytes()), ("traceparent", good.as_bytes())]);
    bus.publish(&topic, Record::new("twice").with_headers(twice)).await.expect("published");
    seen.reached(bad.len() + 1).await;
    for message in harness.audit(&next, bad.len() + 1).await {
        assert_eq!(headers_of(&message), [Vec::<&[u8]>::new(), Vec::new()]);
    }
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Every attempt runs in the same trace context, and the dead letter carries it.
pub async fn o5_retries_and_dead_letters_keep_the_trace(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        into.push((event.message.attempt, trace::current()));
        match event.message.attempt {
            2 => std::panic::resume_unwind(Box::new("boom")),
            _ => Err::<(), _>("no"),
        }
    });
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    trace::scope(context(1), bus.publish_envelope(&topic, envelope("a", 1)))
        .await
        .expect("published");
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(context_of(&letter), Some(context(1)));
    assert_eq!(seen.all(), [1, 2, 3].map(|attempt| (attempt, Some(context(1)))));
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

async fn ended_spans(harness: &BusHarness, count: usize) -> Vec<SpanSeen> {
    until("all spans have ended", || {
        let spans = harness.logs.spans();
        spans.len() >= count && spans.iter().all(|span| span.handles == 0)
    })
    .await;
    let spans = harness.logs.spans();
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

/// The span has the fields of OpenTelemetry's conventions, and contains the log lines of the
/// handler.
pub async fn o5_each_delivery_has_a_span(harness: BusHarness) {
    let (events, raw) = (harness.topic("events"), harness.topic("raw"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&events, notes_events(&seen)).await.expect("subscribes");
    bus.publish_envelope(&events, envelope("a", 0)).await.expect("published");
    seen.reached(1).await;
    harness.settled("g", &[&events]).await;
    assert!(harness.logs.spans().is_empty(), "spans are disabled");

    harness.logs.follow_spans();
    let handler = async |message: Message| {
        tracing::info!(target: "buslane_bus_suite", "in the handler");
        tokio::task::yield_now().await;
        match &message.payload[..] {
            b"panic" => std::panic::resume_unwind(Box::new("boom")),
            b"fail" => Err("no"),
            _ => Ok(()),
        }
    };
    bus.subscribe(&raw, handler).await.expect("subscribes");
    let (sent, given) = (envelope("a", 1), context(1));
    let receipt =
        trace::scope(given.clone(), bus.publish_envelope(&events, &sent)).await.expect("published");
    seen.reached(2).await;
    for body in ["good", "fail", "panic"] {
        bus.publish(&raw, Record::new(body).with_key("k")).await.expect("published");
    }
    harness.settled("g", &[&events, &raw]).await;
    let spans = ended_spans(&harness, 4).await;
    let backend = harness.broker(&harness.config("look")).await.backend();
    let (partition, offset) = (receipt.partition.to_string(), receipt.offset.to_string());
    let (name, group) = (format!("process {events}"), harness.config("g").group);
    let span = spans
        .iter()
        .find(|span| span.field("messaging.destination.name") == &*events)
        .expect("a span");
    for (field, value) in [
        ("otel.name", &*name),
        ("otel.kind", "consumer"),
        ("messaging.system", backend.as_str()),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.partition.id", &*partition),
        ("messaging.consumer.group.name", &*group),
        ("messaging.message.id", &*sent.event_id),
        ("messaging.kafka.offset", if backend.as_str() == "kafka" { &*offset } else { "" }),
        ("buslane.offset", &*offset),
        ("buslane.kind", "envelope"),
        ("buslane.key", "a"),
        ("buslane.attempt", "1"),
        ("buslane.outcome", "ok"),
        ("trace_id", "00000000000000010000000000000007"),
        ("parent_span_id", "0000000000000001"),
        ("error.type", ""),
    ] {
        assert_eq!(span.field(field), value, "{field} in {span:#?}");
    }
    assert_eq!((span.name, span.target), ("process", "buslane::delivery"));
    let of_raw: Vec<_> =
        spans.iter().filter(|span| span.field("messaging.destination.name") == &*raw).collect();
    let outcomes: Vec<_> = of_raw.iter().map(|span| span.field("buslane.outcome")).collect();
    assert_eq!(outcomes, ["ok", "failed", "panicked"]);
    assert!(
        of_raw.iter().all(|span| span.entered >= 2 && span.field("trace_id").is_empty()),
        "{of_raw:?}"
    );
    let lines: Vec<_> =
        harness.logs.saying("in the handler").iter().map(|line| line.span).collect();
    assert_eq!(lines, of_raw.iter().map(|span| span.number).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// All attempts, delays and the dead letter of a message belong to one span.
pub async fn o5_a_delivery_that_is_tried_again_has_one_span(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    harness.logs.follow_spans();
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |note| note.number() == 0))
        .await
        .expect("subscribes");
    publish(&bus, &topic, &[envelope("a", 0), envelope("a", 1)]).await;
    harness.settled("g", &[&topic]).await;
    let spans = ended_spans(&harness, 2).await;
    let told = |span: &SpanSeen| {
        ["buslane.outcome", "buslane.attempt", "error.type"].map(|name| span.field(name).to_owned())
    };
    assert_eq!(told(&spans[0]), ["failed", "3", "failed"]);
    assert_eq!(told(&spans[1]), ["ok", "1", ""]);
    for text in ["envelope failed", "dead letter written"] {
        let lines = harness.logs.saying(text);
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.span == spans[0].number),
            "{lines:?}"
        );
    }
    harness.end_clean(&bus).await;
}

/// Gives each delivery a new span id, as OpenTelemetry does.
struct Numbers(Arc<AtomicU64>);

impl Tracer for Numbers {
    fn delivered(&self, span: &Span, producer: Option<&TraceContext>) {
        let next = self.0.fetch_add(1, Relaxed) + 1;
        assert!(!span.is_disabled());
        assert_eq!(producer, (next == 101).then_some(&context(1)));
    }

    fn current(&self) -> Option<TraceContext> {
        let is_in_a_span = !Span::current().is_none();
        is_in_a_span.then(|| context(self.0.load(Relaxed)))
    }
}

/// The bus calls the tracer for each delivery before it enters the span. The tracer's context
/// replaces that of the message.
pub async fn o5_a_tracer_names_the_contexts(harness: BusHarness) {
    let (first, next) = (harness.topic("first"), harness.topic("next"));
    let bus = harness.bus("g").await;
    harness.logs.follow_spans();
    let numbers = Arc::new(AtomicU64::new(100));
    assert!(bus.set_tracer(Numbers(Arc::clone(&numbers))));
    assert!(!bus.set_tracer(Numbers(Arc::default())));
    let (publisher, to) = (bus.clone(), next.clone());
    let handler = move |message: Message| {
        let (bus, to) = (publisher.clone(), to.clone());
        async move { bus.publish(&to, message.payload).await.map(drop) }
    };
    bus.subscribe(&first, handler).await.expect("subscribes");
    for (body, trace) in [("1", Some(context(1))), ("2", None)] {
        let record = Record::new(body);
        let record =
            trace.map_or_else(|| record.clone(), |trace| record.clone().with_trace(&trace));
        bus.publish(&first, record).await.expect("published");
        harness.settled("g", &[&first]).await;
    }
    let contexts: Vec<_> = harness.audit(&next, 2).await.iter().map(context_of).collect();
    assert!(
        contexts.contains(&Some(context(101))) && contexts.contains(&Some(context(102))),
        "{contexts:?}"
    );
    harness.end_clean(&bus).await;
}
