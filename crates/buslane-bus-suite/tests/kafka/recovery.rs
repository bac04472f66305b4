//! A backlog on a real Kafka. SPEC: L3, L1, B8
#![allow(clippy::unwrap_used, reason = "a test")]

use buslane::{Config, EventBus};
use buslane_bus_suite::catching_up;
use buslane_testkit::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l3_kafka_catches_up_with_200_000_messages() {
    let config =
        Config::new(&format!("kafka://{}", server::address("KAFKA_BOOTSTRAP_SERVERS"))).unwrap();
    let connect = async |config: Config| EventBus::connect(config).await.unwrap();
    Box::pin(catching_up::catches_up(config, connect)).await;
}
