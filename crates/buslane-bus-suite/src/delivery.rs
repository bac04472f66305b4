//! The delivery table, row by row, for envelopes and for regular messages; the retries in the lane,
//! and which errors are retried. SPEC: D1

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buslane::{Class, EventBus, Retry, classify};
use buslane_core::broker::header;
use buslane_core::{EnvelopeError, Event, HandlerError, Message, Record, Verdict};
use buslane_testkit::signal::Gate;

use super::{
    BusHarness, Note, Seen, envelope, fails, notes_events, notes_messages, notes_then_waits, now,
    publish, publish_numbers,
};

/// The message is open while the handler runs, and settled when it has ended.
pub async fn d1_a_message_is_settled_after_its_handler(harness: BusHarness) {
    let (raw, events) = (harness.topic("raw"), harness.topic("events"));
    let (bus, started, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&events, notes_then_waits(&started, &gate)).await.expect("subscribes");
    bus.subscribe(&raw, notes_then_waits(&started, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &events, "a", 0..1).await;
    bus.publish(&raw, Record::new("0").with_key("b")).await.expect("published");
    started.reached(2).await;
    assert_eq!((harness.unsettled("g", &events).await, harness.unsettled("g", &raw).await), (1, 1));
    gate.open();
    harness.settled("g", &[&events, &raw]).await;
    harness.end_clean(&bus).await;
    assert_eq!(started.len(), 2);
}

/// An envelope that fails twice succeeds in attempt 3.
pub async fn d3_an_envelope_that_fails_twice_is_tried_three_times(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, fails(&seen, |note| note.attempt < 3))
        .await
        .expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    let attempts: Vec<_> = seen.all().iter().map(|note| note.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    let stats = bus.pool_stats();
    assert_eq!((stats.ok, stats.failed, stats.retried), (1, 0, 2), "{stats:?}");
    harness.end_clean(&bus).await;
}

/// A failed regular message is settled, whatever retries the subscription has.
pub async fn d1_a_regular_failure_is_final(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |message: Message| {
        into.push(Note::from(&message));
        Err::<(), _>("always")
    });
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for n in 0..10 {
        bus.publish(&topic, Record::new(n.to_string()).with_key("k")).await.expect("published");
    }
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!((bus.pool_stats().failed, bus.pool_stats().retried), (10, 0));
    harness.end_clean(&bus).await;
    // No later bus gets the messages again.
    let bus = harness.bus("g").await;
    bus.subscribe(&topic, notes_messages(&seen)).await.expect("subscribes");
    bus.publish(&topic, Record::new("10").with_key("k")).await.expect("published");
    assert_eq!(seen.reached(11).await[10].number(), 10);
    harness.end_clean(&bus).await;
}

/// A regular message has one attempt, whatever its handler returns.
pub async fn d1_a_regular_verdict_to_retry_is_final_too(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |message: Message| {
        into.push(Note::from(&message));
        if message.offset.is_multiple_of(2) {
            Verdict::retry("again")
        } else {
            Verdict::reject("never")
        }
    });
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for n in 0..6 {
        bus.publish(&topic, Record::new(n.to_string()).with_key("k")).await.expect("published");
    }
    harness.settled("g", &[&topic]).await;
    assert_eq!(seen.len(), 6);
    harness.end_clean(&bus).await;
}

/// An unreadable envelope meets the terminal policy without an attempt. Its partition and key
/// continue.
pub async fn d5_an_undecodable_envelope_is_given_up_at_once(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(notes_events(&seen))
        .await
        .expect("subscribes");
    bus.publish(&topic, Record::new("\u{1}torn").with_key("a")).await.expect("published");
    publish_numbers(&bus, &topic, "a", 0..3).await;
    assert_eq!(seen.reached(3).await.iter().map(Note::number).collect::<Vec<_>>(), [0, 1, 2]);
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(letter.payload, "\u{1}torn");
    assert_eq!(letter.headers.get("X-Attempts"), Some(&b"1"[..]));
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A regular handler gets the raw bytes, whether or not they are an envelope.
pub async fn d1_a_regular_handler_gets_the_raw_bytes(harness: BusHarness) {
    let topic = harness.topic("raw");
    let bus = harness.bus("g").await;
    let seen = Seen::new();
    let into = Arc::clone(&seen);
    bus.subscribe(&topic, now(move |message: Message| into.push(message.payload)))
        .await
        .expect("subscribes");
    bus.publish(&topic, vec![0xff, 0, 0xfe]).await.expect("published");
    assert_eq!(seen.reached(1).await, [vec![0xff, 0, 0xfe]]);
    harness.end_clean(&bus).await;
}

/// A settled later message does not settle an earlier open one.
pub async fn d2_a_later_message_never_settles_an_earlier_one(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    let (into, opened) = (Arc::clone(&seen), Arc::clone(&gate));
    let handler = move |event: Event| {
        let (into, gate) = (Arc::clone(&into), Arc::clone(&opened));
        async move {
            let note = Note::from(&event);
            if note.label == "first" {
                gate.wait().await;
            }
            into.push(note);
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "first", 0..1).await;
    // With this number of keys, some share the partition of the open message.
    for key in 0..64 {
        publish_numbers(&bus, &topic, &format!("a{key}"), 0..2).await;
    }
    seen.reached(128).await;
    assert!(harness.unsettled("g", &topic).await >= 1, "the first is open");
    drop(bus);
    buslane_testkit::leak::no_more_tasks_than(0).await;
    let again = Seen::new();
    let bus = harness.bus("g").await;
    bus.subscribe_envelopes(&topic, notes_events(&again)).await.expect("subscribes");
    let notes =
        again.until("the first one", |notes| notes.iter().any(|note| note.label == "first")).await;
    assert!(notes.iter().all(|note| note.attempt == 1));
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// The terminal policy applies after the configured number of attempts.
pub async fn d3_attempts_are_as_many_as_configured(harness: BusHarness) {
    for attempts in [1, 2, 5] {
        let (topic, dead) = (
            harness.topic(&format!("orders-{attempts}")),
            harness.topic(&format!("dead-{attempts}")),
        );
        let mut config = harness.config("g");
        config.retry.attempts = attempts;
        let (bus, seen, letters) = (harness.bus_of(config).await, Seen::new(), Seen::new());
        bus.subscribe(&dead, notes_messages(&letters)).await.expect("subscribes");
        bus.subscription(&topic)
            .dead_letter(&dead)
            .envelopes(fails(&seen, |_| true))
            .await
            .expect("subscribes");
        publish_numbers(&bus, &topic, "a", 0..1).await;
        letters.reached(1).await;
        let made: Vec<_> = seen.all().iter().map(|note| note.attempt).collect();
        assert_eq!(made, (1..=attempts).collect::<Vec<_>>());
        harness.end_clean(&bus).await;
    }
}

/// The retries of the builder override the configured ones.
pub async fn d3_a_subscription_has_its_own_retries(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let retry = Retry::attempts(2).backoff(Duration::from_millis(1), Duration::from_millis(1));
    let subscription = bus.subscription(&topic).retry(retry).dead_letter(&dead);
    subscription.envelopes(fails(&seen, |_| true)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(letter.headers.get(header::ATTEMPTS), Some(&b"2"[..]));
    assert_eq!(seen.len(), 2);
    harness.end_clean(&bus).await;
}

/// Each delay is at least its backoff, which doubles up to the maximum.
pub async fn d3_waits_grow(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    config.retry.attempts = 6;
    config.retry.initial = Duration::from_millis(20);
    config.retry.max = Duration::from_millis(100);
    let (bus, times) = (harness.bus_of(config).await, Seen::new());
    let into = Arc::clone(&times);
    let handler = now(move |_: Event| {
        into.push(Instant::now());
        if into.len() < 6 { Err("not yet") } else { Ok(()) }
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let times = times.reached(6).await;
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let least = [20, 40, 80, 100, 100].map(Duration::from_millis);
    assert!(waits.iter().zip(least).all(|(wait, least)| *wait >= least), "{waits:?}");
    harness.end_clean(&bus).await;
}

/// While a key waits for its retry, its later messages wait too, and other keys continue.
pub async fn d3_a_retrying_key_holds_up_itself_alone(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    (config.retry.initial, config.retry.max) =
        (Duration::from_secs(3600), Duration::from_secs(3600));
    let (bus, seen) = (harness.bus_of(config).await, Seen::new());
    bus.subscribe_envelopes(&topic, fails(&seen, |note| note.label == "bad"))
        .await
        .expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..10).await;
    let good: Vec<_> = (0..500).map(|n| envelope(&format!("a{}", n % 100), n / 100)).collect();
    publish(&bus, &topic, &good).await;
    let notes = seen.reached(501).await;
    assert_eq!(super::seen::numbers_of(&notes, "bad"), [0]);
    buslane_testkit::deadline::until("the lane waits", || bus.pool_stats().deferred_lanes == 1)
        .await;
    assert_eq!(bus.pool_stats().blocked_lanes, 0);
    let report = harness.end(&bus).await;
    assert_eq!(report.abandoned, 10, "{report:?}");
}

/// A hundred keys fail once at the same time. All messages are handled, each key in order.
pub async fn d3_many_keys_retry_beside_each_other(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let handler = fails(&seen, |note| note.attempt == 1 && note.number() % 5 == 0);
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let envelopes: Vec<_> =
        (0..1_000).map(|n| envelope(&format!("a{}", n % 100), n / 100)).collect();
    publish(&bus, &topic, &envelopes).await;
    harness.settled("g", &[&topic]).await;
    let notes = seen.all();
    assert_eq!(notes.len(), 1_200);
    for key in 0..100 {
        let numbers = super::seen::numbers_of(&notes, &format!("a{key}"));
        assert_eq!(numbers, [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]);
    }
    harness.end_clean(&bus).await;
}

/// The second attempt sees the same offset, headers, key and body.
pub async fn e6_every_attempt_sees_the_same_message(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        let Event { envelope, message } = event;
        let text =
            format!("{envelope:?} {:?} {:?} {:?}", message.key, message.headers, message.payload);
        into.push((text, message.offset, message.attempt, message.routing_label()));
        if message.attempt < 3 { Err("again") } else { Ok(()) }
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let seen = seen.reached(3).await;
    for (at, attempt) in seen.iter().enumerate() {
        assert_eq!((&attempt.0, attempt.1, &*attempt.3), (&seen[0].0, seen[0].1, "a"));
        assert_eq!(attempt.2 as usize, at + 1);
    }
    harness.end_clean(&bus).await;
}

/// Attempts are counted per message, not per lane.
pub async fn d3_attempts_are_counted_for_each_message(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::<Note>::new());
    bus.subscribe_envelopes(
        &topic,
        fails(&seen, |note| note.attempt as usize <= note.number() % 3),
    )
    .await
    .expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..6).await;
    let expected = [
        (0, 1),
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
        (2, 3),
        (3, 1),
        (4, 1),
        (4, 2),
        (5, 1),
        (5, 2),
        (5, 3),
    ];
    let made: Vec<_> =
        seen.reached(12).await.iter().map(|note| (note.number(), note.attempt)).collect();
    assert_eq!(made, expected);
    harness.end_clean(&bus).await;
}

/// Runs one envelope with a handler that always returns `answer()`. Returns the number of attempts,
/// and the error in the dead letter.
async fn attempts_of(
    harness: &BusHarness,
    what: &str,
    answer: impl Fn() -> Verdict + Send + Sync + 'static,
) -> (usize, String) {
    let (topic, dead) = (harness.topic(what), harness.topic(&format!("{what}.dead")));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |_: Event| {
        into.push(());
        answer()
    });
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let letter = harness.audit(&dead, 1).await.remove(0);
    let text = |name| {
        letter.headers.get(name).map(String::from_utf8_lossy).unwrap_or_default().into_owned()
    };
    assert_eq!(text(header::ATTEMPTS), seen.len().to_string());
    harness.end_clean(&bus).await;
    (seen.len(), text(header::ERROR_MESSAGE))
}

/// Transport errors, timeouts and unknown errors are retried.
pub async fn d5_transient_errors_are_tried_again(harness: BusHarness) {
    let reset =
        || Verdict::Failed(io::Error::new(io::ErrorKind::ConnectionReset, "reset by peer").into());
    assert_eq!(attempts_of(&harness, "reset", reset).await, (3, "reset by peer".to_owned()));
    assert_eq!(
        attempts_of(&harness, "text", || Verdict::Failed("who knows".into())).await,
        (3, "who knows".to_owned())
    );
}

/// Errors of decoding and validation are not retried, wherever they are in the chain of sources.
pub async fn d5_permanent_errors_are_not(harness: BusHarness) {
    let decoding =
        || Verdict::Failed(serde_json::from_str::<u32>("no").expect_err("no number").into());
    let (attempts, error) = attempts_of(&harness, "decoding", decoding).await;
    assert!(attempts == 1 && error.contains("line 1"), "{attempts}: {error}");
    let validation = || Verdict::Failed(EnvelopeError::PayloadRequired.into());
    assert_eq!(
        attempts_of(&harness, "validation", validation).await,
        (1, "payload is required".to_owned())
    );
    let wrapped = || {
        let cause = serde_json::from_str::<u32>("no").expect_err("no number");
        Verdict::Failed(io::Error::other(cause).into())
    };
    assert_eq!(attempts_of(&harness, "wrapped", wrapped).await.0, 1);
}

/// A verdict of the handler overrides the classifier.
pub async fn d5_a_handler_may_reject_or_insist(harness: BusHarness) {
    assert_eq!(
        attempts_of(&harness, "reject", || Verdict::reject("never")).await,
        (1, "never".to_owned())
    );
    let insist = || Verdict::retry(EnvelopeError::PayloadRequired);
    assert_eq!(
        attempts_of(&harness, "insist", insist).await,
        (3, "payload is required".to_owned())
    );
}

/// A subscription's own classifier decides, and may call the default one.
pub async fn d5_a_subscription_has_its_own_classifier(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        into.push(event.payload.as_bytes().clone());
        Err::<(), HandlerError>(match &event.payload.as_bytes()[..] {
            b"0" => "out of stock".into(),
            _ => EnvelopeError::PayloadRequired.into(),
        })
    });
    let classifier = |error: &HandlerError| match error.to_string().as_str() {
        "out of stock" => Class::Permanent,
        _ if classify(error) == Class::Permanent => Class::Transient,
        _ => Class::Permanent,
    };
    let subscription = bus.subscription(&topic).classifier(classifier).dead_letter(&dead);
    subscription.envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    publish_numbers(&bus, &topic, "b", 1..2).await;
    harness.audit(&dead, 2).await;
    let count = |body: &[u8]| seen.all().iter().filter(|seen| seen[..] == *body).count();
    assert_eq!((count(b"0"), count(b"1")), (1, 3));
    harness.end_clean(&bus).await;
}

/// The texts of the configuration decide first, then the classifier of the subscription, or else
/// that of the bus.
pub async fn d5_configuration_subscription_and_bus_decide_in_this_order(harness: BusHarness) {
    let mut config = harness.config("g");
    config.errors.permanent = vec!["no-such".to_owned()];
    config.errors.transient = vec!["try".to_owned()];
    let broker = harness.broker(&config).await;
    let builder = EventBus::builder(config).broker(broker);
    let bus = builder.classifier(|_| Class::Permanent).connect().await.expect("a bus starts");
    let seen = Seen::new();
    for (topic, is_own) in [("of-the-bus", false), ("its-own", true)] {
        let (topic, dead) = (harness.topic(topic), harness.topic("dead"));
        let mut subscription = bus.subscription(&topic).dead_letter(&dead);
        if is_own {
            subscription = subscription.classifier(|_| Class::Transient);
        }
        let into = Arc::clone(&seen);
        let handler = now(move |event: Event| {
            into.push((is_own, event.aggregate_id.to_string()));
            Err::<(), HandlerError>(event.aggregate_id.to_string().into())
        });
        subscription.envelopes(handler).await.expect("subscribes");
        for error in ["no-such-customer", "please-try-later", "anything"] {
            // Each has a key of its own: behind a dead letter a message has one attempt.
            publish_numbers(&bus, &topic, &format!("{error}-{is_own}"), 0..1).await;
        }
        harness.settled("g", &[&topic]).await;
    }
    let attempts = |is_own, error: &str| {
        seen.all().iter().filter(|seen| seen.0 == is_own && seen.1.starts_with(error)).count()
    };
    for (is_own, anything) in [(false, 1), (true, 3)] {
        assert_eq!(attempts(is_own, "no-such-customer"), 1);
        assert_eq!(attempts(is_own, "please-try-later"), 3);
        assert_eq!(attempts(is_own, "anything"), anything);
    }
    harness.end_clean(&bus).await;
}

/// A classifier that panics counts as a failed attempt: the envelope is retried, then given up, and
/// not lost.
pub async fn d5_a_classifier_that_panics_loses_nothing(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        into.push((event.aggregate_id.to_string(), event.message.attempt));
        if event.aggregate_id == "good" { Ok(()) } else { Err("no") }
    });
    let classifier =
        |error: &HandlerError| std::panic::resume_unwind(Box::new(format!("classifying {error}")));
    let subscription = bus.subscription(&topic).classifier(classifier).dead_letter(&dead);
    subscription.envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..1).await;
    publish_numbers(&bus, &topic, "good", 0..1).await;
    let letter = harness.audit(&dead, 1).await.remove(0);
    harness.settled("g", &[&topic]).await;
    let attempts: Vec<_> =
        seen.all().into_iter().filter(|(key, _)| key == "bad").map(|(_, n)| n).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(
        letter.headers.get(header::ERROR_MESSAGE),
        Some(&b"handler panicked: classifying no"[..])
    );
    assert_eq!(letter.headers.get(header::ATTEMPTS), Some(&b"3"[..]));
    harness.end_clean(&bus).await;
}
