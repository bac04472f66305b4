//! Runs the bus suite on a real NATS with both pools and default settings, and a part of it with
//! topics that the members of a group share.

use async_nats::jetstream::{consumer::Info, stream::Stream};
use buslane::{Config, Topic};
use buslane_bus_suite::{BusFixture, Capabilities, Fault};
use buslane_core::{BoxFuture, Broker, BrokerEvent, SubscribeOptions};
use buslane_nats::{ConsumerConfig, NatsBroker, NatsConfig, Partitions, PublisherConfig};
use buslane_testkit::{broker_suite::MemberSpec, deadline::SILENCE, server};
use futures_util::TryStreamExt;
use std::{sync::Arc, time::Duration};

const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;

struct Nats {
    /// Unique to this fixture, because all fixtures share one server.
    tag: String,
    partitions: Partitions,
}

impl Nats {
    fn new(partitions: Partitions) -> Self {
        Self { tag: server::unique("t"), partitions }
    }
}

const UNMET: [(&str, &str); 9] = [
    ("b6_a_publish_waits_and_then_times_out", NEVER_FULL),
    ("b6_a_waiting_publish_goes_on_when_there_is_room", NEVER_FULL),
    ("b6_a_cancelled_publish_leaves_the_others_alone", NEVER_FULL),
    ("m2_lost_acks_and_duplicates_lose_nothing", NO_FAULT),
    ("m2_a_cut_connection_loses_nothing", NO_FAULT),
    ("o3_a_broker_that_is_away_is_named", NO_FAULT),
    ("b1_on_reconnect_is_called_and_everything_goes_on", NO_FAULT),
    ("b1_a_callback_of_a_reconnect_that_never_ends_holds_up_nothing", NO_FAULT),
    ("d3_a_waiting_retry_moves_with_its_partition", NOT_THAT_ONE),
];
const NEVER_FULL: &str =
    "a stream has no bound; buslane-nats/tests/broker/publish.rs fills the publisher instead";
const NO_FAULT: &str = "a server has no such switch; buslane-nats/tests/broker/loss.rs stops, kills and starts one instead";
const NOT_THAT_ONE: &str =
    "a member that joins takes a part of the partitions, which may not be that one";
const UNMET_WHERE_SHARED: [(&str, &str); 2] = [
    (
        "k3_two_buses_of_a_group_keep_each_keys_order",
        "the order of a key over several members is given up",
    ),
    (
        "d4_too_many_blocked_messages_stop_their_own_partitions_alone",
        "a topic without partitions stops as a whole",
    ),
];

impl BusFixture for Nats {
    fn capabilities(&self) -> Capabilities {
        let unmet = if self.partitions == Partitions::Shared {
            &UNMET_WHERE_SHARED[..]
        } else {
            &UNMET[..]
        };
        Capabilities { unmet, ..Capabilities::default() }
    }

    fn config(&self) -> Config {
        Config::default()
    }

    fn broker(&self, spec: MemberSpec) -> BoxFuture<'_, Arc<dyn Broker>> {
        let config = self.member(spec);
        Box::pin(async move {
            Arc::new(NatsBroker::connect(config).await.expect("a server that answers"))
                as Arc<dyn Broker>
        })
    }

    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.tag)
    }

    /// Rebalances through a visitor that joins, waits for a share, reads nothing and leaves.
    fn fault(&self, fault: Fault) -> BoxFuture<'_, bool> {
        let Fault::Rebalance(group) = fault else { return Box::pin(async { false }) };
        if self.partitions == Partitions::Shared {
            return Box::pin(async { false });
        }
        Box::pin(async move {
            let mut topics = Vec::new();
            for topic in self.topics().await {
                // Only topics with several consumers can be rebalanced.
                if consumers(&topic, &group).await.len() > 1 {
                    topics.push((topic, SubscribeOptions::default()));
                }
            }
            let spec = MemberSpec { group, drain_deadline: PATIENCE, publish_timeout: PATIENCE };
            let visitor = self.broker(spec).await;
            visitor.subscribe(&topics).await.expect("a visitor subscribes");
            let share = async {
                while !matches!(visitor.next_event().await, Some(BrokerEvent::Assigned(_))) {}
            };
            tokio::time::timeout(PATIENCE, share).await.expect("the visitor gets a share");
            visitor.close(PATIENCE).await.expect("it leaves");
            true
        })
    }

    fn unsettled<'a>(&'a self, group: &'a str, topic: &'a Topic) -> BoxFuture<'a, u64> {
        Box::pin(async move {
            let consumers = consumers(topic, group).await;
            if consumers.len() < partitions(topic).await {
                // A partition without a consumer has settled nothing.
                return stored(topic).await;
            }
            let stream = bare().await.get_stream(topic.as_str()).await.expect("a stream");
            let mut left = 0;
            for info in consumers {
                // The server counts a stored message with a delay, so `num_pending` may be 0 too
                // soon.
                let unread =
                    u64::from(newest(&stream, &info).await > info.delivered.stream_sequence);
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
                // Where members share a topic, the open messages of a crashed member are delivered
                // again after this time.
                ack_wait: SILENCE / 3,
                drain_deadline: spec.drain_deadline,
                lease: SILENCE,
                ..ConsumerConfig::default()
            },
            connect_timeout: PATIENCE,
            request_timeout: SILENCE,
            publisher: PublisherConfig {
                publish_timeout: spec.publish_timeout,
                ..PublisherConfig::default()
            },
            stream: self.partitions.into(),
            ..NatsConfig::default()
        }
    }

    /// The topics of this fixture.
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
    let client =
        async_nats::connect(server::address("NATS_URL")).await.expect("a server that answers");
    async_nats::jetstream::new(client)
}

/// The number of messages of a topic; 0 when the topic does not exist.
async fn stored(topic: &Topic) -> u64 {
    bare()
        .await
        .get_stream(topic.as_str())
        .await
        .map_or(0, |stream| stream.cached_info().state.messages)
}

/// The number of consumers of a group that reads a topic: one for each partition, and a partition
/// has two subjects.
async fn partitions(topic: &Topic) -> usize {
    bare()
        .await
        .get_stream(topic.as_str())
        .await
        .map_or(1, |stream| stream.cached_info().config.subjects.len().div_ceil(2))
}

/// The sequence of the last message that passes a consumer's filters; 0 when there is none. A
/// partition has two filters.
async fn newest(stream: &Stream, consumer: &Info) -> u64 {
    let config = &consumer.config;
    let mut newest = 0;
    for filter in config
        .filter_subjects
        .iter()
        .chain([&config.filter_subject])
        .filter(|filter| !filter.is_empty())
    {
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

buslane_bus_suite::bus_suite!(Nats::new(Partitions::Auto));

/// Scenarios whose result may depend on whether a group shares a topic.
mod shared {
    use super::*;

    buslane_bus_suite::bus_suite! {
        @tests Keyed Nats::new(Partitions::Shared);
        order {
            r3_versions_of_an_aggregate_are_handled_in_order,
            r3_order_holds_while_handlers_wait,
            d3_order_is_kept_across_a_failed_attempt,
            r3_a_slow_key_does_not_delay_the_others,
            r3_envelopes_and_regular_messages_go_together,
        }
        delivery {
            d2_a_later_message_never_settles_an_earlier_one,
        }
        redelivery {
            d1_what_a_shutdown_leaves_comes_again,
            d1_a_crash_loses_nothing,
            d1_settle_first_is_at_most_once,
            d1_a_restart_continues_and_does_not_replay,
            d2_a_failing_message_comes_again_after_a_restart,
        }
        draining {
            b9_shutdown_drains_what_is_queued,
            b9_a_running_handler_is_awaited_and_not_repeated,
            d3_a_failure_while_the_bus_drains_keeps_the_order,
        }
        redelivery {
            k3_two_buses_of_a_group_keep_each_keys_order,
            d1_another_bus_takes_over_after_a_crash,
            k3_buses_of_other_groups_are_not_disturbed,
        }
        faults {
            b3_a_failure_as_its_subscription_ends_keeps_the_order,
        }
        subscriptions {
            b3_ending_one_subscription_leaves_the_others,
            b3_coming_and_going_loses_and_doubles_nothing,
            b3_subscribing_again_continues,
        }
        basics {
            b1_a_receipt_says_where_it_is_stored,
        }
        pressure {
            p3_a_full_pool_makes_the_sources_wait,
            p3_a_full_lane_leaves_other_sources_alone,
            d4_too_many_blocked_messages_stop_their_own_partitions_alone,
        }
        health {
            o4_every_member_of_a_group_is_well,
        }
    }
}
