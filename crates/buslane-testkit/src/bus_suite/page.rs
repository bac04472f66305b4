//! The Prometheus page of one bus, rendered without a server.

use super::Ground;
use buslane::{Config, EventBus};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::collections::BTreeMap;

/// The page of a bus.
pub(super) struct Page {
    handle: PrometheusHandle,
    /// `memory_eventbus_`, and so on.
    prefix: String,
    pool: &'static str,
}

impl Page {
    /// Every series with its value, without the prefix.
    pub(super) fn read(&self) -> BTreeMap<String, f64> {
        let text = self.handle.render();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| line.rsplit_once(' ').expect("a series and a value"));
        series
            .map(|(name, value)| {
                let name = name.strip_prefix(&self.prefix).expect("every name begins with the backend");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    pub(super) fn value(&self, name: &str) -> f64 {
        self.read().get(name).copied().unwrap_or_else(|| panic!("no {name} in {:#?}", self.read()))
    }

    pub(super) fn pool(&self, name: &str) -> f64 {
        self.value(&format!("{}_pool_{name}", self.pool))
    }
}

/// A bus whose metrics go to a page of their own: handles are bound as it is made.
pub(super) async fn bus_with_page(ground: &Ground, config: Config) -> (EventBus, Page) {
    let broker = ground.broker(&config).await;
    let prefix = format!("{}_eventbus_", broker.backend());
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let bus = {
        let _recorded = metrics::set_default_local_recorder(&recorder);
        EventBus::with_broker(config, broker).await.expect("a bus starts")
    };
    (bus, Page { handle, prefix, pool: ground.pool.name() })
}
