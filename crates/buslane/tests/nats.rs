//! The bus on a real NATS keeps the promises with both pools: where a group shares a topic, and with partitions.

use async_nats::jetstream::{consumer::Info, stream::Stream};
use buslane::{Config, Topic};
use buslane_core::{BoxFuture, Broker, BrokerEvent, SubscribeOptions, TopicSettings};
use buslane_nats::{ConsumerConfig, NatsBroker, NatsConfig, PublisherConfig};
use buslane_testkit::{
    broker_suite::MemberSpec,
    bus_suite::{BusFixture, Capabilities, Fault},
    server,
};
use futures_util::TryStreamExt;
use std::{sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);

struct Nats {
    /// Of this fixture alone: all share one server.
    tag: String,
    partitions: Option<u32>,
}

impl Nats {
    fn new(partitions: Option<u32>) -> Self {
        Self { tag: server::unique("t"), partitions }
    }
}

const UNMET: [(&str, &str); 14] = [
    ("b6_a_publish_waits_and_then_times_out", NEVER_FULL),
    ("b6_a_waiting_publish_goes_on_when_there_is_room", NEVER_FULL),
    ("b6_a_cancelled_publish_leaves_the_others_alone", NEVER_FULL),
    ("m2_lost_acks_and_duplicates_lose_nothing", NO_FAULT),
    ("m2_a_cut_connection_loses_nothing", NO_FAULT),
    ("o3_a_broker_that_is_away_is_named", NO_FAULT),
    ("b1_on_reconnect_is_called_and_everything_goes_on", NO_FAULT),
    ("d3_a_waiting_retry_moves_with_its_partition", NOT_THAT_ONE),
    // With partitions these are met.
    ("k3_rebalances_lose_nothing", SHARED),
    ("k3_a_rebalance_of_a_single_bus_loses_nothing", SHARED),
    ("d2_everything_at_once_loses_nothing", SHARED),
    ("k3_a_failure_in_a_rebalance_keeps_the_order", SHARED),
    ("k3_two_buses_share_and_hand_over", SHARED),
    ("d4_too_many_blocked_messages_stop_their_own_partitions_alone", ONE_SOURCE),
];
const MET_WITH_PARTITIONS: usize = 6;
const NEVER_FULL: &str = "a stream has no bound; buslane-nats/tests/publish.rs fills the publisher instead";
const NO_FAULT: &str = "a server has no such switch; buslane-nats/tests/loss.rs stops, kills and starts one instead";
const NOT_THAT_ONE: &str = "a member that joins takes a part of the partitions, which may not be that one";
const ONE_SOURCE: &str = "a topic without partitions stops as a whole";
const SHARED: &str = "a topic without partitions is shared: no order over several members is promised";

impl BusFixture for Nats {
    fn capabilities(&self) -> Capabilities {
        let unmet = if self.partitions.is_some() { &UNMET[..UNMET.len() - MET_WITH_PARTITIONS] } else { &UNMET[..] };
        Capabilities { patience: PATIENCE, unmet, ..Capabilities::default() }
    }

    fn config(&self) -> Config {
        Config::default()
    }

    fn broker(&self, spec: MemberSpec) -> BoxFuture<'_, Arc<dyn Broker>> {
        let config = self.member(spec);
        Box::pin(async move {
            Arc::new(NatsBroker::connect(config).await.expect("a server that answers")) as Arc<dyn Broker>
        })
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.tag)
    }

    /// A member that joins, waits for its share, reads nothing of it and leaves.
    fn fault(&self, fault: Fault) -> BoxFuture<'_, bool> {
        let Fault::Rebalance(group) = fault else { return Box::pin(async { false }) };
        if self.partitions.is_none() {
            return Box::pin(async { false });
        }
        Box::pin(async move {
            let mut topics = Vec::new();
            for topic in self.topics().await {
                if !consumers(&topic, &group).await.is_empty() {
                    topics.push((topic, SubscribeOptions::default()));
                }
            }
            let spec = MemberSpec { group, drain_deadline: PATIENCE, publish_timeout: PATIENCE };
            let visitor = self.broker(spec).await;
            visitor.subscribe(&topics).await.expect("a visitor subscribes");
            let share = async { while !matches!(visitor.next_event().await, Some(BrokerEvent::Assigned(_))) {} };
            tokio::time::timeout(PATIENCE, share).await.expect("the visitor gets a share");
            visitor.close(PATIENCE).await.expect("it leaves");
            true
        })
    }

    fn unsettled<'a>(&'a self, group: &'a str, topic: &'a Topic) -> BoxFuture<'a, u64> {
        Box::pin(async move {
            let consumers = consumers(topic, group).await;
            if consumers.len() < self.partitions.unwrap_or(1) as usize {
                // A source that nobody has begun to read has settled nothing.
                return stored(topic).await;
            }
            let stream = bare().await.get_stream(topic.as_str()).await.expect("a stream");
            let mut left = 0;
            for info in consumers {
                // The server counts what it has just stored a little later, so that its own count may be 0 too soon.
                let unread = u64::from(newest(&stream, &info).await > info.delivered.stream_sequence);
                left += info.num_pending.max(unread) + info.num_ack_pending as u64;
            }
            left
        })
    }
}

impl Nats {
    fn member(&self, spec: MemberSpec) -> NatsConfig {
        NatsConfig {
            servers: server::address("NATS_URL").replace("nats://", ""),
            group: spec.group,
            consumer: ConsumerConfig {
                ack_wait: Duration::from_secs(2),
                drain_deadline: spec.drain_deadline,
                lease: Duration::from_secs(3),
                ..ConsumerConfig::default()
            },
            publisher: PublisherConfig { publish_timeout: spec.publish_timeout, ..PublisherConfig::default() },
            create_missing: Some(TopicSettings { partitions: self.partitions, ..TopicSettings::default() }),
            ..NatsConfig::default()
        }
    }

    /// Topics of this fixture.
    async fn topics(&self) -> Vec<Topic> {
        let mut names = bare().await.stream_names();
        let mut topics = Vec::new();
        while let Some(name) = names.try_next().await.expect("an answer") {
            if name.ends_with(&self.tag) {
                topics.push(Topic::new(&name).expect("a topic without dots"));
            }
        }
        topics
    }
}

async fn bare() -> async_nats::jetstream::Context {
    let client = async_nats::connect(server::address("NATS_URL")).await.expect("a server that answers");
    async_nats::jetstream::new(client)
}

/// Messages of a topic, 0 when there is no such topic.
async fn stored(topic: &Topic) -> u64 {
    bare().await.get_stream(topic.as_str()).await.map_or(0, |stream| stream.cached_info().state.messages)
}

/// Sequence of the last message that a consumer's filters let through, 0 when there is none. A partition has two.
async fn newest(stream: &Stream, consumer: &Info) -> u64 {
    let config = &consumer.config;
    let mut newest = 0;
    for filter in config.filter_subjects.iter().chain([&config.filter_subject]).filter(|filter| !filter.is_empty()) {
        let found = stream.get_last_raw_message_by_subject(filter).await;
        newest = newest.max(found.map_or(0, |message| message.sequence));
    }
    newest
}

/// The durable consumers of a group that read a topic.
async fn consumers(topic: &Topic, group: &str) -> Vec<Info> {
    let stream = bare().await.get_stream_no_info(topic.as_str()).await.expect("a handle");
    let all: Vec<Info> = stream.consumers().try_collect().await.unwrap_or_default();
    all.into_iter().filter(|info| info.name.starts_with(&format!("{group}@"))).collect()
}

// The one with a shared topic, the other with partitions that are held by lease.
buslane_testkit::bus_suite!(Nats::new(None), Nats::new(Some(4)));
