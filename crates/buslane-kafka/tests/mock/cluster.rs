//! librdkafka's mock cluster. It lives as long as the client that hosts it.

#![allow(unsafe_code, reason = "rdkafka has no safe call for the times of a group")]

use rdkafka::{
    ClientConfig, bindings as sys,
    producer::{BaseProducer, Producer},
};

const PARTITIONS: i32 = 8;

pub(crate) struct Cluster(BaseProducer);

impl Cluster {
    pub(crate) fn new() -> Self {
        let host: BaseProducer =
            ClientConfig::new().set("test.mock.num.brokers", "1").create().expect("a client");
        // SAFETY: the cluster belongs to the client, which is alive.
        unsafe {
            let cluster = sys::rd_kafka_handle_mock_cluster(host.client().native_ptr());
            // The default of five seconds delays each rebalance.
            sys::rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(cluster, 50);
        }
        Self(host)
    }

    pub(crate) fn address(&self) -> String {
        self.0.client().mock_cluster().expect("its host").bootstrap_servers()
    }

    /// Creates a topic unless it exists.
    pub(crate) fn topic(&self, name: &str) {
        let _ = self.0.client().mock_cluster().expect("its host").create_topic(name, PARTITIONS, 1);
    }
}
