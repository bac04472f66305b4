//! The bus on the embedded broker keeps every promise with both pools, without an exception.

use buslane::Topic;
use buslane_bus_suite::{BusFixture, Capabilities, Fault};
use buslane_core::{BoxFuture, Broker};
use buslane_memory::{MemberOptions, MemoryBroker, MemoryConfig};
use buslane_testkit::broker_suite::MemberSpec;
use std::sync::Arc;

/// Small enough to be filled quickly, large enough for every scenario that does not want that.
const CAPACITY: usize = 4_096;

struct Memory(MemoryBroker);

impl Memory {
    fn new() -> Self {
        let config = MemoryConfig { max_messages: CAPACITY, ..MemoryConfig::default() };
        Self(MemoryBroker::new(config).expect("a valid configuration"))
    }
}

impl BusFixture for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities { capacity: Some(CAPACITY), unmet: &[], ..Capabilities::default() }
    }

    fn broker(&self, spec: MemberSpec) -> BoxFuture<'_, Arc<dyn Broker>> {
        let member = self.0.member(MemberOptions {
            drain_deadline: spec.drain_deadline,
            publish_timeout: spec.publish_timeout,
            ..MemberOptions::new(spec.group)
        });
        Box::pin(async move { Arc::new(member) as Arc<dyn Broker> })
    }

    fn fault(&self, fault: Fault) -> BoxFuture<'_, bool> {
        let faults = self.0.faults();
        match fault {
            Fault::Disconnect => faults.disconnect("cut by a test"),
            Fault::Reconnect => faults.reconnect(),
            Fault::LoseAck(topic, nth) => faults.lose_ack(&topic, nth),
            Fault::Duplicate(topic, nth) => faults.duplicate(&topic, nth),
            Fault::Rebalance(group) => faults.rebalance(&group),
        }
        Box::pin(async { true })
    }

    fn unsettled<'a>(&'a self, group: &'a str, topic: &'a Topic) -> BoxFuture<'a, u64> {
        Box::pin(async move { self.0.lag(group, topic) })
    }
}

buslane_bus_suite::bus_suite!(Memory::new());
