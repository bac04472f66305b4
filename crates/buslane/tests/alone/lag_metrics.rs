//! The lag of each partition on the page. A task of the bus binds these handles as partitions come,
//! so it takes a recorder of the whole process.
//! SPEC: O1, L1
#![allow(clippy::unwrap_used, reason = "a test")]

use super::is_alone;
use buslane::{Config, Envelope, Event, EventBus, TopicSettings, TopicStrategy};
use buslane_testkit::{deadline::until, signal::Gate};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::{sync::Arc, time::Duration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_the_lag_of_each_partition_is_on_the_page() {
    if !is_alone("lag_metrics::o1_the_lag_of_each_partition_is_on_the_page") {
        return;
    }
    let page = PrometheusBuilder::new().install_recorder().unwrap();
    let value = |series: &str| {
        let text = page.render();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.map(|value| value.parse::<f64>().unwrap())
    };
    let mut config = Config::default();
    // What is on the page does not wait for the next check of the backlog.
    config.backlog.check_interval = Duration::from_hours(1);
    config.health.check_interval = Duration::from_millis(10);
    config.health.partition_limit = Duration::from_millis(10);
    let bus = EventBus::connect(config).await.unwrap();
    let settings = TopicSettings { partitions: Some(2), ..TopicSettings::default() };
    bus.configure_topic("orders", &settings, TopicStrategy::CreateOnly).await.unwrap();
    let gate = Arc::new(Gate::default());
    let opened = Arc::clone(&gate);
    let handler = move |_: Event| {
        let gate = Arc::clone(&opened);
        async move { gate.wait().await }
    };
    bus.subscribe_envelopes("orders", handler).await.unwrap();
    let mut of = [0.0, 0.0];
    for n in 0..20 {
        let receipt = bus
            .publish_envelope("orders", Envelope::new(format!("a{n}"), "Placed", &n).unwrap())
            .await;
        of[receipt.unwrap().partition as usize] += 1.0;
    }
    let lag = |what: &str, partition: usize| {
        value(&format!(
            "memory_eventbus_consumer_lag{what}{{topic=\"orders\",partition=\"{partition}\"}}"
        ))
    };
    for (partition, messages) in of.into_iter().enumerate() {
        assert!(messages > 0.0, "{of:?}");
        until("the lag is there", || lag("", partition) == Some(messages)).await;
        let seconds = || lag("_seconds", partition);
        until("it grows old", || seconds().is_some_and(|seconds| seconds > 0.0)).await;
        let before = seconds();
        until("it grows older", || seconds() > before).await;
    }
    gate.open();
    for partition in [0, 1] {
        until("it is gone", || {
            lag("", partition) == Some(0.0) && lag("_seconds", partition) == Some(0.0)
        })
        .await;
    }
    let closed = bus.clone();
    closed.shutdown(Duration::from_secs(10)).await.unwrap();
}
