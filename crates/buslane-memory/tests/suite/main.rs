//! The memory broker passes the whole broker suite, without an unmet scenario.

mod broker;
mod faults;
mod wakes;

use buslane_core::Broker;
use buslane_memory::{MemberOptions, MemoryBroker, MemoryConfig};
use buslane_testkit::broker_suite::{BrokerFixture, Capabilities, MemberSpec};
use std::sync::Arc;

const CAPACITY: usize = 500;

struct Memory(MemoryBroker);

impl Memory {
    fn new() -> Self {
        let config = MemoryConfig { max_messages: CAPACITY, ..MemoryConfig::default() };
        Self(MemoryBroker::new(config).expect("a valid configuration"))
    }
}

impl BrokerFixture for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities { capacity: Some(CAPACITY), unmet: &[], ..Capabilities::default() }
    }

    async fn member(&self, spec: MemberSpec) -> Arc<dyn Broker> {
        Arc::new(self.0.member(MemberOptions {
            drain_deadline: spec.drain_deadline,
            publish_timeout: spec.publish_timeout,
            ..MemberOptions::new(spec.group)
        }))
    }
}

buslane_testkit::broker_suite!(Memory::new());
