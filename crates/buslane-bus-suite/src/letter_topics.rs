//! A dead-letter topic that cannot be written is found when a subscription begins, not by the first
//! bad message.

use super::{Ground, Seen, fails, kit::refused, notes_messages, publish_numbers};
use buslane::BusError;
use buslane_core::BrokerError;

/// The error names the dead-letter topic and what to do, and leaves no subscription.
pub async fn d4_a_missing_dead_letter_topic_is_named_at_subscribe(ground: Ground) {
    let (topic, dead, other) =
        (ground.topic("orders"), ground.topic("dead"), ground.topic("other"));
    let (bus, meddler) = ground.meddled(ground.config("g")).await;
    let seen = Seen::new();
    meddler.lack(&dead, BrokerError::UnknownTopic { topic: dead.clone() });
    let subscribed =
        bus.subscription(&topic).dead_letter(&dead).envelopes(fails(&seen, |_| true)).await;
    assert!(
        matches!(&subscribed, Err(BusError::DeadLetterTopic { dead_letters, .. }) if *dead_letters == dead)
    );
    let text = refused(subscribed);
    let expected = format!(
        "subscription to {topic}: dead letter topic {dead} cannot be written: topic {dead} does not exist; create it"
    );
    assert!(text.starts_with(&expected), "{text}");
    bus.subscription(&topic)
        .dead_letter(&other)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("nothing was left");
    // Nothing of regular messages is given up, whatever the configured policy.
    bus.subscribe(&dead, notes_messages(&seen)).await.expect("subscribes");
    ground.end_clean(&bus).await;
}

/// An outage at that moment is none of its business.
pub async fn d4_a_broker_that_is_away_does_not_fail_the_look_for_the_letters(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, meddler) = ground.meddled(ground.config("g")).await;
    let seen = Seen::new();
    meddler.lack(&dead, BrokerError::Unreachable { reason: "cable".to_owned() });
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    let line = ground.journal.saying("dead letter topic not checked").remove(0);
    assert_eq!(line.field("dead_letters"), dead.as_str(), "{line}");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    assert_eq!(ground.audit(&dead, 1).await.len(), 1);
    ground.end_clean(&bus).await;
}
