//! The actor pool keeps the contract of pools, and its Prometheus page equals its traffic.

use buslane_actor::ActorPoolConfig;
use buslane_core::Pool;
use buslane_testkit::pool_suite::{PoolFixture, PoolOptions, metrics::page_equals_traffic, run};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::sync::Arc;

struct Actors;

impl PoolFixture for Actors {
    fn pool(&self, options: PoolOptions) -> Arc<dyn Pool> {
        let PoolOptions { workers, bounds, wait_timeout, mode, default_handler, .. } = options;
        Arc::new(
            ActorPoolConfig {
                actors: workers,
                max_restarts: options.max_restarts,
                restart_window: options.restart_window,
                cool_down: options.cool_down,
                wait_timeout,
                mode,
                bounds,
                default_handler,
                ..Default::default()
            }
            .start(),
        )
    }

    fn is_supervised(&self) -> bool {
        true
    }
}

buslane_testkit::pool_suite!(actor, Actors);

#[test]
fn o1_page_equals_the_traffic_of_the_pool() {
    // SPEC: O1, O2
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    run(async {
        // The handles are bound here and nowhere else: outside of this call there is no recorder.
        let config = ActorPoolConfig { actors: 4, ..Default::default() };
        let pool = metrics::with_local_recorder(&recorder, || config.start());
        page_equals_traffic(&pool, "memory_eventbus_actor_pool", 3, || handle.render()).await;
    });
}

#[test]
fn o1_another_backend_has_names_of_its_own() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    run(async {
        let config = ActorPoolConfig { actors: 4, backend: "kafka", ..Default::default() };
        let pool = metrics::with_local_recorder(&recorder, || config.start());
        page_equals_traffic(&pool, "kafka_eventbus_actor_pool", 3, || handle.render()).await;
    });
}
