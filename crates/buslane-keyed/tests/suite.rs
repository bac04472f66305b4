//! The contract of pools, kept by the keyed-worker pool.

use buslane_core::Pool;
use buslane_keyed::KeyedPoolConfig;
use buslane_testkit::pool_suite::{PoolFixture, PoolOptions, metrics::page_equals_traffic, run};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::sync::Arc;

struct Keyed;

impl PoolFixture for Keyed {
    fn pool(&self, options: PoolOptions) -> Arc<dyn Pool> {
        let PoolOptions { workers, bounds, wait_timeout, mode, default_handler, .. } = options;
        let config = KeyedPoolConfig {
            workers,
            wait_timeout,
            mode,
            bounds,
            default_handler,
            ..Default::default()
        };
        Arc::new(config.start())
    }

    fn is_supervised(&self) -> bool {
        false
    }
}

buslane_testkit::pool_suite!(keyed, Keyed);

#[test]
fn o1_page_equals_the_traffic_of_the_pool() {
    // SPEC: O1, O2
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    run(async {
        // The handles are bound here and nowhere else: outside of this call there is no recorder.
        let config = KeyedPoolConfig { workers: 4, ..Default::default() };
        let pool = metrics::with_local_recorder(&recorder, || config.start());
        page_equals_traffic(&pool, "memory_eventbus_keyed_pool", 0, || handle.render()).await;
    });
}

#[test]
fn o1_another_backend_has_names_of_its_own() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    run(async {
        let config = KeyedPoolConfig { workers: 4, backend: "kafka", ..Default::default() };
        let pool = metrics::with_local_recorder(&recorder, || config.start());
        page_equals_traffic(&pool, "kafka_eventbus_keyed_pool", 0, || handle.render()).await;
    });
}
