//! Backlogs of reading and of publishing: an event reports the start and the end. SPEC: L1, L2

use super::{
    BusHarness, Note, Seen, envelope, events_of, notes_events, notes_then_waits, publish,
    publish_numbers,
};
use buslane::{BusEvent, Config, PartitionBacklog, Severity};
use buslane_core::Topic;
use buslane_testkit::{deadline, signal::Gate};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// A configuration that checks the backlog often, with these limits and without recovery mode.
fn watchful(mut config: Config, messages: u64, age: Duration) -> Config {
    config.backlog.check_interval = Duration::from_millis(10);
    (config.backlog.messages, config.backlog.age) = (messages, age);
    config.recovery.on_backlog = false;
    config.recovery.at_start = buslane::config::RecoveryStart::Never;
    config
}

fn entered(event: &BusEvent, topic: &Topic) -> bool {
    matches!(event, BusEvent::BacklogEntered(PartitionBacklog { topic: at, .. }) if at == topic)
}

fn left(event: &BusEvent, topic: &Topic) -> bool {
    matches!(event, BusEvent::BacklogLeft(PartitionBacklog { topic: at, .. }) if at == topic)
}

/// Callbacks, the status, metrics and the log report a backlog, and its end once the messages are
/// handled.
pub async fn l1_a_backlog_of_messages_is_told_of_and_goes(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, page) =
        harness.bus_with_page(watchful(harness.config("g"), 20, Duration::ZERO)).await;
    let (events, seen, gate) = (events_of(&bus), Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..50).await;
    let detected = "backlog_detected{side=\"subscriber\"}";
    events.until("it is entered", |events| events.iter().any(|event| entered(event, &topic))).await;
    // The age of a partition's backlog is unknown until its first message is read.
    seen.reached(1).await;
    let is_aged = || bus.status().backlog.first().is_some_and(|behind| behind.age.is_some());
    deadline::until("its age is known", is_aged).await;
    let status = bus.status();
    assert_eq!(status.backlog.len(), 1, "{status:?}");
    assert!(status.backlog[0].topic == topic && status.backlog[0].messages > 20, "{status:?}");
    assert!(!bus.recovery().is_active());
    assert_eq!(page.value(detected), 1.0);
    gate.open();
    events.until("it is left", |events| events.iter().any(|event| left(event, &topic))).await;
    assert_eq!((bus.status().backlog.len(), page.value(detected)), (0, 0.0));
    let all = events.all();
    assert_eq!(all.iter().filter(|event| entered(event, &topic)).count(), 1, "{all:?}");
    assert_eq!(harness.logs.saying("backlog entered").len(), 1);
    assert_eq!(harness.logs.saying("backlog left").len(), 1);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A single old message is a backlog.
pub async fn l1_an_old_message_is_a_backlog(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus_of(watchful(harness.config("g"), 0, Duration::from_millis(60))).await;
    let (events, seen, gate) = (events_of(&bus), Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let all = events
        .until("it is entered", |events| events.iter().any(|event| entered(event, &topic)))
        .await;
    // On a starved machine, other events may precede this one.
    let behind = all.iter().find_map(|event| match event {
        BusEvent::BacklogEntered(behind) => Some(behind),
        _ => None,
    });
    let behind = behind.unwrap_or_else(|| panic!("{all:?}"));
    assert!(behind.messages == 1 && behind.age > Some(Duration::from_millis(60)), "{behind:?}");
    gate.open();
    events.until("it is left", |events| events.iter().any(|event| left(event, &topic))).await;
    harness.end_clean(&bus).await;
}

/// Without a limit, no number of waiting messages is a backlog.
pub async fn l1_without_limits_nothing_is_a_backlog(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, faulty) = harness.faulty_bus(watchful(harness.config("g"), 0, Duration::ZERO)).await;
    let (events, seen, gate) = (events_of(&bus), Seen::<Note>::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..100).await;
    seen.reached(1).await;
    let asked = faulty.lags_asked();
    harness.within("some looks", faulty.lag_asked(asked + 5)).await;
    assert!(events.is_empty() && bus.status().backlog.is_empty(), "{:?}", events.all());
    gate.open();
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// The end of a subscription ends its backlog, because another member reads the topic then.
pub async fn l1_a_backlog_goes_with_its_subscription(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus_of(watchful(harness.config("g"), 20, Duration::ZERO)).await;
    let (events, seen, gate) = (events_of(&bus), Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..50).await;
    events.until("it is entered", |events| events.iter().any(|event| entered(event, &topic))).await;
    gate.open();
    bus.limits().set_subscribe(Some(buslane::RateLimit::new(1, 1))).expect("a good limit");
    bus.unsubscribe(&topic).await.expect("unsubscribes");
    events.until("it is left", |events| events.iter().any(|event| left(event, &topic))).await;
    assert!(bus.status().backlog.is_empty());
    bus.limits().set_subscribe(None).expect("no limit is a good one");
    bus.subscribe_envelopes(&topic, notes_events(&Seen::new())).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// The severities of the reported changes, in order.
fn severities(events: &[BusEvent]) -> Vec<(Severity, Severity)> {
    let changes = events.iter().filter_map(|event| match event {
        BusEvent::PublishBacklog { before, now } => Some((*before, now.severity)),
        _ => None,
    });
    changes.collect()
}

async fn given_up(publishing: JoinHandle<()>) {
    publishing.abort();
    assert!(publishing.await.expect_err("aborted").is_cancelled());
}

/// The broker never answers. A half-full queue of publishes is a warning, a full one is critical,
/// and both end with the publishes.
pub async fn l2_records_that_pile_up_are_told_of(harness: BusHarness) {
    use Severity::{Critical, Normal, Warning};
    let topic = harness.topic("orders");
    let mut config = watchful(harness.config("g"), 0, Duration::ZERO);
    (config.backlog.publish_depth, config.publish_timeout) = (10, harness.can.patience * 10);
    config.backlog.publish_latency = Duration::ZERO;
    let (bus, faulty) = harness.faulty_bus(config).await;
    let events = events_of(&bus);
    faulty.keep_silent(&topic);
    let publishing = |records: usize| {
        let (bus, topic) = (bus.clone(), topic.clone());
        tokio::spawn(async move {
            let envelopes: Vec<_> = (0..records).map(|n| envelope("a", n)).collect();
            publish(&bus, &topic, &envelopes).await;
        })
    };
    let first = publishing(5);
    events.until("a warning", |events| severities(events) == [(Normal, Warning)]).await;
    let now = bus.status().publish_backlog;
    assert_eq!((now.severity, now.depth), (Warning, 5));
    let second = publishing(5);
    events
        .until("critical", |events| severities(events).last() == Some(&(Warning, Critical)))
        .await;
    assert_eq!(bus.status().publish_backlog.depth, 10);
    // The two groups end one after the other: a simultaneous end could show one change or two.
    given_up(second).await;
    events
        .until("a warning again", |events| severities(events).last() == Some(&(Critical, Warning)))
        .await;
    given_up(first).await;
    events
        .until("the end of it", |events| severities(events).last() == Some(&(Warning, Normal)))
        .await;
    assert_eq!(bus.status().publish_backlog.depth, 0);
    let lines = harness.logs.saying("publish backlog");
    let told: Vec<_> = lines.iter().map(|line| line.field("severity")).collect();
    assert_eq!(told, ["warning", "critical", "warning"]);
    assert_eq!(harness.logs.saying("publish backlog left").len(), 1);
    harness.end_clean(&bus).await;
}

/// Slow answers raise the severity, and only while they are slow.
pub async fn l2_slow_answers_are_told_of(harness: BusHarness) {
    use Severity::{Critical, Normal};
    let topic = harness.topic("orders");
    let mut config = watchful(harness.config("g"), 0, Duration::ZERO);
    (config.backlog.publish_depth, config.backlog.publish_latency) = (0, Duration::from_millis(2));
    config.publish_timeout = Duration::from_millis(50);
    config.publish_fast_path = Duration::from_millis(1);
    let (bus, faulty) = harness.faulty_bus(config).await;
    let events = events_of(&bus);
    faulty.keep_silent(&topic);
    bus.publish_envelope(&topic, envelope("a", 0)).await.expect_err("nobody answers");
    events
        .until("it is critical, then not", |events| {
            severities(events) == [(Normal, Critical), (Critical, Normal)]
        })
        .await;
    harness.end_clean(&bus).await;
}
