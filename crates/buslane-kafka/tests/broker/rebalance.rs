//! Partitions move between members on a real broker: finished messages do not run again, and no
//! member gets a message that another one is handling.

use buslane_core::{Broker, BrokerEvent, SubscribeOptions, Topic, TopicSettings, TopicStrategy};
use buslane_kafka::{Assignment, ConsumerConfig, KafkaBroker, KafkaConfig};
use buslane_testkit::{
    broker_suite::{Feed, bodies, publish, record, settle},
    deadline::within,
    server,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;

/// A group on the real broker; its topic has four partitions.
struct Group {
    name: String,
    topic: Topic,
    assignment: Assignment,
}

impl Group {
    fn new(assignment: Assignment) -> Self {
        let topic = Topic::new(&server::unique("orders")).expect("a good name");
        Self { name: server::unique("g"), topic, assignment }
    }

    fn config(&self) -> KafkaConfig {
        KafkaConfig {
            brokers: server::address("KAFKA_BOOTSTRAP_SERVERS"),
            group: self.name.clone(),
            consumer: ConsumerConfig {
                assignment: self.assignment,
                session_timeout: buslane_testkit::deadline::SILENCE,
                heartbeat_interval: Duration::from_millis(500),
                ..ConsumerConfig::default()
            },
            create_missing: Some(buslane_kafka::TopicConfig {
                partitions: Some(4),
                ..Default::default()
            }),
            connect_timeout: PATIENCE,
            request_timeout: PATIENCE,
            ..KafkaConfig::default()
        }
    }

    async fn member(&self) -> Feed {
        let broker: Arc<dyn Broker> =
            Arc::new(KafkaBroker::connect(self.config()).await.expect("a broker that answers"));
        let feed = Feed::new(broker, PATIENCE);
        feed.subscribe(&self.topic).await;
        feed
    }
}

/// A member leaves with an open message: the next member gets nothing of its partition until the
/// message is settled, and does not get that message.
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

/// A second member takes partitions over from one that stays.
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
            assert!(
                first.take_for(Duration::from_millis(20)).await.is_empty(),
                "nothing is published yet"
            );
            assert!(
                second.take_for(Duration::from_millis(20)).await.is_empty(),
                "nothing is published yet"
            );
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

/// Two topics with these numbers of partitions, and two members of one group that read both.
/// Returns whether different members have the same partition number of the two topics, and what the
/// first member reports about it.
async fn shares_of(assignment: Assignment, partitions: [u32; 2]) -> (bool, Option<String>) {
    let topics = partitions.map(|_| Topic::new(&server::unique("orders")).expect("a good name"));
    let group = Group::new(assignment);
    let mut members = Vec::new();
    for _ in 0..2 {
        let broker: Arc<dyn Broker> =
            Arc::new(KafkaBroker::connect(group.config()).await.expect("an answer"));
        if members.is_empty() {
            for (topic, partitions) in topics.iter().zip(partitions) {
                let settings =
                    TopicSettings { partitions: Some(partitions), ..TopicSettings::default() };
                let made =
                    broker.configure_topic(topic, &settings, TopicStrategy::CreateOnly).await;
                made.expect("a new topic");
            }
        }
        let options = topics.clone().map(|topic| (topic, SubscribeOptions::default()));
        broker.subscribe(&options).await.expect("subscribes");
        members.push(Feed::new(broker, PATIENCE));
    }
    let [first, second] = &mut members[..] else { unreachable!("two members") };
    let all = (partitions[0] + partitions[1]) as usize;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while first.intakes.is_empty()
        || second.intakes.is_empty()
        || first.intakes.len() + second.intakes.len() != all
    {
        assert!(tokio::time::Instant::now() < deadline, "{first:?}, {second:?}");
        for member in [&mut *first, &mut *second] {
            assert!(
                member.take_for(Duration::from_millis(20)).await.is_empty(),
                "nothing is published"
            );
        }
    }
    let owners = |feed: &Feed, topic: &Topic| -> BTreeSet<u32> {
        let sources = feed.intakes.iter().map(|intake| intake.source());
        sources.filter(|source| source.topic == *topic).map(|source| source.partition).collect()
    };
    let [one, other] = &topics;
    let scattered = !owners(first, one).is_disjoint(&owners(second, other))
        || !owners(second, one).is_disjoint(&owners(first, other));
    let said = first.broker.scatters(&[one, other]);
    for member in members {
        member.close().await;
    }
    (scattered, said)
}

/// With ranges, one member has a partition number of all topics with equally many partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_ranges_keep_equal_topics_together() {
    for partitions in [[8, 8], [7, 7]] {
        assert_eq!(shares_of(Assignment::Range, partitions).await, (false, None), "{partitions:?}");
    }
}

/// Otherwise the member reports it. SPEC: K3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_topics_that_are_scattered_are_told_of() {
    // The first member has the lower half of 8 and of 4, so the other one has 2 and 3 of the second
    // topic.
    let (scattered, said) = shares_of(Assignment::Range, [8, 4]).await;
    assert!(scattered && said.is_some_and(|reason| reason.contains("equally many partitions")));
    for assignment in [Assignment::CooperativeSticky, Assignment::RoundRobin, Assignment::Broker] {
        // Another run may assign them differently.
        let (_, said) = shares_of(assignment, [7, 7]).await;
        assert!(said.is_some_and(|reason| reason.contains("`range`")), "{assignment:?}");
    }
}

/// Of two members with one instance id, the older one stops reading and reports why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_of_two_members_with_one_instance_id_the_older_ends() {
    let group = Group::new(Assignment::CooperativeSticky);
    let mut config = group.config();
    config.consumer.instance_id = Some("one".to_owned());
    let topics = [(group.topic.clone(), SubscribeOptions::default())];
    let old = KafkaBroker::connect(config.clone()).await.expect("a broker that answers");
    old.subscribe(&topics).await.expect("subscribes");
    let mut intakes = Vec::new();
    while intakes.len() < 4 {
        match within(PATIENCE, "four partitions", old.next_event()).await {
            Some(BrokerEvent::Assigned(intake)) => intakes.push(intake),
            other => panic!("{other:?}"),
        }
    }
    let new = KafkaBroker::connect(config).await.expect("a broker that answers");
    new.subscribe(&topics).await.expect("subscribes");
    let failed = async {
        loop {
            match old.next_event().await {
                Some(BrokerEvent::Failed(error)) => return error.to_string(),
                Some(_) => {}
                None => panic!("closed without a reason"),
            }
        }
    };
    let reason = within(PATIENCE, "the end of the older one", failed).await;
    assert!(reason.contains("FencedInstanceId"), "{reason}");
    drop(intakes);
    for member in [old, new] {
        // A fenced member cannot commit.
        let _ = member.close(PATIENCE).await;
    }
}
