//! Partitions change hands on a real broker: nothing runs twice that was done, and nobody gets a message that another
//! one is handling.

use buslane_core::{Broker, TopicSettings};
use buslane_kafka::{Assignment, ConsumerConfig, KafkaBroker, KafkaConfig};
use buslane_testkit::{
    broker_suite::{Feed, bodies, publish, record, settle},
    server,
};
use std::{sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(20);

/// A group on the real broker; its topic has four partitions.
struct Group {
    name: String,
    topic: buslane_core::Topic,
    assignment: Assignment,
}

impl Group {
    fn new(assignment: Assignment) -> Self {
        let topic = buslane_core::Topic::new(&server::unique("orders")).expect("a good name");
        Self { name: server::unique("g"), topic, assignment }
    }

    async fn member(&self) -> Feed {
        let config = KafkaConfig {
            brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"),
            group: self.name.clone(),
            consumer: ConsumerConfig {
                assignment: self.assignment,
                session_timeout: Duration::from_secs(6),
                heartbeat_interval: Duration::from_millis(500),
                ..ConsumerConfig::default()
            },
            create_missing: Some(TopicSettings { partitions: Some(4), ..TopicSettings::default() }),
            ..KafkaConfig::default()
        };
        let broker: Arc<dyn Broker> = Arc::new(KafkaBroker::connect(config).await.expect("a broker that answers"));
        let feed = Feed::new(broker, PATIENCE);
        feed.subscribe(&self.topic).await;
        feed
    }
}

/// A member leaves with an open message: the next one gets nothing of it until that is settled, and not that one.
async fn hands_over(assignment: Assignment) {
    let group = Group::new(assignment);
    let mut old = group.member().await;
    old.until_assigned(4).await;
    publish(&old.broker, &group.topic, (0..4).map(|n| record("k", n.to_string())).collect()).await;
    let mut got = old.take(2).await;
    settle([got.remove(0)]);
    let leaving = tokio::spawn({
        let broker = old.broker.clone();
        async move { broker.close(PATIENCE).await }
    });
    old.until("the end of the old intakes", |feed| feed.closed && feed.intakes.is_empty()).await;
    assert!(!leaving.is_finished(), "a message is open");
    let mut new = group.member().await;
    settle(got);
    assert_eq!(leaving.await.expect("no panic"), Ok(()));
    let got = new.take(2).await;
    assert_eq!(bodies(&got), ["2", "3"], "what was settled does not run again");
    settle(got);
    new.close().await;
}

/// A second member takes its share over from one that goes on.
async fn shares(assignment: Assignment) {
    let group = Group::new(assignment);
    let mut first = group.member().await;
    first.until_assigned(4).await;
    let mut second = group.member().await;
    let records = (0..40).map(|n| record(&format!("k{n}"), n.to_string())).collect();
    let both = async {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while first.intakes.len() != 2 || second.intakes.len() != 2 {
            assert!(tokio::time::Instant::now() < deadline, "{first:?}, {second:?}");
            assert!(first.take_for(Duration::from_millis(20)).await.is_empty(), "nothing is published yet");
            assert!(second.take_for(Duration::from_millis(20)).await.is_empty(), "nothing is published yet");
        }
    };
    both.await;
    publish(&first.broker, &group.topic, records).await;
    let mut seen = Vec::new();
    while seen.len() < 40 {
        for feed in [&mut first, &mut second] {
            let got = feed.take_for(Duration::from_millis(50)).await;
            seen.extend(bodies(&got));
            settle(got);
        }
    }
    seen.sort_by_key(|body| body.parse::<u32>().expect("a number"));
    assert_eq!(seen, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
    first.close().await;
    second.close().await;
}

macro_rules! each_assignment {
    ($($name:ident: $what:ident $assignment:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $what(Assignment::$assignment).await;
        })*
    };
}

each_assignment! {
    k3_a_member_that_leaves_hands_over_cooperative: hands_over CooperativeSticky;
    k3_a_member_that_leaves_hands_over_eager: hands_over Range;
    k3_a_member_that_leaves_hands_over_broker: hands_over Broker;
    k3_a_member_that_comes_takes_its_share_cooperative: shares CooperativeSticky;
    k3_a_member_that_comes_takes_its_share_eager: shares Range;
    k3_a_member_that_comes_takes_its_share_broker: shares Broker;
}
