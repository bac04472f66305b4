//! A pool of the program's own: the example keeps the contract of pools, and a bus runs on it.
#![allow(clippy::unwrap_used, reason = "a test")]

use buslane::{
    BusBuilder, BusError, Config, Envelope, Event, EventBus, Pool, config::ChosenBy,
    rollout::RolloutError,
};
use buslane_keyed::KeyedPoolConfig;
use buslane_testkit::pool_suite::{PoolFixture, PoolOptions, run};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::runtime::Handle;

#[path = "../../examples/own_runtime.rs"]
#[allow(dead_code, reason = "its `main` is the example")]
mod own_runtime;

struct OwnRuntime;

impl PoolFixture for OwnRuntime {
    fn pool(&self, options: PoolOptions) -> Arc<dyn Pool> {
        own_runtime::pool_on(Handle::current(), super::pools::keyed(&options))
    }

    fn is_supervised(&self) -> bool {
        false
    }
}

buslane_testkit::pool_suite!(own_runtime_keeps, OwnRuntime);

const LIMIT: Duration = buslane_testkit::deadline::LIMIT;

fn small_pool() -> Arc<dyn Pool> {
    own_runtime::pool_on(Handle::current(), KeyedPoolConfig { workers: 4, ..Default::default() })
}

fn builder(config: Config) -> (BusBuilder, Arc<dyn Pool>) {
    let pool = small_pool();
    (EventBus::builder(config).pool(Arc::clone(&pool)), pool)
}

#[test]
fn a_bus_runs_its_messages_on_a_pool_of_the_program() {
    run(async {
        let (builder, pool) = builder(Config::default());
        let bus = builder.connect().await.unwrap();
        let handled = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&handled);
        bus.subscribe_envelopes("orders", move |event: Event| {
            seen.lock().unwrap().push(event.payload.parse::<u32>().unwrap());
            async {}
        })
        .await
        .unwrap();
        for n in 0_u32..100 {
            let placed = Envelope::new("order-42", "OrderPlaced", &n).unwrap();
            bus.publish_envelope("orders", placed).await.unwrap();
        }
        assert!(bus.drained(LIMIT).await.unwrap().is_complete());
        assert_eq!(*handled.lock().unwrap(), Vec::from_iter(0..100));
        assert_eq!(bus.status().pool, "own_runtime");
        assert_eq!(bus.rollout().pool_of("orders", "order-42").unwrap(), "own_runtime");
        assert!(pool.stats().ok >= 100, "{:?}", pool.stats());
        bus.shutdown(LIMIT).await.unwrap();
        assert!(pool.try_submit(&mut [].into()).is_ok(), "an empty batch is no job");
        assert_eq!(pool.stats().open, 0, "the bus has stopped it");
    });
}

#[test]
fn a_pool_of_the_program_leaves_nothing_to_roll_out() {
    run(async {
        let (builder, _) = builder(Config::default());
        let bus = builder.connect().await.unwrap();
        let rollout = bus.rollout();
        assert_eq!(rollout.set_percent(50, "alice"), Err(RolloutError::OwnPool));
        assert_eq!(rollout.begin("10, 100".parse().unwrap(), "alice"), Err(RolloutError::OwnPool));
        rollout.roll_back("alice");
        let status = rollout.status();
        assert_eq!((status.percent, status.slots.total, status.roll_backs), (0, 0, 0));

        let shadowed = bus.subscription("orders").shadow(5, async |_: Event| ());
        let error = shadowed.envelopes(async |_: Event| ()).await.unwrap_err();
        assert!(matches!(error, BusError::Option { option: "shadow", .. }), "{error}");
        bus.shutdown(LIMIT).await.unwrap();
    });
}

#[test]
fn the_actor_pool_is_refused_beside_a_pool_of_the_program() {
    run(async {
        let mut config = Config::default();
        config.memory.actor_pool.enabled = true;
        assert_eq!(config.pools().chosen_by, ChosenBy::Code);
        let (builder, pool) = builder(config);
        let error = builder.connect().await.err().unwrap();
        assert_eq!(
            error.to_string(),
            "memory.actor_pool.enabled: must be false: the program has a pool of its own, found true"
        );
        pool.stop(LIMIT).await;
    });
}
