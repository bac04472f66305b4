//! librdkafka's mock cluster. It lives as long as the client that hosts it.

#![allow(
    unsafe_code,
    reason = "rdkafka has no safe call for the times of a group and for requests"
)]

use buslane_core::{Broker, Topic};
use buslane_kafka::{KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::deadline::LIMIT;
use rdkafka::{
    ClientConfig, bindings as sys,
    mocking::MockCluster,
    producer::{BaseProducer, DefaultProducerContext, Producer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::{slice, sync::Arc, time::Duration};

/// Settings of a producer that waits for as long as a test.
pub(crate) fn patient() -> ProducerConfig {
    ProducerConfig { publish_timeout: LIMIT, ..ProducerConfig::default() }
}

pub(crate) struct Cluster(BaseProducer);

impl Cluster {
    /// The partitions of each topic.
    pub(crate) const PARTITIONS: usize = 8;

    pub(crate) fn new() -> Self {
        Self::of_brokers(1)
    }

    /// A cluster with this many brokers, numbered from 1.
    pub(crate) fn of_brokers(count: u32) -> Self {
        let mut config = ClientConfig::new();
        config.set("test.mock.num.brokers", count.to_string());
        let host: BaseProducer = config.create().expect("a client");
        let cluster = Self(host);
        // SAFETY: the cluster belongs to the client, which is alive.
        unsafe {
            // The default of five seconds delays each rebalance.
            sys::rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(cluster.native(), 50);
        }
        cluster
    }

    fn native(&self) -> *mut sys::rd_kafka_mock_cluster_t {
        // SAFETY: the client is alive, and hosts a cluster.
        unsafe { sys::rd_kafka_handle_mock_cluster(self.0.client().native_ptr()) }
    }

    fn mock(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.0.client().mock_cluster().expect("its host")
    }

    pub(crate) fn address(&self) -> String {
        self.mock().bootstrap_servers()
    }

    /// Creates a topic unless it exists.
    pub(crate) fn topic(&self, name: &str) -> Topic {
        let _ = self.mock().create_topic(name, Self::partitions(), 1);
        Topic::new(name).expect("a good name")
    }

    pub(crate) async fn publisher(&self, producer: ProducerConfig) -> Arc<dyn Broker> {
        let config = KafkaConfig { brokers: self.address(), producer, ..KafkaConfig::default() };
        Arc::new(KafkaBroker::connect(config).await.expect("a broker that answers"))
    }

    /// Takes the leader from each partition of a topic.
    pub(crate) fn lose_leaders(&self, name: &str) {
        for partition in 0..Self::partitions() {
            self.mock().partition_leader(name, partition, None).expect("a partition");
        }
    }

    /// Makes one broker the leader of all partitions of a topic.
    pub(crate) fn lead(&self, name: &str, broker: i32) {
        for partition in 0..Self::partitions() {
            self.mock().partition_leader(name, partition, Some(broker)).expect("a partition");
        }
    }

    /// A broker answers nothing from now on.
    pub(crate) fn silence(&self, broker: i32) {
        let delay = Duration::from_hours(24);
        self.mock().broker_round_trip_time(broker, delay).expect("a broker");
    }

    /// Refuses the next requests with records, as a broker without enough replicas does.
    pub(crate) fn refuse_records(&self, count: usize) {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
        self.mock().request_errors(RDKafkaApiKey::Produce, &vec![error; count]);
    }

    /// Refuses the next requests for messages.
    pub(crate) fn refuse_fetches(&self, count: usize) {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        self.mock().request_errors(RDKafkaApiKey::Fetch, &vec![error; count]);
    }

    /// Accepts requests for messages again.
    pub(crate) fn accept_fetches(&self) {
        self.mock().clear_request_errors(RDKafkaApiKey::Fetch);
    }

    /// From now on, [`Self::requests`] counts.
    pub(crate) fn count_requests(&self) {
        // SAFETY: the cluster belongs to the client, which is alive.
        unsafe { sys::rd_kafka_mock_start_request_tracking(self.native()) };
    }

    /// The number of requests with this key of the protocol.
    pub(crate) fn requests(&self, key: i16) -> usize {
        let mut count = 0;
        // SAFETY: the cluster is alive, and returns `count` requests that this call frees.
        unsafe {
            let all = sys::rd_kafka_mock_get_requests(self.native(), &mut count);
            let requests = if count == 0 { &[] } else { slice::from_raw_parts(all, count) };
            let of_key = |request: &&*mut _| sys::rd_kafka_mock_request_api_key(**request) == key;
            let found = requests.iter().filter(of_key).count();
            sys::rd_kafka_mock_request_destroy_array(all, count);
            found
        }
    }

    fn partitions() -> i32 {
        i32::try_from(Self::PARTITIONS).expect("few partitions")
    }
}
