//! The rendered Prometheus page of a bus equals its traffic. SPEC: O1, O2

use super::metrics_page::MetricsPage;
use super::{BusHarness, PoolKind, Seen, envelope, fails, now, publish};
use buslane::metrics::{MetricKind, all};
use buslane_core::{Event, Message, Record};
use buslane_testkit::{deadline::until, signal::Gate};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The counters of the bus, by topic, and of its pool equal the traffic: published, consumed,
/// errors by kind, retries, dead letters, skipped.
pub async fn o1_the_page_equals_the_traffic(harness: BusHarness) {
    let (raw, events, skips) =
        (harness.topic("raw"), harness.topic("events"), harness.topic("skips"));
    let dead = harness.topic("dead");
    let mut config = harness.config("g");
    // Publishes that are slow on a busy machine must not count as held back.
    config.publish_fast_path = config.publish_timeout;
    let (bus, page) = harness.bus_with_page(config).await;
    let handler = now(|message: Message| match &message.payload[..] {
        b"fail" => Err("no"),
        b"panic" => std::panic::resume_unwind(Box::new("boom")),
        _ => Ok(()),
    });
    bus.subscribe(&raw, handler).await.expect("subscribes");
    let seen = Seen::new();
    // Of ten numbers: 3 fails once, 5 twice, 7 for good, and 8 panics once.
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        let note = super::Note::from(&event);
        into.push(note.clone());
        match (note.number(), note.attempt) {
            (3, 1) | (5, 1 | 2) | (7, _) => Err("no"),
            (8, 1) => std::panic::resume_unwind(Box::new("boom")),
            _ => Ok(()),
        }
    });
    bus.subscription(&events).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    bus.subscription(&skips)
        .skip_failed()
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    for body in ["fail", "good", "panic", "good", "fail"] {
        bus.publish(&raw, Record::new(body).with_key("k")).await.expect("published");
    }
    let envelopes: Vec<_> = (0..10).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &events, &envelopes).await;
    publish(&bus, &skips, &[envelope("b", 0)]).await;
    bus.publish(&events, Record::new("torn").with_key("c")).await.expect("published");
    harness.settled("g", &[&raw, &events, &skips]).await;
    harness.audit(&dead, 2).await;
    super::harness::idle(&bus).await;

    let restarts = f64::from(u8::from(harness.pool == PoolKind::Actor));
    let of = |name: &str, topic: &str, value: f64| (format!("{name}{{topic=\"{topic}\"}}"), value);
    let errors = |topic: &str, kind: &str, value: f64| {
        (format!("processing_errors_total{{topic=\"{topic}\",kind=\"{kind}\"}}"), value)
    };
    let of_bus = [
        of("messages_published_total", &raw, 5.0),
        of("messages_published_total", &events, 11.0),
        of("messages_published_total", &skips, 1.0),
        of("messages_consumed_total", &raw, 5.0),
        of("messages_consumed_total", &events, 11.0),
        of("messages_consumed_total", &skips, 1.0),
        errors(&raw, "regular", 3.0),
        // 3 fails once, 5 twice, 7 three times, 8 once, the torn one once.
        errors(&events, "envelope", 8.0),
        errors(&skips, "envelope", 3.0),
        // Each failure leads to a retry, except the last one of 7, of the torn and of the skipped
        // one.
        of("retry_attempts_total", &events, 6.0),
        of("retry_attempts_total", &skips, 2.0),
        of("dead_letter_messages_total", &events, 2.0),
        of("skipped_messages_total", &skips, 1.0),
    ];
    let of_pool = [
        ("messages_sent_total", 17.0),
        ("messages_processed_total{success=\"true\"}", 11.0),
        ("messages_processed_total{success=\"false\"}", 6.0),
        ("handler_panics_total{kind=\"regular\"}", 1.0),
        ("handler_panics_total{kind=\"envelope\"}", 1.0),
        ("actor_restarted_total", restarts),
    ];
    let of_pool = of_pool.map(|(name, value)| (page.in_pool(name), value));
    let expected: BTreeMap<String, f64> = of_bus.into_iter().chain(of_pool).collect();
    let is_counter = |series: &str| {
        all().any(|metric| {
            metric.kind == MetricKind::Counter && series.starts_with(&page.name_of(metric))
        })
    };
    let counters: BTreeMap<String, f64> =
        page.read().into_iter().filter(|(series, _)| is_counter(series)).collect();
    let counted: BTreeMap<String, f64> =
        counters.into_iter().filter(|(_, value)| *value != 0.0).collect();
    // All other counters are zero.
    let expected: BTreeMap<String, f64> =
        expected.into_iter().filter(|(_, value)| *value != 0.0).collect();
    assert_eq!(counted, expected);
    // The first of the calls to each of the three topics.
    assert_eq!(page.value("publish_latency_seconds_count"), 3.0);
    assert!(page.value("publish_latency_seconds_sum") > 0.0);
    harness.end_clean(&bus).await;
    gauges_are_zero(page);
}

/// Every attempt is a first attempt or a retry under every policy, also for a blocked key.
pub async fn o1_attempts_are_messages_and_retries(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, page) = harness.bus_with_page(harness.config("g")).await;
    let seen = Seen::new();
    // Three attempts are configured, and the blocked key fails two more.
    let handler = fails(&seen, |note| note.label == "a0" && note.attempt <= 5);
    bus.subscription(&topic).block_failed().envelopes(handler).await.expect("subscribes");
    let envelopes: Vec<_> = (0..20).map(|n| envelope(&format!("a{}", n % 10), n)).collect();
    publish(&bus, &topic, &envelopes).await;
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    assert_eq!(seen.len(), 20 + 5 + 5);
    let of = |name: &str| page.value(&format!("{name}{{topic=\"{topic}\"}}"));
    assert_eq!((of("messages_consumed_total"), of("retry_attempts_total")), (20.0, 10.0));
    let errors = format!("processing_errors_total{{topic=\"{topic}\",kind=\"envelope\"}}");
    assert_eq!(page.value(&errors), 10.0);
    harness.end_clean(&bus).await;
    gauges_are_zero(page);
}

/// Gauges rise with what they measure, and return to zero.
pub async fn o1_gauges_return_to_zero(harness: BusHarness) {
    let (topic, held) = (harness.topic("orders"), harness.topic("held"));
    let (bus, page) = harness.bus_with_page(harness.sized("g", 2, 5)).await;
    let gate = Arc::new(Gate::default());
    let opened = Arc::clone(&gate);
    let handler = move |_: Event| {
        let gate = Arc::clone(&opened);
        async move { gate.wait().await }
    };
    bus.topics().announce([&*held]).await.expect("announced");
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    bus.set_recovery_mode(true);
    let envelopes: Vec<_> = (0..100).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &topic, &envelopes).await;
    until("the pool is full", || page.pool("inbox_depth") == 10.0).await;
    until("a source waits for room", || page.value("sources_stalled") > 0.0).await;
    until("a source waits for its handler", || page.value("sources_held") > 0.0).await;
    assert_eq!((page.pool("inbox_utilization"), page.value("recovery_mode_active")), (1.0, 1.0));
    gate.open();
    harness.settled("g", &[&topic]).await;
    bus.set_recovery_mode(false);
    super::harness::idle(&bus).await;
    until("no source waits for room", || page.value("sources_stalled") == 0.0).await;
    assert!(page.read().keys().any(|name| name.starts_with("message_processing_seconds")));
    harness.end_clean(&bus).await;
    gauges_are_zero(page);
}

/// The page has exactly the metrics of the catalogue, with the same descriptions and at most the
/// stated number of series. The series of a partition fall to zero when the partition leaves.
pub async fn o1_the_page_is_the_catalogue(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.sized("g", 2, 5);
    config.backlog.check_interval = Duration::from_millis(20);
    let (bus, page) = harness.bus_with_page(config).await;
    let gate = Arc::new(Gate::default());
    let opened = Arc::clone(&gate);
    let handler = move |_: Event| {
        let gate = Arc::clone(&opened);
        async move { gate.wait().await }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let envelopes: Vec<_> = (0..100).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &topic, &envelopes).await;
    let of = |name: &str| {
        let metric = all().find(|metric| metric.name == name).expect("it is in the catalogue");
        page.series_of(metric)
    };
    let sum = |name: &str| of(name).iter().map(|series| series.value).sum::<f64>();
    until("a partition waits for room", || sum("partition_stall_seconds") > 0.0).await;
    until("all are behind", || sum("consumer_lag") == 100.0 && sum("consumer_lag_seconds") > 0.0)
        .await;
    for series in of("partition_stall_seconds").iter().chain(&of("consumer_lag")) {
        assert_eq!(series.labels["topic"], *topic, "{series:?}");
    }
    gate.open();
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;

    assert!(page.strangers().is_empty(), "{:#?}", page.strangers());
    let (text, partitions) = (page.text(), of("consumer_lag").len());
    for metric in all() {
        let (series, name) = (page.series_of(metric), page.name_of(metric));
        let described = |what: &str, how: &str| {
            text.lines().any(|line| {
                line.starts_with(&format!("# {what} ")) && line.ends_with(&format!("{name} {how}"))
            })
        };
        assert!(
            described("HELP", metric.help) && described("TYPE", metric.kind.as_str()),
            "{name} in {text}"
        );
        assert!(!series.is_empty(), "{name} is not on the page");
        for series in &series {
            assert!(series.is_labelled_as(metric), "{series:?}");
            assert!(!metric.is_per_topic() || series.labels["topic"] == *topic, "{series:?}");
        }
        let times = if metric.is_per_partition() { partitions } else { 1 };
        let most = match metric.kind {
            MetricKind::Histogram => {
                series.iter().filter(|series| series.name.ends_with("_count")).count()
            }
            MetricKind::Counter | MetricKind::Gauge => series.len(),
        };
        assert!(most <= times * metric.series(), "{name}: {series:?}");
    }
    bus.unsubscribe(&topic).await.expect("unsubscribes");
    let per_partition = || {
        all().filter(|metric| metric.is_per_partition()).flat_map(|metric| page.series_of(metric))
    };
    until("the partitions are gone", || per_partition().all(|series| series.value == 0.0)).await;
    harness.end_clean(&bus).await;
    gauges_are_zero(page);
}

/// A message whose partition leaves while it is being handled is a straggler until its handler
/// ends. Its settlement then counts as late.
pub async fn k3_stragglers_and_late_completions_are_counted(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    config.health.check_interval = Duration::from_millis(10);
    let (bus, page) = harness.impatient_bus_with_page(config).await;
    let gate = Arc::new(Gate::default());
    let (opened, seen) = (Arc::clone(&gate), Seen::new());
    let into = Arc::clone(&seen);
    let handler = move |event: Event| {
        into.push(super::Note::from(&event));
        let gate = Arc::clone(&opened);
        async move { gate.wait().await }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish(&bus, &topic, &[envelope("a", 0)]).await;
    until("it is being handled", || seen.len() == 1).await;
    assert_eq!((page.value("stragglers"), page.value("late_completions_total")), (0.0, 0.0));
    bus.unsubscribe(&topic).await.expect("unsubscribes");
    until("it is a straggler", || page.value("stragglers") == 1.0).await;
    assert_eq!(page.value("late_completions_total"), 0.0);
    gate.open();
    until("it is done too late", || page.value("late_completions_total") == 1.0).await;
    until("it is none any more", || page.value("stragglers") == 0.0).await;
    harness.end_clean(&bus).await;
}

fn gauges_are_zero(page: &MetricsPage) {
    for name in ["sources_held", "sources_stalled", "recovery_mode_active"] {
        assert_eq!(page.value(name), 0.0, "{name}");
    }
    for name in ["processors_total", "processors_active", "processors_idle"] {
        assert_eq!(page.value(name), 0.0, "{name}");
    }
    for name in ["inbox_depth", "inbox_utilization"] {
        assert_eq!(page.pool(name), 0.0, "{name}");
    }
}

/// A dropped bus resets its gauges too.
pub async fn o1_gauges_return_to_zero_after_a_crash(harness: BusHarness) {
    let (topic, held) = (harness.topic("orders"), harness.topic("held"));
    let (bus, page) = harness.bus_with_page(harness.sized("g", 2, 5)).await;
    let handler = |_: Event| std::future::pending::<()>();
    bus.topics().announce([&*held]).await.expect("announced");
    let subscription = bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let envelopes: Vec<_> = (0..100).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &topic, &envelopes).await;
    until("a source waits for room", || page.value("sources_stalled") > 0.0).await;
    until("a source waits for its handler", || page.value("sources_held") > 0.0).await;
    drop((subscription, bus));
    buslane_testkit::leak::no_more_tasks_than(0).await;
    until("the gauges", || page.pool("inbox_depth") == 0.0 && page.value("sources_stalled") == 0.0)
        .await;
    gauges_are_zero(page);
}
