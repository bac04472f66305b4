//! Options of a subscription: order, rate, concurrency, timeout. SPEC: B7

use super::{
    BusHarness, Note, Seen, envelope, harness::refused, notes_events, notes_messages,
    notes_then_waits, now, publish, publish_numbers,
};
use buslane::{BusError, Retry, SubscriptionBuilder, classify};
use buslane_core::{Event, Message, Record, broker::header};
use buslane_testkit::signal::Gate;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// Without order, messages of one key run concurrently.
pub async fn b7_an_unordered_subscription_runs_a_key_beside_itself(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    bus.subscription(&topic)
        .ordered(false)
        .envelopes(notes_then_waits(&seen, &gate))
        .await
        .expect("subscribes");
    publish_numbers(&bus, &topic, "one", 0..16).await;
    let notes = seen.reached(16).await;
    gate.open();
    assert!(notes.iter().all(|note| note.label.starts_with("rr-")), "{notes:?}");
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// No more than so many messages a second, after the burst.
pub async fn b7_a_rate_holds(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic).rate(100, 5).envelopes(notes_events(&seen)).await.expect("subscribes");
    let envelopes: Vec<_> = (0..35).map(|n| envelope(&format!("a{n}"), n)).collect();
    let start = Instant::now();
    publish(&bus, &topic, &envelopes).await;
    seen.reached(35).await;
    // 5 at once, then 30 at 10 ms each.
    assert!(start.elapsed() >= Duration::from_millis(295), "{:?}", start.elapsed());
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// No more than so many messages taken and not ended, of this subscription alone.
pub async fn b7_a_concurrency_limit_holds(harness: BusHarness) {
    let (limited, free) = (harness.topic("limited"), harness.topic("free"));
    let bus = harness.bus("g").await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, count, peak) = (Seen::new(), Arc::clone(&running), Arc::clone(&most));
    let into = Arc::clone(&seen);
    let handler = move |event: Event| {
        let (into, count, peak) = (Arc::clone(&into), Arc::clone(&count), Arc::clone(&peak));
        async move {
            peak.fetch_max(count.fetch_add(1, SeqCst) + 1, SeqCst);
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            count.fetch_sub(1, SeqCst);
            into.push(Note::from(&event));
        }
    };
    bus.subscription(&limited).concurrency(3).envelopes(handler).await.expect("subscribes");
    bus.subscribe_envelopes(&free, notes_events(&seen)).await.expect("subscribes");
    let envelopes: Vec<_> = (0..100).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &limited, &envelopes).await;
    publish(&bus, &free, &envelopes).await;
    seen.reached(200).await;
    assert!((1..=3).contains(&most.load(SeqCst)), "{}", most.load(SeqCst));
    harness.settled("g", &[&limited, &free]).await;
    harness.end_clean(&bus).await;
}

/// A limited subscription that waits for its turn still ends at once, and loses nothing by it.
pub async fn b7_a_limited_subscription_ends_while_it_waits(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    let subscription = bus.subscription(&topic).concurrency(1).rate(1_000, 1);
    subscription.envelopes(notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    seen.reached(1).await;
    harness
        .within("the end of the subscription", bus.unsubscribe(&topic))
        .await
        .expect("unsubscribes");
    gate.open();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    harness.end_clean(&bus).await;
}

/// A handler that takes too long is cancelled; it is a failure that is tried again.
pub async fn b7_a_handler_that_takes_too_long_is_tried_again(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = move |event: Event| {
        let into = Arc::clone(&into);
        async move {
            let note = Note::from(&event);
            into.push(note.clone());
            if note.label == "never" || note.attempt == 1 {
                std::future::pending::<()>().await;
            }
        }
    };
    let subscription =
        bus.subscription(&topic).timeout(Duration::from_millis(20)).dead_letter(&dead);
    subscription.envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "once", 0..1).await;
    publish_numbers(&bus, &topic, "never", 1..2).await;
    let letter = harness.audit(&dead, 1).await.remove(0);
    harness.settled("g", &[&topic]).await;
    let attempts = |key| seen.all().iter().filter(|note| note.label == key).count();
    assert_eq!((attempts("once"), attempts("never")), (2, 3));
    let error = letter.headers.get(header::ERROR_MESSAGE).map(String::from_utf8_lossy);
    assert_eq!(error.as_deref(), Some("handler timed out after 20ms"));
    harness.end_clean(&bus).await;
}

/// For a regular message it is final, as any failure.
pub async fn b7_a_regular_handler_that_takes_too_long_has_failed(harness: BusHarness) {
    let topic = harness.topic("raw");
    let bus = harness.bus("g").await;
    let handler = |_: Message| std::future::pending::<()>();
    bus.subscription(&topic)
        .timeout(Duration::from_millis(10))
        .messages(handler)
        .await
        .expect("subscribes");
    bus.publish(&topic, Record::new("0").with_key("k")).await.expect("published");
    harness.settled("g", &[&topic]).await;
    let lines = harness.logs.saying("regular message failed");
    assert_eq!(
        lines.iter().map(|line| line.field("error")).collect::<Vec<_>>(),
        ["handler timed out after 10ms"]
    );
    harness.end_clean(&bus).await;
}

/// Each a typed error that names the option, and the topic is still free.
pub async fn b7_bad_options_are_typed_errors(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let zero = Duration::ZERO;
    type Change = fn(SubscriptionBuilder) -> SubscriptionBuilder;
    let table: [(Change, &str); 8] = [
        (|builder| builder.retry(Retry::attempts(0)), "retry.attempts: must be at least 1"),
        (
            |builder| builder.retry(Retry::default().backoff(Duration::ZERO, Duration::ZERO)),
            "retry.initial: must be more than zero",
        ),
        (
            |builder| {
                builder
                    .retry(Retry::default().backoff(Duration::from_secs(2), Duration::from_secs(1)))
            },
            "retry.max: must be at least retry.initial",
        ),
        (|builder| builder.concurrency(0), "concurrency: must be at least 1"),
        (|builder| builder.timeout(Duration::ZERO), "timeout: must be more than zero"),
        (|builder| builder.rate(0, 1), "rate.per_second: must be from 1 to 10000000"),
        (|builder| builder.rate(1, 0), "rate.burst: must be at least 1"),
        (
            SubscriptionBuilder::settle_first,
            "settle_first: is for regular messages: envelopes are delivered at least once",
        ),
    ];
    for (change, text) in table {
        let error = change(bus.subscription(&topic))
            .envelopes(notes_events(&seen))
            .await
            .expect_err("refused");
        assert!(matches!(error, BusError::Option { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("subscription to {topic}: {text}"));
    }
    let text = format!(
        "subscription to {topic}: dead_letter: must be another topic than the one that is read"
    );
    assert_eq!(
        refused(bus.subscription(&topic).dead_letter(&topic).envelopes(notes_events(&seen)).await),
        text
    );
    let for_envelopes: [(Change, &str); 5] = [
        (|builder| builder.retry(Retry::default()), "retry"),
        (|builder| builder.dead_letter("dead"), "dead_letter"),
        (SubscriptionBuilder::skip_failed, "skip_failed"),
        (SubscriptionBuilder::block_failed, "block_failed"),
        (|builder| builder.classifier(classify), "classifier"),
    ];
    for (change, option) in for_envelopes {
        let text = "is for envelopes: the failure of a regular message is final";
        let error = refused(change(bus.subscription(&topic)).messages(notes_messages(&seen)).await);
        assert_eq!(error, format!("subscription to {topic}: {option}: {text}"));
    }
    let bad =
        refused(bus.subscription(&topic).dead_letter("a b").envelopes(notes_events(&seen)).await);
    assert!(bad.starts_with("invalid topic \"a b\""), "{bad}");
    let bad = refused(bus.subscription("a b").timeout(zero).messages(notes_messages(&seen)).await);
    assert!(bad.starts_with("invalid topic \"a b\""), "{bad}");
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("the topic is free");
    harness.end_clean(&bus).await;
}

/// Handlers may return nothing, a result or a verdict; a type of one's own may be a handler.
pub async fn b7_handlers_come_in_many_forms(harness: BusHarness) {
    use buslane_core::{Handler, Verdict};
    struct Counting(Arc<AtomicUsize>);
    impl Handler<Message> for Counting {
        type Output = Result<(), std::io::Error>;
        async fn handle(&self, _: Message) -> Self::Output {
            self.0.fetch_add(1, SeqCst);
            Ok(())
        }
    }
    async fn function(_: Message) -> Verdict {
        Verdict::Done
    }
    let bus = harness.bus("g").await;
    let topics: Vec<_> = (0..4).map(|n| harness.topic(&format!("t{n}"))).collect();
    let count = Arc::new(AtomicUsize::new(0));
    bus.subscribe(&topics[0], Counting(Arc::clone(&count))).await.expect("subscribes");
    bus.subscribe(&topics[1], function).await.expect("subscribes");
    bus.subscribe(&topics[2], async |_: Message| Ok::<_, String>(Verdict::Done))
        .await
        .expect("subscribes");
    bus.subscribe(&topics[3], now(|_: Message| ())).await.expect("subscribes");
    for topic in &topics {
        bus.publish(topic, "x").await.expect("published");
    }
    harness.settled("g", &topics.iter().collect::<Vec<_>>()).await;
    super::harness::idle(&bus).await;
    assert_eq!((count.load(SeqCst), bus.pool_stats().ok), (1, 4));
    harness.end_clean(&bus).await;
}
