//! A backlog on the embedded broker. SPEC: L3, L1, B8
#![allow(clippy::unwrap_used, reason = "a test")]

use buslane::{Config, EventBus};
use buslane_bus_suite::catching_up;
use buslane_core::Broker;
use buslane_memory::{MemberOptions, MemoryBroker, MemoryConfig};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l3_memory_catches_up_with_200_000_messages() {
    let room = MemoryConfig { max_messages: 100_000, ..MemoryConfig::default() };
    let broker = MemoryBroker::new(room).unwrap();
    let connect = async |config: Config| {
        let member = broker.member(MemberOptions::new(&*config.group));
        EventBus::with_broker(config, Arc::new(member) as Arc<dyn Broker>).await.unwrap()
    };
    catching_up::catches_up(Config::default(), connect).await;
}
