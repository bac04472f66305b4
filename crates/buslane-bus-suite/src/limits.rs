//! Options of a subscription (order, rate, concurrency, timeout), and rate limits of publishers and
//! subscriptions that change at run time. SPEC: B7, B8

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::{Duration, Instant};

use buslane::config::TopicLimitsConfig;
use buslane::{
    BusError, Envelope, EventBus, PublishError, RateLimit, Retry, SubscriptionBuilder, classify,
};
use buslane_core::broker::header;
use buslane_core::{Event, Message, Record};
use buslane_testkit::deadline::until;
use buslane_testkit::signal::Gate;

use super::harness::refused;
use super::{
    BusHarness, Note, Seen, envelope, notes_events, notes_messages, notes_then_waits, now, publish,
    publish_numbers,
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

/// After the burst, a subscription handles at most its rate.
pub async fn b7_a_rate_holds(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic).rate(100, 5).envelopes(notes_events(&seen)).await.expect("subscribes");
    let envelopes: Vec<_> = (0..35).map(|n| envelope(&format!("a{n}"), n)).collect();
    let start = Instant::now();
    publish(&bus, &topic, &envelopes).await;
    seen.reached(35).await;
    // Five at once, then thirty at 10 ms each.
    assert!(start.elapsed() >= Duration::from_millis(295), "{:?}", start.elapsed());
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A concurrency limit bounds the messages of its subscription that are taken and not ended, and
/// affects no other subscription.
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

/// A limited subscription ends at once while it waits for its limit, and loses no message.
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

/// A handler that exceeds its timeout is cancelled, and its envelope is retried.
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

/// The timeout of a regular message is final, like any failure.
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

/// Each invalid option is a typed error that names the option, and leaves the topic free.
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

/// Handlers may return nothing, a result or a verdict. A user's type may implement the handler
/// trait.
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

/// One message a second. A test that waits for many messages at this rate does not end in time.
const CRAWL: Option<RateLimit> = Some(RateLimit::new(1, 1));

fn numbers(notes: &[Note]) -> Vec<usize> {
    notes.iter().map(Note::number).collect()
}

/// A limited topic does not delay another one, and resumes in order when the limit is lifted.
pub async fn b8_a_limited_topic_leaves_the_others_alone(harness: BusHarness) {
    let (limited, free) = (harness.topic("limited"), harness.topic("free"));
    let (bus, slow, fast) = (harness.bus("g").await, Seen::new(), Seen::new());
    bus.limits().set_subscribe_of(&limited, CRAWL).expect("a good limit");
    bus.subscribe_envelopes(&limited, notes_events(&slow)).await.expect("subscribes");
    bus.subscribe_envelopes(&free, notes_events(&fast)).await.expect("subscribes");
    publish_numbers(&bus, &limited, "a", 0..200).await;
    publish_numbers(&bus, &free, "a", 0..200).await;
    assert_eq!(numbers(&fast.reached(200).await), (0..200).collect::<Vec<_>>());
    slow.reached(1).await;
    assert!(slow.len() < 200);
    bus.limits().set_subscribe_of(&limited, None).expect("no limit is a good one");
    assert_eq!(numbers(&slow.reached(200).await), (0..200).collect::<Vec<_>>());
    harness.settled("g", &[&limited, &free]).await;
    harness.end_clean(&bus).await;
}

/// The limit of the bus applies to all topics together. A new limit applies at once to messages
/// that already wait.
pub async fn b8_the_limit_of_the_bus_changes_while_it_holds(harness: BusHarness) {
    let (one, two) = (harness.topic("one"), harness.topic("two"));
    let (bus, page) = harness.bus_with_page(harness.config("g")).await;
    let seen = Seen::new();
    for topic in [&one, &two] {
        bus.subscribe_envelopes(topic, notes_events(&seen)).await.expect("subscribes");
    }
    bus.limits().set_subscribe(CRAWL).expect("a good limit");
    let waits = "rate_limit_waits_total{side=\"subscribe\"}";
    assert_eq!(page.value(waits), 0.0);
    for topic in [&one, &two] {
        publish(
            &bus,
            topic,
            &(0..200).map(|n| envelope(&format!("a{}", n % 10), n / 10)).collect::<Vec<_>>(),
        )
        .await;
    }
    until("one of them waits", || page.value(waits) > 0.0).await;
    assert!(seen.len() < 400);
    let start = Instant::now();
    bus.limits().set_subscribe(Some(RateLimit::new(1_000, 1))).expect("a good limit");
    let notes = seen.reached(400).await;
    // The bound leaves slack for messages that a stalled machine admits at the slow rate. A bucket
    // of one admits no burst.
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    for topic in [&one, &two] {
        for key in 0..10 {
            let of_key = notes
                .iter()
                .filter(|note| note.topic == **topic && note.label == format!("a{key}"));
            assert_eq!(of_key.map(Note::number).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        }
    }
    harness.settled("g", &[&one, &two]).await;
    harness.end_clean(&bus).await;
}

/// A new limit replaces the one that a subscription set for its topic.
pub async fn b8_a_subscriptions_own_rate_can_be_changed(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic).rate(1, 1).envelopes(notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..300).await;
    seen.reached(1).await;
    bus.limits()
        .set_subscribe_of(&topic, Some(RateLimit::new(100_000, 1_000)))
        .expect("a good limit");
    assert_eq!(numbers(&seen.reached(300).await), (0..300).collect::<Vec<_>>());
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A publisher that waits for a topic's limit does not delay publishers of other topics, and
/// resumes when the limit is lifted.
pub async fn b8_a_limited_publisher_leaves_other_topics_alone(harness: BusHarness) {
    let (limited, free) = (harness.topic("limited"), harness.topic("free"));
    let mut config = harness.config("g");
    config.publish_timeout = Duration::from_secs(3_600);
    let bus = harness.bus_of(config).await;
    bus.limits().set_publish_of(&limited, CRAWL).expect("a good limit");
    let waiting = tokio::spawn({
        let (bus, limited) = (bus.clone(), limited.clone());
        async move { publish_numbers(&bus, &limited, "a", 0..1_000).await }
    });
    publish_numbers(&bus, &free, "a", 0..500).await;
    assert!(!waiting.is_finished(), "it takes a quarter of an hour");
    bus.limits().set_publish_of(&limited, None).expect("no limit is a good one");
    harness.within("the publisher", waiting).await.expect("published");
    assert_eq!(harness.audit(&limited, 1_000).await.len(), 1_000);
    harness.end_clean(&bus).await;
}

/// Publishers wait in the order of arrival.
pub async fn b8_publishers_wait_in_order(harness: BusHarness) {
    let limited = harness.topic("limited");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&limited, notes_events(&seen)).await.expect("subscribes");
    // Excludes the cost of a topic's first use.
    publish_numbers(&bus, &limited, "a", 0..1).await;
    bus.limits().set_publish_of(&limited, Some(RateLimit::new(100, 2))).expect("a good limit");
    let start = Instant::now();
    let publish_one = |n| {
        let (bus, limited) = (bus.clone(), limited.clone());
        Box::pin(async move { bus.publish_envelope(&limited, envelope("a", n)).await.map(drop) })
    };
    let mut publishing: Vec<_> = (1..21).map(|n| Some(publish_one(n))).collect();
    // Polls the publishes in turn from one task, so that they arrive in order.
    let all = std::future::poll_fn(|cx| {
        for slot in &mut publishing {
            if let Some(publish) = slot
                && let Poll::Ready(result) = publish.as_mut().poll(cx)
            {
                result.expect("published");
                *slot = None;
            }
        }
        if publishing.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    });
    harness.within("the publishers", all).await;
    assert!(
        start.elapsed() >= Duration::from_millis(175),
        "2 at once, then one in 10 ms: {:?}",
        start.elapsed()
    );
    assert_eq!(numbers(&seen.reached(21).await), (0..21).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// A call that would wait longer than the publish timeout gets a typed error and sends nothing.
/// Other calls continue.
pub async fn b8_a_publish_that_waits_too_long_is_refused(harness: BusHarness) {
    let topic = harness.topic("orders");
    let before = harness.bus("g").await;
    publish_numbers(&before, &topic, "a", 0..1).await;
    harness.end_clean(&before).await;
    let mut config = harness.config("g");
    config.publish_timeout = Duration::from_secs(3);
    let bus = harness.bus_of(config).await;
    bus.limits().set_publish(CRAWL).expect("a good limit");
    bus.publish_envelope(&topic, envelope("a", 1)).await.expect("the first one may");
    let detail = "the rate limit of the bus lets 1 messages a second through, 1 at once; these are";
    let numbers = |count| (0..count).map(|n| envelope("a", 100 + n)).collect::<Vec<_>>();
    // Four records exceed the rate within the timeout, because the bucket is empty or nearly so.
    let late = bus.publish_envelopes(&topic, &numbers(4)).await.expect("good envelopes").remove(3);
    let late = BusError::from(late.expect_err("four seconds are too long"));
    let timed_out = |error: &BusError, records: usize, waited: Duration| {
        let BusError::Publish(PublishError::Timeout { topic: at, waited: time, detail: why }) =
            error
        else {
            return false;
        };
        (at, *time, why.as_str()) == (&topic, waited, format!("{detail} {records}").as_str())
    };
    assert!(timed_out(&late, 4, Duration::from_secs(3)), "{late}");
    // Five records can never pass within the timeout, so the call fails at once. Every record gets
    // an answer.
    let answers = bus.publish_envelopes(&topic, &numbers(5)).await.expect("good envelopes");
    assert_eq!(answers.len(), 5);
    for answer in answers {
        let error = BusError::from(
            answer.expect_err("four seconds are too long, however full the bucket is"),
        );
        assert!(timed_out(&error, 5, Duration::ZERO), "{error}");
    }
    bus.limits().set_publish(None).expect("no limit is a good one");
    bus.publish_envelope(&topic, envelope("a", 2)).await.expect("published");
    let events = harness.audit(&topic, 3).await;
    let sent = events.iter().map(|message| {
        Envelope::decode(&message.payload)
            .expect("an envelope")
            .payload
            .parse::<usize>()
            .expect("a number")
    });
    assert_eq!(sent.collect::<Vec<_>>(), [0, 1, 2]);
    harness.end_clean(&bus).await;
}

/// Configured limits hold from the start.
pub async fn b8_configured_limits_hold(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    let mut limits = TopicLimitsConfig::default();
    limits.subscribe = Some(RateLimit::new(100, 5));
    config.limits.topics.insert(topic.to_string(), limits);
    config.limits.publish = Some(RateLimit::new(1_000, 35));
    let (bus, seen) = (harness.bus_of(config).await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    let start = Instant::now();
    publish_numbers(&bus, &topic, "a", 0..35).await;
    assert_eq!(numbers(&seen.reached(35).await), (0..35).collect::<Vec<_>>());
    assert!(start.elapsed() >= Duration::from_millis(295), "{:?}", start.elapsed());
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Each error names the limit, the field and the rule, and no limit changes.
pub async fn b8_bad_limits_are_refused(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let rate = "per_second: must be from 1 to 10000000, found";
    type Set = fn(&EventBus, &str, RateLimit) -> Result<(), BusError>;
    let sets: [(&str, Set); 5] = [
        ("publish limit", |bus, _, limit| bus.limits().set_publish(Some(limit))),
        ("publish limit", |bus, topic, limit| bus.limits().set_publish_of(topic, Some(limit))),
        ("subscribe limit", |bus, _, limit| bus.limits().set_subscribe(Some(limit))),
        ("subscribe limit", |bus, topic, limit| bus.limits().set_subscribe_of(topic, Some(limit))),
        ("recovery limit", |bus, _, limit| bus.recovery().set_limits(limit, 1)),
    ];
    for (what, set) in sets {
        for (limit, rule) in [
            (RateLimit::new(0, 1), format!("{rate} 0")),
            (RateLimit::new(10_000_001, 1), format!("{rate} 10000001")),
            (RateLimit::new(1, 0), "burst: must be at least 1, found 0".to_owned()),
        ] {
            assert_eq!(refused(set(&bus, &topic, limit)), format!("{what}.{rule}"));
        }
    }
    let error = refused(bus.recovery().set_limits(RateLimit::new(1, 1), 0));
    assert_eq!(error, "recovery limit.keys: must be at least 1, found 0");
    assert!(refused(bus.limits().set_publish_of("a b", None)).starts_with("invalid topic \"a b\""));
    let seen = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..100).await;
    assert_eq!(Arc::clone(&seen).reached(100).await.len(), 100);
    harness.end_clean(&bus).await;
}
