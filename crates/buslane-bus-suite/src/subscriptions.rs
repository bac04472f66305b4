//! Subscriptions that come and go while others run, and messages of topics without a handler.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use buslane::BusError;
use buslane_core::{Event, Record};
use buslane_testkit::deadline::until;
use buslane_testkit::signal::Gate;

use super::harness::refused;
use super::{
    BusHarness, Note, Seen, notes_events, notes_messages, notes_then_waits, now, publish_numbers,
};

/// A second subscription of a topic is refused, whatever its kind, and the first continues.
pub async fn b2_a_second_subscription_is_refused(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, other) = (harness.bus("g").await, Seen::new(), Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    let text = format!("already subscribed to topic: {topic}");
    assert_eq!(refused(bus.subscribe_envelopes(&topic, notes_events(&other)).await), text);
    let error = bus.subscribe(&topic, notes_messages(&other)).await.expect_err("refused");
    assert!(
        matches!(&error, BusError::AlreadySubscribed(refused) if *refused == topic),
        "{error:?}"
    );
    publish_numbers(&bus, &topic, "a", 0..5).await;
    seen.reached(5).await;
    assert!(other.is_empty());
    harness.end_clean(&bus).await;
}

/// Of eight concurrent subscriptions, exactly one succeeds.
pub async fn b2_of_many_subscriptions_at_once_one_succeeds(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let subscribing: Vec<_> = (0..8)
        .map(|_| {
            let (bus, topic, seen) = (bus.clone(), topic.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                bus.subscribe_envelopes(&topic, notes_events(&seen)).await.is_ok()
            })
        })
        .collect();
    let mut succeeded = 0;
    for subscribe in subscribing {
        succeeded += usize::from(subscribe.await.expect("no panic"));
    }
    assert_eq!(succeeded, 1);
    publish_numbers(&bus, &topic, "a", 0..5).await;
    harness.settled("g", &[&topic]).await;
    assert_eq!(seen.len(), 5);
    harness.end_clean(&bus).await;
}

/// A subscription to a later topic does not restart a running handler.
pub async fn b3_subscribing_later_does_not_restart_the_others(harness: BusHarness) {
    let (first, later) = (harness.topic("first"), harness.topic("later"));
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&first, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &first, "a", 0..3).await;
    seen.reached(1).await;
    let late = Seen::new();
    bus.subscribe_envelopes(&later, notes_events(&late)).await.expect("subscribes");
    publish_numbers(&bus, &later, "b", 0..5).await;
    late.reached(5).await;
    assert_eq!(seen.len(), 1);
    gate.open();
    harness.settled("g", &[&first, &later]).await;
    let notes = seen.all();
    assert_eq!(
        notes.iter().map(|note| (note.number(), note.attempt)).collect::<Vec<_>>(),
        [(0, 1), (1, 1), (2, 1)]
    );
    harness.end_clean(&bus).await;
}

/// The end of a subscription keeps its messages for later, and others continue.
pub async fn b3_ending_one_subscription_leaves_the_others(harness: BusHarness) {
    let (one, two) = (harness.topic("one"), harness.topic("two"));
    let (bus, seen_one, seen_two) = (harness.bus("g").await, Seen::new(), Seen::new());
    let subscription =
        bus.subscribe_envelopes(&one, notes_events(&seen_one)).await.expect("subscribes");
    bus.subscribe_envelopes(&two, notes_events(&seen_two)).await.expect("subscribes");
    publish_numbers(&bus, &one, "a", 0..5).await;
    publish_numbers(&bus, &two, "b", 0..5).await;
    harness.settled("g", &[&one, &two]).await;
    subscription.unsubscribe().await.expect("unsubscribes");
    publish_numbers(&bus, &one, "a", 5..10).await;
    publish_numbers(&bus, &two, "b", 5..10).await;
    harness.settled("g", &[&two]).await;
    assert_eq!((seen_one.len(), seen_two.len()), (5, 10));
    assert_eq!(harness.unsettled("g", &one).await, 5);
    assert_eq!(
        refused(subscription.unsubscribe().await),
        format!("not subscribed to topic: {one}")
    );
    assert_eq!(refused(bus.unsubscribe(&one).await), format!("not subscribed to topic: {one}"));
    harness.end_clean(&bus).await;
}

/// The end of a subscription drops its queued messages and lets the running ones finish. Another
/// subscription continues.
pub async fn b3_unsubscribing_leaves_what_is_queued_and_finishes_what_runs(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    seen.reached(1).await;
    harness
        .within("the end of the subscription", bus.unsubscribe(&topic))
        .await
        .expect("unsubscribes");
    assert_eq!(bus.pool_stats().open, 1, "nothing is queued any more");
    gate.open();
    super::harness::idle(&bus).await;
    assert_eq!(seen.len(), 1, "only what ran: {:?}", seen.all());
    let again = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&again)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    assert_eq!(
        again.all().iter().map(Note::number).collect::<Vec<_>>(),
        (1..10).collect::<Vec<_>>()
    );
    harness.end_clean(&bus).await;
}

/// A subscription begins and ends repeatedly while messages flow: each message is handled once, in
/// the order of its key.
pub async fn b3_coming_and_going_loses_and_doubles_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::<Note>::new());
    for round in 0..20 {
        let (own, all) = (Seen::new(), Arc::clone(&seen));
        let into = Arc::clone(&own);
        let handler = move |event: Event| {
            into.push(());
            let (all, note) = (Arc::clone(&all), Note::from(&event));
            async move {
                tokio::task::yield_now().await;
                all.push(note);
            }
        };
        bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
        for key in 0..20 {
            publish_numbers(&bus, &topic, &format!("a{key}"), round..round + 1).await;
        }
        own.reached(round % 7 * 3).await;
        harness
            .within("the end of the subscription", bus.unsubscribe(&topic))
            .await
            .expect("unsubscribes");
    }
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    let notes = seen.all();
    for key in 0..20 {
        let numbers = super::seen::numbers_of(&notes, &format!("a{key}"));
        assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "each once and in order");
    }
    harness.end_clean(&bus).await;
}

/// A new subscription of another kind resumes where the previous one stopped.
pub async fn b3_subscribing_again_continues(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    for round in 0..5 {
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
        publish_numbers(&bus, &topic, "a", 3 * round..3 * round + 3).await;
        harness.settled("g", &[&topic]).await;
        bus.unsubscribe(&topic).await.expect("unsubscribes");
    }
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..15).collect::<Vec<_>>()
    );
    bus.subscribe(&topic, notes_messages(&seen)).await.expect("subscribes");
    bus.publish(&topic, Record::new("15").with_key("a")).await.expect("published");
    assert_eq!(seen.reached(16).await[15].number(), 15);
    harness.end_clean(&bus).await;
}

/// The handle of an ended subscription does not end its successor.
pub async fn b3_an_old_handle_does_not_end_a_new_subscription(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let old = bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    bus.unsubscribe(&topic).await.expect("unsubscribes");
    let new = bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    assert_eq!(refused(old.unsubscribe().await), format!("not subscribed to topic: {topic}"));
    publish_numbers(&bus, &topic, "a", 0..5).await;
    seen.reached(5).await;
    assert_eq!(*new.topic(), topic);
    new.unsubscribe().await.expect("its own handle does");
    harness.end_clean(&bus).await;
}

/// Dropping the handle of a subscription, or the future of a subscribe, ends no subscription.
pub async fn b3_dropping_a_future_or_a_handle_ends_nothing(harness: BusHarness) {
    let (kept, dropped) = (harness.topic("kept"), harness.topic("dropped"));
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen = Seen::new();
    drop(bus.subscribe_envelopes(&kept, notes_events(&seen)).await.expect("subscribes"));
    faulty.hold_subscribe(&dropped, true);
    {
        let mut subscribing = pin!(bus.subscribe_envelopes(&dropped, notes_events(&seen)));
        let polled =
            std::future::poll_fn(|cx| Poll::Ready(subscribing.as_mut().poll(cx).is_pending()))
                .await;
        assert!(polled, "the broker holds it");
        harness.within("the subscribe waits", faulty.held(1)).await;
    }
    faulty.hold_subscribe(&dropped, false);
    publish_numbers(&bus, &kept, "a", 0..5).await;
    publish_numbers(&bus, &dropped, "b", 0..5).await;
    seen.reached(10).await;
    assert_eq!(
        refused(bus.subscribe(&dropped, now(|_| ())).await),
        format!("already subscribed to topic: {dropped}")
    );
    harness.end_clean(&bus).await;
}

/// When the future of an announcement or of an unsubscribe is dropped, the operation either
/// completes or has no effect.
pub async fn b3_dropping_other_futures_leaves_nothing_half_done(harness: BusHarness) {
    let (announced, ended) = (harness.topic("announced"), harness.topic("ended"));
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen = Seen::new();
    bus.subscribe_envelopes(&ended, notes_events(&seen)).await.expect("subscribes");
    faulty.hold_subscribe(&announced, true);
    {
        let topics = bus.topics();
        let mut announcing = pin!(topics.announce([&*announced]));
        let polled =
            std::future::poll_fn(|cx| Poll::Ready(announcing.as_mut().poll(cx).is_pending())).await;
        assert!(polled, "the broker holds it");
        harness.within("the announcement waits", faulty.held(1)).await;
        // The unsubscribe waits behind the announcement, and its future is dropped too.
        let mut ending = pin!(bus.unsubscribe(&ended));
        let polled =
            std::future::poll_fn(|cx| Poll::Ready(ending.as_mut().poll(cx).is_pending())).await;
        assert!(polled, "it waits for the announcement");
    }
    faulty.hold_subscribe(&announced, false);
    let start = std::time::Instant::now();
    while bus.status().held_topics != std::slice::from_ref(&announced) {
        assert!(start.elapsed() < harness.can.patience, "{:?}", bus.status());
        buslane_testkit::deadline::turn().await;
    }
    publish_numbers(&bus, &announced, "a", 0..3).await;
    bus.subscribe_envelopes(&announced, notes_events(&seen)).await.expect("subscribes");
    seen.reached(3).await;
    harness.end_clean(&bus).await;
}

/// A handler may end its own subscription, and its message is settled.
pub async fn b3_a_handler_may_end_its_own_subscription(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let (into, own, of) = (Arc::clone(&seen), bus.clone(), topic.clone());
    let handler = move |event: Event| {
        let (into, bus, topic) = (Arc::clone(&into), own.clone(), of.clone());
        async move {
            bus.unsubscribe(&topic).await?;
            into.push(Note::from(&event));
            Ok::<_, BusError>(())
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..5).await;
    seen.reached(1).await;
    super::harness::idle(&bus).await;
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    assert_eq!(seen.all().iter().map(Note::number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    harness.end_clean(&bus).await;
}

/// A topic that ends and returns while the group still rebalances is read again.
pub async fn b3_a_topic_that_comes_back_in_a_rebalance_is_read(harness: BusHarness) {
    let [gone, back, kept] = ["gone", "back", "kept"].map(|name| harness.topic(name));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    for topic in [&gone, &back, &kept] {
        bus.subscribe_envelopes(topic, notes_events(&seen)).await.expect("subscribes");
        publish_numbers(&bus, topic, topic, 0..3).await;
    }
    harness.settled("g", &[&gone, &back, &kept]).await;
    bus.unsubscribe(&gone).await.expect("unsubscribes");
    bus.unsubscribe(&back).await.expect("unsubscribes");
    bus.subscribe_envelopes(&back, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &back, &back, 3..6).await;
    publish_numbers(&bus, &kept, &kept, 3..6).await;
    seen.reached(15).await;
    harness.settled("g", &[&back, &kept]).await;
    for (topic, count) in [(&gone, 3), (&back, 6), (&kept, 6)] {
        assert_eq!(super::seen::numbers_of(&seen.all(), topic), (0..count).collect::<Vec<_>>());
    }
    harness.end_clean(&bus).await;
}

/// Twenty topics are subscribed concurrently, used, and ended concurrently.
pub async fn b3_many_topics_come_and_go_at_once(harness: BusHarness) {
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let topics: Vec<_> = (0..20).map(|n| harness.topic(&format!("t{n}"))).collect();
    for _ in 0..3 {
        let before = seen.len();
        let coming = topics.iter().map(|topic| {
            let (bus, topic, seen) = (bus.clone(), topic.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
                publish_numbers(&bus, &topic, "a", 0..3).await;
            })
        });
        for come in coming.collect::<Vec<_>>() {
            come.await.expect("no panic");
        }
        seen.reached(before + 60).await;
        harness.settled("g", &topics.iter().collect::<Vec<_>>()).await;
        let going = topics.iter().map(|topic| {
            let (bus, topic) = (bus.clone(), topic.clone());
            tokio::spawn(async move { bus.unsubscribe(&topic).await.expect("unsubscribes") })
        });
        for go in going.collect::<Vec<_>>() {
            go.await.expect("no panic");
        }
    }
    assert_eq!(seen.len(), 180);
    harness.end_clean(&bus).await;
}

/// An announced topic is read. Without a handler, its messages stay unsettled, and the status names
/// the topic.
pub async fn b4_messages_of_an_announced_topic_wait_for_their_handler(harness: BusHarness) {
    let (events, raw, other) =
        (harness.topic("events"), harness.topic("raw"), harness.topic("other"));
    let mut config = harness.config("g");
    config.topics = [&events, &raw, &other].map(ToString::to_string).to_vec();
    let (bus, seen) = (harness.bus_of(config).await, Seen::new());
    bus.subscribe_envelopes(&other, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &events, "a", 0..10).await;
    bus.publish(&raw, Record::new("10").with_key("k")).await.expect("published");
    publish_numbers(&bus, &other, "a", 11..12).await;
    assert_eq!(seen.reached(1).await[0].number(), 11, "other topics go on");
    let mut held = vec![events.clone(), raw.clone()];
    held.sort();
    assert_eq!(bus.status().held_topics, held);
    assert_eq!(
        (harness.unsettled("g", &events).await, harness.unsettled("g", &raw).await),
        (10, 1)
    );

    bus.subscribe_envelopes(&events, notes_events(&seen)).await.expect("subscribes");
    bus.subscribe(&raw, notes_messages(&seen)).await.expect("subscribes");
    let mut numbers: Vec<_> = seen.reached(12).await.iter().map(Note::number).collect();
    assert_eq!(
        numbers.iter().filter(|n| **n < 10).copied().collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    numbers.sort_unstable();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    assert_eq!(bus.status().held_topics, []);
    harness.settled("g", &[&events, &raw, &other]).await;
    harness.end_clean(&bus).await;
}

/// A topic that is announced and never gets a handler keeps all messages for the next bus.
pub async fn b4_what_is_never_activated_is_left_alone(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.topics().announce([&*topic]).await.expect("announced");
    publish_numbers(&bus, &topic, "a", 0..5).await;
    let report = harness.end(&bus).await;
    assert_eq!((report.finished, report.abandoned), (0, 0), "{report:?}");
    assert_eq!(harness.unsettled("g", &topic).await, 5);
    let bus = harness.bus("g").await;
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    assert_eq!(seen.reached(5).await.iter().map(Note::number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Announcing a topic twice, or one that is already subscribed, changes nothing. An invalid name
/// refuses the whole call before the bus joins the group.
pub async fn b4_announcing_again_changes_nothing(harness: BusHarness) {
    let (one, two) = (harness.topic("one"), harness.topic("two"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&one, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &one, "a", 0..5).await;
    let error = bus.topics().announce([&*two, "a b"]).await.expect_err("a bad name");
    assert!(error.to_string().starts_with("invalid topic \"a b\""), "{error}");
    assert_eq!(bus.status().held_topics, []);
    for _ in 0..2 {
        bus.topics().announce([&*one, &*two]).await.expect("announced");
    }
    bus.topics().announce::<&str>([]).await.expect("nothing to do");
    assert_eq!(bus.status().held_topics, std::slice::from_ref(&two));
    publish_numbers(&bus, &one, "a", 5..10).await;
    assert_eq!(
        seen.reached(10).await.iter().map(Note::number).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    harness.end_clean(&bus).await;
}

/// The log reports held messages with one line for each source.
pub async fn d7_held_messages_are_told_of(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    bus.topics().announce([&*topic]).await.expect("announced");
    publish_numbers(&bus, &topic, "a", 0..100).await;
    until("the line", || !harness.logs.saying("messages held: no handler").is_empty()).await;
    let lines = harness.logs.saying("messages held: no handler");
    assert!(lines.iter().all(|line| line.field("topic") == &*topic), "{lines:?}");
    assert!(lines.len() <= 16, "a line for each source, none for a message: {}", lines.len());
    harness.end(&bus).await;
}
