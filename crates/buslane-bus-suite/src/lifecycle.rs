//! The end of a bus: every caller sees it closed and gets the same answer, and nothing is left
//! behind.

use super::{
    BusHarness, Note, Seen, fails, harness::refused, notes_events, notes_then_waits, now,
    publish_numbers,
};
use buslane::EventBus;
use buslane_core::{Event, TopicSettings, TopicStrategy};
use buslane_testkit::{
    leak,
    signal::{Barrier, Gate},
};
use std::{sync::Arc, time::Duration};

/// Every call is refused with the same error.
pub async fn b2_a_closed_bus_refuses_everything(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.end_clean(&bus).await;
    let closed = "eventbus is closed";
    assert_eq!(refused(bus.publish(&topic, "x").await), closed);
    assert_eq!(refused(bus.publish_batch(&topic, vec!["x".into()]).await), closed);
    assert_eq!(refused(bus.publish_envelope(&topic, super::envelope("a", 1)).await), closed);
    assert_eq!(refused(bus.publish_envelopes(&topic, &[super::envelope("a", 1)]).await), closed);
    assert_eq!(refused(bus.subscribe_envelopes("other", notes_events(&seen)).await), closed);
    assert_eq!(refused(bus.subscription(&topic).envelopes(notes_events(&seen)).await), closed);
    assert_eq!(refused(bus.topics().announce(["other"]).await), closed);
    assert_eq!(refused(bus.unsubscribe(&topic).await), closed);
    assert_eq!(refused(subscription.unsubscribe().await), closed);
    let settings = TopicSettings::default();
    assert_eq!(
        refused(bus.configure_topic(&topic, &settings, TopicStrategy::CreateOnly).await),
        closed
    );
    assert_eq!(refused(bus.topic_config(&topic).await), closed);
    assert!(bus.status().closed);
}

/// Two calls in a row, and eight concurrent ones.
pub async fn b2_every_shutdown_gets_the_same_answer(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, gate, started) = (harness.bus("g").await, Arc::new(Gate::default()), Seen::new());
    bus.subscribe_envelopes(&topic, notes_then_waits(&started, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    started.reached(1).await;
    let closing: Vec<_> = (0..8)
        .map(|_| {
            let (bus, patience) = (bus.clone(), harness.can.patience);
            tokio::spawn(async move { bus.shutdown(patience).await })
        })
        .collect();
    buslane_testkit::deadline::until("it is closed", || bus.status().closed).await;
    gate.open();
    let mut answers = Vec::new();
    for close in closing {
        answers.push(close.await.expect("no panic").expect("it reports"));
    }
    answers.push(bus.shutdown(Duration::ZERO).await.expect("it reports"));
    assert_eq!(answers[0].finished, 1, "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// A cancelled shutdown does not leave the bus half closed.
pub async fn b2_a_shutdown_goes_on_without_its_caller(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, gate, started) = (harness.bus("g").await, Arc::new(Gate::default()), Seen::new());
    bus.subscribe_envelopes(&topic, notes_then_waits(&started, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    started.reached(1).await;
    let patience = harness.can.patience;
    let given_up = tokio::time::timeout(Duration::from_millis(5), bus.shutdown(patience)).await;
    assert!(given_up.is_err(), "a handler is running");
    gate.open();
    assert_eq!(harness.end(&bus).await.finished, 1);
}

/// The report counts the finished messages and has the duration.
pub async fn b9_shutdown_reports(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    harness.settled("g", &[&topic]).await;
    let report = harness.end(&bus).await;
    assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 0, 0), "{report:?}");
    assert!(report.elapsed > Duration::ZERO && report.elapsed < harness.can.patience);
    let line = harness.logs.saying("bus closed");
    assert_eq!(line.len(), 1, "{line:?}");
}

/// The configured deadline is the one that counts where the caller names none.
pub async fn b9_the_configured_deadline_counts(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    config.shutdown_deadline = Duration::from_millis(40);
    let (bus, started) = (harness.bus_of(config).await, Seen::new());
    let into = Arc::clone(&started);
    let handler = move |_: Event| {
        into.push(());
        std::future::pending::<()>()
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    started.reached(1).await;
    let report = harness.within("the shutdown", bus.close()).await.expect("it reports");
    assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 1, 0), "{report:?}");
    assert!(report.elapsed >= Duration::from_millis(40), "{report:?}");
}

/// A handler that blocks its thread past the deadline is named, and the shutdown ends all the same.
pub async fn b9_a_handler_that_blocks_its_thread_is_named(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, started, barrier) =
        (harness.bus("g").await, Seen::new(), Arc::new(Barrier::default()));
    let (into, opened) = (Arc::clone(&started), Arc::clone(&barrier));
    let handler = now(move |_: Event| {
        into.push(());
        opened.block();
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    started.reached(1).await;
    let report = harness
        .within("the shutdown", bus.shutdown(Duration::from_millis(20)))
        .await
        .expect("it reports");
    barrier.open();
    assert_eq!(report.stragglers, 1, "{report:?}");
    leak::no_more_tasks_than(0).await;
}

/// A subscribe that hangs in the broker does not keep the bus from ending.
pub async fn b9_shutdown_ends_a_subscribe_that_hangs(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    faulty.hold_subscribe(&topic, true);
    let hanging = tokio::spawn({
        let (bus, topic) = (bus.clone(), topic.clone());
        async move { bus.subscribe_envelopes(&topic, now(|_: Event| ())).await }
    });
    harness.within("the subscribe hangs", faulty.held(1)).await;
    harness.end_clean(&bus).await;
    assert_eq!(refused(hanging.await.expect("no panic")), "eventbus is closed");
}

/// Many buses, one after the other and two at a time, each with work: nothing is left of any.
pub async fn t3_many_buses_leave_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let before = leak::tasks();
    for round in 0..10 {
        let seen = Seen::<Note>::new();
        let buses: [EventBus; 2] = [harness.bus("g").await, harness.bus("g").await];
        for bus in &buses {
            let handler = fails(&seen, |note| note.attempt == 1 && note.number() % 7 == 0);
            bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
        }
        publish_numbers(&buses[0], &topic, &format!("a{round}"), 0..20).await;
        harness.settled("g", &[&topic]).await;
        let [one, two] = buses;
        if round % 2 == 0 {
            harness.end_clean(&one).await;
            harness.end_clean(&two).await;
        } else {
            drop((one, two));
        }
        leak::no_more_tasks_than(before).await;
    }
}

/// A handler that shuts its own bus down is cancelled at the deadline, because the shutdown waits
/// for it. Its message is left for redelivery.
pub async fn b9_a_handler_may_shut_its_bus_down(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let own = bus.clone();
    let handler = move |_: Event| {
        let bus = own.clone();
        async move {
            let _ = bus.shutdown(Duration::from_millis(20)).await;
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    buslane_testkit::deadline::until("it is closed", || bus.status().closed).await;
    let report = harness.end(&bus).await;
    assert_eq!((report.finished, report.abandoned), (0, 1), "{report:?}");
    assert_eq!(harness.unsettled("g", &topic).await, 1);
}

/// A broker that is closed already: the bus does not start, and leaves nothing of itself.
pub async fn b2_a_bus_on_a_closed_broker_does_not_start(harness: BusHarness) {
    let mut config = harness.config("g");
    config.topics = vec![harness.topic("orders").to_string()];
    let broker = harness.broker(&config).await;
    broker.close(Duration::ZERO).await.expect("nothing is open");
    let error = EventBus::with_broker(config, broker).await.expect_err("closed");
    assert_eq!(error.to_string(), "eventbus is closed");
    leak::no_more_tasks_than(0).await;
}
