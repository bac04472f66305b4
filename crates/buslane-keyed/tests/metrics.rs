//! The page that Prometheus reads says what happened in the pool.

use buslane_keyed::KeyedPoolConfig;
use buslane_testkit::pool_suite::{metrics::page_equals_traffic, run};
use metrics_exporter_prometheus::PrometheusBuilder;

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
