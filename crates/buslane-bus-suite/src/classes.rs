//! The classes of errors, and which are retried.

use super::{BusHarness, Seen, now, publish_numbers};
use buslane::{Class, classify};
use buslane_core::{EnvelopeError, Event, HandlerError, Verdict, broker::header};
use std::{io, sync::Arc};

/// The number of attempts of an envelope whose handler always fails with this error, and the error
/// in its dead letter.
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

/// Transport errors, timeouts and unknown errors.
pub async fn d5_transient_errors_are_tried_again(harness: BusHarness) {
    let reset =
        || Verdict::Failed(io::Error::new(io::ErrorKind::ConnectionReset, "reset by peer").into());
    assert_eq!(attempts_of(&harness, "reset", reset).await, (3, "reset by peer".to_owned()));
    assert_eq!(
        attempts_of(&harness, "text", || Verdict::Failed("who knows".into())).await,
        (3, "who knows".to_owned())
    );
}

/// Errors of decoding and validation anywhere in the chain of sources.
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

/// The handler names the class itself.
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

/// A subscription's own classifier decides, and may ask the default one.
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
