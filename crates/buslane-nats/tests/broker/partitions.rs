//! NATS keeps the contract of all brokers with its default settings: partitions that members hold
//! by lease. SPEC: N5

use super::kit;
use buslane_core::Broker;
use buslane_nats::{ConsumerConfig, NatsBroker, NatsConfig, PublisherConfig};
use buslane_testkit::{
    broker_suite::{BrokerFixture, Capabilities, MemberSpec},
    deadline::{LIMIT, SILENCE},
    server,
};
use std::sync::Arc;

const UNMET: [(&str, &str); 4] = [
    ("b6_a_full_partition_makes_publishers_wait_and_time_out", NEVER_FULL),
    ("b6_a_waiting_publish_goes_on_when_there_is_room", NEVER_FULL),
    ("b6_a_cancelled_publish_leaves_the_others_alone", NEVER_FULL),
    (
        "k8_lag_counts_from_the_lowest_open_message",
        "messages are acknowledged one by one; lag.rs has what holds",
    ),
];
const NEVER_FULL: &str =
    "a stream has no bound that makes publishers wait; publish.rs fills the publisher instead";

struct Nats(String);

impl BrokerFixture for Nats {
    fn capabilities(&self) -> Capabilities {
        Capabilities { unmet: &UNMET, ..Capabilities::default() }
    }

    async fn member(&self, spec: MemberSpec) -> Arc<dyn Broker> {
        let config = NatsConfig {
            servers: kit::servers(),
            group: spec.group,
            consumer: ConsumerConfig {
                // So long that a test that waited for it would fail.
                ack_wait: LIMIT,
                drain_deadline: spec.drain_deadline,
                lease: SILENCE,
                ..ConsumerConfig::default()
            },
            connect_timeout: kit::PATIENCE,
            request_timeout: SILENCE,
            publisher: PublisherConfig {
                publish_timeout: spec.publish_timeout,
                ..PublisherConfig::default()
            },
            ..NatsConfig::default()
        };
        Arc::new(NatsBroker::connect(config).await.expect("a server that answers"))
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.0)
    }
}

buslane_testkit::broker_suite!(Nats(server::unique("p")));
